//! Reading states: some entries, all of them, members alone, the difference of two.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::try_join_all;
use hearth_store::{StoreError, Transaction};

use super::{
    ABSENT, BlockId, BlockRef, Difference, Snapshot, SnapshotId, Snapshots, StateTuple, StateTupleKey, Wanted,
    block::{self, Part},
};
use crate::{
    EventNid, RoomNid, TypeNid,
    keys::{STATE_BLOCK, STATE_SNAPSHOT},
};

impl Snapshots {
    /// The list of blocks of a snapshot.
    pub async fn load(&self, tx: &Transaction, room: RoomNid, id: SnapshotId) -> Result<Arc<Snapshot>, StoreError> {
        if let Some(snapshot) = self.lists.get(&(room, id)) {
            return Ok(snapshot);
        }
        // No read conflict: it never changes.
        let snapshot = STATE_SNAPSHOT.get_snapshot(tx, (room, id)).await?;
        let snapshot = Arc::new(snapshot.ok_or_else(|| missing(format!("snapshot {} of room {}", id.0, room.0)))?);
        self.lists.insert((room, id), snapshot.clone(), snapshot.blocks.len() + 1);
        Ok(snapshot)
    }

    /// The number of entries of a state.
    pub async fn count(&self, tx: &Transaction, room: RoomNid, id: SnapshotId) -> Result<u64, StoreError> {
        Ok(self.load(tx, room, id).await?.count)
    }

    /// The events at `keys`, in their order.
    pub async fn lookup(
        &self,
        tx: &Transaction,
        room: RoomNid,
        id: SnapshotId,
        keys: &[StateTupleKey],
    ) -> Result<Vec<Option<EventNid>>, StoreError> {
        let snapshot = self.load(tx, room, id).await?;
        self.lookup_in(tx, room, &snapshot.blocks, keys).await
    }

    /// The entries of a state, sorted by type and state key.
    pub async fn entries(
        &self,
        tx: &Transaction,
        room: RoomNid,
        id: SnapshotId,
        wanted: Wanted,
    ) -> Result<Vec<StateTuple>, StoreError> {
        let snapshot = self.load(tx, room, id).await?;
        let mut entries = self.overlay(tx, room, &snapshot.blocks, wanted).await?;
        entries.retain(StateTuple::is_present);
        Ok(entries)
    }

    /// In what two states of a room differ. Reads only blocks that they do not share.
    pub async fn diff(
        &self,
        tx: &Transaction,
        room: RoomNid,
        before: SnapshotId,
        after: SnapshotId,
    ) -> Result<Vec<Difference>, StoreError> {
        if before == after {
            return Ok(Vec::new());
        }
        let (before, after) = (self.load(tx, room, before).await?, self.load(tx, room, after).await?);
        let shared = before.blocks.iter().zip(&after.blocks).take_while(|(before, after)| before == after).count();
        let (shared, before) = before.blocks.split_at(shared);
        let after = &after.blocks[shared.len()..];
        let before = self.overlay(tx, room, before, Wanted::All).await?;
        let after = self.overlay(tx, room, after, Wanted::All).await?;

        let mut sides: BTreeMap<StateTupleKey, [Option<EventNid>; 2]> = BTreeMap::new();
        for (side, tuples) in [before, after].into_iter().enumerate() {
            for tuple in tuples {
                sides.entry(tuple.key()).or_default()[side] = Some(tuple.event);
            }
        }
        sides.retain(|_, [before, after]| before != after);
        // Where one of them says nothing, what they share does.
        let silent: Vec<StateTupleKey> =
            sides.iter().filter(|(_, sides)| sides.contains(&None)).map(|(key, _)| *key).collect();
        let beneath = self.lookup_in(tx, room, shared, &silent).await?;
        for (key, event) in silent.iter().zip(beneath) {
            for side in sides.get_mut(key).into_iter().flatten() {
                side.get_or_insert(event.unwrap_or(ABSENT));
            }
        }
        let present = |event: Option<EventNid>| event.filter(|event| *event != ABSENT);
        Ok(sides
            .into_iter()
            .map(|((event_type, state_key), [before, after])| Difference {
                event_type,
                state_key,
                before: present(before),
                after: present(after),
            })
            .filter(|difference| difference.before != difference.after)
            .collect())
    }

