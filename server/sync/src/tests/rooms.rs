//! Which rooms are in a response, in which section, and with what.

use std::time::Duration;

use hearth_rooms::membership::Change;
use hearth_transitory::{PresenceState, ReceiptKind, timers};
use ruma::device_id;
use serde_json::{Value, json};

use super::world::{World, find, marking, sections, state, timeline};

#[tokio::test]
async fn an_initial_sync_has_state_then_timeline() {
    let world = World::new();
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let room = world.create(&alice, json!({ "preset": "public_chat", "name": "Here" })).await;
    world.join(&room, &bob).await;
    for number in 0..12 {
        world.say(&room, &bob, &number.to_string()).await;
    }
    let response = world.sync(&alice, json!({})).await;
    let joined = &response["rooms"]["join"][room.as_str()];
    let expected: Vec<String> = (2..12).map(|number| number.to_string()).collect();
    assert_eq!(timeline(joined), expected);
    assert_eq!(joined["timeline"]["limited"], true);
    assert!(joined["timeline"]["prev_batch"].as_str().unwrap().starts_with('t'));
    for event in ["create", "join:alice", "join:bob", "join_rules", "name", "power_levels"] {
        assert!(state(joined).contains(&event.to_owned()), "{event} is missing");
    }
    assert_eq!(joined["summary"], json!({ "m.joined_member_count": 2, "m.invited_member_count": 0 }), "named");
    assert_eq!(joined["unread_notifications"], json!({ "notification_count": 12, "highlight_count": 0 }));
    assert!(joined["timeline"]["events"][0]["room_id"].is_null(), "no room ids inside sync");
}

#[tokio::test]
async fn a_room_that_fits_begins_with_its_creation() {
    let world = World::new();
    let alice = world.user("alice").await;
    let room = world.public_room(&alice).await;
    let response = world.sync(&alice, json!({ "filter": { "room": { "timeline": { "limit": 50 } } } })).await;
    let joined = &response["rooms"]["join"][room.as_str()];
    assert_eq!(timeline(joined)[..2], ["create", "join:alice"]);
    assert!(joined["timeline"]["limited"].is_null());
    assert!(state(joined).is_empty(), "all of it is in the timeline");
}

#[tokio::test]
async fn deltas_are_limited_with_the_state_of_the_gap() {
    let world = World::new();
    let alice = world.user("alice").await;
    let room = world.public_room(&alice).await;
    let first = world.sync(&alice, json!({})).await;
    world.set(&room, &alice, "m.room.name", json!({ "name": "One" })).await;
    for number in 0..3 {
        world.say(&room, &alice, &number.to_string()).await;
    }
    world.set(&room, &alice, "m.room.topic", json!({ "topic": "t" })).await;
    let filter = json!({ "room": { "timeline": { "limit": 2 } } });
    let limited = world.sync(&alice, json!({ "since": first["next_batch"], "filter": filter })).await;
    let joined = &limited["rooms"]["join"][room.as_str()];
    assert_eq!(timeline(joined), ["2", "topic"]);
    assert_eq!(joined["timeline"]["limited"], true);
    assert_eq!(state(joined), ["name"], "the topic is in the timeline");

    let full = world.next(&alice, &first).await;
    let joined = &full["rooms"]["join"][room.as_str()];
    assert_eq!(timeline(joined), ["name", "0", "1", "2", "topic"]);
    assert!(joined["timeline"]["limited"].is_null() && state(joined).is_empty());

    let after =
        world.sync(&alice, json!({ "since": first["next_batch"], "filter": filter, "use_state_after": true })).await;
    let joined = &after["rooms"]["join"][room.as_str()];
    assert_eq!(state(joined), ["name", "topic"], "up to the end of the timeline");
    assert!(joined["state"].is_null() && !joined["state_after"].is_null());
    world.say(&room, &alice, "x").await;
    let after = world.sync(&alice, json!({ "since": after["next_batch"], "use_state_after": true })).await;
    assert_eq!(after["rooms"]["join"][room.as_str()]["state_after"], json!({}), "there even if empty");
}

