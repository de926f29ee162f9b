//! While somebody reads a snapshot, every commit logs which keys it writes.
//!
//! A read of everything takes longer than the five seconds that FoundationDB keeps old versions, so [`super::snapshot`] reads in
//! pieces at successive versions and then mends what was written meanwhile. For that it must know what was written: capture.
//!
//! The capture row lists who reads a snapshot and until which version each of them says so. While there is one, every writing
//! transaction adds a row to the log (below its own versionstamp) with the keys and ranges that it writes.
//!
//! **How a transaction learns of it for free.** Whoever changes the row from nobody to somebody or back also changes
//! `\xff/metadataVersion`, a key whose value FoundationDB hands to clients together with each read version. A writing
//! transaction looks at that value: the same as when this process last read the capture row, and the row is the same as well;
//! otherwise it reads the row.
//!
//! **Why no commit escapes.** A writing transaction makes `\xff/metadataVersion` a read conflict. Let capture be turned on by a
//! commit of version `m`. A transaction that commits after `m` either has a read version of at least `m`, sees the new
//! value, reads the row and logs; or its read version is older, then the key was written after it, and it conflicts and runs
//! again. So every commit after `m` is in the log. (Other layers on a shared cluster may change the key as well; then
//! transactions of that moment conflict, which costs an attempt and nothing else.) In the same way nothing is added to the log after it was cleared at the end.
//!
//! **A crashed reader** does not leave capture on for ever: its entry holds up to a version. A transaction
//! whose read version is past everyone's does not log and has the rows removed. A reader that lives moves its version on well before
//! (at least [`MARGIN`] versions, longer than any transaction lives, so that no writer saw it lapse in between), and
//! learns that it is too late if it has not: then its snapshot fails, it never is silently wrong.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use ::foundationdb::options::MutationType;
use ::foundationdb::{Database, Transaction};
use bytes::Bytes;

use super::client::{self, ask, conflict_with};
use super::layout::{Layout, METADATA_VERSION, ends, point};
use crate::engine::buffer::{STAMP_BYTES, WriteSet, stamp, successor};
use crate::engine::key::{Key, KeyRange};
use crate::engine::mutex::lock;
use crate::limits::VALUE_BYTES;
use crate::{StoreError, Version};

/// How long a reader's entry holds without being moved on: five minutes of versions.
pub(super) const LEASE: Version = 300 * 1_000_000;
/// An entry is moved on while it holds at least this much longer.
pub(super) const MARGIN: Version = 20 * 1_000_000;
/// Readers at the same time.
const READERS: usize = 16;
/// What a transaction adds to the log at most, in bytes; beyond that, keys are merged into ranges, which only means that more is
/// read again than was written.
const LOGGED_BYTES: usize = 200_000;

/// What this process knows of the capture row.
#[derive(Debug, Default)]
pub(super) struct Capture {
    known: Mutex<Option<Known>>,
    /// Lapsed entries are being removed.
    pub(super) sweeping: AtomicBool,
}

#[derive(Debug, Clone)]
struct Known {
    /// The value of `\xff/metadataVersion` when the row was read.
    metadata: Option<Bytes>,
    /// Up to which version somebody reads; `None`: nobody does.
    until: Option<Version>,
}

/// What a writing transaction found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nobody,
    /// It logged what it writes.
    Reader,
    /// Somebody crashed; the rows should be removed.
    Lapsed,
}

