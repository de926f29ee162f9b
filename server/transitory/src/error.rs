use hearth_store::{AsStoreError, StoreError};

/// What an operation on the Transitory database fails with.
#[derive(Debug, thiserror::Error)]
pub enum TransitoryError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Stored data does not parse: damage or a bug.
    #[error("stored data is damaged: {0}")]
    Corrupt(String),
}

impl AsStoreError for TransitoryError {
    fn as_store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            Self::Corrupt(_) => None,
        }
    }
}