#[tokio::test]
async fn invites_are_shown_stripped_and_rejected() {
    let world = World::new();
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let room = world.create(&alice, json!({ "preset": "private_chat", "name": "Secret" })).await;
    world.say(&room, &alice, "before the invite").await;
    let first = world.sync(&bob, json!({})).await;
    world.change(&room, &alice, &bob, Change::Invite).await;

    for response in [world.next(&bob, &first).await, world.sync(&bob, json!({})).await] {
        assert_eq!(sections(&response), [format!("invite {room}")]);
        let invited = &response["rooms"]["invite"][room.as_str()]["invite_state"];
        let name = find(invited, "m.room.name").unwrap();
        assert_eq!(name["content"], json!({ "name": "Secret" }));
        assert!(name["event_id"].is_null() && name["origin_server_ts"].is_null(), "stripped: {name}");
        assert!(invited["events"].as_array().unwrap().iter().any(|event| event["state_key"] == bob.as_str()));
    }
    let invited = world.next(&bob, &first).await;
    let alices = world.sync(&alice, json!({})).await;
    assert_eq!(alices["rooms"]["join"][room.as_str()]["summary"]["m.invited_member_count"], 1);

    world.leave(&room, &bob).await;
    let rejected = world.next(&bob, &invited).await;
    assert_eq!(sections(&rejected), [format!("leave {room}")]);
    let left = &rejected["rooms"]["leave"][room.as_str()];
    assert_eq!(timeline(left), ["leave:bob"], "their own membership and nothing else");
    assert!(state(left).is_empty());
    assert_eq!(sections(&world.next(&bob, &rejected).await), [""; 0]);
    assert_eq!(sections(&world.sync(&bob, json!({})).await), [""; 0]);
    // Both at once, for a device that was away.
    let both = world.next(&bob, &first).await;
    assert_eq!(sections(&both), [format!("leave {room}")]);
}

#[tokio::test]
async fn knocks_are_shown_until_answered() {
    let world = World::new();
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let rules = json!([{ "type": "m.room.join_rules", "state_key": "", "content": { "join_rule": "knock" } }]);
    let room = world.create(&alice, json!({ "initial_state": rules, "name": "Door" })).await;
    let first = world.sync(&bob, json!({})).await;
    world.change(&room, &bob, &bob, Change::Knock).await;
    let response = crate::tests::world::request(&json!({ "since": first["next_batch"] }));
    let response = world.engine.sync(&bob, device_id!("DEVICE"), &response).await.unwrap();
    let knocked = &response.rooms.knock[&room];
    assert!(knocked.knock_state.events.iter().any(|event| event.json().get().contains("Door")));
    world.change(&room, &alice, &bob, Change::Invite).await;
    assert_eq!(sections(&world.next(&bob, &first).await), [format!("invite {room}")]);
}

#[tokio::test]
async fn who_joins_gets_the_whole_room() {
    let world = World::new();
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let room = world.public_room(&alice).await;
    for number in 0..20 {
        world.say(&room, &alice, &number.to_string()).await;
    }
    world.account_data(&bob, Some(&room), "m.tag", json!({ "tags": { "u.x": {} } })).await;
    let first = world.sync(&bob, json!({})).await;
    world.join(&room, &bob).await;
    let response = world.next(&bob, &first).await;
    assert_eq!(sections(&response), [format!("join {room}")]);
    let joined = &response["rooms"]["join"][room.as_str()];
    assert_eq!(joined["timeline"]["limited"], true);
    assert_eq!(timeline(joined).last().unwrap(), "join:bob");
    assert_eq!(timeline(joined).len(), 10);
    assert!(state(joined).contains(&"create".to_owned()) && state(joined).contains(&"join:alice".to_owned()));
    assert_eq!(find(&joined["account_data"], "m.tag").unwrap()["content"], json!({ "tags": { "u.x": {} } }));
    assert_eq!(joined["summary"]["m.heroes"], json!([alice]));
}

