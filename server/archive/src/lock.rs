//! What keeps a server away from a store whose data is not all there, or is just being taken away.
//!
//! Two rows of this crate, which no backup and no copy takes along: `unfinished` in a target until everything is written and
//! compared, and `locked` in the source of a copy until the copy is done.

use std::fmt;

use hearth_store::{Bytes, RangeRead, Store, StoreError, Transaction};

use crate::ArchiveError;
use crate::keys::{LOCKED, UNFINISHED};
use crate::own::{ALL, Own};
use crate::records::{Locked, Source, Unfinished};

/// Why no server may run on a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incomplete {
    /// A backup is being restored into it, or that was interrupted.
    Restoring {
        /// The backup's path.
        from: String,
    },
    /// Another store is being copied into it, or that was interrupted.
    Copying {
        /// The source, as the command line names it.
        from: String,
    },
    /// It is being copied into another store, or that was interrupted.
    CopiedTo {
        /// The target, as the command line names it.
        to: String,
    },
}

impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restoring { from } => write!(
                f,
                "this store holds only a part of the backup {from}: restore it again, which goes on where it stopped"
            ),
            Self::Copying { from } => write!(
                f,
                "this store holds only a part of what is copied from {from}: copy again, which goes on where it stopped"
            ),
            Self::CopiedTo { to } => write!(
                f,
                "this store is locked while it is copied to {to}: copy again, which goes on where it stopped, \
                 or give the copy up with `hearth store unlock`"
            ),
        }
    }
}

/// Whether the store's data is not all there, or is just being copied away. A server must not run on such a store; where
/// stores are shared between processes, it asks after it has entered itself into their list.
pub async fn incomplete(store: &Store) -> Result<Option<Incomplete>, StoreError> {
    let read =
        async |tx: Transaction| Ok::<_, StoreError>((UNFINISHED.get(&tx, (0,)).await?, LOCKED.get(&tx, (0,)).await?));
    let (unfinished, locked) = store.transact("archive.incomplete", |tx| async { read(tx).await }).await?;
    Ok(unfinished.map(Incomplete::from).or_else(|| locked.map(|locked| Incomplete::CopiedTo { to: locked.to })))
}

impl From<Unfinished> for Incomplete {
    fn from(unfinished: Unfinished) -> Self {
        match unfinished.source {
            Source::Backup(from) => Self::Restoring { from },
            Source::Store(from) => Self::Copying { from },
        }
    }
}

/// Takes away the lock that an interrupted copy left in its source. Returns whether there was one.
pub async fn unlock(store: &Store) -> Result<bool, StoreError> {
    store
        .transact("archive.unlock", |tx| async move {
            let was = LOCKED.get(&tx, (0,)).await?.is_some();
            LOCKED.clear(&tx, (0,));
            Ok(was)
        })
        .await
}

/// What the store holds of data: whether nothing, and what is written into it at the moment.
pub(crate) async fn look(store: &Store) -> Result<(bool, Option<Unfinished>), StoreError> {
    let own = &Own::new();
    store
        .transact("archive.look", |tx| async move {
            let unfinished = UNFINISHED.get(&tx, (0,)).await?;
            let mut begin = ALL.0.to_vec();
            let read =
                |begin| RangeRead { begin, end: ALL.1.to_vec(), limit: Some(100), reverse: false, snapshot: true };
            loop {
                let entries = tx.range(&read(begin)).await?;
                if entries.iter().any(|entry| !own.holds(&entry.key)) {
                    return Ok((false, unfinished));
                }
                match entries.last() {
                    Some(last) => begin = after(&last.key).to_vec(),
                    None => return Ok((true, unfinished)),
                }
            }
        })
        .await
}

/// The next key there may be.
pub(crate) fn after(key: &[u8]) -> Bytes {
    [key, b"\0"].concat().into()
}

/// Deletes everything that an unfinished restore or copy wrote.
pub(crate) async fn start_over(store: &Store) -> Result<(), StoreError> {
    store
        .transact("archive.start_over", |tx| async move {
            // Only where it is unfinished still: what is whole is nobody's to delete.
            if UNFINISHED.get(&tx, (0,)).await?.is_some() {
                tx.clear_range(ALL.0, ALL.1);
            }
            Ok(())
        })
        .await
}

/// Locks the source of a copy, or finds that it is locked for it already. Returns the copy's number.
pub(crate) async fn lock(store: &Store, wanted: &Locked) -> Result<Locked, ArchiveError> {
    let locked = store
        .transact("archive.lock", |tx| async move {
            if let Some(locked) = LOCKED.get(&tx, (0,)).await? {
                return Ok::<_, StoreError>(locked);
            }
            LOCKED.set(&tx, (0,), wanted);
            Ok(wanted.clone())
        })
        .await?;
    Ok(locked)
}
