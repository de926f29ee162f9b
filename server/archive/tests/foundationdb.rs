//! Backups, restores and copies on a real cluster. Skipped, loudly, where no `fdbserver` is installed.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hearth_archive::{
    ArchiveError, BackupOptions, CopyOptions, Phase, Progress, RestoreOptions, backup, copy, lock, restore,
};
use hearth_store::{FoundationDbOptions, RangeRead, Store, StoreError, Transaction, process::Registration, tuple};
use hearth_store_testing::Cluster;

async fn on(cluster: &Cluster) -> Store {
    let options = FoundationDbOptions {
        cluster_file: cluster.cluster_file().to_owned(),
        client_library: cluster.client_library(),
        key_prefix: cluster.new_prefix(),
    };
    Store::open_foundationdb(options).await.unwrap()
}

fn options() -> BackupOptions {
    BackupOptions {
        server_name: "example.org".to_owned(),
        hearth_version: "1.2.3".to_owned(),
        passphrase: None,
        scheduled: false,
        attachments: Vec::new(),
    }
}

fn named(to: &str) -> CopyOptions {
    CopyOptions { from: "a".to_owned(), to: to.to_owned(), advance_version: false, start_over: false }
}

fn thing(number: u64) -> Vec<u8> {
    tuple::pack(&("test", "thing", number))
}

const THINGS: u64 = 40_000;

/// What the turn of this number does to the things: some are written, a range of them is deleted.
fn turn(number: u64, mut set: impl FnMut(u64, u64), mut clear: impl FnMut(u64, u64)) {
    if number.is_multiple_of(50) {
        let from = number * 7 % THINGS;
        clear(from, (from + 40).min(THINGS));
    }
    for step in 0..4 {
        set((number * 31 + step * 701) % THINGS, number);
    }
}

fn value(number: u64) -> Vec<u8> {
    let mut value = number.to_le_bytes().to_vec();
    value.resize(8 + (number % 700) as usize, 9);
    value
}

/// Writes in one transaction; tells at which version. It may conflict even where nobody writes the same: with the beginning of
/// anybody's snapshot on the cluster, which every commit must know of.
async fn write(store: &Store, write: impl Fn(&Transaction) + Send + Sync) -> u64 {
    let write = &write;
    let written = store.transact_versioned("write", |tx| async move {
        write(&tx);
        Ok::<_, StoreError>(())
    });
    written.await.unwrap().1.version
}

async fn take_turn(store: &Store, number: u64) {
    let take = |tx: &Transaction| {
        // One sorts before all things, one behind them.
        tx.set(b"\x01count", &number.to_le_bytes());
        turn(
            number,
            |key, number| tx.set(&thing(key), &value(number)),
            |from, to| tx.clear_range(&thing(from), &thing(to)),
        );
        tx.set(b"\xfecount", &number.to_le_bytes());
    };
    write(store, take).await;
}

async fn contents(store: &Store) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut begin = Vec::new();
    loop {
        let read = RangeRead { begin, end: vec![0xff], limit: Some(2000), reverse: false, snapshot: true };
        let entries = store.begin().range(&read).await.unwrap();
        let Some(last) = entries.last() else { return found };
        begin = [&last.key[..], &[0]].concat();
        found.extend(entries.into_iter().map(|entry| (entry.key.to_vec(), entry.value.to_vec())));
    }
}

/// The store as it is after so many turns.
fn expected(turns: u64) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut things: BTreeMap<u64, u64> = (0..THINGS).map(|key| (key, 0)).collect();
    for number in 1..=turns {
        let model = std::cell::RefCell::new(&mut things);
        turn(
            number,
            |key, number| {
                model.borrow_mut().insert(key, number);
            },
            |from, to| model.borrow_mut().retain(|key, _| !(from..to).contains(key)),
        );
    }
    let mut all: BTreeMap<Vec<u8>, Vec<u8>> =
        things.into_iter().map(|(key, number)| (thing(key), value(number))).collect();
    for count in [b"\x01count", b"\xfecount"] {
        all.insert(count.to_vec(), turns.to_le_bytes().to_vec());
    }
    all
}

async fn begin(store: &Store) {
    for from in (0..THINGS).step_by(2000) {
        write(store, |tx| (from..from + 2000).for_each(|key| tx.set(&thing(key), &value(0)))).await;
    }
}

