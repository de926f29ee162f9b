//! What the whole server is doing.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::admin::{error::AdminError, figures::Overview, state::Admin};

/// How one route of the server was used since the start.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(in crate::admin) struct RouteFigures {
    /// HTTP method.
    pub method: String,
    /// Path pattern.
    pub path: String,
    /// Answered requests.
    pub count: u64,
    /// Of these, answered with a 5xx status.
    pub server_errors: u64,
    /// Mean time to the answer in milliseconds; long polls count the time they waited.
    pub mean_ms: f64,
    /// The longest such time.
    pub slowest_ms: f64,
}

/// How full one of the server's caches is and how well it serves.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(in crate::admin) struct CacheFigures {
    /// What it holds.
    pub name: String,
    /// Entries held.
    pub entries: u64,
    /// Their weight: bytes in `events`, entries in the others.
    pub weight: u64,
    /// The bound of the weight.
    pub capacity: u64,
    /// Lookups that found their entry, since the start.
    pub hits: u64,
    /// Lookups that did not.
    pub misses: u64,
}

/// A reading of the whole server.
#[utoipa::path(get, path = "/overview", tag = "server", responses(
    (status = OK, body = Overview),
    (status = "default", body = AdminError),
))]
pub(super) async fn overview(State(admin): State<Arc<Admin>>) -> Result<Json<Overview>, AdminError> {
    admin.figures.read().await.map(Json)
}

/// How the server's routes were used, the most used first.
#[utoipa::path(get, path = "/routes", tag = "server", responses(
    (status = OK, body = Vec<RouteFigures>),
    (status = "default", body = AdminError),
))]
pub(super) async fn routes(State(admin): State<Arc<Admin>>) -> Json<Vec<RouteFigures>> {
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    let figures = admin.parts.metrics.routes().into_iter().map(|(route, stats)| RouteFigures {
        method: route.method.to_owned(),
        path: route.path,
        count: stats.count,
        server_errors: stats.server_errors,
        mean_ms: millis(stats.total) / stats.count.max(1) as f64,
        slowest_ms: millis(stats.slowest),
    });
    Json(figures.collect())
}

/// The server's caches.
#[utoipa::path(get, path = "/caches", tag = "server", responses(
    (status = OK, body = Vec<CacheFigures>),
    (status = "default", body = AdminError),
))]
pub(in crate::admin) async fn caches(State(admin): State<Arc<Admin>>) -> Json<Vec<CacheFigures>> {
    let figures = admin.parts.rooms.cache_stats().into_iter().map(|(name, stats)| CacheFigures {
        name: name.to_owned(),
        entries: stats.entries,
        weight: stats.weight,
        capacity: stats.capacity,
        hits: stats.hits,
        misses: stats.misses,
    });
    Json(figures.collect())
}
