//! Deleting blocks and snapshots that nothing refers to any more.
//!
//! References come from [`crate::keys::STATE_BEFORE`] and from the room's record, which names the current state: events are
//! purged, and with them their rows there; what nobody names then is garbage. Memoized resolutions are no references: they go
//! with what they name. Writers go on meanwhile, in any process, and may come to refer to what looked like garbage a moment
//! ago, because equal content is found by its address. So the collector
//!
//! 1. *condemns*: writes a row for each snapshot and block that nothing refers to;
//! 2. *looks again*: reads all references once more and takes back what is referred to after all;
//! 3. *deletes* what is still condemned, each in a transaction that reads that it is: snapshots, then blocks.
//!
//! A writer that finds content stored reads its row of the condemned (see [`super::content`]). Let it commit
//!
//! - before 1: step 2 sees its reference;
//! - after 1, with a read from before 1: it conflicts with the condemnation, and runs again;
//! - after 1, with a read from after 1: it has deleted the row, so that step 3 leaves the content alone; and if step 3
//!   came in between, then either its read of the content or its read of the row conflicts, and it runs again;
//! - after 3: the content is not there, and it stores it anew.
//!
//! A rescued snapshot rescues its blocks in the same transaction, which is why snapshots go first.

use std::collections::HashSet;

use hearth_store::{Store, StoreError};

use super::{BlockId, Snapshot, SnapshotId, content::Kind};
use crate::{
    RoomNid,
    keys::{CONDEMNED, RESOLVED, ROOM, STATE_BEFORE, STATE_BLOCK, STATE_SNAPSHOT},
};

/// Rows that one transaction reads or deletes.
const PAGE: usize = 1000;

/// What a collection did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Snapshots deleted.
    pub snapshots: u64,
    /// Blocks deleted.
    pub blocks: u64,
}

/// Runs a collection in one room. Bounded transactions; may be stopped anywhere and run again from the start. Two at a
/// time do no harm.
pub(crate) async fn collect(store: &Store, room: RoomNid) -> Result<Collected, StoreError> {
    let condemned = condemn_garbage(store, room).await?;
    let doomed = look_again(store, room, condemned).await?;
    let collected = delete_doomed(store, room, doomed).await?;
    forget_resolutions(store, room).await?;
    Ok(collected)
}

/// Forgets what states resolve to where that is gone.
async fn forget_resolutions(store: &Store, room: RoomNid) -> Result<(), StoreError> {
    let mut from = None;
    loop {
        let (last, full) = store
            .transact("forget resolutions", |tx| async move {
                let scan = RESOLVED.scan((room,)).limit(PAGE).snapshot();
                let scan =
                    if let Some((algorithm, states)) = from { scan.after((room, algorithm, states)) } else { scan };
                let page = scan.all(&tx).await?;
                let mut last = from;
                for ((_, algorithm, states), record) in &page {
                    last = Some((*algorithm, *states));
                    if STATE_SNAPSHOT.get_snapshot(&tx, (room, record.resolved)).await?.is_none() {
                        RESOLVED.clear(&tx, (room, *algorithm, *states));
                    }
                }
                Ok::<_, StoreError>((last, page.len() == PAGE))
            })
            .await?;
        if !full {
            return Ok(());
        }
        from = last;
    }
}

/// A block or a snapshot.
type Content = (Kind, u64);

/// Step 1. What an interrupted collection condemned is judged anew with everything else.
pub(super) async fn condemn_garbage(store: &Store, room: RoomNid) -> Result<Vec<Content>, StoreError> {
    let snapshots = snapshot_ids(store, room).await?;
    let blocks = block_ids(store, room).await?;
    let used = references(store, room).await?;
    let snapshots = snapshots.into_iter().map(|id| (Kind::Snapshot, id.0));
    let stored = snapshots.chain(blocks.into_iter().map(|id| (Kind::Block, id.0)));
    let condemned: Vec<Content> = stored.filter(|content| !used.contains(content)).collect();
    condemn(store, room, &condemned).await?;
    Ok(condemned)
}

/// Step 2.
pub(super) async fn look_again(
    store: &Store,
    room: RoomNid,
    condemned: Vec<Content>,
) -> Result<Vec<Content>, StoreError> {
    if condemned.is_empty() {
        return Ok(condemned);
    }
    let used = references(store, room).await?;
    let (saved, doomed): (Vec<_>, Vec<_>) = condemned.into_iter().partition(|content| used.contains(content));
    acquit(store, room, &saved).await?;
    Ok(doomed)
}

/// Step 3.
pub(super) async fn delete_doomed(
    store: &Store,
    room: RoomNid,
    mut doomed: Vec<Content>,
) -> Result<Collected, StoreError> {
    doomed.sort_unstable();
    let (snapshots, blocks) = doomed.split_at(doomed.partition_point(|(kind, _)| *kind == Kind::Snapshot));
    Ok(Collected { snapshots: delete(store, room, snapshots).await?, blocks: delete(store, room, blocks).await? })
}

