//! The values in the Transitory database. Fields are only ever appended (see `hearth_store::msgpack_value!`).

use serde::{Deserialize, Serialize};

/// A row in the log of changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChangeRecord {
    /// 1 typing, 2 receipts, 3 presence.
    pub kind: u64,
    /// The room id, or for presence the user id.
    pub subject: String,
}

/// A receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReceiptRecord {
    /// The event that was read.
    pub event_id: String,
    /// When the server took the receipt, milliseconds since the epoch.
    pub ts: u64,
}

/// Whose receipt a row of a room's log is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReceiptSubject {
    /// The user.
    pub user: String,
    /// 1 public, 2 private.
    pub kind: u64,
    /// "" is unthreaded, else `main` or the thread's root.
    pub thread: String,
}

/// Presence of a user ([presence](https://spec.matrix.org/v1.19/client-server-api/#presence)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PresenceState {
    /// `offline`
    #[default]
    Offline,
    /// `unavailable`
    Unavailable,
    /// `online`
    Online,
}

/// A user's presence as others see it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PresenceRecord {
    /// The state.
    pub state: PresenceState,
    /// The user's own words.
    pub status_msg: Option<String>,
    /// When the user last did something, milliseconds since the epoch; 0 if never.
    pub last_active: u64,
    /// Others may take the user to be active without further updates of `last_active`.
    pub currently_active: bool,
    /// When the record changes by itself (its row in the index by time), milliseconds since the epoch.
    pub due: Option<u64>,
}

/// What one device says of its user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DevicePresenceRecord {
    /// The state that the device set.
    pub state: PresenceState,
    /// When the device was last connected, milliseconds since the epoch.
    pub seen: u64,
    /// When its user last did something there, milliseconds since the epoch.
    pub active: u64,
}

hearth_store::msgpack_value!(ChangeRecord, ReceiptRecord, ReceiptSubject, PresenceRecord, DevicePresenceRecord);
