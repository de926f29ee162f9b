//! The values in the queue. Fields are only ever appended (see `hearth_store::msgpack_value!`).

use serde::{Deserialize, Serialize};

use crate::JobState;

/// A job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobRecord {
    pub(crate) kind: String,
    pub(crate) key: String,
    pub(crate) state: JobState,
    /// When a waiting job is due, since when a running one runs, when another one ended; milliseconds since 1970.
    pub(crate) at: u64,
    /// When it was enqueued.
    pub(crate) created: u64,
    /// Attempts begun since it was enqueued, retried by hand, or last left a checkpoint.
    pub(crate) attempts: u32,
    /// How often it was ever claimed: the fencing token of the newest claim.
    pub(crate) claims: u64,
    /// When it last began to run.
    pub(crate) started: Option<u64>,
    pub(crate) last_error: Option<String>,
    /// It runs and is to end.
    pub(crate) cancel: bool,
    /// It runs and another one is to follow at that time.
    pub(crate) again: Option<u64>,
    /// It is there because of a schedule alone.
    pub(crate) scheduled: bool,
}

/// Who runs a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeaseRecord {
    /// The claim's number: larger than that of all claims before.
    pub(crate) token: u64,
    /// The runner.
    pub(crate) owner: String,
}

/// How far a job came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CheckpointRecord {
    /// Token of the claim that wrote it.
    pub(crate) token: u64,
    /// The handler's own state as MessagePack.
    pub(crate) state: Vec<u8>,
}

/// How far a job came, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProgressRecord {
    pub(crate) done: u64,
    pub(crate) total: Option<u64>,
    pub(crate) message: String,
    /// When it was said.
    pub(crate) at: u64,
}

/// A job that comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ScheduleRecord {
    /// Milliseconds from one start to the next.
    pub(crate) every: u64,
    /// At most so many milliseconds later.
    pub(crate) jitter: u64,
    /// When the last run that came to an end had begun.
    pub(crate) last: Option<u64>,
    /// What to do, as MessagePack.
    pub(crate) arguments: Vec<u8>,
}

hearth_store::msgpack_value!(JobRecord, LeaseRecord, CheckpointRecord, ProgressRecord, ScheduleRecord);
