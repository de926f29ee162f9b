//! Requests that read rooms: messages, context, state, members, relations, threads, the public list.

use axum::Router;

use crate::client::ClientState;

/// The routes of this part.
pub(super) fn routes() -> Router<ClientState> {
    Router::new()
}
