//! [`POST /createRoom`](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3createroom): presets and every
//! parameter.

use serde_json::{Value, json};

use crate::support::{User, encode, find, list, next_batch, server};

/// `content` of a state event, null where there is none.
fn content<'a>(state: &'a Value, event_type: &str) -> &'a Value {
    find(state, event_type, Some("")).map_or(&Value::Null, |event| &event["content"])
}

#[tokio::test]
async fn presets() {
    let server = server().await;
    let (alice, bob) = (User::new(&server, "alice").await, User::new(&server, "bob").await);
    for version in ["2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"] {
        for (body, join_rule, guests, published, trusted) in [
            (json!({}), "invite", "can_join", false, false),
            (json!({ "visibility": "private" }), "invite", "can_join", false, false),
            (json!({ "visibility": "public" }), "public", "forbidden", true, false),
            (json!({ "preset": "private_chat" }), "invite", "can_join", false, false),
            (json!({ "preset": "private_chat", "visibility": "public" }), "invite", "can_join", true, false),
            (json!({ "preset": "trusted_private_chat" }), "invite", "can_join", false, true),
            (json!({ "preset": "public_chat" }), "public", "forbidden", false, false),
        ] {
            let mut request = body.clone();
            request["room_version"] = version.into();
            request["invite"] = json!([bob.id()]);
            let room = alice.create(request).await;
            let state = alice.read(&format!("rooms/{room}/state")).await;
            let create = content(&state, "m.room.create");
            assert_eq!(create["room_version"], version);
            assert_eq!(content(&state, "m.room.join_rules")["join_rule"], join_rule, "{body}");
            assert_eq!(content(&state, "m.room.history_visibility")["history_visibility"], "shared", "{body}");
            assert_eq!(content(&state, "m.room.guest_access")["guest_access"], guests, "{body}");
            let visibility = alice.read(&format!("directory/list/room/{room}")).await;
            assert_eq!(visibility["visibility"], if published { "public" } else { "private" }, "{body}");
            let invited = find(&state, "m.room.member", Some(bob.id())).unwrap();
            assert_eq!(invited["content"]["membership"], "invite");
            let levels = content(&state, "m.room.power_levels");
            if version == "12" {
                // Creators have more power than any number, and are not listed.
                assert_eq!(levels["users"].as_object().map_or(0, serde_json::Map::len), 0, "{levels}");
                let creators: Vec<&str> =
                    list(&create["additional_creators"]).map(|user| user.as_str().unwrap()).collect();
                assert_eq!(creators, if trusted { vec![bob.id()] } else { vec![] }, "{body}");
                assert!(levels["events"]["m.room.tombstone"].as_i64().unwrap() > 100);
            } else {
                assert_eq!(levels["users"][alice.id()], 100);
                assert_eq!(levels["users"].get(bob.id()).is_some(), trusted, "{body}");
            }
            assert_eq!(create.get("creator").is_some(), !matches!(version, "11" | "12"), "{create}");
            // The room id of version 12 is that of its create event.
            let event = find(&state, "m.room.create", Some("")).unwrap();
            let same = event["event_id"].as_str().unwrap()[1..] == room[1..];
            assert_eq!(same, version == "12");
        }
    }
}

