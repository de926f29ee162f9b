//! What the admin API works on, and the state behind every endpoint.

use std::sync::Arc;

use hearth_accounts::Accounts;
use hearth_jobs::Jobs;
use hearth_rooms::Rooms;
use hearth_store::Store;
use ruma::OwnedServerName;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{
    backups::{BackupSettings, Backups},
    figures::{FigureSources, Figures},
    guard::AdminToken,
    logs::LogRing,
    storage::{StorageMonitor, StorageSettings},
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
    /// What is measured of it, and where it is.
    pub storage: StorageSettings,
    /// Where backups are and when they are made.
    pub backups: BackupSettings,
    /// The queue of jobs.
    pub jobs: Jobs,
    /// This process's name among those that use the store, where it has one.
    pub process: Option<String>,
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
    pub(super) backups: Backups,
    pub(super) storage: StorageMonitor,
    /// One permit for each dashboard that listens.
    pub(super) listeners: Arc<Semaphore>,
}

impl Admin {
    pub(super) fn new(parts: AdminParts) -> Self {
        let backups = Backups::new(parts.backups.clone(), parts.store.clone(), parts.shutdown.clone());
        let storage = StorageMonitor::new(parts.store.clone(), parts.rooms.clone(), parts.storage.clone());
        let figures = Figures::new(FigureSources {
            server_name: parts.server_name.to_string(),
            version: parts.version.clone(),
            public_base_url: parts.public_base_url.clone(),
            listeners: parts.listeners.clone(),
            accounts: parts.accounts.clone(),
            rooms: parts.rooms.clone(),
            store: parts.store.clone(),
            metrics: parts.metrics.clone(),
            jobs: parts.jobs.clone(),
            backups: backups.clone(),
            storage: storage.clone(),
        });
        Self { parts, figures, backups, storage, listeners: Arc::new(Semaphore::new(MOST_LISTENERS)) }
    }

    /// What runs beside the requests, until the shutdown.
    pub(super) async fn run(self: Arc<Self>) {
        let shutdown = &self.parts.shutdown;
        tokio::join!(
            self.storage.run(shutdown.clone()),
            self.backups.run(),
            shutdown.run_until_cancelled(self.figures.watch_jobs()),
        );
    }
}
