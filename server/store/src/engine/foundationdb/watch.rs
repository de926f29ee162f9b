//! Watches.
//!
//! FoundationDB's own watch belongs to the transaction that makes it, and makes the key a read conflict there. The store's
//! does not, so it is one of a transaction of its own, at the version that the maker's transaction left behind: the value to
//! differ from is the one of that version, and nothing that happened since is missed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::client::{ask, store_error};
use super::open::FoundationDb;
use crate::{StoreError, Version};

/// FoundationDB's error codes of a watch that it gave up, not because the key changed.
const GIVEN_UP: [i32; 4] = [
    1007, // transaction_too_old: nobody waited on the watch for the first seconds
    1009, // future_version
    1029, // watch_cancelled: a storage server has too many
    1039, // cluster_version_changed
];

/// The waiting end of a watch.
#[derive(Debug)]
pub(crate) struct FdbWatch {
    pub(super) engine: Arc<FoundationDb>,
    /// As the cluster knows it.
    pub(super) key: Vec<u8>,
    /// The version whose value is the one to differ from, once the transaction has committed.
    pub(super) baseline: oneshot::Receiver<Version>,
}

impl FdbWatch {
    /// Waits for the change, also while the cluster does not answer. May return without one where FoundationDB gives a watch
    /// up: whoever waits looks.
    pub(crate) async fn changed(self) -> Result<(), StoreError> {
        // The sender is dropped unused where the transaction does not commit.
        let baseline = self.baseline.await.map_err(|_| StoreError::Closed)?;
        let closed = self.engine.closed();
        tokio::select! {
            outcome = changed_since(&self.engine, &self.key, baseline) => outcome,
            () = closed => Err(StoreError::Closed),
        }
    }
}

async fn changed_since(engine: &FoundationDb, key: &[u8], baseline: Version) -> Result<(), StoreError> {
    const PAUSE: Duration = Duration::from_millis(200);
    loop {
        // With the client's own read-your-writes layer, without which there are no watches.
        let transaction = engine.database.create_trx().map_err(store_error)?;
        transaction.set_read_version(baseline.cast_signed());
        let watch = transaction.watch(key);
        // A commit makes the watch active; it writes nothing. The watch outlives its transaction.
        let commit = async { transaction.commit().await.map(drop).map_err(::foundationdb::FdbError::from) };
        match ask("a watch", commit).await {
            Ok(()) => {}
            Err(StoreError::TransactionTooOld) => return Ok(()),
            // Once the cluster is back, it is too old for this version, and whoever waits looks.
            Err(StoreError::Unavailable(_)) => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(error) => return Err(error),
        }
        return match watch.await {
            Err(error) if !GIVEN_UP.contains(&error.code()) => Err(store_error(error)),
            _ => Ok(()),
        };
    }
}
