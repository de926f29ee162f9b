//! [Registration](https://spec.matrix.org/v1.19/client-server-api/#legacy-account-registration).

use axum::{Router, extract::State, routing::post};
use hearth_accounts::{NewDevice, NewUser, RegistrationMode, Stage, check_password_strength};
use http::StatusCode;
use ruma::{
    OwnedDeviceId,
    api::{
        client::account::{check_registration_token_validity, get_username_availability},
        error::ErrorKind,
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    login::session_json,
    parts::Query,
    uia::{self, Body},
    v3,
};
use crate::client::{
    ApiError, Args, ClientState,
    extract::{Anonymous, Json},
    route,
};

/// The routes of this part.
pub(super) fn routes() -> Router<ClientState> {
    let router = v3(Router::new(), "/register", &post(register));
    let router = route(router, available);
    route(router, token_validity)
}

#[derive(Deserialize)]
struct Kind {
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Registration {
    r#type: Option<String>,
    username: Option<String>,
    password: Option<String>,
    device_id: Option<OwnedDeviceId>,
    initial_device_display_name: Option<String>,
    #[serde(default)]
    inhibit_login: bool,
    #[serde(default)]
    refresh_token: bool,
}

/// The flows by which one may register now.
async fn flows(state: &ClientState) -> Result<&'static [&'static [Stage]], ApiError> {
    match state.accounts.registration_mode().await? {
        RegistrationMode::Closed => Err(ApiError::forbidden("Registration is closed on this server.")),
        RegistrationMode::Token => Ok(&[&[Stage::RegistrationToken]]),
        RegistrationMode::Open => Ok(&[&[Stage::Dummy]]),
    }
}

/// `POST /register`
async fn register(
    State(state): State<ClientState>,
    _: Anonymous,
    Query(Kind { kind }): Query<Kind>,
    Json(body): Json<Body>,
) -> Result<axum::Json<Value>, ApiError> {
    match kind.as_deref() {
        None | Some("user") => {}
        Some("guest") => {
            let message = "This server has no guests.";
            return Err(ApiError::new(StatusCode::FORBIDDEN, ErrorKind::GuestAccessForbidden, message));
        }
        Some(_) => return Err(ApiError::invalid_param("kind is user or guest.")),
    }
    let flows = flows(&state).await?;
    let registration: Registration = body.parse()?;
    if registration.r#type.as_deref() == Some("m.login.application_service") {
        return Err(ApiError::forbidden("This server has no application services."));
    }
    // Before authentication, so that nobody finds out at its end.
    let localpart = match &registration.username {
        Some(username) => Some(state.accounts.check_available(username).await?),
        None => None,
    };
    if let Some(password) = &registration.password {
        check_password_strength(password)?;
    }
    let authorized = uia::authorize_registration(&state, flows, &body).await?;
    let password = registration.password.as_deref();
    let password = password.ok_or_else(|| ApiError::missing_param("password is missing."))?;
    let new = NewUser { localpart: localpart.as_deref(), password: Some(password), ..NewUser::default() };
    let user = state.accounts.register(new, &authorized).await?;
    tracing::info!(%user, "registered");
    if registration.inhibit_login {
        return Ok(axum::Json(json!({ "user_id": user, "home_server": user.server_name() })));
    }
    let device = NewDevice {
        device_id: registration.device_id,
        display_name: registration.initial_device_display_name,
        refresh: registration.refresh_token,
    };
    let tokens = state.accounts.open_session(&user, device).await?;
    Ok(axum::Json(session_json(tokens)))
}

/// `GET /register/available`
async fn available(
    state: ClientState,
    args: Args<get_username_availability::v3::Request>,
) -> Result<get_username_availability::v3::Response, ApiError> {
    flows(&state).await?;
    state.accounts.check_available(&args.request.username).await?;
    Ok(get_username_availability::v3::Response::new(true))
}

/// `GET /v1/register/m.login.registration_token/validity`
async fn token_validity(
    state: ClientState,
    args: Args<check_registration_token_validity::v1::Request>,
) -> Result<check_registration_token_validity::v1::Response, ApiError> {
    flows(&state).await?;
    let valid = state.accounts.registration_token_valid(&args.request.token).await?;
    Ok(check_registration_token_validity::v1::Response::new(valid))
}
