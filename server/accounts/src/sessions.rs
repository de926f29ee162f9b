//! Sessions: access tokens, refresh tokens, login tokens
//! ([client authentication](https://spec.matrix.org/v1.19/client-server-api/#client-authentication)).
//!
//! A login that asks for refreshing gets a pair of an access and a refresh token. Refreshing makes a new pair whose
//! *parent* is the old refresh token. Both pairs are valid until the new one is used for the first time: only then is it
//! certain that the client has it, and the old pair is removed.

use std::time::Duration;

use hearth_store::Transaction;
use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};

use crate::{
    AccountError, Accounts,
    devices::{check_device_name, clear_device, clear_tokens},
    expiry::{Expiring, expire_at},
    keys::{DEVICE, DEVICE_TOKEN, LOGIN_TOKEN, TOKEN, USER},
    passwords::Verdict,
    records::{DeviceRecord, LoginTokenRecord, TokenKind, TokenRecord, UserRecord},
    secrets::{digest, new_token},
};

/// How long a login token is valid; the value that the specification recommends.
const LOGIN_TOKEN_LIFETIME: Duration = Duration::from_mins(2);
/// Longest device id, in bytes: that of the grammar of opaque identifiers.
const DEVICE_ID_BYTES: usize = 255;

/// Who makes a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The user.
    pub user_id: OwnedUserId,
    /// The device whose access token it is.
    pub device_id: OwnedDeviceId,
    /// The user is an administrator of this server.
    pub admin: bool,
}

/// What a login asks for.
#[derive(Debug, Clone, Default)]
pub struct NewDevice {
    /// Take (over) this device; `None` makes an id up.
    pub device_id: Option<OwnedDeviceId>,
    /// Name of a device that is new.
    pub display_name: Option<String>,
    /// The client refreshes: the access token expires and comes with a refresh token.
    pub refresh: bool,
}

/// What a login or a refresh gives.
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens {
    /// The user.
    pub user_id: OwnedUserId,
    /// The device.
    pub device_id: OwnedDeviceId,
    /// Access token.
    pub access_token: String,
    /// Refresh token, where one was asked for.
    pub refresh_token: Option<String>,
    /// How long the access token is valid, where that is limited.
    pub expires_in: Option<Duration>,
}

impl std::fmt::Debug for Tokens {
    /// Without the tokens.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens")
            .field("user_id", &self.user_id)
            .field("device_id", &self.device_id)
            .field("expires_in", &self.expires_in)
            .finish_non_exhaustive()
    }
}

/// Tokens made up outside a transaction, so that a retry writes the same ones.
struct Pair {
    access: String,
    access_expires_ts: Option<u64>,
    refresh: Option<(String, u64)>,
}

impl Pair {
    /// Writes both down; with `parent`, as the replacement of that refresh token.
    fn write(&self, tx: &Transaction, user: &str, device: &str, parent: Option<&str>) {
        let access = digest(&self.access);
        let refresh = self.refresh.as_ref().map(|(token, expires)| (digest(token), *expires));
        let record = |kind, expires_ts, pair| TokenRecord {
            user: user.to_owned(),
            device: device.to_owned(),
            kind,
            expires_ts,
            pair,
            parent: parent.map(str::to_owned),
            child: None,
        };
        let hash = refresh.as_ref().map(|(hash, _)| hash.clone());
        TOKEN.set(tx, (&access,), &record(TokenKind::Access, self.access_expires_ts, hash));
        DEVICE_TOKEN.set(tx, (user, device, &access), &());
        if let Some((refresh, expires)) = refresh {
            TOKEN.set(tx, (&refresh,), &record(TokenKind::Refresh, Some(expires), Some(access)));
            DEVICE_TOKEN.set(tx, (user, device, &refresh), &());
        }
    }
}

/// Removes one token.
fn clear_token(tx: &Transaction, record: &TokenRecord, hash: &str) {
    TOKEN.clear(tx, (hash,));
    DEVICE_TOKEN.clear(tx, (&record.user, &record.device, hash));
}

/// Removes a refresh token with the access token that was issued beside it.
async fn clear_pair(tx: &Transaction, refresh: &str) -> Result<(), AccountError> {
    if let Some(record) = TOKEN.get(tx, (refresh,)).await? {
        if let Some(access) = &record.pair {
            clear_token(tx, &record, access);
        }
        clear_token(tx, &record, refresh);
    }
    Ok(())
}

/// The first use of a pair: what it replaced ends. `record` is either of the pair, stored at `hash`.
async fn confirm(tx: &Transaction, hash: &str, record: &mut TokenRecord) -> Result<(), AccountError> {
    let Some(parent) = record.parent.take() else { return Ok(()) };
    clear_pair(tx, &parent).await?;
    TOKEN.set(tx, (hash,), record);
    if let Some(other) = &record.pair
        && let Some(mut other_record) = TOKEN.get(tx, (other,)).await?
    {
        other_record.parent = None;
        TOKEN.set(tx, (other,), &other_record);
    }
    Ok(())
}

