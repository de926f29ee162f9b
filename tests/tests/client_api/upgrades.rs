//! Upgrades of rooms, and joins by membership elsewhere, as clients see them in every version.

use serde_json::{Value, json};

use crate::support::{User, find, next_batch, server};

#[tokio::test]
async fn a_room_moves_through_the_versions() {
    let server = server().await;
    let (alice, bob) = (User::new(&server, "alice").await, User::new(&server, "bob").await);
    let mut room = alice
        .create(
            json!({ "preset": "public_chat", "room_version": "2", "name": "Kitchen", "room_alias_name": "kitchen" }),
        )
        .await;
    bob.own(&room, "join").await;
    for version in ["3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "12", "2"] {
        let since = bob.sync(None, &[]).await;
        let upgrade = format!("rooms/{room}/upgrade");
        bob.refused("POST", &upgrade, Some(json!({ "new_version": version })), 403, "M_FORBIDDEN").await;
        let answer = alice.ok("POST", &upgrade, Some(json!({ "new_version": version }))).await;
        let new = answer["replacement_room"].as_str().unwrap().to_owned();
        // Who is in the old room is told where the new one is.
        let news = bob.sync(Some(next_batch(&since)), &[]).await;
        let timeline = &news["rooms"]["join"][&room]["timeline"]["events"];
        let tombstone = find(timeline, "m.room.tombstone", Some("")).expect("the tombstone is in the sync");
        assert_eq!(tombstone["content"]["replacement_room"], new.as_str());
        assert!(find(timeline, "m.room.power_levels", Some("")).is_some());
        bob.own(&new, "join").await;
        let create = bob.read(&format!("rooms/{new}/state/m.room.create")).await;
        assert_eq!((&create["room_version"], &create["predecessor"]["room_id"]), (&json!(version), &json!(room)));
        assert_eq!(bob.read(&format!("rooms/{new}/state/m.room.name")).await["name"], "Kitchen");
        assert_eq!(bob.read("directory/room/%23kitchen%3Ahearth.test").await["room_id"], new.as_str());
        alice.say(&new, "here").await;
        bob.refused("PUT", &format!("rooms/{room}/send/m.room.message/{version}"), Some(json!({})), 403, "M_FORBIDDEN")
            .await;
        room = new;
    }
    for (body, status, code) in
        [(json!({ "new_version": "99" }), 400, "M_UNSUPPORTED_ROOM_VERSION"), (json!({}), 400, "M_BAD_JSON")]
    {
        alice.refused("POST", &format!("rooms/{room}/upgrade"), Some(body), status, code).await;
    }
}

#[tokio::test]
async fn members_of_one_room_join_another() {
    let server = server().await;
    let (alice, bob) = (User::new(&server, "alice").await, User::new(&server, "bob").await);
    let club = alice.create(json!({ "preset": "public_chat" })).await;
    for (version, rule) in [
        ("8", "restricted"),
        ("9", "restricted"),
        ("10", "restricted"),
        ("10", "knock_restricted"),
        ("11", "knock_restricted"),
        ("12", "restricted"),
        ("12", "knock_restricted"),
    ] {
        let rules = json!({ "join_rule": rule, "allow": [{ "type": "m.room_membership", "room_id": club }] });
        let initial_state = json!([{ "type": "m.room.join_rules", "content": rules }]);
        let room = alice.create(json!({ "room_version": version, "initial_state": initial_state })).await;
        let join = format!("rooms/{room}/join");
        bob.refused("POST", &join, Some(json!({})), 403, "M_FORBIDDEN").await;
        bob.own(&club, "join").await;
        // On the word of a member who may invite.
        bob.own(&room, "join").await;
        let member = bob.read(&format!("rooms/{room}/state/m.room.member/{}", bob.id())).await;
        assert_eq!(member["join_authorised_via_users_server"], alice.id(), "{version} {rule}");
        // Each join is looked at anew, and an invitation needs no other room.
        bob.own(&room, "leave").await;
        bob.own(&club, "leave").await;
        bob.refused("POST", &join, Some(json!({})), 403, "M_FORBIDDEN").await;
        if rule == "knock_restricted" {
            bob.own(&room, "knock").await;
        } else {
            bob.refused("POST", &format!("knock/{room}"), Some(json!({})), 403, "M_FORBIDDEN").await;
        }
        alice.bring(&room, &bob).await;
        let member = bob.read(&format!("rooms/{room}/state/m.room.member/{}", bob.id())).await;
        assert_eq!(member.get("join_authorised_via_users_server"), None, "{version} {rule}");
    }
    let rules = json!({ "join_rule": "knock" });
    for (version, knocks) in [("6", false), ("7", true), ("12", true)] {
        let initial_state = json!([{ "type": "m.room.join_rules", "content": rules }]);
        let room = alice.create(json!({ "room_version": version, "initial_state": initial_state })).await;
        let (status, answer): (u16, Value) = bob.post(&format!("knock/{room}"), json!({})).await;
        assert_eq!(status == 200, knocks, "{version}: {answer}");
    }
}
