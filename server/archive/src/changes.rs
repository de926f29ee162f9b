//! What changed while a snapshot was read: parts that stand in place of what was written to the file already.
//!
//! FoundationDB reads a large range over many versions and then tells what to replace. A backup has its entries in key order
//! and each key once, so that the replaced parts wait here, on disk and sealed with a key that only this process knows, until they
//! are merged into the file. In memory is one interval of keys for each.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Bound;
use std::path::Path;

use hearth_store::{Bytes, KeyValue};

use crate::ArchiveError;
use crate::file::{SpillKey, Temporary, entries, entry_into};

/// Newest first knowledge of replaced intervals.
#[derive(Debug)]
pub(crate) struct Changes {
    temporary: Temporary,
    file: File,
    key: SpillKey,
    /// Where each piece lies in the file: offset and length.
    pieces: Vec<(u64, u32)>,
    end: u64,
    /// Disjoint intervals by their first key: the key behind the last, and the piece.
    intervals: BTreeMap<Bytes, (Bytes, usize)>,
}

/// An interval of keys and everything in it.
#[derive(Debug)]
pub(crate) struct Interval {
    pub(crate) begin: Bytes,
    pub(crate) end: Bytes,
    pub(crate) entries: Vec<(Bytes, Bytes)>,
}

impl Changes {
    /// None yet, kept beside the backup that becomes `path`.
    pub(crate) fn beside(path: &Path) -> Result<Self, ArchiveError> {
        let (temporary, file) = Temporary::create(path, ".changes")?;
        let key = SpillKey::new();
        Ok(Self { temporary, file, key, pieces: Vec::new(), end: 0, intervals: BTreeMap::new() })
    }

    fn broken(&self, detail: &str) -> ArchiveError {
        ArchiveError::File { path: self.temporary.path().to_owned(), detail: detail.to_owned() }
    }

    /// From now on `given` is everything in `begin..end`.
    pub(crate) fn replace(&mut self, begin: Bytes, end: Bytes, given: &[KeyValue]) -> Result<(), ArchiveError> {
        if begin >= end {
            return Ok(());
        }
        let mut content = Vec::new();
        for KeyValue { key, value } in given {
            entry_into(&mut content, key, value);
        }
        let piece = self.pieces.len();
        let sealed = self.key.seal(piece as u64, &content).ok_or_else(|| self.broken("it cannot be encrypted"))?;
        self.file.write_all(&sealed).map_err(|error| ArchiveError::file(self.temporary.path(), &error))?;
        self.pieces.push((self.end, sealed.len() as u32));
        self.end += sealed.len() as u64;

        // What older intervals have in common with the new one is out of date.
        let before = (Bound::Unbounded, Bound::Excluded(&end));
        let mut touched: Vec<(Bytes, Bytes, usize)> = Vec::new();
        for (from, (to, piece)) in self.intervals.range::<Bytes, _>(before).rev() {
            if *to <= begin {
                break;
            }
            touched.push((from.clone(), to.clone(), *piece));
        }
        for (from, to, piece) in touched {
            self.intervals.remove(&from);
            if from < begin {
                self.intervals.insert(from, (begin.clone(), piece));
            }
            if end < to {
                self.intervals.insert(end.clone(), (to, piece));
            }
        }
        self.intervals.insert(begin, (end, piece));
        Ok(())
    }

    /// Every interval in key order, with what is in it.
    pub(crate) fn read(&mut self) -> impl Iterator<Item = Result<Interval, ArchiveError>> + '_ {
        let intervals = std::mem::take(&mut self.intervals);
        intervals.into_iter().map(|(begin, (end, piece))| {
            let (offset, length) = self.pieces[piece];
            let mut sealed = vec![0; length as usize];
            self.file
                .seek(SeekFrom::Start(offset))
                .and_then(|_| self.file.read_exact(&mut sealed))
                .map_err(|error| ArchiveError::file(self.temporary.path(), &error))?;
            let content = self.key.open(piece as u64, &sealed).map(Bytes::from);
            let entries = content.as_ref().and_then(entries).ok_or_else(|| self.broken("it was altered"))?;
            let entries = entries.into_iter().filter(|(key, _)| begin <= *key && *key < end).collect();
            Ok(Interval { begin, end, entries })
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Against a plain map to which everything is applied in order.
        #[test]
        fn later_parts_stand_over_earlier_ones(
            parts in prop::collection::vec((0u8..40, 0u8..40, prop::collection::vec(0u8..40, 0..6)), 0..12),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut changes = Changes::beside(&folder.path().join("x")).unwrap();
            let mut model: BTreeMap<u8, Option<u8>> = BTreeMap::new();
            for (number, (begin, end, keys)) in parts.iter().enumerate() {
                let mut keys: Vec<u8> = keys.iter().copied().filter(|key| begin <= key && key < end).collect();
                keys.sort_unstable();
                keys.dedup();
                let one = |byte: u8| Bytes::copy_from_slice(&[byte]);
                let entries: Vec<_> =
                    keys.iter().map(|key| KeyValue { key: one(*key), value: one(number as u8) }).collect();
                changes.replace(one(*begin), one(*end), &entries).unwrap();
                for key in *begin..*end {
                    model.insert(key, keys.contains(&key).then_some(number as u8));
                }
            }
            let mut found = BTreeMap::new();
            let mut last: Option<Bytes> = None;
            for interval in changes.read() {
                let interval = interval.unwrap();
                prop_assert!(last.is_none_or(|last| last <= interval.begin));
                for key in interval.begin[0]..interval.end[0] {
                    found.insert(key, None);
                }
                for (key, value) in interval.entries {
                    found.insert(key[0], Some(value[0]));
                }
                last = Some(interval.end);
            }
            prop_assert_eq!(found, model);
        }
    }
}
