//! Handing out numeric ids.
//!
//! Ids come from blocks that a small transaction of its own leases, so that assigning one is no conflict between
//! transactions. A transaction that is run again or a restart leaves a gap, which does no harm.

use std::{
    ops::Range,
    sync::{Mutex, PoisonError},
};

use hearth_store::{Store, StoreError};

use crate::{
    ids::{FIRST_ASSIGNED, Kind},
    keys,
};

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
