//! Hashes, signatures and redaction of events, on their JSON
//! ([signing events](https://spec.matrix.org/v1.19/server-server-api/#signing-events)).
//!
//! ruma's own functions do the same for room versions with strict JSON, and tests hold these to them; the detour over
//! [`crate::json`] is what older versions need.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use ruma::{CanonicalJsonObject, CanonicalJsonValue, OwnedEventId, RoomId, canonical_json, signatures::KeyPair};
use sha2::{Digest, Sha256};

use crate::{
    RoomVersion, SigningKey, json,
    pdu_error::{PduError, malformed},
    room_version::EventIds,
};

/// The event with everything removed that redaction removes
/// ([redactions](https://spec.matrix.org/v1.19/client-server-api/#redactions)).
pub(crate) fn redact(object: &CanonicalJsonObject, version: &RoomVersion) -> Result<CanonicalJsonObject, PduError> {
    Ok(canonical_json::redact(object.clone(), &version.rules.redaction, None)?)
}

/// The [content hash](https://spec.matrix.org/v1.19/server-server-api/#calculating-the-content-hash-for-an-event).
pub(crate) fn content_hash(object: &CanonicalJsonObject, version: &RoomVersion) -> Result<[u8; 32], PduError> {
    hash_without(object.clone(), &["hashes", "signatures", "unsigned"], version)
}

/// The [reference hash](https://spec.matrix.org/v1.19/server-server-api/#calculating-the-reference-hash-for-an-event).
pub(crate) fn reference_hash(object: &CanonicalJsonObject, version: &RoomVersion) -> Result<[u8; 32], PduError> {
    hash_without(redact(object, version)?, &["signatures", "unsigned"], version)
}

/// What is signed: the redacted event without signatures and `unsigned`.
pub(crate) fn signed_text(object: &CanonicalJsonObject, version: &RoomVersion) -> Result<String, PduError> {
    let mut object = redact(object, version)?;
    object.remove("signatures");
    object.remove("unsigned");
    json::write(&object, version)
}

/// Adds the content hash.
pub(crate) fn add_hash(object: &mut CanonicalJsonObject, version: &RoomVersion) -> Result<(), PduError> {
    let hash = STANDARD_NO_PAD.encode(content_hash(object, version)?);
    let hashes = CanonicalJsonObject::from([("sha256".to_owned(), CanonicalJsonValue::String(hash))]);
    object.insert("hashes".to_owned(), CanonicalJsonValue::Object(hashes));
    Ok(())
}

/// Adds a signature beside those that are there.
pub(crate) fn add_signature(
    object: &mut CanonicalJsonObject,
    version: &RoomVersion,
    key: &SigningKey,
) -> Result<(), PduError> {
    let signature = key.pair.sign(signed_text(object, version)?.as_bytes());
    let empty = || CanonicalJsonValue::Object(CanonicalJsonObject::new());
    let CanonicalJsonValue::Object(servers) = object.entry("signatures".to_owned()).or_insert_with(empty) else {
        return Err(malformed("`signatures` is not an object"));
    };
    let CanonicalJsonValue::Object(keys) = servers.entry(key.server_name.to_string()).or_insert_with(empty) else {
        return Err(malformed("`signatures` has something else than objects"));
    };
    keys.insert(signature.id(), CanonicalJsonValue::String(signature.base64()));
    Ok(())
}

/// The id of an event: its reference hash, or what it carries in room versions 1 and 2.
pub(crate) fn event_id(object: &CanonicalJsonObject, version: &RoomVersion) -> Result<OwnedEventId, PduError> {
    let id = match version.facts.event_ids {
        EventIds::Named => match object.get("event_id") {
            Some(CanonicalJsonValue::String(id)) => id.clone(),
            _ => return Err(malformed("missing field `event_id`")),
        },
        EventIds::Hash => format!("${}", STANDARD_NO_PAD.encode(reference_hash(object, version)?)),
        EventIds::UrlSafeHash => format!("${}", URL_SAFE_NO_PAD.encode(reference_hash(object, version)?)),
    };
    let id = OwnedEventId::try_from(id).map_err(malformed)?;
    if version.facts.event_ids == EventIds::Named && id.server_name().is_none() {
        return Err(malformed("`event_id` names no server"));
    }
    Ok(id)
}

/// The room id that a create event makes from room version 12 on: its own id with another sigil.
pub(crate) fn room_id_of_create(event_id: &ruma::EventId) -> Result<ruma::OwnedRoomId, PduError> {
    RoomId::new_v2(event_id.as_str().trim_start_matches('$')).map_err(malformed)
}

fn hash_without(mut object: CanonicalJsonObject, fields: &[&str], version: &RoomVersion) -> Result<[u8; 32], PduError> {
    for field in fields {
        object.remove(*field);
    }
    Ok(Sha256::digest(json::write(&object, version)?.as_bytes()).into())
}
