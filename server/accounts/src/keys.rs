//! The whole keyspace of the Accounts database. Nothing outside this crate knows these keys.
//!
//! `user` is always a localpart of this server; `hash` is a token's SHA-256 in base64.

use bytes::Bytes;
use hearth_store::{Versionstamp, keyspace};

use crate::records::{
    DataChange, DeviceRecord, LoginTokenRecord, PusherRecord, RegistrationTokenRecord, SeenRecord, TokenRecord,
    UiaRecord, UserRecord,
};

keyspace! {
    database "accounts";

    /// The account itself. Never deleted, so that a user id is never given away twice.
    USER "user": (user: String) => UserRecord;
    /// Counters (kind 1: accounts that are not deactivated).
    COUNTER "counter": (kind: u64) => u64;
    /// Deactivated users who have not yet left their rooms.
    UNFINISHED "unfinished": (user: String) => ();

    /// Devices.
    DEVICE "device": (user: String, device: String) => DeviceRecord;
    /// When and from where a device was last seen.
    SEEN "seen": (user: String, device: String) => SeenRecord;
    /// Access and refresh tokens.
    TOKEN "token": (hash: String) => TokenRecord;
    /// Tokens of a device.
    DEVICE_TOKEN "device_token": (user: String, device: String, hash: String) => ();
    /// Tokens for `m.login.token`.
    LOGIN_TOKEN "login_token": (hash: String) => LoginTokenRecord;

    /// Who may register (one key, `0`), where that was chosen over the configuration: `closed`, `token` or `open`.
    REGISTRATION_MODE "registration_mode": (zero: u64) => String;
    /// Registration tokens.
    REGISTRATION_TOKEN "registration_token": (token: String) => RegistrationTokenRecord;
    /// Sessions of user-interactive authentication.
    UIA "uia": (session: String) => UiaRecord;
    /// Nonces of shared-secret registration, with the time of their expiry in milliseconds.
    NONCE "nonce": (nonce: String) => u64;
    /// What expires when, in milliseconds (kind 1 UIA session, 2 login token, 3 nonce).
    EXPIRY "expiry": (at: u64, kind: u64, key: String) => ();

    /// A profile: a JSON object with all fields.
    PROFILE "profile": (user: String) => String;
    /// Account data (room `""` is global): JSON, split where it is longer than a value may be.
    DATA "data": (user: String, room: String, event_type: String, part: u64) => Bytes;
    /// When account data was last written.
    DATA_AT "data_at": (user: String, room: String, event_type: String) => Versionstamp;
    /// A user's account data in the order of the last writes.
    DATA_LOG "data_log": (user: String, at: Versionstamp) => DataChange;
    /// All users' account data in the order of the last writes: whose.
    STREAM "stream": (at: Versionstamp) => String;
    /// A user's newest change.
    USER_HEAD "user_head": (user: String) => Versionstamp;
    /// The newest change of all (one key, `0`): what waiting readers watch.
    HEAD "head": (zero: u64) => Versionstamp;
    /// The newest change of anybody's push rules (one key, `0`): validates the cache of rulesets.
    RULES_HEAD "rules_head": (zero: u64) => Versionstamp;

    /// Filters, as JSON.
    FILTER "filter": (user: String, filter: String) => String;
    /// Pushers.
    PUSHER "pusher": (user: String, app_id: String, pushkey: String) => PusherRecord;
    /// Users who have a pusher with a push key.
    PUSHKEY "pushkey": (app_id: String, pushkey: String, user: String) => ();
}
