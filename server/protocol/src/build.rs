//! Building this server's own events.

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, Int, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId,
    events::TimelineEventType, signatures::hash_and_sign_event,
};
use serde_json::value::RawValue;

use crate::{
    Pdu, RoomVersion, SigningKey,
    pdu::{PduError, check_sizes, event_id_of, malformed, room_id_of_create},
};

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
        let mut content: CanonicalJsonObject = serde_json::from_str(self.content.get()).map_err(malformed)?;
        let mut object = CanonicalJsonObject::new();
        if let Some(redacts) = &self.redacts {
            if version.rules.redaction.content_field_redacts {
                content.insert("redacts".to_owned(), text(redacts));
            } else {
                content.remove("redacts");
                object.insert("redacts".to_owned(), text(redacts));
            }
        }
        let kept_content = serde_json::to_string(&content).and_then(RawValue::from_string).map_err(malformed)?;
        object.insert("content".to_owned(), CanonicalJsonValue::Object(content));
        object.insert("type".to_owned(), text(&self.event_type.to_string()));
        object.insert("sender".to_owned(), text(&self.sender));
        if let Some(room_id) = &self.room_id {
            object.insert("room_id".to_owned(), text(room_id));
        }
        if let Some(state_key) = &self.state_key {
            object.insert("state_key".to_owned(), text(state_key));
        }
        object.insert("origin_server_ts".to_owned(), integer(self.origin_server_ts.0.into()));
        object.insert("depth".to_owned(), integer(self.depth));
        object.insert("prev_events".to_owned(), ids(&self.prev_events));
        object.insert("auth_events".to_owned(), ids(&self.auth_events));

        hash_and_sign_event(key.server_name.as_str(), &key.pair, &mut object, &version.rules.redaction)?;
        let json = serde_json::to_string(&object).map_err(malformed)?;
        check_sizes(&object, json.len())?;
        let event_id = event_id_of(&object, version)?;
        let room_id = match self.room_id {
            Some(room_id) => room_id,
            None => room_id_of_create(&event_id)?,
        };
        Ok(Pdu {
            event_id,
            room_id,
            sender: self.sender,
            event_type: self.event_type,
            state_key: self.state_key,
            content: kept_content,
            redacts: self.redacts,
            origin_server_ts: self.origin_server_ts,
            prev_events: self.prev_events,
            auth_events: self.auth_events,
            depth: self.depth,
            rejected: false,
            json,
        })
    }
}

fn text(value: &(impl AsRef<str> + ?Sized)) -> CanonicalJsonValue {
    CanonicalJsonValue::String(value.as_ref().to_owned())
}

fn ids(ids: &[OwnedEventId]) -> CanonicalJsonValue {
    CanonicalJsonValue::Array(ids.iter().map(text).collect())
}

/// The largest canonical integer stands for anything above it, as the specification asks for `depth`.
fn integer(value: u64) -> CanonicalJsonValue {
    CanonicalJsonValue::Integer(Int::try_from(value).unwrap_or(Int::MAX))
}
