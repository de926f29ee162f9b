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
    /// The cluster does not answer now (FoundationDB). Nothing is known to be wrong with the data; the same request may
    /// succeed later. Where it comes from a commit, the text says whether the commit may have happened.
    #[error("the database does not answer: {0}")]
    Unavailable(String),
    /// A [`crate::Snapshot`] cannot be read to its end; begin another one.
    #[error("snapshot failed: {0}")]
    SnapshotLost(String),
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

/// Why a store could not be opened. The directory or the cluster is left untouched in every case.
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
    /// FoundationDB's client library is not there, or cannot be used.
    #[error("{0}")]
    LibraryMissing(LibraryMissing),
    /// FoundationDB's client library does not know the API version that Hearth speaks.
    #[error(
        "the FoundationDB client library at {path} is too old: it speaks API version {found}, Hearth needs {needed}; \
         install foundationdb-clients 7.4 or newer"
    )]
    LibraryTooOld {
        /// The library.
        path: PathBuf,
        /// The newest API version that it speaks.
        found: i32,
        /// The oldest that Hearth can use.
        needed: i32,
    },
    /// The cluster file is missing or is not one.
    #[error("the cluster file {path} cannot be used: {detail}")]
    ClusterFile {
        /// The cluster file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The cluster gave no answer to a transaction.
    #[error(
        "the FoundationDB cluster of {path} does not answer ({detail}); \
         is fdbserver running, reachable and configured? `fdbcli -C {path} --exec status` tells"
    )]
    Unreachable {
        /// The cluster file.
        path: PathBuf,
        /// What was waited for, and the client's words.
        detail: String,
    },
}

/// Where FoundationDB's client library was looked for, and why each try failed.
#[derive(Debug)]
pub struct LibraryMissing {
    /// Path or name, and why it could not be loaded, in the order of the search.
    pub looked: Vec<(PathBuf, String)>,
}

impl std::fmt::Display for LibraryMissing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the FoundationDB client library (libfdb_c) could not be loaded; install the package foundationdb-clients, or \
             name the library with `client_library` in the section [store] or in FDB_CLIENT_LIBRARY. Looked for:"
        )?;
        for (place, reason) in &self.looked {
            write!(f, "\n  {}: {reason}", place.display())?;
        }
        Ok(())
    }
}
