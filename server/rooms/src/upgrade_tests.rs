//! Upgrades from and to every version: what the replacement has, what is left of the old room, who may.

use ruma::{OwnedRoomId, RoomAliasId, RoomId, api::Direction};
use serde_json::{Value, json};

use crate::{
    EventFilter, Membership, Reader, RoomError, Rooms,
    membership::{Change, MemberProfile},
    testing::{VERSIONS, rooms, user},
    timeline::MessagesRequest,
    upgrade::UpgradeRequest,
};

impl Rooms {
    async fn upgrade_for_test(&self, room: &RoomId, name: &str, version: &str) -> Result<OwnedRoomId, RoomError> {
        let request =
            UpgradeRequest { version: version.try_into().unwrap(), additional_creators: vec![user("deputy")] };
        let profile = MemberProfile { displayname: Some(name.to_owned()), avatar_url: None };
        self.upgrade(room, &user(name), &profile, &request).await
    }

    async fn content_for_test(&self, room: &RoomId, name: &str, event_type: &str, key: &str) -> Value {
        match self.state_content(room, &user(name), event_type, key).await {
            Ok(content) => serde_json::from_str(content.get()).unwrap(),
            Err(RoomError::EventNotFound) => Value::Null,
            Err(error) => panic!("{event_type} {key}: {error}"),
        }
    }

    async fn event_for_test(&self, room: &RoomId, name: &str, event_type: &str) -> Value {
        let user = user(name);
        let event = self.state_event(room, &Reader::new(&user, None), event_type, "").await.unwrap();
        serde_json::from_str(event.json().get()).unwrap()
    }
}

/// A space of Alice with everything that is transferred, and some that is not.
async fn furnished(rooms: &Rooms, version: &str, alias: &str) -> OwnedRoomId {
    let body = json!({
        "preset": "public_chat",
        "visibility": "public",
        "room_version": version,
        "room_alias_name": alias,
        "name": "Kitchen",
        "topic": "Soup",
        "creation_content": { "type": "m.space", "m.federate": false },
        "initial_state": [
            { "type": "m.room.encryption", "content": { "algorithm": "m.megolm.v1.aes-sha2" } },
            { "type": "m.room.avatar", "content": { "url": "mxc://example.org/a" } },
            { "type": "m.room.server_acl", "content": { "allow": ["*"], "deny": ["evil.example"] } },
            { "type": "m.room.history_visibility", "content": { "history_visibility": "joined" } },
            { "type": "m.space.child", "state_key": "!child:example.org", "content": { "via": ["example.org"] } },
            { "type": "m.space.child", "state_key": "!gone:example.org", "content": {} },
            { "type": "x.widget", "state_key": "", "content": { "a": 1 } },
        ],
    });
    let room = rooms.create_for_test("alice", body).await.unwrap();
    for name in ["bob", "troll", "guest"] {
        rooms.change_for_test(&room, name, name, Change::Join).await.unwrap();
    }
    let troll = user("troll");
    let profile = MemberProfile::default();
    rooms.change_membership(&room, &user("alice"), &troll, Change::Ban, &profile, Some("spam".into())).await.unwrap();
    rooms.change_for_test(&room, "guest", "guest", Change::Leave).await.unwrap();
    room
}