/// The account, unless it was deactivated.
pub(crate) async fn active_user(tx: &Transaction, user: &str) -> Result<UserRecord, AccountError> {
    let record = USER.get(tx, (user,)).await?.ok_or(AccountError::UserNotFound)?;
    if record.deactivated { Err(AccountError::UserDeactivated) } else { Ok(record) }
}

impl Accounts {
    /// The session of an access token; [`AccountError::UnknownToken`] when it is unknown or has expired.
    pub async fn authenticate(&self, access_token: &str) -> Result<Session, AccountError> {
        const UNKNOWN: AccountError = AccountError::UnknownToken { soft_logout: false };
        let hash = &digest(access_token);
        let tx = self.store.begin();
        let record = TOKEN.get_snapshot(&tx, (hash,)).await?.ok_or(UNKNOWN)?;
        if record.kind != TokenKind::Access {
            return Err(UNKNOWN);
        }
        if record.expires_ts.is_some_and(|expires| expires <= self.clock.now()) {
            return Err(AccountError::UnknownToken { soft_logout: true });
        }
        let user = USER.get_snapshot(&tx, (&record.user,)).await?.ok_or(UNKNOWN)?;
        if user.deactivated {
            return Err(UNKNOWN);
        }
        if record.parent.is_some() {
            self.store
                .transact("accounts.confirm_tokens", |tx| async move {
                    let mut record = TOKEN.get(&tx, (hash,)).await?.ok_or(UNKNOWN)?;
                    confirm(&tx, hash, &mut record).await
                })
                .await?;
        }
        Ok(Session { user_id: self.user_id(&record.user)?, device_id: record.device.into(), admin: user.admin })
    }

    /// Checks a password. `user` is a localpart or a full user id of this server. Wrong and unknown are not told apart,
    /// also not by time; a deactivated account is [`AccountError::UserDeactivated`].
    pub async fn check_password(&self, user: &str, password: &str) -> Result<OwnedUserId, AccountError> {
        const WRONG: AccountError = AccountError::Forbidden("invalid username or password");
        let found = self.find_for_login(user).await?;
        let hash = found.as_ref().and_then(|(_, record)| record.password.as_deref());
        let verdict = self.passwords.verify(password, hash).await?;
        let Some((localpart, record)) = found else { return Err(WRONG) };
        if record.deactivated {
            return Err(AccountError::UserDeactivated);
        }
        match verdict {
            Verdict::Wrong => return Err(WRONG),
            Verdict::Right => {}
            Verdict::RightButStale => {
                let renewed = &self.passwords.hash(password).await?;
                let (localpart, old) = (&localpart, &record.password);
                self.store
                    .transact("accounts.rehash_password", |tx| async move {
                        if let Some(mut record) = USER.get(&tx, (localpart,)).await?
                            && record.password == *old
                        {
                            record.password = Some(renewed.clone());
                            USER.set(&tx, (localpart,), &record);
                        }
                        Ok::<_, AccountError>(())
                    })
                    .await?;
            }
        }
        self.user_id(&localpart)
    }

    /// The account that a client means by what a person typed: a full user id or a localpart, first exactly (accounts
    /// with historical localparts), then in lower case.
    async fn find_for_login(&self, user: &str) -> Result<Option<(String, UserRecord)>, AccountError> {
        let localpart = match user.strip_prefix('@') {
            None => user,
            Some(_) => match UserId::parse(user) {
                Ok(id) if id.server_name() == self.config.server_name => &user[1..=id.localpart().len()],
                _ => return Ok(None),
            },
        };
        // Longer than any user id: no such account, and too long for a key.
        if localpart.len() > 255 {
            return Ok(None);
        }
        let tx = self.store.begin();
        for candidate in [localpart.to_owned(), localpart.to_lowercase()] {
            if let Some(record) = USER.get_snapshot(&tx, (&candidate,)).await? {
                return Ok(Some((candidate, record)));
            }
        }
        Ok(None)
    }

    /// Opens a session on a new device, or takes an existing one over (its earlier tokens end).
    pub async fn open_session(&self, user: &UserId, device: NewDevice) -> Result<Tokens, AccountError> {
        let localpart = self.local(user)?;
        let device_id = device.device_id.unwrap_or_else(DeviceId::new);
        if device_id.as_str().is_empty() || device_id.as_str().len() > DEVICE_ID_BYTES {
            return Err(AccountError::InvalidParam("a device id has 1 to 255 bytes".into()));
        }
        let display_name = check_device_name(device.display_name)?;
        let pair = self.new_pair(device.refresh);
        let now = self.clock.now();
        let (id, name, new) = (device_id.as_str(), &display_name, &pair);
        self.store
            .transact("accounts.open_session", |tx| async move {
                active_user(&tx, localpart).await?;
                if DEVICE.get(&tx, (localpart, id)).await?.is_some() {
                    clear_tokens(&tx, localpart, id).await?;
                } else {
                    let record = DeviceRecord { display_name: name.clone(), created_ts: now };
                    DEVICE.set(&tx, (localpart, id), &record);
                }
                new.write(&tx, localpart, id, None);
                Ok::<_, AccountError>(())
            })
            .await?;
        Ok(self.tokens(user.to_owned(), device_id, pair))
    }

