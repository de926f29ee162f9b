//! Tests of events: hashes and ids against values worked out by other means, strictness, sizes, redaction.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use ruma::{
    CanonicalJsonObject, MilliSecondsSinceUnixEpoch, OwnedEventId, RoomVersionId, UInt,
    events::TimelineEventType,
    owned_event_id, owned_room_id, owned_server_name, owned_user_id,
    serde::Base64,
    signatures::{PublicKeyMap, Verified, sign_json, verify_event},
};
use serde_json::{Value, json, value::to_raw_value};

use crate::{
    Pdu, RoomVersion, SigningKey,
    build::{Named, Unsigned},
    pdu::{MAX_PDU_BYTES, PduError},
};

pub(crate) fn version(id: &RoomVersionId) -> RoomVersion {
    RoomVersion::known(id).unwrap()
}

/// The key of the specification's [test vectors](https://spec.matrix.org/v1.19/appendices/#signing-key).
pub(crate) fn key() -> SigningKey {
    // The frame of a PKCS#8 document around the seed.
    let mut document = STANDARD_NO_PAD.decode("MC4CAQAwBQYDK2VwBCIEIA").unwrap();
    let seed: Base64 = Base64::parse("YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1").unwrap();
    document.extend(seed.as_bytes());
    SigningKey::from_pkcs8(owned_server_name!("domain"), "1".to_owned(), &document).unwrap()
}

pub(crate) fn unsigned(event_type: &str, state_key: Option<&str>, content: &Value) -> Unsigned {
    Unsigned {
        room_id: Some(owned_room_id!("!x:domain")),
        sender: owned_user_id!("@a:domain"),
        event_type: event_type.into(),
        state_key: state_key.map(str::to_owned),
        content: to_raw_value(content).unwrap(),
        redacts: None,
        origin_server_ts: MilliSecondsSinceUnixEpoch(UInt::from(1_000_000_u32)),
        prev_events: vec![owned_event_id!("$p")],
        auth_events: vec![owned_event_id!("$q"), owned_event_id!("$r")],
        depth: 3,
        named: Named {
            event_id: Some(owned_event_id!("$e:domain")),
            hashes: [("$p", "cA"), ("$q", "cQ"), ("$r", "cg")]
                .map(|(id, hash)| (id.try_into().unwrap(), hash.into()))
                .into(),
        },
    }
}

fn create(room_id: bool, content: &Value) -> Unsigned {
    let event = unsigned("m.room.create", Some(""), content);
    let room_id = event.room_id.clone().filter(|_| room_id);
    Unsigned { room_id, prev_events: Vec::new(), auth_events: Vec::new(), depth: 1, ..event }
}

#[test]
fn the_specification_s_signature_of_an_empty_object() {
    let mut object = CanonicalJsonObject::new();
    let key = key();
    sign_json("domain", &key.pair, &mut object).unwrap();
    let signed: Value = serde_json::to_value(object).unwrap();
    assert_eq!(
        signed["signatures"]["domain"]["ed25519:1"],
        "K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ"
    );
}

