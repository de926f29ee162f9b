//! The sync engine and what it holds.

use std::sync::Arc;

use hearth_accounts::Accounts;
use hearth_rooms::{CacheStats, Rooms};
use hearth_transitory::Transitory;
use tokio_util::sync::CancellationToken;

use crate::{
    hub::Hub,
    memberships::MembershipCache,
    sources::{AccountsSource, RoomsSource, TransitorySource},
    v2::Caches,
};

/// Requests that may wait at the same time.
const WAITING_REQUESTS: usize = 10_000;

/// Gives audiences what is new for them. Cheap to clone.
#[derive(Clone)]
pub struct SyncEngine(pub(crate) Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) rooms: Rooms,
    pub(crate) accounts: Accounts,
    pub(crate) transitory: Transitory,
    pub(crate) hub: Hub,
    pub(crate) memberships: MembershipCache,
    pub(crate) v2: Caches,
}

impl SyncEngine {
    /// An engine over the three databases. Its owner also runs [`Self::run`].
    pub fn new(rooms: Rooms, accounts: Accounts, transitory: Transitory) -> Self {
        Self(Arc::new(Parts {
            rooms,
            accounts,
            transitory,
            hub: Hub::new(WAITING_REQUESTS),
            memberships: MembershipCache::default(),
            v2: Caches::default(),
        }))
    }

    /// Wakes waiting readers, until `stop`; then lets them all go. One per process.
    pub async fn run(&self, stop: CancellationToken) {
        let Parts { rooms, accounts, transitory, hub, .. } = &*self.0;
        let transitory = TransitorySource { transitory: transitory.clone(), rooms: rooms.clone() };
        tokio::join!(
            hub.follow(RoomsSource(rooms.clone()), stop.clone()),
            hub.follow(AccountsSource(accounts.clone()), stop.clone()),
            hub.follow(transitory, stop),
        );
    }

    /// The waiting readers.
    pub fn hub(&self) -> &Hub {
        &self.0.hub
    }

    /// The caches by name, for the dashboard.
    pub fn cache_stats(&self) -> Vec<(&'static str, CacheStats)> {
        let v2 = &self.0.v2;
        vec![
            ("audiences' rooms", self.0.memberships.stats()),
            ("sync filters", v2.filters.stats()),
            ("lazily loaded members", v2.lazy.stats()),
        ]
    }
}
