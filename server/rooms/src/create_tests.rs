//! createRoom: presets, order, every parameter, refusals, in each room version.

use ruma::{OwnedRoomId, RoomId};
use serde_json::{Value, json};

use crate::{
    RoomError, Rooms,
    keys::{ALIAS, NEXT_ID, ROOM, TIMELINE},
    testing::{VERSIONS, rooms, user},
};

/// Types of the room's events in order, with the state keys that are not empty.
async fn order(rooms: &Rooms, room: &RoomId) -> Vec<String> {
    let tx = rooms.store.begin();
    let nid = rooms.find_room(&tx, room).await.unwrap().unwrap();
    let mut order = Vec::new();
    for (_, entry) in TIMELINE.scan((nid,)).all(&tx).await.unwrap() {
        let event = rooms.stored_event(&tx, entry.event).await.unwrap();
        let key = event.pdu.state_key.clone().unwrap();
        let event_type = event.pdu.event_type.to_string();
        let name = event_type.trim_start_matches("m.room.");
        order.push(if key.is_empty() { name.to_owned() } else { format!("{name} {key}") });
    }
    order
}

/// Content of a state event; null where there is none.
async fn content(rooms: &Rooms, room: &RoomId, event_type: &str, key: &str) -> Value {
    let tx = rooms.store.begin();
    let nid = rooms.find_room(&tx, room).await.unwrap().unwrap();
    let mut writer = crate::writer::RoomWriter::open(rooms, tx, nid).await.unwrap();
    let event = writer.state(event_type, key).await.unwrap();
    event.map_or(Value::Null, |event| serde_json::from_str(event.pdu.content.get()).unwrap())
}

async fn create(rooms: &Rooms, body: Value) -> OwnedRoomId {
    rooms.create_for_test("alice", body).await.unwrap()
}

#[tokio::test]
async fn presets() {
    let cases = [
        (json!({}), "invite", "can_join", 0),
        (json!({ "visibility": "private" }), "invite", "can_join", 0),
        (json!({ "visibility": "public" }), "public", "forbidden", 50),
        (json!({ "preset": "private_chat", "visibility": "public" }), "invite", "can_join", 0),
        (json!({ "preset": "public_chat" }), "public", "forbidden", 50),
        (json!({ "preset": "trusted_private_chat" }), "invite", "can_join", 0),
    ];
    for (body, join_rule, guest_access, invite) in cases {
        for version in VERSIONS {
            let rooms = rooms();
            let mut request = body.clone();
            request["room_version"] = version.into();
            request["invite"] = json!(["@bob:example.org", "@carol:example.org", "@bob:example.org"]);
            let room = create(&rooms, request).await;
            let case = format!("{body} in version {version}");
            let state = async |event_type: &str| content(&rooms, &room, event_type, "").await;
            assert_eq!(state("m.room.join_rules").await, json!({ "join_rule": join_rule }), "{case}");
            assert_eq!(state("m.room.guest_access").await, json!({ "guest_access": guest_access }), "{case}");
            assert_eq!(state("m.room.history_visibility").await, json!({ "history_visibility": "shared" }), "{case}");
            assert_eq!(
                order(&rooms, &room).await,
                [
                    "create",
                    "member @alice:example.org",
                    "power_levels",
                    "join_rules",
                    "history_visibility",
                    "guest_access",
                    "member @bob:example.org",
                    "member @carol:example.org",
                ],
                "{case}"
            );
            let trusted = body["preset"] == "trusted_private_chat";
            let levels = state("m.room.power_levels").await;
            assert_eq!(levels["invite"], invite, "{case}");
            let creation = state("m.room.create").await;
            assert_eq!(creation["room_version"], version, "{case}");
            let everyone = json!({ "@alice:example.org": 100, "@bob:example.org": 100, "@carol:example.org": 100 });
            match (version, trusted) {
                ("12", trusted) => {
                    let creators = json!(["@bob:example.org", "@carol:example.org"]);
                    let creators = if trusted { creators } else { Value::Null };
                    assert_eq!(creation["additional_creators"], creators, "{case}");
                    assert_eq!(levels["users"], json!({}), "{case}: creators are not listed");
                    let tombstone = levels["events"]["m.room.tombstone"].as_i64().unwrap();
                    assert!(tombstone > levels["state_default"].as_i64().unwrap(), "{case}");
                }
                (_, true) => assert_eq!(levels["users"], everyone, "{case}"),
                (_, false) => assert_eq!(levels["users"], json!({ "@alice:example.org": 100 }), "{case}"),
            }
            assert_eq!(creation["creator"] == "@alice:example.org", !matches!(version, "11" | "12"), "{case}");
            let is_hash = !room.as_str().contains(':');
            assert_eq!(is_hash, version == "12", "{case}");
            let published = body["visibility"] == "public";
            assert_eq!(rooms.is_published(&room).await.unwrap(), published, "{case}");
        }
    }
}

