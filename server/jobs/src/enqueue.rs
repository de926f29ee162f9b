//! Asking for something to be done.

use std::time::Duration;

use bytes::Bytes;
use hearth_store::Transaction;

use crate::{
    JobId, JobState, Jobs, JobsError, Kind,
    jobs::encode,
    keys::{ACTIVE, AGAIN, ARGUMENTS, CHECKPOINT, PROGRESS},
    records::JobRecord,
    rows,
};

/// Longest key, in bytes: a user id, room id or event id fits.
const LONGEST_KEY: usize = 1024;

/// How to enqueue a job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Enqueue {
    /// Not before so much time has passed.
    pub delay: Duration,
    /// What to do while a job of the same kind and key runs.
    pub while_running: WhileRunning,
}

/// What becomes of a request for a job that runs already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WhileRunning {
    /// It runs once more afterwards, since the running one may have looked already at what has changed now.
    #[default]
    Again,
    /// The running one will do.
    Ignore,
}

impl Jobs {
    /// Asks for a job. Of a kind and key there is at most one:
    /// - one that waits takes the new arguments (and begins anew where they differ) and the earlier of both times; one that
    ///   waits for its next attempt keeps its time unless the arguments differ;
    /// - one that runs: see [`Enqueue::while_running`];
    /// - one that has failed begins again.
    ///
    /// Returns the job's id; that of the running one, if there is one.
    pub async fn enqueue<K: Kind>(
        &self,
        key: &str,
        arguments: &K::Arguments,
        how: Enqueue,
    ) -> Result<JobId, JobsError> {
        self.store
            .transact("jobs.enqueue", |tx| async move { self.enqueue_in::<K>(&tx, key, arguments, how).await })
            .await
    }

    /// Like [`Self::enqueue`] in the caller's own transaction, which must be one of the same store: the job is there
    /// exactly if `tx` commits.
    pub async fn enqueue_in<K: Kind>(
        &self,
        tx: &Transaction,
        key: &str,
        arguments: &K::Arguments,
        how: Enqueue,
    ) -> Result<JobId, JobsError> {
        self.enqueue_encoded(tx, K::NAME, key, &encode(arguments)?, how).await
    }

    async fn enqueue_encoded(
        &self,
        tx: &Transaction,
        kind: &str,
        key: &str,
        arguments: &Bytes,
        how: Enqueue,
    ) -> Result<JobId, JobsError> {
        if key.len() > LONGEST_KEY {
            return Err(JobsError::Arguments(format!("the key has more than {LONGEST_KEY} bytes")));
        }
        let now = self.clock.now();
        let due = now.saturating_add(how.delay.as_millis() as u64);
        let Some(job) = ACTIVE.get(tx, (kind, key)).await? else {
            return Ok(JobId(rows::create(tx, now, &waiting(kind, key, now, due), arguments).await?));
        };
        let before = rows::load(tx, job).await?;
        let mut after = JobRecord { scheduled: false, ..before.clone() };
        match before.state {
            JobState::Running => {
                if how.while_running == WhileRunning::Ignore {
                    return Ok(JobId(job));
                }
                after.again = Some(before.again.map_or(due, |again| again.min(due)));
                AGAIN.set(tx, (job,), arguments);
            }
            JobState::Waiting => {
                let differ = take_arguments(tx, job, arguments).await?;
                if differ {
                    start_over(&mut after);
                }
                if differ || before.attempts == 0 {
                    after.at = before.at.min(due);
                }
            }
            JobState::Failed | JobState::Done | JobState::Cancelled => {
                take_arguments(tx, job, arguments).await?;
                start_over(&mut after);
                after.state = JobState::Waiting;
                after.at = due;
            }
        }
        if after != before {
            rows::replace(tx, job, &before, &after);
        }
        Ok(JobId(job))
    }
}

/// A job that has just been asked for.
pub(crate) fn waiting(kind: &str, key: &str, now: u64, due: u64) -> JobRecord {
    JobRecord {
        kind: kind.to_owned(),
        key: key.to_owned(),
        state: JobState::Waiting,
        at: due,
        created: now,
        attempts: 0,
        claims: 0,
        started: None,
        last_error: None,
        cancel: false,
        again: None,
        scheduled: false,
    }
}

/// All attempts are available again.
pub(crate) fn start_over(record: &mut JobRecord) {
    record.attempts = 0;
    record.last_error = None;
}

/// Gives a job other arguments; what it had done for the old ones does not count. Returns whether they differ.
pub(crate) async fn take_arguments(tx: &Transaction, job: u64, arguments: &Bytes) -> Result<bool, JobsError> {
    if ARGUMENTS.get(tx, (job,)).await?.as_ref() == Some(arguments) {
        return Ok(false);
    }
    ARGUMENTS.set(tx, (job,), arguments);
    CHECKPOINT.clear(tx, (job,));
    PROGRESS.clear(tx, (job,));
    Ok(true)
}