/// The snapshots that the room and its events name, and the blocks of those.
async fn references(store: &Store, room: RoomNid) -> Result<HashSet<Content>, StoreError> {
    let mut named = HashSet::new();
    // First, for what the record names now stands before an event when the record names another one.
    let record =
        store.transact("read current state", |tx| async move { ROOM.get_snapshot(&tx, (room,)).await }).await?;
    named.extend(record.and_then(|record| record.state));
    let mut from = None;
    loop {
        let page = store
            .transact("read references to snapshots", |tx| async move {
                let scan = STATE_BEFORE.scan((room,)).limit(PAGE);
                let scan = if let Some(event) = from { scan.after((room, event)) } else { scan };
                scan.snapshot().all(&tx).await
            })
            .await?;
        named.extend(page.iter().map(|(_, snapshot)| *snapshot));
        match page.last() {
            Some(((_, event), _)) if page.len() == PAGE => from = Some(*event),
            _ => break,
        }
    }
    let ids: Vec<SnapshotId> = named.into_iter().collect();
    let mut used: HashSet<Content> = ids.iter().map(|id| (Kind::Snapshot, id.0)).collect();
    for ids in ids.chunks(PAGE) {
        let lists: Vec<Option<Snapshot>> = store
            .transact("read snapshots", |tx| async move {
                let reads = ids.iter().map(|id| STATE_SNAPSHOT.get_snapshot(&tx, (room, *id)));
                futures_util::future::try_join_all(reads).await
            })
            .await?;
        used.extend(lists.iter().flatten().flat_map(|list| &list.blocks).map(|block| (Kind::Block, block.id.0)));
    }
    Ok(used)
}

async fn snapshot_ids(store: &Store, room: RoomNid) -> Result<Vec<SnapshotId>, StoreError> {
    let mut ids: Vec<SnapshotId> = Vec::new();
    loop {
        let last = ids.last().copied();
        let page = store
            .transact("list snapshots", |tx| async move {
                let scan = STATE_SNAPSHOT.scan((room,)).limit(PAGE);
                let scan = if let Some(id) = last { scan.after((room, id)) } else { scan };
                scan.snapshot().all(&tx).await
            })
            .await?;
        ids.extend(page.iter().map(|((_, id), _)| *id));
        if page.len() < PAGE {
            return Ok(ids);
        }
    }
}

async fn block_ids(store: &Store, room: RoomNid) -> Result<Vec<BlockId>, StoreError> {
    let mut ids: Vec<BlockId> = Vec::new();
    loop {
        let last = ids.last().copied();
        let page = store
            .transact("list blocks", |tx| async move {
                let scan = STATE_BLOCK.scan((room,)).limit(PAGE / 10);
                let scan = if let Some(id) = last { scan.after((room, id)) } else { scan };
                scan.snapshot().all(&tx).await
            })
            .await?;
        ids.extend(page.iter().map(|((_, id, _), _)| *id));
        ids.dedup();
        if page.len() < PAGE / 10 {
            return Ok(ids);
        }
    }
}

async fn condemn(store: &Store, room: RoomNid, what: &[Content]) -> Result<(), StoreError> {
    for page in what.chunks(PAGE) {
        store
            .transact("condemn state", |tx| async move {
                for (kind, id) in page {
                    CONDEMNED.set(&tx, (room, *kind as u64, *id), &());
                }
                Ok::<_, StoreError>(())
            })
            .await?;
    }
    Ok(())
}

async fn acquit(store: &Store, room: RoomNid, what: &[Content]) -> Result<(), StoreError> {
    for page in what.chunks(PAGE) {
        store
            .transact("acquit state", |tx| async move {
                for (kind, id) in page {
                    CONDEMNED.clear(&tx, (room, *kind as u64, *id));
                }
                Ok::<_, StoreError>(())
            })
            .await?;
    }
    Ok(())
}

/// Deletes those of `doomed` that are still condemned; returns how many.
async fn delete(store: &Store, room: RoomNid, doomed: &[Content]) -> Result<u64, StoreError> {
    let mut deleted = 0;
    for page in doomed.chunks(PAGE) {
        deleted += store
            .transact("delete state", |tx| async move {
                let mut deleted = 0;
                for (kind, id) in page {
                    if CONDEMNED.get(&tx, (room, *kind as u64, *id)).await?.is_none() {
                        continue;
                    }
                    CONDEMNED.clear(&tx, (room, *kind as u64, *id));
                    match kind {
                        Kind::Snapshot => STATE_SNAPSHOT.clear(&tx, (room, SnapshotId(*id))),
                        Kind::Block => STATE_BLOCK.clear_prefix(&tx, (room, BlockId(*id))),
                    }
                    deleted += 1;
                }
                Ok::<_, StoreError>(deleted)
            })
            .await?;
    }
    Ok(deleted)
}
