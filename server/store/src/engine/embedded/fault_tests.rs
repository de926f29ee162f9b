//! The engine on a disk that fails: nothing acknowledged is lost, nothing half-committed is ever visible.
//!
//! The disk is simulated below redb and the log, through redb's `StorageBackend`. It keeps what was written but not
//! synced apart; a power loss keeps any part of that, torn at any sector. Each seed is one run; a failing
//! one is named in the panic and can be run alone with `HEARTH_FAULT_SEED`.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use redb::StorageBackend;

use super::EmbeddedTransaction;
use super::open::{Embedded, Opened};
use super::tuning::Tuning;
use crate::engine::mutex::lock;
use crate::limits::TRANSACTION_LIFETIME;
use crate::{AtomicOp, RangeRead, StoreError};

const SECTOR: usize = 512;
const WRITERS: u64 = 3;

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    SetLength(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, data) => {
                if bytes.len() < offset + data.len() {
                    bytes.resize(offset + data.len(), 0);
                }
                bytes[*offset..offset + data.len()].copy_from_slice(data);
            }
            Self::SetLength(length) => bytes.resize(*length, 0),
        }
    }
}

#[derive(Debug, Default, Clone)]
struct SimulatedFile {
    /// What a power loss cannot take.
    durable: Vec<u8>,
    /// What reads see.
    current: Vec<u8>,
    /// What leads from `durable` to `current`.
    pending: Vec<Change>,
}

impl SimulatedFile {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.current);
        self.pending.push(change);
    }

    /// Keeps a random part of what was not synced, sector by sector.
    fn lose_power(&mut self, random: &mut StdRng) {
        let keep = [0.0, 0.3, 0.7, 1.0][random.gen_range(0..4)];
        for change in std::mem::take(&mut self.pending) {
            match &change {
                Change::SetLength(_) if random.gen_bool(keep) => change.apply(&mut self.durable),
                Change::SetLength(_) => {}
                Change::Write(offset, data) => {
                    for (index, sector) in data.chunks(SECTOR).enumerate() {
                        if random.gen_bool(keep) {
                            Change::Write(offset + index * SECTOR, sector.to_vec()).apply(&mut self.durable);
                        }
                    }
                }
            }
        }
        self.current.clone_from(&self.durable);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Everything fails from here on.
    PowerLoss,
    /// One write fails and does nothing.
    FailedWrite,
    /// One write is done in part and fails.
    ShortWrite,
    /// The files cannot grow from here on.
    Full,
    /// One sync fails, having made a part durable; the rest never will be.
    FailedSync,
    /// One read fails.
    FailedRead,
}

const FAULTS: [Fault; 6] =
    [Fault::PowerLoss, Fault::FailedWrite, Fault::ShortWrite, Fault::Full, Fault::FailedSync, Fault::FailedRead];

#[derive(Debug)]
struct Disk {
    random: StdRng,
    files: [SimulatedFile; 2],
    /// The fault that comes, after how many operations that it can hit.
    plan: Option<(Fault, u32)>,
    dead: bool,
    full: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
    Sync,
}

impl Disk {
    /// Whether the planned fault hits this access.
    fn access(&mut self, access: Access) -> io::Result<Option<Fault>> {
        if self.dead {
            return Err(io::Error::other("simulated power loss"));
        }
        let Some((fault, left)) = &mut self.plan else { return Ok(None) };
        let can_hit = match fault {
            Fault::PowerLoss => access != Access::Read,
            Fault::FailedWrite | Fault::ShortWrite | Fault::Full => access == Access::Write,
            Fault::FailedSync => access == Access::Sync,
            Fault::FailedRead => access == Access::Read,
        };
        if !can_hit {
            return Ok(None);
        }
        if *left > 0 {
            *left -= 1;
            return Ok(None);
        }
        let fault = *fault;
        self.plan = None;
        match fault {
            Fault::PowerLoss => self.dead = true,
            Fault::Full => self.full = true,
            _ => return Ok(Some(fault)),
        }
        self.access(access)
    }

