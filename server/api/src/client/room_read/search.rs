//! [`POST /search`](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3search).

use axum::{
    Router,
    extract::{Query, State, rejection::QueryRejection},
    routing::post,
};
use hearth_rooms::search::{SearchPage, SearchRequest};
use serde::{Deserialize, Serialize};

use super::{ignored, reader};
use crate::client::{
    ApiError, ClientState,
    extract::{Authenticated, Json},
};

pub(super) fn routes() -> Router<ClientState> {
    ["v3", "r0"]
        .into_iter()
        .fold(Router::new(), |router, version| router.route(&format!("/_matrix/client/{version}/search"), post(search)))
}

#[derive(Deserialize)]
struct Place {
    next_batch: Option<String>,
}

#[derive(Deserialize)]
struct Request {
    search_categories: Categories<SearchRequest>,
}

#[derive(Serialize)]
struct Response {
    search_categories: Categories<SearchPage>,
}

#[derive(Deserialize, Serialize)]
struct Categories<T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    room_events: Option<T>,
}

/// Not by ruma's types, which do not tell whether context was asked for and know the filter in part.
async fn search(
    State(state): State<ClientState>,
    Authenticated(session): Authenticated,
    place: Result<Query<Place>, QueryRejection>,
    Json(request): Json<Request>,
) -> Result<axum::Json<Response>, ApiError> {
    let Query(place) = place.map_err(|error| ApiError::invalid_param(error.to_string()))?;
    let room_events = match request.search_categories.room_events {
        Some(request) => {
            let ignored = ignored(&state, &session).await?;
            let reader = reader(&session).ignoring(&ignored);
            Some(state.rooms.search(&reader, &request, place.next_batch.as_deref()).await?)
        }
        None => None,
    };
    Ok(axum::Json(Response { search_categories: Categories { room_events } }))
}
