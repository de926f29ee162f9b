//! A transaction on the embedded engine.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::open::Embedded;
use super::queue::CommitRequest;
use super::tree::Snapshot;
use super::watches::EmbeddedWatch;
use crate::engine::buffer::{Lookup, WriteBuffer, stamp};
use crate::engine::entry_list::EntryList;
use crate::engine::key::{Key, KeyRange};
use crate::engine::mutex::lock;
use crate::limits::TRANSACTION_BYTES;
use crate::{AtomicOp, Committed, KeyValue, RangeRead, StoreError, Version, Versionstamp};

/// A transaction: a snapshot from its first read on, and its own writes over it.
#[derive(Debug)]
pub(crate) struct EmbeddedTransaction {
    engine: Arc<Embedded>,
    // Held during a read, never across an await.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    snapshot: Option<(Arc<Snapshot>, Instant)>,
    /// The snapshot was given up after the transaction's lifetime.
    expired: bool,
    committed: bool,
    writes: WriteBuffer,
    reads: Vec<KeyRange>,
    write_conflicts: Vec<KeyRange>,
    watches: Vec<PendingWatch>,
}

/// A watch that becomes active with the commit.
#[derive(Debug)]
struct PendingWatch {
    key: Key,
    expected: Option<Bytes>,
    sender: oneshot::Sender<Result<(), StoreError>>,
}

impl State {
    fn check(&self, engine: &Embedded) -> Result<(), StoreError> {
        engine.shared.check()?;
        if self.committed {
            return Err(StoreError::UsedAfterCommit);
        }
        if self.expired {
            return Err(StoreError::TransactionTooOld);
        }
        Ok(())
    }

    /// The snapshot at which this transaction reads, taken now if this is its first read.
    fn snapshot(&mut self, engine: &Embedded) -> Result<&Snapshot, StoreError> {
        if let Some((_, since)) = &self.snapshot
            && since.elapsed() > engine.shared.lifetime
        {
            self.snapshot = None;
            self.expired = true;
            return Err(StoreError::TransactionTooOld);
        }
        Ok(&self.snapshot.get_or_insert_with(|| (engine.shared.published(), Instant::now())).0)
    }

    fn get(&mut self, engine: &Embedded, key: &[u8], add_conflict: bool) -> Result<Option<Bytes>, StoreError> {
        self.check(engine)?;
        engine.shared.reads.fetch_add(1, Ordering::Relaxed);
        let copy = |value: Option<&[u8]>| value.map(Bytes::copy_from_slice);
        let value = match self.writes.lookup(key) {
            Lookup::Unreadable => return Err(StoreError::AccessedUnreadable),
            Lookup::Known(value) => return Ok(value),
            Lookup::Unwritten => self.snapshot(engine)?.get(key, copy)?,
            Lookup::Dependent(_) => {
                let stored = self.snapshot(engine)?.get(key, copy)?;
                match self.writes.lookup(key) {
                    Lookup::Dependent(pending) => pending.resolve(stored.as_deref(), stamp(0, 0)),
                    // The writes have not changed since.
                    _ => stored,
                }
            }
        };
        if add_conflict && !matches!(self.reads.last(), Some(KeyRange::Point(last)) if **last == *key) {
            self.reads.push(KeyRange::Point(key.into()));
        }
        Ok(value)
    }

    fn range(&mut self, engine: &Embedded, read: &RangeRead) -> Result<Vec<KeyValue>, StoreError> {
        self.check(engine)?;
        if read.begin > read.end {
            return Err(StoreError::InvertedRange);
        }
        engine.shared.reads.fetch_add(1, Ordering::Relaxed);
        let limit = read.limit.unwrap_or(usize::MAX);
        if limit == 0 || read.begin == read.end {
            return Ok(Vec::new());
        }
        self.snapshot(engine)?;
        let Some((snapshot, _)) = &self.snapshot else { return Err(StoreError::TransactionTooOld) };
        let own_writes = self.writes.touches(&read.begin, &read.end);
        let mut found = EntryList::default();
        if own_writes {
            let mut segments = self.writes.segments(&read.begin, &read.end);
            if read.reverse {
                segments.reverse();
            }
            for (begin, end, cleared) in segments {
                self.merge_segment(snapshot, &begin, &end, cleared, read.reverse, limit, &mut found)?;
                if found.len() == limit {
                    break;
                }
            }
        } else {
            let mut entries = snapshot.entries(&read.begin, &read.end, read.reverse)?;
            while found.len() < limit
                && let Some(entry) = entries.next()?
            {
                found.push(entry.key(), entry.value()?);
            }
        }
        let (begin, end) = found.covered(&read.begin, &read.end, limit, read.reverse);
        if own_writes && self.writes.unreadable_in(&begin, &end) {
            return Err(StoreError::AccessedUnreadable);
        }
        if !read.snapshot {
            if own_writes {
                self.reads.extend(self.writes.dependent_parts(&begin, &end));
            } else {
                self.reads.push(KeyRange::Range(begin, end));
            }
        }
        Ok(found.finish())
    }

