//! What the handlers of the client API work with.

use std::{ops::Deref, sync::Arc};

use hearth_accounts::Accounts;
use hearth_jobs::Jobs;
use hearth_rooms::Rooms;
use hearth_sync::SyncEngine;
use hearth_transitory::Transitory;
use ruma::{OwnedServerName, RoomVersionId};
use tokio_util::sync::CancellationToken;

use super::{InFlight, RateLimiter};
use crate::metrics::Metrics;

/// The state of every handler. Cheap to clone; the parts are its fields (`state.rooms`).
#[derive(Clone)]
pub struct ClientState(Arc<ClientParts>);

impl ClientState {
    /// Takes the parts, wired by the binary.
    pub fn new(parts: ClientParts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for ClientState {
    type Target = ClientParts;

    fn deref(&self) -> &ClientParts {
        &self.0
    }
}

/// The parts of [`ClientState`].
pub struct ClientParts {
    /// This server.
    pub server_name: OwnedServerName,
    /// What clients are told to connect to, without a slash at the end.
    pub public_base_url: String,
    /// What other servers are told to connect to, `host:port`; `None` where federation is off.
    pub federation_address: Option<String>,
    /// The Accounts database. Its configuration says who may register.
    pub accounts: Accounts,
    /// The Rooms database.
    pub rooms: Rooms,
    /// The Transitory database.
    pub transitory: Transitory,
    /// What users get next.
    pub sync: SyncEngine,
    /// The queue of what must happen, but not now.
    pub jobs: Jobs,
    /// Version of new rooms.
    pub default_room_version: RoomVersionId,
    /// Sends whose answers their own device's sync must not overtake.
    pub in_flight: InFlight,
    /// Too many requests.
    pub limiter: RateLimiter,
    /// Figures for the dashboard.
    pub metrics: Arc<Metrics>,
    /// Cancelled when the server stops: long polls answer then.
    pub stopping: CancellationToken,
}
