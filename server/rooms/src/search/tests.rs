//! What is found, by whom, in which order; edits and redactions; pages and groups.

use ruma::{OwnedEventId, RoomId};
use serde_json::{Value, json};

use super::{SearchPage, SearchRequest};
use crate::{
    Reader, RoomError, Rooms,
    keys::SEARCH_WORD,
    membership::{Change, MemberProfile},
    testing::{draft, rooms, user},
    upgrade::UpgradeRequest,
};

async fn say(rooms: &Rooms, room: &RoomId, who: &str, body: &str) -> OwnedEventId {
    rooms.send_for_test(room, who, "m.room.message", json!({ "msgtype": "m.text", "body": body })).await.unwrap()
}

async fn edit(rooms: &Rooms, room: &RoomId, who: &str, event: &OwnedEventId, body: &str) -> OwnedEventId {
    let content = json!({
        "body": format!("* {body}"),
        "m.new_content": { "body": body },
        "m.relates_to": { "rel_type": "m.replace", "event_id": event },
    });
    rooms.send_for_test(room, who, "m.room.message", content).await.unwrap()
}

async fn redact(rooms: &Rooms, room: &RoomId, who: &str, event: &OwnedEventId) {
    let mut redaction = draft("m.room.redaction", None, json!({}));
    redaction.redacts = Some(event.clone());
    rooms.send(room, &user(who), redaction).await.unwrap();
}

async fn search(rooms: &Rooms, who: &str, criteria: Value, from: Option<&str>) -> Result<SearchPage, RoomError> {
    let who = user(who);
    let request: SearchRequest = serde_json::from_value(criteria).unwrap();
    rooms.search(&Reader::new(&who, None), &request, from).await
}

fn bodies(page: &SearchPage) -> Vec<String> {
    let body = |event: &Value| {
        let content = &event["content"];
        let text = content.get("body").or(content.get("name")).or(content.get("topic"));
        text.and_then(Value::as_str).unwrap_or("-").to_owned()
    };
    page.results.iter().map(|result| body(&serde_json::from_str(result.result.json().get()).unwrap())).collect()
}

async fn found(rooms: &Rooms, who: &str, term: &str) -> Vec<String> {
    bodies(&search(rooms, who, json!({ "search_term": term, "order_by": "recent" }), None).await.unwrap())
}

#[tokio::test]
async fn words_keys_and_filters() {
    let rooms = rooms();
    let room =
        rooms.create_for_test("alice", json!({ "preset": "public_chat", "name": "Soup kitchen" })).await.unwrap();
    rooms.change_for_test(&room, "bob", "bob", Change::Join).await.unwrap();
    rooms.state_for_test(&room, "alice", "m.room.topic", "", json!({ "topic": "All about soup" })).await.unwrap();
    say(&rooms, &room, "alice", "Martians and men").await;
    say(&rooms, &room, "bob", "SOUP of martians!").await;
    say(&rooms, &room, "alice", "nothing").await;
    rooms.send_for_test(&room, "bob", "x.other", json!({ "body": "other soup" })).await.unwrap();
    for (term, expected) in [
        ("martians", vec!["SOUP of martians!", "Martians and men"]),
        ("MEN martians", vec!["Martians and men"]),
        ("martian", vec![]),
        ("soup", vec!["other soup", "SOUP of martians!", "All about soup", "Soup kitchen"]),
        ("!?", vec![]),
        ("martians nothing", vec![]),
    ] {
        assert_eq!(found(&rooms, "alice", term).await, expected, "{term}");
    }
    for (extra, expected) in [
        (json!({ "keys": ["content.body"] }), vec!["other soup", "SOUP of martians!"]),
        (json!({ "keys": ["content.name"] }), vec!["Soup kitchen"]),
        (json!({ "keys": ["content.topic", "content.name"] }), vec!["All about soup", "Soup kitchen"]),
        (json!({ "keys": [] }), vec![]),
        (json!({ "filter": { "senders": ["@alice:example.org"] } }), vec!["All about soup", "Soup kitchen"]),
        (json!({ "filter": { "types": ["m.room.message"] } }), vec!["SOUP of martians!"]),
        (json!({ "filter": { "rooms": [] } }), vec![]),
        (json!({ "filter": { "not_rooms": [room] } }), vec![]),
        (json!({ "filter": { "rooms": [room], "limit": 1 } }), vec!["other soup"]),
    ] {
        let mut criteria = json!({ "search_term": "soup", "order_by": "recent" });
        criteria.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let page = search(&rooms, "alice", criteria, None).await.unwrap();
        assert_eq!(bodies(&page), expected, "{extra}");
        assert_eq!(page.highlights, ["soup"]);
    }
    // By rank the shorter text with the word comes first, and twice is better than once.
    say(&rooms, &room, "bob", "soup soup").await;
    let page = search(&rooms, "alice", json!({ "search_term": "soup" }), None).await.unwrap();
    assert_eq!(bodies(&page)[0], "soup soup");
    assert!(page.results.windows(2).all(|pair| pair[0].rank >= pair[1].rank));
    assert_eq!(page.count, 5);
}

