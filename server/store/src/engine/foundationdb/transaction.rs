//! A transaction on FoundationDB.
//!
//! Own writes, conflict ranges and limits are kept by the same buffer as on the embedded engine, so that both behave
//! alike by construction; the cluster is asked for what is stored, and gets everything at the commit.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use ::foundationdb::Transaction;
use bytes::Bytes;
use tokio::sync::oneshot;

use super::client::{self, ask};
use super::open::FoundationDb;
use super::range;
use super::watch::FdbWatch;
use crate::engine::buffer::{Lookup, WriteBuffer, stamp};
use crate::engine::key::{Key, KeyRange};
use crate::engine::mutex::lock;
use crate::limits::{KEY_BYTES, TRANSACTION_LIFETIME};
use crate::{AtomicOp, KeyValue, RangeRead, StoreError, Version};

/// Values of single keys that a transaction remembers; the same is often asked for again.
const REMEMBERED: usize = 1024;

/// A transaction: the cluster's one from its first read on, and its own writes over it.
#[derive(Debug)]
pub(crate) struct FdbTransaction {
    pub(super) engine: Arc<FoundationDb>,
    pub(super) name: Option<&'static str>,
    // Never held across an await.
    pub(super) state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// The cluster's transaction.
    pub(super) remote: Option<Arc<Transaction>>,
    /// At which version it reads, and since when.
    pub(super) read: Option<(Version, Instant)>,
    pub(super) committed: bool,
    pub(super) writes: WriteBuffer,
    pub(super) reads: Vec<KeyRange>,
    pub(super) write_conflicts: Vec<KeyRange>,
    pub(super) watches: Vec<PendingWatch>,
    /// What is stored at keys that were read.
    stored: HashMap<Key, Option<Bytes>>,
}

/// A watch that becomes active with the commit.
#[derive(Debug)]
pub(super) struct PendingWatch {
    pub(super) key: Key,
    pub(super) baseline: oneshot::Sender<Version>,
}

impl State {
    pub(super) fn check(&self, engine: &FoundationDb) -> Result<(), StoreError> {
        engine.check()?;
        if self.committed {
            return Err(StoreError::UsedAfterCommit);
        }
        match self.read {
            Some((_, since)) if since.elapsed() > TRANSACTION_LIFETIME => Err(StoreError::TransactionTooOld),
            _ => Ok(()),
        }
    }
}

impl FdbTransaction {
    pub(crate) fn new(engine: Arc<FoundationDb>, name: Option<&'static str>) -> Self {
        Self { engine, name, state: Mutex::default() }
    }

    /// The cluster's transaction, with its read version taken now if this is the first read.
    async fn remote(&self) -> Result<(Arc<Transaction>, Version), StoreError> {
        let since = Instant::now();
        let remote = {
            let mut state = lock(&self.state);
            state.check(&self.engine)?;
            let remote = match &state.remote {
                Some(remote) => remote.clone(),
                None => state.remote.insert(client::begin(&self.engine.database, self.name)?).clone(),
            };
            if let Some((version, _)) = state.read {
                return Ok((remote, version));
            }
            remote
        };
        let version = client::read_version(&remote).await?;
        let mut state = lock(&self.state);
        // Two reads at once got the same version, for they asked the same transaction.
        state.read.get_or_insert((version, since));
        Ok((remote, version))
    }

    pub(crate) async fn read_version(&self) -> Result<Version, StoreError> {
        Ok(self.remote().await?.1)
    }

    pub(crate) async fn get(&self, key: &[u8], add_conflict: bool) -> Result<Option<Bytes>, StoreError> {
        let pending = {
            let state = lock(&self.state);
            state.check(&self.engine)?;
            self.engine.reads.fetch_add(1, Ordering::Relaxed);
            match state.writes.lookup(key) {
                Lookup::Unreadable => return Err(StoreError::AccessedUnreadable),
                Lookup::Known(value) => return Ok(value),
                Lookup::Unwritten => None,
                Lookup::Dependent(pending) => Some(pending.clone()),
            }
        };
        // Nothing of that length can be stored.
        let stored = if key.len() > KEY_BYTES { None } else { self.stored(key).await? };
        if add_conflict && key.len() <= KEY_BYTES {
            let mut state = lock(&self.state);
            if !matches!(state.reads.last(), Some(KeyRange::Point(last)) if **last == *key) {
                state.reads.push(KeyRange::Point(key.into()));
            }
        }
        match pending {
            Some(pending) => Ok(pending.resolve(stored.as_deref(), stamp(0, 0))),
            None => Ok(stored),
        }
    }

    /// What the cluster has at `key`.
    async fn stored(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        if let Some(value) = lock(&self.state).stored.get(key) {
            return Ok(value.clone());
        }
        let (remote, _) = self.remote().await?;
        let value = ask("a read", remote.get(&self.engine.layout.key(key), true)).await?;
        let value = value.map(|value| Bytes::copy_from_slice(&value));
        let mut state = lock(&self.state);
        if state.stored.len() < REMEMBERED {
            state.stored.insert(key.into(), value.clone());
        }
        Ok(value)
    }

    pub(crate) async fn range(&self, read: &RangeRead) -> Result<Vec<KeyValue>, StoreError> {
        let own = {
            let state = lock(&self.state);
            state.check(&self.engine)?;
            if read.begin > read.end {
                return Err(StoreError::InvertedRange);
            }
            self.engine.reads.fetch_add(1, Ordering::Relaxed);
            if read.limit == Some(0) || read.begin == read.end {
                return Ok(Vec::new());
            }
            // As it is now: the transaction may write on while the cluster is asked.
            state.writes.touches(&read.begin, &read.end).then(|| state.writes.cut(&read.begin, &read.end))
        };
        let (remote, _) = self.remote().await?;
        let limit = read.limit.unwrap_or(usize::MAX);
        let ends = (read.begin.as_slice(), read.end.as_slice());
        let found = range::read(&self.engine.layout, &remote, own.as_ref(), ends, limit, read.reverse).await?;
        let (begin, end) = found.covered(&read.begin, &read.end, limit, read.reverse);
        if own.as_ref().is_some_and(|own| own.unreadable_in(&begin, &end)) {
            return Err(StoreError::AccessedUnreadable);
        }
        if !read.snapshot {
            let mut state = lock(&self.state);
            match own {
                Some(own) => state.reads.extend(own.dependent_parts(&begin, &end)),
                None => state.reads.push(KeyRange::Range(begin, end)),
            }
        }
        Ok(found.finish())
    }

    fn write(&self, write: impl FnOnce(&mut WriteBuffer)) {
        let mut state = lock(&self.state);
        if !state.committed {
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
        let seen = lock(&self.state).read.map(|(version, _)| version);
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

    pub(crate) async fn watch(&self, key: &[u8]) -> Result<FdbWatch, StoreError> {
        if key.len() > KEY_BYTES {
            return Err(StoreError::KeyTooLarge { size: key.len() });
        }
        // What the key is watched from is as of this transaction's read version.
        self.remote().await?;
        let (sender, baseline) = oneshot::channel();
        lock(&self.state).watches.push(PendingWatch { key: key.into(), baseline: sender });
        Ok(FdbWatch { engine: self.engine.clone(), key: self.engine.layout.key(key), baseline })
    }
}
