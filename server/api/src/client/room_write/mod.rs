//! Requests that change rooms: create, join and leave, send, state, redact, aliases.

use axum::Router;

use crate::client::ClientState;

/// The routes of this part.
pub(super) fn routes() -> Router<ClientState> {
    Router::new()
}
