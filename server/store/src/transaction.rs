use bytes::Bytes;

use crate::engine::{TransactionEngine, WatchEngine};
use crate::operations::{AtomicOp, Committed, KeyValue, RangeRead};
use crate::{StoreError, Version};

/// A transaction. Cloning gives another handle on the same one.
///
/// It sees the store as of its first read, plus its own writes. A transaction that is dropped without
/// [`Self::commit`] never happened.
#[derive(Clone, Debug)]
pub struct Transaction {
    engine: TransactionEngine,
}

/// Resolves when the watched key's value changes after the transaction that made the watch committed. It may also
/// resolve without a change, so whoever waits looks again.
#[derive(Debug)]
pub struct Watch {
    engine: WatchEngine,
}

impl Watch {
    /// Waits for the change. Fails with [`StoreError::Closed`] where the transaction did not commit.
    pub async fn changed(self) -> Result<(), StoreError> {
        match self.engine {
            WatchEngine::Embedded(watch) => watch.changed().await,
            WatchEngine::FoundationDb(watch) => watch.changed().await,
        }
    }
}

// The embedded engine reads in place (see its module), so that some of these never wait; a remote one does.
#[allow(clippy::unused_async)]
impl Transaction {
    pub(crate) fn new(engine: TransactionEngine) -> Self {
        Self { engine }
    }

    /// The version at which this transaction reads.
    pub async fn read_version(&self) -> Result<Version, StoreError> {
        match &self.engine {
            TransactionEngine::Embedded(transaction) => transaction.read_version(),
            TransactionEngine::FoundationDb(transaction) => transaction.read_version().await,
        }
    }