#[tokio::test]
async fn from_and_to_every_version() {
    let mut pairs: Vec<(&str, &str)> = VERSIONS.iter().map(|version| (*version, "12")).collect();
    pairs.extend(VERSIONS.iter().map(|version| ("12", *version)));
    pairs.extend(VERSIONS.iter().map(|version| ("9", *version)));
    let rooms = rooms();
    for (n, (from, to)) in pairs.into_iter().enumerate() {
        let alias = format!("kitchen{n}");
        let old = furnished(&rooms, from, &alias).await;
        let new = rooms.upgrade_for_test(&old, "alice", to).await.unwrap();
        let case = format!("{from} to {to}");
        let content = async |event_type| rooms.content_for_test(&new, "alice", event_type, "").await;

        let create = content("m.room.create").await;
        assert_eq!(create["room_version"], to, "{case}");
        assert_eq!((&create["type"], &create["m.federate"]), (&json!("m.space"), &json!(false)), "{case}");
        assert_eq!(create["predecessor"]["room_id"], old.as_str(), "{case}");
        let tombstone = rooms.event_for_test(&old, "alice", "m.room.tombstone").await;
        assert_eq!(tombstone["content"]["replacement_room"], new.as_str(), "{case}");
        if to == "12" {
            assert_eq!(create["predecessor"].get("event_id"), None, "{case}");
            assert_eq!(create["additional_creators"], json!(["@deputy:example.org"]), "{case}");
        } else {
            assert_eq!(create["predecessor"]["event_id"], tombstone["event_id"], "{case}");
            assert_eq!(create.get("additional_creators"), None, "{case}");
        }
        for (event_type, expected) in [
            ("m.room.name", json!({ "name": "Kitchen" })),
            ("m.room.avatar", json!({ "url": "mxc://example.org/a" })),
            ("m.room.encryption", json!({ "algorithm": "m.megolm.v1.aes-sha2" })),
            ("m.room.server_acl", json!({ "allow": ["*"], "deny": ["evil.example"] })),
            ("m.room.history_visibility", json!({ "history_visibility": "joined" })),
            ("m.room.join_rules", json!({ "join_rule": "public" })),
            ("m.room.guest_access", json!({ "guest_access": "forbidden" })),
            ("m.room.canonical_alias", json!({ "alias": format!("#{alias}:example.org") })),
            ("x.widget", Value::Null),
        ] {
            assert_eq!(content(event_type).await, expected, "{case}: {event_type}");
        }
        assert_eq!(content("m.room.topic").await["topic"], "Soup", "{case}");
        let child = rooms.content_for_test(&new, "alice", "m.space.child", "!child:example.org").await;
        assert_eq!(child, json!({ "via": ["example.org"] }), "{case}");
        assert_eq!(rooms.content_for_test(&new, "alice", "m.space.child", "!gone:example.org").await, Value::Null);

        let levels = content("m.room.power_levels").await;
        let expected = if to == "12" { json!({}) } else { json!({ "@alice:example.org": 100 }) };
        assert_eq!(levels["users"], expected, "{case}");
        assert_eq!((&levels["events_default"], &levels["invite"]), (&json!(0), &json!(50)), "{case}");
        let silenced = rooms.content_for_test(&old, "alice", "m.room.power_levels", "").await;
        assert_eq!((&silenced["events_default"], &silenced["invite"]), (&json!(50), &json!(50)), "{case}");
        assert_eq!(rooms.content_for_test(&old, "alice", "m.room.canonical_alias", "").await, json!({}), "{case}");

        let membership = async |name| rooms.membership_of(&new, &user(name)).await.unwrap();
        assert_eq!(membership("alice").await, Some(Membership::Join), "{case}");
        assert_eq!(membership("troll").await, Some(Membership::Ban), "{case}");
        assert_eq!(membership("bob").await, None, "{case}");
        let own = rooms.content_for_test(&new, "alice", "m.room.member", "@alice:example.org").await;
        assert_eq!(own["displayname"], "alice", "{case}");
        let ban = rooms.content_for_test(&new, "alice", "m.room.member", "@troll:example.org").await;
        assert_eq!(ban, json!({ "membership": "ban", "reason": "spam" }), "{case}");

        let alias = RoomAliasId::parse(format!("#{alias}:example.org")).unwrap();
        assert_eq!(rooms.resolve_alias(&alias).await.unwrap(), new, "{case}");
        assert_eq!(rooms.aliases(&old, &user("alice")).await.unwrap().len(), 0, "{case}");
        assert_eq!(rooms.aliases(&new, &user("alice")).await.unwrap(), [alias], "{case}");
        assert!(rooms.is_published(&new).await.unwrap() && !rooms.is_published(&old).await.unwrap(), "{case}");
        assert_eq!(rooms.predecessor(&new).await.unwrap(), Some(old.clone()), "{case}");

        // Life goes on there, and not here.
        rooms.change_for_test(&new, "bob", "bob", Change::Join).await.unwrap();
        rooms.send_for_test(&new, "bob", "m.room.message", json!({ "body": "hi" })).await.unwrap();
        let silent = rooms.send_for_test(&old, "bob", "m.room.message", json!({ "body": "hi" })).await;
        assert!(matches!(silent, Err(RoomError::Forbidden(_))), "{case}");
        for room in [&old, &new] {
            let request = MessagesRequest {
                from: None,
                to: None,
                direction: Direction::Forward,
                limit: Some(100),
                filter: EventFilter::default(),
            };
            let alice = user("alice");
            let page = rooms.messages(room, &Reader::new(&alice, None), &request).await.unwrap();
            let first: Value = serde_json::from_str(page.chunk[0].json().get()).unwrap();
            assert_eq!(first["type"], "m.room.create", "{case}");
        }
    }
    let report = hearth_store::check::Report::new();
    crate::check::check(rooms.store(), &report).await.unwrap();
    assert_eq!(report.findings(), 0, "{:?}", report.kept());
}

