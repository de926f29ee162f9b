//! [Room membership](https://spec.matrix.org/v1.19/client-server-api/#room-membership).

use axum::Router;
use hearth_accounts::Session;
use hearth_rooms::{
    Membership, RoomError,
    membership::{Change, MemberProfile},
};
use ruma::{
    OwnedRoomId, RoomAliasId, RoomId, RoomOrAliasId, UserId,
    api::{
        client::{
            knock::knock_room,
            membership::{
                ban_user, forget_room,
                invite_user::{self, v3::InvitationRecipient},
                join_room_by_id, join_room_by_id_or_alias, joined_rooms, kick_user, leave_room, unban_user,
            },
        },
        error::ErrorKind,
    },
};

use super::{invited_profile, member_profile, upgrade::follow_predecessor};
use crate::client::{ApiError, Args, ClientState, route};

pub(super) fn routes() -> Router<ClientState> {
    let router = route::<join_room_by_id::v3::Request, _, _>(Router::new(), join_by_id);
    let router = route::<join_room_by_id_or_alias::v3::Request, _, _>(router, join_by_id_or_alias);
    let router = route::<knock_room::v3::Request, _, _>(router, knock);
    let router = route::<invite_user::v3::Request, _, _>(router, invite);
    let router = route::<leave_room::v3::Request, _, _>(router, leave);
    let router = route::<forget_room::v3::Request, _, _>(router, forget);
    let router = route::<kick_user::v3::Request, _, _>(router, kick);
    let router = route::<ban_user::v3::Request, _, _>(router, ban);
    let router = route::<unban_user::v3::Request, _, _>(router, unban);
    route::<joined_rooms::v3::Request, _, _>(router, joined)
}

/// What users do to their own membership.
async fn change_own(
    state: &ClientState,
    session: &Session,
    room_id: &RoomId,
    change: Change,
    reason: Option<String>,
) -> Result<(), ApiError> {
    let user = &session.user_id;
    let profile = match change {
        Change::Join | Change::Knock => member_profile(state, user).await?,
        _ => MemberProfile::default(),
    };
    let is_new = change == Change::Join && state.rooms.membership_of(room_id, user).await? != Some(Membership::Join);
    state.rooms.change_membership(room_id, user, user, change, &profile, reason).await?;
    if is_new {
        follow_predecessor(state, user, room_id).await?;
    }
    Ok(())
}

/// What users do to the membership of others, when it does not show a profile.
async fn change_other(
    state: &ClientState,
    session: &Session,
    room_id: &RoomId,
    target: &UserId,
    change: Change,
    reason: Option<String>,
) -> Result<(), ApiError> {
    let profile = MemberProfile::default();
    Ok(state.rooms.change_membership(room_id, &session.user_id, target, change, &profile, reason).await?)
}

async fn resolve(state: &ClientState, room: &RoomOrAliasId) -> Result<OwnedRoomId, ApiError> {
    if let Ok(room_id) = <&RoomId>::try_from(room) {
        return Ok(room_id.to_owned());
    }
    let alias = <&RoomAliasId>::try_from(room).map_err(|error| ApiError::invalid_param(error.to_string()))?;
    Ok(state.rooms.resolve_alias(alias).await?)
}

async fn join_by_id(
    state: ClientState,
    Args { request, session, .. }: Args<join_room_by_id::v3::Request>,
) -> Result<join_room_by_id::v3::Response, ApiError> {
    change_own(&state, &session, &request.room_id, Change::Join, request.reason).await?;
    Ok(join_room_by_id::v3::Response::new(request.room_id))
}

async fn join_by_id_or_alias(
    state: ClientState,
    Args { request, session, .. }: Args<join_room_by_id_or_alias::v3::Request>,
) -> Result<join_room_by_id_or_alias::v3::Response, ApiError> {
    let room_id = resolve(&state, &request.room_id_or_alias).await?;
    change_own(&state, &session, &room_id, Change::Join, request.reason).await?;
    Ok(join_room_by_id_or_alias::v3::Response::new(room_id))
}

async fn knock(
    state: ClientState,
    Args { request, session, .. }: Args<knock_room::v3::Request>,
) -> Result<knock_room::v3::Response, ApiError> {
    let room_id = resolve(&state, &request.room_id_or_alias).await?;
    change_own(&state, &session, &room_id, Change::Knock, request.reason).await?;
    Ok(knock_room::v3::Response::new(room_id))
}

async fn invite(
    state: ClientState,
    Args { request, session, .. }: Args<invite_user::v3::Request>,
) -> Result<invite_user::v3::Response, ApiError> {
    let InvitationRecipient::UserId(recipient) = request.recipient else {
        // By e-mail address or telephone number, and whatever ruma may add.
        let message = "This server has no identity server, so it invites nobody by e-mail or telephone.";
        return Err(ApiError::bad_request(ErrorKind::ThreepidNotFound, message));
    };
    let target = &recipient.user_id;
    let profile = invited_profile(&state, target).await?.unwrap_or_default();
    let sender = &session.user_id;
    let room_id = &request.room_id;
    state.rooms.change_membership(room_id, sender, target, Change::Invite, &profile, recipient.reason).await?;
    Ok(invite_user::v3::Response::new())
}

async fn leave(
    state: ClientState,
    Args { request, session, .. }: Args<leave_room::v3::Request>,
) -> Result<leave_room::v3::Response, ApiError> {
    change_own(&state, &session, &request.room_id, Change::Leave, request.reason).await?;
    Ok(leave_room::v3::Response::new())
}

async fn forget(
    state: ClientState,
    Args { request, session, .. }: Args<forget_room::v3::Request>,
) -> Result<forget_room::v3::Response, ApiError> {
    match state.rooms.forget(&request.room_id, &session.user_id).await {
        Ok(()) => Ok(forget_room::v3::Response::new()),
        // The specification's code for this endpoint.
        Err(RoomError::BadState(message)) => Err(ApiError::bad_request(ErrorKind::Unknown, message)),
        Err(error) => Err(error.into()),
    }
}

async fn kick(
    state: ClientState,
    Args { request, session, .. }: Args<kick_user::v3::Request>,
) -> Result<kick_user::v3::Response, ApiError> {
    change_other(&state, &session, &request.room_id, &request.user_id, Change::Kick, request.reason).await?;
    Ok(kick_user::v3::Response::new())
}

async fn ban(
    state: ClientState,
    Args { request, session, .. }: Args<ban_user::v3::Request>,
) -> Result<ban_user::v3::Response, ApiError> {
    change_other(&state, &session, &request.room_id, &request.user_id, Change::Ban, request.reason).await?;
    Ok(ban_user::v3::Response::new())
}

async fn unban(
    state: ClientState,
    Args { request, session, .. }: Args<unban_user::v3::Request>,
) -> Result<unban_user::v3::Response, ApiError> {
    change_other(&state, &session, &request.room_id, &request.user_id, Change::Unban, request.reason).await?;
    Ok(unban_user::v3::Response::new())
}

async fn joined(
    state: ClientState,
    args: Args<joined_rooms::v3::Request>,
) -> Result<joined_rooms::v3::Response, ApiError> {
    let rooms = state.rooms.rooms_of(&args.session.user_id, Membership::Join).await?;
    Ok(joined_rooms::v3::Response::new(rooms))
}
