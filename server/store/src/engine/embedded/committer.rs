//! The committer: the one thread that changes the store.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use redb::{Database, Durability, ReadableTable, WriteTransaction};

use super::conflicts::ConflictWindow;
use super::log::{Log, LogError, Operation, Record};
use super::queue::{CommitReply, CommitRequest};
use super::shared::Shared;
use super::tree::{self, CHECKPOINT_VERSION, ENTRIES, META, Snapshot, storage_error};
use super::tuning::Tuning;
use crate::engine::buffer::stamp;
use crate::{StoreError, Version};

/// Transactions that share one fsync at most.
const BATCH_TRANSACTIONS: usize = 512;
/// A batch ends where its transactions reach this many bytes.
const BATCH_BYTES: usize = 4_000_000;
/// With this much in the log, the tree is made durable as soon as nothing happens for [`QUIET`].
const QUIET_LOG_BYTES: u64 = 1 << 20;
const QUIET: Duration = Duration::from_secs(1);

type EntryTable<'t> = redb::Table<'t, &'static [u8], &'static [u8]>;

/// The committer's state.
pub(super) struct Committer {
    shared: Arc<Shared>,
    database: Database,
    /// `None` in memory, where nothing is durable.
    log: Option<Log>,
    log_bytes: u64,
    version: Version,
    window: ConflictWindow,
    /// Snapshots that were replaced but that transactions still hold, by when they must let go.
    replaced: VecDeque<(Instant, Weak<Snapshot>)>,
    last_commit: Instant,
    stored: Vec<u8>,
}

/// A transaction that passed the conflict check.
struct Accepted {
    request: CommitRequest,
    order: u16,
    values: Vec<Option<Bytes>>,
}

impl Committer {
    pub(super) fn new(
        shared: Arc<Shared>,
        database: Database,
        log: Option<Log>,
        version: Version,
        tuning: Tuning,
    ) -> Self {
        let window = ConflictWindow::new(tuning.lifetime, version);
        Self {
            shared,
            database,
            log,
            log_bytes: tuning.log_bytes,
            version,
            window,
            replaced: VecDeque::new(),
            last_commit: Instant::now(),
            stored: Vec::new(),
        }
    }

