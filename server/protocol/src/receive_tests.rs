//! Tests of what is checked when an event comes from another server.

use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedUserId, RoomVersionId, ServerName, UInt, UserId, events::StateEventType,
    signatures::sign_json,
};
use serde_json::{Value, json};

use crate::{
    Pdu, RoomVersion, SigningKey,
    build::Unsigned,
    keys::{ServerKey, ServerKeys, Validity},
    pdu_tests::{unsigned, version},
    receive::{Outcome, Received, Step, Unverified, Verified, authorize},
    testing::{Dag, DagPlan, Reference},
};

const NOW: u64 = 1_000_000;

fn at(time: u64) -> MilliSecondsSinceUnixEpoch {
    MilliSecondsSinceUnixEpoch(UInt::new(time).unwrap())
}

fn server(name: &str) -> SigningKey {
    SigningKey::generate(ServerName::parse(name).unwrap()).0
}

fn key_id(key: &SigningKey) -> String {
    format!("ed25519:{}", key.pair.version())
}

fn keys(signers: &[(&SigningKey, Validity)]) -> ServerKeys {
    let mut keys = ServerKeys::default();
    for (key, validity) in signers {
        let public = ServerKey { key: key.pair.public_key().to_vec(), validity: *validity };
        keys.insert(key.server_name.clone(), key_id(key), public);
    }
    keys
}

const VALID: Validity = Validity::Until(MilliSecondsSinceUnixEpoch(UInt::MAX));

fn verify(json: &str, version: &RoomVersion, keys: &ServerKeys) -> Result<Verified, Unverified> {
    Received::parse(json, version).unwrap().verify(version, keys, at(NOW))
}

/// What became of it, in a word.
fn word(outcome: &Result<Verified, Unverified>) -> &'static str {
    match outcome {
        Ok(Verified { rejection: Some(_), .. }) => "rejected",
        Ok(Verified { redacted: true, .. }) => "redacted",
        Ok(Verified { .. }) => "good",
        Err(Unverified::NoSignature(_)) => "unsigned",
        Err(Unverified::WrongSignature(..)) => "wrong",
        Err(Unverified::Pdu(_)) => "malformed",
    }
}

fn edit(pdu: &Pdu, edit: impl FnOnce(&mut Value)) -> String {
    let mut json: Value = serde_json::from_str(&pdu.json).unwrap();
    edit(&mut json);
    json.to_string()
}

#[test]
fn signatures_and_hashes() {
    for id in RoomVersion::SUPPORTED {
        let version = version(id);
        let (domain, other) = (server("domain"), server("other"));
        let pdu = unsigned("m.room.message", None, &json!({ "body": "x" })).sign(&version, &domain).unwrap();
        let good = keys(&[(&domain, VALID)]);
        let none = ServerKeys::default();
        let mut wrong_key = ServerKeys::default();
        let key = ServerKey { key: other.pair.public_key().to_vec(), validity: VALID };
        wrong_key.insert(domain.server_name.clone(), key_id(&domain), key);
        let by_other = unsigned("m.room.message", None, &json!({})).sign(&version, &other).unwrap();
        let also = pdu.signed_also(&version, &other).unwrap();
        let signature = |json: &mut Value, server: &str, id: &str, text: &str| {
            json["signatures"][server][id] = text.into();
        };
        for (case, json, keys, expected) in [
            ("as it is", pdu.json.clone(), &good, "good"),
            ("without keys", pdu.json.clone(), &none, "unsigned"),
            ("by another key", pdu.json.clone(), &wrong_key, "wrong"),
            ("by another server", by_other.json.clone(), &keys(&[(&other, VALID)]), "unsigned"),
            ("also by another", also.json.clone(), &good, "good"),
            ("unsigned data", edit(&pdu, |json| json["unsigned"] = json!({ "age": 1 })), &good, "good"),
            ("policy server", edit(&pdu, |json| signature(json, "domain", "ed25519:policy", "x")), &good, "good"),
            ("other algorithm", edit(&pdu, |json| signature(json, "domain", "x:1", "x")), &good, "good"),
            ("no base64", edit(&pdu, |json| signature(json, "domain", &key_id(&domain), "!")), &good, "wrong"),
            ("content", edit(&pdu, |json| json["content"]["body"] = "y".into()), &good, "redacted"),
            ("redacted", pdu.redacted(&version).unwrap().json, &good, "redacted"),
            ("no base64 hash", edit(&pdu, |json| json["hashes"]["sha256"] = "!".into()), &good, "wrong"),
            ("sender", edit(&pdu, |json| json["sender"] = "@b:domain".into()), &good, "wrong"),
            ("depth", edit(&pdu, |json| json["depth"] = 4.into()), &good, "wrong"),
        ] {
            let outcome = verify(&json, &version, keys);
            assert_eq!(word(&outcome), expected, "version {id}: {case}");
            if expected == "redacted" {
                let verified = outcome.unwrap();
                assert_eq!(verified.pdu.content.get(), "{}", "version {id}: {case}");
                assert_eq!(verified.pdu.event_id, pdu.event_id, "version {id}: {case}");
            }
        }
    }
}

