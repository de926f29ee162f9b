use std::sync::Arc;

use hearth_protocol::SigningKey;
use hearth_store::{Store, StoreError};
use ruma::{OwnedServerName, RoomVersionId};

use crate::{
    RoomNid,
    allocator::Allocator,
    cache::{Cache, CacheStats},
    caches::Caches,
    lanes::Lanes,
    notifications::PushRules,
    receiving::Receiving,
    snapshots::{Collected, Snapshots, collect},
    turns::Turns,
    view::RoomView,
};

/// Bound of the views of rooms being written to, in entries of their state.
const VIEW_ENTRIES: usize = 100_000;

/// What the Rooms database needs to know.
pub struct RoomsConfig {
    /// This server.
    pub server_name: OwnedServerName,
    /// Signs this server's events.
    pub key: SigningKey,
    /// Version of new rooms.
    pub default_version: RoomVersionId,
}

/// The Rooms database. Cheap to clone.
#[derive(Clone)]
pub struct Rooms {
    pub(crate) store: Store,
    pub(crate) config: Arc<RoomsConfig>,
    /// Whose push rules decide about notification rows at publication.
    pub(crate) push_rules: Arc<dyn PushRules>,
    pub(crate) caches: Arc<Caches>,
    pub(crate) ids: Arc<Allocator>,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) turns: Arc<Turns>,
    /// The workers of what other servers sent.
    pub(crate) receiving: Arc<Receiving>,
    /// States as shared blocks.
    pub(crate) snapshots: Arc<Snapshots>,
    /// What was read of the state of rooms at their revision, for writers.
    pub(crate) views: Arc<Cache<RoomNid, Arc<RoomView>>>,
}

impl Rooms {
    /// Opens the database on `store`.
    pub fn new(store: Store, config: RoomsConfig, push_rules: Arc<dyn PushRules>) -> Self {
        Self {
            turns: Arc::new(Turns::new(store.is_shared())),
            store,
            config: Arc::new(config),
            push_rules,
            caches: Arc::default(),
            ids: Arc::default(),
            lanes: Arc::default(),
            receiving: Arc::default(),
            snapshots: Arc::default(),
            views: Arc::new(Cache::new(VIEW_ENTRIES)),
        }
    }

    /// The same database with room for `bytes` of parsed events (the default is 32 MiB).
    #[must_use]
    pub fn with_event_cache(mut self, bytes: usize) -> Self {
        self.caches = Arc::new(Caches::new(bytes));
        self
    }

    /// The same database beside other instances on the same store, where the store itself does not say that there may
    /// be others ([`Store::is_shared`]).
    #[must_use]
    pub fn beside_others(mut self) -> Self {
        self.turns = Arc::new(Turns::new(true));
        self
    }

    /// The caches by name, for the dashboard.
    pub fn cache_stats(&self) -> Vec<(&'static str, CacheStats)> {
        let mut stats = self.caches.stats();
        stats.extend(self.snapshots.stats());
        stats
    }

    /// The store, for the sync engine's reading transactions and watches.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Deletes the states of a room that nothing refers to any more. May be stopped anywhere and run again.
    pub async fn collect_state(&self, room: RoomNid) -> Result<Collected, StoreError> {
        collect(&self.store, room).await
    }

    /// Takes no more writes and waits for those under way. Before the store is closed.
    pub async fn close(&self) {
        self.receiving.workers.close().await;
        self.lanes.close().await;
    }
}