#[tokio::test]
async fn leaving_being_removed_and_coming_back() {
    let world = World::new();
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let room = world.public_room(&alice).await;
    world.join(&room, &bob).await;
    let joined = world.sync(&bob, json!({})).await;
    world.say(&room, &alice, "seen").await;
    world.change(&room, &alice, &bob, Change::Kick).await;
    world.say(&room, &alice, "unseen").await;
    let kicked = world.next(&bob, &joined).await;
    assert_eq!(sections(&kicked), [format!("leave {room}")]);
    assert_eq!(timeline(&kicked["rooms"]["leave"][room.as_str()]), ["seen", "leave:bob"]);
    assert_eq!(sections(&world.next(&bob, &kicked).await), [""; 0], "the room goes on without them");

    world.change(&room, &alice, &bob, Change::Ban).await;
    let banned = world.next(&bob, &kicked).await;
    assert_eq!(timeline(&banned["rooms"]["leave"][room.as_str()]), ["ban:bob"]);
    // Kicked and banned in one go: up to the kick, then what became of them.
    let both = world.next(&bob, &joined).await;
    assert_eq!(timeline(&both["rooms"]["leave"][room.as_str()]), ["seen", "leave:bob", "ban:bob"]);

    world.change(&room, &alice, &bob, Change::Unban).await;
    world.join(&room, &bob).await;
    world.say(&room, &alice, "welcome back").await;
    let back = world.next(&bob, &banned).await;
    assert_eq!(sections(&back), [format!("join {room}")]);
    let section = &back["rooms"]["join"][room.as_str()];
    assert_eq!(section["timeline"]["limited"], true, "there is a gap");
    assert_eq!(timeline(section).last().unwrap(), "welcome back");
    // Left and back within one sync: the same, with the whole state.
    let gone = world.next(&bob, &back).await;
    world.leave(&room, &bob).await;
    world.set(&room, &alice, "m.room.topic", json!({ "topic": "while away" })).await;
    world.join(&room, &bob).await;
    let again = world.next(&bob, &gone).await;
    let section = &again["rooms"]["join"][room.as_str()];
    assert_eq!(section["timeline"]["limited"], true);
    let all: Vec<String> = state(section).into_iter().chain(timeline(section)).collect();
    assert!(all.contains(&"topic".to_owned()) && state(section).contains(&"create".to_owned()), "{all:?}");
}

#[tokio::test]
async fn left_rooms_are_there_on_request_until_forgotten() {
    let world = World::new();
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let room = world.public_room(&alice).await;
    world.join(&room, &bob).await;
    let joined = world.sync(&bob, json!({})).await;
    world.say(&room, &bob, "bye").await;
    world.leave(&room, &bob).await;
    world.set(&room, &alice, "m.room.name", json!({ "name": "Later" })).await;
    assert_eq!(sections(&world.sync(&bob, json!({})).await), [""; 0]);
    let filter = json!({ "room": { "include_leave": true } });
    let left = world.sync(&bob, json!({ "filter": filter })).await;
    let section = &left["rooms"]["leave"][room.as_str()];
    assert_eq!(timeline(section)[timeline(section).len() - 2..], ["bye", "leave:bob"]);
    let all: Vec<String> = state(section).into_iter().chain(timeline(section)).collect();
    assert!(all.contains(&"create".to_owned()) && !all.contains(&"name".to_owned()), "{all:?}");

    world.rooms.forget(&room, &bob).await.unwrap();
    assert_eq!(sections(&world.sync(&bob, json!({ "filter": filter })).await), [""; 0]);
    // Another device still learns that the room is left, but reads nothing more of it.
    let other = world.next(&bob, &joined).await;
    assert_eq!(timeline(&other["rooms"]["leave"][room.as_str()]), ["leave:bob"]);
}

