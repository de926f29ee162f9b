//! The commit log: what was acknowledged since the last checkpoint of the tree.
//!
//! A file of 4 KiB blocks. Block 0 is the header; then records, one per batch, each padded to whole blocks, so that no
//! write ever touches a block that holds an older acknowledged record and a torn write damages only itself.
//! After a checkpoint the log starts over in place; what is left of the last round is told apart by its versions, which are
//! not above the checkpoint's. The file stays allocated, so that the fsync of a commit has no metadata to write.
//!
//! ```text
//! header: magic (8) · salt (8) · CRC of both (4)
//! record: magic (4) · CRC of salt, rest and payload (4) · version (8) · payload length (4) · payload
//! payload: operations: tag (1) · lengths (4 each) · bytes; see [`Operation`]
//! ```

use std::fmt::Debug;

use rand::RngCore;
use redb::StorageBackend;

use crate::Version;

const BLOCK: usize = 4096;
const HEADER_MAGIC: &[u8; 8] = b"hearthlg";
const RECORD_MAGIC: &[u8; 4] = b"batc";
const RECORD_HEADER: usize = 20;
/// The file grows by this much and keeps at least this much.
const GROWTH: u64 = 1 << 20;

/// What a record tells the tree to do. Atomic operations and versionstamps are resolved already, so that to replay
/// a record that the tree holds already changes nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Operation<'r> {
    /// Key, value.
    Set(&'r [u8], &'r [u8]),
    /// Key.
    Clear(&'r [u8]),
    /// Begin, end.
    ClearRange(&'r [u8], &'r [u8]),
}

/// What is wrong with a log that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum LogError {
    #[error("commit log: {0}")]
    Io(#[from] std::io::Error),
    #[error("commit log is damaged: {0}")]
    Damaged(String),
}

/// An open log, positioned behind its newest record.
#[derive(Debug)]
pub(super) struct Log {
    file: Box<dyn StorageBackend>,
    salt: [u8; 8],
    allocated: u64,
    tail: u64,
    /// The record that is being built.
    record: Vec<u8>,
}

/// A record read back.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) version: Version,
    payload: Vec<u8>,
}

impl Log {
    /// Makes a new log in an empty file.
    pub(super) fn create(file: Box<dyn StorageBackend>) -> Result<Self, LogError> {
        let mut salt = [0; 8];
        rand::thread_rng().fill_bytes(&mut salt);
        let mut header = [0; BLOCK];
        header[..8].copy_from_slice(HEADER_MAGIC);
        header[8..16].copy_from_slice(&salt);
        let crc = crc32fast::hash(&header[..16]);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
        file.set_len(GROWTH)?;
        file.write(0, &header)?;
        // Written, not only allocated: an unwritten extent would cost a metadata write when it is first used.
        file.write(BLOCK as u64, &vec![0; GROWTH as usize - BLOCK])?;
        file.sync_data()?;
        Ok(Self { file, salt, allocated: GROWTH, tail: BLOCK as u64, record: Vec::new() })
    }

    /// Opens a log and returns the records that follow on version `checkpoint`. Only reads.
    pub(super) fn open(file: Box<dyn StorageBackend>, checkpoint: Version) -> Result<(Self, Vec<Record>), LogError> {
        let allocated = file.len()?;
        let mut bytes = vec![0; usize::try_from(allocated).map_err(|_| LogError::Damaged("absurd length".into()))?];
        file.read(0, &mut bytes)?;
        let header = bytes.get(..RECORD_HEADER).ok_or_else(|| LogError::Damaged("no header".into()))?;
        if header[..8] != *HEADER_MAGIC || header[16..20] != crc32fast::hash(&header[..16]).to_le_bytes() {
            return Err(LogError::Damaged("its header is not one".into()));
        }
        let mut salt = [0; 8];
        salt.copy_from_slice(&header[8..16]);

        let mut records: Vec<Record> = Vec::new();
        let mut at = BLOCK;
        while let Some((record, next)) = read_record(&bytes, at, salt) {
            let newest = records.last().map_or(checkpoint, |newest| newest.version);
            if record.version <= newest {
                break;
            }
            if record.version != newest + 1 {
                return Err(LogError::Damaged(format!("version {} follows on {newest}", record.version)));
            }
            records.push(record);
            at = next;
        }
        // Each record was written after the one before was on disk: a newer one behind the end means that an
        // acknowledged one in between was destroyed.
        let newest = records.last().map_or(checkpoint, |newest| newest.version);
        for block in (at..bytes.len()).step_by(BLOCK) {
            if let Some((record, _)) = read_record(&bytes, block, salt)
                && record.version > newest + 1
            {
                return Err(LogError::Damaged(format!("version {} is missing before {}", newest + 1, record.version)));
            }
        }
        let tail = at as u64;
        Ok((Self { file, salt, allocated, tail, record: Vec::new() }, records))
    }