/// While somebody writes all over the range, the backup is exactly the state after some turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_is_of_one_moment() {
    let Some(cluster) = hearth_store_testing::cluster() else { return };
    let source = on(cluster).await;
    begin(&source).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (writer, stopped) = (source.clone(), stop.clone());
    let writing = tokio::spawn(async move {
        let mut number = 0;
        while !stopped.load(Ordering::Relaxed) {
            number += 1;
            take_turn(&writer, number).await;
        }
        number
    });
    // So that the first turn has been.
    while source.begin().get(b"\x01count").await.unwrap().is_none() {
        assert!(!writing.is_finished());
        tokio::task::yield_now().await;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one");
    let summary = backup(&source, &path, options(), &Progress::new()).await.unwrap();
    stop.store(true, Ordering::Relaxed);
    let turns = writing.await.unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside the backup");

    // Into memory, and back to the cluster, whose versions are beyond by themselves.
    let (memory, again) = (Store::memory(), on(cluster).await);
    for target in [&memory, &again] {
        restore(&path, target, RestoreOptions::default(), &Progress::new()).await.unwrap();
        let restored = contents(target).await;
        let taken = u64::from_le_bytes(restored[&b"\x01count"[..]].clone().try_into().unwrap());
        assert!((1..=turns).contains(&taken), "{taken} of {turns}");
        assert!(restored == expected(taken), "the state after turn {taken} of {turns}");
        assert_eq!(lock::incomplete(target).await.unwrap(), None);
        assert!(write(target, |tx| tx.set(b"\x01new", b"")).await > summary.version);
    }
    eprintln!("{turns} turns while {} entries were backed up", summary.keys);
    for store in [source, memory, again] {
        store.close().await;
    }
}

/// Runs `work` until `enough`, and drops it then. Returns what it came to if it was faster.
async fn until<T>(work: impl Future<Output = T>, enough: impl Fn() -> bool) -> Option<T> {
    let watch = async {
        while !enough() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        biased;
        () = watch => None,
        done = work => Some(done),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_are_resumed_and_the_same() {
    let Some(cluster) = hearth_store_testing::cluster() else { return };
    let source = Store::memory();
    for from in (0..20_000u64).step_by(1000) {
        write(&source, |tx| (from..from + 1000).for_each(|key| tx.set(&thing(key), &value(key)))).await;
    }
    let (there, back) = (on(cluster).await, Store::memory());
    let mut interrupted = 0;
    let mut before = 0;
    let begun = Instant::now();
    let summary = loop {
        let progress = Progress::new();
        let enough = || progress.figures().phase == Phase::Loading && progress.figures().keys > 0 && interrupted < 3;
        let Some(done) = until(copy(&source, &there, named("b"), &progress), enough).await else {
            interrupted += 1;
            let now = contents(&there).await.len();
            assert!(now > before, "it goes on where it stopped");
            before = now;
            assert!(lock::incomplete(&there).await.unwrap().is_some());
            continue;
        };
        break done.unwrap();
    };
    assert_eq!((interrupted, summary.keys), (3, 20_000));
    eprintln!("{} entries, {} bytes there in {:?}", summary.keys, summary.bytes, begun.elapsed());
    let begun = Instant::now();
    copy(&there, &back, named("c"), &Progress::new()).await.unwrap();
    eprintln!("and back in {:?}", begun.elapsed());
    assert!(contents(&back).await == contents(&source).await);
    for store in [source, there, back] {
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_servers_use_is_left_alone() {
    let Some(cluster) = hearth_store_testing::cluster() else { return };
    let (used, free) = (on(cluster).await, on(cluster).await);
    take_turn(&used, 1).await;
    let _server = Registration::enter(&used, "here", "1").await.unwrap();
    let in_use = |error: &ArchiveError| matches!(error, ArchiveError::InUse { processes: 1 });
    let error = copy(&used, &free, named("b"), &Progress::new()).await.unwrap_err();
    assert!(in_use(&error), "{error}");
    assert_eq!(lock::incomplete(&used).await.unwrap(), None, "a refused copy leaves no lock");
    assert!(contents(&free).await.is_empty());

    // Neither does anything come into one.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one");
    backup(&used, &path, options(), &Progress::new()).await.unwrap();
    let _server = Registration::enter(&free, "here", "1").await.unwrap();
    let error = restore(&path, &free, RestoreOptions::default(), &Progress::new()).await.unwrap_err();
    assert!(in_use(&error), "{error}");
    assert_eq!(lock::incomplete(&free).await.unwrap(), None);
    for store in [used, free] {
        store.close().await;
    }
}