#[test]
fn keys_count_for_a_time() {
    let week = 7 * 24 * 60 * 60 * 1000;
    let domain = server("domain");
    // Event time, key, from which version on it does not count (2: never).
    for (time, validity, until_version) in [
        (500, Validity::Until(at(500)), 12),
        (501, Validity::Until(at(500)), 4),
        (NOW + week, VALID, 12),
        (NOW + week + 1, VALID, 4),
        (500, Validity::ExpiredAt(at(500)), 12),
        (501, Validity::ExpiredAt(at(500)), 0),
    ] {
        for id in RoomVersion::SUPPORTED {
            let version = version(id);
            let event = Unsigned { origin_server_ts: at(time), ..unsigned("m.room.message", None, &json!({})) };
            let pdu = event.sign(&version, &domain).unwrap();
            let outcome = verify(&pdu.json, &version, &keys(&[(&domain, validity)]));
            let counts = id.as_str().parse::<u32>().unwrap() <= until_version;
            assert_eq!(word(&outcome), if counts { "good" } else { "unsigned" }, "version {id}: {time} {validity:?}");
        }
    }
}

#[test]
fn whose_signatures_an_event_needs() {
    let (domain, other) = (server("domain"), server("other"));
    let (ours, both) = (keys(&[(&domain, VALID)]), keys(&[(&domain, VALID), (&other, VALID)]));
    for id in RoomVersion::SUPPORTED {
        let version = version(id);
        let number: u32 = id.as_str().parse().unwrap();
        // The server in the id, in versions 1 and 2.
        let mut event = unsigned("m.room.message", None, &json!({}));
        event.named.event_id = Some("$e:other".try_into().unwrap());
        let pdu = event.sign(&version, &domain).unwrap();
        assert_eq!(word(&verify(&pdu.json, &version, &both)), if number < 3 { "unsigned" } else { "good" });
        let wanted = Received::parse(&pdu.json, &version).unwrap().wanted_keys(&version).unwrap();
        assert_eq!(wanted[&domain.server_name], [key_id(&domain)]);
        assert_eq!(wanted.contains_key(&other.server_name), number < 3);
        let pdu = pdu.signed_also(&version, &other).unwrap();
        assert_eq!(word(&verify(&pdu.json, &version, &both)), "good");

        // The server that authorizes a restricted join, from version 8 on; without its signature the event is rejected.
        let content = json!({ "membership": "join", "join_authorised_via_users_server": "@b:other" });
        let pdu = unsigned("m.room.member", Some("@a:domain"), &content).sign(&version, &domain).unwrap();
        let expected = if number < 8 { "good" } else { "rejected" };
        assert_eq!(word(&verify(&pdu.json, &version, &both)), expected, "version {id}");
        let signed = pdu.signed_also(&version, &other).unwrap();
        assert_eq!(word(&verify(&signed.json, &version, &both)), "good", "version {id}");
        assert_eq!(word(&verify(&signed.json, &version, &ours)), expected, "version {id}: with an unknown key");
        let wanted = Received::parse(&signed.json, &version).unwrap().wanted_keys(&version).unwrap();
        assert_eq!(wanted.contains_key(&other.server_name), number >= 8);
        // In a message the same field says nothing.
        let message = unsigned("m.room.message", None, &content).sign(&version, &domain).unwrap();
        assert_eq!(word(&verify(&message.json, &version, &both)), "good", "version {id}");
        let nobody = json!({ "membership": "join", "join_authorised_via_users_server": 1 });
        let nobody = unsigned("m.room.member", Some("@a:domain"), &nobody).sign(&version, &domain).unwrap();
        assert_eq!(word(&verify(&nobody.json, &version, &both)), expected, "version {id}");
        // Redacted in version 8 it does not name the server any more.
        let redacted = pdu.redacted(&version).unwrap();
        let expected = if number < 9 { "redacted" } else { "rejected" };
        assert_eq!(word(&verify(&redacted.json, &version, &both)), expected, "version {id}");
    }
}

