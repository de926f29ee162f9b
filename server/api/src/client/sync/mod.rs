//! Sync, filters, typing, receipts, read markers and presence.

use axum::Router;

use crate::client::ClientState;

/// The routes of this part.
pub(super) fn routes() -> Router<ClientState> {
    Router::new()
}