impl Capture {
    /// Makes `transaction`, which reads at `version` and writes `writes`, log them if somebody reads a snapshot.
    pub(super) async fn note(
        &self,
        transaction: &Transaction,
        layout: &Layout,
        version: Version,
        writes: &WriteSet,
    ) -> Result<Found, StoreError> {
        let metadata = ask("a read", transaction.get(METADATA_VERSION, true)).await?;
        let metadata = metadata.map(|value| Bytes::copy_from_slice(&value));
        conflict_with(transaction, point(METADATA_VERSION.to_vec()))?;
        let known = lock(&self.known).clone().filter(|known| known.metadata == metadata);
        let until = match known {
            Some(Known { until: None, .. }) => return Ok(Found::Nobody),
            Some(Known { until: Some(until), .. }) if version <= until => until,
            // Unknown, or lapsed unless it was moved on.
            _ => {
                let row = ask("a read", transaction.get(&layout.capture(), true)).await?;
                let until = Readers::decode(row.as_deref()).until();
                *lock(&self.known) = Some(Known { metadata, until });
                match until {
                    None => return Ok(Found::Nobody),
                    Some(until) => until,
                }
            }
        };
        if until < version {
            return Ok(Found::Lapsed);
        }
        let written = merge(written(writes, version), LOGGED_BYTES);
        for (part, value) in encode(&written).into_iter().enumerate() {
            let part = u16::try_from(part).map_err(|_| StoreError::TransactionTooLarge { size: writes.size() })?;
            let offset = layout.log().0.len() as u32;
            let key = [layout.log_row(&[0xff; STAMP_BYTES], part).as_slice(), &offset.to_le_bytes()].concat();
            transaction.atomic_op(&key, &value, MutationType::SetVersionstampedKey);
        }
        Ok(Found::Reader)
    }
}

/// Who reads snapshots: numbers, and up to which version each says so.
#[derive(Debug, Default, PartialEq, Eq)]
struct Readers(Vec<(u64, Version)>);

impl Readers {
    fn decode(row: Option<&[u8]>) -> Self {
        let (entries, _) = row.unwrap_or_default().as_chunks::<16>();
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte));
        Self(entries.iter().map(|entry| (number(&entry[..8]), number(&entry[8..]))).collect())
    }

    fn encode(&self) -> Vec<u8> {
        self.0.iter().flat_map(|(id, until)| [id.to_be_bytes(), until.to_be_bytes()]).flatten().collect()
    }

    fn until(&self) -> Option<Version> {
        self.0.iter().map(|(_, until)| *until).max()
    }
}

/// Changes `\xff/metadataVersion` with the commit.
fn change_metadata_version(transaction: &Transaction) {
    transaction.update_metadata_version();
}

/// Adds a reader with the number `id`; returns the stamp of the commit from which on everything is logged.
pub(super) async fn begin(database: &Database, layout: &Layout, id: u64) -> Result<[u8; STAMP_BYTES], StoreError> {
    let transaction = client::begin(database, Some("begin snapshot"))?;
    let (version, mut readers) = read(&transaction, layout).await?;
    // An attempt before this one may have succeeded without saying so.
    readers.0.retain(|(reader, until)| *reader != id && *until >= version);
    if readers.0.len() >= READERS {
        return Err(StoreError::SnapshotLost(format!("{READERS} snapshots are being read already")));
    }
    if readers.0.is_empty() {
        let (begin, end) = layout.log();
        transaction.clear_range(&begin, &end);
    }
    readers.0.push((id, version + LEASE));
    transaction.set(&layout.capture(), &readers.encode());
    change_metadata_version(&transaction);
    let stamp = transaction.get_versionstamp();
    client::commit(transaction).await?;
    let stamp = ask("a versionstamp", stamp).await?;
    stamp.as_ref().try_into().map_err(|_| StoreError::Io("FoundationDB: a versionstamp of another size".to_owned()))
}

async fn read(transaction: &Transaction, layout: &Layout) -> Result<(Version, Readers), StoreError> {
    let version = client::read_version(transaction).await?;
    let row = ask("a read", transaction.get(&layout.capture(), true)).await?;
    conflict_with(transaction, point(layout.capture()))?;
    Ok((version, Readers::decode(row.as_deref())))
}

fn lapsed() -> StoreError {
    StoreError::SnapshotLost("the snapshot stood still for too long and is out of date; begin again".to_owned())
}

