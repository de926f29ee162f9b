//! What changed, for the sync engine.
//!
//! Every stored account datum has exactly one entry in its user's log, at the versionstamp of its newest write: the
//! log is as long as the data, and reading it from 0 reads all data.

use hearth_store::{Version, Watch};
use ruma::{OwnedRoomId, OwnedUserId, UserId};
use serde_json::value::RawValue;

use crate::{AccountError, Accounts};

/// One account datum as it is now.
#[derive(Debug, Clone)]
pub struct AccountDatum {
    /// `None` for global data.
    pub room: Option<OwnedRoomId>,
    /// Event type.
    pub event_type: String,
    /// Event content.
    pub content: Box<RawValue>,
}

/// What changed for a user.
#[derive(Debug, Clone)]
pub struct Changes {
    /// The version that was read: where the next reading continues.
    pub version: Version,
    /// Account data written after the given version, oldest write first. Push rules are there as `m.push_rules`.
    pub account_data: Vec<AccountDatum>,
}

impl Accounts {
    /// The account data that was written after `since` (0 gives all, the default push rules included).
    pub async fn changes_since(&self, user: &UserId, since: Version) -> Result<Changes, AccountError> {
        let _ = (user, since);
        todo!()
    }

    /// The version of the user's newest change; 0 before the first. One point read.
    pub async fn last_change(&self, user: &UserId) -> Result<Version, AccountError> {
        let _ = user;
        todo!()
    }

    /// Resolves when the user's account data changes after this call returned.
    pub async fn watch_user(&self, user: &UserId) -> Result<Watch, AccountError> {
        let _ = user;
        todo!()
    }

    /// Resolves when any user's account data changes after this call returned. Sample
    /// [`Self::changed_users`] between taking the watch and waiting.
    pub async fn watch_all(&self) -> Result<Watch, AccountError> {
        todo!()
    }

    /// Users with a change after `since` (each once), and the version that was read.
    pub async fn changed_users(&self, since: Version) -> Result<(Vec<OwnedUserId>, Version), AccountError> {
        let _ = since;
        todo!()
    }
}
