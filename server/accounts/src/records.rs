//! The values in the Accounts database. Fields are only ever appended (see `hearth_store::msgpack_value!`).

use serde::{Deserialize, Serialize};

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserRecord {
    /// When it was made, milliseconds since 1970.
    pub created_ts: u64,
    /// Administrator of this server.
    pub admin: bool,
    /// argon2id hash in PHC format; `None` where no password opens the account.
    pub password: Option<String>,
    /// Deactivated for ever.
    pub deactivated: bool,
    /// Deactivated with the wish to be erased.
    pub erased: bool,
}

/// A device.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DeviceRecord {
    /// Name.
    pub display_name: Option<String>,
    /// When it first logged in, milliseconds since 1970.
    pub created_ts: u64,
}

/// When, from where and with what a device was last seen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SeenRecord {
    /// Milliseconds since 1970.
    pub ts: u64,
    /// Address.
    pub ip: Option<String>,
    /// `User-Agent`, cut to 255 bytes.
    pub user_agent: Option<String>,
}

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum TokenKind {
    /// Authenticates requests.
    Access,
    /// Gets a new pair of tokens.
    Refresh,
}

/// An access or refresh token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TokenRecord {
    /// Localpart.
    pub user: String,
    /// Device id.
    pub device: String,
    /// What it is good for.
    pub kind: TokenKind,
    /// Milliseconds since 1970; `None` never expires.
    pub expires_ts: Option<u64>,
    /// Hash of the other token that was issued with it.
    pub pair: Option<String>,
    /// Hash of the refresh token that it replaces, until it or its pair is used for the first time.
    pub parent: Option<String>,
    /// For a refresh token: hash of the refresh token that was issued for it and is not yet used.
    pub child: Option<String>,
}

/// A token for `m.login.token`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LoginTokenRecord {
    /// Localpart.
    pub user: String,
    /// Milliseconds since 1970.
    pub expires_ts: u64,
}

/// A registration token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RegistrationTokenRecord {
    /// How many registrations it allows; `None` is any number.
    pub uses_allowed: Option<u64>,
    /// Sessions that passed its stage and are not complete.
    pub pending: u64,
    /// Complete registrations.
    pub completed: u64,
    /// Milliseconds since 1970; `None` never expires.
    pub expires_ts: Option<u64>,
    /// When it was made, milliseconds since 1970.
    pub created_ts: u64,
}

impl RegistrationTokenRecord {
    /// Whether one more registration may begin at `now`.
    pub(crate) fn valid(&self, now: u64) -> bool {
        self.expires_ts.is_none_or(|expires| now < expires)
            && self.uses_allowed.is_none_or(|allowed| self.pending + self.completed < allowed)
    }
}

/// A session of user-interactive authentication.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct UiaRecord {
    /// Milliseconds since 1970.
    pub expires_ts: u64,
    /// Digest of the one request that it authorizes.
    pub binding: String,
    /// Names of the stages that are complete, in order.
    pub completed: Vec<String>,
    /// The stored registration token that counts it as pending.
    pub registration_token: Option<String>,
}

/// What was written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DataChange {
    /// Room id, `""` for global data.
    pub room: String,
    /// Event type.
    pub event_type: String,
}

/// A pusher.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PusherRecord {
    /// The device that set it: it goes with it.
    pub device: String,
    /// The pusher as the client wrote it (JSON).
    pub json: String,
}

hearth_store::msgpack_value!(
    UserRecord,
    DeviceRecord,
    SeenRecord,
    TokenRecord,
    LoginTokenRecord,
    RegistrationTokenRecord,
    UiaRecord,
    DataChange,
    PusherRecord,
);