#[test]
fn hashes_and_ids() {
    use RoomVersionId as V;
    let target = Some(owned_event_id!("$t"));
    let redaction = |content| Unsigned { redacts: target.clone(), ..unsigned("m.room.redaction", None, &content) };
    let message = json!({ "body": "Grüße \u{2028} \"x\"", "n": [1, -2, { "b": true, "a": null }] });
    let member = json!({
        "membership": "join", "displayname": "A", "join_authorised_via_users_server": "@b:domain",
    });
    // Content hashes and event ids that a second implementation (Python's json and hashlib) gives.
    let cases: Vec<(&str, &[V], Unsigned, &str, &str)> = vec![
        (
            "message",
            &[V::V10, V::V11, V::V12],
            unsigned("m.room.message", None, &message),
            "lkar/WfpSiYEZKuQzY5S6HSRlVfxBVWRpfoGrnjATio",
            "$FeTSfJ8O82UJk9Iv3g3p007VD8DWjd_9yUH6S8lnaKg",
        ),
        (
            "restricted join",
            &[V::V10, V::V11, V::V12],
            unsigned("m.room.member", Some("@a:domain"), &member),
            "Yyv0bZsRg4TP79/YVPKogEdYZl6IqN6dXLBW1Lfu1TI",
            "$R50wfp7NN-oYemc3uuYEpCgEvYORWMu4OkwTbjGM144",
        ),
        (
            "redaction, its target at the top level",
            &[V::V10],
            redaction(json!({ "reason": "r", "redacts": "$overwritten" })),
            "y/tvytW8BQJNVohE+fhKSIVY7mMOYwgvOd3d10L6kJQ",
            "$m5prLfaknhxsXy73D1MBUX1aEvuRWFl4WeJPTMcHCNE",
        ),
        (
            "redaction, its target in the content",
            &[V::V11, V::V12],
            redaction(json!({ "reason": "r" })),
            "I2yXaMO5aTN2TR8AoghtcJFEhfa0yxClzPiAupdWkOA",
            "$flsfMkKqGY1kGKuwXx72ZsranY8cmQ9RqwtWol6PKoo",
        ),
        (
            "create event with a room id",
            &[V::V10],
            create(true, &json!({ "creator": "@a:domain", "room_version": "10" })),
            "rbh+ltpshqXfJghyaoeezYICNF23N4yalkGqTHy49cY",
            "$RguOd1suBfCTmO-W5peOO379o_en97x8WEtI5sJ9C50",
        ),
        (
            "create event that makes the room id",
            &[V::V12],
            create(false, &json!({ "room_version": "12", "type": "m.space" })),
            "jMoF03QidFi3KcjfHzR5zghuvYWxXTq9warngphrlt0",
            "$PZCszRFvzdHQAtn7cOIDmMMzAfMSMPaOoS-MSMBY_io",
        ),
    ];
    let key = key();
    let public_key = Base64::new(key.pair.public_key().to_vec());
    let keys = PublicKeyMap::from([("domain".to_owned(), BTreeMap::from([("ed25519:1".to_owned(), public_key)]))]);
    for (case, versions, event, hash, id) in cases {
        for version_id in versions {
            let case = format!("{case}, version {version_id}");
            let version = version(version_id);
            let pdu = event.clone().sign(&version, &key).unwrap();
            let object: CanonicalJsonObject = serde_json::from_str(&pdu.json).unwrap();
            let value: Value = serde_json::from_str(&pdu.json).unwrap();
            assert_eq!(value["hashes"]["sha256"], hash, "{case}");
            assert_eq!(pdu.event_id, id, "{case}");
            assert_eq!(verify_event(&keys, &object, &version.rules).unwrap(), Verified::All, "{case}");
            let parsed = Pdu::parse(&pdu.json, &version, None).unwrap();
            assert_eq!(format!("{parsed:?}"), format!("{pdu:?}"), "{case}: parsed it is the same");
            assert_eq!(parsed.json, pdu.json, "{case}");
            if *version_id == V::V12 && case.starts_with("create") {
                assert_eq!(pdu.room_id, "!PZCszRFvzdHQAtn7cOIDmMMzAfMSMPaOoS-MSMBY_io", "{case}");
                assert!(value.get("room_id").is_none(), "{case}");
            }
        }
    }
}

