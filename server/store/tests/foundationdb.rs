//! Opening a store on FoundationDB, and what is particular to that engine.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use foundationdb::{Database, RangeOption};
use hearth_store::limits::KEY_PREFIX_BYTES;
use hearth_store::{FoundationDbOptions, OpenError, RangeRead, Store, StoreError};
use hearth_store_testing::{Cluster, cluster};

fn options(cluster: &Cluster, key_prefix: &[u8]) -> FoundationDbOptions {
    FoundationDbOptions {
        cluster_file: cluster.cluster_file().to_owned(),
        client_library: cluster.client_library(),
        key_prefix: key_prefix.to_owned(),
    }
}

async fn open(cluster: &Cluster, key_prefix: &[u8]) -> Store {
    Store::open_foundationdb(options(cluster, key_prefix)).await.unwrap()
}

/// Everything in the cluster whose key begins with `prefix`. The store must have been opened before, which starts the client.
async fn raw(cluster: &Cluster, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let database = Database::from_path(cluster.cluster_file().to_str().unwrap()).unwrap();
    let end = [prefix, &[0xff]].concat();
    let found = database.create_trx().unwrap().get_range(&RangeOption::from((prefix, end.as_slice())), 1, true).await;
    found.unwrap().iter().map(|entry| (entry.key().to_vec(), entry.value().to_vec())).collect()
}

async fn put_raw(cluster: &Cluster, key: &[u8], value: &[u8]) {
    let database = Database::from_path(cluster.cluster_file().to_str().unwrap()).unwrap();
    let transaction = database.create_trx().unwrap();
    transaction.set(key, value);
    transaction.commit().await.unwrap();
}

async fn put(store: &Store, key: &[u8], value: &[u8]) {
    let tx = store.begin();
    tx.set(key, value);
    tx.commit().await.unwrap();
}

const CHILD: &str = "HEARTH_STORE_OPEN_CHILD";

/// Runs in a process of its own, because a process loads the library once.
#[test]
fn child() {
    let Some(library) = std::env::var_os(CHILD) else { return };
    let options = FoundationDbOptions {
        cluster_file: "/nowhere/fdb.cluster".into(),
        client_library: Some(PathBuf::from(library)),
        key_prefix: Vec::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(Store::open_foundationdb(options)).unwrap_err();
    assert!(matches!(error, OpenError::LibraryMissing(_)), "{error:?}");
    println!("{error}");
}

/// Works, and is tested, where FoundationDB is not installed.
#[test]
fn a_missing_library_says_where_it_was_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("libfdb_c.so");
    std::fs::write(&broken, "no library").unwrap();
    for (library, why) in [(Path::new("/nowhere/libfdb_c.so"), "no such file"), (&broken, "libfdb_c.so")] {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(CHILD, library)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&child.stdout).into_owned();
        assert!(child.status.success(), "{text}");
        for expected in [library.to_str().unwrap(), why, "foundationdb-clients", "FDB_CLIENT_LIBRARY"] {
            assert!(text.contains(expected), "{expected:?} in {text}");
        }
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was written");
}