    /// The value of `key`, seeing this transaction's own writes; adds a read conflict.
    pub async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match &self.engine {
            TransactionEngine::Embedded(transaction) => transaction.get(key, true),
            TransactionEngine::FoundationDb(transaction) => transaction.get(key, true).await,
        }
    }

    /// Like [`Self::get`] without a read conflict.
    pub async fn get_snapshot(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match &self.engine {
            TransactionEngine::Embedded(transaction) => transaction.get(key, false),
            TransactionEngine::FoundationDb(transaction) => transaction.get(key, false).await,
        }
    }

    /// Reads a range, seeing this transaction's own writes. What was really read becomes the read conflict:
    /// where the limit ends the read, up to the last entry.
    pub async fn range(&self, read: &RangeRead) -> Result<Vec<KeyValue>, StoreError> {
        match &self.engine {
            TransactionEngine::Embedded(transaction) => transaction.range(read),
            TransactionEngine::FoundationDb(transaction) => transaction.range(read).await,
        }
    }

    /// Buffers a write. Limits are checked at commit.
    pub fn set(&self, key: &[u8], value: &[u8]) {
        match &self.engine {
            TransactionEngine::Embedded(transaction) => transaction.set(key, value),
            TransactionEngine::FoundationDb(transaction) => transaction.set(key, value),
        }
    }

    /// Buffers a deletion.
    pub fn clear(&self, key: &[u8]) {
        match &self.engine {
            TransactionEngine::Embedded(transaction) => transaction.clear(key),
            TransactionEngine::FoundationDb(transaction) => transaction.clear(key),
        }
    }

    /// Buffers the deletion of `begin..end`.
    pub fn clear_range(&self, begin: &[u8], end: &[u8]) {
        match &self.engine {
            TransactionEngine::Embedded(transaction) => transaction.clear_range(begin, end),
            TransactionEngine::FoundationDb(transaction) => transaction.clear_range(begin, end),
        }
    }

    /// Buffers an atomic operation.
    pub fn atomic(&self, op: AtomicOp, key: &[u8], operand: &[u8]) {
        match &self.engine {
            TransactionEngine::Embedded(transaction) => transaction.atomic(op, key, operand),
            TransactionEngine::FoundationDb(transaction) => transaction.atomic(op, key, operand),
        }
    }

    /// Buffers a write whose key holds an incomplete versionstamp: the last four bytes of `key` are its
    /// little-endian offset (as `pack_with_versionstamp` of the tuple layer produces) and are cut off.
    ///
    /// Until the commit nobody knows the key: this transaction's reads of where it may come to lie fail with
    /// [`StoreError::AccessedUnreadable`].
    pub fn set_versionstamped_key(&self, key: &[u8], value: &[u8]) {
        match &self.engine {
            TransactionEngine::Embedded(transaction) => transaction.set_versionstamped_key(key, value),
            TransactionEngine::FoundationDb(transaction) => transaction.set_versionstamped_key(key, value),
        }
    }

    /// Buffers a write whose value holds an incomplete versionstamp at the offset in its last four bytes.
    pub fn set_versionstamped_value(&self, key: &[u8], value: &[u8]) {
        match &self.engine {
            TransactionEngine::Embedded(transaction) => transaction.set_versionstamped_value(key, value),
            TransactionEngine::FoundationDb(transaction) => transaction.set_versionstamped_value(key, value),
        }
    }

    /// Makes this transaction conflict with writes to `begin..end`.
    pub fn add_read_conflict_range(&self, begin: &[u8], end: &[u8]) {
        match &self.engine {
            TransactionEngine::Embedded(transaction) => transaction.add_read_conflict_range(begin, end),
            TransactionEngine::FoundationDb(transaction) => transaction.add_read_conflict_range(begin, end),
        }
    }

    /// Makes readers of `begin..end` conflict with this transaction.
    pub fn add_write_conflict_range(&self, begin: &[u8], end: &[u8]) {
        match &self.engine {
            TransactionEngine::Embedded(transaction) => transaction.add_write_conflict_range(begin, end),
            TransactionEngine::FoundationDb(transaction) => transaction.add_write_conflict_range(begin, end),
        }
    }

    /// Watches `key` from the state that this transaction leaves. Active once the transaction commits
    /// (a read-only commit counts). Adds no read conflict.
    pub async fn watch(&self, key: &[u8]) -> Result<Watch, StoreError> {
        let engine = match &self.engine {
            TransactionEngine::Embedded(transaction) => WatchEngine::Embedded(transaction.watch(key)?),
            TransactionEngine::FoundationDb(transaction) => WatchEngine::FoundationDb(transaction.watch(key).await?),
        };
        Ok(Watch { engine })
    }

    /// Commits. Used by hand only where [`crate::Store::transact`] does not fit.
    ///
    /// Dropping the future once it was polled leaves open whether the transaction commits.
    pub async fn commit(&self) -> Result<Committed, StoreError> {
        self.commit_or_say().await.map_err(|failure| failure.error)
    }

    /// [`Self::commit`], with an error that tells whether the commit may have happened.
    pub(crate) async fn commit_or_say(&self) -> Result<Committed, CommitFailure> {
        match &self.engine {
            TransactionEngine::Embedded(transaction) => transaction.commit().await.map_err(CommitFailure::from),
            TransactionEngine::FoundationDb(transaction) => transaction.commit().await,
        }
    }
}

/// Why a commit failed.
#[derive(Debug)]
pub(crate) struct CommitFailure {
    pub(crate) error: StoreError,
    /// The commit may have happened, or may still happen.
    pub(crate) is_unknown: bool,
}

impl CommitFailure {
    /// Nobody knows whether the commit happened; `error` says what else is wrong.
    pub(crate) fn unknown(error: &StoreError) -> Self {
        let text = match error {
            StoreError::Unavailable(text) => text.clone(),
            error => error.to_string(),
        };
        let error = StoreError::Unavailable(format!("{text}; it is unknown whether the last change was made"));
        Self { error, is_unknown: true }
    }
}

impl From<StoreError> for CommitFailure {
    fn from(error: StoreError) -> Self {
        Self { error, is_unknown: false }
    }
}
