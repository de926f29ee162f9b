//! Persistent data units: events as they are stored and exchanged between servers.

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId,
    RoomId, UInt, UserId,
    canonical_json::{CanonicalJsonFieldError, redact},
    events::TimelineEventType,
    signatures::{JsonError, reference_hash},
    state_res::check_pdu_format,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::RoomVersion;

/// Largest event, in bytes of canonical JSON with its signatures
/// ([size limits](https://spec.matrix.org/v1.19/client-server-api/#size-limits)).
pub const MAX_PDU_BYTES: usize = 65_535;

/// Longest `type`, `state_key`, `sender` and `room_id`, in bytes.
pub const MAX_FIELD_BYTES: usize = 255;

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
    /// Not JSON, not canonical JSON (a float, an integer out of range), or a field is missing or of a wrong type.
    #[error("malformed event: {0}")]
    Malformed(String),
    /// Larger than the specification's limits.
    #[error("event exceeds a size limit: {0}")]
    TooLarge(String),
}

impl From<CanonicalJsonFieldError> for PduError {
    fn from(error: CanonicalJsonFieldError) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl From<JsonError> for PduError {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::PduTooLarge => Self::TooLarge(error.to_string()),
            other => Self::Malformed(other.to_string()),
        }
    }
}

/// The fields of an event that [`Pdu`] keeps, as they stand in its JSON.
#[derive(Deserialize)]
struct Fields {
    room_id: Option<OwnedRoomId>,
    sender: OwnedUserId,
    #[serde(rename = "type")]
    event_type: TimelineEventType,
    state_key: Option<String>,
    content: Box<RawValue>,
    redacts: Option<OwnedEventId>,
    origin_server_ts: MilliSecondsSinceUnixEpoch,
    prev_events: Vec<OwnedEventId>,
    auth_events: Vec<OwnedEventId>,
    depth: UInt,
}

#[derive(Deserialize)]
struct RedactionContent {
    redacts: Option<OwnedEventId>,
}

impl Pdu {
    /// Parses stored or received JSON.
    ///
    /// Without `event_id` the text is untrusted: it must be canonical JSON within the size limits and have the
    /// room version's format, and the event id (reference hash) is computed. With `event_id` the text is one that
    /// this server stored after such checks, and only the fields are read.
    pub fn parse(json: &str, version: &RoomVersion, event_id: Option<OwnedEventId>) -> Result<Self, PduError> {
        let Some(event_id) = event_id else {
            let object: CanonicalJsonObject = serde_json::from_str(json).map_err(malformed)?;
            let canonical = serde_json::to_string(&object).map_err(malformed)?;
            check_sizes(&object, canonical.len())?;
            check_pdu_format(&object, &version.rules.event_format).map_err(PduError::Malformed)?;
            if !matches!(object.get("content"), Some(CanonicalJsonValue::Object(_))) {
                return Err(PduError::Malformed("`content` is not an object".to_owned()));
            }
            let event_id = event_id_of(&object, version)?;
            return Self::from_fields(canonical, version, event_id);
        };
        Self::from_fields(json.to_owned(), version, event_id)
    }

    /// Reads the fields of an event whose id is known.
    pub(crate) fn from_fields(json: String, version: &RoomVersion, event_id: OwnedEventId) -> Result<Self, PduError> {
        let fields: Fields = serde_json::from_str(&json).map_err(malformed)?;
        let room_id = match fields.room_id {
            Some(room_id) => room_id,
            None if version.room_id_is_create_event() && fields.event_type == TimelineEventType::RoomCreate => {
                room_id_of_create(&event_id)?
            }
            None => return Err(PduError::Malformed("missing field `room_id`".to_owned())),
        };
        let redacts = if fields.event_type != TimelineEventType::RoomRedaction {
            None
        } else if version.rules.redaction.content_field_redacts {
            serde_json::from_str::<RedactionContent>(fields.content.get()).ok().and_then(|content| content.redacts)
        } else {
            fields.redacts
        };
        Ok(Self {
            event_id,
            room_id,
            sender: fields.sender,
            event_type: fields.event_type,
            state_key: fields.state_key,
            content: fields.content,
            redacts,
            origin_server_ts: fields.origin_server_ts,
            prev_events: fields.prev_events,
            auth_events: fields.auth_events,
            depth: fields.depth.into(),
            rejected: false,
            json,
        })
    }

    /// The event with everything removed that redaction removes in `version`
    /// ([redactions](https://spec.matrix.org/v1.19/client-server-api/#redactions)); same event id.
    pub fn redacted(&self, version: &RoomVersion) -> Result<Self, PduError> {
        let object: CanonicalJsonObject = serde_json::from_str(&self.json).map_err(malformed)?;
        let redacted = redact(object, &version.rules.redaction, None)?;
        let json = serde_json::to_string(&redacted).map_err(malformed)?;
        Ok(Self { rejected: self.rejected, ..Self::from_fields(json, version, self.event_id.clone())? })
    }

    /// Whether this is a state event of `event_type` with `state_key`.
    pub fn is_state(&self, event_type: &str, state_key: &str) -> bool {
        self.state_key.as_deref() == Some(state_key) && self.event_type.to_string() == event_type
    }

    /// A create event of a room version whose room id is that event's id, and which therefore carries none.
    fn is_create_without_room_id(&self) -> bool {
        self.event_type == TimelineEventType::RoomCreate
            && self.room_id.strip_sigil() == self.event_id.as_str().trim_start_matches('$')
    }
}

impl ruma::state_res::Event for Pdu {
    type Id = OwnedEventId;

    fn event_id(&self) -> &OwnedEventId {
        &self.event_id
    }
    fn room_id(&self) -> Option<&RoomId> {
        (!self.is_create_without_room_id()).then_some(&self.room_id)
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

/// The event id that the room version gives to an event: its reference hash.
pub(crate) fn event_id_of(object: &CanonicalJsonObject, version: &RoomVersion) -> Result<OwnedEventId, PduError> {
    let hash = reference_hash(object, &version.rules)?;
    OwnedEventId::try_from(format!("${hash}")).map_err(malformed)
}

/// The room id that a create event makes from room version 12 on: its own id with another sigil.
pub(crate) fn room_id_of_create(event_id: &ruma::EventId) -> Result<OwnedRoomId, PduError> {
    RoomId::new_v2(event_id.as_str().trim_start_matches('$')).map_err(malformed)
}

/// The size limits, before anything else of the format is looked at.
pub(crate) fn check_sizes(object: &CanonicalJsonObject, json_bytes: usize) -> Result<(), PduError> {
    if json_bytes > MAX_PDU_BYTES {
        return Err(PduError::TooLarge(format!("{json_bytes} bytes, at most {MAX_PDU_BYTES}")));
    }
    for field in ["type", "state_key", "sender", "room_id"] {
        if let Some(CanonicalJsonValue::String(value)) = object.get(field)
            && value.len() > MAX_FIELD_BYTES
        {
            return Err(PduError::TooLarge(format!("{field} of {} bytes, at most {MAX_FIELD_BYTES}", value.len())));
        }
    }
    Ok(())
}

pub(crate) fn malformed(error: impl std::fmt::Display) -> PduError {
    PduError::Malformed(error.to_string())
}
