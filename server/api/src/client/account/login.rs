//! [Login](https://spec.matrix.org/v1.19/client-server-api/#legacy-login), login tokens, refreshing, logout.

use axum::{
    Router,
    extract::State,
    routing::{get, post},
};
use hearth_accounts::{NewDevice, Tokens};
use ruma::{
    OwnedDeviceId,
    api::{
        client::session::{logout, logout_all, refresh_token},
        error::ErrorKind,
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    uia::{self, Body},
    v3,
};
use crate::client::{
    ApiError, Args, ClientState,
    extract::{Anonymous, Authenticated, Json},
    route,
};

/// The routes of this part.
pub(super) fn routes() -> Router<ClientState> {
    let router = v3(Router::new(), "/login", &get(flows).post(login));
    let router = router
        .route("/_matrix/client/v1/login/get_token", post(login_token))
        .route("/_matrix/client/unstable/org.matrix.msc3882/login/token", post(login_token));
    let router = route(router, refresh);
    let router = route(router, log_out);
    route(router, log_out_everywhere)
}

/// `GET /login`
async fn flows(_: Anonymous) -> axum::Json<Value> {
    axum::Json(json!({ "flows": [
        { "type": "m.login.password" },
        { "type": "m.login.token", "get_login_token": true },
    ] }))
}

/// Not ruma's type, which panics where `type` is missing.
#[derive(Deserialize)]
struct Login {
    r#type: Option<String>,
    identifier: Option<Identifier>,
    /// The form before `identifier`.
    user: Option<String>,
    medium: Option<String>,
    password: Option<String>,
    token: Option<String>,
    device_id: Option<OwnedDeviceId>,
    initial_device_display_name: Option<String>,
    #[serde(default)]
    refresh_token: bool,
}

/// How a client names the user
/// ([identifier types](https://spec.matrix.org/v1.19/client-server-api/#identifier-types)).
#[derive(Deserialize)]
struct Identifier {
    r#type: String,
    user: Option<String>,
}

impl Login {
    /// User id or localpart.
    fn user(&self) -> Result<&str, ApiError> {
        let no_third_party = || ApiError::forbidden("This server knows no email addresses or phone numbers.");
        match &self.identifier {
            Some(Identifier { r#type, user }) => match r#type.as_str() {
                "m.id.user" => user.as_deref().ok_or_else(|| ApiError::missing_param("identifier.user is missing.")),
                "m.id.thirdparty" | "m.id.phone" => Err(no_third_party()),
                other => Err(ApiError::bad_request(ErrorKind::Unknown, format!("Unknown identifier type {other}."))),
            },
            None if self.medium.is_some() => Err(no_third_party()),
            None => self.user.as_deref().ok_or_else(|| ApiError::missing_param("identifier is missing.")),
        }
    }
}

/// `POST /login`
async fn login(
    State(state): State<ClientState>,
    _: Anonymous,
    Json(login): Json<Login>,
) -> Result<axum::Json<Value>, ApiError> {
    let missing = |field: &str| ApiError::missing_param(format!("{field} is missing."));
    let user = match login.r#type.as_deref() {
        Some("m.login.password") => {
            let password = login.password.as_deref().ok_or_else(|| missing("password"))?;
            state.accounts.check_password(login.user()?, password).await?
        }
        Some("m.login.token") => {
            let token = login.token.as_deref().ok_or_else(|| missing("token"))?;
            state.accounts.redeem_login_token(token).await?
        }
        Some(_) => return Err(ApiError::bad_request(ErrorKind::Unknown, "This login type is not supported.")),
        None => return Err(missing("type")),
    };
    let device = NewDevice {
        device_id: login.device_id,
        display_name: login.initial_device_display_name,
        refresh: login.refresh_token,
    };
    let tokens = state.accounts.open_session(&user, device).await?;
    Ok(axum::Json(session_json(tokens)))
}

/// What login and registration answer.
pub(super) fn session_json(tokens: Tokens) -> Value {
    let mut answer = json!({
        "user_id": tokens.user_id,
        "device_id": tokens.device_id,
        "access_token": tokens.access_token,
        // Deprecated since r0.4.0; some clients still read it.
        "home_server": tokens.user_id.server_name(),
    });
    if let Some(token) = tokens.refresh_token {
        answer["refresh_token"] = token.into();
    }
    if let Some(lifetime) = tokens.expires_in {
        answer["expires_in_ms"] = (lifetime.as_millis() as u64).into();
    }
    answer
}

/// `POST /v1/login/get_token`
async fn login_token(
    State(state): State<ClientState>,
    Authenticated(session): Authenticated,
    Json(body): Json<Body>,
) -> Result<axum::Json<Value>, ApiError> {
    uia::confirm(&state, &session, "POST /login/get_token", &body).await?;
    let (token, lifetime) = state.accounts.create_login_token(&session.user_id).await?;
    Ok(axum::Json(json!({ "login_token": token, "expires_in_ms": lifetime.as_millis() as u64 })))
}

/// `POST /refresh`
async fn refresh(
    state: ClientState,
    args: Args<refresh_token::v3::Request>,
) -> Result<refresh_token::v3::Response, ApiError> {
    let tokens = state.accounts.refresh(&args.request.refresh_token).await?;
    let mut response = refresh_token::v3::Response::new(tokens.access_token);
    response.refresh_token = tokens.refresh_token;
    response.expires_in_ms = tokens.expires_in;
    Ok(response)
}

/// `POST /logout`
async fn log_out(state: ClientState, args: Args<logout::v3::Request>) -> Result<logout::v3::Response, ApiError> {
    state.accounts.logout(&args.session.user_id, &args.session.device_id).await?;
    Ok(logout::v3::Response::new())
}

/// `POST /logout/all`
async fn log_out_everywhere(
    state: ClientState,
    args: Args<logout_all::v3::Request>,
) -> Result<logout_all::v3::Response, ApiError> {
    state.accounts.logout_all(&args.session.user_id).await?;
    Ok(logout_all::v3::Response::new())
}
