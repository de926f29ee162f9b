//! The newest log lines.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Query;
use crate::admin::{
    error::AdminError,
    logs::{LogFilter, LogLevel, LogPage},
    state::Admin,
};

/// Which lines to read.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::admin) struct LogQuery {
    /// Only lines at least as grave.
    level: Option<LogLevel>,
    /// Only lines that contain this in text, target or context, in any case.
    text: Option<String>,
    /// The oldest lines after this number, instead of the newest of all.
    after: Option<u64>,
    /// At most so many lines; 500 unless told otherwise, at most 4000.
    #[param(minimum = 1, maximum = 4000)]
    limit: Option<usize>,
}

/// Log lines that the server still has in memory.
#[utoipa::path(get, path = "/logs", tag = "server", params(LogQuery), responses(
    (status = OK, body = LogPage),
    (status = "default", body = AdminError),
))]
pub(super) async fn logs(State(admin): State<Arc<Admin>>, Query(query): Query<LogQuery>) -> Json<LogPage> {
    let filter = LogFilter { level: query.level, text: query.text.filter(|text| !text.is_empty()) };
    let limit = query.limit.unwrap_or(500).clamp(1, 4000);
    Json(match query.after {
        Some(after) => admin.parts.logs.after(after, &filter, limit),
        None => admin.parts.logs.newest(&filter, limit),
    })
}
