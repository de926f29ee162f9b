//! Sending events: [`PUT /send`, `PUT /state`, `PUT /redact`](https://spec.matrix.org/v1.19/client-server-api/#sending-events-to-a-room).

use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedDeviceId, OwnedEventId, OwnedTransactionId, RoomId, UserId,
    events::TimelineEventType,
};
use serde_json::value::RawValue;

use crate::{RoomError, Rooms};

/// An event that a local user wants to send.
#[derive(Debug, Clone)]
pub struct Draft {
    /// `type`.
    pub event_type: TimelineEventType,
    /// `state_key`, for a state event.
    pub state_key: Option<String>,
    /// `content`.
    pub content: Box<RawValue>,
    /// What it redacts, for a redaction.
    pub redacts: Option<OwnedEventId>,
    /// Device and transaction id: the same pair never sends twice.
    pub transaction: Option<(OwnedDeviceId, OwnedTransactionId)>,
    /// `origin_server_ts` instead of now (application services).
    pub timestamp: Option<MilliSecondsSinceUnixEpoch>,
}

impl Rooms {
    /// Sends an event: builds, signs, authorizes and publishes it in one transaction. Returns the earlier event
    /// when the transaction id was used before, and the current event when a state event would change nothing.
    /// Concurrent senders to one room share a transaction (each with its own outcome), so that one fsync serves many.
    /// Validates `m.room.member`, power levels, canonical alias and redactions as the specification asks.
    pub async fn send(&self, room_id: &RoomId, sender: &UserId, draft: Draft) -> Result<OwnedEventId, RoomError> {
        let _ = (room_id, sender, draft);
        todo!()
    }
}
