//! Tests of authorization: who may do what in a small room of each version.

use std::collections::BTreeMap;

use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedUserId, RoomId, RoomVersionId, UInt, UserId,
    events::{StateEventType, TimelineEventType, room::power_levels::UserPowerLevel},
    owned_server_name,
    state_res::events::RoomPowerLevelsIntField,
};
use serde_json::{Value, json, value::to_raw_value};

use crate::{
    Pdu, RoomVersion, SigningKey,
    auth::{self, PowerLevels},
    build::{Named, Unsigned},
    pdu_tests::NEVER,
};

/// A room's state, built event by event.
struct Room {
    version: RoomVersion,
    key: SigningKey,
    state: BTreeMap<(String, String), Pdu>,
    last: Vec<OwnedEventId>,
}

fn user(name: &str) -> OwnedUserId {
    UserId::parse(format!("@{name}:domain")).unwrap()
}

impl Room {
    /// Made by Alice; the moderator (50) and Bob are in it, Mallory is banned, Dora is invited; anyone may join.
    fn new(version: &RoomVersionId) -> Self {
        let version = RoomVersion::get(version).unwrap();
        let (key, _) = SigningKey::generate(owned_server_name!("domain"));
        let mut room = Self { version, key, state: BTreeMap::new(), last: Vec::new() };
        let mut content = json!({ "room_version": room.version.id });
        if !room.version.rules.authorization.use_room_create_sender {
            content["creator"] = "@alice:domain".into();
        }
        let mut users = json!({ "@moderator:domain": 50 });
        if !room.version.rules.authorization.explicitly_privilege_room_creators {
            users["@alice:domain"] = 100.into();
        }
        let steps = [
            ("alice", "m.room.create", "", content),
            ("alice", "m.room.member", "@alice:domain", json!({ "membership": "join" })),
            ("alice", "m.room.power_levels", "", json!({ "users": users, "events": { "m.room.topic": 0 } })),
            ("alice", "m.room.join_rules", "", json!({ "join_rule": "public" })),
            ("moderator", "m.room.member", "@moderator:domain", json!({ "membership": "join" })),
            ("bob", "m.room.member", "@bob:domain", json!({ "membership": "join" })),
            ("alice", "m.room.member", "@mallory:domain", json!({ "membership": "ban" })),
            ("alice", "m.room.member", "@dora:domain", json!({ "membership": "invite" })),
        ];
        for (sender, event_type, state_key, content) in steps {
            let pdu = room.event(sender, event_type, Some(state_key), &content);
            room.check(&pdu).unwrap();
            room.last = vec![pdu.event_id.clone()];
            room.state.insert((event_type.to_owned(), state_key.to_owned()), pdu);
        }
        room
    }

    fn find(&self, event_type: &StateEventType, state_key: &str) -> Option<&Pdu> {
        self.state.get(&(event_type.to_string(), state_key.to_owned()))
    }

    /// An event with the auth events that the state gives.
    fn event(&self, sender: &str, event_type: &str, state_key: Option<&str>, content: &Value) -> Pdu {
        let content = to_raw_value(content).unwrap();
        let event_type = TimelineEventType::from(event_type);
        let types = auth::auth_types(&self.version, &event_type, &user(sender), state_key, &content).unwrap();
        let auth_events = types.iter().filter_map(|(kind, key)| self.find(kind, key)).map(|pdu| pdu.event_id.clone());
        let create = self.find(&StateEventType::RoomCreate, "");
        let room_id = create.map(|create| create.room_id.clone());
        let is_v12 = self.version.room_id_is_create_event();
        let named = self.state.values().filter(|_| self.version.references_have_hashes());
        let hashes = named.map(|pdu| (pdu.event_id.clone(), pdu.reference_hash(&self.version).unwrap())).collect();
        Unsigned {
            room_id: room_id.or_else(|| (!is_v12).then(|| RoomId::new_v1(&self.key.server_name))),
            sender: user(sender),
            event_type,
            state_key: state_key.map(str::to_owned),
            content,
            redacts: None,
            origin_server_ts: MilliSecondsSinceUnixEpoch(UInt::from(1_u32)),
            prev_events: self.last.clone(),
            auth_events: auth_events.collect(),
            depth: 7,
            named: Named { event_id: None, hashes },
        }
        .sign(&self.version, &self.key)
        .unwrap()
    }

    /// Sends a state event.
    fn set(&mut self, sender: &str, event_type: &str, state_key: &str, content: &Value) {
        let pdu = self.event(sender, event_type, Some(state_key), content);
        self.check(&pdu).unwrap();
        self.last = vec![pdu.event_id.clone()];
        self.state.insert((event_type.to_owned(), state_key.to_owned()), pdu);
    }

