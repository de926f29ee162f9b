//! Kills a writing process at random moments: what it acknowledged is there afterwards, and nothing in part.
//!
//! The child is this test binary again. It writes from several tasks and prints an acknowledgement for each
//! commit; the parent kills it with SIGKILL, opens the store and compares. (What a power loss takes beyond what SIGKILL
//! takes, the fault test in the crate simulates.) On FoundationDB the process that dies is a client of the cluster.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use hearth_store::{EmbeddedOptions, FoundationDbOptions, OpenError, RangeRead, Store, StoreError, Transaction};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const KILLS: u64 = 50;
const CLUSTER_KILLS: u64 = 12;
const WRITERS: u64 = 4;
/// Names the directory, or the cluster file, for the child; a run without it is not a child.
const CHILD: &str = "HEARTH_STORE_CRASH_CHILD";
/// The client library where it is a cluster.
const LIBRARY: &str = "HEARTH_STORE_CRASH_LIBRARY";
/// Set it to repeat a run's random choices.
const SEED: &str = "HEARTH_CRASH_SEED";

fn key(writer: u64, name: &str, number: u64) -> Vec<u8> {
    format!("{writer}/{name}/{number:08}").into_bytes()
}

/// Where the store is.
enum Place {
    Directory(PathBuf),
    Cluster { file: PathBuf, library: PathBuf },
}

impl Place {
    async fn open(&self) -> Result<Store, OpenError> {
        match self {
            Self::Directory(path) => Store::open(EmbeddedOptions { path: path.clone(), cache_bytes: 4 << 20 }).await,
            Self::Cluster { file, library } => {
                let client_library = (!library.as_os_str().is_empty()).then(|| library.clone());
                let (cluster_file, key_prefix) = (file.clone(), b"crash/".to_vec());
                Store::open_foundationdb(FoundationDbOptions { cluster_file, client_library, key_prefix }).await
            }
        }
    }

    /// The child's environment.
    fn set(&self, child: &mut Command) {
        match self {
            Self::Directory(path) => child.env(CHILD, path),
            Self::Cluster { file, library } => child.env(CHILD, file).env(LIBRARY, library),
        };
    }

    /// In the child.
    fn get() -> Option<Self> {
        let path = PathBuf::from(std::env::var_os(CHILD)?);
        Some(match std::env::var_os(LIBRARY) {
            None => Self::Directory(path),
            Some(library) => Self::Cluster { file: path, library: library.into() },
        })
    }
}

async fn read(tx: &Transaction, key: &[u8]) -> Result<u64, StoreError> {
    let value = tx.get(key).await?;
    Ok(value.map_or(0, |value| u64::from_le_bytes(value[..8].try_into().expect("the child writes numbers first"))))
}

/// One more turn of a writer: its parts must all be there or none. Returns the turn.
async fn turn(store: &Store, writer: u64) -> Result<u64, StoreError> {
    let body = async |tx: Transaction| {
        let turn = read(&tx, &key(writer, "part", 0)).await? + 1;
        for part in 0..5 {
            let mut value = turn.to_le_bytes().to_vec();
            value.resize(8 + (turn * 97 + part * 1009) as usize % 4000, 1);
            tx.set(&key(writer, "part", part), &value);
        }
        tx.set(&key(writer, "trail", turn), &turn.to_le_bytes());
        if turn % 50 == 0 {
            tx.clear_range(&key(writer, "trail", 0), &key(writer, "trail", turn - 40));
            tx.set(&key(writer, "cut", 0), &(turn - 40).to_le_bytes());
        }
        Ok(turn)
    };
    store.transact("turn", body).await
}

/// The child's life: it ends when it is killed.
#[test]
fn child() {
    let Some(place) = Place::get() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let store = place.open().await.expect("the store opens");
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let store = store.clone();
            writers.spawn(async move {
                loop {
                    let turn = turn(&store, writer).await.expect("commits work");
                    // One write, so that a line is never torn.
                    let line = format!("ack {writer} {turn}\n");
                    std::io::stdout().write_all(line.as_bytes()).expect("the parent listens");
                }
            });
        }
        writers.join_all().await;
    });
}