#[test]
fn third_party_invites_need_no_sender_s_signature_but_keep_what_excuses_them() {
    let (domain, other) = (server("domain"), server("other"));
    let both = keys(&[(&domain, VALID), (&other, VALID)]);
    let content = json!({
        "membership": "invite",
        "third_party_invite": { "display_name": "x", "signed": { "mxid": "@c:other", "token": "t" } },
    });
    for id in &RoomVersion::SUPPORTED[1..] {
        let version = version(id);
        let pdu = unsigned("m.room.member", Some("@c:other"), &content).sign(&version, &other).unwrap();
        assert_eq!(word(&verify(&pdu.json, &version, &both)), "good", "version {id}");
        // With a hash that does not match, the redacted event would be an ordinary invite of somebody who did not
        // sign it.
        let forged = edit(&pdu, |json| json["content"]["reason"] = "x".into());
        let expected = if version.facts.redaction_of_v11 { "redacted" } else { "unsigned" };
        assert_eq!(word(&verify(&forged, &version, &both)), expected, "version {id}");
        let not_an_object = json!({ "membership": "invite", "third_party_invite": null });
        let pdu = unsigned("m.room.member", Some("@c:other"), &not_an_object).sign(&version, &other).unwrap();
        assert_eq!(word(&verify(&pdu.json, &version, &both)), "unsigned", "version {id}");
    }
}

/// Generated rooms come through all checks as the reference judges them.
#[test]
fn random_rooms() {
    for id in RoomVersion::SUPPORTED {
        let dag = Dag::generate(&DagPlan { events: 80, ..DagPlan::new(id.as_str(), 11) });
        let now = at(2_000_000_000_000);
        let find = |id: &EventId| dag.reference.events().get(id).map(|event| &**event);
        let (mut seen_rejections, mut soft) = ([0, 0], 0);
        let mut arrived = Reference::new(dag.version.clone());
        for event in &dag.events {
            let received = Received::parse(event.pdu.to_federation().get(), &dag.version).unwrap();
            let verified = received.verify(&dag.version, &dag.keys, now).unwrap();
            assert!(!verified.redacted && verified.rejection.is_none());
            let before = dag.reference.state_before(&event.pdu.prev_events);
            let current = arrived.current_state();
            let before =
                |event_type: &StateEventType, key: &str| find(before.get(&(event_type.clone(), key.to_owned()))?);
            let current =
                |event_type: &StateEventType, key: &str| find(current.get(&(event_type.clone(), key.to_owned()))?);
            match authorize(&dag.version, &verified, find, before, current) {
                Outcome::Rejected(step, reason) => {
                    seen_rejections[usize::from(step == Step::StateBefore)] += 1;
                    assert_eq!(event.verdict, Err((step, reason)), "version {id}");
                }
                outcome => {
                    assert_eq!(event.verdict, Ok(()), "version {id}: {outcome:?}");
                    soft += usize::from(matches!(outcome, Outcome::SoftFailed(_)));
                }
            }
            let _ = arrived.add(Pdu::clone(&event.pdu));
        }
        assert!(seen_rejections.iter().all(|count| *count > 0) && soft > 0, "version {id}: {seen_rejections:?} {soft}");
    }
}

fn user(name: &str) -> OwnedUserId {
    UserId::parse(format!("@{name}:domain")).unwrap()
}

/// A small room in which the steps are judged one after the other.
struct Room {
    reference: Reference,
    key: SigningKey,
    last: Option<Pdu>,
}

impl Room {
    fn new(id: &RoomVersionId) -> Self {
        let version = RoomVersion::get(id).unwrap();
        let creator_is_sender = version.facts.creator_is_sender;
        let mut room = Self { reference: Reference::new(version), key: server("domain"), last: None };
        let mut content = json!({ "room_version": id });
        if !creator_is_sender {
            content["creator"] = "@alice:domain".into();
        }
        room.add("alice", "m.room.create", Some(""), &content);
        room.add("alice", "m.room.member", Some("@alice:domain"), &json!({ "membership": "join" }));
        room
    }