    /// Bytes of records since the last checkpoint.
    pub(super) fn used(&self) -> u64 {
        self.tail - BLOCK as u64
    }

    /// Begins a record.
    pub(super) fn begin(&mut self, version: Version) {
        self.record.clear();
        self.record.extend_from_slice(RECORD_MAGIC);
        self.record.extend_from_slice(&[0; 4]);
        self.record.extend_from_slice(&version.to_le_bytes());
        self.record.extend_from_slice(&[0; 4]);
    }

    /// Adds to the record.
    pub(super) fn push(&mut self, operation: &Operation<'_>) {
        let mut write = |tag: u8, parts: &[&[u8]]| {
            self.record.push(tag);
            for part in parts {
                self.record.extend_from_slice(&(part.len() as u32).to_le_bytes());
            }
            for part in parts {
                self.record.extend_from_slice(part);
            }
        };
        match operation {
            Operation::Set(key, value) => write(0, &[key, value]),
            Operation::Clear(key) => write(1, &[key]),
            Operation::ClearRange(begin, end) => write(2, &[begin, end]),
        }
    }

    /// Writes the record and waits until it is on disk.
    pub(super) fn commit(&mut self) -> Result<(), LogError> {
        let payload = self.record.len() - RECORD_HEADER;
        self.record[16..RECORD_HEADER].copy_from_slice(&(payload as u32).to_le_bytes());
        let crc = record_crc(self.salt, &self.record[8..]);
        self.record[4..8].copy_from_slice(&crc.to_le_bytes());
        self.record.resize(self.record.len().next_multiple_of(BLOCK), 0);
        let end = self.tail + self.record.len() as u64;
        if end > self.allocated {
            let grown = end.next_multiple_of(GROWTH);
            self.file.set_len(grown)?;
            self.file.write(end, &vec![0; (grown - end) as usize])?;
            self.allocated = grown;
        }
        self.file.write(self.tail, &self.record)?;
        self.file.sync_data()?;
        self.tail = end;
        Ok(())
    }

    /// Starts over after a checkpoint, and gives disk space back beyond `keep` bytes.
    pub(super) fn reset(&mut self, keep: u64) -> Result<(), LogError> {
        self.tail = BLOCK as u64;
        let keep = keep.max(GROWTH).next_multiple_of(GROWTH);
        if self.allocated > keep {
            self.file.set_len(keep)?;
            self.file.sync_data()?;
            self.allocated = keep;
        }
        Ok(())
    }
}

fn record_crc(salt: [u8; 8], rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    // Values come from strangers; the salt keeps them from containing something that passes for a record.
    hasher.update(&salt);
    hasher.update(rest);
    hasher.finalize()
}

/// The record at `at` and where the next one begins; `None` where there is no whole one.
fn read_record(bytes: &[u8], at: usize, salt: [u8; 8]) -> Option<(Record, usize)> {
    let header = bytes.get(at..at.checked_add(RECORD_HEADER)?)?;
    if header[..4] != *RECORD_MAGIC {
        return None;
    }
    let length = u32::from_le_bytes(header[16..20].try_into().ok()?) as usize;
    let end = (at + RECORD_HEADER).checked_add(length)?;
    let rest = bytes.get(at + 8..end)?;
    if header[4..8] != record_crc(salt, rest).to_le_bytes() {
        return None;
    }
    let version = Version::from_le_bytes(header[8..16].try_into().ok()?);
    Some((Record { version, payload: bytes[at + RECORD_HEADER..end].to_vec() }, end.next_multiple_of(BLOCK)))
}

impl Record {
    /// The operations in order.
    pub(super) fn operations(&self) -> Result<Vec<Operation<'_>>, LogError> {
        let mut operations = Vec::new();
        let mut rest = self.payload.as_slice();
        while !rest.is_empty() {
            let operation = read_operation(&mut rest).ok_or_else(|| {
                LogError::Damaged(format!("version {} holds an operation that does not decode", self.version))
            })?;
            operations.push(operation);
        }
        Ok(operations)
    }
}

