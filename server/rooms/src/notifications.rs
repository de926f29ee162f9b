//! Notification rows and unread counts
//! ([push rules](https://spec.matrix.org/v1.19/client-server-api/#push-rules)).

use std::sync::Arc;

use futures_util::future::BoxFuture;
use ruma::{EventId, OwnedUserId, RoomId, UserId, push::Ruleset};

use crate::{RoomError, Rooms};

/// Where push rules come from: the Accounts database, wired by the binary.
pub trait PushRules: Send + Sync {
    /// The rules of each of `users` that is a local account, in the same order; cached by the implementation.
    fn rulesets<'a>(&'a self, users: &'a [OwnedUserId]) -> BoxFuture<'a, Vec<Option<Arc<Ruleset>>>>;
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
