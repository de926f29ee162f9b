//! The checks of an event that another server sent, as pure functions in the specification's order
//! ([checks performed on receipt](https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu)).
//!
//! 1. [`Received::parse`]: is it an event of this room version? Otherwise it is dropped.
//! 2. [`Received::wanted_keys`], then [`Received::verify`]: is it signed? Otherwise it is dropped.
//! 3. Does its hash match? Otherwise `verify` gives the redacted event, to be processed further in its place.
//! 4. to 6. [`authorize`], by its auth events, the state before it and the current state.
//!
//! Access control lists ([`crate::server_acl`]) come before all this, policy servers after.

use std::collections::{BTreeMap, BTreeSet};

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, EventId, MilliSecondsSinceUnixEpoch, OwnedServerName, UserId,
    events::StateEventType,
    signatures::{SigningKeyAlgorithm, verify_canonical_json_bytes},
};

use crate::{
    Pdu, RoomVersion,
    auth::{self, Refused},
    hashing, json,
    keys::{ServerKey, ServerKeys},
    pdu::PduError,
};

/// Standard base64 with or without padding and with whatever in the last bits, as servers have written it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// An event that passed the first check.
#[derive(Debug, Clone)]
pub struct Received {
    pdu: Pdu,
    object: CanonicalJsonObject,
}

/// Why an event's signatures do not do. It is dropped, or asked for again when the keys are there.
#[derive(Debug, thiserror::Error)]
pub enum Unverified {
    /// A server's signature is missing, or none is by a key that is known and counts at the event's time.
    #[error("no usable signature of {0}")]
    NoSignature(OwnedServerName),
    /// A signature by a known key is wrong.
    #[error("signature of {0} with {1}: {2}")]
    WrongSignature(OwnedServerName, String, String),
    /// The event's JSON does not do.
    #[error(transparent)]
    Pdu(#[from] PduError),
}

/// An event that passed the second check, redacted if it did not pass the third.
#[derive(Debug, Clone)]
pub struct Verified {
    /// The event to go on with.
    pub pdu: Pdu,
    /// Whether the content hash did not match, so that `pdu` is the redacted event.
    pub redacted: bool,
    /// Why the event is to be rejected whatever the state: it names a server that authorizes the join (room version 8 on),
    /// which has not signed it.
    pub rejection: Option<Refused>,
}

/// What becomes of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Allowed everywhere.
    Accepted,
    /// Refused by its auth events or by the state before it: shown to nobody, no part of the state, still in the graph
    /// ([rejection](https://spec.matrix.org/v1.19/server-server-api/#rejection)).
    Rejected(Step, String),
    /// Refused by the current state alone: not shown, no extremity, but takes part in state resolution
    /// ([soft failure](https://spec.matrix.org/v1.19/server-server-api/#soft-failure)).
    SoftFailed(String),
}

/// At which check an event was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The authorizing server's signature, which is an authorization rule.
    Signature,
    /// By its auth events.
    AuthEvents,
    /// By the state before it.
    StateBefore,
}

impl Received {
    /// The first check: JSON, sizes, format of the room version.
    pub fn parse(json: &str, version: &RoomVersion) -> Result<Self, PduError> {
        let (pdu, object) = Pdu::parse_untrusted(json, version)?;
        Ok(Self { pdu, object })
    }

    /// The event, not verified.
    pub fn pdu(&self) -> &Pdu {
        &self.pdu
    }

    /// The keys to look for before [`Self::verify`]: key ids by server, of the signatures that the event needs and has.
    pub fn wanted_keys(&self, version: &RoomVersion) -> Result<BTreeMap<OwnedServerName, Vec<String>>, PduError> {
        let copy = Copy::of(&self.pdu, &self.object, version)?;
        let mut servers = signers(&copy, version);
        servers.extend(authorizer(&copy, version).and_then(Result::ok));
        Ok(servers
            .into_iter()
            .map(|server| {
                let ids = signatures(&self.object, server.as_str()).map(|keys| keys.keys().cloned().collect());
                (server, ids.unwrap_or_default())
            })
            .collect())
    }

    /// The second and the third check, with the keys that could be had; `now` bounds how long keys count.
    pub fn verify(
        self,
        version: &RoomVersion,
        keys: &ServerKeys,
        now: MilliSecondsSinceUnixEpoch,
    ) -> Result<Verified, Unverified> {
        let text = hashing::signed_text(&self.object, version)?;
        let copy = Copy::of(&self.pdu, &self.object, version)?;
        let verify = |server: &OwnedServerName| {
            verify_server(&self.object, server, &text, |id| {
                keys.get(server, id).filter(|key| key.counts_for(version, copy.pdu.origin_server_ts, now))
            })
        };
        // The copy that is processed further decides whose signatures it needs: a third-party invite with a wrong hash
        // would otherwise lose, when redacted, what excused it from its sender's.
        for server in signers(&copy, version) {
            verify(&server)?;
        }
        let rejection = match authorizer(&copy, version) {
            None => None,
            Some(Ok(server)) => verify(&server).err().map(|error| Refused(error.to_string())),
            Some(Err(refused)) => Some(refused),
        };
        Ok(Verified { redacted: copy.redacted, pdu: copy.pdu, rejection })
    }
}

/// The event as it came, or redacted where its content hash does not match.
struct Copy {
    pdu: Pdu,
    content: CanonicalJsonObject,
    redacted: bool,
}

