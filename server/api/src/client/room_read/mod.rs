//! Requests that read rooms: events, context, pages of the timeline, state, members, relations, threads, notifications,
//! the public room list, and rooms from outside.

mod events;
mod filtered;
mod public_rooms;
mod relations;
mod spaces;
mod state;

use axum::Router;
use hearth_accounts::Session;
use hearth_rooms::Reader;

use crate::client::ClientState;

/// The routes of this part.
pub(super) fn routes() -> Router<ClientState> {
    Router::new()
        .merge(events::routes())
        .merge(state::routes())
        .merge(relations::routes())
        .merge(public_rooms::routes())
        .merge(spaces::routes())
}

/// Whoever the session belongs to, as a reader.
fn reader(session: &Session) -> Reader<'_> {
    Reader::new(&session.user_id, Some(&session.device_id))
}

#[cfg(test)]
mod tests;
