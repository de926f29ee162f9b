//! [Account data](https://spec.matrix.org/v1.19/client-server-api/#client-config), global and of rooms.

use axum::Router;
use http::StatusCode;
use ruma::{
    api::{
        client::config::{
            get_global_account_data, get_room_account_data, set_global_account_data, set_room_account_data,
        },
        error::ErrorKind,
    },
    serde::Raw,
};

use super::{named, own};
use crate::client::{ApiError, Args, ClientState, route};

/// The routes of this part.
pub(super) fn routes() -> Router<ClientState> {
    let router = route(Router::new(), get_global);
    let router = route(router, set_global);
    let router = route(router, get_room);
    route(router, set_room)
}

/// Refuses types that have endpoints of their own.
fn writable(event_type: &str) -> Result<(), ApiError> {
    match event_type {
        "m.fully_read" | "m.push_rules" => {
            let message = format!("Cannot set {event_type} through this API.");
            Err(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, ErrorKind::BadJson, message))
        }
        _ => Ok(()),
    }
}

fn none() -> ApiError {
    ApiError::not_found("There is no such account data.")
}

/// `GET /user/{userId}/account_data/{type}`
async fn get_global(
    state: ClientState,
    args: Args<get_global_account_data::v3::Request>,
) -> Result<get_global_account_data::v3::Response, ApiError> {
    let request = args.request;
    own(&args.session, &request.user_id)?;
    let content = state.accounts.account_data(&request.user_id, None, &request.event_type.to_string()).await?;
    Ok(get_global_account_data::v3::Response::new(Raw::from_json(content.ok_or_else(none)?)))
}

/// `PUT /user/{userId}/account_data/{type}`
async fn set_global(
    state: ClientState,
    args: Args<set_global_account_data::v3::Request>,
) -> Result<set_global_account_data::v3::Response, ApiError> {
    let request = args.request;
    own(&args.session, &request.user_id)?;
    let event_type = request.event_type.to_string();
    writable(&event_type)?;
    state.accounts.set_account_data(&request.user_id, None, &event_type, request.data.json()).await?;
    Ok(set_global_account_data::v3::Response::new())
}

/// `GET /user/{userId}/rooms/{roomId}/account_data/{type}`
async fn get_room(
    state: ClientState,
    args: Args<get_room_account_data::v3::Request>,
) -> Result<get_room_account_data::v3::Response, ApiError> {
    let request = args.request;
    own(&args.session, &request.user_id)?;
    let event_type = request.event_type.to_string();
    let content = state.accounts.account_data(&request.user_id, Some(&request.room_id), &event_type).await?;
    Ok(get_room_account_data::v3::Response::new(Raw::from_json(content.ok_or_else(none)?)))
}

/// `PUT /user/{userId}/rooms/{roomId}/account_data/{type}`
async fn set_room(
    state: ClientState,
    args: Args<set_room_account_data::v3::Request>,
) -> Result<set_room_account_data::v3::Response, ApiError> {
    let request = args.request;
    own(&args.session, &request.user_id)?;
    let event_type = request.event_type.to_string();
    writable(&event_type)?;
    named(&request.room_id)?;
    let room = Some(&*request.room_id);
    state.accounts.set_account_data(&request.user_id, room, &event_type, request.data.json()).await?;
    Ok(set_room_account_data::v3::Response::new())
}