    fn build(&self, sender: &str, event_type: &str, state_key: Option<&str>, content: &Value) -> Pdu {
        let version = self.reference.version();
        let prev: Vec<_> = self.last.iter().map(|last| last.event_id.clone()).collect();
        let state = self.reference.state_before(&prev);
        let mut event = unsigned(event_type, state_key, content);
        let types = crate::auth::auth_types(version, &event.event_type, &user(sender), state_key, &event.content);
        event.sender = user(sender);
        event.auth_events = types.unwrap_or_default().iter().filter_map(|key| state.get(key).cloned()).collect();
        event.room_id = match &self.last {
            Some(last) => Some(last.room_id.clone()),
            None if version.room_id_is_create_event() => None,
            None => event.room_id,
        };
        event.named.event_id = Some(format!("$e{}:domain", self.reference.order().len()).try_into().unwrap());
        event.prev_events = prev;
        let named = event.prev_events.iter().chain(&event.auth_events).map(|id| (id.clone(), "x".to_owned()));
        event.named.hashes = named.collect();
        event.sign(version, &self.key).unwrap()
    }

    fn add(&mut self, sender: &str, event_type: &str, state_key: Option<&str>, content: &Value) {
        let pdu = self.build(sender, event_type, state_key, content);
        assert_eq!(self.reference.add(pdu.clone()), Ok(()));
        self.last = Some(pdu);
    }

    fn judge(&self, pdu: &Pdu) -> crate::testing::Verdict {
        self.reference.clone().add(pdu.clone())
    }
}

#[test]
fn third_party_invites() {
    let identity = server("identity");
    let stranger = server("identity");
    let signed = |key: &SigningKey, mxid: &str, token: &str| {
        let mut signed = serde_json::from_value(json!({ "mxid": mxid, "token": token })).unwrap();
        sign_json("identity", &key.pair, &mut signed).unwrap();
        serde_json::to_value(signed).unwrap()
    };
    let invite = |signed: Value| json!({ "membership": "invite", "third_party_invite": { "display_name": "x", "signed": signed } });
    for id in RoomVersion::SUPPORTED {
        let mut room = Room::new(id);
        let public = ruma::serde::Base64::<ruma::serde::base64::Standard, _>::new(identity.pair.public_key().to_vec());
        let content = json!({ "display_name": "x", "key_validity_url": "https://x", "public_key": public.encode() });
        room.add("alice", "m.room.third_party_invite", Some("t"), &content);
        for (case, sender, target, content, allowed) in [
            ("good", "alice", "@c:other", invite(signed(&identity, "@c:other", "t")), true),
            ("other user", "alice", "@d:other", invite(signed(&identity, "@c:other", "t")), false),
            ("other token", "alice", "@c:other", invite(signed(&identity, "@c:other", "u")), false),
            ("other key", "alice", "@c:other", invite(signed(&stranger, "@c:other", "t")), false),
            ("other sender", "bob", "@c:other", invite(signed(&identity, "@c:other", "t")), false),
            ("nothing signed", "alice", "@c:other", invite(json!({})), false),
            (
                "changed",
                "alice",
                "@c:other",
                invite(json!({ "mxid": "@c:other", "token": "t", "signatures": {} })),
                false,
            ),
        ] {
            let verdict = room.judge(&room.build(sender, "m.room.member", Some(target), &content));
            assert_eq!(verdict.is_ok(), allowed, "version {id}: {case}: {verdict:?}");
        }
        room.add("alice", "m.room.member", Some("@c:other"), &json!({ "membership": "ban" }));
        let banned =
            room.build("alice", "m.room.member", Some("@c:other"), &invite(signed(&identity, "@c:other", "t")));
        assert!(room.judge(&banned).is_err(), "version {id}: banned");
    }
}

