//! Notification rows and unread counts
//! ([push rules](https://spec.matrix.org/v1.19/client-server-api/#push-rules)).

use std::sync::Arc;

use futures_util::future::BoxFuture;
use hearth_protocol::{Pdu, RoomVersion};
use ruma::{OwnedUserId, push::Ruleset};

use crate::{EventNid, StateKeyNid};

mod list;
mod rows;
mod unread;

pub use list::{NotificationPage, UnreadNotification};
pub(crate) use rows::{note_sent, write_rows};

/// Where push rules come from: the Accounts database, wired by the binary.
pub trait PushRules: Send + Sync {
    /// The rules of each of `users` that is a local account, in the same order; cached by the implementation.
    fn rulesets<'a>(&'a self, users: &'a [OwnedUserId]) -> BoxFuture<'a, Vec<Option<Arc<Ruleset>>>>;
}

/// A local user whose push rules decide about an event: joined before it, or invited by it.
pub(crate) struct Recipient {
    pub(crate) user: StateKeyNid,
    pub(crate) user_id: OwnedUserId,
    /// `displayname` of their member event.
    pub(crate) displayname: Option<String>,
    pub(crate) rules: Arc<Ruleset>,
}

/// An event that the transaction publishes, with what push rules look at.
pub(crate) struct Publishing<'a> {
    pub(crate) pdu: &'a Pdu,
    pub(crate) event: EventNid,
    pub(crate) sender: StateKeyNid,
    /// Place of the event within the transaction's versionstamp.
    pub(crate) user_version: u16,
    /// Root of the thread that it belongs to.
    pub(crate) thread: Option<EventNid>,
    /// Joined users of the room.
    pub(crate) joined: u64,
    pub(crate) version: &'a RoomVersion,
    pub(crate) create: &'a Pdu,
    /// The power levels before the event.
    pub(crate) power_levels: Option<&'a Pdu>,
}

/// Unread counts of a room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnreadCounts {
    /// Unread notifications outside threads (or in all, when the client does not ask for threads).
    pub notifications: u64,
    /// Unread highlights, likewise.
    pub highlights: u64,
    /// By thread root: notifications and highlights.
    pub threads: Vec<(ruma::OwnedEventId, u64, u64)>,
}
