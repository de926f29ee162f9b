use std::path::PathBuf;

/// What can go wrong in a transaction.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Something that was read has changed since (`not_committed`, 1020). Retryable.
    #[error("transaction conflicts with another one")]
    Conflict,
    /// The transaction outlived [`crate::limits::TRANSACTION_LIFETIME`] (`transaction_too_old`, 1007). Retryable.
    #[error("transaction is too old to read or commit")]
    TransactionTooOld,
    /// More than [`crate::limits::TRANSACTION_BYTES`] (2101).
    #[error("transaction of {size} bytes exceeds the limit")]
    TransactionTooLarge {
        /// Size in bytes.
        size: usize,
    },
    /// More than [`crate::limits::KEY_BYTES`] (2102).
    #[error("key of {size} bytes exceeds the limit")]
    KeyTooLarge {
        /// Size in bytes.
        size: usize,
    },
    /// More than [`crate::limits::VALUE_BYTES`] (2103).
    #[error("value of {size} bytes exceeds the limit")]
    ValueTooLarge {
        /// Size in bytes.
        size: usize,
    },
    /// The range's end lies before its begin (2005).
    #[error("range is inverted")]
    InvertedRange,
    /// A read of a key that holds an unresolved versionstamp of this same transaction (`accessed_unreadable`, 1036).
    #[error("read of a versionstamped write of the same transaction")]
    AccessedUnreadable,
    /// A versionstamped key or value without room for the stamp at its offset.
    #[error("versionstamp offset is out of bounds")]
    InvalidVersionstamp,
    /// The transaction was committed already (2017).
    #[error("transaction was used after its commit")]
    UsedAfterCommit,
    /// A stored key or value does not decode: the data is damaged or was written by something else.
    #[error("table {table} holds an undecodable entry: {detail}")]
    Corrupt {
        /// `database/table`.
        table: String,
        /// What did not decode.
        detail: String,
    },
    /// The disk failed or is full. The process is about to end; nothing of the transaction is visible.
    #[error("storage failed: {0}")]
    Io(String),
    /// The store was closed.
    #[error("store is closed")]
    Closed,
}

impl StoreError {
    /// Whether running the same transaction again may succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Conflict | Self::TransactionTooOld)
    }
}

/// Lets [`crate::Store::transact`] see through a caller's own error type to decide about a retry.
pub trait AsStoreError: From<StoreError> {
    /// The store's error inside, if that is what this error is.
    fn as_store_error(&self) -> Option<&StoreError>;
}

impl AsStoreError for StoreError {
    fn as_store_error(&self) -> Option<&StoreError> {
        Some(self)
    }
}

/// Why a store could not be opened. The directory is left untouched in every case.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the directory open.
    #[error("{path} is in use by another process")]
    Locked {
        /// The data directory.
        path: PathBuf,
    },
    /// The directory holds something that is not a Hearth store.
    #[error("{path} is not a Hearth store: {detail}")]
    Foreign {
        /// The data directory.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// A newer Hearth wrote the directory.
    #[error(
        "{path} was written by a newer Hearth (format {found}, this one reads up to {supported}); install that version again or restore a backup"
    )]
    Newer {
        /// The data directory.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The newest format that this executable reads.
        supported: u32,
    },
    /// The directory cannot be read or written.
    #[error("{path} cannot be opened: {detail}")]
    Unreadable {
        /// The data directory.
        path: PathBuf,
        /// The system's or the engine's words.
        detail: String,
    },
}
