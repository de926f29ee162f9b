//! Stored events, parsed.

use std::sync::Arc;

use hearth_protocol::Pdu;

use crate::{EventNid, Outcome, RoomNid};

/// An event as it is stored, parsed.
#[derive(Debug)]
pub struct StoredEvent {
    /// Numeric id.
    pub nid: EventNid,
    /// Its room.
    pub room: RoomNid,
    /// The event, not redacted.
    pub pdu: Arc<Pdu>,
    /// What became of it.
    pub outcome: Outcome,
    /// For a state event, the one that it replaced.
    pub replaces: Option<EventNid>,
    /// Device and transaction id that sent it.
    pub transaction: Option<(String, String)>,
}

/// An event as readers may see it.
#[derive(Debug, Clone)]
pub struct LoadedEvent {
    /// The stored event.
    pub stored: Arc<StoredEvent>,
    /// The event, redacted if there is a redaction.
    pub pdu: Arc<Pdu>,
    /// Its redaction.
    pub redaction: Option<Arc<StoredEvent>>,
}
