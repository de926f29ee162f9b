//! Aliases and the public directory's flag: who may, and what is refused.

use ruma::{RoomAliasId, room_id};
use serde_json::json;

use crate::{
    RoomError,
    membership::Change,
    testing::{rooms, user},
};

fn word<T>(outcome: &Result<T, RoomError>) -> &'static str {
    match outcome {
        Ok(_) => "ok",
        Err(RoomError::Forbidden(_)) => "forbidden",
        Err(RoomError::AliasInUse) => "in use",
        Err(RoomError::AliasNotFound) => "no alias",
        Err(RoomError::RoomNotFound) => "no room",
        Err(RoomError::InvalidParam(_)) => "invalid",
        Err(_) => "other",
    }
}

fn alias(name: &str) -> &RoomAliasId {
    name.try_into().unwrap()
}

#[tokio::test]
async fn aliases_by_hand() {
    let rooms = rooms();
    let room = rooms.public_room("alice").await;
    rooms.change_for_test(&room, "bob", "bob", Change::Join).await.unwrap();
    rooms.change_for_test(&room, "carol", "carol", Change::Join).await.unwrap();
    let nowhere = room_id!("!nowhere:example.org");
    for (name, target, creator, expected) in [
        ("#one:example.org", &*room, "bob", "ok"),
        ("#one:example.org", &*room, "alice", "in use"),
        ("#two:example.org", &*room, "stranger", "forbidden"),
        ("#two:elsewhere.example", &*room, "alice", "invalid"),
        ("#two:example.org", nowhere, "alice", "no room"),
        ("#two:example.org", &*room, "alice", "ok"),
    ] {
        let outcome = rooms.create_alias(alias(name), target, &user(creator)).await;
        assert_eq!(word(&outcome), expected, "{name} by {creator}");
    }
    assert_eq!(rooms.resolve_alias(alias("#one:example.org")).await.unwrap(), room);
    assert_eq!(word(&rooms.resolve_alias(alias("#three:example.org")).await), "no alias");
    for (viewer, expected) in [("carol", "ok"), ("stranger", "forbidden")] {
        assert_eq!(word(&rooms.aliases(&room, &user(viewer)).await), expected, "{viewer}");
        assert_eq!(word(&rooms.aliases(nowhere, &user(viewer)).await), "forbidden", "{viewer}");
    }
    let visibility = json!({ "history_visibility": "world_readable" });
    rooms.state_for_test(&room, "alice", "m.room.history_visibility", "", visibility).await.unwrap();
    assert_eq!(rooms.aliases(&room, &user("stranger")).await.unwrap().len(), 2);
    for (name, who, admin, expected) in [
        ("#one:example.org", "carol", false, "forbidden"),
        ("#one:example.org", "bob", false, "ok"),
        ("#one:example.org", "bob", false, "no alias"),
        ("#two:example.org", "bob", false, "forbidden"),
        ("#two:example.org", "stranger", true, "ok"),
    ] {
        let outcome = rooms.delete_alias(alias(name), &user(who), admin).await;
        assert_eq!(word(&outcome), expected, "{name} by {who}");
    }
    assert!(rooms.aliases(&room, &user("alice")).await.unwrap().is_empty());
}

#[tokio::test]
async fn who_publishes_a_room() {
    let rooms = rooms();
    let room = rooms.public_room("alice").await;
    rooms.change_for_test(&room, "bob", "bob", Change::Join).await.unwrap();
    for (who, published, admin, expected) in [
        ("bob", true, false, "forbidden"),
        ("stranger", true, false, "forbidden"),
        ("alice", true, false, "ok"),
        ("alice", true, false, "ok"),
        ("bob", false, false, "forbidden"),
        ("stranger", false, true, "ok"),
    ] {
        let before = rooms.is_published(&room).await.unwrap();
        let outcome = word(&rooms.set_published(&room, &user(who), published, admin).await);
        assert_eq!(outcome, expected, "{who} {published}");
        let after = rooms.is_published(&room).await.unwrap();
        assert_eq!(after, if outcome == "ok" { published } else { before }, "{who} {published}");
    }
    let nowhere = room_id!("!nowhere:example.org");
    assert_eq!(word(&rooms.is_published(nowhere).await), "no room");
    assert_eq!(word(&rooms.set_published(nowhere, &user("alice"), true, false).await), "no room");
}
