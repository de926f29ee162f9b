//! What happens around every request: its id and span, its CORS headers, its figures.

use std::{
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use tracing::Instrument;

use super::{ApiError, ClientState};
use crate::metrics;

/// [CORS](https://spec.matrix.org/v1.19/client-server-api/#web-browser-clients): any page may be a client.
const CORS: [(HeaderName, HeaderValue); 3] = [
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT, DELETE, OPTIONS")),
    (header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("X-Requested-With, Content-Type, Authorization")),
];

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Middleware around the whole client API.
pub(super) async fn observe(State(state): State<ClientState>, request: Request, next: Next) -> Response {
    static NEXT_ID: AtomicU64 = AtomicU64::new(1);
    // Process-wide and counting, so that it is unique in one log.
    let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    // The template, not the path: ids of rooms and users are nobody's business in a log of requests.
    let path = request.extensions().get::<MatchedPath>().map_or("(unknown)", MatchedPath::as_str);
    let span = tracing::info_span!("request", id, method = %request.method(), path, user = tracing::field::Empty);
    let mut response = async {
        let started = Instant::now();
        let response = answer(state, request, next).await;
        let status = response.status().as_u16();
        let milliseconds = started.elapsed().as_secs_f64() * 1e3;
        if response.status().is_server_error() {
            tracing::warn!(status, milliseconds, "answered");
        } else {
            tracing::debug!(status, milliseconds, "answered");
        }
        response
    }
    .instrument(span)
    .await;
    let headers = response.headers_mut();
    for (name, value) in CORS {
        headers.insert(name, value);
    }
    headers.insert(REQUEST_ID, HeaderValue::from(id));
    response
}

async fn answer(state: ClientState, request: Request, next: Next) -> Response {
    if *request.method() == Method::OPTIONS {
        // A browser's question before the request proper: answered for every path, and never handed on.
        return StatusCode::NO_CONTENT.into_response();
    }
    let answer = metrics::track(State(state.metrics.clone()), request, next);
    match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(response) => response,
        Err(_) => ApiError::internal(&Panicked).into_response(),
    }
}

/// A handler panicked: a bug. The panic hook has logged where; one request fails, the server goes on.
#[derive(Debug, thiserror::Error)]
#[error("the handler panicked")]
struct Panicked;
