//! The values that the storage monitor keeps. Fields are only ever appended (see `hearth_store::msgpack_value!`).

use serde::{Deserialize, Serialize};

/// How large the store was at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::admin) struct Sample {
    /// When, Unix milliseconds.
    pub at: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Bytes free on that disk, where known.
    pub free_bytes: Option<u64>,
    /// Events in all rooms.
    pub events: u64,
}

/// The size of every table at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::admin) struct Measurement {
    /// When it was finished, Unix milliseconds.
    pub at: u64,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Whether every entry was counted; otherwise larger tables were counted in part only.
    pub complete: bool,
    /// The tables, the largest first.
    pub tables: Vec<MeasuredTable>,
}

/// The size of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::admin) struct MeasuredTable {
    /// The database it belongs to.
    pub database: String,
    /// Its name.
    pub table: String,
    /// Entries.
    pub entries: u64,
    /// Bytes of its keys.
    pub key_bytes: u64,
    /// Bytes of its values.
    pub value_bytes: u64,
}

hearth_store::msgpack_value!(Sample, Measurement);
