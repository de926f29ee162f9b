//! What the admin API answers when it cannot do what was asked.

use axum::{
    Json,
    extract::rejection::{JsonRejection, PathRejection, QueryRejection},
    response::{IntoResponse, Response},
};
use hearth_store::StoreError;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error_chain::Chain;

/// The kinds of failure, for programs. Each belongs to one HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ErrorCode {
    /// The bearer token is missing or wrong (401).
    Unauthorized,
    /// The request names a host or an origin that this listener does not answer (403).
    Forbidden,
    /// What the request names does not exist (404).
    NotFound,
    /// The path exists, the method does not (405).
    MethodNotAllowed,
    /// The request cannot be understood or breaks a rule (400).
    Invalid,
    /// The request contradicts what is there, such as a name that is taken (409).
    Conflict,
    /// A limit on simultaneous use is reached (503).
    Busy,
    /// The database does not answer now (503).
    Unavailable,
    /// The server failed (500). Its log says why.
    Internal,
}

impl ErrorCode {
    fn status(self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Invalid => StatusCode::BAD_REQUEST,
            Self::Conflict => StatusCode::CONFLICT,
            Self::Busy | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{message}")]
#[schema(as = Error)]
pub(super) struct AdminError {
    /// The kind of failure, for programs.
    pub code: ErrorCode,
    /// One sentence for people.
    pub message: String,
    /// The field of the request that is wrong, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

impl AdminError {
    /// An error of this kind with a sentence for people.
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), field: None }
    }

    /// 404 for something that was named.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }

    /// 400 that names the field of the request that is wrong.
    pub(super) fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self { field: Some(field.to_owned()), ..Self::new(ErrorCode::Invalid, message) }
    }

    /// 409 that names the field of the request that is taken.
    pub(super) fn conflict(field: &str, message: impl Into<String>) -> Self {
        Self { field: Some(field.to_owned()), ..Self::new(ErrorCode::Conflict, message) }
    }

    /// 500: the cause goes to the log and not to the caller.
    pub(super) fn internal(cause: &dyn std::error::Error) -> Self {
        tracing::error!(error = %Chain(cause), "an admin request failed");
        Self::new(ErrorCode::Internal, "The server could not do this. Its log says why.")
    }
}

impl IntoResponse for AdminError {
    fn into_response(self) -> Response {
        (self.code.status(), Json(self)).into_response()
    }
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => {
                tracing::debug!(error = %Chain(&error), "an admin request failed");
                Self::new(ErrorCode::Unavailable, "The database does not answer now.")
            }
            error => Self::internal(&error),
        }
    }
}

impl From<JsonRejection> for AdminError {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(ErrorCode::Invalid, rejection.body_text())
    }
}

impl From<QueryRejection> for AdminError {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(ErrorCode::Invalid, rejection.body_text())
    }
}

impl From<PathRejection> for AdminError {
    fn from(rejection: PathRejection) -> Self {
        Self::new(ErrorCode::Invalid, rejection.body_text())
    }
}