#[test]
fn create_events() {
    for id in RoomVersion::SUPPORTED {
        let version = version(id);
        let is_v12 = version.room_id_is_create_event();
        let key = server("domain");
        let build = |content: &Value, change: &dyn Fn(&mut Unsigned)| {
            let mut event = unsigned("m.room.create", Some(""), content);
            event.prev_events.clear();
            event.auth_events.clear();
            event.room_id = event.room_id.filter(|_| !is_v12);
            change(&mut event);
            event.sign(&version, &key).unwrap()
        };
        let content = json!({ "creator": "@a:domain", "room_version": id });
        let with = |field: &str, value: Value| {
            let mut content = content.clone();
            content[field] = value;
            content
        };
        let without = |field: &str| {
            let mut content = content.clone();
            content.as_object_mut().unwrap().remove(field);
            content
        };
        let same: &dyn Fn(&mut Unsigned) = &|_| {};
        for (case, pdu, allowed) in [
            ("good", build(&content, same), true),
            ("no creator", build(&without("creator"), same), version.facts.creator_is_sender),
            ("no version", build(&without("room_version"), same), false),
            ("other version", build(&with("room_version", json!("1")), same), false),
            ("version is a number", build(&with("room_version", json!(11)), same), false),
            ("good creators", build(&with("additional_creators", json!(["@b:domain"])), same), true),
            ("bad creators", build(&with("additional_creators", json!(["b"])), same), !is_v12),
            ("creators of another type", build(&with("additional_creators", json!("@b:domain")), same), !is_v12),
            (
                "with a room id of its own",
                build(&content, &|event| event.room_id = Some("!x:domain".try_into().unwrap())),
                !is_v12,
            ),
            (
                "of another server's room",
                build(&content, &|event| event.room_id = Some("!x:other".try_into().unwrap())),
                false,
            ),
        ] {
            let verdict = Reference::new(version.clone()).add(pdu);
            assert_eq!(verdict.is_ok(), allowed, "version {id}: {case}: {verdict:?}");
        }
    }
}

#[test]
fn the_room_of_a_version_12_event_must_be_known() {
    let mut room = Room::new(&RoomVersionId::V12);
    room.add("alice", "m.room.name", Some(""), &json!({ "name": "x" }));
    let create = room.reference.order()[0].clone();
    let pdu = room.build("alice", "m.room.message", None, &json!({}));
    assert_eq!(pdu.create_event_id(), Some(create.clone()));
    assert_eq!(room.judge(&pdu), Ok(()));
    let find = |id: &EventId| room.reference.events().get(id).map(|event| &**event).filter(|_| id != create);
    assert!(crate::auth::check_auth_events(room.reference.version(), &pdu, find).is_err());
    let mut rejected = Pdu::clone(room.reference.events().get(&create).unwrap());
    rejected.rejected = true;
    let find = |id: &EventId| {
        if id == create { Some(&rejected) } else { room.reference.events().get(id).map(|event| &**event) }
    };
    assert!(crate::auth::check_auth_events(room.reference.version(), &pdu, find).is_err());
}

#[test]
fn redactions_take_effect_by_power_or_by_server() {
    use crate::{auth::PowerLevels, redaction::applies};
    for id in RoomVersion::SUPPORTED {
        let version = version(id);
        let room = Room::new(id);
        let create = room.reference.events().get(&room.reference.order()[0]).unwrap();
        let levels = PowerLevels::new(&version, create, None).unwrap();
        let message = |sender: &str| {
            let event = Unsigned { sender: sender.try_into().unwrap(), ..unsigned("m.room.message", None, &json!({})) };
            event.sign(&version, &room.key).unwrap()
        };
        let redaction = |sender: &str, target: &Pdu| {
            let event = Unsigned {
                sender: sender.try_into().unwrap(),
                redacts: Some(target.event_id.clone()),
                ..unsigned("m.room.redaction", None, &json!({}))
            };
            event.sign(&version, &room.key).unwrap()
        };
        let by_rule = version.facts.redaction_auth_rule;
        for (case, sender, target, expected) in [
            ("creator", "@alice:domain", "@x:other", true),
            ("same server", "@nobody:other", "@x:other", true),
            ("nobody", "@nobody:other", "@x:elsewhere", by_rule),
        ] {
            let target = message(target);
            let redaction = redaction(sender, &target);
            assert_eq!(applies(&version, &redaction, &target, &levels).unwrap(), expected, "version {id}: {case}");
            if !by_rule {
                let another = message("@y:other");
                assert!(!applies(&version, &redaction, &another, &levels).unwrap(), "version {id}: {case}");
            }
        }
    }
}
