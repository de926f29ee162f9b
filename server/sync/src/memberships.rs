//! The rooms of an audience, kept between readings.

use std::{collections::HashSet, sync::Arc};

use hearth_rooms::{CacheStats, Membership, RoomError, RoomNid, Rooms, StateKeyNid, audience::AudienceRoom};
use hearth_store::{Transaction, Version};

use crate::cache::Cache;

/// Audiences whose rooms are kept.
const AUDIENCES: usize = 2000;

/// The rooms of an audience as of a version of the Rooms database.
#[derive(Debug)]
pub(crate) struct Memberships {
    /// The version that was read.
    version: Version,
    /// Every room with a membership. Of each, only `room`, `membership` and `sender` stay true with the version:
    /// profile changes and forgetting are no changes of membership.
    pub(crate) rooms: Vec<AudienceRoom>,
    /// The joined ones.
    pub(crate) joined: Arc<HashSet<RoomNid>>,
}

/// Keeps them. An entry is good for every version up to the audience's next change of membership.
#[derive(Debug)]
pub(crate) struct MembershipCache(Cache<StateKeyNid, Arc<Memberships>>);

impl Default for MembershipCache {
    fn default() -> Self {
        Self(Cache::new(AUDIENCES))
    }
}

impl MembershipCache {
    pub(crate) fn stats(&self) -> CacheStats {
        self.0.stats()
    }

    /// The rooms of `audience` as `tx` sees them. `head` is the newest version in the stream of publications: nothing
    /// has to be read when that is no newer than what is kept.
    pub(crate) async fn get(
        &self,
        rooms: &Rooms,
        tx: &Transaction,
        audience: StateKeyNid,
        head: Version,
    ) -> Result<Arc<Memberships>, RoomError> {
        let version = tx.read_version().await?;
        if let Some(kept) = self.0.get(&audience)
            // What was read later may hold changes that this transaction does not see.
            && kept.version <= version
            && (head <= kept.version || rooms.membership_changes(tx, audience, kept.version).await?.is_empty())
        {
            return Ok(kept);
        }
        let all = rooms.audience_rooms(tx, audience).await?;
        let joined = all.iter().filter(|room| room.membership == Membership::Join).map(|room| room.room).collect();
        let read = Arc::new(Memberships { version, rooms: all, joined: Arc::new(joined) });
        self.0.insert(audience, read.clone());
        Ok(read)
    }
}
