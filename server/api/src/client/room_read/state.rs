//! Reading a room's state and members.

use axum::Router;
use hearth_rooms::{Membership, state::MembersRequest};
use ruma::{
    api::client::{
        membership::{get_member_events::v3 as get_members, joined_members::v3 as joined_members},
        state::{
            get_state_event_for_key::v3::{self as get_state_event, StateEventFormat},
            get_state_events::v3 as get_state,
        },
    },
    events::room::member::MembershipState,
    serde::Raw,
};

use super::reader;
use crate::client::{ApiError, Args, ClientState, route};

pub(super) fn routes() -> Router<ClientState> {
    let router = route(Router::new(), state);
    let router = route(router, state_event);
    let router = route(router, members);
    route(router, joined)
}

/// `GET /rooms/{roomId}/state`
async fn state(state: ClientState, args: Args<get_state::Request>) -> Result<get_state::Response, ApiError> {
    let events = state.rooms.state(&args.request.room_id, &reader(&args.session)).await?;
    Ok(get_state::Response::new(events))
}

/// `GET /rooms/{roomId}/state/{eventType}/{stateKey}`
async fn state_event(
    state: ClientState,
    args: Args<get_state_event::Request>,
) -> Result<get_state_event::Response, ApiError> {
    let get_state_event::Request { room_id, event_type, state_key, format, .. } = args.request;
    let event_type = event_type.to_string();
    let answer = match format {
        StateEventFormat::Event => {
            let reader = reader(&args.session);
            state.rooms.state_event(&room_id, &reader, &event_type, &state_key).await?.into_json()
        }
        _ => state.rooms.state_content(&room_id, &args.session.user_id, &event_type, &state_key).await?,
    };
    Ok(get_state_event::Response::new(answer))
}

/// `GET /rooms/{roomId}/members`
async fn members(state: ClientState, args: Args<get_members::Request>) -> Result<get_members::Response, ApiError> {
    let get_members::Request { room_id, at, membership, not_membership, .. } = args.request;
    let wanted =
        MembersRequest { at, membership: known(membership.as_ref())?, not_membership: known(not_membership.as_ref())? };
    let members = state.rooms.members(&room_id, &reader(&args.session), &wanted).await?;
    Ok(get_members::Response::new(members.into_iter().map(Raw::cast_unchecked).collect()))
}

fn known(membership: Option<&MembershipState>) -> Result<Option<Membership>, ApiError> {
    let Some(membership) = membership else { return Ok(None) };
    let known = Membership::parse(membership.as_str());
    known.map(Some).ok_or_else(|| ApiError::invalid_param(format!("There is no membership {membership:?}.")))
}

/// `GET /rooms/{roomId}/joined_members`
async fn joined(state: ClientState, args: Args<joined_members::Request>) -> Result<joined_members::Response, ApiError> {
    let joined = state.rooms.joined_members(&args.request.room_id, &args.session.user_id).await?;
    Ok(joined_members::Response::new(joined))
}