#[tokio::test]
async fn edits_and_redactions() {
    let rooms = rooms();
    let room = rooms.public_room("alice").await;
    rooms.change_for_test(&room, "bob", "bob", Change::Join).await.unwrap();
    let event = say(&rooms, &room, "alice", "first").await;
    assert_eq!(found(&rooms, "bob", "first").await, ["first"]);
    let second = edit(&rooms, &room, "alice", &event, "second").await;
    assert_eq!(found(&rooms, "bob", "first").await, Vec::<String>::new());
    assert_eq!(found(&rooms, "bob", "second").await.len(), 1);
    // Nobody edits for others.
    edit(&rooms, &room, "bob", &event, "third").await;
    assert_eq!(found(&rooms, "bob", "third").await.len(), 0);
    redact(&rooms, &room, "alice", &second).await;
    assert_eq!(found(&rooms, "bob", "second").await.len(), 0);
    assert_eq!(found(&rooms, "bob", "first").await, ["first"]);
    redact(&rooms, &room, "alice", &event).await;
    assert_eq!(found(&rooms, "bob", "first").await.len(), 0);
    // Nothing of it is left in the index.
    let tx = rooms.store().begin();
    assert!(SEARCH_WORD.scan(()).snapshot().all(&tx).await.unwrap().is_empty());
}

#[tokio::test]
async fn only_what_the_searcher_may_see() {
    let rooms = rooms();
    let body = json!({ "preset": "public_chat", "initial_state": [
        { "type": "m.room.history_visibility", "content": { "history_visibility": "joined" } },
    ] });
    let room = rooms.create_for_test("alice", body).await.unwrap();
    say(&rooms, &room, "alice", "word before").await;
    rooms.change_for_test(&room, "bob", "bob", Change::Join).await.unwrap();
    let during = say(&rooms, &room, "alice", "word during").await;
    rooms.change_for_test(&room, "bob", "bob", Change::Leave).await.unwrap();
    say(&rooms, &room, "alice", "word after").await;
    edit(&rooms, &room, "alice", &during, "changed").await;
    assert_eq!(found(&rooms, "alice", "word").await, ["word after", "word before"]);
    // Who left neither finds what came later, nor by words that they cannot see.
    assert_eq!(found(&rooms, "bob", "after").await.len(), 0);
    assert_eq!(found(&rooms, "bob", "before").await.len(), 0);
    assert_eq!(found(&rooms, "bob", "changed").await.len(), 0);
    assert_eq!(found(&rooms, "stranger", "word").await.len(), 0);
    rooms.forget(&room, &user("bob")).await.unwrap();
    assert_eq!(found(&rooms, "bob", "during").await.len(), 0);

    let open = rooms.public_room("alice").await;
    rooms.change_for_test(&open, "carol", "carol", Change::Join).await.unwrap();
    say(&rooms, &open, "alice", "ignored thing").await;
    let carol = user("carol");
    let ignored = ["@alice:example.org".to_owned()];
    let request: SearchRequest = serde_json::from_value(json!({ "search_term": "thing" })).unwrap();
    let reader = Reader::new(&carol, None);
    assert_eq!(rooms.search(&reader, &request, None).await.unwrap().results.len(), 1);
    assert_eq!(rooms.search(&reader.ignoring(&ignored), &request, None).await.unwrap().results.len(), 0);
}