    /// Commits until the queue refuses new transactions and is empty.
    pub(super) fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            let refuses = self.shared.queue.drain(&mut batch, BATCH_TRANSACTIONS, BATCH_BYTES, self.deadline());
            if refuses && batch.is_empty() {
                break;
            }
            if let Err(error) = self.shared.check()
                && !matches!(error, StoreError::Closed)
            {
                for request in batch.drain(..) {
                    let _ = request.reply.send(Err(error.clone()));
                }
                continue;
            }
            let done = self.advance().and_then(|()| self.commit(&mut batch)).and_then(|()| self.keep_house());
            let _ = self.shared.note(done);
        }
        if self.shared.failure.borrow().is_none() {
            let done = self.checkpoint(0);
            let _ = self.shared.note(done);
        }
        self.shared.published().release();
        self.shared.long_reads.end();
    }

    /// When there is something to do even if no transaction arrives.
    fn deadline(&self) -> Option<Instant> {
        let quiet = self.log.as_ref().filter(|log| log.used() >= QUIET_LOG_BYTES).map(|_| self.last_commit + QUIET);
        let release = self.replaced.front().map(|(at, _)| *at);
        [quiet, release, self.window.empty_at()].into_iter().flatten().min()
    }

    /// Leaves out the versions that [`super::Embedded::advance_version`] passed. The log has none missing, so that it starts
    /// over behind a checkpoint.
    fn advance(&mut self) -> Result<(), StoreError> {
        let floor = self.shared.version_floor.load(Ordering::Acquire);
        if floor <= self.version {
            return Ok(());
        }
        let transaction = self.database.begin_write().map_err(storage_error)?;
        make_durable(transaction, floor)?;
        self.version = floor;
        match &mut self.log {
            Some(log) => log.reset(self.log_bytes).map_err(log_error),
            None => Ok(()),
        }
    }

    fn commit(&mut self, batch: &mut Vec<CommitRequest>) -> Result<(), StoreError> {
        let mut accepted = self.accept(batch);
        if accepted.is_empty() {
            return Ok(());
        }
        match self.store(&mut accepted).and_then(|()| self.publish()) {
            Ok(()) => {
                for Accepted { request, order, values } in accepted {
                    let _ = request.reply.send(Ok(CommitReply { version: self.version, order, values }));
                }
                Ok(())
            }
            Err(error) => {
                // Everyone learns of the failure before the first answer makes someone ask again.
                let failed = self.shared.note(Err(error.clone()));
                for Accepted { request, .. } in accepted {
                    let _ = request.reply.send(Err(error.clone()));
                }
                failed
            }
        }
    }

    /// Checks each transaction against the window and those before it; answers those that fail.
    fn accept(&mut self, batch: &mut Vec<CommitRequest>) -> Vec<Accepted> {
        let now = Instant::now();
        self.window.expire(now);
        let version = self.version + 1;
        let mut accepted = Vec::with_capacity(batch.len());
        for request in batch.drain(..) {
            let refusal = match request.read_version {
                Some(read) if read < self.window.floor() => Some(StoreError::TransactionTooOld),
                Some(read) if request.reads.iter().any(|range| self.window.written_since(range, read)) => {
                    self.shared.conflicts.fetch_add(1, Ordering::Relaxed);
                    Some(StoreError::Conflict)
                }
                _ => None,
            };
            if let Some(error) = refusal {
                let _ = request.reply.send(Err(error));
                continue;
            }
            let order = accepted.len() as u16;
            let conflicts = request.writes.conflicts(stamp(version, order));
            self.window.add(version, now, conflicts.chain(request.write_conflicts.iter().cloned()));
            accepted.push(Accepted { request, order, values: Vec::new() });
        }
        accepted
    }

    /// Makes the batch durable and applies it to the tree, as the next version.
    fn store(&mut self, accepted: &mut [Accepted]) -> Result<(), StoreError> {
        let version = self.version + 1;
        let mut transaction = self.database.begin_write().map_err(storage_error)?;
        transaction.set_durability(Durability::None).map_err(storage_error)?;
        if let Some(log) = &mut self.log {
            log.begin(version);
        }
        {
            let mut table = transaction.open_table(ENTRIES).map_err(storage_error)?;
            for Accepted { request, order, values } in &mut *accepted {
                let mut target = Target { table: &mut table, log: self.log.as_mut(), stored: &mut self.stored };
                target.apply(request, stamp(version, *order))?;
                for key in &request.values_wanted {
                    values.push(target.get(key)?);
                }
            }
        }
        // The log first: what the tree holds, even if only in memory, may reach the disk at any time.
        if let Some(log) = &mut self.log {
            log.commit().map_err(log_error)?;
        }
        transaction.commit().map_err(storage_error)?;
        self.version = version;
        self.shared.commits.fetch_add(accepted.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn publish(&mut self) -> Result<(), StoreError> {
        let snapshot = Arc::new(Snapshot::take(&self.database, self.version)?);
        let before = self.shared.publish(snapshot);
        self.last_commit = Instant::now();
        if Arc::strong_count(&before) > 1 {
            self.replaced.push_back((self.last_commit + self.shared.lifetime, Arc::downgrade(&before)));
        }
        self.shared.watches.fire(self.window.newest(), || self.shared.published())
    }

    /// What is due besides commits.
    fn keep_house(&mut self) -> Result<(), StoreError> {
        let now = Instant::now();
        self.window.expire(now);
        while let Some((at, snapshot)) = self.replaced.front() {
            match snapshot.upgrade() {
                // Whoever read at it is past the lifetime: do not let it pin pages.
                Some(snapshot) if *at <= now => snapshot.release(),
                Some(_) => break,
                None => {}
            }
            self.replaced.pop_front();
        }
        let Some(log) = &self.log else { return Ok(()) };
        let quiet = log.used() >= QUIET_LOG_BYTES && self.last_commit + QUIET <= now;
        if log.used() >= self.log_bytes || quiet { self.checkpoint(self.log_bytes) } else { Ok(()) }
    }

    /// Makes the tree durable and starts the log over; it keeps `keep` bytes on disk.
    fn checkpoint(&mut self, keep: u64) -> Result<(), StoreError> {
        let Some(log) = &mut self.log else { return Ok(()) };
        if log.used() > 0 {
            let transaction = self.database.begin_write().map_err(storage_error)?;
            make_durable(transaction, self.version)?;
        }
        log.reset(keep).map_err(log_error)
    }
}

/// Commits `transaction` durably as the state of `version`.
pub(super) fn make_durable(mut transaction: WriteTransaction, version: Version) -> Result<(), StoreError> {
    transaction.set_durability(Durability::Immediate).map_err(storage_error)?;
    transaction.set_quick_repair(true);
    {
        let mut meta = transaction.open_table(META).map_err(storage_error)?;
        meta.insert(CHECKPOINT_VERSION, version).map_err(storage_error)?;
    }
    transaction.commit().map_err(storage_error)
}

/// Applies records of the log to the tree and makes it durable as of the last one's version.
pub(super) fn replay(database: &Database, records: &[Record]) -> Result<(), StoreError> {
    let Some(newest) = records.last() else { return Ok(()) };
    let transaction = database.begin_write().map_err(storage_error)?;
    {
        let mut table = transaction.open_table(ENTRIES).map_err(storage_error)?;
        let mut target = Target { table: &mut table, log: None, stored: &mut Vec::new() };
        for record in records {
            for operation in record.operations().map_err(log_error)? {
                target.run(&operation)?;
            }
        }
    }
    make_durable(transaction, newest.version)
}

fn log_error(error: LogError) -> StoreError {
    match error {
        LogError::Io(error) => StoreError::Io(format!("commit log: {error}")),
        LogError::Damaged(detail) => StoreError::Corrupt { table: "commit log".to_owned(), detail },
    }
}

/// Where operations go: into the tree and, while they are new, into the log.
struct Target<'c, 't> {
    table: &'c mut EntryTable<'t>,
    log: Option<&'c mut Log>,
    stored: &'c mut Vec<u8>,
}

impl Target<'_, '_> {
    fn apply(&mut self, request: &CommitRequest, stamp: [u8; 10]) -> Result<(), StoreError> {
        for (begin, end) in &request.writes.cleared {
            self.run(&Operation::ClearRange(begin, end))?;
        }
        for (key, pending) in &request.writes.entries {
            let stored = if pending.is_independent() { None } else { self.get(key)? };
            match pending.resolve(stored.as_deref(), stamp) {
                Some(value) => self.run(&Operation::Set(key, &value))?,
                None => self.run(&Operation::Clear(key))?,
            }
        }
        for (key, value) in request.writes.stamped_keys(stamp) {
            self.run(&Operation::Set(&key, value))?;
        }
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let stored = self.table.get(key).map_err(storage_error)?;
        stored.map(|stored| Ok(Bytes::copy_from_slice(tree::decode(key, stored.value())?))).transpose()
    }

    fn run(&mut self, operation: &Operation<'_>) -> Result<(), StoreError> {
        match *operation {
            Operation::Set(key, value) => {
                tree::encode(key, value, self.stored);
                self.table.insert(key, self.stored.as_slice()).map_err(storage_error)?;
            }
            Operation::Clear(key) => {
                self.table.remove(key).map_err(storage_error)?;
            }
            Operation::ClearRange(begin, end) => {
                self.table.retain_in(begin..end, |_, _| false).map_err(storage_error)?;
            }
        }
        if let Some(log) = &mut self.log {
            log.push(operation);
        }
        Ok(())
    }
}
