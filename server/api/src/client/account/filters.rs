//! Stored [filters](https://spec.matrix.org/v1.19/client-server-api/#filtering). Plain handlers: what ruma's type does not
//! know is kept for the client.

use axum::{
    Router,
    extract::State,
    routing::{get, post},
};
use ruma::api::client::filter::FilterDefinition;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{own, parts::Path, user_id, v3};
use crate::client::{
    ApiError, ClientState,
    extract::{Authenticated, Json},
};

/// The routes of this part.
pub(super) fn routes() -> Router<ClientState> {
    let router = v3(Router::new(), "/user/{user_id}/filter", &post(create));
    v3(router, "/user/{user_id}/filter/{filter_id}", &get(read))
}

/// `POST /user/{userId}/filter`
async fn create(
    State(state): State<ClientState>,
    Path(user): Path<String>,
    Authenticated(session): Authenticated,
    Json(filter): Json<Value>,
) -> Result<axum::Json<Value>, ApiError> {
    own(&session, &user_id(&user)?)?;
    FilterDefinition::deserialize(&filter).map_err(|error| ApiError::bad_json(error.to_string()))?;
    let id = state.accounts.create_filter(&session.user_id, &filter).await?;
    Ok(axum::Json(json!({ "filter_id": id })))
}

/// `GET /user/{userId}/filter/{filterId}`
async fn read(
    State(state): State<ClientState>,
    Path((user, filter)): Path<(String, String)>,
    Authenticated(session): Authenticated,
) -> Result<axum::Json<Box<RawValue>>, ApiError> {
    own(&session, &user_id(&user)?)?;
    Ok(axum::Json(state.accounts.filter(&session.user_id, &filter).await?))
}
