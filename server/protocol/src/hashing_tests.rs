//! Hashes and signatures of every room version: against the specification's vectors, against a second implementation, and
//! against ruma's where ruma has them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use ruma::{
    CanonicalJsonObject, MilliSecondsSinceUnixEpoch, RoomVersionId, UInt,
    serde::Base64,
    signatures::{self, PublicKeyMap, Verified, sign_json},
};
use serde_json::{Value, json, value::RawValue};

use crate::{
    Pdu, RoomVersion,
    build::Unsigned,
    hashing,
    json::{parse, write},
    keys::{ServerKey, ServerKeys, Validity},
    pdu_tests::{key, unsigned, version},
    receive::{Received, Unverified},
    testing::{Dag, DagPlan},
};

#[test]
fn the_specification_s_json_signing_vectors() {
    for (object, signature) in [
        (json!({}), "K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ"),
        (
            json!({ "one": 1, "two": "Two" }),
            "KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw",
        ),
    ] {
        let mut object: CanonicalJsonObject = serde_json::from_value(object).unwrap();
        sign_json("domain", &key().pair, &mut object).unwrap();
        assert_eq!(serde_json::to_value(object).unwrap()["signatures"]["domain"]["ed25519:1"], signature);
    }
}

/// The vectors are of the time when events had an `origin`, which redaction kept.
#[test]
fn the_specification_s_event_signing_vectors() {
    for (event, hash, signature) in [
        (
            json!({
                "room_id": "!x:domain", "sender": "@a:domain", "origin": "domain", "origin_server_ts": 1_000_000,
                "signatures": {}, "hashes": {}, "type": "X", "content": {}, "prev_events": [], "auth_events": [],
                "depth": 3, "unsigned": { "age_ts": 1_000_000 },
            }),
            "5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos",
            "KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg",
        ),
        (
            json!({
                "content": { "body": "Here is the message content" }, "event_id": "$0:domain", "origin": "domain",
                "origin_server_ts": 1_000_000, "type": "m.room.message", "room_id": "!r:domain", "sender": "@u:domain",
                "signatures": {}, "unsigned": { "age_ts": 1_000_000 },
            }),
            "onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g",
            "Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVPdhzBA",
        ),
    ] {
        for number in 1..=10 {
            let version = version(&RoomVersionId::try_from(number.to_string()).unwrap());
            let mut object = parse(&event.to_string(), &version).unwrap();
            hashing::add_hash(&mut object, &version).unwrap();
            hashing::add_signature(&mut object, &version, &key()).unwrap();
            let signed: Value = serde_json::from_str(&write(&object, &version).unwrap()).unwrap();
            assert_eq!(signed["hashes"]["sha256"], hash, "version {number}");
            assert_eq!(signed["signatures"]["domain"]["ed25519:1"], signature, "version {number}");
            assert_eq!(signed["unsigned"], event["unsigned"], "version {number}");
        }
    }
}