impl Copy {
    fn of(pdu: &Pdu, object: &CanonicalJsonObject, version: &RoomVersion) -> Result<Self, PduError> {
        let redacted = !hash_matches(object, version)?;
        let (pdu, object) = if redacted {
            let object = hashing::redact(object, version)?;
            let json = json::write(&object, version)?;
            (Pdu::from_fields(json, version, pdu.event_id.clone())?, object)
        } else {
            (pdu.clone(), object.clone())
        };
        let content = match object.get("content") {
            Some(CanonicalJsonValue::Object(content)) => content.clone(),
            _ => CanonicalJsonObject::new(),
        };
        Ok(Self { pdu, content, redacted })
    }

    fn membership(&self) -> Option<&str> {
        match self.content.get("membership") {
            Some(CanonicalJsonValue::String(membership)) if self.pdu.event_type.to_string() == "m.room.member" => {
                Some(membership)
            }
            _ => None,
        }
    }
}

fn hash_matches(object: &CanonicalJsonObject, version: &RoomVersion) -> Result<bool, PduError> {
    let Some(CanonicalJsonValue::Object(hashes)) = object.get("hashes") else { return Ok(false) };
    let Some(CanonicalJsonValue::String(hash)) = hashes.get("sha256") else { return Ok(false) };
    let expected = hashing::content_hash(object, version)?;
    Ok(BASE64.decode(hash).is_ok_and(|hash| hash == expected))
}

/// The servers that must have signed an event: its sender's, except for third-party invites, and in room versions 1 and 2
/// also the one in its id
/// ([validating](https://spec.matrix.org/v1.19/server-server-api/#validating-hashes-and-signatures-on-received-events)).
fn signers(copy: &Copy, version: &RoomVersion) -> BTreeSet<OwnedServerName> {
    let mut servers = BTreeSet::new();
    let third_party = copy.membership() == Some("invite")
        && matches!(copy.content.get("third_party_invite"), Some(CanonicalJsonValue::Object(_)));
    if !third_party {
        servers.insert(copy.pdu.sender.server_name().to_owned());
    }
    if version.rules.signatures.check_event_id_server {
        servers.extend(copy.pdu.event_id.server_name().map(ToOwned::to_owned));
    }
    servers
}

/// The server that authorizes a restricted join, which must have signed it too; an error where the event names no user.
fn authorizer(copy: &Copy, version: &RoomVersion) -> Option<Result<OwnedServerName, Refused>> {
    if !version.facts.restricted || copy.membership().is_none() {
        return None;
    }
    let user = copy.content.get("join_authorised_via_users_server")?;
    let user = match user {
        CanonicalJsonValue::String(user) => UserId::parse(user).ok(),
        _ => None,
    };
    Some(match user {
        Some(user) => Ok(user.server_name().to_owned()),
        None => Err(Refused("`join_authorised_via_users_server` is no user id".to_owned())),
    })
}

fn signatures<'a>(object: &'a CanonicalJsonObject, server: &str) -> Option<&'a CanonicalJsonObject> {
    let CanonicalJsonValue::Object(servers) = object.get("signatures")? else { return None };
    match servers.get(server)? {
        CanonicalJsonValue::Object(keys) => Some(keys),
        _ => None,
    }
}

/// All of a server's signatures by keys that count must be right, and there must be one.
fn verify_server<'a>(
    object: &CanonicalJsonObject,
    server: &OwnedServerName,
    text: &str,
    key: impl Fn(&str) -> Option<&'a ServerKey>,
) -> Result<(), Unverified> {
    let mut found = false;
    for (id, signature) in signatures(object, server.as_str()).into_iter().flatten() {
        let Some(key) = key(id).filter(|_| id.starts_with("ed25519:")) else { continue };
        let wrong = |error: String| Unverified::WrongSignature(server.clone(), id.clone(), error);
        let CanonicalJsonValue::String(signature) = signature else { return Err(wrong("not a string".to_owned())) };
        let signature = BASE64.decode(signature).map_err(|error| wrong(error.to_string()))?;
        verify_canonical_json_bytes(&SigningKeyAlgorithm::Ed25519, &key.key, &signature, text.as_bytes())
            .map_err(|error| wrong(error.to_string()))?;
        found = true;
    }
    if found { Ok(()) } else { Err(Unverified::NoSignature(server.clone())) }
}

/// The fourth to the sixth check.
///
/// `find` gives auth events by id (those that were rejected with [`Pdu::rejected`] set; an unknown one rejects the
/// event, so fetch them first), `before` the state before the event and `current` the room's current state, both
/// at least for [`auth::auth_types`] and the create event.
pub fn authorize<'a>(
    version: &RoomVersion,
    event: &Verified,
    find: impl Fn(&EventId) -> Option<&'a Pdu>,
    before: impl Fn(&StateEventType, &str) -> Option<&'a Pdu>,
    current: impl Fn(&StateEventType, &str) -> Option<&'a Pdu>,
) -> Outcome {
    if let Some(Refused(reason)) = &event.rejection {
        return Outcome::Rejected(Step::Signature, reason.clone());
    }
    if let Err(Refused(reason)) = auth::check_auth_events(version, &event.pdu, find) {
        return Outcome::Rejected(Step::AuthEvents, reason);
    }
    if let Err(Refused(reason)) = auth::check_state(version, &event.pdu, before) {
        return Outcome::Rejected(Step::StateBefore, reason);
    }
    match auth::check_state(version, &event.pdu, current) {
        Ok(()) => Outcome::Accepted,
        Err(Refused(reason)) => Outcome::SoftFailed(reason),
    }
}
