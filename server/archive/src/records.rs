//! The values of this crate's rows. Fields are only ever appended (see `hearth_store::msgpack_value!`).

use serde::{Deserialize, Serialize};

/// Where a store's data comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Source {
    /// A backup: its path as it was given.
    Backup(String),
    /// Another store, as the command line names it.
    Store(String),
}

/// How far a store is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unfinished {
    /// Tells this restore or copy from others: a digest of the backup, or the copy's number.
    pub(crate) id: String,
    /// Where the data comes from.
    pub(crate) source: Source,
    /// The last key that was written.
    pub(crate) position: Option<Vec<u8>>,
}

/// A copy that is being made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Locked {
    /// The copy's number.
    pub(crate) id: String,
    /// The target, as the command line names it.
    pub(crate) to: String,
}

hearth_store::msgpack_value!(Unfinished, Locked);