/// Runs the child until it has acknowledged `acknowledgements` commits and lived a bit longer; returns the last
/// acknowledged turn of each writer.
fn run_and_kill(place: &Place, random: &mut StdRng) -> HashMap<u64, u64> {
    let mut child = Command::new(std::env::current_exe().expect("this test"));
    place.set(&mut child);
    let mut child = child
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let mut acknowledged = HashMap::new();
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut left = match random.gen_range(0..4) {
        // While it opens.
        0 => 0,
        1 => random.gen_range(1..20),
        _ => random.gen_range(20..400),
    };
    let pause = Duration::from_micros(random.gen_range(0..if left == 0 { 20_000 } else { 3_000 }));
    let mut note = |line: &str| {
        let mut words = line.split(' ');
        if words.next() == Some("ack") {
            let mut number = || words.next().and_then(|word| word.parse::<u64>().ok()).expect("a number");
            acknowledged.insert(number(), number());
            return true;
        }
        false
    };
    while left > 0 {
        let line = lines.next().expect("the child lives until it is killed").expect("it writes text");
        left -= u32::from(note(&line));
    }
    std::thread::sleep(pause);
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    // What it wrote before it died counts.
    for line in lines {
        note(&line.expect("it writes text"));
    }
    acknowledged
}

/// Compares the store with what was acknowledged; returns the last turn of each writer.
async fn verify(store: &Store, acknowledged: &HashMap<u64, u64>) -> Result<(), StoreError> {
    for writer in 0..WRITERS {
        let tx = store.begin();
        let turn = read(&tx, &key(writer, "part", 0)).await?;
        let certain = acknowledged.get(&writer).copied().unwrap_or(0);
        assert!(turn >= certain, "writer {writer}: {certain} was acknowledged, {turn} is there");
        for part in 1..5 {
            let found = read(&tx, &key(writer, "part", part)).await?;
            assert_eq!(found, turn, "writer {writer}: part {part} is of another transaction");
        }
        let cut = read(&tx, &key(writer, "cut", 0)).await?.max(1);
        let trail = RangeRead {
            begin: key(writer, "trail", 0),
            end: key(writer, "trail", 99_999_999),
            limit: None,
            reverse: false,
            snapshot: true,
        };
        let trail: Vec<_> = tx.range(&trail).await?.into_iter().map(|entry| entry.key.to_vec()).collect();
        let expected: Vec<_> = (cut..=turn).map(|number| key(writer, "trail", number)).collect();
        assert_eq!(trail, expected, "writer {writer}: trail");
    }
    Ok(())
}

#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    kill_again_and_again(&Place::Directory(directory.path().join("store")), KILLS);
}

#[test]
fn nothing_acknowledged_is_lost_when_a_client_of_the_cluster_is_killed() {
    let Some(cluster) = hearth_store_testing::cluster() else { return };
    let library = cluster.client_library().unwrap_or_default();
    kill_again_and_again(&Place::Cluster { file: Path::to_owned(cluster.cluster_file()), library }, CLUSTER_KILLS);
}

fn kill_again_and_again(place: &Place, kills: u64) {
    let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random::<u64>);
    println!("{SEED}={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let mut acknowledged = HashMap::new();
    let mut turns = 0;
    let mut version = 0;
    for kill in 0..kills {
        acknowledged.extend(run_and_kill(place, &mut random));
        turns = acknowledged.values().sum();
        runtime.block_on(async {
            let store = match place.open().await {
                Ok(store) => store,
                Err(error @ OpenError::Locked { .. }) => panic!("the killed process still holds the lock: {error}"),
                Err(error) => panic!("after kill {kill}: {error}"),
            };
            verify(&store, &acknowledged).await.expect("the store can be read");
            let now = store.current_version().await.expect("the store is open");
            assert!(now >= version, "versions go on");
            version = now;
            // Sometimes the next child starts from a closed store, mostly from what the kill left and this open mended.
            if random.gen_bool(0.3) {
                store.close().await;
            }
        });
    }
    assert!(turns > kills, "the child did something: {turns} turns");
}
