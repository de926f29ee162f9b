//! Building this server's own events.

use ruma::{MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, events::TimelineEventType};
use serde_json::value::RawValue;

use crate::{Pdu, RoomVersion, SigningKey, pdu::PduError};

/// What is known of an event before it is hashed and signed.
#[derive(Debug, Clone)]
pub struct Unsigned {
    /// The room; `None` for a create event of room version 12.
    pub room_id: Option<OwnedRoomId>,
    /// Who sends it.
    pub sender: OwnedUserId,
    /// `type`.
    pub event_type: TimelineEventType,
    /// `state_key`.
    pub state_key: Option<String>,
    /// `content`.
    pub content: Box<RawValue>,
    /// What it redacts (placed where the room version wants it).
    pub redacts: Option<OwnedEventId>,
    /// `origin_server_ts`.
    pub origin_server_ts: MilliSecondsSinceUnixEpoch,
    /// `prev_events`.
    pub prev_events: Vec<OwnedEventId>,
    /// `auth_events`.
    pub auth_events: Vec<OwnedEventId>,
    /// `depth`.
    pub depth: u64,
}

impl Unsigned {
    /// Hashes and signs the event and checks its size and format.
    pub fn sign(self, version: &RoomVersion, key: &SigningKey) -> Result<Pdu, PduError> {
        let _ = (version, key);
        todo!()
    }
}
