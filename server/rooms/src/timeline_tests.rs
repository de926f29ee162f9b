//! Tests of pages, tokens, filters and of the form in which clients get events.

use ruma::{DeviceId, EventId, OwnedEventId, OwnedRoomId, api::Direction, device_id, serde::Raw};
use serde_json::{Value, json};

use crate::{
    EventFilter, Position, Reader, RoomError, Rooms,
    membership::Change,
    send::Draft,
    testing::{draft, rooms, user, with_transaction},
    timeline::{MessagesPage, MessagesRequest},
};

fn value<T>(raw: &Raw<T>) -> Value {
    serde_json::from_str(raw.json().get()).unwrap()
}

fn bodies(page: &MessagesPage) -> Vec<String> {
    page.chunk.iter().map(|event| value(event)["content"]["body"].as_str().unwrap_or("-").to_owned()).collect()
}

fn text(body: &str) -> Value {
    json!({"msgtype": "m.text", "body": body})
}

/// Asks for a page as Alice.
async fn page(
    rooms: &Rooms,
    room: &OwnedRoomId,
    direction: Direction,
    from: Option<&str>,
    to: Option<&str>,
    limit: u64,
    filter: Value,
) -> Result<MessagesPage, RoomError> {
    let request = MessagesRequest {
        from: from.map(str::to_owned),
        to: to.map(str::to_owned),
        direction,
        limit: Some(limit),
        filter: serde_json::from_value(filter).unwrap(),
    };
    rooms.messages(room, &Reader::new(&user("alice"), None), &request).await
}

/// Alice's room with messages 0 to 9.
async fn ten() -> (Rooms, OwnedRoomId, Vec<OwnedEventId>) {
    let rooms = rooms();
    let room = rooms.public_room("alice").await;
    let mut ids = Vec::new();
    for n in 0..10 {
        ids.push(rooms.send_for_test(&room, "alice", "m.room.message", text(&n.to_string())).await.unwrap());
    }
    (rooms, room, ids)
}

