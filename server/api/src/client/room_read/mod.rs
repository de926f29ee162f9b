//! Requests that read rooms: events, context, pages of the timeline, state, members, relations, threads, notifications,
//! search, the public room list, and rooms from outside.

mod by_time;
mod events;
mod filtered;
mod public_rooms;
mod relations;
mod search;
mod spaces;
mod state;

use axum::Router;
use hearth_accounts::{AccountError, Session};
use hearth_rooms::Reader;

use crate::client::ClientState;

/// The routes of this part.
pub(super) fn routes() -> Router<ClientState> {
    Router::new()
        .merge(by_time::routes())
        .merge(events::routes())
        .merge(state::routes())
        .merge(relations::routes())
        .merge(public_rooms::routes())
        .merge(search::routes())
        .merge(spaces::routes())
}

/// Whoever the session belongs to, as a reader.
fn reader(session: &Session) -> Reader<'_> {
    Reader::new(&session.user_id, Some(&session.device_id))
}

/// Whom the session's user ignores.
async fn ignored(state: &ClientState, session: &Session) -> Result<Vec<String>, AccountError> {
    state.accounts.ignored_users(&session.user_id).await
}

#[cfg(test)]
mod tests;
