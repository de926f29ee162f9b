//! Authorization of events, over `ruma-state-res`.

use ruma::events::{StateEventType, TimelineEventType};
use serde_json::value::RawValue;

use crate::{Pdu, RoomVersion};

/// Why the authorization rules refuse an event; the text names the rule.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// The state that authorizes an event of this kind
/// ([auth events selection](https://spec.matrix.org/v1.19/server-server-api/#auth-events-selection)).
pub fn auth_types(
    version: &RoomVersion,
    event_type: &TimelineEventType,
    sender: &ruma::UserId,
    state_key: Option<&str>,
    content: &RawValue,
) -> Result<Vec<(StateEventType, String)>, Refused> {
    let _ = (version, event_type, sender, state_key, content);
    todo!()
}

/// Checks `pdu` against `state` (the state before it, or its auth events), state-independent rules included.
pub fn check<'a>(
    version: &RoomVersion,
    pdu: &Pdu,
    state: impl Fn(&StateEventType, &str) -> Option<&'a Pdu>,
) -> Result<(), Refused> {
    let _ = (version, pdu, state);
    todo!()
}
