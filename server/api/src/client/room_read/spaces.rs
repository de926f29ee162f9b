//! Rooms from outside: [summaries](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1room_summaryroomidoralias)
//! and [trees of spaces](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidhierarchy).

use axum::Router;
use hearth_rooms::{
    Membership,
    hierarchy::HierarchyRequest,
    summary::{Onlooker, RoomOutline},
};
use ruma::{
    RoomAliasId, RoomId,
    api::client::{
        room::get_summary::v1 as get_summary,
        space::{SpaceHierarchyRoomsChunk, get_hierarchy::v1 as get_hierarchy},
    },
};

use crate::client::{ApiError, Args, ClientState, route};

pub(super) fn routes() -> Router<ClientState> {
    route(route(Router::new(), summary), hierarchy)
}

/// `GET /room_summary/{roomIdOrAlias}`. `via` names servers to ask about rooms that are not known here.
async fn summary(state: ClientState, args: Args<get_summary::Request>) -> Result<get_summary::Response, ApiError> {
    let room = args.request.room_id_or_alias;
    let not_found = || ApiError::not_found("Room not found.");
    let room_id = if let Ok(room_id) = <&RoomId>::try_from(&*room) {
        room_id.to_owned()
    } else {
        let alias = <&RoomAliasId>::try_from(&*room).map_err(|_| not_found())?;
        state.rooms.resolve_alias(alias).await?
    };
    let session = args.session;
    let onlooker = session.as_ref().map_or(Onlooker::Anyone, |session| Onlooker::User(&session.user_id));
    let outline = state.rooms.outline(&room_id, onlooker).await?;
    let mut response = get_summary::Response::new(outline.summary);
    if session.is_some() {
        response.membership = Some(outline.membership.unwrap_or(Membership::Leave).as_str().into());
    }
    Ok(response)
}

/// `GET /rooms/{roomId}/hierarchy`
async fn hierarchy(
    state: ClientState,
    args: Args<get_hierarchy::Request>,
) -> Result<get_hierarchy::Response, ApiError> {
    let get_hierarchy::Request { room_id, from, limit, max_depth, suggested_only, .. } = args.request;
    let wanted =
        HierarchyRequest { from, limit: limit.map(Into::into), max_depth: max_depth.map(Into::into), suggested_only };
    let page = state.rooms.hierarchy(&room_id, Onlooker::User(&args.session.user_id), &wanted).await?;
    let mut response = get_hierarchy::Response::new();
    response.rooms = page.rooms.into_iter().map(chunk).collect();
    response.next_batch = page.next_batch;
    Ok(response)
}

fn chunk(room: RoomOutline) -> SpaceHierarchyRoomsChunk {
    SpaceHierarchyRoomsChunk::new(room.summary, room.children.into_iter().map(|child| child.event).collect())
}
