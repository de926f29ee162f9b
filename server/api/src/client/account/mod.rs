//! Registration, login, devices, profiles, account data, push rules and the user directory.

use axum::Router;

use crate::client::ClientState;

/// The routes of this part.
pub(super) fn routes() -> Router<ClientState> {
    Router::new()
}
