//! Making states of states.

use std::{collections::BTreeMap, sync::Arc};

use hearth_store::{StoreError, Transaction};

use super::{
    ABSENT, BlockRef, Snapshot, SnapshotId, Snapshots, StateTuple, Wanted, block,
    content::{self, put_block, put_snapshot},
    reading::lay_over,
    tiers,
};
use crate::RoomNid;

impl Snapshots {
    /// The state with the entries `state` and nothing else. Of two with the same key the later one counts.
    pub async fn create(
        &self,
        tx: &Transaction,
        room: RoomNid,
        state: impl IntoIterator<Item = StateTuple>,
    ) -> Result<SnapshotId, StoreError> {
        let mut tuples = sorted(state);
        tuples.retain(StateTuple::is_present);
        let mut blocks = Vec::new();
        if !tuples.is_empty() {
            blocks.push(write_block(tx, room, &tuples).await?);
        }
        put_snapshot(tx, room, &Snapshot { count: tuples.len() as u64, blocks }).await
    }

    /// The state `base` with `delta` applied: each tuple sets an entry, or removes it where its event is 0. The state
    /// itself if that changes nothing.
    pub async fn apply(
        &self,
        tx: &Transaction,
        room: RoomNid,
        base: SnapshotId,
        delta: impl IntoIterator<Item = StateTuple>,
    ) -> Result<SnapshotId, StoreError> {
        let base_list = self.load(tx, room, base).await?;
        let mut delta = sorted(delta);
        let keys: Vec<_> = delta.iter().map(StateTuple::key).collect();
        let mut present = self.lookup_in(tx, room, &base_list.blocks, &keys).await?.into_iter();
        let mut count = base_list.count;
        delta.retain(|tuple| {
            let before = present.next().flatten();
            let after = Some(tuple.event).filter(|event| *event != ABSENT);
            count = count + u64::from(after.is_some()) - u64::from(before.is_some());
            before != after
        });
        if delta.is_empty() {
            return Ok(base);
        }
        let snapshot = self.with_block(tx, room, &base_list, delta, count).await?;
        put_snapshot(tx, room, &snapshot).await
    }

    /// Whether a state is still there that nothing may refer to so far, such as one that was worked out in an earlier transaction;
    /// from then on, in this transaction, it may be referred to. If not, it must be made again.
    pub(crate) async fn hold(&self, tx: &Transaction, room: RoomNid, id: SnapshotId) -> Result<bool, StoreError> {
        content::hold(tx, room, id).await
    }

    /// `base` with one more block of `delta`, merged with those at its end where it is their time.
    async fn with_block(
        &self,
        tx: &Transaction,
        room: RoomNid,
        base: &Arc<Snapshot>,
        delta: Vec<StateTuple>,
        count: u64,
    ) -> Result<Snapshot, StoreError> {
        let lens: Vec<u64> = base.blocks.iter().map(|block| block.len).chain([delta.len() as u64]).collect();
        let merging = tiers::merging(&lens);
        let (kept, merged) = base.blocks.split_at(lens.len() - merging);
        let below = self.overlay(tx, room, merged, Wanted::All).await?;
        let mut tuples = lay_over(below, delta);
        if kept.is_empty() {
            // With nothing beneath there is nothing to take away.
            tuples.retain(StateTuple::is_present);
        }
        let mut blocks = kept.to_vec();
        if !tuples.is_empty() {
            blocks.push(write_block(tx, room, &tuples).await?);
        }
        Ok(Snapshot { count, blocks })
    }
}

fn sorted(tuples: impl IntoIterator<Item = StateTuple>) -> Vec<StateTuple> {
    let by_key: BTreeMap<_, _> = tuples.into_iter().map(|tuple| (tuple.key(), tuple)).collect();
    by_key.into_values().collect()
}

async fn write_block(tx: &Transaction, room: RoomNid, tuples: &[StateTuple]) -> Result<BlockRef, StoreError> {
    let id = put_block(tx, room, &block::encode(tuples)).await?;
    Ok(BlockRef { id, len: tuples.len() as u64 })
}
