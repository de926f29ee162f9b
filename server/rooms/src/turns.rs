//! Turns: how processes that write to the same room let each other go first.
//!
//! Within a process a room's lane puts its writers into one transaction after another. Between processes their
//! transactions conflict, and the one that takes longer (a batch of many events) could lose against short ones again
//! and again. So whoever has lost a few times leaves a *claim* for the room, which the others read in the transaction
//! that they begin next: they wait until it is gone, which happens with the claimant's own commit, or until they have
//! waited long enough to take the claimant for dead.
//!
//! Claims decide nothing about correctness, which is the store's: a claim that is lost, late or left behind costs time.
//! Where no other process can write, there are none.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use hearth_store::{Store, StoreError, Transaction};
use tokio::time::Instant;

use crate::{RoomNid, keys::CLAIM};

/// Attempts that a batch makes before it claims a turn.
const ATTEMPTS: u32 = 2;
/// Longest that a claim is waited for.
const PATIENCE: Duration = Duration::from_millis(250);
/// Time between two looks whether it is gone.
const LOOK: Duration = Duration::from_millis(2);

/// The turns of this process.
#[derive(Debug)]
pub(crate) struct Turns {
    /// Other processes may write to the store.
    shared: bool,
    /// Marks this process's claims; never 0.
    mine: u64,
}

/// One batch's tries to write to a room.
#[derive(Debug)]
pub(crate) struct Tries<'a> {
    turns: &'a Turns,
    store: &'a Store,
    room: RoomNid,
    count: AtomicU32,
    /// The claim of somebody who never came; 0 for none.
    abandoned: AtomicU64,
}

impl Turns {
    pub(crate) fn new(shared: bool) -> Self {
        Self { shared, mine: RandomState::new().hash_one(0).max(1) }
    }

    /// For one batch.
    pub(crate) fn tries<'a>(&'a self, store: &'a Store, room: RoomNid) -> Tries<'a> {
        Tries { turns: self, store, room, count: AtomicU32::new(0), abandoned: AtomicU64::new(0) }
    }
}

impl Tries<'_> {
    /// To be called first in each try's transaction: waits for who goes first, and claims a turn after several tries.
    /// [`StoreError::Conflict`] after having waited: what `tx` sees is old by then. One point read, and nothing at all
    /// where the store is not shared.
    pub(crate) async fn begin(&self, tx: &Transaction) -> Result<(), StoreError> {
        if !self.turns.shared {
            return Ok(());
        }
        let mine = self.turns.mine;
        let found = CLAIM.get_snapshot(tx, (self.room,)).await?;
        let is_in_the_way = |claim: &u64| *claim != mine && *claim != self.abandoned.load(Ordering::Relaxed);
        if let Some(claim) = found.filter(is_in_the_way) {
            self.wait(claim).await?;
            return Err(StoreError::Conflict);
        }
        let claims = self.count.fetch_add(1, Ordering::Relaxed) >= ATTEMPTS && found != Some(mine);
        if claims {
            self.claim().await?;
        }
        if claims || found.is_some() {
            // With the commit that it was made for; and what was left behind goes too.
            CLAIM.clear(tx, (self.room,));
        }
        Ok(())
    }

    /// Waits until `claim` is gone, or has been there for too long.
    async fn wait(&self, claim: u64) -> Result<(), StoreError> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            tokio::time::sleep(LOOK).await;
            if CLAIM.get_snapshot(&self.store.begin(), (self.room,)).await? != Some(claim) {
                return Ok(());
            }
        }
        self.abandoned.store(claim, Ordering::Relaxed);
        Ok(())
    }

    /// Reads nothing, so that it never conflicts itself.
    async fn claim(&self) -> Result<(), StoreError> {
        self.store
            .transact("claim turn", |tx| async move {
                CLAIM.set(&tx, (self.room,), &self.turns.mine);
                Ok(())
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: RoomNid = RoomNid(7);

    async fn claim_of(store: &Store) -> Option<u64> {
        CLAIM.get_snapshot(&store.begin(), (ROOM,)).await.unwrap()
    }

    #[tokio::test]
    async fn who_loses_often_goes_first_once() {
        let store = Store::memory();
        let (here, there) = (Turns::new(true), Turns::new(true));
        let loser = here.tries(&store, ROOM);
        for _ in 0..ATTEMPTS {
            loser.begin(&store.begin()).await.unwrap();
            assert_eq!(claim_of(&store).await, None);
        }
        let tx = store.begin();
        loser.begin(&tx).await.unwrap();
        assert_eq!(claim_of(&store).await, Some(here.mine));

        let other = there.tries(&store, ROOM);
        let second = store.begin();
        let waiting = other.begin(&second);
        let (waited, committed) = tokio::join!(waiting, tx.commit());
        committed.unwrap();
        assert!(matches!(waited, Err(StoreError::Conflict)), "it begins anew after the other one");
        assert_eq!(claim_of(&store).await, None);
        other.begin(&store.begin()).await.unwrap();
    }

    #[tokio::test]
    async fn a_claim_that_was_left_behind_blocks_nobody() {
        let store = Store::memory();
        let (gone, there) = (Turns::new(true), Turns::new(true));
        gone.tries(&store, ROOM).claim().await.unwrap();
        let other = there.tries(&store, ROOM);
        assert!(matches!(other.begin(&store.begin()).await, Err(StoreError::Conflict)));
        let tx = store.begin();
        other.begin(&tx).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(claim_of(&store).await, None);
    }

    #[tokio::test]
    async fn alone_nothing_is_read() {
        let store = Store::memory();
        let turns = Turns::new(false);
        let tries = turns.tries(&store, ROOM);
        let reads = store.stats().reads;
        for _ in 0..10 {
            tries.begin(&store.begin()).await.unwrap();
        }
        assert_eq!((store.stats().reads, claim_of(&store).await), (reads, None));
    }
}
