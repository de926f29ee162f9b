//! Numeric ids: local numbers for strings that repeat. Never 0, never shown outside the server.
//!
//! Ids are handed out from blocks that a small transaction of its own leases, so that assigning one is no
//! conflict between transactions. A transaction that is run again or a restart leaves a gap, which does no harm.

use std::{
    ops::Range,
    sync::{Mutex, PoisonError},
};

use hearth_store::{Store, StoreError};

use crate::keys;

hearth_store::numeric_key! {
    /// Numeric id of a room.
    RoomNid,
    /// Numeric id of an event.
    EventNid,
    /// Numeric id of an event type.
    TypeNid,
    /// Numeric id of a state key. User ids and server names are numbered here too: member events have
    /// user ids as state keys, and audiences are users and servers alike.
    StateKeyNid,
}

/// First id that is assigned at run time; those below are preassigned.
pub(crate) const FIRST_ASSIGNED: u64 = 65_536;

impl TypeNid {
    pub(crate) const CREATE: Self = Self(1);
    pub(crate) const POWER_LEVELS: Self = Self(2);
    pub(crate) const JOIN_RULES: Self = Self(3);
    pub(crate) const THIRD_PARTY_INVITE: Self = Self(4);
    pub(crate) const MEMBER: Self = Self(5);
    pub(crate) const REDACTION: Self = Self(6);
    pub(crate) const HISTORY_VISIBILITY: Self = Self(7);
}

impl StateKeyNid {
    /// The empty state key.
    pub(crate) const EMPTY: Self = Self(1);
}

/// What is numbered; the numbers are those of [`keys::NEXT_ID`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Room = 1,
    Event = 2,
    Type = 3,
    StateKey = 4,
}

impl Kind {
    /// How many ids one lease takes: more where ids go fast, so that leases are rare.
    fn block(self) -> u64 {
        match self {
            Self::Event => 4096,
            Self::StateKey => 256,
            Self::Room | Self::Type => 64,
        }
    }
}

/// The leased blocks of this process.
#[derive(Default)]
pub(crate) struct Allocator {
    blocks: [Mutex<Range<u64>>; 4],
    /// One lease at a time, so that tasks that run out together take one block and not one each.
    leasing: tokio::sync::Mutex<()>,
}

impl Allocator {
    /// An id that nothing else has or will get.
    pub(crate) async fn next(&self, store: &Store, kind: Kind) -> Result<u64, StoreError> {
        if let Some(id) = self.take(kind) {
            return Ok(id);
        }
        let _leasing = self.leasing.lock().await;
        if let Some(id) = self.take(kind) {
            return Ok(id);
        }
        let block: Range<u64> = store
            .transact("lease ids", |tx| async move {
                let begin = keys::NEXT_ID.get(&tx, (kind as u64,)).await?.unwrap_or(FIRST_ASSIGNED);
                let end = begin + kind.block();
                keys::NEXT_ID.set(&tx, (kind as u64,), &end);
                Ok::<_, StoreError>(begin..end)
            })
            .await?;
        *self.block(kind) = block.start + 1..block.end;
        Ok(block.start)
    }

    fn take(&self, kind: Kind) -> Option<u64> {
        self.block(kind).next()
    }

    fn block(&self, kind: Kind) -> std::sync::MutexGuard<'_, Range<u64>> {
        self.blocks[kind as usize - 1].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, sync::Arc};

    use super::*;

    #[tokio::test]
    async fn ids_are_never_handed_out_twice() {
        let store = Store::memory();
        // Two processes on one store, eight tasks each.
        let allocators = [Arc::new(Allocator::default()), Arc::new(Allocator::default())];
        let mut tasks = tokio::task::JoinSet::new();
        for allocator in allocators.iter().cycle().take(16) {
            let (allocator, store) = (allocator.clone(), store.clone());
            tasks.spawn(async move {
                let mut ids = Vec::new();
                for _ in 0..100 {
                    ids.push(allocator.next(&store, Kind::Type).await.unwrap());
                    tokio::task::yield_now().await;
                }
                ids
            });
        }
        let ids: Vec<u64> = tasks.join_all().await.into_iter().flatten().collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 1600);
        assert!(ids.iter().all(|id| *id >= FIRST_ASSIGNED));
    }
}
