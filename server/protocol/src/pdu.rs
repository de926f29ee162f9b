//! Persistent data units: events as they are stored and exchanged between servers.

use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId, events::TimelineEventType,
};
use serde_json::value::RawValue;

use crate::RoomVersion;

/// A parsed event. The canonical JSON that was hashed and signed is kept beside the fields.
#[derive(Debug, Clone)]
pub struct Pdu {
    /// The reference hash, or the id in the event for room versions 1 and 2.
    pub event_id: OwnedEventId,
    /// The room; for a create event of room version 12 it is derived from the event id.
    pub room_id: OwnedRoomId,
    /// Who sent it.
    pub sender: OwnedUserId,
    /// `type`.
    pub event_type: TimelineEventType,
    /// `state_key`; `Some` makes it a state event.
    pub state_key: Option<String>,
    /// `content`, as it stands in the event (redacted events: what remains).
    pub content: Box<RawValue>,
    /// The event that this redacts: top level up to room version 10, in `content` from 11 on.
    pub redacts: Option<OwnedEventId>,
    /// `origin_server_ts`.
    pub origin_server_ts: MilliSecondsSinceUnixEpoch,
    /// `prev_events`.
    pub prev_events: Vec<OwnedEventId>,
    /// `auth_events`.
    pub auth_events: Vec<OwnedEventId>,
    /// `depth`.
    pub depth: u64,
    /// Whether authorization rejected the event when it was stored.
    pub rejected: bool,
    /// Canonical JSON of the whole event.
    pub json: String,
}

/// Why a text is no event of a room version.
#[derive(Debug, thiserror::Error)]
pub enum PduError {
    /// Not JSON, or a field is missing or of a wrong type.
    #[error("malformed event: {0}")]
    Malformed(String),
    /// Larger than the specification's limits.
    #[error("event exceeds a size limit: {0}")]
    TooLarge(String),
}

impl Pdu {
    /// Parses stored or received JSON. Computes the event id (reference hash) unless `event_id` is known already.
    pub fn parse(json: &str, version: &RoomVersion, event_id: Option<OwnedEventId>) -> Result<Self, PduError> {
        let _ = (json, version, event_id);
        todo!()
    }

    /// The event with everything removed that redaction removes in `version`
    /// ([redactions](https://spec.matrix.org/v1.19/client-server-api/#redactions)); same event id.
    pub fn redacted(&self, version: &RoomVersion) -> Result<Self, PduError> {
        let _ = version;
        todo!()
    }

    /// Whether this is a state event of `event_type` with `state_key`.
    pub fn is_state(&self, event_type: &str, state_key: &str) -> bool {
        self.state_key.as_deref() == Some(state_key) && self.event_type.to_string() == event_type
    }
}

impl ruma::state_res::Event for Pdu {
    type Id = OwnedEventId;

    fn event_id(&self) -> &OwnedEventId {
        &self.event_id
    }
    fn room_id(&self) -> Option<&RoomId> {
        Some(&self.room_id)
    }
    fn sender(&self) -> &UserId {
        &self.sender
    }
    fn origin_server_ts(&self) -> MilliSecondsSinceUnixEpoch {
        self.origin_server_ts
    }
    fn event_type(&self) -> &TimelineEventType {
        &self.event_type
    }
    fn content(&self) -> &RawValue {
        &self.content
    }
    fn state_key(&self) -> Option<&str> {
        self.state_key.as_deref()
    }
    fn prev_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.prev_events.iter())
    }
    fn auth_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.auth_events.iter())
    }
    fn redacts(&self) -> Option<&OwnedEventId> {
        self.redacts.as_ref()
    }
    fn rejected(&self) -> bool {
        self.rejected
    }
}