/// Content hashes and reference hashes that a second implementation (Python's json and hashlib) gives.
#[test]
fn ids_by_version() {
    let message = || {
        unsigned(
            "m.room.message",
            None,
            &json!({ "body": "Grüße \u{2028} \"x\"", "n": [1, -2, { "b": true, "a": null }] }),
        )
    };
    let floats = r#"{ "a": 1.0, "b": 1e16, "c": 12345678901234567890, "d": -0.00001, "e": [0.1, 1E2] }"#;
    let floats = || Unsigned { content: RawValue::from_string(floats.to_owned()).unwrap(), ..message() };
    let aliases = || unsigned("m.room.aliases", Some("domain"), &json!({ "aliases": ["#a:domain"], "x": 1 }));
    let allow = json!([{ "type": "m.room_membership", "room_id": "!y:domain" }]);
    let join_rules = || unsigned("m.room.join_rules", Some(""), &json!({ "join_rule": "restricted", "allow": allow }));
    for (case, event, versions, hash, reference) in [
        (
            "message of versions with named ids",
            message(),
            1..=2,
            "/r2u/R1WfmDKyCwYS4CtmgI8xBs3wXpojZmsx9ralsE",
            "ERmXKErtCHUCmnJDoXtLA1hJv1fSzapHSfsnah5/OSs",
        ),
        (
            "message",
            message(),
            3..=10,
            "lkar/WfpSiYEZKuQzY5S6HSRlVfxBVWRpfoGrnjATio",
            "FeTSfJ8O82UJk9Iv3g3p007VD8DWjd/9yUH6S8lnaKg",
        ),
        (
            "numbers that are not canonical",
            floats(),
            3..=5,
            "mT4k4yXziEDseoHgynsSp/hbGHRU3ugz5MAnvdIvcY0",
            "79cfpxIqNG/RcvxAzOgk5w6xtxzONqIhdL7LtmAAwuA",
        ),
        (
            "aliases that redaction keeps",
            aliases(),
            3..=5,
            "2X2WnVn4RPGVfbR5lzQ2d6xj7wQuv9c3Z6Io/N/jqfs",
            "inM4R9KNDScNUkkwR0pcmnrWwR2soe3BmT7VjpQYoiY",
        ),
        (
            "aliases",
            aliases(),
            6..=10,
            "2X2WnVn4RPGVfbR5lzQ2d6xj7wQuv9c3Z6Io/N/jqfs",
            "H1zCg7jQDBI2jKdZsV5ed3NbII0455k+QuuNO2yufAY",
        ),
        (
            "join rules",
            join_rules(),
            3..=7,
            "erN4vHjilIcEIfFolhsQpTDIL5Ir7jBXBjQ9by4Vm7s",
            "aLC7SPGhYd58J3L7dnOQQwdN1DLpl5qSYfYJGZX7oh4",
        ),
        (
            "join rules of which redaction keeps `allow`",
            join_rules(),
            8..=10,
            "erN4vHjilIcEIfFolhsQpTDIL5Ir7jBXBjQ9by4Vm7s",
            "EKFvNukkV/xx0+GoZJfGeOyIsNt+10/RYe1lbkRa3P4",
        ),
    ] {
        for number in versions {
            let case = format!("{case}, version {number}");
            let version = version(&RoomVersionId::try_from(number.to_string()).unwrap());
            let pdu = event.clone().sign(&version, &key()).unwrap();
            let value: Value = serde_json::from_str(&pdu.json).unwrap();
            assert_eq!(value["hashes"]["sha256"], hash, "{case}");
            assert_eq!(pdu.reference_hash(&version).unwrap(), reference, "{case}");
            let id = match number {
                1 | 2 => "$e:domain".to_owned(),
                3 => format!("${reference}"),
                _ => format!("${}", reference.replace('+', "-").replace('/', "_")),
            };
            assert_eq!(pdu.event_id.as_str(), id, "{case}");
            let parsed = Pdu::parse(&pdu.json, &version, None).unwrap();
            assert_eq!(format!("{parsed:?}"), format!("{pdu:?}"), "{case}: parsed it is the same");
        }
    }
}

#[test]
fn versions_with_named_ids_need_hashes_and_make_ids() {
    let version = version(&RoomVersionId::V2);
    let mut event = unsigned("m.room.message", None, &json!({}));
    event.named.event_id = None;
    let one = event.clone().sign(&version, &key()).unwrap();
    let two = event.clone().sign(&version, &key()).unwrap();
    assert_ne!(one.event_id, two.event_id);
    assert_eq!(one.event_id.server_name().unwrap(), "domain");
    let json: Value = serde_json::from_str(&one.json).unwrap();
    assert_eq!(json["prev_events"], json!([["$p", { "sha256": "cA" }]]));
    event.named.hashes.clear();
    assert!(event.sign(&version, &key()).is_err());
}

#[test]
fn depth_stops_at_the_greatest() {
    for (id, most) in [(RoomVersionId::V5, i64::MAX.unsigned_abs()), (RoomVersionId::V6, (1 << 53) - 1)] {
        let version = version(&id);
        let event = Unsigned { depth: u64::MAX, ..unsigned("m.room.message", None, &json!({})) };
        let pdu = event.sign(&version, &key()).unwrap();
        assert_eq!(pdu.depth, most, "version {id}");
        assert_eq!(Pdu::parse(&pdu.json, &version, None).unwrap().depth, most, "version {id}");
    }
}

