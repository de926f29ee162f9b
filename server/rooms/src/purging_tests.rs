use std::collections::BTreeMap;

use hearth_store::{RangeRead, Store};
use ruma::{OwnedRoomId, RoomAliasId};
use serde_json::json;

use super::*;
use crate::{
    membership::Change,
    testing::{draft, rooms, user, with_transaction},
};

/// What is in the store, by table.
async fn rows(store: &Store) -> BTreeMap<String, Vec<(Vec<u8>, Vec<u8>)>> {
    let mut rows = BTreeMap::new();
    let tx = store.begin();
    for table in TABLES {
        let begin = tuple::pack(&(table.database, table.table));
        let end = past(&begin);
        let read = RangeRead { begin, end, limit: None, reverse: false, snapshot: true };
        let entries = tx.range(&read).await.unwrap();
        let entries = entries.into_iter().map(|entry| (entry.key.to_vec(), entry.value.to_vec()));
        rows.insert(table.table.to_owned(), entries.collect());
    }
    rows
}

/// An event outside of the timeline.
async fn outlier(rooms: &Rooms, room: &RoomId) {
    let tx = rooms.store.begin();
    let room = rooms.find_room(&tx, room).await.unwrap().unwrap();
    let (_, known) = TIMELINE.scan((room,)).first(&tx).await.unwrap().unwrap();
    let mut record = EVENT.get(&tx, (known.event,)).await.unwrap().unwrap();
    let graph = GRAPH.get(&tx, (room, known.event)).await.unwrap().unwrap();
    let event = EventNid(1_000_000 + room.0);
    record.event_id = format!("$outlier-of-{}", room.0);
    EVENT_NID.set(&tx, (&record.event_id,), &event);
    EVENT.set(&tx, (event,), &record);
    GRAPH.set(&tx, (room, event), &graph);
    tx.commit().await.unwrap();
}

/// A room in which every kind of thing happened.
async fn eventful(rooms: &Rooms) -> OwnedRoomId {
    let room = rooms.public_room("alice").await;
    for member in ["bob", "carol"] {
        rooms.change_for_test(&room, member, member, Change::Join).await.unwrap();
    }
    rooms.change_for_test(&room, "alice", "dave", Change::Invite).await.unwrap();
    rooms.change_for_test(&room, "alice", "carol", Change::Ban).await.unwrap();
    let mut events = Vec::new();
    for n in 0..20 {
        let message = draft("m.room.message", None, json!({ "msgtype": "m.text", "body": n }));
        let message = with_transaction(message, "A", &n.to_string());
        events.push(rooms.send(&room, &user("alice"), message).await.unwrap());
    }
    for (kind, key) in [("m.annotation", Some("x")), ("m.thread", None)] {
        let mut relation = json!({ "rel_type": kind, "event_id": events[3] });
        if let Some(key) = key {
            relation["key"] = json!(key);
        }
        let event_type = if key.is_some() { "m.reaction" } else { "m.room.message" };
        let content = json!({ "msgtype": "m.text", "body": "y", "m.relates_to": relation });
        rooms.send_for_test(&room, "bob", event_type, content).await.unwrap();
    }
    let mut redaction = draft("m.room.redaction", None, json!({ "redacts": events[5] }));
    redaction.redacts = Some(events[5].clone());
    rooms.send(&room, &user("alice"), redaction).await.unwrap();
    outlier(rooms, &room).await;
    room
}

/// Purges in small pieces. After each one, reading fails cleanly or works.
async fn purge(rooms: &Rooms, room: &OwnedRoomId) -> Vec<PurgedPiece> {
    let doomed = rooms.doomed(room).await.unwrap().unwrap();
    let doomed = &doomed;
    while rooms.leave_as_local_users(doomed, 2).await.unwrap() > 0 {}
    let mut pieces = Vec::new();
    loop {
        let piece = rooms.store.transact("test", |tx| async move { rooms.purge_piece(&tx, doomed, 3).await });
        pieces.push(piece.await.unwrap());
        let sent = rooms.send_for_test(room, "alice", "m.room.message", json!({})).await;
        assert!(matches!(sent, Err(RoomError::Forbidden(_) | RoomError::RoomNotFound)), "{sent:?}");
        if pieces.last() == Some(&PurgedPiece::Rest) {
            return pieces;
        }
    }
}

#[tokio::test]
async fn nothing_of_a_purged_room_is_left_and_others_stay() {
    let rooms = rooms();
    let other = eventful(&rooms).await;
    // What is remembered of names goes on; everything else is as if the second room had never been.
    let before = rows(&rooms.store).await;
    let room = eventful(&rooms).await;
    let alias = RoomAliasId::parse("#doomed:example.org").unwrap();
    rooms.create_alias(&alias, &room, &user("alice")).await.unwrap();
    rooms.set_published(&room, &user("alice"), true, false).await.unwrap();
    let pieces = purge(&rooms, &room).await;
    assert!(pieces.contains(&PurgedPiece::Room) && pieces.len() > 10, "{pieces:?}");
    let after = rows(&rooms.store).await;
    for (table, rows) in after {
        match table.as_str() {
            // Numbers are not given back, and the newest entry of the stream may be of a room that is gone.
            "next_id" | "stream_head" => {}
            // These go by their age.
            "transaction" => assert_eq!(rows.len(), 40),
            table => assert_eq!(rows, before[table], "{table}"),
        }
    }
    assert!(rooms.doomed(&room).await.unwrap().is_none());
    assert!(matches!(rooms.resolve_alias(&alias).await, Err(RoomError::AliasNotFound)));
    // Its neighbour lives.
    rooms.send_for_test(&other, "bob", "m.room.message", json!({ "body": "still here" })).await.unwrap();
}

#[tokio::test]
async fn a_room_with_members_of_this_server_is_not_purged() {
    let rooms = rooms();
    let room = eventful(&rooms).await;
    let doomed = rooms.doomed(&room).await.unwrap().unwrap();
    let (rooms, doomed) = (&rooms, &doomed);
    let refused = rooms.store.transact("test", |tx| async move { rooms.purge_piece(&tx, doomed, 100).await }).await;
    assert!(matches!(refused, Err(RoomError::BadState(_))), "{refused:?}");
    rooms.send_for_test(&room, "alice", "m.room.message", json!({ "body": "still here" })).await.unwrap();
}

#[tokio::test]
async fn nobody_enters_a_blocked_room() {
    let rooms = rooms();
    let room = rooms.public_room("alice").await;
    rooms.block_room(&room, true, 5).await.unwrap();
    rooms.block_room(&room, true, 6).await.unwrap();
    assert_eq!(rooms.blocked_since(&room).await.unwrap(), Some(5));
    for (sender, target, change) in [("bob", "bob", Change::Join), ("alice", "bob", Change::Invite)] {
        let refused = rooms.change_for_test(&room, sender, target, change).await;
        assert!(matches!(refused, Err(RoomError::Forbidden(_))), "{change:?}: {refused:?}");
    }
    rooms.change_for_test(&room, "alice", "alice", Change::Join).await.unwrap();
    rooms.change_for_test(&room, "alice", "alice", Change::Leave).await.unwrap();
    rooms.block_room(&room, false, 7).await.unwrap();
    rooms.change_for_test(&room, "bob", "bob", Change::Join).await.unwrap();
}
