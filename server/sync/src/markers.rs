//! Where users read and type: [receipts](https://spec.matrix.org/v1.19/client-server-api/#receipts),
//! [read markers](https://spec.matrix.org/v1.19/client-server-api/#fully-read-markers) and
//! [typing](https://spec.matrix.org/v1.19/client-server-api/#typing-notifications).

use std::time::Duration;

use hearth_rooms::{Membership, Reader, RoomError};
use hearth_transitory::{ReceiptKind, timers, typing::LONGEST_TYPING};
use ruma::{DeviceId, EventId, OwnedEventId, RoomId, UserId};
use serde::Deserialize;
use serde_json::{json, value::to_raw_value};

use crate::{SyncEngine, SyncError};

/// Relations that are followed from an event to a thread's root.
const HOPS: usize = 3;

/// Who marks something.
#[derive(Debug, Clone, Copy)]
pub struct Marking<'a> {
    /// The user.
    pub user: &'a UserId,
    /// The device.
    pub device: &'a DeviceId,
    /// The room.
    pub room: &'a RoomId,
}

impl SyncEngine {
    /// Moves a receipt. `thread` is `None` for an unthreaded one, else `main` or a thread's root.
    pub async fn set_receipt(
        &self,
        who: Marking<'_>,
        kind: ReceiptKind,
        event: &EventId,
        thread: Option<&str>,
    ) -> Result<(), SyncError> {
        let Marking { user, device, room } = who;
        self.check_joined(who).await?;
        let parts = &*self.0;
        let reader = Reader::new(user, Some(device));
        // Refuses events that are not in this room or that the user cannot see.
        let raw = parts.rooms.event(room, &reader, event).await?;
        if let Some(thread) = thread {
            let fits = match self.thread_root(room, &reader, raw.json().get()).await? {
                Some(root) => root.as_str() == thread,
                // A root is in the main timeline, and its own thread begins with it.
                None => thread == "main" || thread == event.as_str(),
            };
            if !fits {
                return Err(SyncError::BadParameter("the event is not in that thread".to_owned()));
            }
        }
        // The counts first: the receipt is what wakes the user's other devices, and they read the counts then.
        parts.rooms.mark_read(room, user, event, thread).await?;
        let now = timers::now();
        parts.transitory.set_receipt(room, user, kind, thread, event, now).await?;
        parts.transitory.active(user, device, now).await?;
        Ok(())
    }

    /// Moves the fully-read marker.
    pub async fn set_fully_read(&self, who: Marking<'_>, event: &EventId) -> Result<(), SyncError> {
        let Marking { user, device, room } = who;
        self.check_joined(who).await?;
        self.0.rooms.event(room, &Reader::new(user, Some(device)), event).await?;
        let content = to_raw_value(&json!({ "event_id": event }));
        let content = content.map_err(|error| SyncError::BadParameter(error.to_string()))?;
        Ok(self.0.accounts.set_account_data(user, Some(room), "m.fully_read", &content).await?)
    }

    /// The user types for so long from now on, or no more.
    pub async fn set_typing(&self, who: Marking<'_>, timeout: Option<Duration>) -> Result<(), SyncError> {
        let Marking { user, device, room } = who;
        self.check_joined(who).await?;
        let now = timers::now();
        let until = timeout.map(|timeout| {
            now + u64::try_from(timeout.as_millis()).map_or(LONGEST_TYPING, |timeout| timeout.min(LONGEST_TYPING))
        });
        self.0.transitory.set_typing(room, user, until).await?;
        self.0.transitory.active(user, device, now).await?;
        Ok(())
    }

    async fn check_joined(&self, who: Marking<'_>) -> Result<(), SyncError> {
        match self.0.rooms.membership_of(who.room, who.user).await {
            Ok(Some(Membership::Join)) => Ok(()),
            Ok(_) | Err(RoomError::RoomNotFound) => Err(SyncError::Forbidden("You are not joined to the room.")),
            Err(error) => Err(error.into()),
        }
    }

    /// The root of the thread that an event is part of, by itself or through what it relates to.
    async fn thread_root(
        &self,
        room: &RoomId,
        reader: &Reader<'_>,
        event: &str,
    ) -> Result<Option<OwnedEventId>, SyncError> {
        #[derive(Deserialize)]
        struct Event {
            content: Content,
        }
        #[derive(Deserialize)]
        struct Content {
            #[serde(rename = "m.relates_to")]
            relates_to: Option<Relation>,
        }
        #[derive(Deserialize)]
        struct Relation {
            rel_type: Option<String>,
            event_id: Option<OwnedEventId>,
        }

        let mut event = event.to_owned();
        for _ in 0..HOPS {
            let relation = serde_json::from_str::<Event>(&event).ok().and_then(|event| event.content.relates_to);
            let Some(Relation { rel_type: Some(rel_type), event_id: Some(parent) }) = relation else {
                return Ok(None);
            };
            if rel_type == "m.thread" {
                return Ok(Some(parent));
            }
            event = match self.0.rooms.event(room, reader, &parent).await {
                Ok(parent) => parent.json().get().to_owned(),
                Err(RoomError::EventNotFound | RoomError::Forbidden(_)) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
        }
        Ok(None)
    }
}