/// Whether everything up to `version`, at which `transaction` reads, was logged for the reader `id`.
pub(super) async fn check(
    transaction: &Transaction,
    layout: &Layout,
    id: u64,
    version: Version,
) -> Result<(), StoreError> {
    let row = ask("a read", transaction.get(&layout.capture(), true)).await?;
    let holds = Readers::decode(row.as_deref()).0.iter().any(|(reader, until)| *reader == id && *until >= version);
    if holds { Ok(()) } else { Err(lapsed()) }
}

/// Moves the reader's entry on, if that is due.
pub(super) async fn renew(database: &Database, layout: &Layout, id: u64) -> Result<(), StoreError> {
    let transaction = client::begin(database, Some("renew snapshot"))?;
    let (version, mut readers) = read(&transaction, layout).await?;
    let entry = readers.0.iter_mut().find(|(reader, _)| *reader == id).ok_or_else(lapsed)?;
    if entry.1 < version + MARGIN {
        return Err(lapsed());
    }
    entry.1 = version + LEASE;
    transaction.set(&layout.capture(), &readers.encode());
    client::commit(transaction).await
}

/// Removes the reader `id`, and all whose entries have lapsed. After the last one the log is cleared.
pub(super) async fn end(database: &Database, layout: &Layout, id: Option<u64>) -> Result<(), StoreError> {
    let transaction = client::begin(database, Some("end snapshot"))?;
    let (version, mut readers) = read(&transaction, layout).await?;
    let before = readers.0.len();
    // One that lapsed only now may be in the middle of a renewal, which then finds itself gone.
    readers.0.retain(|(reader, until)| Some(*reader) != id && *until >= version);
    if readers.0.len() == before {
        return Ok(());
    }
    if readers.0.is_empty() {
        transaction.clear(&layout.capture());
        let (begin, end) = layout.log();
        transaction.clear_range(&begin, &end);
        change_metadata_version(&transaction);
    } else {
        transaction.set(&layout.capture(), &readers.encode());
    }
    client::commit(transaction).await
}

/// Everything that a transaction which reads at `version` writes.
fn written(writes: &WriteSet, version: Version) -> Vec<KeyRange> {
    let cleared = writes.cleared.iter().map(|(begin, end)| KeyRange::Range(begin.clone(), end.clone()));
    let entries = writes.entries.iter().map(|(key, _)| KeyRange::Point(key.clone()));
    // Nobody knows the stamp yet, only that it is larger than the read version.
    let stamped = writes.stamped.iter().map(|write| {
        let at = |stamp: &[u8; STAMP_BYTES]| {
            let mut key = write.template.clone();
            key[write.offset..write.offset + STAMP_BYTES].copy_from_slice(stamp);
            key
        };
        KeyRange::Range(at(&stamp(version + 1, 0)).into(), successor(&at(&[0xff; STAMP_BYTES])))
    });
    cleared.chain(entries).chain(stamped).collect()
}

/// In order, without overlaps, and together at most about `bytes` long: where there are too many, neighbours become one range.
pub(super) fn merge(mut ranges: Vec<KeyRange>, bytes: usize) -> Vec<KeyRange> {
    fn begin(range: &KeyRange) -> &Key {
        match range {
            KeyRange::Point(key) | KeyRange::Range(key, _) => key,
        }
    }
    ranges.sort_by(|a, b| begin(a).cmp(begin(b)));
    let mut merged: Vec<KeyRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        let covers = match merged.last() {
            Some(KeyRange::Point(key)) => range == KeyRange::Point(key.clone()),
            Some(KeyRange::Range(_, end)) => begin(&range) < end,
            None => false,
        };
        match merged.last_mut().filter(|_| covers) {
            None => merged.push(range),
            Some(KeyRange::Range(_, end)) => *end = end.clone().max(ends(range).1),
            Some(KeyRange::Point(_)) => {}
        }
    }
    let size: usize = merged.iter().map(KeyRange::size).sum();
    let together = size / bytes + 1;
    if together == 1 {
        return merged;
    }
    let unite = |neighbours: &[KeyRange]| {
        let first = begin(&neighbours[0]).clone();
        let last = ends(neighbours[neighbours.len() - 1].clone()).1;
        KeyRange::Range(first, last)
    };
    merged.chunks(together).map(unite).collect()
}

