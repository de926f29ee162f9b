//! Building this server's own events.

use std::collections::BTreeMap;

use rand::{Rng, distributions::Alphanumeric};
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, Int, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId,
    events::TimelineEventType,
};
use serde_json::value::RawValue;

use crate::{
    Pdu, RoomVersion, SigningKey,
    format::{self, check_sizes, max_depth},
    hashing, json,
    pdu_error::{PduError, malformed},
    room_version::EventIds,
};

/// What room versions 1 and 2 need besides, and others ignore.
#[derive(Debug, Clone, Default)]
pub struct Named {
    /// The event's id; a random one of the signing server when absent.
    pub event_id: Option<OwnedEventId>,
    /// [`Pdu::reference_hash`] of every previous and auth event.
    pub hashes: BTreeMap<OwnedEventId, String>,
}

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
    /// `depth`; above what the room version has it becomes the greatest that it has.
    pub depth: u64,
    /// What room versions 1 and 2 need besides.
    pub named: Named,
}

impl Unsigned {
    /// Hashes and signs the event and checks its size and format.
    pub fn sign(self, version: &RoomVersion, key: &SigningKey) -> Result<Pdu, PduError> {
        let mut content = json::parse(self.content.get(), version)?;
        let mut object = CanonicalJsonObject::new();
        if self.event_type == TimelineEventType::RoomRedaction
            && let Some(redacts) = &self.redacts
        {
            if version.facts.redacts_in_content {
                content.insert("redacts".to_owned(), text(redacts));
            } else {
                content.remove("redacts");
                object.insert("redacts".to_owned(), text(redacts));
            }
        }
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
        object.insert("depth".to_owned(), depth(self.depth, version)?);
        object.insert("prev_events".to_owned(), self.named.references(&self.prev_events, version)?);
        object.insert("auth_events".to_owned(), self.named.references(&self.auth_events, version)?);
        if version.facts.event_ids == EventIds::Named {
            let id = self.named.event_id.map_or_else(|| random_id(key), String::from);
            object.insert("event_id".to_owned(), CanonicalJsonValue::String(id));
        }
        hashing::add_hash(&mut object, version)?;
        hashing::add_signature(&mut object, version, key)?;
        let json = json::write(&object, version)?;
        check_sizes(&object, json.len())?;
        format::check(&object, version)?;
        Pdu::from_fields(json, version, hashing::event_id(&object, version)?)
    }
}

impl Named {
    /// `prev_events` or `auth_events` in the room version's form.
    fn references(&self, events: &[OwnedEventId], version: &RoomVersion) -> Result<CanonicalJsonValue, PduError> {
        let reference = |id: &OwnedEventId| {
            if !version.references_have_hashes() {
                return Ok(text(id));
            }
            let hash = self.hashes.get(id).ok_or_else(|| malformed(format!("no reference hash of {id}")))?;
            let hashes = CanonicalJsonObject::from([("sha256".to_owned(), text(hash))]);
            Ok(CanonicalJsonValue::Array(vec![text(id), CanonicalJsonValue::Object(hashes)]))
        };
        events.iter().map(reference).collect::<Result<_, _>>().map(CanonicalJsonValue::Array)
    }
}

fn random_id(key: &SigningKey) -> String {
    let opaque: String = rand::thread_rng().sample_iter(Alphanumeric).take(24).map(char::from).collect();
    format!("${opaque}:{}", key.server_name)
}

fn depth(depth: u64, version: &RoomVersion) -> Result<CanonicalJsonValue, PduError> {
    let depth = depth.min(max_depth(version));
    if let Ok(depth) = Int::try_from(depth) {
        return Ok(CanonicalJsonValue::Integer(depth));
    }
    // Room versions before 6 go beyond canonical integers.
    let depth = json::parse(&format!("{{\"depth\":{depth}}}"), version)?.remove("depth");
    depth.ok_or_else(|| malformed("no depth"))
}

fn text(value: &(impl AsRef<str> + ?Sized)) -> CanonicalJsonValue {
    CanonicalJsonValue::String(value.as_ref().to_owned())
}

fn integer(value: u64) -> CanonicalJsonValue {
    CanonicalJsonValue::Integer(Int::try_from(value).unwrap_or(Int::MAX))
}
