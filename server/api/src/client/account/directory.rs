//! The [user directory](https://spec.matrix.org/v1.19/client-server-api/#user-directory).

use axum::Router;
use ruma::api::client::user_directory::search_users::v3::{Request, Response, User};

use crate::client::{ApiError, Args, ClientState, route};

/// Most results of one search.
const LIMIT: usize = 50;

/// The routes of this part.
pub(super) fn routes() -> Router<ClientState> {
    route(Router::new(), search)
}

/// `POST /user_directory/search`. Finds users of this server whom the searcher may know of: those they share a room
/// with and those in rooms that are open to anyone.
async fn search(state: ClientState, args: Args<Request>) -> Result<Response, ApiError> {
    let limit = usize::try_from(u64::from(args.request.limit)).unwrap_or(LIMIT).min(LIMIT);
    let searcher = &args.session.user_id;
    let mut results = Vec::new();
    for entry in state.accounts.search_directory(&args.request.search_term).await? {
        let visible = entry.user_id == *searcher
            || state.rooms.share_room(searcher, &entry.user_id).await?
            || state.rooms.in_open_room(&entry.user_id).await?;
        if !visible {
            continue;
        }
        if results.len() == limit {
            return Ok(Response::new(results, true));
        }
        let mut user = User::new(entry.user_id);
        user.display_name = entry.displayname;
        user.avatar_url = entry.avatar_url;
        results.push(user);
    }
    Ok(Response::new(results, false))
}
