//! A transaction's own writes, which its reads see over the snapshot.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::atomics;
use super::key::{Key, KeyRange};
use crate::limits::{KEY_BYTES, VALUE_BYTES};
use crate::{AtomicOp, StoreError, Version};

/// Bytes of a versionstamp that the commit fills in.
pub(crate) const STAMP_BYTES: usize = 10;
/// Bytes of the offset behind a key or value that holds an incomplete versionstamp.
const OFFSET_BYTES: usize = 4;

/// The ten bytes that a commit writes into versionstamps: version and place in its batch.
pub(crate) fn stamp(version: Version, order: u16) -> [u8; STAMP_BYTES] {
    let mut stamp = [0; STAMP_BYTES];
    stamp[..8].copy_from_slice(&version.to_be_bytes());
    stamp[8..].copy_from_slice(&order.to_be_bytes());
    stamp
}

/// What the atomic operations of a [`Pending`] write start from.
#[derive(Debug, Clone)]
pub(crate) enum Base {
    /// Whatever is stored at commit.
    Stored,
    /// Nothing: the key was cleared.
    Missing,
    Value(Bytes),
    /// A value into which the commit writes its versionstamp.
    Stamped {
        template: Bytes,
        offset: usize,
    },
}

/// The write that waits for one key.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) base: Base,
    pub(crate) operations: Vec<(AtomicOp, Bytes)>,
    /// A versionstamp was written here; reads fail until the key is cleared, as on FoundationDB.
    unreadable: bool,
}

impl Pending {
    fn whole(base: Base) -> Self {
        Self { base, operations: Vec::new(), unreadable: false }
    }

    /// Whether the outcome does not depend on what is stored.
    pub(crate) fn is_independent(&self) -> bool {
        !matches!(self.base, Base::Stored)
    }

    /// The value over what is stored.
    pub(crate) fn resolve(&self, stored: Option<&[u8]>, stamp: [u8; STAMP_BYTES]) -> Option<Bytes> {
        let mut value = match &self.base {
            Base::Stored => stored.map(Bytes::copy_from_slice),
            Base::Missing => None,
            Base::Value(value) => Some(value.clone()),
            Base::Stamped { template, offset } => {
                let mut value = template.to_vec();
                value[*offset..*offset + STAMP_BYTES].copy_from_slice(&stamp);
                Some(value.into())
            }
        };
        for (op, operand) in &self.operations {
            value = Some(atomics::apply(*op, value.as_deref(), operand).into());
        }
        value
    }

    fn size(&self) -> usize {
        let base = match &self.base {
            Base::Stored | Base::Missing => 0,
            Base::Value(value) | Base::Stamped { template: value, .. } => value.len(),
        };
        base + self.operations.iter().map(|(_, operand)| operand.len()).sum::<usize>()
    }
}

/// A write whose key gets the commit's versionstamp.
#[derive(Debug)]
pub(crate) struct StampedKey {
    pub(crate) template: Vec<u8>,
    pub(crate) offset: usize,
    pub(crate) value: Bytes,
    /// Ranges that the transaction cleared after this write, in that order.
    pub(crate) cleared_later: Vec<(Key, Key)>,
}

impl StampedKey {
    /// The key, unless the transaction cleared it afterwards.
    fn resolve(&self, stamp: [u8; STAMP_BYTES]) -> Option<Key> {
        let mut key = self.template.clone();
        key[self.offset..self.offset + STAMP_BYTES].copy_from_slice(&stamp);
        let key: Key = key.into();
        (!self.cleared_later.iter().any(|(begin, end)| *begin <= key && key < *end)).then_some(key)
    }
}

/// What the buffer knows of a key.
#[derive(Debug)]
pub(crate) enum Lookup<'b> {
    /// Nothing: ask the snapshot.
    Unwritten,
    /// The value, whatever is stored.
    Known(Option<Bytes>),
    /// Operations over what is stored.
    Dependent(&'b Pending),
    /// An unresolved versionstamp.
    Unreadable,
}

/// The writes of one transaction, in the shape in which they take effect.
#[derive(Debug, Default)]
pub(crate) struct WriteBuffer {
    entries: BTreeMap<Key, Pending>,
    /// Cleared ranges, disjoint, begin to end; `entries` inside them were written afterwards.
    cleared: BTreeMap<Key, Key>,
    stamped: Vec<StampedKey>,
    /// Where keys with an unresolved versionstamp may come to lie.
    unreadable: Vec<(Key, Key)>,
    /// The first misuse; the commit reports it.
    error: Option<StoreError>,
}

