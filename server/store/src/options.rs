//! How a store is opened.

use std::path::PathBuf;

/// How the embedded engine is opened.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// The data directory; created when missing.
    pub path: PathBuf,
    /// Page cache, in bytes.
    pub cache_bytes: usize,
}

/// How a FoundationDB cluster is opened.
#[derive(Debug, Clone)]
pub struct FoundationDbOptions {
    /// The cluster file: where the coordinators are. FoundationDB's client rewrites it when they move.
    pub cluster_file: PathBuf,
    /// FoundationDB's client library; searched for where `None`.
    pub client_library: Option<PathBuf>,
    /// Every key of this store lies below it, so that several Hearths share a cluster. At most
    /// [`crate::limits::KEY_PREFIX_BYTES`] bytes; empty for a cluster of one's own.
    pub key_prefix: Vec<u8>,
}
