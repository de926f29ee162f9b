//! What becomes of a job when its run has ended.

use std::time::Duration;

use bytes::Bytes;
use hearth_store::Transaction;

use crate::{
    Clock, JobState, Jobs, JobsError, Policy,
    enqueue::{start_over, take_arguments, waiting},
    keys::{AGAIN, CHECKPOINT, LEASE, PROGRESS, SCHEDULE},
    records::{JobRecord, ProgressRecord},
    rows,
};

/// Bytes of an error that are kept.
const ERROR_BYTES: usize = 2000;
/// Failed jobs of a kind that are kept.
const FAILED_KEPT: usize = 1000;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// Never to be tried again.
    GaveUp(String),
    /// To be tried again.
    Retry(String),
    /// To go on later.
    Later(Duration),
    /// The handler ended because it was asked to.
    Cancelled,
    /// The runner ends; whoever comes next goes on.
    Released,
}

impl Jobs {
    /// Writes down how the run of claim `token` ended. Returns false when the claim did not hold any more, and nothing was
    /// written.
    pub(crate) async fn finish(
        &self,
        job: u64,
        token: u64,
        outcome: &Outcome,
        policy: &Policy,
        progress: Option<&ProgressRecord>,
    ) -> Result<bool, JobsError> {
        self.store
            .transact(
                "jobs.finish",
                |tx| async move { self.finish_in(&tx, job, token, outcome, policy, progress).await },
            )
            .await
    }

    async fn finish_in(
        &self,
        tx: &Transaction,
        job: u64,
        token: u64,
        outcome: &Outcome,
        policy: &Policy,
        progress: Option<&ProgressRecord>,
    ) -> Result<bool, JobsError> {
        if LEASE.get(tx, (job,)).await?.is_none_or(|lease| lease.token != token) {
            return Ok(false);
        }
        let now = self.clock.now();
        let before = rows::load(tx, job).await?;
        rows::release(tx, job);
        if let Some(progress) = progress {
            PROGRESS.set(tx, (job,), progress);
        }
        let again = match before.again {
            Some(at) => AGAIN.get(tx, (job,)).await?.map(|arguments| (at, arguments)),
            None => None,
        };
        AGAIN.clear(tx, (job,));
        let mut after = JobRecord { cancel: false, again: None, ..before.clone() };
        after.attempts = attempts(tx, job, &before).await?;
        (after.state, after.at) = match outcome {
            Outcome::Done => {
                after.last_error = None;
                (JobState::Done, now)
            }
            Outcome::GaveUp(error) => {
                after.last_error = Some(shorten(error));
                (JobState::Failed, now)
            }
            _ if before.cancel => (JobState::Cancelled, now),
            Outcome::Retry(error) => {
                after.last_error = Some(shorten(error));
                exhausted_or_later(&after, policy, now, self.clock.chance())
            }
            Outcome::Cancelled => {
                // A handler that says so unasked must not be run again and again without a pause.
                after.last_error = Some("the handler ended itself".to_owned());
                exhausted_or_later(&after, policy, now, self.clock.chance())
            }
            Outcome::Later(pause) => {
                start_over(&mut after);
                (JobState::Waiting, now.saturating_add(pause.as_millis() as u64))
            }
            Outcome::Released => {
                after.attempts = after.attempts.saturating_sub(1);
                (JobState::Waiting, now)
            }
        };
        self.settle(tx, job, &before, after, again, policy).await?;
        Ok(true)
    }

    /// Writes `after` with all that follows from it.
    pub(crate) async fn settle(
        &self,
        tx: &Transaction,
        job: u64,
        before: &JobRecord,
        mut after: JobRecord,
        again: Option<(u64, Bytes)>,
        policy: &Policy,
    ) -> Result<(), JobsError> {
        if after.state == JobState::Waiting {
            // Its next run is the one that was asked for besides.
            if let Some((at, arguments)) = again
                && take_arguments(tx, job, &arguments).await?
            {
                start_over(&mut after);
                after.at = at;
            }
            rows::replace(tx, job, before, &after);
            return Ok(());
        }
        rows::replace(tx, job, before, &after);
        if after.state != JobState::Failed {
            CHECKPOINT.clear(tx, (job,));
        }
        let keep = if after.state == JobState::Failed { FAILED_KEPT } else { policy.history };
        rows::trim(tx, &after.kind, after.state, keep).await?;
        let began = before.started.unwrap_or(before.at);
        follow(tx, &*self.clock, job, &after, again, began).await
    }
}

/// Attempts that count: those since the last checkpoint.
pub(crate) async fn attempts(tx: &Transaction, job: u64, record: &JobRecord) -> Result<u32, JobsError> {
    // A snapshot: nobody but the claim's holder writes it, and the lease is what is guarded.
    let checkpoint = CHECKPOINT.get_snapshot(tx, (job,)).await?;
    let came_forward = checkpoint.is_some_and(|checkpoint| checkpoint.token == record.claims);
    Ok(if came_forward { record.attempts.min(1) } else { record.attempts })
}

/// Another attempt after a pause, or none.
fn exhausted_or_later(record: &JobRecord, policy: &Policy, now: u64, chance: f64) -> (JobState, u64) {
    if policy.attempts != 0 && record.attempts >= policy.attempts {
        (JobState::Failed, now)
    } else {
        (JobState::Waiting, now.saturating_add(policy.pause(record.attempts, chance)))
    }
}

/// After the active job of a kind and key has ended: the one that was asked for besides, or the next one by the schedule.
/// `began` is when the ended one began.
pub(crate) async fn follow(
    tx: &Transaction,
    clock: &dyn Clock,
    job: u64,
    ended: &JobRecord,
    again: Option<(u64, Bytes)>,
    began: u64,
) -> Result<(), JobsError> {
    let now = clock.now();
    let (kind, key) = (ended.kind.as_str(), ended.key.as_str());
    let schedule = SCHEDULE.get(tx, (kind, key)).await?.map(|mut schedule| {
        schedule.last = Some(began);
        SCHEDULE.set(tx, (kind, key), &schedule);
        schedule
    });
    if let Some((at, arguments)) = again {
        rows::create(tx, now, &waiting(kind, key, now, at), &arguments).await?;
    } else if let Some(schedule) = schedule {
        // Runs that were missed are not made up for.
        let due = schedule.next(began, clock.chance()).max(now);
        let next = JobRecord { scheduled: true, ..waiting(kind, key, now, due) };
        rows::create(tx, now, &next, &schedule.arguments.into()).await?;
    } else if ended.state != JobState::Failed {
        rows::deactivate(tx, job, ended).await?;
    }
    Ok(())
}

fn shorten(error: &str) -> String {
    let end = (0..=ERROR_BYTES.min(error.len())).rev().find(|end| error.is_char_boundary(*end)).unwrap_or_default();
    error[..end].to_owned()
}
