//! What a person may do with a job.

use hearth_store::Transaction;

use crate::{
    JobId, JobState, Jobs, JobsError,
    enqueue::start_over,
    finish::follow,
    keys::{ACTIVE, CHECKPOINT},
    records::JobRecord,
    rows,
};

/// Jobs of a kind that were cancelled before they ran are kept up to this many; when one of the kind ends, its policy's
/// `history` are left.
const CANCELLED_KEPT: usize = 100;

impl Jobs {
    /// Runs a job now: one that waits, or one that has ended, from its checkpoint where it has one. Where another job of
    /// the same kind and key waits already, that one runs now instead and an ended failure counts as cancelled.
    /// Returns the job that runs. A running one is [`JobsError::NotNow`].
    pub async fn retry(&self, id: JobId) -> Result<JobId, JobsError> {
        self.store.transact("jobs.retry", |tx| async move { self.retry_in(&tx, id.0).await.map(JobId) }).await
    }

    async fn retry_in(&self, tx: &Transaction, job: u64) -> Result<u64, JobsError> {
        let now = self.clock.now();
        let before = rows::load(tx, job).await?;
        if before.state == JobState::Running {
            return Err(JobsError::NotNow("the job is running"));
        }
        let active = ACTIVE.get(tx, (&before.kind, &before.key)).await?;
        if let Some(other) = active.filter(|active| *active != job) {
            if before.state == JobState::Failed {
                rows::replace(tx, job, &before, &JobRecord { state: JobState::Cancelled, ..before.clone() });
            }
            let before = rows::load(tx, other).await?;
            if before.state != JobState::Running {
                rows::replace(tx, other, &before, &due_now(&before, now));
            }
            return Ok(other);
        }
        ACTIVE.set(tx, (&before.kind, &before.key), &job);
        rows::replace(tx, job, &before, &due_now(&before, now));
        Ok(job)
    }

    /// Ends a job: one that waits or has failed at once, a running one as soon as its handler sees it (what it has
    /// committed stands). A scheduled job comes back at its next time. One that has ended is [`JobsError::NotNow`].
    pub async fn cancel(&self, id: JobId) -> Result<(), JobsError> {
        self.store.transact("jobs.cancel", |tx| async move { self.cancel_in(&tx, id.0).await }).await
    }

    async fn cancel_in(&self, tx: &Transaction, job: u64) -> Result<(), JobsError> {
        let now = self.clock.now();
        let before = rows::load(tx, job).await?;
        match before.state {
            JobState::Running => {
                rows::replace(tx, job, &before, &JobRecord { cancel: true, ..before.clone() });
                Ok(())
            }
            JobState::Waiting | JobState::Failed => {
                let after = JobRecord { state: JobState::Cancelled, at: now, ..before.clone() };
                rows::replace(tx, job, &before, &after);
                CHECKPOINT.clear(tx, (job,));
                rows::trim(tx, &before.kind, JobState::Cancelled, CANCELLED_KEPT).await?;
                // An ended job that was replaced already is followed by nothing.
                if ACTIVE.get(tx, (&before.kind, &before.key)).await? == Some(job) {
                    follow(tx, &*self.clock, job, &after, None, before.at).await?;
                }
                Ok(())
            }
            JobState::Done | JobState::Cancelled => Err(JobsError::NotNow("the job has ended already")),
        }
    }
}

fn due_now(before: &JobRecord, now: u64) -> JobRecord {
    let mut after = JobRecord { state: JobState::Waiting, at: now, cancel: false, scheduled: false, ..before.clone() };
    start_over(&mut after);
    after
}
