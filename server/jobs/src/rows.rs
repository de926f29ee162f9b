//! Writing jobs down: a job's row, its place in the index and the counts change together, and only here.

use bytes::Bytes;
use hearth_store::{StoreError, Transaction};

use crate::{
    JobState, JobsError,
    keys::{ACTIVE, AGAIN, ARGUMENTS, CHECKPOINT, COUNT, HEAD, INDEX, JOB, LEASE, LEASE_UNTIL, PROGRESS},
    records::JobRecord,
};

/// Ended jobs removed in one transaction, so that no transaction grows with what was left behind.
const TRIMMED_AT_ONCE: u64 = 10;

/// Tells every runner, and whoever looks on, that the queue changed.
pub(crate) fn announce(tx: &Transaction) {
    HEAD.set_to_commit_stamp(tx, (0,), 0);
}

pub(crate) async fn load(tx: &Transaction, job: u64) -> Result<JobRecord, JobsError> {
    JOB.get(tx, (job,)).await?.ok_or(JobsError::NotFound)
}

fn enter(tx: &Transaction, job: u64, record: &JobRecord) {
    INDEX.set(tx, (record.state.code(), &record.kind, record.at, job), &());
    COUNT.add(tx, (&record.kind, record.state.code()), 1);
}

fn leave(tx: &Transaction, job: u64, record: &JobRecord) {
    INDEX.clear(tx, (record.state.code(), &record.kind, record.at, job));
    COUNT.add(tx, (&record.kind, record.state.code()), -1);
}

/// A new job, which becomes the active one of its kind and key.
pub(crate) async fn create(
    tx: &Transaction,
    now: u64,
    record: &JobRecord,
    arguments: &Bytes,
) -> Result<u64, StoreError> {
    let job = loop {
        // About in the order of creation; unlike a counter no conflict between those who create at the same time.
        let job = (now << 20) | (rand::random::<u64>() & 0xf_ffff);
        if JOB.get(tx, (job,)).await?.is_none() {
            break job;
        }
    };
    JOB.set(tx, (job,), record);
    ARGUMENTS.set(tx, (job,), arguments);
    ACTIVE.set(tx, (&record.kind, &record.key), &job);
    enter(tx, job, record);
    announce(tx);
    Ok(job)
}

/// Writes what became of a job.
pub(crate) fn replace(tx: &Transaction, job: u64, before: &JobRecord, after: &JobRecord) {
    if (before.state, before.at) != (after.state, after.at) {
        leave(tx, job, before);
        enter(tx, job, after);
    }
    JOB.set(tx, (job,), after);
    announce(tx);
}

/// Takes the lease away, so that nothing of the claim commits from here on.
pub(crate) fn release(tx: &Transaction, job: u64) {
    LEASE.clear(tx, (job,));
    LEASE_UNTIL.clear(tx, (job,));
}

/// The job is no longer the active one of its kind and key.
pub(crate) async fn deactivate(tx: &Transaction, job: u64, record: &JobRecord) -> Result<(), StoreError> {
    if ACTIVE.get(tx, (&record.kind, &record.key)).await? == Some(job) {
        ACTIVE.clear(tx, (&record.kind, &record.key));
    }
    Ok(())
}

/// Forgets a job.
pub(crate) async fn remove(tx: &Transaction, job: u64, record: &JobRecord) -> Result<(), StoreError> {
    leave(tx, job, record);
    deactivate(tx, job, record).await?;
    release(tx, job);
    JOB.clear(tx, (job,));
    ARGUMENTS.clear(tx, (job,));
    AGAIN.clear(tx, (job,));
    CHECKPOINT.clear(tx, (job,));
    PROGRESS.clear(tx, (job,));
    announce(tx);
    Ok(())
}

/// Forgets the oldest jobs of a kind that ended in `state`, so that `keep` are left.
pub(crate) async fn trim(tx: &Transaction, kind: &str, state: JobState, keep: usize) -> Result<(), JobsError> {
    // Without read conflicts: two that end at the same time must not hold each other up. Both may then see the same
    // oldest one; the row that both read and clear makes one of them look again.
    let count = COUNT.get_snapshot(tx, (kind, state.code())).await?.unwrap_or_default();
    let excess = count.saturating_sub(keep as u64).min(TRIMMED_AT_ONCE);
    if excess == 0 {
        return Ok(());
    }
    let oldest = INDEX.scan((state.code(), kind)).limit(excess as usize).snapshot().all(tx).await?;
    for ((_, _, _, job), ()) in oldest {
        if let Some(record) = JOB.get(tx, (job,)).await? {
            remove(tx, job, &record).await?;
        }
    }
    Ok(())
}
