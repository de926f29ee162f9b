//! Jobs that come back.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use hearth_store::Transaction;

use crate::{
    JobState, Jobs, JobsError,
    enqueue::{take_arguments, waiting},
    keys::{ACTIVE, SCHEDULE},
    records::{JobRecord, ScheduleRecord},
    rows,
};

/// How often a job comes back. The time counts from one start to the next; runs that were missed, because the machine slept
/// or the run before took too long, are not made up for: one follows at once and then the interval begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// From one start to the next.
    pub every: Duration,
    /// At most so much later, by chance.
    pub jitter: Duration,
    /// When there was none yet, the first one comes after so long.
    pub first: Duration,
}

impl ScheduleRecord {
    /// When the one comes that follows the one that began at `began`.
    pub(crate) fn next(&self, began: u64, chance: f64) -> u64 {
        began
            .saturating_add(self.every)
            .saturating_add(Duration::from_millis(self.jitter).mul_f64(chance).as_millis() as u64)
    }
}

/// A schedule as a runner was given it.
#[derive(Debug, Clone)]
pub(crate) struct Declared {
    pub(crate) kind: &'static str,
    pub(crate) key: String,
    pub(crate) schedule: Schedule,
    pub(crate) arguments: Bytes,
}

impl Jobs {
    /// Makes the schedules of `kinds` those that are declared.
    pub(crate) async fn arrange(&self, kinds: &[&'static str], declared: &[Declared]) -> Result<(), JobsError> {
        self.store
            .transact("jobs.arrange", |tx| async move {
                let wanted: BTreeSet<_> = declared.iter().map(|one| (one.kind, one.key.as_str())).collect();
                for kind in kinds {
                    for ((kind, key), _) in SCHEDULE.scan((kind,)).all(&tx).await? {
                        if !wanted.contains(&(kind.as_str(), key.as_str())) {
                            SCHEDULE.clear(&tx, (&kind, &key));
                            drop_scheduled(&tx, &kind, &key).await?;
                        }
                    }
                }
                for one in declared {
                    self.arrange_one(&tx, one).await?;
                }
                Ok::<_, JobsError>(())
            })
            .await
    }

    async fn arrange_one(&self, tx: &Transaction, declared: &Declared) -> Result<(), JobsError> {
        let Declared { kind, key, schedule, arguments } = declared;
        let now = self.clock.now();
        let last = SCHEDULE.get(tx, (kind, key)).await?.and_then(|record| record.last);
        let record = ScheduleRecord {
            every: schedule.every.as_millis() as u64,
            jitter: schedule.jitter.as_millis() as u64,
            last,
            arguments: arguments.to_vec(),
        };
        SCHEDULE.set(tx, (kind, key), &record);
        let due = match last {
            Some(last) => record.next(last, self.clock.chance()).max(now),
            None => now.saturating_add(schedule.first.as_millis() as u64),
        };
        if let Some(job) = ACTIVE.get(tx, (kind, key)).await? {
            let before = rows::load(tx, job).await?;
            let untouched = before.scheduled && before.attempts == 0;
            match before.state {
                JobState::Waiting if untouched => {
                    take_arguments(tx, job, arguments).await?;
                    // One that never ran keeps the time of its first run, however often the process starts.
                    let at = if last.is_some() { due } else { before.at.min(due) };
                    if at != before.at {
                        rows::replace(tx, job, &before, &JobRecord { at, ..before.clone() });
                    }
                    return Ok(());
                }
                // What is under way is followed by the next one when it ends.
                JobState::Running | JobState::Waiting => return Ok(()),
                JobState::Failed | JobState::Done | JobState::Cancelled => {}
            }
        }
        let next = JobRecord { scheduled: true, ..waiting(kind, key, now, due) };
        rows::create(tx, now, &next, arguments).await?;
        Ok(())
    }
}

/// Removes the waiting job of a schedule that is no more, unless somebody asked for it as well.
async fn drop_scheduled(tx: &Transaction, kind: &str, key: &str) -> Result<(), JobsError> {
    if let Some(job) = ACTIVE.get(tx, (kind, key)).await? {
        let record = rows::load(tx, job).await?;
        if record.scheduled && record.state == JobState::Waiting {
            rows::remove(tx, job, &record).await?;
        }
    }
    Ok(())
}
