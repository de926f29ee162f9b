//! Registration by tools that know the server's shared secret, at the address and in the form that tools written
//! for Synapse use.

use axum::{Router, extract::State, routing::get};
use hearth_accounts::{NewDevice, registration::SharedSecretRequest};
use serde::Deserialize;
use serde_json::{Value, json};

use super::login::session_json;
use crate::client::{
    ApiError, ClientState,
    extract::{Anonymous, Json},
};

/// The routes of this part.
pub(super) fn routes() -> Router<ClientState> {
    Router::new().route("/_synapse/admin/v1/register", get(nonce).post(register))
}

#[derive(Deserialize)]
struct Registration {
    nonce: String,
    username: String,
    displayname: Option<String>,
    password: String,
    #[serde(default)]
    admin: bool,
    user_type: Option<String>,
    mac: String,
}

/// `GET /_synapse/admin/v1/register`
async fn nonce(State(state): State<ClientState>, _: Anonymous) -> Result<axum::Json<Value>, ApiError> {
    Ok(axum::Json(json!({ "nonce": state.accounts.registration_nonce().await? })))
}

/// `POST /_synapse/admin/v1/register`
async fn register(
    State(state): State<ClientState>,
    _: Anonymous,
    Json(registration): Json<Registration>,
) -> Result<axum::Json<Value>, ApiError> {
    let request = SharedSecretRequest {
        nonce: &registration.nonce,
        username: &registration.username,
        displayname: registration.displayname.as_deref(),
        password: &registration.password,
        admin: registration.admin,
        user_type: registration.user_type.as_deref(),
        mac: &registration.mac,
    };
    let user = state.accounts.register_with_shared_secret(request).await?;
    tracing::info!(%user, admin = registration.admin, "registered with the shared secret");
    let tokens = state.accounts.open_session(&user, NewDevice::default()).await?;
    Ok(axum::Json(session_json(tokens)))
}