    fn check(&self, pdu: &Pdu) -> Result<(), auth::Refused> {
        auth::check(&self.version, pdu, |event_type, state_key| self.find(event_type, state_key))
    }
}

/// Sender, versions, type, state key, content, whether it is allowed.
type Case = (&'static str, &'static [RoomVersionId], &'static str, Option<&'static str>, Value, bool);

#[test]
fn who_may_do_what() {
    use RoomVersionId as V;
    let all: &'static [V] = RoomVersion::SUPPORTED;
    let finite: &'static [V] = &all[..all.len() - 1];
    let member = |membership: &str| json!({ "membership": membership });
    let levels = |users: Value| json!({ "users": users, "events": { "m.room.topic": 0 } });
    let moderator = "@moderator:domain";
    let cases: Vec<Case> = vec![
        ("bob", all, "m.room.message", None, json!({}), true),
        ("dora", all, "m.room.message", None, json!({}), false),
        ("mallory", all, "m.room.message", None, json!({}), false),
        ("stranger", all, "m.room.message", None, json!({}), false),
        ("bob", all, "m.room.name", Some(""), json!({}), false),
        ("moderator", all, "m.room.name", Some(""), json!({}), true),
        ("bob", all, "m.room.topic", Some(""), json!({}), true),
        ("bob", all, "x.state", Some("@moderator:domain"), json!({}), false),
        ("moderator", all, "x.state", Some("@bob:domain"), json!({}), false),
        ("moderator", all, "x.state", Some("@moderator:domain"), json!({}), true),
        ("alice", all, "m.room.create", Some(""), json!({ "creator": "@alice:domain" }), false),
        // Joining and leaving.
        ("stranger", all, "m.room.member", Some("@stranger:domain"), member("join"), true),
        ("dora", all, "m.room.member", Some("@dora:domain"), member("join"), true),
        ("mallory", all, "m.room.member", Some("@mallory:domain"), member("join"), false),
        ("alice", all, "m.room.member", Some("@stranger:domain"), member("join"), false),
        ("bob", all, "m.room.member", Some("@bob:domain"), member("leave"), true),
        ("dora", all, "m.room.member", Some("@dora:domain"), member("leave"), true),
        ("stranger", all, "m.room.member", Some("@stranger:domain"), member("leave"), false),
        ("stranger", all, "m.room.member", Some("@stranger:domain"), member("knock"), false),
        ("bob", all, "m.room.member", Some("@bob:domain"), member("sleep"), false),
        ("bob", all, "m.room.member", Some("not a user"), member("join"), false),
        // Inviting, kicking, banning.
        ("bob", all, "m.room.member", Some("@stranger:domain"), member("invite"), true),
        ("bob", all, "m.room.member", Some(moderator), member("invite"), false),
        ("bob", all, "m.room.member", Some("@mallory:domain"), member("invite"), false),
        ("stranger", all, "m.room.member", Some("@dora:domain"), member("invite"), false),
        ("bob", all, "m.room.member", Some("@dora:domain"), member("leave"), false),
        ("moderator", all, "m.room.member", Some("@bob:domain"), member("leave"), true),
        ("moderator", all, "m.room.member", Some("@alice:domain"), member("leave"), false),
        ("alice", all, "m.room.member", Some(moderator), member("ban"), true),
        ("moderator", all, "m.room.member", Some("@alice:domain"), member("ban"), false),
        ("bob", all, "m.room.member", Some("@mallory:domain"), member("leave"), false),
        ("moderator", all, "m.room.member", Some("@mallory:domain"), member("leave"), true),
        // Power levels.
        ("bob", all, "m.room.power_levels", Some(""), levels(json!({ "@bob:domain": 100 })), false),
        ("moderator", all, "m.room.power_levels", Some(""), levels(json!({ moderator: 51 })), false),
        ("moderator", all, "m.room.power_levels", Some(""), levels(json!({ moderator: "50" })), false),
        (
            "alice",
            finite,
            "m.room.power_levels",
            Some(""),
            levels(json!({ "@alice:domain": 100, "@bob:domain": 100 })),
            true,
        ),
        (
            "alice",
            finite,
            "m.room.power_levels",
            Some(""),
            levels(json!({ "@alice:domain": 100, "@bob:domain": 101 })),
            false,
        ),
        ("alice", &[V::V12], "m.room.power_levels", Some(""), levels(json!({ "@bob:domain": 9_000_000 })), true),
        ("alice", &[V::V12], "m.room.power_levels", Some(""), levels(json!({ "@alice:domain": 100 })), false),
        ("moderator", &[V::V12], "m.room.power_levels", Some(""), levels(json!({ moderator: 0 })), true),
    ];
    for (sender, versions, event_type, state_key, content, allowed) in cases {
        for version in versions {
            let room = Room::new(version);
            let pdu = room.event(sender, event_type, state_key, &content);
            let outcome = room.check(&pdu);
            assert_eq!(
                outcome.is_ok(),
                allowed,
                "version {version}: {sender} {event_type} {state_key:?} {content}: {outcome:?}"
            );
        }
    }
}

