//! [Server discovery](https://spec.matrix.org/v1.19/client-server-api/#server-discovery), versions, capabilities, and the
//! health check.

use axum::{Json, Router, extract::State, routing::get};
use hearth_protocol::RoomVersion;
use http::StatusCode;
use ruma::api::client::discovery::{
    discover_homeserver::{self, HomeserverInfo},
    get_capabilities::v3::{
        self as get_capabilities, Capabilities, ChangePasswordCapability, GetLoginTokenCapability,
        ProfileFieldsCapability, RoomVersionStability, RoomVersionsCapability, ThirdPartyIdChangesCapability,
    },
};
use serde_json::{Value, json};

use super::{ApiError, Args, ClientState, route};

/// Versions of the specification that clients may speak. A version says how a client must ask, not that everything in it is
/// here: what is missing (keys, media, federation) answers 404 `M_UNRECOGNIZED`, which clients take as such. A later version
/// is listed when what it changes for ordinary sessions is here.
const VERSIONS: [&str; 16] = [
    "v1.1", "v1.2", "v1.3", "v1.4", "v1.5", "v1.6", "v1.7", "v1.8", "v1.9", "v1.10", "v1.11", "v1.12", "v1.13",
    "v1.14", "v1.15", "v1.16",
];

/// The routes of this part.
pub(super) fn routes() -> Router<ClientState> {
    let router = Router::new()
        .route("/_matrix/client/versions", get(versions))
        .route("/.well-known/matrix/server", get(server_address))
        .route("/_hearth/health", get(health));
    let router = route(router, capabilities);
    route(router, client_address)
}

/// `GET /_matrix/client/versions`. Not by ruma's type: clients send whatever token they have left here, and a stale one must not
/// matter.
async fn versions() -> Json<Value> {
    Json(json!({
        "versions": VERSIONS,
        // What clients of older versions look for before they use what is stable here.
        "unstable_features": {
            "org.matrix.msc3882": true,
            "uk.tcpip.msc4133": true,
            "uk.tcpip.msc4133.stable": true,
        },
    }))
}

/// `GET /_matrix/client/v3/capabilities`
async fn capabilities(
    state: ClientState,
    _: Args<get_capabilities::Request>,
) -> Result<get_capabilities::Response, ApiError> {
    let mut capabilities = Capabilities::new();
    let available = RoomVersion::SUPPORTED.iter().map(|version| (version.clone(), RoomVersionStability::Stable));
    capabilities.room_versions = RoomVersionsCapability::new(state.default_room_version.clone(), available.collect());
    capabilities.change_password = ChangePasswordCapability::new(true);
    capabilities.thirdparty_id_changes = ThirdPartyIdChangesCapability::new(false);
    capabilities.get_login_token = GetLoginTokenCapability::new(true);
    capabilities.profile_fields = Some(ProfileFieldsCapability::new(true));
    Ok(get_capabilities::Response::new(capabilities))
}

/// `GET /.well-known/matrix/client`
async fn client_address(
    state: ClientState,
    _: Args<discover_homeserver::Request>,
) -> Result<discover_homeserver::Response, ApiError> {
    Ok(discover_homeserver::Response::new(HomeserverInfo::new(state.public_base_url.clone())))
}

/// `GET /.well-known/matrix/server`
async fn server_address(State(state): State<ClientState>) -> Result<Json<Value>, ApiError> {
    let address = state.federation_address.as_deref();
    let address = address.ok_or_else(|| ApiError::not_found("This server does not federate."))?;
    Ok(Json(json!({ "m.server": address })))
}

/// `GET /_hearth/health`: 200 while the store answers.
async fn health(State(state): State<ClientState>) -> Result<Json<Value>, (StatusCode, Json<Value>)> {
    match state.rooms.store().current_version().await {
        Ok(_) => Ok(Json(json!({ "status": "ok" }))),
        Err(_) => Err((StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "store failed" })))),
    }
}
