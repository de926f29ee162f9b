use std::time::Duration;

use hearth_store::{AsStoreError, StoreError};

/// What an operation on the queue refuses or fails with.
#[derive(Debug, thiserror::Error)]
pub enum JobsError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such job (any more: what is done is kept for a while only).
    #[error("there is no such job")]
    NotFound,
    /// The job's state does not allow it.
    #[error("{0}")]
    NotNow(&'static str),
    /// Arguments that do not encode, or not in a small row.
    #[error("the job's arguments: {0}")]
    Arguments(String),
    /// A cursor that this crate did not make.
    #[error("not a cursor of this list")]
    Cursor,
}

impl AsStoreError for JobsError {
    fn as_store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

/// How a run ended that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The store failed: tried again later.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another runner has the job now; nothing that this one still writes under [`crate::Running::guard`] commits.
    #[error("another runner has taken over")]
    LeaseLost,
    /// The handler saw [`crate::Running::stop`].
    #[error("cancelled")]
    Cancelled,
    /// Tried again later, until the attempts are used up.
    #[error("{0}")]
    Retry(String),
    /// Trying again would not help: the job fails at once.
    #[error("{0}")]
    GiveUp(String),
    /// Nothing is wrong, there is more to do later: the job waits so long, and no attempt is used up.
    #[error("to be continued in {0:?}")]
    Later(Duration),
}

impl JobError {
    /// An error of something that the handler called: tried again later.
    #[allow(clippy::needless_pass_by_value)] // fits `map_err`
    pub fn retry(error: impl std::fmt::Display) -> Self {
        Self::Retry(error.to_string())
    }
}

impl AsStoreError for JobError {
    fn as_store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

impl From<JobsError> for JobError {
    fn from(error: JobsError) -> Self {
        match error {
            JobsError::Store(error) => Self::Store(error),
            error => Self::Retry(error.to_string()),
        }
    }
}