    /// The events at `keys` in a list of blocks.
    pub(super) async fn lookup_in(
        &self,
        tx: &Transaction,
        room: RoomNid,
        blocks: &[BlockRef],
        keys: &[StateTupleKey],
    ) -> Result<Vec<Option<EventNid>>, StoreError> {
        let mut found: Vec<Option<EventNid>> = vec![None; keys.len()];
        if keys.is_empty() {
            return Ok(found);
        }
        let firsts = self.first_parts(tx, room, blocks).await?;
        // The newest first: what it says holds.
        for (block, first) in blocks.iter().zip(&firsts).rev() {
            for (found, key) in found.iter_mut().zip(keys).filter(|(found, _)| found.is_none()) {
                *found = match chunk_of(first, *key) {
                    Some(number) => find(self.part(tx, room, block.id, number).await?.as_ref(), *key),
                    None => find(first, *key),
                };
            }
            if found.iter().all(Option::is_some) {
                break;
            }
        }
        Ok(found.into_iter().map(|event| event.filter(|event| *event != ABSENT)).collect())
    }

    /// The tuples of a list of blocks laid over each other, sorted; those that say "none" included.
    pub(super) async fn overlay(
        &self,
        tx: &Transaction,
        room: RoomNid,
        blocks: &[BlockRef],
        wanted: Wanted,
    ) -> Result<Vec<StateTuple>, StoreError> {
        let firsts = self.first_parts(tx, room, blocks).await?;
        let mut merged: Vec<StateTuple> = Vec::new();
        for (block, first) in blocks.iter().zip(&firsts) {
            let mut tuples: Vec<StateTuple> =
                first.tuples.iter().filter(|tuple| wanted.takes(tuple.event_type)).copied().collect();
            if !first.chunks.is_empty() && wanted.takes(TypeNid::MEMBER) {
                let numbers = 1..=first.chunks.len() as u64;
                let chunks = try_join_all(numbers.map(|number| self.part(tx, room, block.id, number))).await?;
                let at = tuples.partition_point(|tuple| tuple.event_type < TypeNid::MEMBER);
                let members = chunks.iter().flat_map(|chunk| &chunk.tuples).copied();
                tuples.splice(at..at, members);
            }
            merged = lay_over(merged, tuples);
        }
        Ok(merged)
    }

    async fn first_parts(
        &self,
        tx: &Transaction,
        room: RoomNid,
        blocks: &[BlockRef],
    ) -> Result<Vec<Arc<Part>>, StoreError> {
        try_join_all(blocks.iter().map(|block| self.part(tx, room, block.id, 0))).await
    }

    async fn part(&self, tx: &Transaction, room: RoomNid, id: BlockId, number: u64) -> Result<Arc<Part>, StoreError> {
        if let Some(part) = self.parts.get(&(room, id, number)) {
            return Ok(part);
        }
        let what = || format!("part {number} of block {} of room {}", id.0, room.0);
        let bytes = STATE_BLOCK.get_snapshot(tx, (room, id, number)).await?.ok_or_else(|| missing(what()))?;
        let part = block::decode(&bytes, number).map_err(|error| missing(format!("{}: {error}", what())))?;
        let part = Arc::new(part);
        self.parts.insert((room, id, number), part.clone(), block::weight(&part));
        Ok(part)
    }
}

fn missing(detail: String) -> StoreError {
    StoreError::Corrupt { table: "rooms/block".to_owned(), detail }
}

/// The number of the part in which `key` would be, if that is not the first one.
fn chunk_of(first: &Part, key: StateTupleKey) -> Option<u64> {
    if key.0 != TypeNid::MEMBER {
        return None;
    }
    let number = first.chunks.partition_point(|chunk| chunk.first <= key.1);
    (number > 0).then_some(number as u64)
}

fn find(part: &Part, key: StateTupleKey) -> Option<EventNid> {
    let index = part.tuples.binary_search_by_key(&key, StateTuple::key).ok()?;
    Some(part.tuples[index].event)
}

/// Both sorted lists as one; of two with the same key, the one `above`.
pub(super) fn lay_over(below: Vec<StateTuple>, above: Vec<StateTuple>) -> Vec<StateTuple> {
    if below.is_empty() {
        return above;
    }
    let mut merged = Vec::with_capacity(below.len() + above.len());
    let mut below = below.into_iter().peekable();
    for tuple in above {
        while let Some(lower) = below.next_if(|lower| lower.key() < tuple.key()) {
            merged.push(lower);
        }
        below.next_if(|lower| lower.key() == tuple.key());
        merged.push(tuple);
    }
    merged.extend(below);
    merged
}
