//! Commits.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ::foundationdb::options::{ConflictRangeType, MutationType};
use ::foundationdb::{FdbError, Transaction};

use super::capture::Found;
use super::client::{self, ANSWER_TIME, conflict_with, is_certainly_not_committed, store_error};
use super::layout::Layout;
use super::open::FoundationDb;
use super::transaction::{FdbTransaction, PendingWatch, State};
use crate::engine::buffer::{Base, STAMP_BYTES, WriteSet};
use crate::engine::key::KeyRange;
use crate::engine::mutex::lock;
use crate::limits::{TRANSACTION_BYTES, TRANSACTION_LIFETIME};
use crate::transaction::CommitFailure;
use crate::{AtomicOp, Committed, StoreError, Version, Versionstamp};

impl FdbTransaction {
    pub(crate) async fn commit(&self) -> Result<Committed, CommitFailure> {
        let state = {
            let mut state = lock(&self.state);
            state.check(&self.engine)?;
            let taken = std::mem::take(&mut *state);
            state.committed = true;
            taken
        };
        let State { remote, read, writes, reads, write_conflicts, watches, .. } = state;
        if writes.is_empty() && write_conflicts.is_empty() {
            let version = match (read, remote) {
                (Some((version, _)), _) => version,
                (None, Some(remote)) => client::read_version(&remote).await?,
                (None, None) => self.engine.current_version().await?,
            };
            activate(watches, |_| version);
            return Ok(Committed { version, versionstamp: None });
        }
        let written_here: Vec<bool> = watches.iter().map(|watch| writes.decides(&watch.key)).collect();
        let writes = writes.into_writes()?;
        let size = writes.size() + reads.iter().chain(&write_conflicts).map(KeyRange::size).sum::<usize>();
        if size > TRANSACTION_BYTES {
            return Err(StoreError::TransactionTooLarge { size }.into());
        }
        if read.is_some_and(|(_, since)| since.elapsed() > TRANSACTION_LIFETIME) {
            return Err(StoreError::TransactionTooOld.into());
        }
        let read = read.map(|(version, _)| version);
        let engine = self.engine.clone();
        let commit = Commit { engine, name: self.name, remote, read, reads, write_conflicts, writes, size };
        // A task of the store's, so that a commit whose result has to be found out is not left alone where its caller goes away,
        // and so that closing the store can wait for it.
        let done = self.engine.tasks.spawn(commit.run()).await;
        let (committed, read_version) = done.unwrap_or_else(|_| {
            let ended = StoreError::Unavailable("the process is ending".to_owned());
            Err(CommitFailure::unknown(&ended))
        })?;
        let mut written_here = written_here.into_iter();
        activate(watches, |_| if written_here.next() == Some(true) { committed.version } else { read_version });
        Ok(committed)
    }
}

/// Tells the watches which version's value is the one to differ from.
fn activate(watches: Vec<PendingWatch>, mut baseline: impl FnMut(&PendingWatch) -> Version) {
    for watch in watches {
        let version = baseline(&watch);
        // Whoever made it may not want it any more.
        let _ = watch.baseline.send(version);
    }
}

/// A transaction that writes, on its way to the cluster.
struct Commit {
    engine: Arc<FoundationDb>,
    name: Option<&'static str>,
    remote: Option<Arc<Transaction>>,
    read: Option<Version>,
    reads: Vec<KeyRange>,
    write_conflicts: Vec<KeyRange>,
    writes: WriteSet,
    size: usize,
}