#[tokio::test]
async fn full_state_holds_every_joined_room() {
    let world = World::new();
    let alice = world.user("alice").await;
    let (one, two) = (world.public_room(&alice).await, world.public_room(&alice).await);
    let first = world.sync(&alice, json!({})).await;
    world.say(&one, &alice, "x").await;
    let full = world.sync(&alice, json!({ "since": first["next_batch"], "full_state": true, "timeout": 60_000 })).await;
    for (room, messages) in [(&one, vec!["x".to_owned()]), (&two, vec![])] {
        let section = &full["rooms"]["join"][room.as_str()];
        assert!(state(section).contains(&"create".to_owned()));
        assert_eq!(timeline(section), messages);
    }
}

#[tokio::test]
async fn unread_counts_follow_messages_and_receipts() {
    let world = World::new();
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let room = world.public_room(&alice).await;
    world.join(&room, &bob).await;
    let counts = |response: &Value| response["rooms"]["join"][room.as_str()]["unread_notifications"].clone();
    let first = world.sync(&bob, json!({})).await;
    world.say(&room, &alice, "one").await;
    let mention = json!({ "msgtype": "m.text", "body": "you", "m.mentions": { "user_ids": [bob] } });
    let last = world.send(&room, &alice, "m.room.message", mention).await;
    let unread = world.next(&bob, &first).await;
    assert_eq!(counts(&unread), json!({ "notification_count": 2, "highlight_count": 1 }));

    world.read(&room, &bob, ReceiptKind::Private, &last).await;
    let read = world.next(&bob, &unread).await;
    assert_eq!(counts(&read), json!({ "notification_count": 0, "highlight_count": 0 }));
    assert!(timeline(&read["rooms"]["join"][room.as_str()]).is_empty());

    let root = world.say(&room, &alice, "root").await;
    let relation = json!({ "rel_type": "m.thread", "event_id": root });
    world
        .send(
            &room,
            &alice,
            "m.room.message",
            json!({ "msgtype": "m.text", "body": "reply", "m.relates_to": relation }),
        )
        .await;
    let filter = json!({ "room": { "timeline": { "unread_thread_notifications": true } } });
    let threads = world.sync(&bob, json!({ "since": read["next_batch"], "filter": filter })).await;
    let section = &threads["rooms"]["join"][room.as_str()];
    assert_eq!(section["unread_notifications"], json!({ "notification_count": 1, "highlight_count": 0 }));
    assert_eq!(
        section["unread_thread_notifications"],
        json!({ root.as_str(): { "notification_count": 1, "highlight_count": 0 } })
    );
    let flat = world.next(&bob, &read).await;
    assert_eq!(counts(&flat), json!({ "notification_count": 2, "highlight_count": 0 }));
}

#[tokio::test]
async fn receipts_and_typing_reach_the_room() {
    let world = World::new();
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let room = world.public_room(&alice).await;
    world.join(&room, &bob).await;
    let event = world.say(&room, &alice, "one").await;
    let first = (world.sync(&alice, json!({})).await, world.sync(&bob, json!({})).await);
    let ephemeral = |response: &Value| response["rooms"]["join"][room.as_str()]["ephemeral"].clone();
    assert!(ephemeral(&first.0).is_null());

    world.read(&room, &bob, ReceiptKind::Private, &event).await;
    assert_eq!(sections(&world.next(&alice, &first.0).await), [""; 0], "private");
    let own = ephemeral(&world.next(&bob, &first.1).await);
    let receipt = find(&own, "m.receipt").unwrap();
    assert!(receipt["content"][event.as_str()]["m.read.private"][bob.as_str()]["ts"].is_u64());
    world.read(&room, &bob, ReceiptKind::Public, &event).await;
    for response in [world.next(&alice, &first.0).await, world.sync(&alice, json!({})).await] {
        let receipts = ephemeral(&response);
        let content = &find(&receipts, "m.receipt").unwrap()["content"][event.as_str()];
        assert!(content["m.read"][bob.as_str()]["ts"].is_u64());
        assert!(content["m.read.private"].is_null());
    }

    let before = world.sync(&alice, json!({})).await;
    world.engine.set_typing(marking(&room, &bob), Some(Duration::from_secs(30))).await.unwrap();
    let typing = world.next(&alice, &before).await;
    assert_eq!(find(&ephemeral(&typing), "m.typing").unwrap()["content"], json!({ "user_ids": [bob] }));
    assert_eq!(sections(&world.next(&alice, &typing).await), [""; 0]);
    world.engine.set_typing(marking(&room, &bob), None).await.unwrap();
    let silent = world.next(&alice, &typing).await;
    assert_eq!(find(&ephemeral(&silent), "m.typing").unwrap()["content"], json!({ "user_ids": [] }));
    let late = world.sync(&alice, json!({})).await;
    assert!(find(&ephemeral(&late), "m.typing").is_none(), "nobody types, nothing to say at first");
}

