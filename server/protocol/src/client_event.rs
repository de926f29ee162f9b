//! The form in which clients see events
//! ([room event format](https://spec.matrix.org/v1.19/client-server-api/#room-event-format)).

use ruma::{OwnedTransactionId, events::AnyTimelineEvent, serde::Raw};
use serde_json::value::RawValue;

use crate::Pdu;

/// What goes into `unsigned`, each where known.
#[derive(Debug, Clone, Default)]
pub struct UnsignedData {
    /// Milliseconds since the event was sent.
    pub age: Option<i64>,
    /// The transaction id, for the device that sent the event.
    pub transaction_id: Option<OwnedTransactionId>,
    /// Content of the state event that this one replaced.
    pub prev_content: Option<Box<RawValue>>,
    /// Id of the state event that this one replaced (v1.19).
    pub replaces_state: Option<ruma::OwnedEventId>,
    /// The redaction that redacted this event, in client form.
    pub redacted_because: Option<Raw<AnyTimelineEvent>>,
    /// The reading user's membership when the event was sent (v1.11).
    pub membership: Option<String>,
    /// Bundled aggregations, `m.relations`.
    pub relations: Option<Box<RawValue>>,
}

/// Serializes an event for a client. `with_room_id` is false inside `/sync`.
pub fn to_client(pdu: &Pdu, unsigned: &UnsignedData, with_room_id: bool) -> Raw<AnyTimelineEvent> {
    let _ = (pdu, unsigned, with_room_id);
    todo!()
}

/// Stripped state: `type`, `state_key`, `content`, `sender` alone
/// ([stripped state](https://spec.matrix.org/v1.19/client-server-api/#stripped-state)).
pub fn to_stripped(pdu: &Pdu) -> Raw<ruma::events::AnyStrippedStateEvent> {
    let _ = pdu;
    todo!()
}
