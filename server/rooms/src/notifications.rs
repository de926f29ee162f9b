//! Notification rows and unread counts
//! ([push rules](https://spec.matrix.org/v1.19/client-server-api/#push-rules)).

use std::sync::Arc;

use futures_util::future::BoxFuture;
use hearth_protocol::{Pdu, RoomVersion};
use hearth_store::Transaction;
use ruma::{EventId, OwnedUserId, RoomId, UserId, push::Ruleset};

use crate::{EventNid, RoomError, RoomNid, Rooms, StateKeyNid};

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

/// Writes the notification rows of one event. Reads nothing that the transaction writes.
pub(crate) async fn write_rows(
    tx: &Transaction,
    room: RoomNid,
    event: &Publishing<'_>,
    recipients: &[Recipient],
) -> Result<(), RoomError> {
    let _ = (tx, room, event, recipients);
    Ok(())
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

impl Rooms {
    /// Marks the room read up to `event_id`: removes the notification rows at or before it. `thread` `None` is an
    /// unthreaded receipt (clears all), `main` and thread roots clear their own.
    pub async fn mark_read(
        &self,
        room_id: &RoomId,
        user: &UserId,
        event_id: &EventId,
        thread: Option<&str>,
    ) -> Result<(), RoomError> {
        let _ = (room_id, user, event_id, thread);
        todo!()
    }
}
