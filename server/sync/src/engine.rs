//! The sync engine and what it holds.

use std::sync::Arc;

use hearth_accounts::Accounts;
use hearth_rooms::{CacheStats, Rooms};
use hearth_transitory::Transitory;
use ruma::OwnedUserId;
use tokio_util::sync::CancellationToken;

use crate::{
    cache::Cache,
    filter::SyncFilter,
    hub::Hub,
    members_sent::MembersSent,
    memberships::MembershipCache,
    sources::{AccountsSource, RoomsSource, TransitorySource},
};

/// Requests that may wait at the same time.
const WAITING_REQUESTS: usize = 10_000;
/// Stored filters that are kept ready.
const FILTERS: usize = 1000;

/// Gives audiences what is new for them. Cheap to clone.
#[derive(Clone)]
pub struct SyncEngine(pub(crate) Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) rooms: Rooms,
    pub(crate) accounts: Accounts,
    pub(crate) transitory: Transitory,
    pub(crate) hub: Hub,
    pub(crate) memberships: MembershipCache,
    /// Stored filters, made ready.
    pub(crate) filters: Cache<(OwnedUserId, String), Arc<SyncFilter>>,
    pub(crate) members_sent: MembersSent,
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
            filters: Cache::new(FILTERS),
            members_sent: MembersSent::default(),
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
        vec![
            ("audiences' rooms", self.0.memberships.stats()),
            ("sync filters", self.0.filters.stats()),
            ("lazily loaded members", self.0.members_sent.stats()),
        ]
    }
}