    /// Merges own writes in `begin..end`, which no cleared range's border divides, with what is stored.
    #[allow(clippy::too_many_arguments)] // one step of `range`, which owns all of these
    fn merge_segment(
        &self,
        snapshot: &Snapshot,
        begin: &[u8],
        end: &[u8],
        cleared: bool,
        reverse: bool,
        limit: usize,
        found: &mut EntryList,
    ) -> Result<(), StoreError> {
        let mut stored =
            if cleared { snapshot.entries(&[], &[], reverse)? } else { snapshot.entries(begin, end, reverse)? };
        let mut own = self.writes.entries_in(begin, end);
        let mut next_own = || if reverse { own.next_back() } else { own.next() };
        let (mut stored_entry, mut own_entry) = (stored.next()?, next_own());
        while found.len() < limit {
            let order = match (&stored_entry, own_entry) {
                (None, None) => break,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(stored), Some((key, _))) if reverse => (**key).cmp(stored.key()),
                (Some(stored), Some((key, _))) => stored.key().cmp(key),
            };
            if order.is_lt() {
                if let Some(entry) = &stored_entry {
                    found.push(entry.key(), entry.value()?);
                }
                stored_entry = stored.next()?;
                continue;
            }
            if let Some((key, pending)) = own_entry {
                if matches!(self.writes.lookup(key), Lookup::Unreadable) {
                    return Err(StoreError::AccessedUnreadable);
                }
                let below = match &stored_entry {
                    Some(entry) if order.is_eq() => Some(entry.value()?),
                    _ => None,
                };
                if let Some(value) = pending.resolve(below, stamp(0, 0)) {
                    found.push(key, &value);
                }
            }
            own_entry = next_own();
            if order.is_eq() {
                stored_entry = stored.next()?;
            }
        }
        Ok(())
    }
}

impl EmbeddedTransaction {
    pub(crate) fn new(engine: Arc<Embedded>) -> Self {
        Self { engine, state: Mutex::default() }
    }

    pub(crate) fn read_version(&self) -> Result<Version, StoreError> {
        let mut state = lock(&self.state);
        state.check(&self.engine)?;
        Ok(state.snapshot(&self.engine)?.version)
    }

    pub(crate) fn get(&self, key: &[u8], add_conflict: bool) -> Result<Option<Bytes>, StoreError> {
        let result = lock(&self.state).get(&self.engine, key, add_conflict);
        self.engine.shared.note(result)
    }

    pub(crate) fn range(&self, read: &RangeRead) -> Result<Vec<KeyValue>, StoreError> {
        let result = lock(&self.state).range(&self.engine, read);
        self.engine.shared.note(result)
    }

    /// Runs `write` on the buffer.
    fn write(&self, write: impl FnOnce(&mut WriteBuffer)) {
        let mut state = lock(&self.state);
        if state.committed {
            state.writes.fail(StoreError::UsedAfterCommit);
        } else {
            write(&mut state.writes);
        }
    }

    pub(crate) fn set(&self, key: &[u8], value: &[u8]) {
        self.write(|writes| writes.set(key, value));
    }

    pub(crate) fn clear(&self, key: &[u8]) {
        self.write(|writes| writes.clear(key));
    }

    pub(crate) fn clear_range(&self, begin: &[u8], end: &[u8]) {
        self.write(|writes| writes.clear_range(begin, end));
    }

    pub(crate) fn atomic(&self, op: AtomicOp, key: &[u8], operand: &[u8]) {
        self.write(|writes| writes.atomic(op, key, operand));
    }

    pub(crate) fn set_versionstamped_key(&self, key: &[u8], value: &[u8]) {
        let seen = lock(&self.state).snapshot.as_ref().map(|(snapshot, _)| snapshot.version);
        self.write(|writes| writes.set_versionstamped_key(key, value, seen));
    }

    pub(crate) fn set_versionstamped_value(&self, key: &[u8], value: &[u8]) {
        self.write(|writes| writes.set_versionstamped_value(key, value));
    }

