use hearth_store::{AsStoreError, StoreError};

/// What an account operation refuses or fails with.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No such local user (`M_NOT_FOUND`).
    #[error("user not found")]
    UserNotFound,
    /// No such device of the user (`M_NOT_FOUND`).
    #[error("device not found")]
    DeviceNotFound,
    /// Nothing is stored under that name: a profile field, account data, a filter, a push rule, a registration token
    /// (`M_NOT_FOUND`).
    #[error("{0} not found")]
    NotFound(&'static str),
    /// The user id is taken, or was (`M_USER_IN_USE`).
    #[error("user id is already taken")]
    UserInUse,
    /// Not a localpart of the specification's grammar (`M_INVALID_USERNAME`).
    #[error("{0}")]
    InvalidUsername(&'static str),
    /// The password is too short or too long (`M_WEAK_PASSWORD`).
    #[error("{0}")]
    WeakPassword(&'static str),
    /// The token is not known (any more). With `soft_logout` the session is still there and may be refreshed
    /// (`M_UNKNOWN_TOKEN`).
    #[error("{}", if *soft_logout { "access token has expired" } else { "unknown token" })]
    UnknownToken {
        /// The device still exists: the client keeps its data and refreshes or logs in again.
        soft_logout: bool,
    },
    /// The account was deactivated (`M_USER_DEACTIVATED`).
    #[error("this account has been deactivated")]
    UserDeactivated,
    /// Wrong credentials or not allowed (`M_FORBIDDEN`).
    #[error("{0}")]
    Forbidden(&'static str),
    /// The request contradicts itself (`M_INVALID_PARAM`).
    #[error("{0}")]
    InvalidParam(String),
    /// A name of a profile field is too long (`M_KEY_TOO_LARGE`).
    #[error("the profile field's name is longer than 255 bytes")]
    KeyTooLarge,
    /// The profile would exceed 64 KiB (`M_PROFILE_TOO_LARGE`).
    #[error("the profile would exceed 65536 bytes")]
    ProfileTooLarge,
    /// Content beyond what is stored for one thing (`M_TOO_LARGE`).
    #[error("content of {0} bytes is too large")]
    TooLarge(usize),
    /// Something of this server failed that is neither the caller's nor the store's fault (`M_UNKNOWN`).
    #[error("internal error: {0}")]
    Internal(String),
}

impl AsStoreError for AccountError {
    fn as_store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}
