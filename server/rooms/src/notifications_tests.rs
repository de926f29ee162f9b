//! Tests of notification rows, unread counts and receipts.

use ruma::{OwnedEventId, OwnedRoomId};
use serde_json::{Value, json};

use crate::{
    Rooms,
    membership::{Change, MemberProfile},
    notifications::UnreadCounts,
    testing::{draft, rooms, user},
};

/// Notifications and highlights of a user, outside threads and by thread.
async fn unread(rooms: &Rooms, room: &OwnedRoomId, name: &str, by_thread: bool) -> UnreadCounts {
    let tx = rooms.store.begin();
    let room = rooms.find_room(&tx, room).await.unwrap().unwrap();
    let user = rooms.find_state_key(&tx, user(name).as_str()).await.unwrap().unwrap();
    rooms.unread_counts(&tx, user, room, by_thread).await.unwrap()
}

async fn counts(rooms: &Rooms, room: &OwnedRoomId, name: &str) -> (u64, u64) {
    let counts = unread(rooms, room, name, false).await;
    (counts.notifications, counts.highlights)
}

async fn group() -> (Rooms, OwnedRoomId) {
    let rooms = rooms();
    let room = rooms.public_room("alice").await;
    for member in ["bob", "carol"] {
        rooms.change_for_test(&room, member, member, Change::Join).await.unwrap();
    }
    (rooms, room)
}

async fn say(rooms: &Rooms, room: &OwnedRoomId, sender: &str, content: Value) -> OwnedEventId {
    let mut content = content;
    content["msgtype"] = json!("m.text");
    rooms.send_for_test(room, sender, "m.room.message", content).await.unwrap()
}

#[tokio::test]
async fn rules_decide() {
    let (rooms, room) = group().await;
    for (sender, content, bob, carol) in [
        ("alice", json!({"body": "hello"}), (1, 0), (1, 0)),
        ("alice", json!({"body": "hello", "m.mentions": {"user_ids": ["@bob:example.org"]}}), (1, 1), (1, 0)),
        ("alice", json!({"body": "all", "m.mentions": {"room": true}}), (1, 1), (1, 1)),
        // Bob may not notify everyone; it is a message like any other.
        ("bob", json!({"body": "all", "m.mentions": {"room": true}}), (0, 0), (1, 0)),
    ] {
        let before = (counts(&rooms, &room, "bob").await, counts(&rooms, &room, "carol").await);
        let id = say(&rooms, &room, sender, content.clone()).await;
        let after = (counts(&rooms, &room, "bob").await, counts(&rooms, &room, "carol").await);
        let grown = |before: (u64, u64), after: (u64, u64)| (after.0 - before.0, after.1 - before.1);
        if sender != "bob" {
            assert_eq!(grown(before.0, after.0), bob, "Bob, {content}");
        }
        assert_eq!(grown(before.1, after.1), carol, "Carol, {content}");
        assert_eq!(counts(&rooms, &room, sender).await, (0, 0), "never the sender's own");
        rooms.mark_read(&room, &user("bob"), &id, None).await.unwrap();
        assert_eq!(counts(&rooms, &room, "bob").await, (0, 0));
    }
    // State that no rule is about, and a stranger.
    let before = counts(&rooms, &room, "bob").await;
    rooms.state_for_test(&room, "alice", "m.room.topic", "", json!({"topic": "x"})).await.unwrap();
    assert_eq!(counts(&rooms, &room, "bob").await, before);
}

#[tokio::test]
async fn an_invite_notifies_and_leaving_forgets() {
    let (rooms, room) = group().await;
    rooms.change_for_test(&room, "alice", "dave", Change::Invite).await.unwrap();
    assert_eq!(counts(&rooms, &room, "dave").await, (1, 0));
    assert_eq!(counts(&rooms, &room, "bob").await, (0, 0), "others' invites are nobody's business");
    rooms.change_for_test(&room, "dave", "dave", Change::Leave).await.unwrap();
    assert_eq!(counts(&rooms, &room, "dave").await, (0, 0));
}

#[tokio::test]
async fn what_reads_and_what_does_not() {
    let rooms = rooms();
    let room = rooms.create_for_test("alice", json!({"invite": ["@bob:example.org"]})).await.unwrap();
    assert_eq!(counts(&rooms, &room, "bob").await, (1, 0));
    rooms.change_for_test(&room, "bob", "bob", Change::Join).await.unwrap();
    assert_eq!(counts(&rooms, &room, "bob").await, (0, 0), "joining answers the invite");
    say(&rooms, &room, "alice", json!({"body": "x"})).await;
    let profile = MemberProfile { displayname: Some("Robert".to_owned()), avatar_url: None };
    rooms.update_profile(&user("bob"), &profile).await.unwrap();
    assert_eq!(counts(&rooms, &room, "bob").await.0, 1, "a new name reads nothing");
}