#[test]
fn what_is_no_event() {
    let good = unsigned("m.room.message", None, &json!({})).sign(&version(&RoomVersionId::V11), &key()).unwrap();
    let good: Value = serde_json::from_str(&good.json).unwrap();
    let changed = |pointer: &str, value: Value| {
        let mut event = good.clone();
        match value {
            // Stands for "without the field".
            Value::String(nothing) if nothing == "-" => {
                event.as_object_mut().unwrap().remove(&pointer[1..]);
            }
            value => event[&pointer[1..]] = value,
        }
        event.to_string()
    };
    let long = |length| json!("x".repeat(length));
    let cases = [
        ("unchanged", good.to_string(), "fine"),
        ("no JSON", "{".to_owned(), "malformed"),
        ("no object", "[]".to_owned(), "malformed"),
        ("float", changed("/content", json!({ "x": 1.5 })), "malformed"),
        ("float that is whole", changed("/content", json!({ "x": 1.0 })), "malformed"),
        ("largest integer", changed("/content", json!({ "x": 9_007_199_254_740_991_i64 })), "fine"),
        ("integer out of range", changed("/content", json!({ "x": 9_007_199_254_740_992_i64 })), "malformed"),
        ("smallest integer", changed("/content", json!({ "x": -9_007_199_254_740_991_i64 })), "fine"),
        ("integer out of range below", changed("/content", json!({ "x": -9_007_199_254_740_992_i64 })), "malformed"),
        ("content is a text", changed("/content", json!("x")), "malformed"),
        ("no content", changed("/content", json!("-")), "malformed"),
        ("no type", changed("/type", json!("-")), "malformed"),
        ("type is a number", changed("/type", json!(1)), "malformed"),
        ("no sender", changed("/sender", json!("-")), "malformed"),
        ("sender is no user id", changed("/sender", json!("a")), "malformed"),
        ("no room id", changed("/room_id", json!("-")), "malformed"),
        ("state key is null", changed("/state_key", Value::Null), "malformed"),
        ("negative depth", changed("/depth", json!(-1)), "malformed"),
        ("no depth", changed("/depth", json!("-")), "malformed"),
        ("no time", changed("/origin_server_ts", json!("-")), "malformed"),
        ("20 previous events", changed("/prev_events", json!(vec!["$a"; 20])), "fine"),
        ("21 previous events", changed("/prev_events", json!(vec!["$a"; 21])), "malformed"),
        ("11 auth events", changed("/auth_events", json!(vec!["$a"; 11])), "malformed"),
        ("longest type", changed("/type", long(255)), "fine"),
        ("long type", changed("/type", long(256)), "too large"),
        ("longest state key", changed("/state_key", long(255)), "fine"),
        ("long state key", changed("/state_key", long(256)), "too large"),
        ("long room id", changed("/room_id", json!(format!("!{}:domain", "x".repeat(250)))), "too large"),
        ("long content", changed("/content", json!({ "x": "x".repeat(MAX_PDU_BYTES) })), "too large"),
    ];
    for (case, text, expected) in cases {
        let outcome = match Pdu::parse(&text, &version(&RoomVersionId::V11), None) {
            Ok(_) => "fine",
            Err(PduError::Malformed(_)) => "malformed",
            Err(PduError::TooLarge(_)) => "too large",
        };
        assert_eq!(outcome, expected, "{case}");
    }
}

#[test]
fn the_largest_event_that_may_be_sent() {
    let sized = |bytes: usize| {
        let content = json!({ "body": "x".repeat(bytes) });
        unsigned("m.room.message", None, &content).sign(&version(&RoomVersionId::V12), &key())
    };
    let overhead = sized(0).unwrap().json.len();
    let largest = sized(MAX_PDU_BYTES - overhead).unwrap();
    assert_eq!(largest.json.len(), MAX_PDU_BYTES);
    assert!(matches!(sized(MAX_PDU_BYTES - overhead + 1), Err(PduError::TooLarge(_))));
    assert!(matches!(sized(10 * MAX_PDU_BYTES), Err(PduError::TooLarge(_))));
}

#[test]
fn what_a_client_may_not_put_into_content() {
    for (case, content) in [("a float", "{\"x\":1.5}"), ("no object", "[1]"), ("a large integer", "{\"x\":1e400}")] {
        let content = serde_json::value::RawValue::from_string(content.to_owned()).unwrap();
        let event = Unsigned { content, ..unsigned("m.room.message", None, &json!({})) };
        let outcome = event.sign(&version(&RoomVersionId::V12), &key());
        assert!(matches!(outcome, Err(PduError::Malformed(_))), "{case}");
    }
}