    fn check_space(&self, length: usize, grown: usize) -> io::Result<()> {
        if self.full && grown > length { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

/// One file of the simulated disk.
#[derive(Debug, Clone)]
struct DiskFile {
    disk: Arc<Mutex<Disk>>,
    index: usize,
}

impl StorageBackend for DiskFile {
    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.disk).files[self.index].current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        if disk.access(Access::Read)?.is_some() {
            return Err(io::Error::other("simulated failed read"));
        }
        let bytes = &disk.files[self.index].current;
        let from = bytes.get(offset as usize..offset as usize + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(from);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        if disk.access(Access::Write)?.is_some() {
            return Err(io::Error::other("simulated failed change of length"));
        }
        disk.check_space(disk.files[self.index].current.len(), length as usize)?;
        disk.files[self.index].change(Change::SetLength(length as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        let fault = disk.access(Access::Sync)?;
        let disk = &mut *disk;
        let file = &mut disk.files[self.index];
        if fault.is_some() {
            let current = file.current.clone();
            file.lose_power(&mut disk.random);
            file.current = current;
            return Err(io::Error::other("simulated failed sync"));
        }
        for change in std::mem::take(&mut file.pending) {
            change.apply(&mut file.durable);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        let fault = disk.access(Access::Write)?;
        disk.check_space(disk.files[self.index].current.len(), offset as usize + data.len())?;
        let disk = &mut *disk;
        let file = &mut disk.files[self.index];
        match fault {
            None => file.change(Change::Write(offset as usize, data.to_vec())),
            Some(Fault::ShortWrite) => {
                let part = disk.random.gen_range(0..=data.len());
                file.change(Change::Write(offset as usize, data[..part].to_vec()));
                return Err(io::Error::other("simulated short write"));
            }
            Some(_) => return Err(io::Error::other("simulated failed write")),
        }
        Ok(())
    }
}

fn open(disk: &Arc<Mutex<Disk>>, create: bool) -> Result<Embedded, String> {
    let file = |index| DiskFile { disk: disk.clone(), index };
    // Small, so that checkpoints and evictions from the cache happen all the time.
    let tuning = Tuning { lifetime: TRANSACTION_LIFETIME, log_bytes: 100_000 };
    let opened = Opened::on_storage(file(0), Box::new(file(1)), create, 300_000)?;
    opened.start(None, tuning).map_err(|error| error.to_string())
}

/// What is certain of one writer's transactions, which count up from 1.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    acknowledged: u64,
    attempted: u64,
}

fn key(writer: u64, name: &str, number: u64) -> Vec<u8> {
    format!("{writer}/{name}/{number:06}").into_bytes()
}

fn number(value: Option<bytes::Bytes>) -> u64 {
    value.map_or(0, |value| u64::from_le_bytes(value[..8].try_into().expect("at least eight bytes")))
}

/// One transaction whose parts must be all there or none: four equal numbers, a counter, a trail that is cut at its tail.
async fn write(engine: &Arc<Embedded>, writer: u64, turn: u64) -> Result<(), StoreError> {
    let tx = EmbeddedTransaction::new(engine.clone());
    for part in 0..4 {
        let mut value = turn.to_le_bytes().to_vec();
        value.resize(8 + (turn as usize * 37 + part as usize * 501) % 3000, 7);
        tx.set(&key(writer, "part", part), &value);
    }
    tx.atomic(AtomicOp::Add, &key(writer, "count", 0), &1u64.to_le_bytes());
    tx.set(&key(writer, "trail", turn), &vec![turn as u8; 600]);
    if turn.is_multiple_of(7) {
        tx.clear_range(&key(writer, "trail", 0), &key(writer, "trail", turn.saturating_sub(20)));
        tx.set(&key(writer, "cut", 0), &turn.saturating_sub(20).to_le_bytes());
    }
    tx.commit().await.map(|_| ())
}

/// Checks what is stored against what is certain; returns where each writer is.
fn verify(engine: &Arc<Embedded>, progress: &[Progress]) -> Vec<Progress> {
    let check = |(writer, progress): (u64, &Progress)| {
        let tx = EmbeddedTransaction::new(engine.clone());
        let read = |name, index| number(tx.get(&key(writer, name, index), false).expect("reads work"));
        let turn = read("part", 0);
        assert!(turn >= progress.acknowledged, "writer {writer}: {turn} is there, {progress:?}");
        assert!(turn <= progress.attempted, "writer {writer}: {turn} is there, {progress:?}");
        for part in 1..4 {
            assert_eq!(read("part", part), turn, "writer {writer}: part {part} is of another transaction");
        }
        assert_eq!(read("count", 0), turn, "writer {writer}: count");
        let (begin, end) = (key(writer, "trail", 0), key(writer, "trail", 999_999));
        let trail = tx.range(&RangeRead { begin, end, limit: None, reverse: false, snapshot: true });
        let trail: Vec<_> = trail.expect("reads work").into_iter().map(|entry| entry.key.to_vec()).collect();
        let expected: Vec<_> = (read("cut", 0).max(1)..=turn).map(|number| key(writer, "trail", number)).collect();
        assert_eq!(trail, expected, "writer {writer}: trail");
        Progress { acknowledged: turn, attempted: turn }
    };
    (0..).zip(progress).map(check).collect()
}

/// Writes until the store fails or everyone did `turns`.
async fn work(engine: &Arc<Embedded>, progress: &mut [Progress], turns: u64, together: bool) -> Option<StoreError> {
    let run = async |writer: u64, mut progress: Progress| {
        for _ in 0..turns {
            progress.attempted += 1;
            if let Err(error) = write(engine, writer, progress.attempted).await {
                return (progress, Some(error));
            }
            progress.acknowledged = progress.attempted;
        }
        (progress, None)
    };
    let mut failure = None;
    if together {
        let all = (0..).zip(progress.iter()).map(|(writer, progress)| run(writer, *progress));
        for (writer, (now, error)) in futures_util::future::join_all(all).await.into_iter().enumerate() {
            progress[writer] = now;
            failure = failure.or(error);
        }
    } else {
        for (writer, progress) in (0..).zip(progress) {
            let (now, error) = run(writer, *progress).await;
            *progress = now;
            failure = failure.or(error);
        }
    }
    failure
}

async fn run_seed(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let disk = Arc::new(Mutex::new(Disk {
        random: StdRng::seed_from_u64(seed ^ 1),
        files: Default::default(),
        plan: None,
        dead: false,
        full: false,
    }));
    let mut progress = vec![Progress::default(); WRITERS as usize];
    let mut created = false;
    for _ in 0..4 {
        let fault = FAULTS[random.gen_range(0..FAULTS.len())];
        let after = 1 << random.gen_range(0..12);
        lock(&disk).plan = Some((fault, random.gen_range(0..after)));
        match open(&disk, !created) {
            Ok(engine) => {
                created = true;
                let engine = Arc::new(engine);
                progress = verify_unless_failed(&engine, &progress);
                let failed = engine.failed();
                let failure = work(&engine, &mut progress, random.gen_range(1..150), random.gen_bool(0.5)).await;
                if let Some(failure) = failure {
                    assert!(matches!(failure, StoreError::Io(_)), "{fault:?} came out as {failure:?}");
                    let told = tokio::time::timeout(Duration::from_secs(10), failed).await;
                    assert!(matches!(told, Ok(StoreError::Io(_))), "the failure is told: {told:?}");
                    let after = EmbeddedTransaction::new(engine.clone()).get(b"x", false);
                    assert!(matches!(after, Err(StoreError::Io(_))), "reads go on after the failure: {after:?}");
                    let after = write(&engine, 0, 1).await;
                    assert!(matches!(after, Err(StoreError::Io(_))), "writes go on after the failure: {after:?}");
                }
                if random.gen_bool(0.5) {
                    engine.close().await;
                }
            }
            // A first start that fails is begun anew (see `Directory`).
            Err(_) if !created => lock(&disk).files = Default::default(),
            Err(_) => {}
        }
        // What was written but not synced is lost in part, whether the process died of it or with it.
        let mut disk = lock(&disk);
        let Disk { random, files, .. } = &mut *disk;
        for file in files {
            file.lose_power(random);
        }
        (disk.plan, disk.dead, disk.full) = (None, false, false);
    }

    // On a sound disk everything is there, works, and survives a clean restart.
    let engine = Arc::new(open(&disk, !created).unwrap_or_else(|error| panic!("does not open: {error}")));
    progress = verify(&engine, &progress);
    assert!(work(&engine, &mut progress, 30, true).await.is_none());
    progress = verify(&engine, &progress);
    engine.close().await;
    drop(engine);
    let engine = Arc::new(open(&disk, false).expect("opens after a clean close"));
    verify(&engine, &progress);
    engine.close().await;
    drop(engine);
    let tree = redb::Builder::new();
    let mut tree = tree.create_with_backend(DiskFile { disk, index: 0 }).expect("the tree opens");
    assert!(tree.check_integrity().expect("the tree can be checked"), "the tree is sound");
}

/// The planned fault may hit the reads of the check, too.
fn verify_unless_failed(engine: &Arc<Embedded>, progress: &[Progress]) -> Vec<Progress> {
    let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| verify(engine, progress)));
    match checked {
        Ok(progress) => progress,
        Err(_) if engine.shared.check().is_err() => progress.to_vec(),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_half_committed_is_visible() {
    let seeds = match std::env::var("HEARTH_FAULT_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("HEARTH_FAULT_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..150,
    };
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let run = std::panic::AssertUnwindSafe(|| runtime.block_on(run_seed(seed)));
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("failed with HEARTH_FAULT_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