impl Commit {
    /// Commits; returns the version at which the transaction read, too.
    async fn run(mut self) -> Result<(Committed, Version), CommitFailure> {
        let engine = self.engine.clone();
        let layout = &engine.layout;
        let receipt = engine.receipts.begin().await?;
        let (remote, read_version) = self.remote().await?;
        if engine.capture.note(&remote, layout, read_version, &self.writes).await? == Found::Lapsed {
            engine.sweep_snapshots();
        }
        for range in &self.reads {
            conflict_with(&remote, layout.range(range))?;
        }
        for range in &self.write_conflicts {
            let (begin, end) = layout.range(range);
            remote.add_conflict_range(&begin, &end, ConflictRangeType::Write).map_err(store_error)?;
        }
        write_all(layout, &remote, &self.writes);
        receipt.leave(&remote, layout)?;
        let stamp = remote.get_versionstamp();
        let outcome = tokio::time::timeout(ANSWER_TIME, remote.commit()).await;
        let stamp = match outcome.map(|outcome| outcome.map_err(FdbError::from)) {
            Ok(Ok(_committed)) => {
                let stamp = stamp.await.map_err(store_error)?;
                <[u8; STAMP_BYTES]>::try_from(&*stamp)
                    .map_err(|_| StoreError::Io("FoundationDB: a versionstamp of another size".to_owned()))?
            }
            Ok(Err(error)) if is_certainly_not_committed(error) => return Err(self.refused(error).into()),
            uncertain => {
                let why = match uncertain {
                    Ok(Err(error)) => error.message(),
                    _ => "no answer",
                };
                tracing::debug!(why, "the result of a commit is looked for");
                match receipt.resolve(&engine.database, layout).await {
                    Ok(Some(stamp)) => stamp,
                    // It never happens any more, whatever the reason was; so it can be run again.
                    Ok(None) => return Err(StoreError::Conflict.into()),
                    Err(error) => return Err(CommitFailure::unknown(&error)),
                }
            }
        };
        receipt.committed();
        engine.commits.fetch_add(1, Ordering::Relaxed);
        let versionstamp = Versionstamp::complete(stamp, 0);
        let version = crate::version_of(&versionstamp);
        Ok((Committed { version, versionstamp: Some(versionstamp) }, read_version))
    }

    /// The cluster's transaction for nobody else, and its read version. Where a read of it is still under way, another
    /// one at the same version.
    async fn remote(&mut self) -> Result<(Transaction, Version), StoreError> {
        if let Some(remote) = self.remote.take().and_then(Arc::into_inner) {
            let version = match self.read {
                Some(version) => version,
                None => client::read_version(&remote).await?,
            };
            return Ok((remote, version));
        }
        let remote = client::begin(&self.engine.database, self.name)?;
        let remote = Arc::into_inner(remote).ok_or(StoreError::UsedAfterCommit)?;
        let version = match self.read {
            Some(version) => {
                remote.set_read_version(version.cast_signed());
                version
            }
            None => client::read_version(&remote).await?,
        };
        Ok((remote, version))
    }

    /// The error of a commit that certainly did not happen.
    fn refused(&self, error: FdbError) -> StoreError {
        match store_error(error) {
            StoreError::TransactionTooLarge { .. } => StoreError::TransactionTooLarge { size: self.size },
            StoreError::Conflict => {
                self.engine.conflicts.fetch_add(1, Ordering::Relaxed);
                StoreError::Conflict
            }
            error => error,
        }
    }
}

/// Hands the writes to the cluster's transaction, in an order that means the same as theirs.
fn write_all(layout: &Layout, remote: &Transaction, writes: &WriteSet) {
    let clear_range = |begin: &[u8], end: &[u8]| remote.clear_range(&layout.key(begin), &layout.key(end));
    for (begin, end) in &writes.cleared {
        clear_range(begin, end);
    }
    // A stamped key is cleared by the ranges that were cleared after it and before the next one, and so on. Those
    // ranges are among the ones above; other keys in them are written below.
    for (index, write) in writes.stamped.iter().enumerate() {
        let offset = (layout.key_offset() + write.offset) as u32;
        let key = [&layout.key(&write.template), offset.to_le_bytes().as_slice()].concat();
        remote.atomic_op(&key, &write.value, MutationType::SetVersionstampedKey);
        let next_has = writes.stamped.get(index + 1).map_or(0, |next| next.cleared_later.len());
        let before_the_next = write.cleared_later.len() - next_has;
        for (begin, end) in &write.cleared_later[..before_the_next] {
            clear_range(begin, end);
        }
    }
    for (key, pending) in &writes.entries {
        let key = layout.key(key);
        match &pending.base {
            Base::Stored => {}
            Base::Missing => remote.clear(&key),
            Base::Value(value) => remote.set(&key, value),
            Base::Stamped { template, offset } => {
                let value = [template, (*offset as u32).to_le_bytes().as_slice()].concat();
                remote.atomic_op(&key, &value, MutationType::SetVersionstampedValue);
            }
        }
        for (op, operand) in &pending.operations {
            let op = match op {
                AtomicOp::Add => MutationType::Add,
                AtomicOp::Min => MutationType::Min,
                AtomicOp::Max => MutationType::Max,
            };
            remote.atomic_op(&key, operand, op);
        }
    }
}
