//! Measures the store through its public API, so that every engine can be measured in the same run.
//!
//! `cargo bench -p hearth-store`; bounded to about a minute per engine. Figures are for comparison on one machine in one
//! session: commits depend on how fast the disk syncs, which the first line tells. FoundationDB is measured where it is installed,
//! on a server of its own beside this process; it shares the machine's processors with what measures it.

use std::io::{Seek, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hearth_store::{EmbeddedOptions, FoundationDbOptions, RangeRead, SnapshotPart, Store, StoreError, tuple};
use hearth_store_testing::{Cluster, Storage};

const KEYS: u64 = 200_000;
const VALUE_BYTES: usize = 200;
const QUEUE_OPERATIONS: u64 = 60_000;
/// A round trip per read or commit makes the single-task measurements longer; the queue is cut short there.
const REMOTE_QUEUE_OPERATIONS: u64 = 6_000;
/// How long reads are counted.
const READ_TIME: Duration = Duration::from_secs(3);
const CLEARED_KEYS: u64 = 60_000;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run()));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench failed: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Outcome {
    // Beside the build's files rather than in the temporary directory, which is memory on many machines.
    let directory = tempfile::tempdir_in(Path::new(env!("CARGO_TARGET_TMPDIR")))?;
    println!("one fsync of 4 KiB in place here: {}", microseconds(raw_sync(directory.path())?));
    let path = directory.path().join("embedded");
    let store = Store::open(EmbeddedOptions { path, cache_bytes: 64 << 20 }).await?;
    measure(&store).await?;
    store.close().await;
    let Some(cluster) = Cluster::start_below(directory.path(), Storage::Ssd) else {
        println!("\nfoundationdb: SKIPPED, no fdbserver found");
        return Ok(());
    };
    let options = FoundationDbOptions {
        cluster_file: cluster.cluster_file().to_owned(),
        client_library: cluster.client_library(),
        key_prefix: cluster.new_prefix(),
    };
    let store = Store::open_foundationdb(options).await?;
    measure(&store).await?;
    store.close().await;
    Ok(())
}

/// Every measurement on one engine.
async fn measure(store: &Store) -> Outcome {
    println!("\n{} {}\n{:-<78}", store.engine(), store.health().await.version, "");
    load(store).await?;
    for writers in [1, 8, 64] {
        commits(store, writers).await?;
    }
    for readers in [1, 64] {
        point_reads(store, readers).await?;
    }
    short_transactions(store).await?;
    range_reads(store).await?;
    queue(store).await?;
    clear_range(store).await?;
    snapshot(store).await?;
    disk(store).await?;
    Ok(())
}

fn row(what: &str, figure: &str, detail: &str) {
    println!("{what:<34} {figure:>16}   {detail}");
}

fn microseconds(duration: Duration) -> String {
    format!("{:.1} µs", duration.as_secs_f64() * 1e6)
}

/// What the disk allows: the time of one small overwrite with fsync.
fn raw_sync(directory: &Path) -> std::io::Result<Duration> {
    let path = directory.join("sync");
    let mut file = std::fs::File::create(path)?;
    file.write_all(&vec![0; 1 << 20])?;
    file.sync_all()?;
    let began = Instant::now();
    for block in 0..200 {
        file.seek(std::io::SeekFrom::Start(block * 4096))?;
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
    }
    Ok(began.elapsed() / 200)
}

