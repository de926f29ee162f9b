//! Persistent data units: events as they are stored and exchanged between servers.

use ruma::{
    CanonicalJsonObject, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId,
    events::TimelineEventType,
};
use serde::Deserialize;
use serde_json::value::RawValue;

pub use crate::format::{MAX_AUTH_EVENTS, MAX_FIELD_BYTES, MAX_PDU_BYTES, MAX_PREV_EVENTS};
pub use crate::pdu_error::PduError;
use crate::{
    RoomVersion, SigningKey,
    format::{self, Reference},
    hashing, json,
    pdu_error::malformed,
};

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
    /// `content`, as it stands in the event (redacted events: what remains). Only power levels of room versions 1 to 5
    /// that are no integers are cut to the integers that they stand for
    /// ([floats](https://spec.matrix.org/v1.19/rooms/v1/#mroompower_levels-events-accept-values-as-floats)).
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
    /// Canonical JSON of the whole event, without `unsigned`: also the form in which servers exchange it.
    pub json: String,
}

/// The fields of an event that [`Pdu`] keeps, as they stand in its JSON.
#[derive(Deserialize)]
struct Fields<'a> {
    room_id: Option<OwnedRoomId>,
    sender: OwnedUserId,
    #[serde(rename = "type")]
    event_type: TimelineEventType,
    state_key: Option<String>,
    content: Box<RawValue>,
    #[serde(borrow)]
    redacts: Option<&'a RawValue>,
    origin_server_ts: MilliSecondsSinceUnixEpoch,
    prev_events: Vec<Reference<OwnedEventId>>,
    auth_events: Vec<Reference<OwnedEventId>>,
    depth: u64,
}

#[derive(Deserialize)]
struct RedactionContent {
    redacts: Option<OwnedEventId>,
}

impl Pdu {
    /// Parses stored or received JSON.
    ///
    /// Without `event_id` the text is untrusted: it must be JSON as the room version wants it, within the size limits
    /// and of the room version's format; `unsigned`, which anyone may have written, is dropped; and the event id is
    /// computed, or taken from the event in room versions 1 and 2. Nothing is verified yet: see [`crate::receive`].
    /// With `event_id` the text is one that this server stored after such checks, and only the fields are read.
    pub fn parse(json: &str, version: &RoomVersion, event_id: Option<OwnedEventId>) -> Result<Self, PduError> {
        match event_id {
            Some(event_id) => Self::from_fields(json.to_owned(), version, event_id),
            None => Ok(Self::parse_untrusted(json, version)?.0),
        }
    }

    /// The event and its JSON.
    pub(crate) fn parse_untrusted(json: &str, version: &RoomVersion) -> Result<(Self, CanonicalJsonObject), PduError> {
        let mut object = json::parse(json, version)?;
        object.remove("unsigned");
        let canonical = json::write(&object, version)?;
        format::check_sizes(&object, canonical.len())?;
        format::check(&object, version)?;
        let event_id = hashing::event_id(&object, version)?;
        let pdu = Self::from_fields(canonical, version, event_id)?;
        let most = format::max_depth(version);
        if pdu.depth > most {
            return Err(malformed(format!("`depth` is {}, at most {most}", pdu.depth)));
        }
        Ok((pdu, object))
    }

    /// Reads the fields of an event whose id is known.
    pub(crate) fn from_fields(json: String, version: &RoomVersion, event_id: OwnedEventId) -> Result<Self, PduError> {
        let fields: Fields<'_> = serde_json::from_str(&json).map_err(malformed)?;
        let room_id = match fields.room_id {
            Some(room_id) => room_id,
            None if version.room_id_is_create_event() && fields.event_type == TimelineEventType::RoomCreate => {
                hashing::room_id_of_create(&event_id)?
            }
            None => return Err(PduError::Malformed("missing field `room_id`".to_owned())),
        };
        // A redaction whose target is no event id redacts nothing; it is an event all the same.
        let redacts = if fields.event_type != TimelineEventType::RoomRedaction {
            None
        } else if version.facts.redacts_in_content {
            serde_json::from_str::<RedactionContent>(fields.content.get()).ok().and_then(|content| content.redacts)
        } else {
            fields.redacts.and_then(|redacts| serde_json::from_str(redacts.get()).ok())
        };
        let mut content = fields.content;
        if !version.facts.strict_json && fields.event_type == TimelineEventType::RoomPowerLevels {
            content = json::integer_levels(content)?;
        }
        Ok(Self {
            event_id,
            room_id,
            sender: fields.sender,
            event_type: fields.event_type,
            state_key: fields.state_key,
            content,
            redacts,
            origin_server_ts: fields.origin_server_ts,
            prev_events: fields.prev_events.into_iter().map(|reference| reference.0).collect(),
            auth_events: fields.auth_events.into_iter().map(|reference| reference.0).collect(),
            depth: fields.depth,
            rejected: false,
            json,
        })
    }

    /// The event with everything removed that redaction removes in `version`
    /// ([redactions](https://spec.matrix.org/v1.19/client-server-api/#redactions)); same event id.
    pub fn redacted(&self, version: &RoomVersion) -> Result<Self, PduError> {
        let redacted = hashing::redact(&json::parse(&self.json, version)?, version)?;
        let json = json::write(&redacted, version)?;
        Ok(Self { rejected: self.rejected, ..Self::from_fields(json, version, self.event_id.clone())? })
    }

    /// The event with this server's signature beside the others, as invited users' servers and servers that authorize
    /// restricted joins add it; same event id.
    pub fn signed_also(&self, version: &RoomVersion, key: &SigningKey) -> Result<Self, PduError> {
        let mut object = json::parse(&self.json, version)?;
        hashing::add_signature(&mut object, version, key)?;
        let json = json::write(&object, version)?;
        format::check_sizes(&object, json.len())?;
        Ok(Self { json, ..self.clone() })
    }

    /// The form in which servers exchange the event (its JSON as it was signed, without `unsigned`).
    #[expect(clippy::missing_panics_doc, reason = "it never does")]
    pub fn to_federation(&self) -> Box<RawValue> {
        // `json` was parsed when the event was made.
        RawValue::from_string(self.json.clone()).expect("an event's JSON is JSON")
    }

    /// The reference hash in unpadded base64, which events of room versions 1 and 2 give beside the ids of others.
    pub fn reference_hash(&self, version: &RoomVersion) -> Result<String, PduError> {
        use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
        Ok(STANDARD_NO_PAD.encode(hashing::reference_hash(&json::parse(&self.json, version)?, version)?))
    }

    /// Whether this is a state event of `event_type` with `state_key`.
    pub fn is_state(&self, event_type: &str, state_key: &str) -> bool {
        self.state_key.as_deref() == Some(state_key) && self.event_type.to_string() == event_type
    }

    /// The id of the room's create event, where the room id tells it (room version 12 on).
    pub fn create_event_id(&self) -> Option<OwnedEventId> {
        self.room_id.server_name().is_none().then(|| format!("${}", self.room_id.strip_sigil()).try_into().ok())?
    }

    /// A create event of a room version whose room id is that event's id, and which therefore carries none. Other room
    /// ids name a server.
    fn is_create_without_room_id(&self) -> bool {
        self.event_type == TimelineEventType::RoomCreate
            && self.room_id.server_name().is_none()
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
