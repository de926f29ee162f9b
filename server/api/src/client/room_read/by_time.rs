//! [`GET /timestamp_to_event`](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event)
//! and [`GET /mutual_rooms`](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mutual_rooms).

use axum::{
    Router,
    extract::{Query, State},
    routing::get,
};
use ruma::{UserId, api::client::room::get_event_by_timestamp::v1 as by_timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::reader;
use crate::client::{ApiError, Args, ClientState, extract::Authenticated, route};

pub(super) fn routes() -> Router<ClientState> {
    route(Router::new(), event_by_time).route("/_matrix/client/v1/mutual_rooms", get(mutual_rooms))
}

/// `GET /rooms/{roomId}/timestamp_to_event`
async fn event_by_time(
    state: ClientState,
    args: Args<by_timestamp::Request>,
) -> Result<by_timestamp::Response, ApiError> {
    let by_timestamp::Request { room_id, ts, dir, .. } = args.request;
    let (event_id, ts) = state.rooms.event_by_time(&room_id, &reader(&args.session), ts, dir).await?;
    Ok(by_timestamp::Response::new(event_id, ts))
}

#[derive(Deserialize)]
struct MutualRooms {
    user_id: Option<String>,
    from: Option<String>,
}

/// `GET /mutual_rooms`. ruma only has the form from before it was specified.
async fn mutual_rooms(
    State(state): State<ClientState>,
    Authenticated(session): Authenticated,
    query: Result<Query<MutualRooms>, axum::extract::rejection::QueryRejection>,
) -> Result<axum::Json<Value>, ApiError> {
    let Query(query) = query.map_err(|error| ApiError::invalid_param(error.to_string()))?;
    let user = query.user_id.ok_or_else(|| ApiError::missing_param("user_id is missing."))?;
    let user = UserId::parse(user).map_err(|error| ApiError::invalid_param(format!("user_id: {error}")))?;
    if user == session.user_id {
        return Err(ApiError::invalid_param("These are all of your rooms."));
    }
    let mutual = state.rooms.mutual_rooms(&session.user_id, &user, query.from.as_deref()).await?;
    let mut answer = json!({ "joined": mutual.joined, "count": mutual.count });
    if let Some(next) = mutual.next_batch {
        answer["next_batch"] = next.into();
    }
    Ok(axum::Json(answer))
}
