//! The engines behind [`crate::Store`] and [`crate::Transaction`].
//!
//! `embedded` is the one in this process. A second engine becomes a second variant of the three enums here
//! (and a module beside `embedded`); callers of the store do not notice.

pub(crate) mod embedded;

use std::sync::Arc;

/// What an open store runs on.
#[derive(Debug, Clone)]
pub(crate) enum StoreEngine {
    /// In this process, on redb, on disk or in memory.
    Embedded(Arc<embedded::Embedded>),
}

/// What a transaction runs on.
#[derive(Debug, Clone)]
pub(crate) enum TransactionEngine {
    Embedded(Arc<embedded::EmbeddedTransaction>),
}

/// What a snapshot reads from.
#[derive(Debug)]
pub(crate) enum SnapshotEngine {
    Embedded(embedded::EmbeddedSnapshot),
}

/// What a watch waits on.
#[derive(Debug)]
pub(crate) enum WatchEngine {
    Embedded(embedded::EmbeddedWatch),
}
