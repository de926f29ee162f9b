//! [Room aliases](https://spec.matrix.org/v1.19/client-server-api/#room-aliases) and the visibility of a room in
//! the public directory.

use axum::Router;
use ruma::api::client::{
    alias::{create_alias, delete_alias, get_alias},
    directory::{get_room_visibility, set_room_visibility},
    room::{Visibility, aliases},
};

use crate::client::{ApiError, Args, ClientState, optional::Optional, route};

pub(super) fn routes() -> Router<ClientState> {
    let router = route::<create_alias::v3::Request, _, _>(Router::new(), create);
    let router = route::<get_alias::v3::Request, _, _>(router, resolve);
    let router = route::<delete_alias::v3::Request, _, _>(router, delete);
    let router = route::<aliases::v3::Request, _, _>(router, list);
    let router = route::<get_room_visibility::v3::Request, _, _>(router, get_visibility);
    route::<Optional<set_room_visibility::v3::Request>, _, _>(router, set_visibility)
}

async fn create(
    state: ClientState,
    Args { request, session, .. }: Args<create_alias::v3::Request>,
) -> Result<create_alias::v3::Response, ApiError> {
    state.rooms.create_alias(&request.room_alias, &request.room_id, &session.user_id).await?;
    Ok(create_alias::v3::Response::new())
}

async fn resolve(state: ClientState, args: Args<get_alias::v3::Request>) -> Result<get_alias::v3::Response, ApiError> {
    let room_id = state.rooms.resolve_alias(&args.request.room_alias).await?;
    Ok(get_alias::v3::Response::new(room_id, vec![state.server_name.clone()]))
}

async fn delete(
    state: ClientState,
    Args { request, session, .. }: Args<delete_alias::v3::Request>,
) -> Result<delete_alias::v3::Response, ApiError> {
    state.rooms.delete_alias(&request.room_alias, &session.user_id, session.admin).await?;
    Ok(delete_alias::v3::Response::new())
}

async fn list(
    state: ClientState,
    Args { request, session, .. }: Args<aliases::v3::Request>,
) -> Result<aliases::v3::Response, ApiError> {
    let aliases = state.rooms.aliases(&request.room_id, &session.user_id).await?;
    Ok(aliases::v3::Response::new(aliases))
}

async fn get_visibility(
    state: ClientState,
    args: Args<get_room_visibility::v3::Request>,
) -> Result<get_room_visibility::v3::Response, ApiError> {
    let published = state.rooms.is_published(&args.request.room_id).await?;
    let visibility = if published { Visibility::Public } else { Visibility::Private };
    Ok(get_room_visibility::v3::Response::new(visibility))
}

async fn set_visibility(
    state: ClientState,
    Args { request: Optional(request), session, .. }: Args<Optional<set_room_visibility::v3::Request>>,
) -> Result<set_room_visibility::v3::Response, ApiError> {
    let published = match request.visibility {
        Visibility::Public => true,
        Visibility::Private => false,
        other => return Err(ApiError::invalid_param(format!("unknown visibility {other}"))),
    };
    state.rooms.set_published(&request.room_id, &session.user_id, published, session.admin).await?;
    Ok(set_room_visibility::v3::Response::new())
}
