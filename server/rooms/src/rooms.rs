use std::sync::Arc;

use hearth_protocol::SigningKey;
use hearth_store::Store;
use ruma::{OwnedServerName, RoomVersionId};

use crate::{lookup::Caches, notifications::PushRules};

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
    /// What is read often and never changes.
    pub(crate) caches: Arc<Caches>,
}

impl Rooms {
    /// Opens the database on `store`.
    pub fn new(store: Store, config: RoomsConfig, push_rules: Arc<dyn PushRules>) -> Self {
        Self { store, config: Arc::new(config), push_rules, caches: Arc::default() }
    }

    /// The store, for the sync engine's reading transactions and watches.
    pub fn store(&self) -> &Store {
        &self.store
    }
}
