//! The format of events by room version: which fields there are, of which types, how large.

use ruma::{CanonicalJsonObject, CanonicalJsonValue};
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, SeqAccess, Visitor},
};

use crate::{
    RoomVersion,
    pdu_error::{PduError, malformed},
};

/// Largest event, in bytes of canonical JSON with its signatures and without `unsigned`
/// ([size limits](https://spec.matrix.org/v1.19/client-server-api/#size-limits)).
pub const MAX_PDU_BYTES: usize = 65_536;

/// Longest `type`, `state_key`, `sender`, `room_id` and `event_id`, in bytes (not characters).
pub const MAX_FIELD_BYTES: usize = 255;

/// Most entries of `prev_events`.
pub const MAX_PREV_EVENTS: usize = 20;

/// Most entries of `auth_events`.
pub const MAX_AUTH_EVENTS: usize = 10;

/// Greatest `depth`: 2^53 − 1, and 2^63 − 1 in versions before 6.
pub(crate) fn max_depth(version: &RoomVersion) -> u64 {
    if version.facts.strict_json { (1 << 53) - 1 } else { i64::MAX.unsigned_abs() }
}

/// The size limits, before anything else of the format is looked at.
pub(crate) fn check_sizes(object: &CanonicalJsonObject, json_bytes: usize) -> Result<(), PduError> {
    if json_bytes > MAX_PDU_BYTES {
        return Err(PduError::TooLarge(format!("{json_bytes} bytes, at most {MAX_PDU_BYTES}")));
    }
    for field in ["type", "state_key", "sender", "room_id", "event_id"] {
        if let Some(CanonicalJsonValue::String(value)) = object.get(field)
            && value.len() > MAX_FIELD_BYTES
        {
            return Err(PduError::TooLarge(format!("{field} of {} bytes, at most {MAX_FIELD_BYTES}", value.len())));
        }
    }
    Ok(())
}

/// What the types of [`crate::Pdu`]'s fields do not tell.
pub(crate) fn check(object: &CanonicalJsonObject, version: &RoomVersion) -> Result<(), PduError> {
    use CanonicalJsonValue as V;
    if !matches!(object.get("content"), Some(V::Object(_))) {
        return Err(malformed("`content` is not an object"));
    }
    for field in ["state_key", "room_id"] {
        if !matches!(object.get(field), None | Some(V::String(_))) {
            return Err(malformed(format!("`{field}` is not a string")));
        }
    }
    match object.get("hashes") {
        Some(V::Object(hashes)) if matches!(hashes.get("sha256"), Some(V::String(_))) => {}
        _ => return Err(malformed("`hashes` has no sha256")),
    }
    match object.get("signatures") {
        Some(V::Object(servers)) if servers.values().all(|keys| matches!(keys, V::Object(_))) => {}
        _ => return Err(malformed("`signatures` is no object of objects")),
    }
    for (field, most) in [("prev_events", MAX_PREV_EVENTS), ("auth_events", MAX_AUTH_EVENTS)] {
        let Some(V::Array(events)) = object.get(field) else {
            return Err(malformed(format!("`{field}` is not an array")));
        };
        if events.len() > most {
            return Err(malformed(format!("`{field}` has {} entries, at most {most}", events.len())));
        }
        let good = |entry: &V| match entry {
            V::String(_) => !version.references_have_hashes(),
            V::Array(pair) => version.references_have_hashes() && matches!(pair[..], [V::String(_), V::Object(_)]),
            _ => false,
        };
        if !events.iter().all(good) {
            return Err(malformed(format!("`{field}` has entries of another form than this room version's")));
        }
    }
    if version.room_id_is_create_event()
        && let (Some(V::String(room_id)), Some(V::Array(events))) = (object.get("room_id"), object.get("auth_events"))
    {
        let create = |entry: &V| matches!(entry, V::String(id) if id.get(1..) == room_id.get(1..));
        if events.iter().any(create) {
            return Err(malformed("`auth_events` has the create event"));
        }
    }
    Ok(())
}

/// A reference to another event: its id, alone or in a pair with its hashes.
pub(crate) struct Reference<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Reference<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ReferenceVisitor<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ReferenceVisitor<T> {
            type Value = T;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an event id, or a pair of it and its hashes")
            }

            fn visit_str<E: Error>(self, id: &str) -> Result<T, E> {
                T::deserialize(serde::de::value::StrDeserializer::new(id))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<T, A::Error> {
                let id = pair.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &"a pair"))?;
                while pair.next_element::<IgnoredAny>()?.is_some() {}
                Ok(id)
            }
        }

        deserializer.deserialize_any(ReferenceVisitor(std::marker::PhantomData)).map(Self)
    }
}