#[tokio::test]
async fn pages_groups_context_and_state() {
    let rooms = rooms();
    let (one, two) = (rooms.public_room("alice").await, rooms.public_room("alice").await);
    for room in [&one, &two] {
        rooms.change_for_test(room, "bob", "bob", Change::Join).await.unwrap();
    }
    for n in 0..6 {
        let (room, who) = (if n % 2 == 0 { &one } else { &two }, if n < 3 { "alice" } else { "bob" });
        say(&rooms, room, who, &format!("word {n}")).await;
    }
    let criteria = json!({
        "search_term": "word", "order_by": "recent", "filter": { "limit": 2 }, "include_state": true,
        "event_context": { "before_limit": 1, "after_limit": 1, "include_profile": true },
        "groupings": { "group_by": [{ "key": "room_id" }, { "key": "sender" }] },
    });
    let mut all = Vec::new();
    let mut from = None;
    let first = search(&rooms, "alice", criteria.clone(), None).await.unwrap();
    loop {
        let page = search(&rooms, "alice", criteria.clone(), from.as_deref()).await.unwrap();
        if all.is_empty() {
            // What is said in between does not move the pages.
            say(&rooms, &one, "bob", "word late").await;
        }
        assert_eq!(page.count, 6);
        all.extend(bodies(&page));
        from = page.next_batch;
        if from.is_none() {
            break;
        }
    }
    assert_eq!(all, ["word 5", "word 4", "word 3", "word 2", "word 1", "word 0"]);

    let json = serde_json::to_value(&first).unwrap();
    let by_room = &json["groups"]["room_id"];
    assert_eq!(by_room[two.as_str()]["results"], json!([json["results"][0]["result"]["event_id"]]));
    assert_eq!((&by_room[two.as_str()]["order"], &by_room[one.as_str()]["order"]), (&json!(1), &json!(2)));
    assert_eq!(json["groups"]["sender"]["@bob:example.org"]["results"].as_array().unwrap().len(), 2);
    let token = by_room[one.as_str()]["next_batch"].as_str().unwrap();
    assert_eq!(bodies(&search(&rooms, "alice", criteria.clone(), Some(token)).await.unwrap()), ["word 2", "word 0"]);
    let token = json["groups"]["sender"]["@bob:example.org"]["next_batch"].as_str().unwrap();
    assert_eq!(bodies(&search(&rooms, "alice", criteria.clone(), Some(token)).await.unwrap()), ["word 3"]);

    let context = &json["results"][1]["context"];
    assert_eq!(context["events_before"][0]["content"]["body"], "word 2");
    assert!(context["start"].is_string() && context["end"].is_string());
    assert_eq!(context["profile_info"]["@bob:example.org"], json!({ "displayname": "bob" }));
    assert!(json["state"][one.as_str()].as_array().unwrap().iter().any(|event| event["type"] == "m.room.create"));
    let plain = search(&rooms, "alice", json!({ "search_term": "word" }), None).await.unwrap();
    let plain = serde_json::to_value(&plain).unwrap();
    assert!(plain["results"][0].get("context").is_none() && plain.get("state").is_none());
    let junk = search(&rooms, "alice", criteria, Some("junk")).await;
    assert!(matches!(junk, Err(RoomError::InvalidToken)));
}

#[tokio::test]
async fn rooms_that_were_replaced_and_more_than_one_piece() {
    let rooms = rooms();
    let old = rooms.public_room("alice").await;
    for n in 0..120 {
        say(&rooms, &old, "alice", &format!("old number{n}")).await;
    }
    let request = UpgradeRequest { version: ruma::RoomVersionId::V12, additional_creators: Vec::new() };
    let new = rooms.upgrade(&old, &user("alice"), &MemberProfile::default(), &request).await.unwrap();
    say(&rooms, &new, "alice", "new number7").await;
    let criteria = json!({ "search_term": "number7", "filter": { "rooms": [new] }, "order_by": "recent" });
    let page = search(&rooms, "alice", criteria, None).await.unwrap();
    assert_eq!(bodies(&page), ["new number7", "old number7"]);
    assert_eq!(found(&rooms, "alice", "number119").await, ["old number119"]);
}