fn read_operation<'r>(rest: &mut &'r [u8]) -> Option<Operation<'r>> {
    fn length(rest: &mut &[u8]) -> Option<usize> {
        let (length, left) = rest.split_first_chunk::<4>()?;
        *rest = left;
        usize::try_from(u32::from_le_bytes(*length)).ok()
    }
    fn take<'r>(rest: &mut &'r [u8], length: usize) -> Option<&'r [u8]> {
        let (part, left) = rest.split_at_checked(length)?;
        *rest = left;
        Some(part)
    }
    let (&tag, left) = rest.split_first()?;
    *rest = left;
    let first = length(rest)?;
    if tag == 1 {
        return Some(Operation::Clear(take(rest, first)?));
    }
    let second = length(rest)?;
    let (first, second) = (take(rest, first)?, take(rest, second)?);
    match tag {
        0 => Some(Operation::Set(first, second)),
        2 => Some(Operation::ClearRange(first, second)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use redb::backends::InMemoryBackend;

    use super::*;

    /// A file that outlives the log.
    #[derive(Debug, Clone)]
    struct File(Arc<InMemoryBackend>);

    impl StorageBackend for File {
        fn len(&self) -> std::io::Result<u64> {
            self.0.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
            self.0.read(offset, out)
        }
        fn set_len(&self, length: u64) -> std::io::Result<()> {
            self.0.set_len(length)
        }
        fn sync_data(&self) -> std::io::Result<()> {
            self.0.sync_data()
        }
        fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
            self.0.write(offset, data)
        }
    }

    fn commit(log: &mut Log, version: Version, value: &[u8]) {
        log.begin(version);
        log.push(&Operation::Set(b"key", value));
        log.push(&Operation::Clear(b"gone"));
        log.push(&Operation::ClearRange(b"a", b"b"));
        log.commit().unwrap();
    }

    /// A log with records of `versions`; the second is three blocks long.
    fn log(versions: std::ops::RangeInclusive<Version>) -> (File, Log) {
        let file = File(Arc::new(InMemoryBackend::new()));
        let mut log = Log::create(Box::new(file.clone())).unwrap();
        for version in versions {
            commit(&mut log, version, &vec![version as u8; if version == 2 { 9000 } else { 10 }]);
        }
        (file, log)
    }

    fn reopen(file: &File, checkpoint: Version) -> Result<Vec<Version>, LogError> {
        let (_, records) = Log::open(Box::new(file.clone()), checkpoint)?;
        Ok(records.iter().map(|record| record.version).collect())
    }

    #[test]
    fn records_come_back_as_they_were_written() {
        let (file, log) = log(1..=3);
        assert_eq!(log.used(), 5 * BLOCK as u64);
        let (mut log, records) = Log::open(Box::new(file.clone()), 0).unwrap();
        assert_eq!(
            records[1].operations().unwrap(),
            [Operation::Set(b"key", &[2; 9000]), Operation::Clear(b"gone"), Operation::ClearRange(b"a", b"b")]
        );
        commit(&mut log, 4, b"more");
        assert_eq!(reopen(&file, 0).unwrap(), [1, 2, 3, 4]);
    }

    #[test]
    fn what_the_tree_holds_is_skipped_only_from_the_start() {
        let (file, mut log) = log(1..=5);
        log.reset(0).unwrap();
        assert!(reopen(&file, 5).unwrap().is_empty());
        commit(&mut log, 6, b"after the checkpoint");
        // Behind it lies what is left of the last round.
        assert_eq!(reopen(&file, 5).unwrap(), [6]);
    }

    #[test]
    fn a_torn_end_is_the_end_and_a_hole_is_damage() {
        let block = BLOCK as u64;
        for (offset, expected) in [(block, None), (block * 3, None), (block * 5, Some(vec![1, 2]))] {
            let (file, _) = log(1..=3);
            file.write(offset + 30, b"torn").unwrap();
            match (reopen(&file, 0), expected) {
                (Ok(found), Some(expected)) => assert_eq!(found, expected),
                (Err(LogError::Damaged(detail)), None) => assert!(detail.contains("is missing"), "{detail}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_log_that_does_not_fit_the_tree_is_damage() {
        let (file, _) = log(3..=5);
        assert!(matches!(reopen(&file, 1), Err(LogError::Damaged(_))));
        assert_eq!(reopen(&file, 2).unwrap(), [3, 4, 5]);
        let (other, _) = log(1..=3);
        file.write(8, b"salt").unwrap();
        assert!(matches!(reopen(&file, 2), Err(LogError::Damaged(_))), "the header is checked");
        // A record of another log does not pass for one of this.
        let mut record = vec![0; BLOCK];
        file.read(BLOCK as u64, &mut record).unwrap();
        other.write(5 * BLOCK as u64, &record).unwrap();
        assert_eq!(reopen(&other, 0).unwrap(), [1, 2]);
    }

    #[test]
    fn the_file_grows_and_gives_space_back() {
        let (file, mut log) = log(1..=1);
        commit(&mut log, 2, &vec![1; 3 << 20]);
        assert_eq!(file.len().unwrap(), 4 << 20);
        log.reset(2 << 20).unwrap();
        assert_eq!(file.len().unwrap(), 2 << 20);
        commit(&mut log, 3, b"small");
        assert_eq!(reopen(&file, 2).unwrap(), [3]);
    }
}
