use std::sync::Arc;

use hearth_store::Store;

use crate::throttle::Throttle;

/// The Transitory database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Transitory {
    pub(crate) store: Store,
    pub(crate) throttle: Arc<Throttle>,
}

impl Transitory {
    /// Opens the database on `store`. The owner also runs [`Self::run_timers`].
    pub fn new(store: Store) -> Self {
        Self { store, throttle: Arc::default() }
    }

    /// The store, for the sync engine's reading transactions and watches.
    pub fn store(&self) -> &Store {
        &self.store
    }
}
