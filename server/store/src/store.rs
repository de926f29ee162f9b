use std::path::PathBuf;

use crate::{AsStoreError, Committed, OpenError, StoreError, Transaction, Version};

/// How the embedded engine is opened.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// The data directory; created when missing.
    pub path: PathBuf,
    /// Page cache, in bytes.
    pub cache_bytes: usize,
}

/// Figures for the dashboard.
#[derive(Debug, Clone, Default)]
pub struct StoreStats {
    /// `embedded`, `memory` or `foundationdb`.
    pub engine: &'static str,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Commits since the start.
    pub commits: u64,
    /// Transactions that were retried after a conflict since the start.
    pub conflicts: u64,
    /// Point and range reads since the start.
    pub reads: u64,
}

/// An open store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {}

impl Store {
    /// Opens (or creates) an embedded store. Takes the operating-system lock on the directory.
    pub async fn open(options: EmbeddedOptions) -> Result<Self, OpenError> {
        let _ = options;
        todo!()
    }

    /// An empty store in memory, for tests.
    pub fn memory() -> Self {
        todo!()
    }

    /// Begins a transaction by hand.
    pub fn begin(&self) -> Transaction {
        todo!()
    }

    /// Runs `body` in a transaction and commits it, again from the start (with backoff) when it conflicts.
    /// `body` must be idempotent and do no network I/O. `name` labels the tracing span.
    pub async fn transact<T, E, F, Fut>(&self, name: &'static str, body: F) -> Result<T, E>
    where
        F: Fn(Transaction) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, E>> + Send,
        E: AsStoreError + Send,
        T: Send,
    {
        Ok(self.transact_versioned(name, body).await?.0)
    }

    /// Like [`Self::transact`], and tells what was committed.
    pub async fn transact_versioned<T, E, F, Fut>(&self, name: &'static str, body: F) -> Result<(T, Committed), E>
    where
        F: Fn(Transaction) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, E>> + Send,
        E: AsStoreError + Send,
        T: Send,
    {
        let _ = (name, body);
        todo!()
    }

    /// The version of the newest commit that is visible to new transactions.
    pub async fn current_version(&self) -> Result<Version, StoreError> {
        todo!()
    }

    /// Figures for the dashboard.
    pub fn stats(&self) -> StoreStats {
        todo!()
    }

    /// Finishes pending commits and releases the directory. Later use fails with [`StoreError::Closed`].
    pub async fn close(&self) {
        todo!()
    }
}
