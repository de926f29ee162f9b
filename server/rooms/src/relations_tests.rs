//! Tests of relations and threads.

use ruma::{OwnedEventId, OwnedRoomId, api::Direction};
use serde_json::{Value, json};

use crate::{
    Reader, RoomError, Rooms,
    membership::Change,
    relations::{RelationsPage, RelationsRequest},
    send::Draft,
    testing::{draft, rooms, user},
};

async fn send(
    rooms: &Rooms,
    room: &OwnedRoomId,
    sender: &str,
    kind: &str,
    parent: Option<&OwnedEventId>,
) -> OwnedEventId {
    let mut content = json!({"body": "text", "msgtype": "m.text"});
    if let Some(parent) = parent {
        content["m.relates_to"] = json!({"rel_type": kind, "event_id": parent, "key": sender});
    }
    let event_type = if kind == "m.annotation" { "m.reaction" } else { "m.room.message" };
    rooms.send_for_test(room, sender, event_type, content).await.unwrap()
}

fn ids(page: &RelationsPage) -> Vec<String> {
    page.chunk
        .iter()
        .map(|event| {
            let event: Value = serde_json::from_str(event.json().get()).unwrap();
            event["event_id"].as_str().unwrap().to_owned()
        })
        .collect()
}

async fn setup() -> (Rooms, OwnedRoomId) {
    let rooms = rooms();
    let room = rooms.public_room("alice").await;
    rooms.change_for_test(&room, "bob", "bob", Change::Join).await.unwrap();
    (rooms, room)
}

#[tokio::test]
async fn relations_are_chosen_paged_and_followed() {
    let (rooms, room) = setup().await;
    let root = send(&rooms, &room, "alice", "", None).await;
    let mut all = Vec::new();
    for n in 0..6 {
        // Three kinds, interleaved.
        let kind = ["m.thread", "m.reference", "x.other"][n % 3];
        all.push(send(&rooms, &room, "alice", kind, Some(&root)).await.to_string());
    }
    let reaction: OwnedEventId = all[0].as_str().try_into().unwrap();
    let reaction = send(&rooms, &room, "bob", "m.annotation", Some(&reaction)).await;
    let alice = user("alice");
    let reader = Reader::new(&alice, None);
    let ask = async |request: RelationsRequest| rooms.relations(&room, &reader, &root, &request).await.unwrap();

    let forward = RelationsRequest { direction: Direction::Forward, ..RelationsRequest::default() };
    assert_eq!(ids(&ask(forward.clone()).await), all);
    let mut reversed = all.clone();
    reversed.reverse();
    let backward = RelationsRequest { direction: Direction::Backward, ..RelationsRequest::default() };
    assert_eq!(ids(&ask(backward).await), reversed);
    for (direction, expected) in [(Direction::Forward, &all), (Direction::Backward, &reversed)] {
        let mut seen = Vec::new();
        let mut from = None;
        loop {
            let page = ask(RelationsRequest { direction, from, limit: Some(2), ..RelationsRequest::default() }).await;
            seen.extend(ids(&page));
            from = page.next_batch;
            if from.is_none() {
                break;
            }
        }
        assert_eq!(seen, **expected, "{direction:?}");
    }
    let threads = RelationsRequest { rel_type: Some("m.thread".to_owned()), ..forward.clone() };
    assert_eq!(ids(&ask(threads).await), [all[0].clone(), all[3].clone()]);
    let typed = RelationsRequest {
        rel_type: Some("m.thread".to_owned()),
        event_type: Some("m.reaction".to_owned()),
        ..forward.clone()
    };
    assert!(ids(&ask(typed.clone()).await).is_empty());

    // Relations of relations come along when asked for; the kind chooses among them.
    let deep = ask(RelationsRequest { recurse: true, ..forward.clone() }).await;
    assert_eq!(ids(&deep).last(), Some(&reaction.to_string()));
    assert_eq!(deep.recursion_depth, Some(3));
    let reactions = RelationsRequest {
        rel_type: Some("m.annotation".to_owned()),
        event_type: Some("m.reaction".to_owned()),
        recurse: true,
        ..forward.clone()
    };
    assert_eq!(ids(&ask(reactions).await), [reaction.to_string()]);

    // A redacted event relates to nothing.
    let target: OwnedEventId = all[5].as_str().try_into().unwrap();
    let redaction = Draft { redacts: Some(target), ..draft("m.room.redaction", None, json!({})) };
    rooms.send(&room, &user("alice"), redaction).await.unwrap();
    assert_eq!(ids(&ask(forward).await), all[..5]);
    let junk = RelationsRequest { from: Some("junk".to_owned()), ..RelationsRequest::default() };
    assert!(matches!(rooms.relations(&room, &reader, &root, &junk).await, Err(RoomError::InvalidToken)));
}

#[tokio::test]
async fn threads_are_ordered_by_their_newest_event() {
    let (rooms, room) = setup().await;
    let mut roots = Vec::new();
    for _ in 0..3 {
        roots.push(send(&rooms, &room, "alice", "", None).await);
    }
    for index in [0, 1, 2, 0] {
        send(&rooms, &room, if index == 1 { "bob" } else { "alice" }, "m.thread", Some(&roots[index])).await;
    }
    let order: Vec<String> = [0, 2, 1].iter().map(|index: &usize| roots[*index].to_string()).collect();
    let (alice, bob) = (user("alice"), user("bob"));
    let all = rooms.threads(&room, &Reader::new(&alice, None), None, None, false).await.unwrap();
    assert_eq!(ids(&all), order);
    let root: Value = serde_json::from_str(all.chunk[0].json().get()).unwrap();
    let thread = &root["unsigned"]["m.relations"]["m.thread"];
    assert_eq!((&thread["count"], &thread["current_user_participated"]), (&json!(2), &json!(true)));

    let mut seen = Vec::new();
    let mut from: Option<String> = None;
    loop {
        let page = rooms.threads(&room, &Reader::new(&alice, None), from.as_deref(), Some(1), false).await.unwrap();
        seen.extend(ids(&page));
        from = page.next_batch;
        if from.is_none() {
            break;
        }
    }
    assert_eq!(seen, order);
    let his = rooms.threads(&room, &Reader::new(&bob, None), None, None, true).await.unwrap();
    assert_eq!(ids(&his), [roots[1].to_string()], "Bob took part in one");
    let stranger = user("carol");
    let refused = rooms.threads(&room, &Reader::new(&stranger, None), None, None, false).await;
    assert!(matches!(refused, Err(RoomError::Forbidden(_))));
}
