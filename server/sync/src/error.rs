use hearth_accounts::AccountError;
use hearth_rooms::RoomError;
use hearth_store::{AsStoreError, StoreError};
use hearth_transitory::TransitoryError;

/// What a sync refuses or fails with.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The Rooms database failed.
    #[error(transparent)]
    Rooms(RoomError),
    /// The Accounts database failed.
    #[error(transparent)]
    Accounts(AccountError),
    /// The Transitory database failed.
    #[error(transparent)]
    Transitory(TransitoryError),
    /// `since` is not a token that this server made (`M_INVALID_PARAM`).
    #[error("the sync token is not one of this server")]
    UnknownPosition,
    /// The filter is not valid, or not there (`M_INVALID_PARAM`).
    #[error("{0}")]
    BadFilter(String),
    /// Another parameter is not valid (`M_INVALID_PARAM`).
    #[error("{0}")]
    BadParameter(String),
    /// The user is not in the room, or asks for somebody else's business (`M_FORBIDDEN`).
    #[error("{0}")]
    Forbidden(&'static str),
    /// There is no such presence (`M_NOT_FOUND`).
    #[error("{0}")]
    NotFound(&'static str),
    /// More requests wait than the server has room for.
    #[error("too many requests are waiting")]
    TooManyWaiting,
}

impl AsStoreError for SyncError {
    fn as_store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

/// A store's failure stays one, whichever database passed it on.
macro_rules! from_database_error {
    ($($variant:ident($error:ident)),*) => {$(
        impl From<$error> for SyncError {
            fn from(error: $error) -> Self {
                match error {
                    $error::Store(error) => Self::Store(error),
                    error => Self::$variant(error),
                }
            }
        }
    )*};
}
from_database_error!(Rooms(RoomError), Accounts(AccountError), Transitory(TransitoryError));
