//! What transactions and the committer share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use super::long_reads::LongReads;
use super::queue::Queue;
use super::tree::Snapshot;
use super::watches::Watches;
use crate::StoreError;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) queue: Queue,
    pub(super) watches: Arc<Watches>,
    pub(super) long_reads: LongReads,
    /// How long a transaction may live after its first read.
    pub(super) lifetime: Duration,
    published: RwLock<Arc<Snapshot>>,
    /// Commits get versions above this one, whatever was committed last.
    pub(super) version_floor: AtomicU64,
    /// Set once, when nothing works any more; `stopped` makes the look at it cheap.
    end: OnceLock<StoreError>,
    stopped: AtomicBool,
    /// The failure, for those who wait for one.
    pub(super) failure: tokio::sync::watch::Sender<Option<StoreError>>,
    pub(super) commits: AtomicU64,
    pub(super) conflicts: AtomicU64,
    pub(super) reads: AtomicU64,
}

impl Shared {
    pub(super) fn new(snapshot: Snapshot, lifetime: Duration) -> Self {
        Self {
            queue: Queue::new(),
            watches: Arc::default(),
            long_reads: LongReads::default(),
            lifetime,
            published: RwLock::new(Arc::new(snapshot)),
            version_floor: AtomicU64::new(0),
            end: OnceLock::new(),
            stopped: AtomicBool::new(false),
            failure: tokio::sync::watch::Sender::new(None),
            commits: AtomicU64::new(0),
            conflicts: AtomicU64::new(0),
            reads: AtomicU64::new(0),
        }
    }

    /// The newest state that everyone may see.
    pub(super) fn published(&self) -> Arc<Snapshot> {
        self.published.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes `snapshot` the newest state; returns the one before.
    pub(super) fn publish(&self, snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
        std::mem::replace(&mut *self.published.write().unwrap_or_else(PoisonError::into_inner), snapshot)
    }

    /// Fails once the store has failed or was closed.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.stopped.load(Ordering::Acquire) {
            return Err(self.end.get().cloned().unwrap_or(StoreError::Closed));
        }
        Ok(())
    }

    /// Ends everything with `error`. The first call decides.
    pub(super) fn stop(&self, error: &StoreError) {
        let error = self.end.get_or_init(|| error.clone()).clone();
        self.stopped.store(true, Ordering::Release);
        self.queue.refuse(error.clone());
        self.watches.fail(&error);
        if !matches!(error, StoreError::Closed) {
            self.failure.send_if_modified(|failure| failure.replace(error).is_none());
        }
    }

    /// Passes `result` on; an I/O error in it ends the store, for what is on disk is uncertain from here on.
    pub(super) fn note<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error @ StoreError::Io(_)) = &result {
            tracing::error!(%error, "the store failed");
            self.stop(error);
        }
        result
    }
}
