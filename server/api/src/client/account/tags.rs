//! [Tags](https://spec.matrix.org/v1.19/client-server-api/#room-tagging) of rooms. Plain handlers: ruma's type of a tag
//! keeps nothing but its order.

use axum::{
    Router,
    extract::State,
    routing::{get, put},
};
use serde_json::{Map, Value, json};

use super::{own, parts::Path, room_id, user_id, v3};
use crate::client::{
    ApiError, ClientState,
    extract::{Authenticated, Json},
};

/// The routes of this part.
pub(super) fn routes() -> Router<ClientState> {
    let router = v3(Router::new(), "/user/{user_id}/rooms/{room_id}/tags", &get(get_all));
    v3(router, "/user/{user_id}/rooms/{room_id}/tags/{tag}", &put(put_tag).delete(delete_tag))
}

/// `GET /user/{userId}/rooms/{roomId}/tags`
async fn get_all(
    State(state): State<ClientState>,
    Path((user, room)): Path<(String, String)>,
    Authenticated(session): Authenticated,
) -> Result<axum::Json<Value>, ApiError> {
    own(&session, &user_id(&user)?)?;
    let tags = state.accounts.tags(&session.user_id, room_id(&room)?).await?;
    Ok(axum::Json(json!({ "tags": tags })))
}

/// `PUT /user/{userId}/rooms/{roomId}/tags/{tag}`
async fn put_tag(
    State(state): State<ClientState>,
    Path((user, room, tag)): Path<(String, String, String)>,
    Authenticated(session): Authenticated,
    Json(mut info): Json<Map<String, Value>>,
) -> Result<axum::Json<Value>, ApiError> {
    own(&session, &user_id(&user)?)?;
    match info.get("order") {
        None | Some(Value::Number(_)) => {}
        Some(Value::Null) => drop(info.remove("order")),
        // Some clients write the number as text.
        Some(Value::String(text)) => {
            let order: Option<f64> = text.parse().ok().filter(|order: &f64| order.is_finite());
            let order = order.ok_or_else(|| ApiError::bad_json("order must be a number."))?;
            info.insert("order".to_owned(), order.into());
        }
        Some(_) => return Err(ApiError::bad_json("order must be a number.")),
    }
    state.accounts.set_tag(&session.user_id, room_id(&room)?, &tag, Some(info)).await?;
    Ok(axum::Json(json!({})))
}

/// `DELETE /user/{userId}/rooms/{roomId}/tags/{tag}`
async fn delete_tag(
    State(state): State<ClientState>,
    Path((user, room, tag)): Path<(String, String, String)>,
    Authenticated(session): Authenticated,
) -> Result<axum::Json<Value>, ApiError> {
    own(&session, &user_id(&user)?)?;
    state.accounts.set_tag(&session.user_id, room_id(&room)?, &tag, None).await?;
    Ok(axum::Json(json!({})))
}
