//! Where things lie in the cluster.
//!
//! ```text
//! root 01 key                                a caller's entry
//! root 00 (format)                           the number of this layout
//! root 00 (receipt, process, number)         result of a commit: see `idempotency`
//! root 00 (capture)                          who reads snapshots: see `capture`
//! root 00 (log) stamp part                   what commits wrote while a snapshot is read
//! ```
//! Parentheses are tuples. Callers see neither the root prefix nor anything below `root 00`.

use crate::engine::buffer::STAMP_BYTES;
use crate::engine::key::{Key, KeyRange};

/// The layout that this executable reads and writes.
pub(super) const FORMAT: u64 = 1;

/// FoundationDB's key that changes when anyone on the cluster says so, and that clients get with each read version.
pub(super) const METADATA_VERSION: &[u8] = b"\xff/metadataVersion";

/// The root prefix and what lies below it.
#[derive(Debug)]
pub(super) struct Layout {
    system: Vec<u8>,
    data: Vec<u8>,
}

impl Layout {
    pub(super) fn new(root: &[u8]) -> Self {
        Self { system: [root, &[0]].concat(), data: [root, &[1]].concat() }
    }

    /// Everything of this store.
    pub(super) fn everything(&self) -> (Vec<u8>, Vec<u8>) {
        let mut end = self.data.clone();
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        (self.system.clone(), end)
    }

    /// A caller's key as the cluster knows it.
    pub(super) fn key(&self, key: &[u8]) -> Vec<u8> {
        [&self.data, key].concat()
    }

    /// How long the part before a caller's key is.
    pub(super) fn key_offset(&self) -> usize {
        self.data.len()
    }

    /// The bounds of a caller's range, which excludes its end.
    pub(super) fn range(&self, range: &KeyRange) -> (Vec<u8>, Vec<u8>) {
        match range {
            KeyRange::Point(key) => point(self.key(key)),
            KeyRange::Range(begin, end) => (self.key(begin), self.key(end)),
        }
    }

    /// A caller's key from one that the cluster returned.
    pub(super) fn caller_key<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        key.strip_prefix(self.data.as_slice()).unwrap_or_default()
    }

    fn system(&self, tuple: &impl foundationdb_tuple::TuplePack) -> Vec<u8> {
        [self.system.as_slice(), &foundationdb_tuple::pack(tuple)].concat()
    }

    pub(super) fn format(&self) -> Vec<u8> {
        self.system(&("format",))
    }

    pub(super) fn receipt(&self, process: &[u8], number: u64) -> Vec<u8> {
        self.system(&("receipt", process, number))
    }

    /// Every receipt of `process`, or of all.
    pub(super) fn receipts(&self, process: Option<&[u8]>) -> (Vec<u8>, Vec<u8>) {
        let begin = match process {
            Some(process) => self.system(&("receipt", process)),
            None => self.system(&("receipt",)),
        };
        let end = [begin.as_slice(), &[0xff]].concat();
        (begin, end)
    }

    pub(super) fn capture(&self) -> Vec<u8> {
        self.system(&("capture",))
    }

    /// Every row of the log.
    pub(super) fn log(&self) -> (Vec<u8>, Vec<u8>) {
        let begin = self.system(&("log",));
        let end = [begin.as_slice(), &[0xff; STAMP_BYTES + 3]].concat();
        (begin, end)
    }

    /// The key of a part of the log row of the commit `stamp`.
    pub(super) fn log_row(&self, stamp: &[u8; STAMP_BYTES], part: u16) -> Vec<u8> {
        [&self.log().0, stamp.as_slice(), &part.to_be_bytes()].concat()
    }

    /// The commit whose log row this is.
    pub(super) fn log_stamp(&self, row: &[u8]) -> Option<[u8; STAMP_BYTES]> {
        row.strip_prefix(self.log().0.as_slice())?.first_chunk().copied()
    }
}

/// The range that holds `key` alone.
pub(super) fn point(key: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    let end = [key.as_slice(), &[0]].concat();
    (key, end)
}

/// A caller's range as its two ends.
pub(super) fn ends(range: KeyRange) -> (Key, Key) {
    match range {
        KeyRange::Point(key) => {
            let end = crate::engine::buffer::successor(&key);
            (key, end)
        }
        KeyRange::Range(begin, end) => (begin, end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_lies_in_the_callers_part_but_their_entries() {
        let layout = Layout::new(b"hearth");
        let (first, last) = layout.everything();
        let (begin, end) = layout.range(&KeyRange::Range(b"".as_slice().into(), b"\xff\xff".as_slice().into()));
        for row in [layout.format(), layout.receipt(&[7; 16], 3), layout.capture(), layout.log_row(&[255; 10], 9)] {
            assert!(first <= row && row < begin, "{row:?}");
        }
        assert!(end < last && last == b"hearth\x02");
        assert_eq!(layout.caller_key(&layout.key(b"a")), b"a");
        assert_eq!(layout.log_stamp(&layout.log_row(&[3; 10], 1)), Some([3; 10]));
        let (log, log_end) = layout.log();
        assert!(log < layout.log_row(&[0; 10], 0) && layout.log_row(&[255; 10], u16::MAX) < log_end);
        let (receipts, receipts_end) = layout.receipts(None);
        assert!(receipts < layout.receipt(&[255; 16], 0) && layout.receipt(&[255; 16], u64::MAX) < receipts_end);
    }
}