#[tokio::test]
async fn an_unusable_cluster_file_is_an_error_at_once() {
    let Some(cluster) = cluster() else { return };
    let folder = tempfile::tempdir().unwrap();
    let cluster_file = folder.path().join("fdb.cluster");
    for text in [None, Some(""), Some("127.0.0.1:4500"), Some("a:b@nonsense:port")] {
        if let Some(text) = text {
            std::fs::write(&cluster_file, text).unwrap();
        }
        let began = Instant::now();
        let options = FoundationDbOptions { cluster_file: cluster_file.clone(), ..options(cluster, b"") };
        let error = Store::open_foundationdb(options).await.unwrap_err();
        assert!(matches!(error, OpenError::ClusterFile { .. }), "{text:?}: {error:?}");
        assert!(error.to_string().contains("fdb.cluster"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(5));
        let now = std::fs::read_to_string(&cluster_file).ok();
        assert_eq!(now.as_deref(), text, "the file stays as it is");
    }
}

#[tokio::test]
async fn an_unreachable_cluster_is_an_error_within_five_seconds() {
    let Some(cluster) = cluster() else { return };
    let folder = tempfile::tempdir().unwrap();
    let cluster_file = folder.path().join("fdb.cluster");
    // Nobody listens there: the port was free a moment ago.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = format!("nobody:here@{address}\n");
    std::fs::write(&cluster_file, &text).unwrap();
    let began = Instant::now();
    let options = FoundationDbOptions { cluster_file: cluster_file.clone(), ..options(cluster, b"") };
    let error = Store::open_foundationdb(options).await.unwrap_err();
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains(cluster_file.to_str().unwrap()), "{error}");
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
    assert_eq!(std::fs::read_to_string(&cluster_file).unwrap(), text);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was written");
}

#[tokio::test]
async fn the_first_use_writes_the_format_and_nothing_else() {
    let Some(cluster) = cluster() else { return };
    let prefix = cluster.new_prefix();
    let store = open(cluster, &prefix).await;
    assert_eq!(
        raw(cluster, &prefix).await,
        [([prefix.as_slice(), b"\0\x02format\0"].concat(), vec![0, 0, 0, 0, 0, 0, 0, 1])]
    );
    assert_eq!((store.engine(), store.is_shared(), store.stats().engine), ("foundationdb", true, "foundationdb"));
    put(&store, b"key", b"value").await;
    let expected = ([prefix.as_slice(), b"\x01key"].concat(), b"value".to_vec());
    assert!(raw(cluster, &prefix).await.contains(&expected), "keys are the caller's below the prefix");
    store.close().await;
    assert_eq!(raw(cluster, &prefix).await.len(), 2, "a closed store leaves no receipts");
    let again = open(cluster, &prefix).await;
    assert_eq!(again.begin().get(b"key").await.unwrap().unwrap(), b"value".as_slice());
}

#[tokio::test]
async fn what_is_not_a_store_or_newer_is_refused_untouched() {
    let Some(cluster) = cluster() else { return };
    // The client has to run before anything can be written behind the store's back.
    open(cluster, &cluster.new_prefix()).await;
    let foreign = cluster.new_prefix();
    let stranger = [foreign.as_slice(), b"\x01stranger"].concat();
    put_raw(cluster, &stranger, b"here").await;
    let error = Store::open_foundationdb(options(cluster, &foreign)).await.unwrap_err();
    assert!(matches!(&error, OpenError::Foreign { detail, .. } if detail.contains("stranger")), "{error:?}");
    assert_eq!(raw(cluster, &foreign).await.len(), 1);

    let newer = cluster.new_prefix();
    let format = [newer.as_slice(), b"\0\x02format\0"].concat();
    put_raw(cluster, &format, &99u64.to_be_bytes()).await;
    let error = Store::open_foundationdb(options(cluster, &newer)).await.unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 99, supported: 1, .. }), "{error:?}");
    assert_eq!(raw(cluster, &newer).await.len(), 1);

    for prefix in [vec![b'x'; KEY_PREFIX_BYTES + 1], vec![0xff]] {
        assert!(Store::open_foundationdb(options(cluster, &prefix)).await.is_err());
    }
    open(cluster, &[vec![b'x'; KEY_PREFIX_BYTES - 8], cluster.new_prefix()[..8].to_vec()].concat()).await;
}

