//! The engines behind [`crate::Store`] and [`crate::Transaction`].
//!
//! `embedded` is the one in this process, `foundationdb` the one on a cluster. What both share: the buffer of a transaction's
//! own writes, with its atomic operations, conflict ranges and limits.

mod atomics;
mod buffer;
pub(crate) mod embedded;
mod entry_list;
pub(crate) mod foundationdb;
mod key;
mod mutex;

use std::sync::Arc;

/// What an open store runs on.
#[derive(Debug, Clone)]
pub(crate) enum StoreEngine {
    /// In this process, on redb, on disk or in memory.
    Embedded(Arc<embedded::Embedded>),
    /// On a FoundationDB cluster.
    FoundationDb(Arc<foundationdb::FoundationDb>),
}

/// What a transaction runs on.
#[derive(Debug, Clone)]
pub(crate) enum TransactionEngine {
    Embedded(Arc<embedded::EmbeddedTransaction>),
    FoundationDb(Arc<foundationdb::FdbTransaction>),
}

/// What a snapshot reads from.
#[derive(Debug)]
pub(crate) enum SnapshotEngine {
    Embedded(embedded::EmbeddedSnapshot),
    FoundationDb(Box<foundationdb::FdbSnapshot>),
}

/// What a watch waits on.
#[derive(Debug)]
pub(crate) enum WatchEngine {
    Embedded(embedded::EmbeddedWatch),
    FoundationDb(foundationdb::FdbWatch),
}
