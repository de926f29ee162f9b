//! What the client API answers when it does not do what was asked: the
//! [standard error response](https://spec.matrix.org/v1.19/client-server-api/#standard-error-response).
//!
//! The one place where the errors of the databases become Matrix codes and HTTP statuses.

use std::{error::Error, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use hearth_accounts::AccountError;
use hearth_rooms::RoomError;
use hearth_store::StoreError;
use hearth_sync::SyncError;
use hearth_transitory::TransitoryError;
use http::{HeaderValue, StatusCode, header};
use ruma::api::{
    client::uiaa::UiaaInfo,
    error::{ErrorBody, ErrorKind, LimitExceededErrorData, RetryAfter, StandardErrorBody, UnknownTokenErrorData},
};

use crate::error_chain::Chain;

/// A refusal or a failure, ready to be sent.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    body: Answer,
    retry_after: Option<Duration>,
}

#[derive(Debug)]
enum Answer {
    Standard(Box<StandardErrorBody>),
    /// A code that ruma does not know, and the sentence.
    Custom(&'static str, String),
    /// Interactive authentication goes on; not a failure, but sent as one.
    Interactive(Box<UiaaInfo>),
}

impl ApiError {
    /// An error with this status, code and sentence.
    pub fn new(status: StatusCode, kind: ErrorKind, message: impl Into<String>) -> Self {
        let body = StandardErrorBody::new(kind, message.into());
        Self { status, body: Answer::Standard(Box::new(body)), retry_after: None }
    }

    /// An error with a code that ruma's [`ErrorKind`] does not know.
    pub fn custom(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, body: Answer::Custom(code, message.into()), retry_after: None }
    }