/// Values of log rows: kind and keys, each behind its length.
fn encode(ranges: &[KeyRange]) -> Vec<Vec<u8>> {
    let mut rows = vec![Vec::new()];
    for range in ranges {
        let mut entry = Vec::new();
        let mut push = |kind: u8, keys: &[&Key]| {
            entry.push(kind);
            for key in keys {
                entry.extend_from_slice(&(key.len() as u16).to_be_bytes());
                entry.extend_from_slice(key);
            }
        };
        match range {
            KeyRange::Point(key) => push(0, &[key]),
            KeyRange::Range(begin, end) => push(1, &[begin, end]),
        }
        match rows.last_mut() {
            Some(row) if row.len() + entry.len() <= VALUE_BYTES => row.extend(entry),
            _ => rows.push(entry),
        }
    }
    rows
}

/// What a log row says, or `None` where it says nothing that makes sense.
pub(super) fn decode(mut row: &[u8]) -> Option<Vec<KeyRange>> {
    fn key(row: &mut &[u8]) -> Option<Key> {
        let (length, rest) = row.split_first_chunk()?;
        let (key, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        *row = rest;
        Some(key.into())
    }
    let mut ranges = Vec::new();
    while let Some((kind, rest)) = row.split_first() {
        row = rest;
        ranges.push(match kind {
            0 => KeyRange::Point(key(&mut row)?),
            1 => KeyRange::Range(key(&mut row)?, key(&mut row)?),
            _ => return None,
        });
    }
    Some(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(key: &str) -> KeyRange {
        KeyRange::Point(key.as_bytes().into())
    }

    fn range(begin: &str, end: &str) -> KeyRange {
        KeyRange::Range(begin.as_bytes().into(), end.as_bytes().into())
    }

    #[test]
    fn log_rows_decode() {
        let written = vec![point("a"), range("b", "c"), point("")];
        let rows = encode(&written);
        assert_eq!(rows.len(), 1);
        assert_eq!(decode(&rows[0]), Some(written));
        assert_eq!(decode(&rows[0][..2]), None);
        assert_eq!(decode(&[9]), None);
        let long: Vec<_> = (0..30).map(|number| point(&format!("{number:09000}"))).collect();
        let rows = encode(&long);
        assert!(rows.len() > 1 && rows.iter().all(|row| row.len() <= VALUE_BYTES));
        assert_eq!(rows.iter().flat_map(|row| decode(row).unwrap()).collect::<Vec<_>>(), long);
    }

    #[test]
    fn merging_covers_everything_and_is_bounded() {
        let all =
            vec![point("m"), range("a", "c"), point("b"), range("bb", "d"), point("d"), point("m"), range("x", "z")];
        assert_eq!(merge(all, 1000), [range("a", "d"), point("d"), point("m"), range("x", "z")]);
        let many: Vec<_> = (0..1000).map(|number| point(&format!("{number:04}"))).collect();
        let merged = merge(many, 1000);
        assert!(merged.iter().map(KeyRange::size).sum::<usize>() <= 2000, "{}", merged.len());
        assert_eq!(merged.first().map(|range| ends(range.clone()).0), Some(b"0000".as_slice().into()));
        assert_eq!(merged.last().map(|range| ends(range.clone()).1), Some(b"0999\0".as_slice().into()));
    }

    #[test]
    fn readers_decode() {
        let readers = Readers(vec![(1, 7), (u64::MAX, 9)]);
        assert_eq!(Readers::decode(Some(&readers.encode())), readers);
        assert_eq!((readers.until(), Readers::decode(None).until()), (Some(9), None));
    }
}