#[tokio::test]
async fn markers_are_for_members_and_for_events_of_the_room() {
    let world = World::new();
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let (room, other) = (world.public_room(&alice).await, world.public_room(&alice).await);
    let event = world.say(&room, &alice, "root").await;
    let elsewhere = world.say(&other, &alice, "x").await;
    let relation = json!({ "rel_type": "m.thread", "event_id": event });
    let reply = json!({ "msgtype": "m.text", "body": "reply", "m.relates_to": relation });
    let reply = world.send(&room, &alice, "m.room.message", reply).await;
    let reaction = json!({ "m.relates_to": { "rel_type": "m.annotation", "event_id": reply, "key": "x" } });
    let reaction = world.send(&room, &alice, "m.reaction", reaction).await;
    let set = async |user, event, thread| {
        world.engine.set_receipt(marking(&room, user), ReceiptKind::Public, event, thread).await.is_ok()
    };
    assert!(!set(&bob, &event, None).await, "not joined");
    assert!(!set(&alice, &elsewhere, None).await, "of another room");
    assert!(world.engine.set_fully_read(marking(&room, &alice), &elsewhere).await.is_err());
    assert!(world.engine.set_typing(marking(&room, &bob), None).await.is_err());
    let root = event.as_str();
    for (event, thread, accepted) in [
        (&event, "main", true),
        (&event, root, true),
        (&reply, root, true),
        (&reply, "main", false),
        (&reaction, root, true),
        (&reaction, "main", false),
        (&reply, reply.as_str(), false),
        (&reply, "nonsense", false),
    ] {
        assert_eq!(set(&alice, event, Some(thread)).await, accepted, "{event} in {thread}");
    }
    let first = world.sync(&alice, json!({})).await;
    world.engine.set_fully_read(marking(&room, &alice), &event).await.unwrap();
    let marked = world.next(&alice, &first).await;
    let marker = find(&marked["rooms"]["join"][room.as_str()]["account_data"], "m.fully_read").unwrap();
    assert_eq!(marker["content"], json!({ "event_id": event }));
}

#[tokio::test]
async fn account_data_is_global_or_of_a_room() {
    let world = World::new();
    let alice = world.user("alice").await;
    let room = world.public_room(&alice).await;
    let first = world.sync(&alice, json!({})).await;
    world.account_data(&alice, None, "org.x", json!({ "n": 1 })).await;
    world.account_data(&alice, Some(&room), "m.tag", json!({ "tags": {} })).await;
    let next = world.next(&alice, &first).await;
    assert_eq!(next["account_data"]["events"], json!([{ "type": "org.x", "content": { "n": 1 } }]));
    let section = &next["rooms"]["join"][room.as_str()];
    assert_eq!(section["account_data"]["events"], json!([{ "type": "m.tag", "content": { "tags": {} } }]));
    assert!(section["timeline"].is_null() && section["summary"].is_null() && section["unread_notifications"].is_null());
    assert_eq!(sections(&world.next(&alice, &next).await), [""; 0]);
}

