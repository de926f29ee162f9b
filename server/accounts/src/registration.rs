//! Registration: availability, accounts from user-interactive authentication, shared-secret registration.

use hmac::{Hmac, Mac};
use ruma::OwnedUserId;
use sha1::Sha1;

use crate::{
    AccountError, Accounts, Authorized, NewUser,
    expiry::{Expiring, expire_at},
    keys::{NONCE, REGISTRATION_TOKEN, UIA, USER},
    registration_tokens::release_pending,
    secrets::new_token,
};

/// Longest nonce that is looked up, in bytes.
const NONCE_BYTES: usize = 64;
/// How long a nonce of shared-secret registration is valid, in milliseconds.
const NONCE_MS: u64 = 60_000;

/// A shared-secret registration as the tool sends it.
#[derive(Clone, Copy)]
pub struct SharedSecretRequest<'a> {
    /// Nonce from [`Accounts::registration_nonce`].
    pub nonce: &'a str,
    /// Localpart.
    pub username: &'a str,
    /// Display name to begin with.
    pub displayname: Option<&'a str>,
    /// Password.
    pub password: &'a str,
    /// Administrator of this server.
    pub admin: bool,
    /// Kind of user; only part of what is signed.
    pub user_type: Option<&'a str>,
    /// HMAC-SHA1 in hexadecimal.
    pub mac: &'a str,
}

impl Accounts {
    /// The localpart that a requested user name becomes (upper case is mapped to lower case):
    /// [`AccountError::InvalidUsername`] or [`AccountError::UserInUse`] when it cannot be registered.
    pub async fn check_available(&self, username: &str) -> Result<String, AccountError> {
        let localpart = username.to_lowercase();
        self.check_localpart(&localpart)?;
        match USER.get_snapshot(&self.store.begin(), (&localpart,)).await? {
            Some(_) => Err(AccountError::UserInUse),
            None => Ok(localpart),
        }
    }

    /// Creates the user for whom user-interactive authentication succeeded, and ends its session. One session makes one
    /// account.
    pub async fn register(&self, new: NewUser<'_>, authorized: &Authorized) -> Result<OwnedUserId, AccountError> {
        let user = &self.prepare_user(new).await?;
        let now = self.clock.now();
        self.store
            .transact("accounts.register", |tx| async move {
                match authorized {
                    Authorized::Session(id) => {
                        let session = UIA.get(&tx, (id,)).await?;
                        let session = session.ok_or(AccountError::Forbidden("this session is over"))?;
                        release_pending(&tx, session.registration_token.as_deref(), true).await?;
                        UIA.clear(&tx, (id,));
                    }
                    Authorized::AtOnce { registration_token: Some(token) } => {
                        let record = REGISTRATION_TOKEN.get(&tx, (token,)).await?;
                        let mut record = record
                            .filter(|record| record.valid(now))
                            .ok_or(AccountError::Forbidden("invalid registration token"))?;
                        record.completed += 1;
                        REGISTRATION_TOKEN.set(&tx, (token,), &record);
                    }
                    Authorized::AtOnce { registration_token: None } => {}
                }
                user.write(&tx).await
            })
            .await?;
        self.user_id(&user.localpart)
    }

    /// A nonce for [`Self::register_with_shared_secret`], good for one registration within a minute.
    pub async fn registration_nonce(&self) -> Result<String, AccountError> {
        self.shared_secret()?;
        let nonce = &new_token("hrn");
        let expires = self.clock.now() + NONCE_MS;
        self.store
            .transact("accounts.registration_nonce", |tx| async move {
                NONCE.set(&tx, (nonce,), &expires);
                expire_at(&tx, expires, Expiring::Nonce, nonce);
                Ok::<_, AccountError>(())
            })
            .await?;
        Ok(nonce.clone())
    }

    fn shared_secret(&self) -> Result<&str, AccountError> {
        let secret = self.config.shared_secret.as_deref().filter(|secret| !secret.is_empty());
        secret.ok_or(AccountError::Forbidden("shared-secret registration is not enabled"))
    }

    /// Creates a user for a tool that knows the shared secret. The nonce is used up by the attempt.
    pub async fn register_with_shared_secret(
        &self,
        request: SharedSecretRequest<'_>,
    ) -> Result<OwnedUserId, AccountError> {
        let secret = self.shared_secret()?;
        let (nonce, now) = (request.nonce, self.clock.now());
        if nonce.len() > NONCE_BYTES {
            return Err(AccountError::InvalidParam("unrecognised nonce".into()));
        }
        self.store
            .transact("accounts.use_nonce", |tx| async move {
                let expires = NONCE.get(&tx, (nonce,)).await?;
                NONCE.clear(&tx, (nonce,));
                match expires {
                    Some(expires) if now < expires => Ok(()),
                    _ => Err(AccountError::InvalidParam("unrecognised nonce".into())),
                }
            })
            .await?;
        let mut mac = <Hmac<Sha1> as Mac>::new_from_slice(secret.as_bytes())
            .map_err(|error| AccountError::Internal(error.to_string()))?;
        let admin = if request.admin { "admin" } else { "notadmin" };
        mac.update([request.nonce, request.username, request.password, admin].join("\0").as_bytes());
        if let Some(user_type) = request.user_type {
            mac.update(b"\0");
            mac.update(user_type.as_bytes());
        }
        let given = decode_hex(request.mac).ok_or(AccountError::Forbidden("HMAC incorrect"))?;
        mac.verify_slice(&given).map_err(|_| AccountError::Forbidden("HMAC incorrect"))?;
        let localpart = self.check_available(request.username).await?;
        self.create_user(NewUser {
            localpart: Some(&localpart),
            password: Some(request.password),
            admin: request.admin,
            displayname: request.displayname,
        })
        .await
    }
}

/// Bytes of a hexadecimal text.
fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
#[path = "registration_tests.rs"]
mod tests;
