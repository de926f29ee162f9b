//! [Device management](https://spec.matrix.org/v1.19/client-server-api/#device-management).

use axum::{
    Router,
    extract::State,
    routing::{delete, post},
};
use hearth_accounts::Device as Known;
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedDeviceId, UInt,
    api::client::device::{Device, get_device, get_devices, update_device},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    parts::Path,
    uia::{self, Body},
    v3,
};
use crate::client::{
    ApiError, Args, ClientState,
    extract::{Authenticated, Json},
    route,
};

/// The routes of this part.
pub(super) fn routes() -> Router<ClientState> {
    let router = v3(Router::new(), "/devices/{device_id}", &delete(delete_one));
    let router = v3(router, "/delete_devices", &post(delete_many));
    let router = route(router, list);
    let router = route(router, get);
    route(router, update)
}

fn device(known: Known) -> Device {
    let mut device = Device::new(known.device_id);
    device.display_name = known.display_name;
    device.last_seen_ip = known.last_seen_ip;
    device.last_seen_ts = known.last_seen_ts.and_then(UInt::new).map(MilliSecondsSinceUnixEpoch);
    device
}

/// `GET /devices`
async fn list(state: ClientState, args: Args<get_devices::v3::Request>) -> Result<get_devices::v3::Response, ApiError> {
    let devices = state.accounts.devices(&args.session.user_id).await?;
    Ok(get_devices::v3::Response::new(devices.into_iter().map(device).collect()))
}

/// `GET /devices/{deviceId}`
async fn get(state: ClientState, args: Args<get_device::v3::Request>) -> Result<get_device::v3::Response, ApiError> {
    let known = state.accounts.device(&args.session.user_id, &args.request.device_id).await?;
    Ok(get_device::v3::Response::new(device(known)))
}

/// `PUT /devices/{deviceId}`
async fn update(
    state: ClientState,
    args: Args<update_device::v3::Request>,
) -> Result<update_device::v3::Response, ApiError> {
    let (user, id) = (&args.session.user_id, &args.request.device_id);
    match args.request.display_name {
        Some(name) => state.accounts.rename_device(user, id, Some(name)).await?,
        // Nothing is changed, but an unknown device is told.
        None => drop(state.accounts.device(user, id).await?),
    }
    Ok(update_device::v3::Response::new())
}

/// `DELETE /devices/{deviceId}`
async fn delete_one(
    State(state): State<ClientState>,
    Path(id): Path<OwnedDeviceId>,
    Authenticated(session): Authenticated,
    Json(body): Json<Body>,
) -> Result<axum::Json<Value>, ApiError> {
    uia::confirm(&state, &session, &format!("DELETE /devices/{id}"), &body).await?;
    state.accounts.delete_devices(&session.user_id, &[id]).await?;
    Ok(axum::Json(json!({})))
}

#[derive(Deserialize)]
struct Devices {
    devices: Vec<OwnedDeviceId>,
}

/// `POST /delete_devices`
async fn delete_many(
    State(state): State<ClientState>,
    Authenticated(session): Authenticated,
    Json(body): Json<Body>,
) -> Result<axum::Json<Value>, ApiError> {
    let Devices { devices } = body.parse()?;
    uia::confirm(&state, &session, "POST /delete_devices", &body).await?;
    state.accounts.delete_devices(&session.user_id, &devices).await?;
    Ok(axum::Json(json!({})))
}
