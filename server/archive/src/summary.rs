use std::time::SystemTime;

use hearth_store::Version;
use serde::{Deserialize, Serialize};

/// What a backup says of itself at its beginning, readable without its passphrase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupHeader {
    /// Version of the file format.
    pub format: u32,
    /// The server whose data it is.
    pub server_name: String,
    /// When it was begun.
    pub created: SystemTime,
    /// The Hearth that made it.
    pub hearth_version: String,
    /// The engine that it was read from.
    pub engine: String,
    /// Whether a passphrase is needed.
    pub encrypted: bool,
    /// Whether the schedule made it, so that [`crate::retain`] may delete it.
    pub scheduled: bool,
}

/// The entries of one table: how many, how large, and a checksum over all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubspaceSum {
    /// First element of the keys; empty where a key is not two strings and more.
    pub database: String,
    /// Second element of the keys.
    pub table: String,
    /// Number of entries.
    pub keys: u64,
    /// Bytes of the keys.
    pub key_bytes: u64,
    /// Bytes of the values.
    pub value_bytes: u64,
    /// SHA-256 over the entries in key order, each as length and bytes of key and value; in hexadecimal digits.
    pub sha256: String,
}

/// What a whole backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupSummary {
    /// What its beginning says.
    pub header: BackupHeader,
    /// The store's version as of which everything was read.
    pub version: Version,
    /// When that was.
    pub taken: SystemTime,
    /// Number of entries.
    pub keys: u64,
    /// Bytes of all keys and values.
    pub bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// By database and table, in the order of keys.
    pub subspaces: Vec<SubspaceSum>,
    /// Names of the files that it holds besides the store's data.
    pub attachments: Vec<String>,
}
