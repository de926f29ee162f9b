//! [Sending events to a room](https://spec.matrix.org/v1.19/client-server-api/#sending-events-to-a-room).

use axum::Router;
use hearth_accounts::Session;
use hearth_rooms::{RoomError, send::Draft};
use hearth_transitory::timers;
use ruma::{
    OwnedEventId, RoomId,
    api::client::{message::send_message_event, redact::redact_event, state::send_state_event},
    events::TimelineEventType,
};
use serde_json::{json, value::to_raw_value};

use crate::client::{ApiError, Args, ClientState, route};

pub(super) fn routes() -> Router<ClientState> {
    let router = route::<send_message_event::v3::Request, _, _>(Router::new(), send_message);
    let router = route::<send_state_event::v3::Request, _, _>(router, send_state);
    route::<redact_event::v3::Request, _, _>(router, redact)
}

async fn send(
    state: &ClientState,
    session: &Session,
    room_id: &RoomId,
    draft: Draft,
) -> Result<OwnedEventId, ApiError> {
    let _sending = state.in_flight.begin(session);
    let event = state.rooms.send(room_id, &session.user_id, draft).await?;
    // Sent all the same, whatever becomes of the presence.
    if let Err(error) = state.transitory.active(&session.user_id, &session.device_id, timers::now()).await {
        tracing::warn!(%error, "cannot note that the user is active");
    }
    Ok(event)
}

async fn send_message(
    state: ClientState,
    Args { request, session, .. }: Args<send_message_event::v3::Request>,
) -> Result<send_message_event::v3::Response, ApiError> {
    let draft = Draft {
        event_type: TimelineEventType::from(request.event_type.to_string()),
        state_key: None,
        content: request.body.into_json(),
        redacts: None,
        transaction: Some((session.device_id.clone(), request.txn_id)),
        timestamp: None,
    };
    Ok(send_message_event::v3::Response::new(send(&state, &session, &request.room_id, draft).await?))
}

async fn send_state(
    state: ClientState,
    Args { request, session, .. }: Args<send_state_event::v3::Request>,
) -> Result<send_state_event::v3::Response, ApiError> {
    let draft = Draft {
        event_type: TimelineEventType::from(request.event_type.to_string()),
        state_key: Some(request.state_key),
        content: request.body.into_json(),
        redacts: None,
        transaction: None,
        timestamp: None,
    };
    Ok(send_state_event::v3::Response::new(send(&state, &session, &request.room_id, draft).await?))
}

async fn redact(
    state: ClientState,
    Args { request, session, .. }: Args<redact_event::v3::Request>,
) -> Result<redact_event::v3::Response, ApiError> {
    let content = match &request.reason {
        Some(reason) => json!({ "reason": reason }),
        None => json!({}),
    };
    let draft = Draft {
        event_type: TimelineEventType::RoomRedaction,
        state_key: None,
        content: to_raw_value(&content).map_err(|error| RoomError::BadRequest(error.to_string()))?,
        redacts: Some(request.event_id),
        transaction: Some((session.device_id.clone(), request.txn_id)),
        timestamp: None,
    };
    Ok(redact_event::v3::Response::new(send(&state, &session, &request.room_id, draft).await?))
}