#[tokio::test]
async fn every_parameter() {
    let server = server().await;
    let (alice, bob) = (User::new(&server, "alice").await, User::new(&server, "bob").await);
    let room = alice
        .create(json!({
            "preset": "private_chat",
            "name": "Kitchen",
            "topic": "Soup",
            "room_alias_name": "kitchen",
            "room_version": "11",
            "is_direct": true,
            "invite": [bob.id(), bob.id()],
            "creation_content": { "m.federate": false, "type": "m.space", "creator": "@mallory:x", "room_version": "1" },
            "initial_state": [
                { "type": "m.room.encryption", "state_key": "", "content": { "algorithm": "m.megolm.v1.aes-sha2" } },
                { "type": "x.widget", "state_key": "clock", "content": { "a": 1 } },
                { "type": "m.room.history_visibility", "content": { "history_visibility": "joined" } },
                { "type": "m.room.name", "content": { "name": "Cellar" } },
            ],
            "power_level_content_override": { "events_default": 5, "users": { alice.id(): 100, bob.id(): 7 } },
        }))
        .await;
    let state = alice.read(&format!("rooms/{room}/state")).await;
    let create = content(&state, "m.room.create");
    assert_eq!(*create, json!({ "room_version": "11", "m.federate": false, "type": "m.space" }));
    // `name` wins over `initial_state`.
    assert_eq!(content(&state, "m.room.name")["name"], "Kitchen");
    assert_eq!(content(&state, "m.room.topic")["topic"], "Soup");
    assert_eq!(content(&state, "m.room.topic")["m.topic"]["m.text"][0]["body"], "Soup");
    assert_eq!(content(&state, "m.room.canonical_alias")["alias"], "#kitchen:hearth.test");
    assert_eq!(content(&state, "m.room.encryption")["algorithm"], "m.megolm.v1.aes-sha2");
    assert_eq!(content(&state, "m.room.history_visibility")["history_visibility"], "joined");
    assert_eq!(find(&state, "x.widget", Some("clock")).unwrap()["content"], json!({ "a": 1 }));
    let levels = content(&state, "m.room.power_levels");
    assert_eq!(
        (&levels["events_default"], &levels["users"][bob.id()], &levels["ban"]),
        (&json!(5), &json!(7), &json!(50))
    );
    let invited = find(&state, "m.room.member", Some(bob.id())).unwrap();
    assert_eq!(invited["content"]["is_direct"], true);
    assert_eq!(alice.read("directory/room/%23kitchen%3Ahearth.test").await["room_id"], room.as_str());
    assert_eq!(alice.read(&format!("rooms/{room}/aliases")).await["aliases"], json!(["#kitchen:hearth.test"]));

    // The events come in the order that the specification gives.
    let page = alice.read(&format!("rooms/{room}/messages?dir=f&limit=100")).await;
    let order: Vec<&str> = list(&page["chunk"]).map(|event| event["type"].as_str().unwrap()).collect();
    let position = |event_type: &str| order.iter().position(|found| *found == event_type).unwrap();
    assert_eq!(&order[..3], ["m.room.create", "m.room.member", "m.room.power_levels"], "{order:?}");
    assert!(position("m.room.canonical_alias") < position("m.room.join_rules"), "{order:?}");
    assert!(position("m.room.join_rules") < position("x.widget"), "{order:?}");
    assert!(position("x.widget") < position("m.room.name"), "{order:?}");
    assert!(position("m.room.name") < position("m.room.topic"), "{order:?}");
    assert_eq!(*order.last().unwrap(), "m.room.member", "{order:?}");

    // The invited see what the room is, and only that.
    let sync = bob.sync(None, &[]).await;
    let stripped = &sync["rooms"]["invite"][&room]["invite_state"]["events"];
    for event_type in
        ["m.room.create", "m.room.name", "m.room.canonical_alias", "m.room.join_rules", "m.room.encryption"]
    {
        assert!(find(stripped, event_type, Some("")).is_some(), "{event_type}: {stripped}");
    }
    assert!(find(stripped, "x.widget", Some("clock")).is_none());
}

#[tokio::test]
async fn nothing_remains_of_a_room_that_was_refused() {
    let server = server().await;
    let (alice, bob) = (User::new(&server, "alice").await, User::new(&server, "bob").await);
    let since = bob.sync(None, &[]).await;
    let since = next_batch(&since);
    for (extra, status, code) in [
        (json!({ "room_version": "99" }), 400, "M_UNSUPPORTED_ROOM_VERSION"),
        // The creator locks themselves out before the name is set.
        (
            json!({ "name": "x", "room_version": "11", "power_level_content_override": { "users": { alice.id(): 0 } } }),
            400,
            "M_INVALID_ROOM_STATE",
        ),
        (
            json!({ "initial_state": [{ "type": "m.room.member", "state_key": bob.id(), "content": { "membership": "join" } }] }),
            400,
            "M_INVALID_ROOM_STATE",
        ),
        (json!({ "invite": ["@nobody:hearth.test"] }), 404, "M_NOT_FOUND"),
        (json!({ "power_level_content_override": { "users": { "x": 1 } } }), 400, "M_BAD_JSON"),
    ] {
        let mut body = json!({ "room_alias_name": "free", "visibility": "public", "invite": [bob.id()] });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        alice.refused("POST", "createRoom", Some(body), status, code).await;
        alice
            .refused("GET", &format!("directory/room/{}", encode("#free:hearth.test")), None, 404, "M_NOT_FOUND")
            .await;
    }
    alice.create(json!({ "room_alias_name": "taken" })).await;
    alice
        .refused(
            "POST",
            "createRoom",
            Some(json!({ "room_alias_name": "taken", "invite": [bob.id()] })),
            400,
            "M_ROOM_IN_USE",
        )
        .await;
    assert_eq!(alice.read("joined_rooms").await["joined_rooms"].as_array().unwrap().len(), 1);
    assert_eq!(alice.read("publicRooms").await["chunk"], json!([]));
    assert_eq!(bob.sync(Some(since), &[]).await["rooms"], Value::Null);
}
