//! Snapshots: while others write, what a snapshot gives is exactly the state of its version.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use hearth_store::{
    AtomicOp, EmbeddedOptions, FoundationDbOptions, KeyValue, Snapshot, SnapshotPart, Store, StoreError, Version,
    Versionstamp, version_of,
};
use hearth_store_testing::Cluster;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const KEYS: u64 = 1500;
const WRITERS: u64 = 3;
/// Enough for several pieces.
const VALUE_BYTES: usize = 2000;

type State = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Debug, Clone)]
enum Write {
    Set(u64, u64),
    Clear(u64),
    ClearRange(u64, u64),
    Add(u64, u64),
    /// A key that holds the commit's stamp.
    Append(u64),
}

fn key(number: u64) -> Vec<u8> {
    format!("key/{number:06}").into_bytes()
}

fn value(number: u64) -> Vec<u8> {
    let mut value = number.to_le_bytes().to_vec();
    value.resize(VALUE_BYTES, 7);
    value
}

fn random_write(random: &mut StdRng) -> Write {
    let key = random.gen_range(0..KEYS);
    match random.gen_range(0..20) {
        0..8 => Write::Set(key, random.gen_range(0..1000)),
        8..11 => Write::Clear(key),
        11 => Write::ClearRange(key, key + random.gen_range(1..20)),
        12..16 => Write::Add(key, random.gen_range(0..1000)),
        _ => Write::Append(random.gen_range(0..1000)),
    }
}

fn write(tx: &hearth_store::Transaction, write: &Write) {
    match write {
        Write::Set(number, new) => tx.set(&key(*number), &value(*new)),
        Write::Clear(number) => tx.clear(&key(*number)),
        Write::ClearRange(begin, end) => tx.clear_range(&key(*begin), &key(*end)),
        Write::Add(number, more) => tx.atomic(AtomicOp::Add, &key(*number), &more.to_le_bytes()),
        Write::Append(number) => {
            let key = [b"log/".as_slice(), &[0; 10], &4u32.to_le_bytes()].concat();
            tx.set_versionstamped_key(&key, &number.to_le_bytes());
        }
    }
}

fn apply(state: &mut State, write: &Write, stamp: &Versionstamp) {
    match write {
        Write::Set(number, new) => drop(state.insert(key(*number), value(*new))),
        Write::Clear(number) => drop(state.remove(&key(*number))),
        Write::ClearRange(begin, end) => state.retain(|found, _| !(key(*begin) <= *found && *found < key(*end))),
        Write::Add(number, more) => {
            let before = state.get(&key(*number)).map_or(0, |value| u64::from_le_bytes(value[..8].try_into().unwrap()));
            let after = if state.contains_key(&key(*number)) { before.wrapping_add(*more) } else { *more };
            state.insert(key(*number), after.to_le_bytes().to_vec());
        }
        Write::Append(number) => {
            let key = [b"log/".as_slice(), &stamp.as_bytes()[..10]].concat();
            state.insert(key, number.to_le_bytes().to_vec());
        }
    }
}

/// Every commit: its stamp and what it wrote, in order.
type History = Arc<Mutex<Vec<(Versionstamp, Vec<Write>)>>>;

