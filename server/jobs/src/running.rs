//! A job in its handler's hands.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hearth_store::{Store, Transaction};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    JobError, JobId, Jobs,
    jobs::encode,
    keys::{CHECKPOINT, LEASE},
    records::{CheckpointRecord, ProgressRecord},
};

/// A job as a runner has claimed it.
#[derive(Clone)]
pub(crate) struct Claim {
    pub(crate) jobs: Jobs,
    pub(crate) job: u64,
    pub(crate) kind: &'static str,
    pub(crate) key: String,
    pub(crate) token: u64,
    pub(crate) attempt: u32,
    pub(crate) arguments: Bytes,
    pub(crate) stop: CancellationToken,
    pub(crate) said: Arc<Said>,
}

/// The newest progress that a handler told and the runner has not written yet.
#[derive(Debug)]
pub(crate) struct Said {
    latest: Mutex<Option<ProgressRecord>>,
    /// The runner's.
    told: Arc<Notify>,
}

impl Said {
    pub(crate) fn new(told: Arc<Notify>) -> Self {
        Self { latest: Mutex::default(), told }
    }

    pub(crate) fn take(&self) -> Option<ProgressRecord> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Puts back what could not be written, unless there is something newer.
    pub(crate) fn put_back(&self, progress: ProgressRecord) {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(progress);
    }
}

/// A job in its handler's hands.
pub struct Running<A> {
    /// What to do.
    pub arguments: A,
    claim: Claim,
}

impl<A: DeserializeOwned> Running<A> {
    pub(crate) fn new(claim: Claim) -> Result<Self, JobError> {
        let arguments = rmp_serde::from_slice(&claim.arguments)
            .map_err(|error| JobError::GiveUp(format!("the arguments cannot be read: {error}")))?;
        Ok(Self { arguments, claim })
    }
}

impl<A> Running<A> {
    /// The job's name.
    pub fn id(&self) -> JobId {
        JobId(self.claim.job)
    }

    /// The job's key.
    pub fn key(&self) -> &str {
        &self.claim.key
    }

    /// Which attempt this is since the last checkpoint, from 1.
    pub fn attempt(&self) -> u32 {
        self.claim.attempt
    }

    /// The store of the queue, for transactions under [`Self::guard`].
    pub fn store(&self) -> &Store {
        &self.claim.jobs.store
    }

    /// Fires when the handler should return [`JobError::Cancelled`] soon: the job was cancelled, the process ends, or
    /// another runner has taken over.
    pub fn stop(&self) -> &CancellationToken {
        &self.claim.stop
    }

    /// [`JobError::Cancelled`] once [`Self::stop`] has fired; for loops.
    pub fn check(&self) -> Result<(), JobError> {
        if self.claim.stop.is_cancelled() { Err(JobError::Cancelled) } else { Ok(()) }
    }

    /// Makes `tx`, a transaction of [`Self::store`], fail with [`JobError::LeaseLost`] or at its commit when this run is
    /// not the job's newest one: so nothing that a paused or cut-off process still writes can undo what another one has
    /// done since.
    pub async fn guard(&self, tx: &Transaction) -> Result<(), JobError> {
        let lease = LEASE.get(tx, (self.claim.job,)).await?;
        if lease.is_some_and(|lease| lease.token == self.claim.token) { Ok(()) } else { Err(JobError::LeaseLost) }
    }

    /// Notes in `tx`, together with the handler's own writes there, how far the job came. Guards `tx` as well.
    pub async fn checkpoint(&self, tx: &Transaction, state: &impl Serialize) -> Result<(), JobError> {
        self.guard(tx).await?;
        let record = CheckpointRecord { token: self.claim.token, state: encode(state)?.to_vec() };
        CHECKPOINT.set(tx, (self.claim.job,), &record);
        Ok(())
    }

    /// How far the job came: what the last [`Self::checkpoint`] of any run of it noted.
    pub async fn state<S: DeserializeOwned>(&self) -> Result<Option<S>, JobError> {
        let record = CHECKPOINT.get_snapshot(&self.store().begin(), (self.claim.job,)).await?;
        record
            .map(|record| rmp_serde::from_slice(&record.state))
            .transpose()
            .map_err(|error| JobError::GiveUp(format!("the checkpoint cannot be read: {error}")))
    }

    /// Tells people how far it is. Cheap: written down about once a second at most.
    pub fn progress(&self, done: u64, total: Option<u64>, message: impl Into<String>) {
        let at = self.claim.jobs.clock.now();
        let record = ProgressRecord { done, total, message: message.into(), at };
        *self.claim.said.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(record);
        self.claim.said.told.notify_one();
    }
}

impl<A> std::fmt::Debug for Running<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("id", &self.id())
            .field("kind", &self.claim.kind)
            .field("key", &self.claim.key)
            .finish_non_exhaustive()
    }
}
