//! Filters, applied on the server.

use serde_json::{Value, json};

use super::world::{World, sections, state, timeline};
use crate::SyncError;

#[tokio::test]
async fn timelines_by_type_sender_and_url() {
    let world = World::new();
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let room = world.public_room(&alice).await;
    world.join(&room, &bob).await;
    let first = world.sync(&alice, json!({})).await;
    world.say(&room, &alice, "a").await;
    world.say(&room, &bob, "b").await;
    world
        .send(&room, &bob, "m.room.message", json!({ "msgtype": "m.image", "body": "picture", "url": "mxc://x/y" }))
        .await;
    world.send(&room, &bob, "org.x", json!({ "body": "custom" })).await;
    world.set(&room, &alice, "m.room.topic", json!({ "topic": "t" })).await;
    for (filter, expected) in [
        (json!({}), vec!["a", "b", "picture", "custom", "topic"]),
        (json!({ "types": ["m.room.message"] }), vec!["a", "b", "picture"]),
        (json!({ "not_types": ["m.room.*"] }), vec!["custom"]),
        (json!({ "senders": [bob] }), vec!["b", "picture", "custom"]),
        (json!({ "not_senders": [bob] }), vec!["a", "topic"]),
        (json!({ "contains_url": true }), vec!["picture"]),
        (json!({ "types": ["m.room.message"], "limit": 2 }), vec!["b", "picture"]),
        (json!({ "types": [] }), vec![]),
        (json!({ "limit": 0 }), vec![]),
    ] {
        let parameters = json!({ "since": first["next_batch"], "filter": { "room": { "timeline": filter } } });
        let response = world.sync(&alice, parameters).await;
        let section = &response["rooms"]["join"][room.as_str()];
        assert_eq!(timeline(section), expected, "{filter}");
        let shows_topic = expected.contains(&"topic");
        assert_eq!(state(section), if shows_topic { vec![] } else { vec!["topic"] }, "{filter}: state is complete");
        let limited = filter["limit"].is_u64();
        assert_eq!(section["timeline"]["limited"] == true, limited, "{filter}");
    }
}

#[tokio::test]
async fn rooms_state_and_the_rest() {
    let world = World::new();
    let alice = world.user("alice").await;
    let (one, two) = (world.public_room(&alice).await, world.public_room(&alice).await);
    let sync = async |filter: Value| world.sync(&alice, json!({ "filter": filter })).await;
    assert_eq!(sections(&sync(json!({ "room": { "rooms": [one] } })).await), [format!("join {one}")]);
    assert_eq!(sections(&sync(json!({ "room": { "not_rooms": [one] } })).await), [format!("join {two}")]);
    assert_eq!(sections(&sync(json!({ "room": { "rooms": [one], "not_rooms": [one] } })).await), [""; 0]);

    let filter =
        json!({ "room": { "rooms": [one], "state": { "types": ["m.room.create"] }, "timeline": { "limit": 1 } } });
    assert_eq!(state(&sync(filter).await["rooms"]["join"][one.as_str()]), ["create"]);
    let none = sync(json!({ "account_data": { "types": [] } })).await;
    assert!(none["account_data"].is_null());

    world.account_data(&alice, Some(&one), "m.tag", json!({ "tags": {} })).await;
    let none = sync(json!({ "room": { "account_data": { "not_types": ["m.tag"] } } })).await;
    assert!(none["rooms"]["join"][one.as_str()]["account_data"].is_null());

    let fields =
        sync(json!({ "event_fields": ["type", "content.creator"], "room": { "timeline": { "limit": 1 } } })).await;
    let event = &fields["rooms"]["join"][one.as_str()]["timeline"]["events"][0];
    assert!(event["sender"].is_null() && event["event_id"].is_null() && event["type"].is_string(), "{event}");
    let federation = sync(json!({ "event_format": "federation" })).await;
    assert!(federation["rooms"]["join"][one.as_str()]["timeline"]["events"][0]["auth_events"].is_array());
}

#[tokio::test]
async fn stored_filters_and_bad_ones() {
    let world = World::new();
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let room = world.public_room(&alice).await;
    let id = world.accounts.create_filter(&alice, &json!({ "room": { "not_rooms": [room] } })).await.unwrap();
    for _ in 0..2 {
        assert_eq!(sections(&world.sync(&alice, json!({ "filter": id })).await), [""; 0]);
    }
    for filter in ["{", "{\"room\": 1}", "unknown"] {
        let refused = world.try_sync(&alice, json!({ "filter": filter })).await;
        assert!(matches!(refused, Err(SyncError::BadFilter(_))), "{filter}");
    }
    let refused = world.try_sync(&bob, json!({ "filter": id })).await;
    assert!(matches!(refused, Err(SyncError::BadFilter(_))), "a filter is its user's: {refused:?}");
}

#[tokio::test]
async fn members_are_loaded_lazily() {
    let world = World::new();
    let (alice, bob, carol) = (world.user("alice").await, world.user("bob").await, world.user("carol").await);
    let room = world.create(&alice, json!({ "preset": "public_chat", "name": "Named" })).await;
    for user in [&bob, &carol] {
        world.join(&room, user).await;
    }
    for number in 0..12 {
        world.say(&room, &bob, &number.to_string()).await;
    }
    let members = |response: &Value| -> Vec<String> {
        state(&response["rooms"]["join"][room.as_str()]).into_iter().filter(|event| event.contains(':')).collect()
    };
    let lazy = json!({ "room": { "state": { "lazy_load_members": true } } });
    let first = world.sync(&alice, json!({ "filter": lazy })).await;
    assert_eq!(members(&first), ["join:alice", "join:bob"], "oneself and the senders");
    let next = async |since: &Value, filter: &Value| {
        world.sync(&alice, json!({ "since": since["next_batch"], "filter": filter })).await
    };
    world.say(&room, &bob, "again").await;
    world.say(&room, &carol, "hello").await;
    let second = next(&first, &lazy).await;
    assert_eq!(members(&second), ["join:carol"], "bob is known");
    assert_eq!(members(&next(&first, &lazy).await), ["join:carol"], "asked again, sent again");
    let redundant = json!({ "room": { "state": { "lazy_load_members": true, "include_redundant_members": true } } });
    assert_eq!(members(&next(&first, &redundant).await), ["join:bob", "join:carol"]);
    world.say(&room, &carol, "and more").await;
    assert_eq!(members(&next(&second, &lazy).await), [""; 0], "everybody is known by now");

    // Changes in a gap are sent in any case.
    world.leave(&room, &carol).await;
    for number in 0..12 {
        world.say(&room, &alice, &number.to_string()).await;
    }
    assert_eq!(members(&next(&second, &lazy).await), ["leave:carol"]);

    let anew = world.sync(&alice, json!({ "filter": lazy })).await;
    assert_eq!(members(&anew), ["join:alice"], "a device that starts over has nothing");

    // Heroes of a room without a name come with their members.
    let unnamed = world.public_room(&alice).await;
    world.join(&unnamed, &bob).await;
    for number in 0..12 {
        world.say(&unnamed, &alice, &number.to_string()).await;
    }
    let response = world.sync(&alice, json!({ "filter": lazy })).await;
    let section = &response["rooms"]["join"][unnamed.as_str()];
    assert_eq!(section["summary"]["m.heroes"], json!([bob]));
    assert!(state(section).contains(&"join:bob".to_owned()));
}