/// Writes at random until told to stop.
async fn keep_writing(store: Store, seed: u64, stop: Arc<AtomicBool>, history: History) {
    let mut random = StdRng::seed_from_u64(seed);
    while !stop.load(Ordering::Relaxed) {
        let writes: Vec<Write> = (0..random.gen_range(1..4)).map(|_| random_write(&mut random)).collect();
        // One stamped key per commit: two would be the same key.
        let appends = writes.iter().filter(|write| matches!(write, Write::Append(_))).count();
        if appends > 1 {
            continue;
        }
        let tx = store.begin();
        // Some have read before they write, some have not.
        if random.gen_bool(0.5) {
            tx.read_version().await.unwrap();
        }
        for one in &writes {
            write(&tx, one);
        }
        match tx.commit().await {
            Ok(committed) => history.lock().unwrap().push((committed.versionstamp.unwrap(), writes)),
            Err(StoreError::Conflict | StoreError::TransactionTooOld) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Reads a snapshot to its end, as a caller puts it together.
async fn read(snapshot: &mut Snapshot, begin: &[u8], end: &[u8]) -> (State, Version, usize) {
    let mut state = State::new();
    let mut last: Option<Vec<u8>> = None;
    let mut replaced = 0;
    let insert = |state: &mut State, entries: Vec<KeyValue>| {
        for entry in entries {
            assert!(begin <= &entry.key[..] && &entry.key[..] < end);
            state.insert(entry.key.to_vec(), entry.value.to_vec());
        }
    };
    while let Some(part) = snapshot.next().await.unwrap() {
        match part {
            SnapshotPart::Entries(entries) => {
                assert!(!entries.is_empty());
                assert!(entries.iter().is_sorted_by(|a, b| a.key < b.key));
                assert!(last.as_deref() < Some(&entries[0].key[..]), "parts go upwards");
                last = entries.last().map(|entry| entry.key.to_vec());
                insert(&mut state, entries);
            }
            SnapshotPart::Replace { begin, end, entries } => {
                replaced += 1;
                assert!(entries.iter().all(|entry| begin <= entry.key && entry.key < end));
                state.retain(|key, _| !(begin[..] <= key[..] && key[..] < end[..]));
                insert(&mut state, entries);
            }
        }
    }
    assert_eq!(snapshot.next().await.unwrap(), None, "the end stays the end");
    (state, snapshot.version().expect("it is complete"), replaced)
}

/// The state of `version` within a range.
fn state_at(initial: &State, history: &History, version: Version, begin: &[u8], end: &[u8]) -> State {
    let mut commits = history.lock().unwrap().clone();
    commits.sort_by(|a, b| a.0.cmp(&b.0));
    let mut state = initial.clone();
    for (stamp, writes) in commits.iter().filter(|(stamp, _)| version_of(stamp) <= version) {
        for write in writes {
            apply(&mut state, write, stamp);
        }
    }
    state.retain(|key, _| begin <= key.as_slice() && key.as_slice() < end);
    state
}

async fn fill(store: &Store) -> State {
    let mut state = State::new();
    for first in (0..KEYS).step_by(500) {
        let tx = store.begin();
        for number in first..first + 500 {
            tx.set(&key(number), &value(number));
            state.insert(key(number), value(number));
        }
        tx.commit().await.unwrap();
    }
    state
}

/// Reads snapshots of `reader` while `writers`, which may be other handles of the same store, write.
async fn snapshots_are_exact(reader: &Store, writers: &[Store]) -> usize {
    let initial = fill(reader).await;
    let (stop, history) = (Arc::new(AtomicBool::new(false)), History::default());
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = writers[writer as usize % writers.len()].clone();
        tasks.spawn(keep_writing(store, writer, stop.clone(), history.clone()));
    }
    let mut replaced = 0;
    for (begin, end) in [
        (b"".to_vec(), b"\xff".to_vec()),
        (key(300), key(900)),
        (b"log/".to_vec(), b"log0".to_vec()),
        (b"x".to_vec(), b"x".to_vec()),
    ] {
        let mut snapshot = reader.snapshot(&begin, &end).await.unwrap();
        let (found, version, mended) = read(&mut snapshot, &begin, &end).await;
        replaced += mended;
        let expected = state_at(&initial, &history, version, &begin, &end);
        let names = |state: &State| state.keys().map(|key| key.escape_ascii().to_string()).collect::<Vec<_>>();
        assert_eq!(names(&found), names(&expected), "keys of {begin:?}..{end:?} at {version}");
        assert!(found == expected, "values of {begin:?}..{end:?} at {version}");
    }
    // Two at once.
    let (mut one, mut two) =
        (reader.snapshot(b"", b"\xff").await.unwrap(), reader.snapshot(b"", b"\xff").await.unwrap());
    let (one, two) = tokio::join!(read(&mut one, b"", b"\xff"), read(&mut two, b"", b"\xff"));
    for (found, version, _) in [one, two] {
        assert!(found == state_at(&initial, &history, version, b"", b"\xff"), "one of two at {version}");
    }
    stop.store(true, Ordering::Relaxed);
    tasks.join_all().await;
    replaced
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { path: directory.path().to_owned(), cache_bytes: 8 << 20 };
    let store = Store::open(options).await.unwrap();
    assert_eq!(snapshots_are_exact(&store, std::slice::from_ref(&store)).await, 0, "nothing ever has to be replaced");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_memory() {
    let store = Store::memory();
    snapshots_are_exact(&store, std::slice::from_ref(&store)).await;
}

/// A snapshot that is held while the store closes neither keeps the files nor pretends to be at its end.
#[tokio::test]
async fn a_closed_store_ends_its_snapshots() {
    let directory = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { path: directory.path().to_owned(), cache_bytes: 8 << 20 };
    let store = Store::open(options.clone()).await.unwrap();
    fill(&store).await;
    let mut snapshot = store.snapshot(b"", b"\xff").await.unwrap();
    assert!(snapshot.next().await.unwrap().is_some());
    store.close().await;
    assert!(matches!(snapshot.next().await, Err(StoreError::Closed)));
    let again = Store::open(options).await.unwrap();
    assert!(matches!(snapshot.next().await, Err(StoreError::Closed)));
    assert!(matches!(again.snapshot(b"b", b"a").await, Err(StoreError::InvertedRange)));
}

async fn open(cluster: &Cluster, key_prefix: &[u8]) -> Store {
    let options = FoundationDbOptions {
        cluster_file: cluster.cluster_file().to_owned(),
        client_library: cluster.client_library(),
        key_prefix: key_prefix.to_owned(),
    };
    Store::open_foundationdb(options).await.unwrap()
}

/// Rows of the engine's own whose key holds `name`.
async fn rows(cluster: &Cluster, prefix: &[u8], name: &str) -> usize {
    let database = foundationdb::Database::from_path(cluster.cluster_file().to_str().unwrap()).unwrap();
    let (begin, end) = ([prefix, &[0]].concat(), [prefix, &[1]].concat());
    let range = foundationdb::RangeOption::from((begin.as_slice(), end.as_slice()));
    let found = database.create_trx().unwrap().get_range(&range, 1, true).await.unwrap();
    found.iter().filter(|entry| entry.key().windows(name.len()).any(|part| part == name.as_bytes())).count()
}

/// Writers on handles of their own, which learn of the snapshot from the cluster alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_foundationdb() {
    let Some(cluster) = hearth_store_testing::cluster() else { return };
    let prefix = cluster.new_prefix();
    let reader = open(cluster, &prefix).await;
    let writers = [open(cluster, &prefix).await, open(cluster, &prefix).await];
    let replaced = snapshots_are_exact(&reader, &writers).await;
    assert!(replaced > 0, "what was written meanwhile was mended");
    assert_eq!(rows(cluster, &prefix, "capture").await, 0);
    assert_eq!(rows(cluster, &prefix, "log").await, 0, "the log is cleared at the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_snapshot_leaves_nothing() {
    let Some(cluster) = hearth_store_testing::cluster() else { return };
    let prefix = cluster.new_prefix();
    let store = open(cluster, &prefix).await;
    fill(&store).await;
    let mut snapshot = store.snapshot(b"", b"\xff").await.unwrap();
    assert!(snapshot.next().await.unwrap().is_some());
    assert_eq!(rows(cluster, &prefix, "capture").await, 1);
    let tx = store.begin();
    tx.set(b"a", b"1");
    tx.commit().await.unwrap();
    assert_eq!(rows(cluster, &prefix, "log").await, 1);
    drop(snapshot);
    // Closing waits for the clean-up.
    store.close().await;
    assert_eq!(rows(cluster, &prefix, "capture").await, 0);
    assert_eq!(rows(cluster, &prefix, "log").await, 0);
    assert_eq!(rows(cluster, &prefix, "receipt").await, 0);
}