#[tokio::test]
async fn only_who_may() {
    let rooms = rooms();
    for version in ["9", "11", "12"] {
        let room = furnished(&rooms, version, &format!("k{version}")).await;
        for (name, to, expected) in [
            ("bob", "12", "no power to upgrade this room"),
            ("troll", "12", "only a member can upgrade a room"),
            ("guest", "12", "only a member can upgrade a room"),
            ("stranger", "12", "only a member can upgrade a room"),
            ("alice", "99", "room version 99 is not supported"),
        ] {
            let refused = rooms.upgrade_for_test(&room, name, to).await.unwrap_err();
            assert_eq!(refused.to_string(), expected, "{version} {name}");
        }
        // Nothing was made before the check.
        assert_eq!(rooms.content_for_test(&room, "alice", "m.room.tombstone", "").await, Value::Null);
    }
    let nowhere = ruma::room_id!("!nowhere:example.org");
    let refused = rooms.upgrade_for_test(nowhere, "alice", "12").await.unwrap_err();
    assert_eq!(refused.to_string(), "only a member can upgrade a room");
}

#[tokio::test]
async fn a_moderator_who_may_send_tombstones() {
    let rooms = rooms();
    for to in VERSIONS {
        let body = json!({
            "preset": "public_chat",
            "room_version": "11",
            "name": "x",
            "power_level_content_override": {
                "users": { "@alice:example.org": 100, "@bob:example.org": 50 },
                "events": { "m.room.tombstone": 50, "m.room.name": 80, "m.room.power_levels": 100 },
            },
        });
        let room = rooms.create_for_test("alice", body).await.unwrap();
        rooms.change_for_test(&room, "bob", "bob", Change::Join).await.unwrap();
        let new = rooms.upgrade_for_test(&room, "bob", to).await.unwrap();
        // All is transferred, and Bob's power is a moderator's where it is a number.
        assert_eq!(rooms.content_for_test(&new, "bob", "m.room.name", "").await, json!({ "name": "x" }));
        let levels = rooms.content_for_test(&new, "bob", "m.room.power_levels", "").await;
        let bob = if to == "12" { Value::Null } else { json!(50) };
        assert_eq!((&levels["users"]["@alice:example.org"], &levels["users"]["@bob:example.org"]), (&json!(100), &bob));
        // The old room's levels are beyond Bob's power, which is no reason to fail.
        let old = rooms.content_for_test(&room, "bob", "m.room.power_levels", "").await;
        assert_eq!(old["events_default"], 0);
    }
}

#[tokio::test]
async fn the_same_request_again() {
    let rooms = rooms();
    let room = furnished(&rooms, "10", "again").await;
    let new = rooms.upgrade_for_test(&room, "alice", "12").await.unwrap();
    assert_eq!(rooms.upgrade_for_test(&room, "alice", "12").await.unwrap(), new);
    // Another version is another request.
    let other = rooms.upgrade_for_test(&room, "alice", "11").await.unwrap();
    assert_ne!(other, new);
    assert!(rooms.upgrade_for_test(&other, "alice", "12").await.is_ok_and(|id| id != new));
}

#[tokio::test]
async fn two_at_once_make_one_room() {
    let rooms = rooms();
    let room = furnished(&rooms, "10", "race").await;
    let (a, b) =
        tokio::join!(rooms.upgrade_for_test(&room, "alice", "12"), rooms.upgrade_for_test(&room, "alice", "12"));
    assert_eq!(a.unwrap(), b.unwrap());
}

#[tokio::test]
async fn more_bans_than_fit() {
    let rooms = rooms();
    let room = rooms.create_for_test("alice", json!({ "preset": "public_chat" })).await.unwrap();
    for n in 0..1005 {
        rooms.change_for_test(&room, "alice", &format!("troll{n}"), Change::Ban).await.unwrap();
    }
    let new = rooms.upgrade_for_test(&room, "alice", "12").await.unwrap();
    for n in 0..1005 {
        let membership = rooms.membership_of(&new, &user(&format!("troll{n}"))).await.unwrap();
        assert_eq!(membership, Some(Membership::Ban), "{n}");
    }
}

#[tokio::test]
async fn a_room_whose_past_is_in_nobodys_way() {
    let rooms = rooms();
    let body = json!({ "room_version": "6", "initial_state": [
        { "type": "m.room.name", "content": { "name": 3 } },
        { "type": "m.room.guest_access", "content": {} },
    ] });
    let room = rooms.create_for_test("alice", body).await.unwrap();
    // Redacted: the replacement gets what readers see.
    let topic = rooms.state_for_test(&room, "alice", "m.room.topic", "", json!({ "topic": "secret" })).await.unwrap();
    let mut redaction = crate::testing::draft("m.room.redaction", None, json!({}));
    redaction.redacts = Some(topic);
    rooms.send(&room, &user("alice"), redaction).await.unwrap();
    let new = rooms.upgrade_for_test(&room, "alice", "12").await.unwrap();
    assert_eq!(rooms.content_for_test(&new, "alice", "m.room.topic", "").await, json!({}));
    assert_eq!(rooms.content_for_test(&new, "alice", "m.room.name", "").await, json!({ "name": 3 }));
}
