//! Finding rooms and messages: summaries, trees of spaces, search, mutual rooms, events by time, reports.

use serde_json::json;

use crate::support::{User, bodies, list, server};

#[tokio::test]
async fn spaces_and_summaries() {
    let server = server().await;
    let (alice, bob) = (User::new(&server, "alice").await, User::new(&server, "bob").await);
    let space = alice
        .create(json!({ "preset": "public_chat", "name": "House", "creation_content": { "type": "m.space" } }))
        .await;
    let kitchen = alice.create(json!({ "preset": "public_chat", "name": "Kitchen" })).await;
    let cellar = alice.create(json!({ "preset": "private_chat", "name": "Cellar" })).await;
    for (room, order) in [(&cellar, "a"), (&kitchen, "b")] {
        alice.set(&space, "m.space.child", room, json!({ "via": ["hearth.test"], "order": order })).await;
    }
    let tree = format!("/_matrix/client/v1/rooms/{space}/hierarchy");
    let names = |page: &serde_json::Value| -> Vec<String> {
        list(&page["rooms"]).map(|room| room["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&alice.read(&tree).await), ["House", "Cellar", "Kitchen"]);
    assert_eq!(names(&bob.read(&tree).await), ["House", "Kitchen"]);
    let first = bob.read(&format!("{tree}?limit=1")).await;
    assert_eq!(list(&first["rooms"][0]["children_state"]).count(), 2);
    let from = first["next_batch"].as_str().unwrap();
    assert_eq!(names(&bob.read(&format!("{tree}?from={from}")).await), ["Kitchen"]);
    bob.refused("GET", &format!("{tree}?from={from}&max_depth=1"), None, 400, "M_INVALID_PARAM").await;
    bob.refused("GET", &format!("/_matrix/client/v1/rooms/{cellar}/hierarchy"), None, 403, "M_FORBIDDEN").await;
    let summary = |room: &str| format!("/_matrix/client/v1/room_summary/{room}");
    assert_eq!(bob.read(&summary(&space)).await["room_type"], "m.space");
    bob.refused("GET", &summary(&cellar), None, 404, "M_NOT_FOUND").await;
    let (status, answer) = server.call("GET", &summary(&kitchen), None, None).await;
    assert_eq!((status, &answer["name"]), (200, &json!("Kitchen")));
}

#[tokio::test]
async fn search_time_and_reports() {
    let server = server().await;
    let (alice, bob) = (User::new(&server, "alice").await, User::new(&server, "bob").await);
    let room = alice.create(json!({ "preset": "public_chat" })).await;
    bob.own(&room, "join").await;
    let soup = alice.say(&room, "soup of the day").await;
    alice.say(&room, "bread").await;
    let search = async |user: &User<'_>, term: &str| {
        let body = json!({ "search_categories": { "room_events": { "search_term": term, "order_by": "recent" } } });
        let answer = user.ok("POST", "search", Some(body)).await;
        let results = &answer["search_categories"]["room_events"]["results"];
        let events: Vec<_> = list(results).map(|result| result["result"].clone()).collect();
        bodies(&json!(events)).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(search(&bob, "Soup").await, ["soup of the day"]);
    bob.refused("POST", "search", Some(json!({})), 400, "M_BAD_JSON").await;

    // An ignored user is not found, nor read.
    let list_path = format!("user/{}/account_data/m.ignored_user_list", bob.id());
    bob.ok("PUT", &list_path, Some(json!({ "ignored_users": { alice.id(): {} } }))).await;
    assert!(search(&bob, "soup").await.is_empty());
    assert!(bodies(&bob.read(&format!("rooms/{room}/messages?dir=b")).await["chunk"]).is_empty());
    bob.ok("PUT", &list_path, Some(json!({ "ignored_users": {} }))).await;
    assert_eq!(bodies(&bob.read(&format!("rooms/{room}/messages?dir=b")).await["chunk"]), ["bread", "soup of the day"]);

    let event = bob.read(&format!("rooms/{room}/event/{soup}")).await;
    let time = event["origin_server_ts"].as_u64().unwrap();
    let path = format!("/_matrix/client/v1/rooms/{room}/timestamp_to_event?dir=f&ts={time}");
    assert_eq!(bob.read(&path).await["origin_server_ts"], time);
    let mutual = format!("/_matrix/client/v1/mutual_rooms?user_id={}", alice.id());
    assert_eq!(bob.read(&mutual).await, json!({ "joined": [room], "count": 1 }));
    for path in
        [format!("rooms/{room}/report"), format!("rooms/{room}/report/{soup}"), format!("users/{}/report", alice.id())]
    {
        bob.ok("POST", &path, Some(json!({ "reason": "cold" }))).await;
    }
}
