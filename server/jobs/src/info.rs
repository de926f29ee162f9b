//! Jobs as people see them: plain data for the admin API.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Names a job for as long as it is kept. Written as 16 hexadecimal digits, also in serde; the order is about that of
/// creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub(crate) u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for JobId {
    type Err = crate::JobsError;

    /// [`crate::JobsError::NotFound`] for what names no job.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u64::from_str_radix(text, 16).ok().filter(|_| digits).map(Self).ok_or(crate::JobsError::NotFound)
    }
}

impl Serialize for JobId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a job is doing. In the order in which [`crate::Jobs::list`] gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// A runner has it.
    Running,
    /// Until it is due, or a runner has room for it.
    Waiting,
    /// Its attempts are used up, or its handler gave up. Kept until somebody retries or cancels it.
    Failed,
    /// Succeeded. The newest ones of each kind are kept.
    Done,
    /// Ended by somebody before it succeeded. The newest ones of each kind are kept.
    Cancelled,
}

impl JobState {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [Self::Running, Self::Waiting, Self::Failed, Self::Done, Self::Cancelled];

    /// The number in keys.
    pub(crate) fn code(self) -> u64 {
        self as u64 + 1
    }

    pub(crate) fn from_code(code: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }
}

/// How far a job came, in its handler's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// So much is done, in whatever unit the kind counts.
    pub done: u64,
    /// Of so much, where that is known.
    pub total: Option<u64>,
    /// What is being done, or the result.
    pub message: String,
    /// When it was said, milliseconds since 1970.
    pub at_ts: u64,
}

/// A job. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobInfo {
    /// Its name.
    pub id: JobId,
    /// Its kind's name.
    pub kind: String,
    /// What of that kind: there is one job at a time for each kind and key.
    pub key: String,
    /// What it is doing.
    pub state: JobState,
    /// When it was enqueued.
    pub created_ts: u64,
    /// When it is due, for a waiting one.
    pub due_ts: Option<u64>,
    /// When it last began to run.
    pub started_ts: Option<u64>,
    /// When it ended, for one that is done, failed or cancelled.
    pub ended_ts: Option<u64>,
    /// Attempts so far (since it was enqueued, retried by hand, or last came forward).
    pub attempts: u32,
    /// Why the last attempt did not succeed.
    pub last_error: Option<String>,
    /// How far it came.
    pub progress: Option<Progress>,
    /// The runner that has it: a process's name.
    pub owner: Option<String>,
    /// It runs and was asked to end.
    pub cancelling: bool,
    /// It comes back periodically, and nobody asked for this run.
    pub scheduled: bool,
}

/// How many jobs a kind has by state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindCounts {
    /// The kind's name.
    pub kind: String,
    /// Running now.
    pub running: u64,
    /// Waiting.
    pub waiting: u64,
    /// Failed.
    pub failed: u64,
    /// Done, as far as they are kept.
    pub done: u64,
    /// Cancelled, as far as they are kept.
    pub cancelled: u64,
}

/// Which jobs to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Of this kind alone.
    pub kind: Option<String>,
    /// In this state alone.
    pub state: Option<JobState>,
}

/// Which part of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// At most so many, and never more than 500.
    pub limit: usize,
    /// [`JobList::next`] of the page before.
    pub after: Option<String>,
}

impl Default for Page {
    fn default() -> Self {
        Self { limit: 100, after: None }
    }
}

/// A page of jobs: by state (in the order of [`JobState`]), then kind; running and waiting ones from the earliest, ended
/// ones from the newest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobList {
    /// The jobs.
    pub jobs: Vec<JobInfo>,
    /// Where the next page begins; `None`: there is none.
    pub next: Option<String>,
}