    /// New tokens for a refresh token. The old pair stays valid until one of the new pair is used.
    pub async fn refresh(&self, refresh_token: &str) -> Result<Tokens, AccountError> {
        let hash = &digest(refresh_token);
        let pair = self.new_pair(true);
        let (new, now) = (&pair, self.clock.now());
        let (user, device) = self
            .store
            .transact("accounts.refresh", |tx| async move {
                let mut record = match TOKEN.get(&tx, (hash,)).await? {
                    Some(record) if record.kind == TokenKind::Refresh => record,
                    _ => return Err(AccountError::UnknownToken { soft_logout: false }),
                };
                if record.expires_ts.is_some_and(|expires| expires <= now) {
                    return Err(AccountError::UnknownToken { soft_logout: true });
                }
                active_user(&tx, &record.user).await?;
                confirm(&tx, hash, &mut record).await?;
                // An earlier answer to the same refresh token was lost: that pair was never used.
                if let Some(child) = record.child.take() {
                    clear_pair(&tx, &child).await?;
                }
                new.write(&tx, &record.user, &record.device, Some(hash));
                record.child = new.refresh.as_ref().map(|(token, _)| digest(token));
                TOKEN.set(&tx, (hash,), &record);
                Ok((record.user, record.device))
            })
            .await?;
        Ok(self.tokens(self.user_id(&user)?, device.into(), pair))
    }

    fn new_pair(&self, refresh: bool) -> Pair {
        let expires = |lifetime: Duration| {
            self.clock.now().saturating_add(u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX))
        };
        Pair {
            access: new_token("hat"),
            access_expires_ts: refresh.then(|| expires(self.config.access_token_lifetime)),
            refresh: refresh.then(|| (new_token("hrt"), expires(self.config.refresh_token_lifetime))),
        }
    }

    fn tokens(&self, user_id: OwnedUserId, device_id: OwnedDeviceId, pair: Pair) -> Tokens {
        Tokens {
            user_id,
            device_id,
            access_token: pair.access,
            expires_in: pair.refresh.is_some().then_some(self.config.access_token_lifetime),
            refresh_token: pair.refresh.map(|(token, _)| token),
        }
    }

    /// Ends the session: deletes its device.
    pub async fn logout(&self, user: &UserId, device: &DeviceId) -> Result<(), AccountError> {
        self.delete_devices(user, &[device.to_owned()]).await
    }

    /// Ends every session of the user.
    pub async fn logout_all(&self, user: &UserId) -> Result<(), AccountError> {
        let localpart = self.local(user)?;
        self.store
            .transact("accounts.logout_all", |tx| async move {
                for ((_, device), _) in DEVICE.scan((localpart,)).all(&tx).await? {
                    clear_device(&tx, localpart, &device).await?;
                }
                Ok::<_, AccountError>(())
            })
            .await
    }

    /// A token that logs the user in once on another device, and how long it is valid.
    pub async fn create_login_token(&self, user: &UserId) -> Result<(String, Duration), AccountError> {
        let localpart = self.local(user)?;
        let token = new_token("hlt");
        let (hash, now) = (&digest(&token), self.clock.now());
        self.store
            .transact("accounts.create_login_token", |tx| async move {
                active_user(&tx, localpart).await?;
                let expires_ts = now + LOGIN_TOKEN_LIFETIME.as_millis() as u64;
                LOGIN_TOKEN.set(&tx, (hash,), &LoginTokenRecord { user: localpart.to_owned(), expires_ts });
                expire_at(&tx, expires_ts, Expiring::LoginToken, hash);
                Ok::<_, AccountError>(())
            })
            .await?;
        Ok((token, LOGIN_TOKEN_LIFETIME))
    }

    /// Redeems a login token.
    pub async fn redeem_login_token(&self, token: &str) -> Result<OwnedUserId, AccountError> {
        const INVALID: AccountError = AccountError::Forbidden("invalid login token");
        let (hash, now) = (&digest(token), self.clock.now());
        let user = self
            .store
            .transact("accounts.redeem_login_token", |tx| async move {
                let record = LOGIN_TOKEN.get(&tx, (hash,)).await?.ok_or(INVALID)?;
                if record.expires_ts <= now {
                    return Err(INVALID);
                }
                active_user(&tx, &record.user).await?;
                LOGIN_TOKEN.clear(&tx, (hash,));
                Ok(record.user)
            })
            .await?;
        self.user_id(&user)
    }
}

#[cfg(test)]
#[path = "sessions_tests.rs"]
mod tests;