#[tokio::test]
async fn prefixes_are_stores_of_their_own() {
    let Some(cluster) = cluster() else { return };
    let prefix = cluster.new_prefix();
    let longer = [prefix.as_slice(), b"longer"].concat();
    let (one, two) = (open(cluster, &prefix).await, open(cluster, &longer).await);
    let same = open(cluster, &prefix).await;
    put(&one, b"a", b"one").await;
    put(&two, b"a", b"two").await;
    assert_eq!(one.begin().get(b"a").await.unwrap().unwrap(), b"one".as_slice());
    assert_eq!(two.begin().get(b"a").await.unwrap().unwrap(), b"two".as_slice());
    assert_eq!(same.begin().get(b"a").await.unwrap().unwrap(), b"one".as_slice());
    let tx = one.begin();
    tx.clear_range(b"", b"\xff\xff\xff");
    tx.commit().await.unwrap();
    assert!(same.begin().get(b"a").await.unwrap().is_none());
    assert!(two.begin().get(b"a").await.unwrap().is_some());
    let all = RangeRead { begin: vec![], end: vec![0xff; 3], limit: None, reverse: true, snapshot: false };
    assert_eq!(two.begin().range(&all).await.unwrap().len(), 1);
}

#[tokio::test]
async fn handles_conflict_and_wake_each_other() {
    let Some(cluster) = cluster() else { return };
    let prefix = cluster.new_prefix();
    let (one, two) = (open(cluster, &prefix).await, open(cluster, &prefix).await);
    let tx = one.begin();
    tx.get(b"a").await.unwrap();
    tx.set(b"b", b"");
    put(&two, b"a", b"1").await;
    assert!(matches!(tx.commit().await, Err(StoreError::Conflict)));

    let tx = one.begin();
    let watch = tx.watch(b"a").await.unwrap();
    tx.commit().await.unwrap();
    let waiting = tokio::spawn(watch.changed());
    put(&two, b"a", b"2").await;
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn many_commits_leave_few_rows() {
    let Some(cluster) = cluster() else { return };
    let prefix = cluster.new_prefix();
    let store = open(cluster, &prefix).await;
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..20u8 {
        let store = store.clone();
        tasks.spawn(async move {
            for _ in 0..30 {
                put(&store, &[writer], b"again").await;
            }
        });
    }
    tasks.join_all().await;
    let rows = raw(cluster, &prefix).await.len();
    assert!(rows < 250, "{rows} rows after 600 commits to 20 keys");
}

#[tokio::test]
async fn health_is_the_clusters() {
    let Some(cluster) = cluster() else { return };
    let store = open(cluster, &cluster.new_prefix()).await;
    // A young cluster does not know everything about itself yet.
    let known = async {
        loop {
            let health = store.health().await;
            if health.available && health.machines > 0 && health.disk_bytes > 0 {
                break health;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let health = tokio::time::timeout(Duration::from_mins(1), known).await.unwrap();
    assert_eq!((health.machines, health.processes, health.redundancy.as_str()), (1, 1, "single"));
    assert!(health.version.starts_with(|first: char| first.is_ascii_digit()), "{health:?}");
    assert!(health.disk_bytes > 0 && health.free_disk_bytes.is_some_and(|free| free > 0), "{health:?}");
    assert_eq!(store.stats().disk_bytes, health.disk_bytes);
    let began = Instant::now();
    assert_eq!(store.health().await, health, "it is kept for a moment");
    assert!(began.elapsed() < Duration::from_secs(1));
    store.close().await;
    assert!(!store.health().await.available);
}

#[tokio::test]
async fn versions_can_be_made_to_jump() {
    // On a cluster of its own: the jump is everyone's.
    let Some(cluster) = Cluster::start(hearth_store_testing::Storage::Memory) else { return };
    let store = open(&cluster, b"jump/").await;
    put(&store, b"a", b"before").await;
    let now = store.current_version().await.unwrap();
    let past = now + 10_000_000_000;
    store.advance_version(past).await.unwrap();
    let tx = store.begin();
    assert_eq!(tx.get(b"a").await.unwrap().unwrap(), b"before".as_slice());
    tx.set(b"a", b"after");
    assert!(tx.commit().await.unwrap().version > past);
    store.advance_version(now).await.unwrap();
}