    pub(crate) fn add_read_conflict_range(&self, begin: &[u8], end: &[u8]) {
        self.add_conflict(begin, end, |state| &mut state.reads);
    }

    pub(crate) fn add_write_conflict_range(&self, begin: &[u8], end: &[u8]) {
        self.add_conflict(begin, end, |state| &mut state.write_conflicts);
    }

    fn add_conflict(&self, begin: &[u8], end: &[u8], to: impl FnOnce(&mut State) -> &mut Vec<KeyRange>) {
        let mut state = lock(&self.state);
        match begin.cmp(end) {
            std::cmp::Ordering::Less => to(&mut state).push(KeyRange::Range(begin.into(), end.into())),
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Greater => state.writes.fail(StoreError::InvertedRange),
        }
    }

    pub(crate) fn watch(&self, key: &[u8]) -> Result<EmbeddedWatch, StoreError> {
        let mut state = lock(&self.state);
        state.check(&self.engine)?;
        let copy = |value: Option<&[u8]>| value.map(Bytes::copy_from_slice);
        let expected = state.snapshot(&self.engine)?.get(key, copy);
        let expected = self.engine.shared.note(expected)?;
        let key: Key = key.into();
        let (sender, receiver) = oneshot::channel();
        state.watches.push(PendingWatch { key: key.clone(), expected, sender });
        Ok(EmbeddedWatch { watches: self.engine.shared.watches.clone(), key, receiver })
    }

    pub(crate) async fn commit(&self) -> Result<Committed, StoreError> {
        let shared = &self.engine.shared;
        let (request, mut watches, reply) = {
            let mut state = lock(&self.state);
            state.check(&self.engine)?;
            state.committed = true;
            let State { snapshot, writes, reads, write_conflicts, watches, .. } = std::mem::take(&mut *state);
            state.committed = true;
            drop(state);
            if writes.is_empty() && write_conflicts.is_empty() {
                let version = snapshot.map_or_else(|| shared.published().version, |(snapshot, _)| snapshot.version);
                self.activate(watches);
                return Ok(Committed { version, versionstamp: None });
            }
            let values_wanted: Vec<Key> =
                watches.iter().filter(|watch| writes.decides(&watch.key)).map(|watch| watch.key.clone()).collect();
            let writes = writes.into_writes()?;
            let size = writes.size() + reads.iter().chain(&write_conflicts).map(KeyRange::size).sum::<usize>();
            if size > TRANSACTION_BYTES {
                return Err(StoreError::TransactionTooLarge { size });
            }
            let read_version = match &snapshot {
                Some((_, since)) if since.elapsed() > shared.lifetime => return Err(StoreError::TransactionTooOld),
                Some((snapshot, _)) => Some(snapshot.version),
                // Conflict ranges by hand and nothing read: they hold from here on.
                None if !reads.is_empty() => Some(shared.published().version),
                None => None,
            };
            let (reply, receiver) = oneshot::channel();
            let request = CommitRequest { read_version, reads, write_conflicts, writes, size, values_wanted, reply };
            (request, watches, receiver)
        };
        let values_wanted = request.values_wanted.clone();
        shared.queue.push(request).await?;
        // The committer answers everything that it takes from the queue, unless its thread died.
        let reply = reply.await.map_err(|_| shared.check().err().unwrap_or(StoreError::Closed))??;
        for (key, value) in values_wanted.iter().zip(reply.values) {
            for watch in watches.iter_mut().filter(|watch| watch.key == *key) {
                watch.expected.clone_from(&value);
            }
        }
        self.activate(watches);
        let stamp = stamp(reply.version, reply.order);
        Ok(Committed { version: reply.version, versionstamp: Some(Versionstamp::complete(stamp, 0)) })
    }

    /// Registers the watches, and fires those whose key differs already.
    fn activate(&self, watches: Vec<PendingWatch>) {
        let shared = &self.engine.shared;
        let mut waiting = watches.into_iter().filter(|watch| !watch.sender.is_closed()).peekable();
        if waiting.peek().is_none() {
            return;
        }
        for PendingWatch { key, expected, sender } in waiting {
            shared.watches.add(&key, expected, sender);
            // A failure of the store here reaches the watchers, not the transaction, which is committed.
            let _ = shared.note(shared.watches.fire(&[KeyRange::Point(key)], || shared.published()));
        }
        // A store that stopped meanwhile has woken only those that it found.
        if let Err(error) = shared.check() {
            shared.watches.fail(&error);
        }
    }
}
