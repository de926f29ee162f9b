//! The [public room list](https://spec.matrix.org/v1.19/client-server-api/#listing-rooms).

use axum::Router;
use hearth_rooms::public_rooms::PublicRoomsPage;
use ruma::{
    ServerName, UInt,
    api::client::directory::{get_public_rooms::v3 as get_rooms, get_public_rooms_filtered::v3 as search_rooms},
    directory::{Filter, RoomNetwork},
};

use crate::client::{ApiError, Args, ClientState, route};

pub(super) fn routes() -> Router<ClientState> {
    route(route(Router::new(), list), search)
}

/// `GET /publicRooms`
async fn list(state: ClientState, args: Args<get_rooms::Request>) -> Result<get_rooms::Response, ApiError> {
    let get_rooms::Request { limit, since, server, .. } = args.request;
    ask_only_this_server(&state, server.as_deref())?;
    let page = state.rooms.public_rooms(limit.map(Into::into), since.as_deref(), &Filter::new()).await?;
    let mut response = get_rooms::Response::new(page.chunk);
    response.next_batch = page.next_batch;
    response.prev_batch = page.prev_batch;
    response.total_room_count_estimate = Some(UInt::new_saturating(page.total));
    Ok(response)
}

/// `POST /publicRooms`
async fn search(state: ClientState, args: Args<search_rooms::Request>) -> Result<search_rooms::Response, ApiError> {
    let search_rooms::Request { limit, since, server, filter, room_network, .. } = args.request;
    ask_only_this_server(&state, server.as_deref())?;
    let page = match room_network {
        // There are no bridges here that would have rooms of other networks.
        RoomNetwork::ThirdParty(_) => PublicRoomsPage::default(),
        _ => state.rooms.public_rooms(limit.map(Into::into), since.as_deref(), &filter).await?,
    };
    let mut response = search_rooms::Response::new();
    response.chunk = page.chunk;
    response.next_batch = page.next_batch;
    response.prev_batch = page.prev_batch;
    response.total_room_count_estimate = Some(UInt::new_saturating(page.total));
    Ok(response)
}

fn ask_only_this_server(state: &ClientState, server: Option<&ServerName>) -> Result<(), ApiError> {
    match server {
        Some(other) if other != state.server_name => {
            Err(ApiError::not_found(format!("The rooms of {other} are not known to this server.")))
        }
        _ => Ok(()),
    }
}
