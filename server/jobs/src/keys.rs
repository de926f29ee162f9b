//! The whole keyspace of the job queue. Nothing outside this crate knows these keys.
//!
//! `job` is a job's number; `state` is 1 running, 2 waiting, 3 failed, 4 done, 5 cancelled; times are milliseconds since 1970.

use bytes::Bytes;
use hearth_store::{Versionstamp, keyspace};

use crate::records::{CheckpointRecord, JobRecord, LeaseRecord, ProgressRecord, ScheduleRecord};

keyspace! {
    database "jobs";

    /// The newest change of the queue (one key, `0`): what runners watch.
    HEAD "head": (zero: u64) => Versionstamp;
    /// The job itself.
    JOB "job": (job: u64) => JobRecord;
    /// The one job of a kind and key that waits, runs or has failed.
    ACTIVE "active": (kind: String, key: String) => u64;
    /// What a job is to do, as MessagePack.
    ARGUMENTS "arguments": (job: u64) => Bytes;
    /// What the job is to do that follows this running one.
    AGAIN "again": (job: u64) => Bytes;
    /// Jobs by state, kind and time: when a waiting one is due, since when a running one runs, when others ended.
    INDEX "index": (state: u64, kind: String, at: u64, job: u64) => ();
    /// Number of jobs by kind and state.
    COUNT "count": (kind: String, state: u64) => u64;

    /// Who runs a job. Written when it is claimed and removed when it ends or is handed back, and so read by every
    /// transaction that must not outlive the claim.
    LEASE "lease": (job: u64) => LeaseRecord;
    /// Until when the claim holds unless it is renewed. Apart from the lease, so that renewing disturbs nobody.
    LEASE_UNTIL "lease_until": (job: u64) => u64;
    /// How far a job came, written with the handler's own writes.
    CHECKPOINT "checkpoint": (job: u64) => CheckpointRecord;
    /// How far a job came, for people.
    PROGRESS "progress": (job: u64) => ProgressRecord;

    /// Jobs that come back periodically.
    SCHEDULE "schedule": (kind: String, key: String) => ScheduleRecord;
}