    /// 400 with this code.
    pub fn bad_request(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, kind, message)
    }

    /// 400 `M_BAD_JSON`
    pub fn bad_json(message: impl Into<String>) -> Self {
        Self::bad_request(ErrorKind::BadJson, message)
    }

    /// 400 `M_NOT_JSON`
    pub fn not_json(message: impl Into<String>) -> Self {
        Self::bad_request(ErrorKind::NotJson, message)
    }

    /// 400 `M_INVALID_PARAM`
    pub fn invalid_param(message: impl Into<String>) -> Self {
        Self::bad_request(ErrorKind::InvalidParam, message)
    }

    /// 400 `M_MISSING_PARAM`
    pub fn missing_param(message: impl Into<String>) -> Self {
        Self::bad_request(ErrorKind::MissingParam, message)
    }

    /// 403 `M_FORBIDDEN`
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, ErrorKind::Forbidden, message)
    }

    /// 404 `M_NOT_FOUND`
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorKind::NotFound, message)
    }

    /// 413 `M_TOO_LARGE`
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorKind::TooLarge, message)
    }

    /// 401 `M_MISSING_TOKEN`
    pub fn missing_token() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, ErrorKind::MissingToken, "No access token was given.")
    }

    /// 401 `M_UNKNOWN_TOKEN`. After a [soft logout](https://spec.matrix.org/v1.19/client-server-api/#soft-logout)
    /// the client may log in again and keep its device.
    pub fn unknown_token(soft_logout: bool) -> Self {
        let mut data = UnknownTokenErrorData::new();
        data.soft_logout = soft_logout;
        let message = if soft_logout { "The access token has expired." } else { "The access token is not known." };
        Self::new(StatusCode::UNAUTHORIZED, ErrorKind::UnknownToken(data), message)
    }

    /// 429 `M_LIMIT_EXCEEDED`
    pub fn limit_exceeded(wait: Duration) -> Self {
        // Rounded up to what the field can say: a client that waits exactly so long must pass.
        let wait = Duration::from_millis(wait.as_nanos().div_ceil(1_000_000) as u64);
        let mut data = LimitExceededErrorData::new();
        data.retry_after = Some(RetryAfter::Delay(wait));
        let kind = ErrorKind::LimitExceeded(data);
        Self {
            retry_after: Some(wait),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, kind, "Too many requests. Try again later.")
        }
    }

    /// 404 `M_UNRECOGNIZED`: no such endpoint.
    pub fn unrecognized() -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorKind::Unrecognized, "This server has no such endpoint.")
    }

    /// 405 `M_UNRECOGNIZED`: the endpoint exists with other methods.
    pub fn wrong_method() -> Self {
        let message = "This endpoint does not answer that method.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, ErrorKind::Unrecognized, message)
    }

    /// 401 with the state of the [user-interactive
    /// authentication](https://spec.matrix.org/v1.19/client-server-api/#user-interactive-authentication-api).
    pub fn interactive(state: UiaaInfo) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, body: Answer::Interactive(Box::new(state)), retry_after: None }
    }

    /// 503 `M_UNKNOWN`: the same request may succeed soon.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self {
            retry_after: Some(Duration::from_secs(1)),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorKind::Unknown, message)
        }
    }

    /// 500 `M_UNKNOWN`. The cause goes to the log, inside the request's span, and not to the client.
    pub fn internal(cause: &dyn Error) -> Self {
        tracing::error!(error = %Chain(cause), "the request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorKind::Unknown, "The server failed. Its log says why.")
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The Matrix code, if ruma knows it; `None` while interactive authentication goes on.
    pub fn kind(&self) -> Option<&ErrorKind> {
        match &self.body {
            Answer::Standard(body) => Some(&body.kind),
            Answer::Custom(..) | Answer::Interactive(_) => None,
        }
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.body {
            Answer::Standard(body) => write!(f, "{} {}: {}", self.status.as_u16(), body.kind.errcode(), body.message),
            Answer::Custom(code, message) => write!(f, "{} {code}: {message}", self.status.as_u16()),
            Answer::Interactive(_) => write!(f, "{} interactive authentication", self.status.as_u16()),
        }
    }
}

impl Error for ApiError {}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = match &self.body {
            Answer::Standard(body) => serde_json::to_vec(body),
            Answer::Custom(code, message) => {
                serde_json::to_vec(&serde_json::json!({ "errcode": code, "error": message }))
            }
            Answer::Interactive(state) => serde_json::to_vec(state),
        };
        // Both are plain structs of strings; should one ever fail, the client still gets a code.
        let body = body.unwrap_or_else(|_| br#"{"errcode":"M_UNKNOWN","error":"The server failed."}"#.to_vec());
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(wait) = self.retry_after {
            // Whole seconds, rounded up for the same reason as above.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// For handlers that build a ruma error.
impl From<ruma::api::error::Error> for ApiError {
    fn from(error: ruma::api::error::Error) -> Self {
        match error.body {
            ErrorBody::Standard(body) => {
                Self { status: error.status_code, body: Answer::Standard(Box::new(body)), retry_after: None }
            }
            _ => Self::internal(&error),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict | StoreError::TransactionTooOld => {
                tracing::warn!(%error, "gave up on a transaction");
                Self::unavailable("The server is busy. Try again.")
            }
            StoreError::Unavailable(_) => {
                tracing::warn!(%error, "the database does not answer");
                Self::unavailable("The server's database does not answer. Try again.")
            }
            StoreError::Closed => Self::unavailable("The server is stopping."),
            StoreError::TransactionTooLarge { .. } | StoreError::ValueTooLarge { .. } => {
                Self::too_large("This is more than the server can store at once.")
            }
            // Keys hold what the client named: an id or a key that is too long.
            StoreError::KeyTooLarge { .. } => Self::invalid_param("An identifier is too long."),
            _ => Self::internal(&error),
        }
    }
}

impl From<RoomError> for ApiError {
    fn from(error: RoomError) -> Self {
        let message = error.to_string();
        match error {
            RoomError::Store(error) => error.into(),
            RoomError::RoomNotFound | RoomError::EventNotFound | RoomError::AliasNotFound => Self::not_found(message),
            RoomError::AliasInUse => Self::new(StatusCode::CONFLICT, ErrorKind::Unknown, message),
            RoomError::UnsupportedRoomVersion(_) => Self::bad_request(ErrorKind::UnsupportedRoomVersion, message),
            RoomError::Forbidden(_) => Self::forbidden(message),
            RoomError::BadRequest(_) => Self::bad_json(message),
            RoomError::InvalidParam(_) | RoomError::InvalidToken => Self::invalid_param(message),
            RoomError::InvalidRoomState(_) => Self::bad_request(ErrorKind::InvalidRoomState, message),
            RoomError::BadAlias(_) => Self::bad_request(ErrorKind::BadAlias, message),
            RoomError::DuplicateAnnotation => Self::bad_request(ErrorKind::DuplicateAnnotation, message),
            RoomError::TooLarge(_) => Self::too_large(message),
            RoomError::BadState(_) => Self::bad_request(ErrorKind::BadState, message),
            RoomError::Corrupt(_) => Self::internal(&error),
        }
    }
}

impl From<AccountError> for ApiError {
    fn from(error: AccountError) -> Self {
        let message = error.to_string();
        match error {
            AccountError::Store(error) => error.into(),
            AccountError::UserNotFound | AccountError::DeviceNotFound | AccountError::NotFound(_) => {
                Self::not_found(message)
            }
            AccountError::UserInUse => Self::bad_request(ErrorKind::UserInUse, message),
            AccountError::InvalidUsername(_) => Self::bad_request(ErrorKind::InvalidUsername, message),
            AccountError::WeakPassword(_) => Self::bad_request(ErrorKind::WeakPassword, message),
            AccountError::UnknownToken { soft_logout } => Self::unknown_token(soft_logout),
            AccountError::UserDeactivated => Self::new(StatusCode::FORBIDDEN, ErrorKind::UserDeactivated, message),
            AccountError::Forbidden(_) => Self::forbidden(message),
            AccountError::InvalidParam(_) => Self::invalid_param(message),
            AccountError::KeyTooLarge => Self::custom(StatusCode::BAD_REQUEST, "M_KEY_TOO_LARGE", message),
            AccountError::ProfileTooLarge => Self::custom(StatusCode::BAD_REQUEST, "M_PROFILE_TOO_LARGE", message),
            AccountError::TooLarge(_) => Self::too_large(message),
            AccountError::Internal(_) => Self::internal(&error),
        }
    }
}

impl From<TransitoryError> for ApiError {
    fn from(error: TransitoryError) -> Self {
        match error {
            TransitoryError::Store(error) => error.into(),
            TransitoryError::Corrupt(_) => Self::internal(&error),
        }
    }
}

impl From<SyncError> for ApiError {
    fn from(error: SyncError) -> Self {
        let message = error.to_string();
        match error {
            SyncError::Store(error) => error.into(),
            SyncError::Rooms(error) => error.into(),
            SyncError::Accounts(error) => error.into(),
            SyncError::Transitory(error) => error.into(),
            SyncError::UnknownPosition | SyncError::BadFilter(_) | SyncError::BadParameter(_) => {
                Self::invalid_param(message)
            }
            SyncError::Forbidden(_) => Self::forbidden(message),
            SyncError::NotFound(_) => Self::not_found(message),
            SyncError::TooManyWaiting => Self::unavailable(message),
        }
    }
}