#[test]
fn auth_events_are_those_of_the_specification() {
    for version in RoomVersion::SUPPORTED {
        let room = Room::new(version);
        let pdu = room.event("bob", "m.room.message", None, &json!({}));
        let has_create = pdu.auth_events.contains(&room.find(&StateEventType::RoomCreate, "").unwrap().event_id);
        assert_eq!(has_create, *version != RoomVersionId::V12, "version {version}");
        // One that the selection does not name.
        let mut extra = pdu.clone();
        extra.auth_events.push(room.find(&StateEventType::RoomJoinRules, "").unwrap().event_id.clone());
        assert!(room.check(&extra).is_err(), "version {version}");
        let mut rejected = Room::new(version);
        let pdu = rejected.event("bob", "m.room.message", None, &json!({}));
        rejected.state.get_mut(&("m.room.power_levels".to_owned(), String::new())).unwrap().rejected = true;
        assert!(rejected.check(&pdu).is_err(), "version {version}: a rejected event authorizes nothing");
    }
}

#[test]
fn power_levels_with_and_without_their_event() {
    use RoomPowerLevelsIntField::{Ban, Invite, Redact};
    for version in RoomVersion::SUPPORTED {
        let room = Room::new(version);
        let create = room.find(&StateEventType::RoomCreate, "").unwrap();
        let event = room.find(&StateEventType::RoomPowerLevels, "");
        for event in [event, None] {
            let levels = PowerLevels::new(&room.version, create, event).unwrap();
            let case = format!("version {version}, event {}", event.is_some());
            assert!(levels.may(&user("alice"), Ban).unwrap(), "{case}");
            assert_eq!(levels.may(&user("moderator"), Redact).unwrap(), event.is_some(), "{case}");
            assert!(!levels.may(&user("bob"), Redact).unwrap(), "{case}");
            assert!(levels.may(&user("bob"), Invite).unwrap(), "{case}");
            assert!(levels.may_send(&user("bob"), &"m.room.message".into(), false).unwrap(), "{case}");
            assert_eq!(levels.may_send(&user("bob"), &"m.room.topic".into(), true).unwrap(), event.is_some(), "{case}");
            assert!(!levels.may_send(&user("bob"), &"m.room.name".into(), true).unwrap(), "{case}");
        }
    }
}

/// The number of a version.
fn number(version: &RoomVersionId) -> u32 {
    version.as_str().parse().unwrap()
}

#[test]
fn join_rules_by_version() {
    // Join rule, who, their membership before, what they send, from which version on it is allowed.
    for (rule, authorizer, before, membership, since) in [
        ("knock", None, None, "knock", Some(7)),
        ("knock", None, None, "join", None),
        ("knock", None, Some("invite"), "join", Some(7)),
        ("invite", None, None, "knock", None),
        ("invite", None, Some("invite"), "join", Some(2)),
        ("public", None, None, "knock", None),
        ("restricted", Some("@moderator:domain"), None, "join", Some(8)),
        ("restricted", Some("@bob:domain"), None, "join", None),
        ("restricted", Some("@dora:domain"), None, "join", None),
        ("restricted", None, None, "join", None),
        ("restricted", None, Some("invite"), "join", Some(8)),
        ("restricted", None, None, "knock", None),
        ("knock_restricted", Some("@moderator:domain"), None, "join", Some(10)),
        ("knock_restricted", None, None, "join", None),
        ("knock_restricted", None, None, "knock", Some(10)),
        ("private", None, None, "join", None),
    ] {
        for version in RoomVersion::SUPPORTED {
            let mut room = Room::new(version);
            let mut levels: Value =
                serde_json::from_str(room.find(&StateEventType::RoomPowerLevels, "").unwrap().content.get()).unwrap();
            levels["invite"] = 50.into();
            room.set("alice", "m.room.power_levels", "", &levels);
            if before.is_some() {
                room.set("moderator", "m.room.member", "@eve:domain", &json!({ "membership": "invite" }));
            }
            room.set("alice", "m.room.join_rules", "", &json!({ "join_rule": rule }));
            let mut content = json!({ "membership": membership });
            if let Some(authorizer) = authorizer {
                content["join_authorised_via_users_server"] = authorizer.into();
            }
            let outcome = room.check(&room.event("eve", "m.room.member", Some("@eve:domain"), &content));
            let allowed = since.is_some_and(|since| number(version) >= since);
            assert_eq!(outcome.is_ok(), allowed, "version {version}: {rule} {before:?} {content}: {outcome:?}");
        }
    }
}

