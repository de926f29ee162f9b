//! What keeps a server away from a store whose data is not all there, or is just being taken away.
//!
//! Two rows below the tuple `("archive",)`, which no backup and no copy takes along: `unfinished` in a target until everything
//! is written and compared, and `locked` in the source of a copy until the copy is done.

use std::fmt;

use hearth_store::Store;

use crate::ArchiveError;

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
    CopiedFrom {
        /// The target, as the command line names it.
        to: String,
    },
}

impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restoring { from } => write!(
                f,
                "this store holds a part of the backup {from} only: restore it again, which goes on where it stopped"
            ),
            Self::Copying { from } => {
                write!(f, "this store holds a part of {from} only: copy it again, which goes on where it stopped")
            }
            Self::CopiedFrom { to } => write!(
                f,
                "this store is locked while it is copied to {to}: copy it again, which goes on where it stopped, \
                 or give the copy up with `hearth store unlock`"
            ),
        }
    }
}

/// Whether the store's data is not all there, or is just being copied away. A server must not run on such a store; where
/// stores are shared between processes, it asks after it has registered itself.
pub async fn incomplete(store: &Store) -> Result<Option<Incomplete>, ArchiveError> {
    let _ = store;
    todo!()
}

/// Takes away the lock that an interrupted copy left in its source. Returns whether there was one.
pub async fn unlock(store: &Store) -> Result<bool, ArchiveError> {
    let _ = store;
    todo!()
}