#[test]
fn redaction_by_version() {
    let target: OwnedEventId = owned_event_id!("$t:domain");
    let redaction = Unsigned { redacts: Some(target.clone()), ..unsigned("m.room.redaction", None, &json!({})) };
    let levels = json!({ "ban": 1, "invite": 2, "users": { "@a:domain": 3 }, "notifications": { "room": 4 } });
    let levels = unsigned("m.room.power_levels", Some(""), &levels);
    let member = unsigned(
        "m.room.member",
        Some("@a:domain"),
        &json!({
            "membership": "invite", "displayname": "A",
            "third_party_invite": { "display_name": "x", "signed": { "token": "t" } },
        }),
    );
    let restricted = json!({ "membership": "join", "reason": "r", "join_authorised_via_users_server": "@b:domain" });
    let restricted = unsigned("m.room.member", Some("@a:domain"), &restricted);
    let rules = json!({ "join_rule": "restricted", "allow": [{}], "extra": 1 });
    let rules = unsigned("m.room.join_rules", Some(""), &rules);
    let aliases = unsigned("m.room.aliases", Some("domain"), &json!({ "aliases": ["#a:domain"], "extra": 1 }));
    let visibility = json!({ "history_visibility": "shared", "extra": 1 });
    let visibility = unsigned("m.room.history_visibility", Some(""), &visibility);
    let creation = create(true, &json!({ "creator": "@a:domain", "type": "m.space", "extra": 1 }));
    let message = unsigned("m.room.message", None, &json!({ "body": "x" }));
    // Event, versions, what is left of its content.
    let cases = [
        (&redaction, 1..=10, json!({})),
        (&redaction, 11..=12, json!({ "redacts": "$t:domain" })),
        (&levels, 1..=10, json!({ "ban": 1, "users": { "@a:domain": 3 } })),
        (&levels, 11..=12, json!({ "ban": 1, "invite": 2, "users": { "@a:domain": 3 } })),
        (&member, 1..=10, json!({ "membership": "invite" })),
        (&member, 11..=12, json!({ "membership": "invite", "third_party_invite": { "signed": { "token": "t" } } })),
        (&restricted, 1..=8, json!({ "membership": "join" })),
        (&restricted, 9..=12, json!({ "membership": "join", "join_authorised_via_users_server": "@b:domain" })),
        (&rules, 1..=7, json!({ "join_rule": "restricted" })),
        (&rules, 8..=12, json!({ "join_rule": "restricted", "allow": [{}] })),
        (&aliases, 1..=5, json!({ "aliases": ["#a:domain"] })),
        (&aliases, 6..=12, json!({})),
        (&visibility, 1..=12, json!({ "history_visibility": "shared" })),
        (&creation, 1..=10, json!({ "creator": "@a:domain" })),
        (&creation, 11..=11, json!({ "creator": "@a:domain", "type": "m.space", "extra": 1 })),
        (&message, 1..=12, json!({})),
    ];
    for (event, versions, content) in cases {
        for number in versions {
            let case = format!("{} in version {number}", event.event_type);
            let version = version(&RoomVersionId::try_from(number.to_string()).unwrap());
            let pdu = event.clone().sign(&version, &key()).unwrap();
            let redacted = pdu.redacted(&version).unwrap();
            assert_eq!(serde_json::from_str::<Value>(redacted.content.get()).unwrap(), content, "{case}");
            let is_redaction = event.event_type == TimelineEventType::RoomRedaction;
            assert_eq!(redacted.redacts.as_ref(), Some(&target).filter(|_| number > 10 && is_redaction), "{case}");
            assert_eq!(pdu.redacts.as_ref(), Some(&target).filter(|_| is_redaction), "{case}");
            assert_eq!(redacted.event_id, pdu.event_id, "{case}");
            let again = Pdu::parse(&redacted.json, &version, None).unwrap();
            assert_eq!(again.event_id, pdu.event_id, "{case}: the id does not depend on what redaction removes");
            assert_eq!(redacted.redacted(&version).unwrap().json, redacted.json, "{case}: twice is once");
        }
    }
}

/// In no version.
pub(crate) const NEVER: std::ops::RangeInclusive<u32> = std::ops::RangeInclusive::new(1, 0);