#[test]
fn power_levels_by_version() {
    // A change by Alice to the levels, and in which versions it is allowed.
    for (field, value, versions) in [
        ("ban", json!("50"), 2..=9),
        ("ban", json!(" +0050 "), 2..=9),
        ("ban", json!("5.5"), NEVER),
        ("ban", json!(true), NEVER),
        ("ban", json!(50), 2..=12),
        ("events", json!({ "m.room.name": "60" }), 2..=9),
        ("events", json!([]), NEVER),
        ("notifications", json!({ "room": 5 }), 2..=12),
    ] {
        for version in RoomVersion::SUPPORTED {
            let room = Room::new(version);
            let levels = room.find(&StateEventType::RoomPowerLevels, "").unwrap();
            let mut levels: Value = serde_json::from_str(levels.content.get()).unwrap();
            levels[field] = value.clone();
            let outcome = room.check(&room.event("alice", "m.room.power_levels", Some(""), &levels));
            let allowed = versions.contains(&number(version));
            assert_eq!(outcome.is_ok(), allowed, "version {version}: {field} {value}: {outcome:?}");
        }
    }
}

#[test]
fn levels_that_are_floats_or_out_of_range() {
    for (level, expected) in [
        ("50.57", 50_i64),
        ("5.1E1", 51),
        ("-0.9", 0),
        ("1e300", 9_007_199_254_740_991),
        ("92233720368547758070", 9_007_199_254_740_991),
    ] {
        for version in &RoomVersion::SUPPORTED[..4] {
            let room = Room::new(version);
            let create = room.find(&StateEventType::RoomCreate, "").unwrap();
            let content = format!("{{\"users\":{{\"@bob:domain\":{level},\"@alice:domain\":100}}}}");
            let content = serde_json::value::RawValue::from_string(content).unwrap();
            let mut event = room.event("alice", "m.room.power_levels", Some(""), &json!({}));
            event.json = event.json.replace("\"content\":{}", &format!("\"content\":{content}"));
            let event = Pdu::parse(&event.json, &room.version, None).unwrap();
            let levels = PowerLevels::new(&room.version, create, Some(&event)).unwrap();
            let expected = UserPowerLevel::Int(expected.try_into().unwrap());
            assert_eq!(levels.of(&user("bob")).unwrap(), expected, "version {version}: {level}");
        }
    }
}

#[test]
fn notification_levels_are_guarded_from_version_6_on() {
    for version in RoomVersion::SUPPORTED {
        let mut room = Room::new(version);
        let levels = room.find(&StateEventType::RoomPowerLevels, "").unwrap();
        let mut levels: Value = serde_json::from_str(levels.content.get()).unwrap();
        levels["events"]["m.room.power_levels"] = 50.into();
        levels["notifications"] = json!({ "room": 60 });
        room.set("alice", "m.room.power_levels", "", &levels);
        levels["notifications"] = json!({ "room": 10 });
        let outcome = room.check(&room.event("moderator", "m.room.power_levels", Some(""), &levels));
        assert_eq!(outcome.is_ok(), number(version) < 6, "version {version}: {outcome:?}");
    }
}

#[test]
fn aliases_and_redactions_by_version() {
    for version in RoomVersion::SUPPORTED {
        let room = Room::new(version);
        for (key, ours) in [("domain", true), ("elsewhere", false)] {
            // Until version 5 the server's name decides and nothing else; then it is a state event like others.
            let aliases = room.event("bob", "m.room.aliases", Some(key), &json!({ "aliases": [] }));
            assert_eq!(room.check(&aliases).is_ok(), number(version) < 6 && ours, "version {version}: {key}");
        }
        for (target, ours) in [("$x:domain", true), ("$x:elsewhere", false)] {
            let mut redaction = room.event("bob", "m.room.redaction", None, &json!({}));
            redaction.redacts = Some(target.try_into().unwrap());
            let outcome = room.check(&redaction);
            assert_eq!(outcome.is_ok(), ours || number(version) > 2, "version {version}: {target}: {outcome:?}");
        }
    }
}
