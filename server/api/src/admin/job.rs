//! Jobs as the API shows them.

use hearth_jobs::{JobInfo, JobState as State, Progress};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A job: something that the server does beside answering requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct Job {
    /// Its id.
    pub id: String,
    /// Its kind, such as `backup`.
    pub kind: String,
    /// What of that kind, such as a room id. Of each kind and key there is one job at a time.
    pub key: String,
    /// What it is doing.
    pub state: JobState,
    /// When it was asked for, Unix milliseconds.
    pub created_at: u64,
    /// When a waiting one is due, Unix milliseconds.
    pub due_at: Option<u64>,
    /// When it last began to run, Unix milliseconds.
    pub started_at: Option<u64>,
    /// When it ended, Unix milliseconds.
    pub ended_at: Option<u64>,
    /// Attempts since it was asked for, retried by hand, or last came forward.
    pub attempts: u32,
    /// Why the last attempt did not succeed.
    pub last_error: Option<String>,
    /// How far it came.
    pub progress: Option<JobProgress>,
    /// The process that has it.
    pub owner: Option<String>,
    /// It runs and was asked to end.
    pub cancelling: bool,
    /// It comes back by itself, and nobody asked for this run.
    pub scheduled: bool,
}

/// How far a job came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct JobProgress {
    /// So much is done, in whatever the kind counts.
    pub done: u64,
    /// Of so much, where that is known.
    pub total: Option<u64>,
    /// What is being done, or the result.
    pub message: String,
    /// When it was said, Unix milliseconds.
    pub at: u64,
}

/// What a job is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum JobState {
    /// A process does it.
    Running,
    /// Until it is due, or a process has room for it.
    Waiting,
    /// Its attempts are used up. It stays until somebody retries or cancels it.
    Failed,
    /// Succeeded. The newest ones are kept.
    Done,
    /// Ended by somebody. The newest ones are kept.
    Cancelled,
}

impl From<State> for JobState {
    fn from(state: State) -> Self {
        match state {
            State::Running => Self::Running,
            State::Waiting => Self::Waiting,
            State::Failed => Self::Failed,
            State::Done => Self::Done,
            State::Cancelled => Self::Cancelled,
        }
    }
}

impl From<JobState> for State {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Running => Self::Running,
            JobState::Waiting => Self::Waiting,
            JobState::Failed => Self::Failed,
            JobState::Done => Self::Done,
            JobState::Cancelled => Self::Cancelled,
        }
    }
}

impl From<Progress> for JobProgress {
    fn from(progress: Progress) -> Self {
        Self { done: progress.done, total: progress.total, message: progress.message, at: progress.at_ts }
    }
}

impl From<JobInfo> for Job {
    fn from(job: JobInfo) -> Self {
        Self {
            id: job.id.to_string(),
            kind: job.kind,
            key: job.key,
            state: job.state.into(),
            created_at: job.created_ts,
            due_at: job.due_ts,
            started_at: job.started_ts,
            ended_at: job.ended_ts,
            attempts: job.attempts,
            last_error: job.last_error,
            progress: job.progress.map(JobProgress::from),
            owner: job.owner,
            cancelling: job.cancelling,
            scheduled: job.scheduled,
        }
    }
}