#[tokio::test]
async fn everything_at_once() {
    let rooms = rooms();
    let body = json!({
        "visibility": "public", "preset": "private_chat", "name": "Pub", "topic": "Beer", "room_alias_name": "pub",
        "is_direct": true, "invite": ["@bob:example.org"], "room_version": "11",
        "creation_content": {
            "m.federate": false, "type": "m.space", "x.extra": 1, "creator": "@mallory:example.org", "room_version": "1",
            "predecessor": { "room_id": "!old:example.org", "event_id": "$old" },
        },
        "initial_state": [
            { "type": "m.room.join_rules", "content": { "join_rule": "knock" } },
            { "type": "m.room.name", "content": { "name": "overwritten" } },
            { "type": "x.custom", "state_key": "key", "content": { "a": 1 } },
            { "type": "m.room.encryption", "state_key": "", "content": { "algorithm": "m.megolm.v1.aes-sha2" } },
        ],
        "power_level_content_override": {
            "users": { "@alice:example.org": 100, "@bob:example.org": 60 }, "events_default": 5, "x.extra": { "a": 1 },
        },
    });
    let room = create(&rooms, body).await;
    assert_eq!(
        order(&rooms, &room).await,
        [
            "create",
            "member @alice:example.org",
            "power_levels",
            "canonical_alias",
            "history_visibility",
            "guest_access",
            "join_rules",
            "x.custom key",
            "encryption",
            "name",
            "topic",
            "member @bob:example.org",
        ]
    );
    let state = async |event_type: &str, key: &str| content(&rooms, &room, event_type, key).await;
    assert_eq!(
        state("m.room.create", "").await,
        json!({
            "m.federate": false, "type": "m.space", "x.extra": 1, "room_version": "11",
            "predecessor": { "room_id": "!old:example.org", "event_id": "$old" },
        })
    );
    assert_eq!(state("m.room.join_rules", "").await["join_rule"], "knock");
    assert_eq!(state("m.room.name", "").await["name"], "Pub");
    let topic = json!({ "topic": "Beer", "m.topic": { "m.text": [{ "body": "Beer" }] } });
    assert_eq!(state("m.room.topic", "").await, topic, "without a mimetype it is text/plain");
    assert_eq!(state("m.room.canonical_alias", "").await, json!({ "alias": "#pub:example.org" }));
    let levels = state("m.room.power_levels", "").await;
    assert_eq!(levels["users"]["@bob:example.org"], 60);
    assert_eq!((&levels["events_default"], &levels["ban"]), (&json!(5), &json!(50)), "over the defaults");
    assert_eq!(state("m.room.member", "@bob:example.org").await, json!({ "membership": "invite", "is_direct": true }));
    let alias = ruma::room_alias_id!("#pub:example.org");
    assert_eq!(rooms.resolve_alias(alias).await.unwrap(), room);
    assert_eq!(rooms.aliases(&room, &user("alice")).await.unwrap(), [alias.to_owned()]);
    assert!(rooms.is_published(&room).await.unwrap());
}

#[tokio::test]
async fn creators_of_version_12() {
    let rooms = rooms();
    let body = json!({
        "preset": "trusted_private_chat", "invite": ["@bob:example.org", "@carol:example.org"],
        "creation_content": { "additional_creators": ["@dora:far.example", "@bob:example.org", "@alice:example.org"] },
    });
    let room = create(&rooms, body).await;
    assert_eq!(
        content(&rooms, &room, "m.room.create", "").await["additional_creators"],
        json!(["@dora:far.example", "@bob:example.org", "@carol:example.org"])
    );
    // Bob can do what needs any power at all.
    rooms.change_for_test(&room, "bob", "bob", crate::membership::Change::Join).await.unwrap();
    let levels = json!({ "users": { "@mallory:example.org": 9_000_000_000_i64 } });
    rooms.state_for_test(&room, "bob", "m.room.power_levels", "", levels).await.unwrap();
    let ban = crate::membership::Change::Ban;
    rooms.change_for_test(&room, "bob", "mallory", ban).await.unwrap();
    let creator_is_safe = rooms.change_for_test(&room, "bob", "alice", ban).await;
    assert!(matches!(creator_is_safe, Err(RoomError::Forbidden(_))));
}