#[tokio::test]
async fn presence_is_for_who_shares_a_room() {
    let world = World::new();
    let (alice, bob, carol) = (world.user("alice").await, world.user("bob").await, world.user("carol").await);
    let room = world.public_room(&alice).await;
    world.join(&room, &bob).await;
    let states = |response: &Value| -> Vec<String> {
        let events = response["presence"]["events"].as_array().cloned().unwrap_or_default();
        let show = |event: &Value| {
            let sender = event["sender"].as_str().unwrap();
            format!("{} {}", &sender[1..sender.find(':').unwrap()], event["content"]["presence"].as_str().unwrap())
        };
        events.iter().map(show).collect()
    };
    let first =
        [world.sync(&alice, json!({})).await, world.sync(&bob, json!({})).await, world.sync(&carol, json!({})).await];
    assert_eq!(states(&first[0]), [""; 0], "nobody ever was there");
    let now = timers::now();
    let status = Some("hi");
    world.transitory.set_presence(&alice, device_id!("A"), PresenceState::Online, status, now).await.unwrap();
    let bobs = world.next(&bob, &first[1]).await;
    assert_eq!(states(&bobs), ["alice online"]);
    let content = &bobs["presence"]["events"][0]["content"];
    assert_eq!(content["status_msg"], "hi");
    assert_eq!(content["currently_active"], true);
    assert!(content["last_active_ago"].is_u64());
    assert_eq!(states(&world.next(&alice, &first[0]).await), ["alice online"], "one's own, for other devices");
    assert_eq!(states(&world.next(&carol, &first[2]).await), [""; 0]);
    assert_eq!(states(&world.sync(&bob, json!({})).await), ["alice online"]);
    assert_eq!(states(&world.next(&bob, &bobs).await), [""; 0]);

    // Who comes to share a room learns who is there, on both sides.
    world.transitory.set_presence(&carol, device_id!("C"), PresenceState::Unavailable, None, now).await.unwrap();
    let before = world.next(&bob, &bobs).await;
    world.join(&room, &carol).await;
    assert_eq!(states(&world.next(&bob, &before).await), ["carol unavailable"]);
    assert_eq!(states(&world.next(&carol, &first[2]).await), ["alice online", "carol unavailable"]);

    assert!(world.engine.presence_of(&bob, &alice).await.is_ok());
    assert!(world.engine.presence_of(&world.user("dave").await, &alice).await.is_err());
}

#[tokio::test]
async fn polling_is_a_sign_of_life() {
    let world = World::new();
    let alice = world.user("alice").await;
    let presence = async || world.engine.presence_of(&alice, &alice).await.unwrap().state;
    world.sync(&alice, json!({})).await;
    assert_eq!(presence().await, PresenceState::Offline, "set_presence=offline");
    world.sync(&alice, json!({ "set_presence": "unavailable" })).await;
    assert_eq!(presence().await, PresenceState::Unavailable);
    world.sync(&alice, json!({ "set_presence": "online" })).await;
    assert_eq!(presence().await, PresenceState::Online);
    assert!(world.try_sync(&alice, json!({ "set_presence": "busy" })).await.is_err());
}

#[tokio::test]
async fn ignored_users_are_not_heard() {
    let world = World::new();
    let (alice, mallory) = (world.user("alice").await, world.user("mallory").await);
    let room = world.public_room(&alice).await;
    world.join(&room, &mallory).await;
    let ignored = json!({ "ignored_users": { mallory.as_str(): {}, alice.as_str(): {} } });
    world.account_data(&alice, None, "m.ignored_user_list", ignored).await;
    let first = world.sync(&alice, json!({})).await;
    let event = world.say(&room, &mallory, "spam").await;
    world.read(&room, &mallory, ReceiptKind::Public, &event).await;
    world.engine.set_typing(marking(&room, &mallory), Some(Duration::from_secs(30))).await.unwrap();
    let private = world.create(&mallory, json!({ "preset": "private_chat" })).await;
    world.change(&private, &mallory, &alice, Change::Invite).await;
    let next = world.next(&alice, &first).await;
    assert_eq!(timeline(&next["rooms"]["join"][room.as_str()]), [""; 0]);
    assert!(next["rooms"]["invite"].is_null() && next["presence"].is_null());
    world.say(&room, &alice, "mine").await;
    world.leave(&room, &mallory).await;
    let next = world.next(&alice, &next).await;
    assert_eq!(timeline(&next["rooms"]["join"][room.as_str()]), ["mine", "leave:mallory"], "state is never hidden");
}
