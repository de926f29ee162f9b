//! What is wrong with a text that is no event.

use ruma::canonical_json::CanonicalJsonFieldError;

/// Why a text is no event of a room version.
#[derive(Debug, thiserror::Error)]
pub enum PduError {
    /// Not JSON, not canonical JSON (a float, an integer out of range), or a field is missing or of a wrong type.
    #[error("malformed event: {0}")]
    Malformed(String),
    /// Larger than the specification's limits.
    #[error("event exceeds a size limit: {0}")]
    TooLarge(String),
}

impl From<CanonicalJsonFieldError> for PduError {
    fn from(error: CanonicalJsonFieldError) -> Self {
        Self::Malformed(error.to_string())
    }
}

pub(crate) fn malformed(error: impl std::fmt::Display) -> PduError {
    PduError::Malformed(error.to_string())
}