/// A room's worth of events of every kind, hashed and verified by ruma.
#[test]
fn ruma_agrees() {
    for id in RoomVersion::SUPPORTED {
        let dag = Dag::generate(&DagPlan { events: 60, ..DagPlan::new(id.as_str(), 3) });
        let mut keys = PublicKeyMap::new();
        for server in ["s0", "s1", "s2"] {
            let key = dag.keys.get(server.try_into().unwrap(), "ed25519:1").unwrap();
            keys.insert(server.to_owned(), BTreeMap::from([("ed25519:1".to_owned(), Base64::new(key.key.clone()))]));
        }
        for event in &dag.events {
            let pdu = &event.pdu;
            let object: CanonicalJsonObject = serde_json::from_str(&pdu.json).unwrap();
            let rules = &dag.version.rules;
            assert_eq!(signatures::verify_event(&keys, &object, rules).unwrap(), Verified::All, "version {id}");
            assert_eq!(
                signatures::content_hash(&object).unwrap().as_bytes(),
                hashing::content_hash(&object, &dag.version).unwrap()
            );
            if !dag.version.references_have_hashes() {
                let reference = signatures::reference_hash(&object, rules).unwrap();
                assert_eq!(pdu.event_id.as_str(), format!("${reference}"), "version {id}");
            }
            ruma::state_res::check_pdu_format(&object, &rules.event_format).unwrap();
        }
    }
}

/// Any JSON; floats and large integers where the room version bears them.
fn any_content() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-9_007_199_254_740_991..=9_007_199_254_740_991_i64).prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "\u{fdd0}{0,2}[0-9.]{0,3}".prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    });
    let key = prop_oneof![any::<String>(), "membership|users|ban|redacts|creator|join_rule|allow|third_party_invite"];
    prop::collection::btree_map(key, value, 0..5).prop_map(|map| map.into_iter().collect())
}

proptest! {
    #[test]
    fn what_is_built_is_received(
        content in any_content(),
        number in 1..=12_u32,
        kind in "m\\.room\\.(message|member|power_levels|create|redaction|join_rules|aliases)|\\PC{0,8}",
        state_key in proptest::option::of("\\PC{0,8}"),
        redacts: bool,
    ) {
        let version = version(&RoomVersionId::try_from(number.to_string()).unwrap());
        let mut event = unsigned(&kind, state_key.as_deref(), &content);
        event.redacts = redacts.then(|| "$t:domain".try_into().unwrap());
        let Ok(pdu) = event.sign(&version, &key()) else {
            // Only for numbers that are not canonical.
            prop_assert!(version.facts.strict_json);
            return Ok(());
        };
        let received = Received::parse(&pdu.json, &version).unwrap();
        prop_assert_eq!(format!("{:?}", received.pdu()), format!("{pdu:?}"));
        let stored = Pdu::parse(&pdu.json, &version, Some(pdu.event_id.clone())).unwrap();
        prop_assert_eq!(format!("{stored:?}"), format!("{pdu:?}"));
        let mut keys = ServerKeys::default();
        let validity = Validity::Until(MilliSecondsSinceUnixEpoch(UInt::MAX));
        let public = ServerKey { key: key().pair.public_key().to_vec(), validity };
        keys.insert("domain".try_into().unwrap(), "ed25519:1".to_owned(), public);
        let now = MilliSecondsSinceUnixEpoch(UInt::MAX);
        let verified = received.verify(&version, &keys, now).unwrap();
        prop_assert!(!verified.redacted);
        let redacted = pdu.redacted(&version).unwrap();
        let again = Received::parse(&redacted.json, &version).unwrap().verify(&version, &keys, now).unwrap();
        prop_assert_eq!(&again.pdu.json, &redacted.json);
        prop_assert_eq!(&again.pdu.event_id, &pdu.event_id);
        // Whatever is changed in what redaction keeps breaks the signature.
        let forged = pdu.json.replacen("\"depth\":3", "\"depth\":4", 1);
        let forged = Received::parse(&forged, &version).unwrap().verify(&version, &keys, now);
        prop_assert!(matches!(forged, Err(Unverified::WrongSignature(..))));
    }
}
