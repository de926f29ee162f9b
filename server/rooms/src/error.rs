use hearth_store::{AsStoreError, StoreError};

/// What a room operation refuses or fails with.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RoomError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No such room, or the caller may not know of it.
    #[error("room not found")]
    RoomNotFound,
    /// No such event, or the caller may not see it.
    #[error("event not found")]
    EventNotFound,
    /// No such alias.
    #[error("alias not found")]
    AliasNotFound,
    /// The alias is taken.
    #[error("alias is in use")]
    AliasInUse,
    /// The room version is not supported.
    #[error("room version {0} is not supported")]
    UnsupportedRoomVersion(String),
    /// Authorization, history visibility or the caller's rights refuse it.
    #[error("{0}")]
    Forbidden(String),
    /// The request contradicts itself or the room.
    #[error("{0}")]
    BadRequest(String),
    /// A parameter has an invalid value (`M_INVALID_PARAM`).
    #[error("{0}")]
    InvalidParam(String),
    /// The state that a new room would begin with is refused by its own rules (`M_INVALID_ROOM_STATE`).
    #[error("{0}")]
    InvalidRoomState(String),
    /// An alias in `m.room.canonical_alias` does not point to the room (`M_BAD_ALIAS`).
    #[error("{0}")]
    BadAlias(String),
    /// The user annotated the event like this already (`M_DUPLICATE_ANNOTATION`).
    #[error("the event has this annotation of yours already")]
    DuplicateAnnotation,
    /// The event is too large.
    #[error("{0}")]
    TooLarge(String),
    /// A pagination token that this server did not make.
    #[error("invalid pagination token")]
    InvalidToken,
    /// The user is in the wrong state for the membership change (for example already joined).
    #[error("{0}")]
    BadState(String),
    /// Stored data does not parse: damage or a bug.
    #[error("stored data is damaged: {0}")]
    Corrupt(String),
}

impl AsStoreError for RoomError {
    fn as_store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

/// An error of parsing something that this server stored.
pub(crate) fn corrupt(error: impl std::fmt::Display) -> RoomError {
    RoomError::Corrupt(error.to_string())
}