impl WriteBuffer {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.cleared.is_empty() && self.stamped.is_empty() && self.error.is_none()
    }

    fn check(&mut self, key: &[u8], value: &[u8]) -> bool {
        let error = if key.len() > KEY_BYTES {
            StoreError::KeyTooLarge { size: key.len() }
        } else if value.len() > VALUE_BYTES {
            StoreError::ValueTooLarge { size: value.len() }
        } else {
            return true;
        };
        self.error.get_or_insert(error);
        false
    }

    pub(crate) fn set(&mut self, key: &[u8], value: &[u8]) {
        if self.check(key, value) {
            self.put(key, Base::Value(Bytes::copy_from_slice(value)));
        }
    }

    fn put(&mut self, key: &[u8], base: Base) {
        let stamped = matches!(base, Base::Stamped { .. });
        match self.entries.get_mut(key) {
            Some(pending) => {
                *pending = Pending { unreadable: pending.unreadable || stamped, ..Pending::whole(base) };
            }
            None => {
                self.entries.insert(key.into(), Pending { unreadable: stamped, ..Pending::whole(base) });
            }
        }
    }

    pub(crate) fn clear(&mut self, key: &[u8]) {
        if !self.check(key, &[]) {
            return;
        }
        self.entries.insert(key.into(), Pending::whole(Base::Missing));
        if !self.stamped.is_empty() {
            self.clear_stamped(&key.into(), &successor(key));
        }
    }

    pub(crate) fn clear_range(&mut self, begin: &[u8], end: &[u8]) {
        if begin > end {
            self.error.get_or_insert(StoreError::InvertedRange);
            return;
        }
        // One more than a key: the end of a range may be a largest key's successor.
        if let Some(size) = [begin.len(), end.len()].into_iter().find(|&size| size > KEY_BYTES + 1) {
            self.error.get_or_insert(StoreError::KeyTooLarge { size });
            return;
        }
        if begin == end {
            return;
        }
        let (mut begin, mut end): (Key, Key) = (begin.into(), end.into());
        if !self.stamped.is_empty() {
            self.clear_stamped(&begin, &end);
        }
        if !self.entries.is_empty() {
            let gone: Vec<Key> = self.entries_in(&begin, &end).map(|(key, _)| key.clone()).collect();
            for key in gone {
                self.entries.remove(&key);
            }
        }
        // Swallow the cleared ranges that overlap or touch.
        while let Some((from, to)) =
            self.cleared.range::<Key, _>(..=&end).next_back().map(|(f, t)| (f.clone(), t.clone()))
        {
            if to < begin {
                break;
            }
            self.cleared.remove(&from);
            begin = begin.min(from);
            end = end.max(to);
        }
        self.cleared.insert(begin, end);
    }

    fn clear_stamped(&mut self, begin: &Key, end: &Key) {
        for stamped in &mut self.stamped {
            stamped.cleared_later.push((begin.clone(), end.clone()));
        }
        let mut left = Vec::new();
        for (from, to) in self.unreadable.drain(..) {
            if to <= *begin || *end <= from {
                left.push((from, to));
                continue;
            }
            if from < *begin {
                left.push((from, begin.clone()));
            }
            if *end < to {
                left.push((end.clone(), to));
            }
        }
        self.unreadable = left;
    }

    pub(crate) fn atomic(&mut self, op: AtomicOp, key: &[u8], operand: &[u8]) {
        if !self.check(key, operand) {
            return;
        }
        let cleared = !self.cleared.is_empty() && self.is_cleared(key);
        let pending = match self.entries.get_mut(key) {
            Some(pending) => pending,
            None => self
                .entries
                .entry(key.into())
                .or_insert_with(|| Pending::whole(if cleared { Base::Missing } else { Base::Stored })),
        };
        match &pending.base {
            Base::Missing => pending.base = Base::Value(Bytes::copy_from_slice(operand)),
            Base::Value(value) if pending.operations.is_empty() => {
                pending.base = Base::Value(atomics::apply(op, Some(value), operand).into());
            }
            _ => pending.operations.push((op, Bytes::copy_from_slice(operand))),
        }
    }

    /// `seen` is the version at which the transaction reads, if it has read already.
    pub(crate) fn set_versionstamped_key(&mut self, key: &[u8], value: &[u8], seen: Option<Version>) {
        let Some((template, offset)) = split_offset(key) else {
            self.error.get_or_insert(StoreError::InvalidVersionstamp);
            return;
        };
        if !self.check(template, value) {
            return;
        }
        let (mut first, mut last) = (template.to_vec(), template.to_vec());
        first[offset..offset + STAMP_BYTES].copy_from_slice(&stamp(seen.map_or(0, |version| version + 1), 0));
        last[offset..offset + STAMP_BYTES].fill(0xff);
        self.unreadable.push((first.into(), successor(&last)));
        self.stamped.push(StampedKey {
            template: template.to_vec(),
            offset,
            value: Bytes::copy_from_slice(value),
            cleared_later: Vec::new(),
        });
    }

    pub(crate) fn set_versionstamped_value(&mut self, key: &[u8], value: &[u8]) {
        let Some((template, offset)) = split_offset(value) else {
            self.error.get_or_insert(StoreError::InvalidVersionstamp);
            return;
        };
        if self.check(key, template) {
            self.put(key, Base::Stamped { template: Bytes::copy_from_slice(template), offset });
        }
    }

    pub(crate) fn fail(&mut self, error: StoreError) {
        self.error.get_or_insert(error);
    }

    fn is_cleared(&self, key: &[u8]) -> bool {
        let before = (Bound::Unbounded, Bound::Included(key));
        self.cleared.range::<[u8], _>(before).next_back().is_some_and(|(_, end)| key < &**end)
    }

    pub(crate) fn lookup(&self, key: &[u8]) -> Lookup<'_> {
        if self.unreadable.iter().any(|(begin, end)| &**begin <= key && key < &**end) {
            return Lookup::Unreadable;
        }
        match self.entries.get(key) {
            Some(pending) if pending.unreadable => Lookup::Unreadable,
            Some(pending) if pending.is_independent() => Lookup::Known(pending.resolve(None, [0; STAMP_BYTES])),
            Some(pending) => Lookup::Dependent(pending),
            None if self.is_cleared(key) => Lookup::Known(None),
            None => Lookup::Unwritten,
        }
    }

    /// A copy of what matters to a read of `begin..end`, for a read that takes its time while the transaction goes on.
    pub(crate) fn cut(&self, begin: &[u8], end: &[u8]) -> Self {
        let unreadable = self.unreadable.iter().filter(|(from, to)| **from < *end && *begin < **to);
        Self {
            entries: self.entries_in(begin, end).map(|(key, pending)| (key.clone(), pending.clone())).collect(),
            cleared: self.cleared_in(begin, end).into_iter().collect(),
            stamped: Vec::new(),
            unreadable: unreadable.cloned().collect(),
            error: None,
        }
    }

    /// Whether these writes change what a read of `begin..end` sees.
    pub(crate) fn touches(&self, begin: &[u8], end: &[u8]) -> bool {
        self.entries_in(begin, end).next().is_some()
            || !self.cleared_in(begin, end).is_empty()
            || self.unreadable.iter().any(|(from, to)| **from < *end && *begin < **to)
    }

    /// The writes of single keys in `begin..end`, in order.
    pub(crate) fn entries_in(&self, begin: &[u8], end: &[u8]) -> impl DoubleEndedIterator<Item = (&Key, &Pending)> {
        // A map's range panics where it is inverted.
        let end = end.max(begin);
        self.entries.range::<[u8], _>((Bound::Included(begin), Bound::Excluded(end)))
    }

    /// The cleared parts of `begin..end`, in order.
    fn cleared_in(&self, begin: &[u8], end: &[u8]) -> Vec<(Key, Key)> {
        if begin >= end || self.cleared.is_empty() {
            return Vec::new();
        }
        let before = self.cleared.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(begin))).next_back();
        let overlapping = before.into_iter().filter(|(_, to)| ***to > *begin);
        overlapping
            .chain(self.cleared.range::<[u8], _>((Bound::Included(begin), Bound::Excluded(end))))
            .map(|(from, to)| {
                let from = if **from < *begin { begin.into() } else { from.clone() };
                let to = if **to > *end { end.into() } else { to.clone() };
                (from, to)
            })
            .collect()
    }

    /// `begin..end` in order, cut at the borders of cleared ranges; the flag tells what is cleared.
    pub(crate) fn segments(&self, begin: &[u8], end: &[u8]) -> Vec<(Key, Key, bool)> {
        let mut segments = Vec::new();
        let mut at: Key = begin.into();
        for (from, to) in self.cleared_in(begin, end) {
            if at < from {
                segments.push((at, from.clone(), false));
            }
            segments.push((from, to.clone(), true));
            at = to;
        }
        if *at < *end {
            segments.push((at, end.into(), false));
        }
        segments
    }

    /// Whether `begin..end` may hold a key with an unresolved versionstamp.
    pub(crate) fn unreadable_in(&self, begin: &[u8], end: &[u8]) -> bool {
        self.unreadable.iter().any(|(from, to)| **from < *end && *begin < **to)
    }

    /// The parts of `begin..end` where a read depends on what is stored.
    pub(crate) fn dependent_parts(&self, begin: &[u8], end: &[u8]) -> Vec<KeyRange> {
        let mut parts = Vec::new();
        for (from, to, cleared) in self.segments(begin, end) {
            if cleared {
                continue;
            }
            let mut at = from;
            for (key, _) in self.entries_in(&at.clone(), &to).filter(|(_, pending)| pending.is_independent()) {
                if at < *key {
                    parts.push(KeyRange::Range(at, key.clone()));
                }
                at = successor(key);
            }
            if at < to {
                parts.push(KeyRange::Range(at, to));
            }
        }
        parts
    }

    /// Whether these writes may decide the value of `key`.
    pub(crate) fn decides(&self, key: &[u8]) -> bool {
        !matches!(self.lookup(key), Lookup::Unwritten)
    }

    /// The writes for the commit, or the first misuse.
    pub(crate) fn into_writes(self) -> Result<WriteSet, StoreError> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(WriteSet {
                cleared: self.cleared.into_iter().collect(),
                entries: self.entries.into_iter().collect(),
                stamped: self.stamped,
            }),
        }
    }
}

