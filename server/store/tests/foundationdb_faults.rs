//! The server stops answering, or dies, under load: requests end in bounded time, the store recovers by itself, and what
//! was acknowledged is there, once.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hearth_store::{FoundationDbOptions, Store, StoreError, Transaction};
use hearth_store_testing::{Cluster, Storage};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const WRITERS: u64 = 8;
/// Longer than anything may take: a read, a commit and the question for its result, each with their bounds.
const ANSWERED_WITHIN: Duration = Duration::from_secs(16);

async fn open(cluster: &Cluster) -> Store {
    let options = FoundationDbOptions {
        cluster_file: cluster.cluster_file().to_owned(),
        client_library: cluster.client_library(),
        key_prefix: b"faults/".to_vec(),
    };
    Store::open_foundationdb(options).await.unwrap()
}

fn number(value: Option<hearth_store::Bytes>) -> u64 {
    value.map_or(0, |value| u64::from_le_bytes(value.as_ref().try_into().unwrap()))
}

/// Not idempotent: run twice, it counts twice.
async fn increment(store: &Store, writer: u64) -> Result<(), StoreError> {
    let body = async |tx: Transaction| -> Result<(), StoreError> {
        let key = writer.to_be_bytes();
        let now = number(tx.get(&key).await?);
        tx.set(&key, &(now + 1).to_le_bytes());
        Ok(())
    };
    store.transact("increment", body).await
}

#[derive(Default)]
struct Counts {
    done: AtomicU64,
    /// Errors that leave open whether the increment happened.
    unknown: AtomicU64,
    unavailable: AtomicU64,
    slowest: AtomicU64,
}

async fn keep_incrementing(store: Store, writer: u64, stop: Arc<AtomicBool>, counts: Arc<Counts>) {
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        match increment(&store, writer).await {
            Ok(()) => counts.done.fetch_add(1, Ordering::Relaxed),
            Err(StoreError::Unavailable(text)) if text.contains("unknown") => {
                counts.unknown.fetch_add(1, Ordering::Relaxed)
            }
            Err(StoreError::Unavailable(_)) => counts.unavailable.fetch_add(1, Ordering::Relaxed),
            Err(error) => panic!("{error:?}"),
        };
        counts.slowest.fetch_max(began.elapsed().as_millis() as u64, Ordering::Relaxed);
    }
}

async fn total(store: &Store) -> u64 {
    let tx = store.begin();
    let mut total = 0;
    for writer in 0..WRITERS {
        total += number(tx.get(&writer.to_be_bytes()).await.unwrap());
    }
    total
}

/// Waits until the store answers again.
async fn recovered(store: &Store) {
    let began = Instant::now();
    while store.begin().get(b"x").await.is_err() {
        assert!(began.elapsed() < Duration::from_mins(1), "the store recovers by itself");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_done_twice_when_the_server_stops_or_dies() {
    let Some(mut cluster) = Cluster::start(Storage::Ssd) else { return };
    let store = open(&cluster).await;
    let (stop, counts) = (Arc::new(AtomicBool::new(false)), Arc::new(Counts::default()));
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        tasks.spawn(keep_incrementing(store.clone(), writer, stop.clone(), counts.clone()));
    }
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    // Short stops, one longer than a commit is waited for, one longer than its result is looked for, deaths.
    for (pause, dies) in [(200, false), (1_000, false), (5_500, false), (300, true), (11_000, false), (2_000, true)] {
        tokio::time::sleep(Duration::from_millis(random.gen_range(300..1_200))).await;
        let before = counts.done.load(Ordering::Relaxed);
        cluster.signal(if dies { "KILL" } else { "STOP" });
        tokio::time::sleep(Duration::from_millis(pause)).await;
        if dies {
            cluster.restart();
        } else {
            cluster.signal("CONT");
        }
        recovered(&store).await;
        let began = Instant::now();
        while counts.done.load(Ordering::Relaxed) == before {
            assert!(began.elapsed() < Duration::from_mins(1), "writers go on");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    tasks.join_all().await;
    let (done, unknown) = (counts.done.load(Ordering::Relaxed), counts.unknown.load(Ordering::Relaxed));
    let unavailable = counts.unavailable.load(Ordering::Relaxed);
    let slowest = Duration::from_millis(counts.slowest.load(Ordering::Relaxed));
    let total = total(&store).await;
    println!("{done} done, {unknown} unknown, {unavailable} refused, {total} counted, slowest answer {slowest:?}");
    assert!(total >= done, "{done} were acknowledged, {total} are there");
    assert!(total <= done + unknown, "{done} were acknowledged, {unknown} left open, {total} are there");
    assert!(unavailable + unknown > 0, "a stop of eleven seconds is noticed");
    assert!(slowest < ANSWERED_WITHIN, "{slowest:?}");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_answers_while_the_server_stands_still() {
    let Some(cluster) = Cluster::start(Storage::Memory) else { return };
    let store = open(&cluster).await;
    increment(&store, 0).await.unwrap();
    let tx = store.begin();
    let watch = tx.watch(b"w").await.unwrap();
    tx.commit().await.unwrap();
    let watch = tokio::spawn(watch.changed());
    cluster.signal("STOP");
    let began = Instant::now();
    let body = async |tx: Transaction| -> Result<(), StoreError> { tx.get(b"a").await.map(|_| ()) };
    let (read, version, commit, health) =
        tokio::join!(store.transact("read", body), store.current_version(), increment(&store, 0), store.health(),);
    for outcome in [read, version.map(|_| ()), commit] {
        assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    }
    assert!(!health.available, "{health:?}");
    assert!(began.elapsed() < ANSWERED_WITHIN, "{:?}", began.elapsed());
    assert!(!watch.is_finished(), "a watch waits for the cluster to come back");
    cluster.signal("CONT");
    recovered(&store).await;
    let tx = store.begin();
    tx.set(b"w", b"changed");
    tx.commit().await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), watch).await.unwrap().unwrap().unwrap();
    increment(&store, 0).await.unwrap();
}