#[tokio::test]
async fn pages_go_both_ways_and_meet() {
    let (rooms, room, _) = ten().await;
    let now = rooms.store.current_version().await.unwrap();
    let messages = json!({"types": ["m.room.message"]});
    for (direction, expected) in [
        (Direction::Backward, vec!["9", "8", "7", "6", "5", "4", "3", "2", "1", "0"]),
        (Direction::Forward, vec!["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]),
    ] {
        for limit in [1, 3, 5, 10, 100] {
            let mut seen = Vec::new();
            let mut from: Option<String> = None;
            loop {
                let got = page(&rooms, &room, direction, from.as_deref(), None, limit, messages.clone()).await.unwrap();
                assert!(got.chunk.len() as u64 <= limit);
                assert!(from.is_none_or(|from| from == got.start), "the start is what was asked for");
                seen.extend(bodies(&got));
                from = got.end;
                if from.is_none() {
                    break;
                }
            }
            assert_eq!(seen, expected, "{direction:?} by {limit}");
        }
    }

    // A sync token is a place, too: what comes later lies behind it.
    rooms.send_for_test(&room, "alice", "m.room.message", text("later")).await.unwrap();
    let token = format!("s{now}_7_x");
    let back = page(&rooms, &room, Direction::Backward, Some(&token), None, 2, json!({})).await.unwrap();
    assert_eq!(bodies(&back), ["9", "8"]);
    let forth = page(&rooms, &room, Direction::Forward, Some(&token), None, 2, json!({})).await.unwrap();
    assert_eq!(bodies(&forth), ["later"]);
    assert_eq!(forth.end, None);

    // `to` bounds a page; the way back from a page's end is the page.
    let bounded = page(&rooms, &room, Direction::Forward, back.end.as_deref(), Some(&token), 100, json!({})).await;
    assert_eq!(bodies(&bounded.unwrap()), ["8", "9"]);
    let bounded = page(&rooms, &room, Direction::Backward, Some(&token), back.end.as_deref(), 100, json!({})).await;
    assert_eq!(bodies(&bounded.unwrap()), ["9", "8"]);

    for token in ["junk", "", "t1", "s"] {
        let refused = page(&rooms, &room, Direction::Backward, Some(token), None, 2, json!({})).await;
        assert!(matches!(refused, Err(RoomError::InvalidToken)), "{token:?}");
    }
}

#[tokio::test]
async fn filters() {
    let rooms = rooms();
    let room = rooms.public_room("alice").await;
    rooms.change_for_test(&room, "bob", "bob", Change::Join).await.unwrap();
    let one = rooms.send_for_test(&room, "alice", "m.room.message", text("1")).await.unwrap();
    rooms.send_for_test(&room, "bob", "m.room.message", json!({"body": "2", "url": "mxc://h/x"})).await.unwrap();
    rooms.send_for_test(&room, "alice", "m.sticker", json!({"body": "3", "url": "mxc://h/x"})).await.unwrap();
    let reaction = json!({"m.relates_to": {"rel_type": "m.annotation", "event_id": one, "key": "+"}, "body": "4"});
    rooms.send_for_test(&room, "bob", "m.reaction", reaction).await.unwrap();

    for (filter, expected) in [
        (json!({"types": ["m.room.message"]}), vec!["1", "2"]),
        (json!({"types": ["m.*"], "not_types": ["m.room.*"]}), vec!["3", "4"]),
        (json!({"types": ["m.sticker", "m.room.message"], "senders": ["@alice:example.org"]}), vec!["1", "3"]),
        (json!({"not_senders": ["@alice:example.org"], "not_types": ["m.room.member"]}), vec!["2", "4"]),
        (json!({"contains_url": true}), vec!["2", "3"]),
        (json!({"contains_url": false, "types": ["m.*ct*", "m.room.mess*"]}), vec!["1", "4"]),
        (json!({"related_by_rel_types": ["m.annotation"]}), vec!["1"]),
        (json!({"related_by_rel_types": ["m.thread"]}), vec![]),
        (json!({"related_by_senders": ["@bob:example.org"]}), vec!["1"]),
        (json!({"related_by_senders": ["@alice:example.org"]}), vec![]),
        (json!({"rooms": ["!elsewhere:example.org"]}), vec![]),
        (json!({"not_rooms": [room]}), vec![]),
        (json!({"senders": []}), vec![]),
        (json!({"senders": ["@nobody:example.org"]}), vec![]),
        (json!({"types": ["m.room.message"], "limit": 1}), vec!["1"]),
    ] {
        let got = page(&rooms, &room, Direction::Forward, None, None, 100, filter.clone()).await.unwrap();
        assert_eq!(bodies(&got), expected, "{filter}");
    }
}

#[tokio::test]
async fn lazy_members() {
    let rooms = rooms();
    let room = rooms.public_room("alice").await;
    for member in ["bob", "carol"] {
        rooms.change_for_test(&room, member, member, Change::Join).await.unwrap();
    }
    rooms.send_for_test(&room, "alice", "m.room.message", text("1")).await.unwrap();
    let two = rooms.send_for_test(&room, "bob", "m.room.message", text("2")).await.unwrap();
    let filter = json!({"lazy_load_members": true, "types": ["m.room.message"]});
    let got = page(&rooms, &room, Direction::Backward, None, None, 1, filter.clone()).await.unwrap();
    let members: Vec<_> = got.state.iter().map(|event| value(event)["state_key"].clone()).collect();
    assert_eq!(members, ["@bob:example.org"]);
    let eager = page(&rooms, &room, Direction::Backward, None, None, 1, json!({})).await.unwrap();
    assert!(eager.state.is_empty());

    let lazy: EventFilter = serde_json::from_value(filter).unwrap();
    let alice = user("alice");
    let reader = Reader::new(&alice, None);
    let count = async |filter: &EventFilter| {
        let context = rooms.context(&room, &reader, &two, Some(0), filter).await.unwrap();
        assert!(context.events_before.is_empty() && context.events_after.is_empty());
        context.state.iter().filter(|event| value(event)["type"] == "m.room.member").count()
    };
    assert_eq!((count(&lazy).await, count(&EventFilter::default()).await), (1, 3));
}

#[tokio::test]
async fn context_stands_between_its_tokens() {
    let (rooms, room, ids) = ten().await;
    let alice = user("alice");
    let reader = Reader::new(&alice, None);
    let context = rooms.context(&room, &reader, &ids[5], Some(4), &EventFilter::default()).await.unwrap();
    let ids_of = |events: &[Raw<ruma::events::AnyTimelineEvent>]| -> Vec<Value> {
        events.iter().map(|event| value(event)["event_id"].clone()).collect()
    };
    assert_eq!(ids_of(&context.events_before), [ids[4].as_str(), ids[3].as_str()]);
    assert_eq!(ids_of(&context.events_after), [ids[6].as_str(), ids[7].as_str()]);
    let before = page(&rooms, &room, Direction::Backward, Some(&context.start), None, 1, json!({})).await.unwrap();
    let after = page(&rooms, &room, Direction::Forward, Some(&context.end), None, 1, json!({})).await.unwrap();
    assert_eq!((bodies(&before), bodies(&after)), (vec!["2".to_owned()], vec!["8".to_owned()]));
}

/// A filter that lets nothing out reads a bounded part and says where to go on.
#[tokio::test]
async fn scans_are_bounded() {
    let rooms = rooms();
    let room = rooms.public_room("alice").await;
    let mut sending = Vec::new();
    for n in 0..5200 {
        sending.push(rooms.send_for_test(&room, "alice", "m.room.message", text(&n.to_string())));
    }
    futures_util::future::join_all(sending).await;
    let rare = json!({"types": ["m.room.create"]});
    let first = page(&rooms, &room, Direction::Backward, None, None, 10, rare.clone()).await.unwrap();
    assert!(first.chunk.is_empty());
    let second = page(&rooms, &room, Direction::Backward, first.end.as_deref(), None, 10, rare).await.unwrap();
    assert_eq!((second.chunk.len(), second.end), (1, None));
}

/// One event as a reader with a device sees it.
async fn event(rooms: &Rooms, room: &OwnedRoomId, name: &str, device: Option<&DeviceId>, id: &EventId) -> Value {
    let reader = user(name);
    value(&rooms.event(room, &Reader::new(&reader, device), id).await.unwrap())
}

#[tokio::test]
async fn unsigned_parts() {
    let rooms = rooms();
    let room = rooms.public_room("alice").await;
    let message = with_transaction(draft("m.room.message", None, text("1")), "PHONE", "txn1");
    let sent = rooms.send(&room, &user("alice"), message).await.unwrap();
    rooms.change_for_test(&room, "bob", "bob", Change::Join).await.unwrap();
    let named = rooms.state_for_test(&room, "alice", "m.room.name", "", json!({"name": "a"})).await.unwrap();
    let renamed = rooms.state_for_test(&room, "alice", "m.room.name", "", json!({"name": "b"})).await.unwrap();

    let transaction = async |name: &str, device: Option<&DeviceId>| {
        event(&rooms, &room, name, device, &sent).await["unsigned"]["transaction_id"].clone()
    };
    assert_eq!(transaction("alice", Some(device_id!("PHONE"))).await, "txn1");
    assert_eq!(transaction("alice", Some(device_id!("LAPTOP"))).await, Value::Null);
    assert_eq!(transaction("alice", None).await, Value::Null);
    assert_eq!(transaction("bob", Some(device_id!("PHONE"))).await, Value::Null);

    let before = event(&rooms, &room, "bob", None, &sent).await;
    assert_eq!(before["unsigned"]["membership"], "leave", "Bob joined later");
    assert!(before["unsigned"]["age"].is_i64());
    let state = event(&rooms, &room, "bob", None, &renamed).await;
    assert_eq!(state["unsigned"]["membership"], "join");
    assert_eq!(state["unsigned"]["prev_content"], json!({"name": "a"}));
    assert_eq!(state["unsigned"]["replaces_state"], named.as_str());
    assert_eq!(event(&rooms, &room, "bob", None, &named).await["unsigned"].get("prev_content"), None);
}

#[tokio::test]
async fn redactions_edits_and_references() {
    let rooms = rooms();
    let room = rooms.public_room("alice").await;
    rooms.change_for_test(&room, "bob", "bob", Change::Join).await.unwrap();
    let sent = rooms.send_for_test(&room, "alice", "m.room.message", text("1")).await.unwrap();
    let relations = async || event(&rooms, &room, "bob", None, &sent).await["unsigned"]["m.relations"].clone();
    assert_eq!(relations().await, Value::Null);

    let edit = |body: &str| {
        json!({"body": body, "m.new_content": {"body": body},
            "m.relates_to": {"rel_type": "m.replace", "event_id": sent}})
    };
    let first = rooms.send_for_test(&room, "alice", "m.room.message", edit("1b")).await.unwrap();
    let second = rooms.send_for_test(&room, "alice", "m.room.message", edit("1c")).await.unwrap();
    rooms.send_for_test(&room, "bob", "m.room.message", edit("not Bob's")).await.unwrap();
    rooms.send_for_test(&room, "alice", "m.sticker", edit("another type")).await.unwrap();
    assert_eq!(relations().await["m.replace"]["event_id"], second.as_str());
    assert_eq!(event(&rooms, &room, "bob", None, &sent).await["content"]["body"], "1", "the content stays");

    let redact = async |target: &OwnedEventId| {
        let redaction = Draft { redacts: Some(target.clone()), ..draft("m.room.redaction", None, json!({})) };
        rooms.send(&room, &user("alice"), redaction).await.unwrap()
    };
    redact(&second).await;
    assert_eq!(relations().await["m.replace"]["event_id"], first.as_str(), "the edit before counts again");

    let reference = json!({"body": "2", "m.relates_to": {"rel_type": "m.reference", "event_id": sent}});
    let reference = rooms.send_for_test(&room, "bob", "m.room.message", reference).await.unwrap();
    assert_eq!(relations().await["m.reference"], json!({"chunk": [{"event_id": reference}]}));

    let redaction = redact(&sent).await;
    let gone = event(&rooms, &room, "bob", None, &sent).await;
    assert_eq!(gone["content"], json!({}));
    assert_eq!(gone["unsigned"]["redacted_because"]["event_id"], redaction.as_str());
    assert_eq!(gone["unsigned"]["redacted_because"]["redacts"], sent.as_str());
    assert_eq!(gone["unsigned"]["redacted_because"]["content"]["redacts"], sent.as_str());
    assert_eq!(gone["unsigned"].get("m.relations"), None);
    // On every other way as well.
    let got = page(&rooms, &room, Direction::Forward, None, None, 100, json!({})).await.unwrap();
    assert!(bodies(&got).iter().all(|body| body != "1" && body != "1c"));
}

#[tokio::test]
async fn positions_of_other_rooms_and_strangers() {
    let (rooms, room, ids) = ten().await;
    let other = rooms.public_room("alice").await;
    let alice = user("alice");
    let reader = Reader::new(&alice, None);
    let elsewhere = rooms.event(&other, &reader, &ids[0]).await;
    assert!(matches!(elsewhere, Err(RoomError::EventNotFound)), "an event is found in its own room alone");
    let nowhere = ruma::room_id!("!nowhere:example.org");
    assert!(matches!(rooms.event(nowhere, &reader, &ids[0]).await, Err(RoomError::EventNotFound)));
    assert!(matches!(rooms.state(nowhere, &reader).await, Err(RoomError::Forbidden(_))));
    let future = Position::after_version(u64::MAX - 1).to_string();
    let got = page(&rooms, &room, Direction::Backward, Some(&future), None, 1, json!({})).await.unwrap();
    assert_eq!(bodies(&got), ["9"]);
    let got = page(&rooms, &room, Direction::Forward, Some(&future), None, 1, json!({})).await.unwrap();
    assert_eq!((got.chunk.len(), got.end), (0, None));
}

/// Reading costs as much as what is read, not as what is there.
#[tokio::test]
async fn reads_are_few() {
    let (rooms, room, _) = ten().await;
    for _ in 0..200 {
        rooms.send_for_test(&room, "alice", "m.room.message", text("more")).await.unwrap();
    }
    let before = rooms.store.stats().reads;
    page(&rooms, &room, Direction::Backward, None, None, 20, json!({})).await.unwrap();
    let first = rooms.store.stats().reads - before;
    page(&rooms, &room, Direction::Backward, None, None, 20, json!({})).await.unwrap();
    let again = rooms.store.stats().reads - before - first;
    assert!(again <= 6, "a page of 20 took {again} reads");

    let before = rooms.store.stats().reads;
    let tx = rooms.store.begin();
    let now = tx.read_version().await.unwrap();
    let nid = rooms.find_state_key(&tx, user("alice").as_str()).await.unwrap().unwrap();
    rooms.changed_rooms(&tx, now).await.unwrap();
    rooms.membership_changes(&tx, nid, now).await.unwrap();
    let idle = rooms.store.stats().reads - before;
    assert!(idle <= 3, "an idle sync took {idle} reads");
}
