//! [`POST /rooms/{roomId}/upgrade`](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidupgrade),
//! and what users take with them when they join the replacement.

use axum::Router;
use hearth_rooms::upgrade::UpgradeRequest;
use ruma::{RoomId, UserId, api::client::room::upgrade_room};

use super::member_profile;
use crate::client::{ApiError, Args, ClientState, route};

pub(super) fn routes() -> Router<ClientState> {
    route::<upgrade_room::v3::Request, _, _>(Router::new(), upgrade)
}

async fn upgrade(
    state: ClientState,
    Args { request, session, .. }: Args<upgrade_room::v3::Request>,
) -> Result<upgrade_room::v3::Response, ApiError> {
    let upgrade_room::v3::Request { additional_creators, room_id, new_version, .. } = request;
    let user = &session.user_id;
    let profile = member_profile(&state, user).await?;
    let wanted = UpgradeRequest { version: new_version, additional_creators };
    let replacement = state.rooms.upgrade(&room_id, user, &profile, &wanted).await?;
    follow(&state, user, &room_id, &replacement).await;
    Ok(upgrade_room::v3::Response::new(replacement))
}

/// Takes the user's settings along who has just joined a room, if it replaces another one.
pub(super) async fn follow_predecessor(state: &ClientState, user: &UserId, room_id: &RoomId) -> Result<(), ApiError> {
    if let Some(old) = state.rooms.predecessor(room_id).await? {
        follow(state, user, &old, room_id).await;
    }
    Ok(())
}

async fn follow(state: &ClientState, user: &UserId, old: &RoomId, new: &RoomId) {
    // The user is in the room all the same.
    if let Err(error) = state.accounts.follow_upgrade(user, old, new).await {
        tracing::warn!(%error, %old, %new, "a user's settings were not copied to the new room");
    }
}