#[tokio::test]
async fn refusals_leave_nothing_behind() {
    type Check = fn(&RoomError) -> bool;
    let bad_request: Check = |error| matches!(error, RoomError::BadRequest(_));
    let invalid_state: Check = |error| matches!(error, RoomError::InvalidRoomState(_));
    let invalid_param: Check = |error| matches!(error, RoomError::InvalidParam(_));
    let too_large: Check = |error| matches!(error, RoomError::TooLarge(_));
    let version: Check = |error| matches!(error, RoomError::UnsupportedRoomVersion(_));
    let in_use: Check = |error| matches!(error, RoomError::AliasInUse);
    let initial = |event_type: &str, state_key: &str, content: Value| json!({ "initial_state": [{ "type": event_type, "state_key": state_key, "content": content }] });
    let third_party =
        json!({ "medium": "email", "address": "a@b.c", "id_server": "id.example", "id_access_token": "x" });
    let cases: Vec<(Value, Check)> = vec![
        (json!({ "room_version": "1" }), version),
        (json!({ "room_version": "x.unknown" }), version),
        (json!({ "preset": "x.unknown" }), bad_request),
        (json!({ "room_alias_name": "taken" }), in_use),
        (json!({ "room_alias_name": "a:b" }), invalid_param),
        (json!({ "room_alias_name": "a".repeat(250) }), invalid_param),
        (json!({ "invite_3pid": [third_party] }), bad_request),
        (json!({ "invite": ["@far:elsewhere.example"] }), bad_request),
        (json!({ "invite": ["@alice:example.org"] }), invalid_state),
        (json!({ "creation_content": { "m.federate": "yes" } }), bad_request),
        (json!({ "creation_content": { "additional_creators": ["nobody"] } }), bad_request),
        (json!({ "creation_content": { "additional_creators": "x" } }), bad_request),
        (json!({ "power_level_content_override": { "users": { "@alice:example.org": 100 } } }), invalid_state),
        (json!({ "power_level_content_override": { "ban": "50" } }), bad_request),
        (json!({ "power_level_content_override": { "users": { "alice": 1 } } }), bad_request),
        (
            json!({ "room_version": "10", "power_level_content_override": { "users": { "@alice:example.org": 10 } } }),
            invalid_state,
        ),
        (initial("m.room.create", "", json!({})), invalid_state),
        (initial("m.room.member", "@bob:example.org", json!({ "membership": "join" })), invalid_state),
        (initial("m.room.member", "@bob:example.org", json!({})), bad_request),
        (initial("m.room.join_rules", "", json!({})), bad_request),
        (initial("m.room.history_visibility", "", json!({ "history_visibility": "x" })), bad_request),
        (initial("m.room.canonical_alias", "", json!({ "alias": "#taken:example.org" })), |error| {
            matches!(error, RoomError::BadAlias(_))
        }),
        (initial(&"x".repeat(256), "", json!({})), too_large),
        (initial("x.large", "", json!({ "a": "x".repeat(70_000) })), too_large),
        (initial("x.float", "", json!({ "a": 1.5 })), bad_request),
        (json!({ "topic": "x".repeat(70_000) }), too_large),
        (json!({ "initial_state": vec![json!({ "type": "x", "content": {} }); 1000] }), too_large),
    ];
    let rooms = rooms();
    create(&rooms, json!({ "room_alias_name": "taken" })).await;
    let before = dump(&rooms).await;
    for (body, expected) in cases {
        let outcome = rooms.create_for_test("alice", body.clone()).await;
        let case: String = body.to_string().chars().take(200).collect();
        let error = outcome.expect_err(&case);
        assert!(expected(&error), "{case}: {error:?}");
        assert_eq!(dump(&rooms).await, before, "{case}");
    }
}

/// Everything in the store but the leases of ids.
async fn dump(rooms: &Rooms) -> Vec<(Vec<u8>, Vec<u8>)> {
    let tx = rooms.store.begin();
    let read =
        hearth_store::RangeRead { begin: Vec::new(), end: vec![0xff], limit: None, reverse: false, snapshot: true };
    let leases = NEXT_ID.pack(&());
    let all = tx.range(&read).await.unwrap().into_iter().filter(|entry| !entry.key.starts_with(&leases));
    all.map(|entry| (entry.key.to_vec(), entry.value.to_vec())).collect()
}

#[tokio::test]
async fn many_rooms_at_once_are_all_different() {
    for version in ["2", "10", "12"] {
        let rooms = rooms();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let rooms = rooms.clone();
            // Within a millisecond or so, and equal.
            tasks.spawn(async move { create(&rooms, json!({ "room_version": version })).await });
        }
        let mut ids = tasks.join_all().await;
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 20, "version {version}");
        let tx = rooms.store.begin();
        assert_eq!(ROOM.scan(()).all(&tx).await.unwrap().len(), 20);
    }
}

#[tokio::test]
async fn one_alias_for_one_room() {
    let rooms = rooms();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let rooms = rooms.clone();
        tasks.spawn(async move { rooms.create_for_test("alice", json!({ "room_alias_name": "one" })).await });
    }
    let outcomes = tasks.join_all().await;
    let created: Vec<&OwnedRoomId> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
    assert_eq!(created.len(), 1);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(RoomError::AliasInUse))));
    let alias = rooms.resolve_alias(ruma::room_alias_id!("#one:example.org")).await.unwrap();
    assert_eq!(&alias, created[0]);
    let tx = rooms.store.begin();
    assert_eq!(ALIAS.scan(()).all(&tx).await.unwrap().len(), 1);
    assert_eq!(ROOM.scan(()).all(&tx).await.unwrap().len(), 1, "the others made no room");
}

#[tokio::test]
async fn the_largest_room_to_begin_with() {
    let rooms = rooms();
    let invite: Vec<String> = (0..90).map(|n| format!("@user{n}:example.org")).collect();
    let state: Vec<Value> = (0..200)
        .map(|n| json!({ "type": "x", "state_key": n.to_string(), "content": { "a": "x".repeat(9000) } }))
        .collect();
    let room = create(&rooms, json!({ "invite": invite, "initial_state": state })).await;
    assert_eq!(order(&rooms, &room).await.len(), 296);
}
