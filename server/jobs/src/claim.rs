//! Taking a job.

use bytes::Bytes;
use hearth_store::Transaction;

use crate::{
    JobState, Jobs, JobsError, Policy,
    finish::attempts,
    keys::{AGAIN, ARGUMENTS, JOB, LEASE, LEASE_UNTIL},
    records::{JobRecord, LeaseRecord},
    rows,
};

/// Who claims, and on which terms.
#[derive(Debug, Clone)]
pub(crate) struct Claimant {
    /// Name of the runner, unlike that of any other one.
    pub(crate) owner: String,
    /// How long a claim holds, milliseconds.
    pub(crate) lease: u64,
    /// Nobody else can be alive: claims of others are void.
    pub(crate) sole: bool,
}

/// What a runner needs of a job that it has claimed.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) key: String,
    pub(crate) token: u64,
    pub(crate) attempt: u32,
    pub(crate) arguments: Bytes,
}

impl Jobs {
    /// Claims a job that is due or whose owner is gone. `None` when somebody was faster, or when there is nothing to run.
    pub(crate) async fn claim(
        &self,
        job: u64,
        claimant: &Claimant,
        policy: &Policy,
    ) -> Result<Option<Claimed>, JobsError> {
        self.store.transact("jobs.claim", |tx| async move { self.claim_in(&tx, job, claimant, policy).await }).await
    }

    async fn claim_in(
        &self,
        tx: &Transaction,
        job: u64,
        claimant: &Claimant,
        policy: &Policy,
    ) -> Result<Option<Claimed>, JobsError> {
        let now = self.clock.now();
        let Some(before) = JOB.get(tx, (job,)).await? else { return Ok(None) };
        let tried = attempts(tx, job, &before).await?;
        match before.state {
            JobState::Waiting if before.at <= now => {}
            JobState::Running if claimant.may_take(tx, job, now).await? => {
                if let Some(after) = hopeless(&before, tried, policy, now) {
                    let again = match before.again {
                        Some(at) => AGAIN.get(tx, (job,)).await?.map(|arguments| (at, arguments)),
                        None => None,
                    };
                    AGAIN.clear(tx, (job,));
                    rows::release(tx, job);
                    self.settle(tx, job, &before, after, again, policy).await?;
                    return Ok(None);
                }
            }
            _ => return Ok(None),
        }
        let Some(arguments) = ARGUMENTS.get(tx, (job,)).await? else { return Ok(None) };
        let after = JobRecord {
            state: JobState::Running,
            at: now,
            started: Some(now),
            attempts: tried.saturating_add(1),
            claims: before.claims + 1,
            ..before.clone()
        };
        rows::replace(tx, job, &before, &after);
        LEASE.set(tx, (job,), &LeaseRecord { token: after.claims, owner: claimant.owner.clone() });
        LEASE_UNTIL.set(tx, (job,), &now.saturating_add(claimant.lease));
        Ok(Some(Claimed { key: after.key, token: after.claims, attempt: after.attempts, arguments }))
    }

    /// Makes claims hold longer. Returns those that do not hold any more.
    pub(crate) async fn renew(&self, claims: &[(u64, u64)], claimant: &Claimant) -> Result<Vec<u64>, JobsError> {
        self.store
            .transact("jobs.renew", |tx| async move {
                let until = self.clock.now().saturating_add(claimant.lease);
                let mut lost = Vec::new();
                for (job, token) in claims {
                    if LEASE.get(&tx, (*job,)).await?.is_some_and(|lease| lease.token == *token) {
                        LEASE_UNTIL.set(&tx, (*job,), &until);
                    } else {
                        lost.push(*job);
                    }
                }
                Ok(lost)
            })
            .await
    }
}

impl Claimant {
    /// When others may take what is claimed until `until`: clocks may differ by a quarter of a lease without a job changing
    /// hands early. What decides about writes is the fencing token, never a clock.
    pub(crate) fn lapses(&self, until: u64) -> u64 {
        until.saturating_add(self.lease / 4)
    }

    /// Whether the claim that holds is void.
    async fn may_take(&self, tx: &Transaction, job: u64, now: u64) -> Result<bool, JobsError> {
        if self.sole && LEASE.get(tx, (job,)).await?.is_none_or(|lease| lease.owner != self.owner) {
            return Ok(true);
        }
        // A conflicting read: an owner that renews just now keeps the job.
        Ok(LEASE_UNTIL.get(tx, (job,)).await?.is_none_or(|until| self.lapses(until) <= now))
    }
}

/// What becomes of a job that its owner left running and that is not to run again.
fn hopeless(before: &JobRecord, tried: u32, policy: &Policy, now: u64) -> Option<JobRecord> {
    let ended = JobRecord { cancel: false, again: None, at: now, ..before.clone() };
    if before.cancel {
        return Some(JobRecord { state: JobState::Cancelled, ..ended });
    }
    // It may be the job itself that ends processes.
    (policy.attempts != 0 && tried >= policy.attempts).then(|| JobRecord {
        state: JobState::Failed,
        last_error: Some(format!("its process ended while it ran, {tried} times in a row")),
        ..ended
    })
}
