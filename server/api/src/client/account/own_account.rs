//! A user's own account: who am I, password, deactivation
//! ([account management](https://spec.matrix.org/v1.19/client-server-api/#legacy-account-management)).

use axum::{
    Router,
    extract::State,
    routing::{get, post},
};
use hearth_accounts::check_password_strength;
use hearth_jobs::{JobsError, kinds::DeactivateUser};
use ruma::api::client::account::whoami;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
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
    let router = v3(Router::new(), "/account/password", &post(change_password));
    let router = v3(router, "/account/deactivate", &post(deactivate));
    let router = v3(router, "/account/3pid", &get(third_party_ids));
    route(router, who_am_i)
}

/// `GET /account/whoami`
async fn who_am_i(_: ClientState, args: Args<whoami::v3::Request>) -> Result<whoami::v3::Response, ApiError> {
    let mut response = whoami::v3::Response::new(args.session.user_id, false);
    response.device_id = Some(args.session.device_id);
    Ok(response)
}

/// `GET /account/3pid`: this server binds no third-party ids. Not by ruma's type, which leaves an empty list out.
async fn third_party_ids(_: Authenticated) -> axum::Json<Value> {
    axum::Json(json!({ "threepids": [] }))
}

#[derive(Deserialize)]
struct PasswordChange {
    new_password: String,
    #[serde(default = "yes")]
    logout_devices: bool,
}

fn yes() -> bool {
    true
}

/// `POST /account/password`. Only with an access token: without one, a password is reset by email, and there is none.
async fn change_password(
    State(state): State<ClientState>,
    Authenticated(session): Authenticated,
    Json(body): Json<Body>,
) -> Result<axum::Json<Value>, ApiError> {
    let change: PasswordChange = body.parse()?;
    check_password_strength(&change.new_password)?;
    uia::confirm(&state, &session, "POST /account/password", &body).await?;
    let keep = Some(&*session.device_id);
    state.accounts.set_password(&session.user_id, &change.new_password, change.logout_devices, keep).await?;
    Ok(axum::Json(json!({})))
}

#[derive(Deserialize)]
struct Deactivation {
    #[serde(default)]
    erase: bool,
}

/// `POST /account/deactivate`. The account is closed at once, so that nothing can be done with it any more; a job leaves the
/// rooms.
async fn deactivate(
    State(state): State<ClientState>,
    Authenticated(session): Authenticated,
    Json(body): Json<Body>,
) -> Result<axum::Json<Value>, ApiError> {
    let deactivation: Deactivation = body.parse()?;
    uia::confirm(&state, &session, "POST /account/deactivate", &body).await?;
    state.accounts.deactivate(&session.user_id, deactivation.erase).await?;
    DeactivateUser::enqueue(&state.jobs, session.user_id.as_str()).await.map_err(|error| match error {
        JobsError::Store(error) => ApiError::from(error),
        error => ApiError::internal(&error),
    })?;
    // There are no third-party ids that would have to be unbound.
    Ok(axum::Json(json!({ "id_server_unbind_result": "success" })))
}