/// The writes of a transaction at its commit: first the cleared ranges, then the keys.
#[derive(Debug)]
pub(crate) struct WriteSet {
    pub(crate) cleared: Vec<(Key, Key)>,
    pub(crate) entries: Vec<(Key, Pending)>,
    /// In the order in which they were written.
    pub(crate) stamped: Vec<StampedKey>,
}

impl WriteSet {
    /// Bytes as the transaction limit counts them, which is how FoundationDB does: each write, and the range with which
    /// readers of it conflict.
    pub(crate) fn size(&self) -> usize {
        /// A write without its key and value.
        const WRITE_BYTES: usize = 56;
        let cleared = self.cleared.iter().map(|(begin, end)| {
            WRITE_BYTES + begin.len() + end.len() + KeyRange::Range(begin.clone(), end.clone()).size()
        });
        let entries = self.entries.iter().map(|(key, pending)| {
            let writes = pending.operations.len() + usize::from(!matches!(pending.base, Base::Stored));
            writes * (WRITE_BYTES + key.len()) + pending.size() + KeyRange::Point(key.clone()).size()
        });
        let stamped = self.stamped.iter().map(|write| WRITE_BYTES + write.template.len() + write.value.len());
        cleared.sum::<usize>() + entries.sum::<usize>() + stamped.sum::<usize>()
    }