#[test]
fn event_formats_by_version() {
    let hashes = json!({ "sha256": "x" });
    let base = |version: u32| {
        let references = |ids: [&str; 1]| match version {
            1 | 2 => json!([[ids[0], { "sha256": "x" }]]),
            _ => json!(ids),
        };
        let mut event = json!({
            "room_id": "!x:domain", "sender": "@a:domain", "type": "m.room.message", "content": {}, "depth": 1,
            "origin_server_ts": 1, "hashes": hashes, "signatures": {}, "unsigned": { "age": 1.5 },
            "prev_events": references(["$p:domain"]), "auth_events": references(["$q:domain"]),
        });
        if version < 3 {
            event["event_id"] = "$e:domain".into();
        }
        if version > 5 {
            event["unsigned"] = json!({ "age": 1 });
        }
        event
    };
    // What is changed, to what (`null`: removed), the versions in which it is still an event.
    for (field, value, versions) in [
        ("event_id", Value::Null, 3..=12),
        ("event_id", json!("$e"), 3..=12),
        ("event_id", json!(1), 3..=12),
        ("prev_events", json!([["$p:domain", { "sha256": "x" }]]), 1..=2),
        ("prev_events", json!([["$p:domain"]]), NEVER),
        ("prev_events", json!(["$p:domain"]), 3..=12),
        ("auth_events", json!(["$p:domain"]), 3..=12),
        ("auth_events", json!([1]), NEVER),
        ("auth_events", json!(["x"]), NEVER),
        ("auth_events", json!(["$z:domain"]), 3..=12),
        ("room_id", Value::Null, NEVER),
        ("room_id", json!("!hash"), 1..=12),
        ("depth", json!(9_007_199_254_740_991_i64), 1..=12),
        ("depth", json!(9_007_199_254_740_992_i64), 1..=5),
        ("depth", json!(i64::MAX), 1..=5),
        ("depth", json!(u64::MAX), NEVER),
        ("depth", json!(1.0), NEVER),
        ("origin_server_ts", json!(-1), NEVER),
        ("content", json!({ "x": 1.5 }), 1..=5),
        ("content", json!({ "x": u64::MAX }), 1..=5),
        ("hashes", Value::Null, NEVER),
        ("hashes", json!({}), NEVER),
        ("signatures", Value::Null, NEVER),
        ("signatures", json!({ "domain": 1 }), NEVER),
        ("redacts", json!(1), 1..=12),
        ("sender", json!(format!("@{}:domain", "x".repeat(250))), NEVER),
        // 255 bytes, and as many characters of two.
        ("type", json!("x".repeat(255)), 1..=12),
        ("type", json!("\u{e9}".repeat(255)), NEVER),
    ] {
        for number in 1..=12 {
            let version = version(&RoomVersionId::try_from(number.to_string()).unwrap());
            let mut event = base(number);
            assert!(Pdu::parse(&event.to_string(), &version, None).is_ok(), "version {number}");
            if value.is_null() {
                event.as_object_mut().unwrap().remove(field);
            } else {
                event[field] = value.clone();
            }
            let outcome = Pdu::parse(&event.to_string(), &version, None);
            assert_eq!(outcome.is_ok(), versions.contains(&number), "version {number}: {field} {value}: {outcome:?}");
            if let Ok(pdu) = outcome {
                assert!(!pdu.json.contains("unsigned"), "{}", pdu.json);
                assert_eq!(pdu.to_federation().get(), pdu.json);
            }
        }
    }
}

#[test]
fn create_events_of_version_12_are_no_auth_events() {
    let version = version(&RoomVersionId::V12);
    let room_id = owned_room_id!("!PZCszRFvzdHQAtn7cOIDmMMzAfMSMPaOoS-MSMBY_io");
    let create = OwnedEventId::try_from("$PZCszRFvzdHQAtn7cOIDmMMzAfMSMPaOoS-MSMBY_io").unwrap();
    let event = Unsigned { room_id: Some(room_id), ..unsigned("m.room.message", None, &json!({})) };
    let pdu = event.clone().sign(&version, &key()).unwrap();
    assert_eq!(pdu.create_event_id(), Some(create.clone()));
    let outcome = Unsigned { auth_events: vec![create], ..event }.sign(&version, &key());
    assert!(matches!(outcome, Err(PduError::Malformed(_))));
}

#[test]
fn keys_are_kept_as_documents() {
    let (key, document) = SigningKey::generate(owned_server_name!("domain"));
    let again = SigningKey::from_pkcs8(key.server_name.clone(), key.pair.version().to_owned(), &document).unwrap();
    assert_eq!(again.pair.public_key(), key.pair.public_key());
    let (other, _) = SigningKey::generate(owned_server_name!("domain"));
    assert_ne!(other.pair.public_key(), key.pair.public_key());
    assert!(SigningKey::from_pkcs8(owned_server_name!("domain"), "1".to_owned(), &document[1..]).is_err());
    assert!(!format!("{key:?}").contains(&Base64::<ruma::serde::base64::Standard, _>::new(document).encode()));
}
