use serde_json::json;

use super::*;
use crate::{
    membership::Change,
    testing::{draft, rooms, user, with_transaction},
};

const DAY: u64 = 86_400_000;

async fn note(rooms: &Rooms, now: u64) {
    rooms.store.transact("test", |tx| async move { rooms.note_time(&tx, now, 30 * DAY).await }).await.unwrap();
}

#[tokio::test]
async fn versions_by_time() {
    let rooms = rooms();
    assert_eq!(rooms.version_before(100 * DAY).await.unwrap(), None);
    let mut versions = Vec::new();
    for day in [100, 101, 125] {
        rooms.public_room("alice").await;
        note(&rooms, day * DAY).await;
        versions.push(rooms.version_before(day * DAY).await.unwrap().unwrap());
    }
    assert!(versions.is_sorted() && versions[0] < versions[1]);
    assert_eq!(rooms.version_before(100 * DAY - 1).await.unwrap(), None);
    assert_eq!(rooms.version_before(101 * DAY - 1).await.unwrap(), Some(versions[0]));
    assert_eq!(rooms.version_before(500 * DAY).await.unwrap(), Some(versions[2]));
    note(&rooms, 131 * DAY).await;
    assert_eq!(rooms.version_before(100 * DAY).await.unwrap(), None, "forgotten");
    assert_eq!(rooms.version_before(101 * DAY).await.unwrap(), Some(versions[1]));
}

#[tokio::test]
async fn old_transaction_ids_go_and_new_ones_stay() {
    let rooms = rooms();
    let room = rooms.public_room("alice").await;
    let message =
        |id: usize| with_transaction(draft("m.room.message", None, json!({ "body": "x" })), "A", &id.to_string());
    let mut events = Vec::new();
    for id in 0..8 {
        if id == 5 {
            note(&rooms, DAY).await;
            // So that the version moves on.
            rooms.public_room("alice").await;
        }
        events.push(rooms.send(&room, &user("alice"), message(id)).await.unwrap());
    }
    let version = rooms.version_before(DAY).await.unwrap().unwrap();
    let (mut after, mut removed, mut pieces) = (None, 0, 0);
    loop {
        let place = after.as_ref();
        let (piece, _) = rooms
            .store
            .transact_versioned("test", |tx| {
                let rooms = &rooms;
                async move { rooms.trim_transactions(&tx, version, place, 3).await }
            })
            .await
            .unwrap();
        (removed, pieces) = (removed + piece.removed, pieces + 1);
        match piece.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert!((4..=5).contains(&removed), "{removed}: at most the newest one may be spared");
    assert_eq!(pieces, 3);
    let restarted = crate::testing::rooms_on(rooms.store.clone());
    for id in [5, 6, 7] {
        assert_eq!(restarted.send(&room, &user("alice"), message(id)).await.unwrap(), events[id]);
    }
    assert_ne!(restarted.send(&room, &user("alice"), message(0)).await.unwrap(), events[0], "sent once more");
}

#[tokio::test]
async fn the_newest_notifications_stay() {
    let rooms = rooms();
    let mut ids = Vec::new();
    for messages in [12, 3, 7] {
        let room = rooms.public_room("alice").await;
        for name in ["bob", "carol"] {
            rooms.change_for_test(&room, name, name, Change::Join).await.unwrap();
        }
        for n in 0..messages {
            rooms
                .send_for_test(&room, "alice", "m.room.message", json!({ "msgtype": "m.text", "body": n }))
                .await
                .unwrap();
        }
        let tx = rooms.store.begin();
        ids.push(rooms.find_room(&tx, &room).await.unwrap().unwrap());
    }
    let rows = async |name: &str| {
        let tx = rooms.store.begin();
        let nid = rooms.find_state_key(&tx, user(name).as_str()).await.unwrap().unwrap();
        let mut rows = Vec::new();
        for room in &ids {
            rows.push(NOTIFICATION.scan((nid, *room)).all(&tx).await.unwrap());
        }
        (nid, rows)
    };
    let (bob, before) = rows("bob").await;
    assert_eq!(before.iter().map(Vec::len).collect::<Vec<_>>(), [12, 3, 7]);
    let trim = async |after, in_room, in_all| rooms.trim_notifications(after, in_room, in_all).await.unwrap();
    let first = trim(None, 8, 100).await.unwrap();
    let second = trim(Some(first.0), 8, 100).await.unwrap();
    assert_eq!((first.1, second.1), (4, 4));
    assert!(first.0 == bob || second.0 == bob);
    assert!(trim(Some(second.0), 8, 100).await.is_none());
    let (_, after) = rows("bob").await;
    assert_eq!(after.iter().map(Vec::len).collect::<Vec<_>>(), [8, 3, 7]);
    for (before, after) in before.iter().zip(&after) {
        let newest = before[before.len() - after.len()..].iter().map(|(key, _)| key);
        assert!(newest.eq(after.iter().map(|(key, _)| key)));
    }
    // 8 + 3 + 7 are more than 12 in all: 4 + 3 + 4 are left.
    assert_eq!(trim(None, 8, 12).await.unwrap().1, 7);
    assert_eq!(trim(None, 8, 12).await.unwrap().1, 0);
}
