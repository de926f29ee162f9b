//! Sessions: access tokens, refresh tokens, login tokens
//! ([client authentication](https://spec.matrix.org/v1.19/client-server-api/#client-authentication)).

use std::{net::IpAddr, time::Duration};

use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};

use crate::{AccountError, Accounts};

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
#[derive(Debug, Clone, PartialEq, Eq)]
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

impl Accounts {
    /// The session of an access token; [`AccountError::UnknownToken`] when it is unknown or has expired.
    pub async fn authenticate(&self, access_token: &str) -> Result<Session, AccountError> {
        let _ = access_token;
        todo!()
    }

    /// Notes in memory that the session's device was just seen; [`Self::run_maintenance`] writes it down.
    pub fn note_seen(&self, session: &Session, ip: Option<IpAddr>, user_agent: Option<&str>) {
        let _ = (session, ip, user_agent);
        todo!()
    }

    /// Checks a password. `user` is a localpart or a full user id of this server. Wrong and unknown are not told apart,
    /// also not by time; a deactivated account is [`AccountError::UserDeactivated`].
    pub async fn check_password(&self, user: &str, password: &str) -> Result<OwnedUserId, AccountError> {
        let _ = (user, password);
        todo!()
    }

    /// Opens a session on a new device, or takes an existing one over (its earlier tokens end).
    pub async fn open_session(&self, user: &UserId, device: NewDevice) -> Result<Tokens, AccountError> {
        let _ = (user, device);
        todo!()
    }

    /// New tokens for a refresh token. The old pair stays valid until one of the new pair is used.
    pub async fn refresh(&self, refresh_token: &str) -> Result<Tokens, AccountError> {
        let _ = refresh_token;
        todo!()
    }

    /// Ends the session: deletes its device.
    pub async fn logout(&self, user: &UserId, device: &DeviceId) -> Result<(), AccountError> {
        let _ = (user, device);
        todo!()
    }

    /// Ends every session of the user.
    pub async fn logout_all(&self, user: &UserId) -> Result<(), AccountError> {
        let _ = user;
        todo!()
    }

    /// A token that logs the user in once on another device, and how long it is valid.
    pub async fn create_login_token(&self, user: &UserId) -> Result<(String, Duration), AccountError> {
        let _ = user;
        todo!()
    }

    /// Redeems a login token.
    pub async fn redeem_login_token(&self, token: &str) -> Result<OwnedUserId, AccountError> {
        let _ = token;
        todo!()
    }
}
