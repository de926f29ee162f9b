//! Registration: availability, registration tokens, shared-secret registration.

use crate::{AccountError, Accounts};

/// A [registration token](https://spec.matrix.org/v1.19/client-server-api/#token-authenticated-registration).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrationToken {
    /// The token.
    pub token: String,
    /// How many registrations it allows; `None` is any number.
    pub uses_allowed: Option<u64>,
    /// Registrations that have passed the token's stage but are not complete.
    pub pending: u64,
    /// Complete registrations.
    pub completed: u64,
    /// When it expires, milliseconds since 1970.
    pub expires_ts: Option<u64>,
    /// When it was made, milliseconds since 1970.
    pub created_ts: u64,
}

impl Accounts {
    /// Whether `localpart` can be registered: [`AccountError::InvalidUsername`] or [`AccountError::UserInUse`] if not.
    pub async fn check_available(&self, localpart: &str) -> Result<(), AccountError> {
        let _ = localpart;
        todo!()
    }

    /// Makes a registration token; `None` makes its text up.
    pub async fn create_registration_token(
        &self,
        token: Option<&str>,
        uses_allowed: Option<u64>,
        expires_ts: Option<u64>,
    ) -> Result<RegistrationToken, AccountError> {
        let _ = (token, uses_allowed, expires_ts);
        todo!()
    }

    /// All stored registration tokens (the configured one is not among them).
    pub async fn registration_tokens(&self) -> Result<Vec<RegistrationToken>, AccountError> {
        todo!()
    }

    /// Deletes a registration token.
    pub async fn delete_registration_token(&self, token: &str) -> Result<(), AccountError> {
        let _ = token;
        todo!()
    }

    /// Whether the token would pass the stage `m.login.registration_token` now.
    pub async fn registration_token_valid(&self, token: &str) -> Result<bool, AccountError> {
        let _ = token;
        todo!()
    }
}
