//! [Profiles](https://spec.matrix.org/v1.19/client-server-api/#profiles). Plain handlers: ruma's three types for setting
//! a field share their paths.

use axum::{Router, extract::State, routing::get};
use hearth_accounts::Session;
use hearth_rooms::membership::MemberProfile;
use serde_json::{Map, Value, json};

use super::{own, parts::Path, user_id, v3};
use crate::client::{
    ApiError, ClientState,
    extract::{Anonymous, Authenticated, Json},
};

/// The routes of this part.
pub(super) fn routes() -> Router<ClientState> {
    let field = get(get_field).put(put_field).delete(delete_field);
    let router = v3(Router::new(), "/profile/{user_id}", &get(get_all));
    let router = v3(router, "/profile/{user_id}/{field}", &field);
    router.route("/_matrix/client/unstable/uk.tcpip.msc4133/profile/{user_id}/{field}", field)
}

/// `GET /profile/{userId}`
async fn get_all(
    State(state): State<ClientState>,
    Path(user): Path<String>,
    _: Anonymous,
) -> Result<axum::Json<Value>, ApiError> {
    let profile = state.accounts.profile(&user_id(&user)?).await?;
    Ok(axum::Json(Value::Object(profile.0)))
}

/// `GET /profile/{userId}/{keyName}`
async fn get_field(
    State(state): State<ClientState>,
    Path((user, field)): Path<(String, String)>,
    _: Anonymous,
) -> Result<axum::Json<Value>, ApiError> {
    let mut profile = state.accounts.profile(&user_id(&user)?).await?;
    let value = profile.0.remove(&field);
    let value = value.ok_or_else(|| ApiError::not_found("The profile has no such field."))?;
    Ok(axum::Json(json!({ field: value })))
}

/// `PUT /profile/{userId}/{keyName}`
async fn put_field(
    State(state): State<ClientState>,
    Path((user, field)): Path<(String, String)>,
    Authenticated(session): Authenticated,
    Json(mut body): Json<Map<String, Value>>,
) -> Result<axum::Json<Value>, ApiError> {
    own(&session, &user_id(&user)?)?;
    let value = body.remove(&field).ok_or_else(|| ApiError::missing_param(format!("{field} is missing.")))?;
    set(&state, &session, &field, Some(value)).await
}

/// `DELETE /profile/{userId}/{keyName}`
async fn delete_field(
    State(state): State<ClientState>,
    Path((user, field)): Path<(String, String)>,
    Authenticated(session): Authenticated,
) -> Result<axum::Json<Value>, ApiError> {
    own(&session, &user_id(&user)?)?;
    set(&state, &session, &field, None).await
}

/// Sets a field, and where member events show it, has them rewritten. They are also rewritten where the field already had
/// that value: a client that repeats a request after a failure mends what was left undone.
async fn set(
    state: &ClientState,
    session: &Session,
    field: &str,
    value: Option<Value>,
) -> Result<axum::Json<Value>, ApiError> {
    let (profile, _) = state.accounts.set_profile_field(&session.user_id, field, value).await?;
    if matches!(field, "displayname" | "avatar_url") {
        let member = MemberProfile { displayname: profile.displayname(), avatar_url: profile.avatar_url() };
        state.rooms.update_profile(&session.user_id, &member).await?;
    }
    Ok(axum::Json(json!({})))
}
