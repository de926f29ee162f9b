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