    /// The versionstamped keys, resolved.
    pub(crate) fn stamped_keys(&self, stamp: [u8; STAMP_BYTES]) -> impl Iterator<Item = (Key, &Bytes)> {
        self.stamped.iter().filter_map(move |write| Some((write.resolve(stamp)?, &write.value)))
    }

    /// What readers conflict with.
    pub(crate) fn conflicts(&self, stamp: [u8; STAMP_BYTES]) -> impl Iterator<Item = KeyRange> {
        let cleared = self.cleared.iter().map(|(begin, end)| KeyRange::Range(begin.clone(), end.clone()));
        let entries = self.entries.iter().map(|(key, _)| KeyRange::Point(key.clone()));
        cleared.chain(entries).chain(self.stamped_keys(stamp).map(|(key, _)| KeyRange::Point(key)))
    }
}

/// The smallest key above `key`.
pub(crate) fn successor(key: &[u8]) -> Key {
    key.iter().copied().chain([0]).collect()
}

/// Cuts off the offset behind `bytes` (four bytes, little-endian) and checks that a versionstamp has room there.
fn split_offset(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (template, offset) = bytes.split_last_chunk::<OFFSET_BYTES>()?;
    let offset = usize::try_from(u32::from_le_bytes(*offset)).ok()?;
    (offset.checked_add(STAMP_BYTES)? <= template.len()).then_some((template, offset))
}
