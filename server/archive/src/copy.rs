use hearth_store::{Store, Version};
use rand::RngCore;
use tokio::sync::mpsc;

use crate::load::{Leave, Loader, must_be_unused, sum, walk};
use crate::lock::{Incomplete, lock, look, unlock};
use crate::records::{Locked, Source, Unfinished};
use crate::sums::{difference, hexadecimal, totals};
use crate::versions::Passing;
use crate::{ArchiveError, Phase, Progress, SubspaceSum};

/// Parts of the source (about a megabyte each) that may wait for the target.
const WAITING_PARTS: usize = 4;

/// How a store is copied.
#[derive(Debug, Clone)]
pub struct CopyOptions {
    /// The source, as the command line names it.
    pub from: String,
    /// The target, as the command line names it.
    pub to: String,
    /// The cluster may be made to recover at a later version (see [`ArchiveError::VersionBehind`]).
    pub advance_version: bool,
    /// What an unfinished restore or copy of something else left in the target may be deleted.
    pub start_over: bool,
}

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySummary {
    /// The source's version as of which everything was read.
    pub version: Version,
    /// Number of entries.
    pub keys: u64,
    /// Bytes of all keys and values.
    pub bytes: u64,
    /// By database and table, in the order of keys; the same in source and target.
    pub subspaces: Vec<SubspaceSum>,
}

/// Copies everything in `from` to the empty store `to` and compares. No server may run on either: the source is locked
/// against one until the copy is done.
///
/// The same copy again goes on where an interrupted one stopped.
pub async fn copy(
    from: &Store,
    to: &Store,
    options: CopyOptions,
    progress: &Progress,
) -> Result<CopySummary, ArchiveError> {
    let CopyOptions { from: from_name, to: to_name, advance_version, start_over } = options;
    let (empty, found) = look(to).await?;
    if found.is_none() && !empty {
        return Err(ArchiveError::NotEmpty);
    }
    if let (_, Some(unfinished)) = look(from).await? {
        return Err(ArchiveError::Incomplete(unfinished.into()));
    }
    let (locked, ours) = lock_source(from, &to_name, found.as_ref(), start_over).await?;
    let leave = Leave { advance_version, start_over };
    let begun = begin(from, to, locked, Source::Store(from_name), leave, progress).await;
    let (mut loader, version) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            // Nothing is done yet, so that nothing needs the lock.
            if ours {
                unlock(from).await?;
            }
            return Err(error);
        }
    };

    progress.begin(Phase::Loading, 0);
    let position = loader.position().map(<[u8]>::to_vec);
    let (sender, mut parts) = mpsc::channel(WAITING_PARTS);
    let read = async move {
        walk(from, position.as_deref(), async |entries| {
            // Nobody listens any more where the other side failed; its error is told.
            let _ = sender.send(entries).await;
            Ok(())
        })
        .await
    };
    let write = async {
        while let Some(entries) = parts.recv().await {
            loader.push(entries).await?;
        }
        loader.flush().await
    };
    tokio::try_join!(read, write)?;

    let subspaces = sum(from, progress, 0).await?;
    let (keys, bytes) = totals(&subspaces);
    let found = sum(to, progress, bytes).await?;
    if let Some(detail) = difference(&subspaces, &found) {
        return Err(ArchiveError::Mismatch { detail });
    }
    loader.finish().await?;
    unlock(from).await?;
    progress.begin(Phase::Done, 0);
    Ok(CopySummary { version, keys, bytes, subspaces })
}

/// Begins or goes on with the target. The source is locked.
async fn begin<'s>(
    from: &Store,
    to: &'s Store,
    locked: Locked,
    source: Source,
    leave: Leave,
    progress: &'s Progress,
) -> Result<(Loader<'s>, Version), ArchiveError> {
    must_be_unused(from).await?;
    let version = from.current_version().await?;
    Ok((Loader::begin(to, locked.id, source, Passing::exactly(version), leave, progress).await?, version))
}

/// Locks the source for this copy; tells the copy's number, and whether the lock is new. `found` is what is being written into
/// the target already.
async fn lock_source(
    from: &Store,
    to: &str,
    found: Option<&Unfinished>,
    start_over: bool,
) -> Result<(Locked, bool), ArchiveError> {
    let mut id = [0; 16];
    rand::rngs::OsRng.fill_bytes(&mut id);
    let wanted = Locked { id: hexadecimal(&id), to: to.to_owned() };
    let locked = lock(from, &wanted).await?;
    let ours = locked == wanted;
    match found {
        // Locked since the copy was begun: nothing can have changed.
        Some(found) if found.id == locked.id => Ok((locked, ours)),
        // Another copy of this source is not done yet.
        _ if !ours && locked.to != to => Err(ArchiveError::Incomplete(Incomplete::CopiedTo { to: locked.to })),
        None => Ok((locked, ours)),
        Some(_) if start_over => Ok((locked, ours)),
        Some(found) => {
            if ours {
                unlock(from).await?;
            }
            Err(ArchiveError::Incomplete(found.clone().into()))
        }
    }
}
