//! What the admin API works on, and the state behind every endpoint.

use std::sync::Arc;

use hearth_accounts::Accounts;
use hearth_rooms::Rooms;
use hearth_store::Store;
use ruma::OwnedServerName;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{
    figures::{FigureSources, Figures},
    guard::AdminToken,
    logs::LogRing,
};
use crate::metrics::Metrics;

/// Dashboards that may listen at the same time.
const MOST_LISTENERS: usize = 32;

/// What the admin API works on.
#[derive(Clone)]
pub struct AdminParts {
    /// Opens the API; see [`AdminToken`].
    pub token: AdminToken,
    /// The server's name.
    pub server_name: OwnedServerName,
    /// The software's version.
    pub version: String,
    /// What clients are told to connect to.
    pub public_base_url: String,
    /// Where the server listens for clients and other servers, as URLs.
    pub listeners: Vec<String>,
    /// Users, devices, registration tokens.
    pub accounts: Accounts,
    /// Rooms.
    pub rooms: Rooms,
    /// For its figures.
    pub store: Store,
    /// The newest log lines; the binary's subscriber fills it with a [`LogLayer`](super::logs::LogLayer).
    pub logs: Arc<LogRing>,
    /// The counters of all listeners.
    pub metrics: Arc<Metrics>,
    /// Ends the live streams when the server stops.
    pub shutdown: CancellationToken,
}

/// The state behind every endpoint.
pub(super) struct Admin {
    pub(super) parts: AdminParts,
    pub(super) figures: Figures,
    /// One permit for each dashboard that listens.
    pub(super) listeners: Arc<Semaphore>,
}

impl Admin {
    pub(super) fn new(parts: AdminParts) -> Self {
        let figures = Figures::new(FigureSources {
            server_name: parts.server_name.to_string(),
            version: parts.version.clone(),
            public_base_url: parts.public_base_url.clone(),
            listeners: parts.listeners.clone(),
            accounts: parts.accounts.clone(),
            rooms: parts.rooms.clone(),
            store: parts.store.clone(),
            metrics: parts.metrics.clone(),
        });
        Self { parts, figures, listeners: Arc::new(Semaphore::new(MOST_LISTENERS)) }
    }
}
