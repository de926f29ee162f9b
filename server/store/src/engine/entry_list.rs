//! Entries on their way to whoever asked for a range.

use bytes::{Bytes, BytesMut};

use super::buffer::successor;
use super::key::Key;
use crate::KeyValue;

/// Collects the entries of a range in one allocation that all of them share.
#[derive(Default)]
pub(crate) struct EntryList {
    bytes: BytesMut,
    /// Where each key and each value ends.
    ends: Vec<(usize, usize)>,
}

impl EntryList {
    pub(crate) fn push(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push((key_end, self.bytes.len()));
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn last_key(&self) -> Option<&[u8]> {
        let begin = self.ends.len().checked_sub(2).map_or(0, |before| self.ends[before].1);
        self.ends.last().map(|&(end, _)| &self.bytes[begin..end])
    }

    /// What was really read of `begin..end`: where `limit` cut the read short, up to the last entry.
    pub(crate) fn covered(&self, begin: &[u8], end: &[u8], limit: usize, reverse: bool) -> (Key, Key) {
        match self.last_key() {
            Some(last) if self.len() == limit && reverse => (last.into(), end.into()),
            Some(last) if self.len() == limit => (begin.into(), successor(last)),
            _ => (begin.into(), end.into()),
        }
    }

    pub(crate) fn finish(self) -> Vec<KeyValue> {
        let bytes: Bytes = self.bytes.freeze();
        let mut begin = 0;
        let entry = |(key_end, value_end)| {
            let entry = KeyValue { key: bytes.slice(begin..key_end), value: bytes.slice(key_end..value_end) };
            begin = value_end;
            entry
        };
        self.ends.into_iter().map(entry).collect()
    }
}