/// A cheap sequence without a pattern (splitmix64).
fn scatter(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn key(number: u64) -> Vec<u8> {
    tuple::pack(&("bench", "entry", scatter(number) >> 1))
}

fn value(number: u64) -> Vec<u8> {
    scatter(number).to_le_bytes().repeat(VALUE_BYTES / 8)
}

/// Loads the data that everything else runs beside.
async fn load(store: &Store) -> Outcome {
    let began = Instant::now();
    for first in (0..KEYS).step_by(1000) {
        let fill = async |tx: hearth_store::Transaction| -> Result<(), StoreError> {
            for number in first..first + 1000 {
                tx.set(&key(number), &value(number));
            }
            Ok(())
        };
        store.transact("load", fill).await?;
    }
    let rate = KEYS as f64 / began.elapsed().as_secs_f64();
    row("load, 1000 keys per commit", &format!("{rate:.0} keys/s"), &format!("{KEYS} keys of {VALUE_BYTES} bytes"));
    Ok(())
}

/// Transactions of five keys, as a message with its indexes is, each waited for.
async fn commits(store: &Store, writers: u64) -> Outcome {
    const TIME: Duration = Duration::from_secs(4);
    let began = Instant::now();
    let done = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..writers {
        let (store, done) = (store.clone(), done.clone());
        tasks.spawn(async move {
            let mut times = Vec::new();
            let mut number = 0;
            while began.elapsed() < TIME {
                let write = async |tx: hearth_store::Transaction| -> Result<(), StoreError> {
                    tx.get(&key(scatter(number) % KEYS)).await?;
                    for part in 0..5u64 {
                        let key = tuple::pack(&("bench", "commit", part, writer, number));
                        tx.set(&key, &value(number)[..100]);
                    }
                    Ok(())
                };
                let start = Instant::now();
                store.transact("commit", write).await?;
                times.push(start.elapsed());
                number += 1;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, StoreError>(times)
        });
    }
    let mut times = Vec::new();
    for task in tasks.join_all().await {
        times.extend(task?);
    }
    let rate = done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |share: usize| microseconds(times[(times.len() - 1) * share / 1000]);
    let detail = format!("median {}, 99 % {}, 99.9 % {}", at(500), at(990), at(999));
    row(&format!("commits, {writers} writers"), &format!("{rate:.0} /s"), &detail);
    Ok(())
}

async fn point_reads(store: &Store, readers: u64) -> Outcome {
    let began = Instant::now();
    let done = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for reader in 0..readers {
        let (store, done) = (store.clone(), done.clone());
        tasks.spawn(async move {
            let mut number = reader << 32;
            while began.elapsed() < READ_TIME {
                let tx = store.begin();
                for _ in 0..100 {
                    let found = tx.get(&key(scatter(number) % KEYS)).await?;
                    assert!(found.is_some());
                    number += 1;
                }
                done.fetch_add(100, Ordering::Relaxed);
            }
            Ok::<_, StoreError>(())
        });
    }
    for task in tasks.join_all().await {
        task?;
    }
    let rate = done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    let each = Duration::from_secs_f64(readers as f64 / rate);
    row(&format!("point reads, {readers} tasks"), &format!("{rate:.0} /s"), &microseconds(each));
    Ok(())
}

async fn short_transactions(store: &Store) -> Outcome {
    let began = Instant::now();
    let mut number = 0;
    while began.elapsed() < READ_TIME {
        store.begin().get(&key(scatter(number) % KEYS)).await?;
        number += 1;
    }
    let each = began.elapsed() / number as u32;
    row("transactions of one read", &format!("{:.0} /s", 1.0 / each.as_secs_f64()), &microseconds(each));
    Ok(())
}

async fn range_reads(store: &Store) -> Outcome {
    let began = Instant::now();
    let (mut entries, mut number) = (0, 0);
    while began.elapsed() < READ_TIME {
        let tx = store.begin();
        let end = tuple::pack(&("bench", "entry", u64::MAX));
        let read =
            RangeRead { begin: key(number % KEYS), end, limit: Some(20), reverse: number % 2 == 1, snapshot: false };
        entries += tx.range(&read).await?.len();
        number += 1;
    }
    let each = began.elapsed() / number as u32;
    let detail =
        format!("{} per read, {:.0} entries/s", microseconds(each), entries as f64 / began.elapsed().as_secs_f64());
    row("range reads of 20, one task", &format!("{:.0} /s", 1.0 / each.as_secs_f64()), &detail);
    Ok(())
}

/// A consistent read of everything, as a backup does it.
async fn snapshot(store: &Store) -> Outcome {
    let began = Instant::now();
    let (mut entries, mut bytes) = (0, 0);
    let mut snapshot = store.snapshot(&[], &[0xff]).await?;
    while let Some(part) = snapshot.next().await? {
        let (SnapshotPart::Entries(found) | SnapshotPart::Replace { entries: found, .. }) = part;
        entries += found.len();
        bytes += found.iter().map(|entry| entry.key.len() + entry.value.len()).sum::<usize>();
    }
    let rate = bytes as f64 / 1e6 / began.elapsed().as_secs_f64();
    row("snapshot of everything", &format!("{rate:.1} MB/s"), &format!("{entries} entries in {:.1?}", began.elapsed()));
    Ok(())
}

/// A queue: each transaction takes ten from the head and puts ten at the tail. Growth shows tombstones.
async fn queue(store: &Store) -> Outcome {
    const LENGTH: u64 = 1000;
    let operations = if store.is_shared() { REMOTE_QUEUE_OPERATIONS } else { QUEUE_OPERATIONS };
    let item = |number: u64| tuple::pack(&("bench", "queue", number));
    let (begin, end) = (item(0), item(u64::MAX));
    let fill = async |tx: hearth_store::Transaction| -> Result<(), StoreError> {
        (0..LENGTH).for_each(|number| tx.set(&item(number), &value(number)));
        Ok(())
    };
    store.transact("queue", fill).await?;
    let mut tail = LENGTH;
    let mut parts = Vec::new();
    for _ in 0..6 {
        let began = Instant::now();
        for _ in 0..operations / 6 / 10 {
            let turn = async |tx: hearth_store::Transaction| -> Result<(), StoreError> {
                let head = RangeRead {
                    begin: begin.clone(),
                    end: end.clone(),
                    limit: Some(10),
                    reverse: false,
                    snapshot: false,
                };
                let head = tx.range(&head).await?;
                for entry in &head {
                    tx.clear(&entry.key);
                }
                (tail..tail + 10).for_each(|number| tx.set(&item(number), &value(number)));
                Ok(())
            };
            store.transact("queue", turn).await?;
            tail += 10;
        }
        parts.push(began.elapsed() / (operations / 6) as u32);
    }
    let parts: Vec<String> = parts.iter().map(|part| format!("{:.0}", part.as_secs_f64() * 1e6)).collect();
    row(
        &format!("queue, pop and push, {}k ops", operations / 1000),
        &format!("{} µs", parts[parts.len() - 1]),
        &format!("per sixth: {}", parts.join(" ")),
    );
    Ok(())
}

/// Clears a range of many keys at once, then reads over the hole.
async fn clear_range(store: &Store) -> Outcome {
    let item = |number: u64| tuple::pack(&("bench", "range", number));
    for first in (0..CLEARED_KEYS).step_by(1000) {
        let fill = async |tx: hearth_store::Transaction| -> Result<(), StoreError> {
            (first..first + 1000).for_each(|number| tx.set(&item(number), &value(number)));
            Ok(())
        };
        store.transact("fill", fill).await?;
    }
    let mut parts = Vec::new();
    for part in 0..6 {
        let (begin, end) = (item(part * CLEARED_KEYS / 6), item((part + 1) * CLEARED_KEYS / 6));
        let began = Instant::now();
        let clear = async |tx: hearth_store::Transaction| -> Result<(), StoreError> {
            tx.clear_range(&begin, &end);
            Ok(())
        };
        store.transact("clear", clear).await?;
        parts.push(format!("{:.1}", began.elapsed().as_secs_f64() * 1e3));
    }
    row("clear range of 10k keys, six times", &format!("{} ms", parts[5]), &format!("each: {} ms", parts.join(" ")));
    let began = Instant::now();
    let over = RangeRead { begin: item(0), end: item(u64::MAX), limit: Some(1), reverse: false, snapshot: false };
    for _ in 0..200 {
        store.begin().range(&over).await?;
    }
    row("first entry over the hole", &microseconds(began.elapsed() / 200), "");
    Ok(())
}

async fn disk(store: &Store) -> Outcome {
    let (mut stored, mut entries, mut begin) = (0, 0, Vec::new());
    loop {
        let read = RangeRead { begin, end: vec![0xff], limit: Some(10_000), reverse: false, snapshot: true };
        let page = store.begin().range(&read).await?;
        entries += page.len();
        stored += page.iter().map(|entry| entry.key.len() + entry.value.len()).sum::<usize>();
        let Some(last) = page.last() else { break };
        begin = last.key.iter().copied().chain([0]).collect();
    }
    let bytes = store.health().await.disk_bytes;
    let detail = format!("{entries} entries, {} MB in {} MB", stored / 1_000_000, bytes / 1_000_000);
    row("bytes on disk per byte stored", &format!("{:.2}", bytes as f64 / stored as f64), &detail);
    Ok(())
}