#[tokio::test]
async fn receipts_read_up_to_an_event() {
    let (rooms, room) = group().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(say(&rooms, &room, "alice", json!({"body": "x"})).await);
    }
    let read = async |id: &OwnedEventId| rooms.mark_read(&room, &user("bob"), id, None).await.unwrap();
    read(&ids[1]).await;
    assert_eq!(counts(&rooms, &room, "bob").await, (1, 0));
    read(&ids[0]).await;
    assert_eq!(counts(&rooms, &room, "bob").await, (1, 0), "an older receipt changes nothing");
    read(&ids[2]).await;
    assert_eq!(counts(&rooms, &room, "bob").await, (0, 0));
    assert_eq!(counts(&rooms, &room, "carol").await, (3, 0), "others have theirs");

    // Writing is reading; only what came before.
    say(&rooms, &room, "carol", json!({"body": "me too"})).await;
    assert_eq!(counts(&rooms, &room, "carol").await, (0, 0));
    say(&rooms, &room, "alice", json!({"body": "x"})).await;
    assert_eq!(counts(&rooms, &room, "carol").await, (1, 0));
}

#[tokio::test]
async fn threads_count_apart() {
    let (rooms, room) = group().await;
    let roots = [
        say(&rooms, &room, "alice", json!({"body": "a"})).await,
        say(&rooms, &room, "alice", json!({"body": "b"})).await,
    ];
    let reply = |root: &OwnedEventId| json!({"body": "r", "m.relates_to": {"rel_type": "m.thread", "event_id": root}});
    let mut last = Vec::new();
    for root in [&roots[0], &roots[1], &roots[0]] {
        last.push(say(&rooms, &room, "alice", reply(root)).await);
    }
    assert_eq!(counts(&rooms, &room, "bob").await, (5, 0), "all in one, for who does not ask for threads");
    let apart = unread(&rooms, &room, "bob", true).await;
    assert_eq!((apart.notifications, apart.threads.len()), (2, 2));
    assert!(apart.threads.contains(&(roots[0].clone(), 2, 0)) && apart.threads.contains(&(roots[1].clone(), 1, 0)));

    let read = async |id: &OwnedEventId, thread: &str| {
        rooms.mark_read(&room, &user("bob"), id, Some(thread)).await.unwrap();
        let counts = unread(&rooms, &room, "bob", true).await;
        (counts.notifications, counts.threads.iter().map(|(_, count, _)| count).sum::<u64>())
    };
    assert_eq!(read(&last[2], roots[0].as_str()).await, (2, 1));
    assert_eq!(read(&last[2], "main").await, (0, 1));
    assert_eq!(read(&last[2], "$nothing").await, (0, 1));
    // Answering in a thread reads that thread.
    say(&rooms, &room, "carol", reply(&roots[0])).await;
    let carol = unread(&rooms, &room, "carol", true).await;
    assert_eq!((carol.notifications, carol.threads), (2, vec![(roots[1].clone(), 1, 0)]));
}

#[tokio::test]
async fn a_list_of_what_is_unread() {
    let (rooms, room) = group().await;
    let bob = user("bob");
    let mut ids = Vec::new();
    for n in 0..5 {
        let mentions = if n == 2 { json!({"user_ids": [bob]}) } else { json!({}) };
        let content = json!({"body": "x", "msgtype": "m.text", "m.mentions": mentions});
        ids.push(rooms.send(&room, &user("alice"), draft("m.room.message", None, content)).await.unwrap());
    }
    let mut seen = Vec::new();
    let mut from: Option<String> = None;
    loop {
        let page = rooms.notifications(&bob, from.as_deref(), 2, false).await.unwrap();
        for row in &page.notifications {
            assert_eq!(row.room_id, room);
            let event: Value = serde_json::from_str(row.event.json().get()).unwrap();
            seen.push(event["event_id"].as_str().unwrap().to_owned());
        }
        from = page.next_token;
        if from.is_none() {
            break;
        }
    }
    ids.reverse();
    assert_eq!(seen, ids.iter().map(ToString::to_string).collect::<Vec<_>>());
    let highlights = rooms.notifications(&bob, None, 10, true).await.unwrap();
    assert_eq!(highlights.notifications.len(), 1);
    assert!(highlights.notifications[0].actions.get().contains("highlight"));
}
