//! [Registration tokens](https://spec.matrix.org/v1.19/client-server-api/#token-authenticated-registration).

use hearth_store::Transaction;
use subtle::ConstantTimeEq;

use crate::{
    AccountError, Accounts,
    keys::REGISTRATION_TOKEN,
    records::RegistrationTokenRecord,
    secrets::{digest, new_id},
};

/// Longest registration token, in characters.
const TOKEN_CHARACTERS: usize = 64;

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

impl RegistrationToken {
    fn new(token: String, record: &RegistrationTokenRecord) -> Self {
        let RegistrationTokenRecord { uses_allowed, pending, completed, expires_ts, created_ts } = *record;
        Self { token, uses_allowed, pending, completed, expires_ts, created_ts }
    }
}

/// A session that counted as pending for `token` ended; `completed` when an account came of it. A token that was deleted
/// meanwhile is passed over.
pub(crate) async fn release_pending(
    tx: &Transaction,
    token: Option<&str>,
    completed: bool,
) -> Result<(), AccountError> {
    if let Some(token) = token
        && let Some(mut record) = REGISTRATION_TOKEN.get(tx, (token,)).await?
    {
        record.pending = record.pending.saturating_sub(1);
        record.completed += u64::from(completed);
        REGISTRATION_TOKEN.set(tx, (token,), &record);
    }
    Ok(())
}

impl Accounts {
    /// Makes a registration token; `None` makes its text up.
    pub async fn create_registration_token(
        &self,
        token: Option<&str>,
        uses_allowed: Option<u64>,
        expires_ts: Option<u64>,
    ) -> Result<RegistrationToken, AccountError> {
        let token = &token.map_or_else(|| new_id(16), str::to_owned);
        let opaque = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
        if token.is_empty() || token.len() > TOKEN_CHARACTERS || !token.chars().all(opaque) {
            return Err(AccountError::InvalidParam(
                "a registration token has 1 to 64 characters of A-Z, a-z, 0-9, and - . _ ~".into(),
            ));
        }
        let now = self.clock.now();
        if expires_ts.is_some_and(|expires| expires <= now) {
            return Err(AccountError::InvalidParam("the time of expiry has passed".into()));
        }
        let record = &RegistrationTokenRecord { uses_allowed, pending: 0, completed: 0, expires_ts, created_ts: now };
        self.store
            .transact("accounts.create_registration_token", |tx| async move {
                if REGISTRATION_TOKEN.get(&tx, (token,)).await?.is_some() {
                    return Err(AccountError::InvalidParam("there is such a registration token already".into()));
                }
                REGISTRATION_TOKEN.set(&tx, (token,), record);
                Ok(())
            })
            .await?;
        Ok(RegistrationToken::new(token.clone(), record))
    }

    /// All stored registration tokens (the configured one is not among them).
    pub async fn registration_tokens(&self) -> Result<Vec<RegistrationToken>, AccountError> {
        let tokens = REGISTRATION_TOKEN.scan(()).snapshot().all(&self.store.begin()).await?;
        Ok(tokens.into_iter().map(|((token,), record)| RegistrationToken::new(token, &record)).collect())
    }

    /// Deletes a registration token.
    pub async fn delete_registration_token(&self, token: &str) -> Result<(), AccountError> {
        self.store
            .transact("accounts.delete_registration_token", |tx| async move {
                if token.len() > TOKEN_CHARACTERS || REGISTRATION_TOKEN.get(&tx, (token,)).await?.is_none() {
                    return Err(AccountError::NotFound("registration token"));
                }
                REGISTRATION_TOKEN.clear(&tx, (token,));
                Ok(())
            })
            .await
    }

    /// Whether the token would pass the stage `m.login.registration_token` now.
    pub async fn registration_token_valid(&self, token: &str) -> Result<bool, AccountError> {
        if self.is_configured_token(token) {
            return Ok(true);
        }
        if token.len() > TOKEN_CHARACTERS {
            return Ok(false);
        }
        let record = REGISTRATION_TOKEN.get_snapshot(&self.store.begin(), (token,)).await?;
        Ok(record.is_some_and(|record| record.valid(self.clock.now())))
    }

    /// Whether it is the registration token of the configuration.
    pub(crate) fn is_configured_token(&self, token: &str) -> bool {
        let configured = self.config.registration_token.as_ref();
        configured.is_some_and(|configured| digest(configured).as_bytes().ct_eq(digest(token).as_bytes()).into())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::accounts::tests::accounts_with;

    #[tokio::test]
    async fn tokens() {
        let accounts = accounts_with(|config| config.registration_token = Some("from the file".into()));
        let made = accounts.create_registration_token(Some("abc-1._~"), Some(2), None).await.unwrap();
        assert_eq!((made.pending, made.completed, made.uses_allowed), (0, 0, Some(2)));
        let soon = accounts.clock.now() + 1000;
        let expiring = accounts.create_registration_token(None, None, Some(soon)).await.unwrap();
        for (token, valid) in [
            ("abc-1._~", true),
            (&*expiring.token, true),
            ("from the file", true),
            ("unknown", false),
            ("", false),
            (&"x".repeat(70_000), false),
        ] {
            assert_eq!(accounts.registration_token_valid(token).await.unwrap(), valid, "{token}");
        }
        for bad in ["", "a b", "ä", &"x".repeat(65), "abc-1._~"] {
            assert!(accounts.create_registration_token(Some(bad), None, None).await.is_err(), "{bad}");
        }
        assert!(accounts.create_registration_token(None, None, Some(1)).await.is_err());
        assert_eq!(accounts.registration_tokens().await.unwrap().len(), 2);
        accounts.clock.advance(Duration::from_secs(1));
        assert!(!accounts.registration_token_valid(&expiring.token).await.unwrap());
        accounts.delete_registration_token(&expiring.token).await.unwrap();
        assert!(matches!(accounts.delete_registration_token(&expiring.token).await, Err(AccountError::NotFound(_))));
    }
}
