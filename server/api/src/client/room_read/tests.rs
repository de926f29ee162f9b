//! The endpoints over HTTP; what they answer to whom is tested with the Rooms database.

use hearth_rooms::membership::{Change, MemberProfile};
use http::Method;
use ruma::{OwnedRoomId, UserId, api::IncomingRequest, api::client::room::create_room};
use serde_json::{Value, json};

use crate::client::test_support::TestApi;

struct Server {
    api: TestApi,
    alice: String,
    bob: String,
    room: OwnedRoomId,
}

impl Server {
    /// Alice's public room, listed and called "Kitchen", with an alias.
    async fn new() -> Self {
        let api = TestApi::new();
        let (alice, bob) = (api.login("alice").await, api.login("bob").await);
        let body = json!({
            "preset": "public_chat", "name": "Kitchen", "visibility": "public", "room_alias_name": "kitchen",
        });
        let request = http::Request::post("https://example.org/").body(body.to_string().into_bytes()).unwrap();
        let request = create_room::v3::Request::try_from_http_request(request, &[] as &[&str]).unwrap();
        let creator = UserId::parse("@alice:example.org").unwrap();
        let room = api.state.rooms.create(&creator, &MemberProfile::default(), request).await.unwrap();
        Self { api, alice, bob, room }
    }

    async fn join(&self, user: &str) {
        let user = UserId::parse(format!("@{user}:example.org")).unwrap();
        let profile = MemberProfile::default();
        self.api.state.rooms.change_membership(&self.room, &user, &user, Change::Join, &profile, None).await.unwrap();
    }

    async fn send(&self, event_type: &str, content: Value) -> String {
        let draft = hearth_rooms::send::Draft {
            event_type: event_type.into(),
            state_key: None,
            content: serde_json::value::to_raw_value(&content).unwrap(),
            redacts: None,
            transaction: None,
            timestamp: None,
        };
        let sender = UserId::parse("@alice:example.org").unwrap();
        self.api.state.rooms.send(&self.room, &sender, draft).await.unwrap().to_string()
    }

    fn path(&self, rest: &str) -> String {
        format!("/_matrix/client/v3/rooms/{}/{rest}", self.room)
    }

    async fn get(&self, token: &str, rest: &str) -> Value {
        let answer = self.api.call(Method::GET, &self.path(rest), token, "").await;
        assert_eq!(answer.status, 200, "{rest}: {}", answer.text);
        answer.json()
    }

    async fn refused(&self, token: &str, rest: &str) -> (u16, String) {
        self.api.call(Method::GET, &self.path(rest), token, "").await.error()
    }
}

fn error(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn reads_events_and_pages() {
    let server = Server::new().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(server.send("m.room.message", json!({"msgtype": "m.text", "body": n.to_string()})).await);
    }
    let event = server.get(&server.alice, &format!("event/{}", ids[2])).await;
    assert_eq!(event["content"]["body"], "2");
    assert_eq!(event["room_id"], server.room.as_str());

    let first = server.get(&server.alice, "messages?dir=b&limit=3").await;
    let bodies = |page: &Value| -> Vec<String> {
        let events = page["chunk"].as_array().unwrap();
        events.iter().map(|event| event["content"]["body"].as_str().unwrap_or("-").to_owned()).collect()
    };
    assert_eq!(bodies(&first), ["4", "3", "2"]);
    let from = first["end"].as_str().unwrap();
    let second = server.get(&server.alice, &format!("messages?dir=b&limit=2&from={from}")).await;
    assert_eq!(bodies(&second), ["1", "0"]);
    assert_eq!(second["start"], from);

    let filter = "%7B%22types%22%3A%5B%22m.room.create%22%5D%2C%22lazy_load_members%22%3Atrue%7D";
    let created = server.get(&server.alice, &format!("messages?dir=f&filter={filter}")).await;
    assert_eq!(created["chunk"].as_array().unwrap().len(), 1);
    assert_eq!(created["end"], Value::Null);

    let context = server.get(&server.alice, &format!("context/{}?limit=2", ids[2])).await;
    assert_eq!(context["event"]["event_id"], ids[2]);
    assert_eq!(context["events_before"][0]["event_id"], ids[1]);
    assert_eq!(context["events_after"][0]["event_id"], ids[3]);
    assert!(context["state"].as_array().unwrap().iter().any(|event| event["type"] == "m.room.name"));

    for (rest, expected) in [
        ("messages", error(400, "M_MISSING_PARAM")),
        ("messages?dir=x", error(400, "M_INVALID_PARAM")),
        ("messages?dir=b&from=junk", error(400, "M_INVALID_PARAM")),
        ("messages?dir=b&filter=%7B", error(400, "M_INVALID_PARAM")),
        ("event/$nothing", error(404, "M_NOT_FOUND")),
        ("context/$nothing", error(404, "M_NOT_FOUND")),
    ] {
        assert_eq!(server.refused(&server.alice, rest).await, expected, "{rest}");
    }
    assert_eq!(server.refused(&server.bob, "messages?dir=b").await, error(403, "M_FORBIDDEN"));
    assert_eq!(server.refused(&server.bob, &format!("event/{}", ids[0])).await, error(404, "M_NOT_FOUND"));
    assert_eq!(server.refused("", "messages?dir=b").await, error(401, "M_MISSING_TOKEN"));
}

#[tokio::test]
async fn reads_state_and_members() {
    let server = Server::new().await;
    assert_eq!(server.get(&server.alice, "state/m.room.name").await, json!({"name": "Kitchen"}));
    assert_eq!(server.get(&server.alice, "state/m.room.name/").await, json!({"name": "Kitchen"}));
    let event = server.get(&server.alice, "state/m.room.name/?format=event").await;
    assert_eq!((&event["type"], &event["state_key"]), (&json!("m.room.name"), &json!("")));
    let state = server.get(&server.alice, "state").await;
    assert!(state.as_array().unwrap().iter().any(|event| event["type"] == "m.room.create"));
    assert_eq!(server.refused(&server.alice, "state/m.room.topic").await, error(404, "M_NOT_FOUND"));
    assert_eq!(server.refused(&server.bob, "state").await, error(403, "M_FORBIDDEN"));

    server.join("bob").await;
    let members = server.get(&server.bob, "members?membership=join").await;
    assert_eq!(members["chunk"].as_array().unwrap().len(), 2);
    assert_eq!(server.get(&server.bob, "members?not_membership=join").await["chunk"], json!([]));
    assert_eq!(server.refused(&server.bob, "members?at=junk").await, error(400, "M_INVALID_PARAM"));
    let joined = server.get(&server.bob, "joined_members").await;
    assert!(joined["joined"].as_object().unwrap().contains_key("@bob:example.org"));
}

#[tokio::test]
async fn reads_relations_and_threads() {
    let server = Server::new().await;
    let root = server.send("m.room.message", json!({"msgtype": "m.text", "body": "root"})).await;
    let reply = server
        .send("m.room.message", json!({"body": "reply", "m.relates_to": {"rel_type": "m.thread", "event_id": root}}))
        .await;
    let get = async |path: String| {
        let path = format!("/_matrix/client/v1/rooms/{}/{path}", server.room);
        let answer = server.api.call(Method::GET, &path, &server.alice, "").await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.json()
    };
    for path in ["", "/m.thread", "/m.thread/m.room.message"] {
        let page = get(format!("relations/{root}{path}")).await;
        assert_eq!(page["chunk"][0]["event_id"], reply, "{path}");
    }
    assert_eq!(get(format!("relations/{root}/m.annotation")).await["chunk"], json!([]));
    assert_eq!(get(format!("relations/{root}?recurse=true")).await["recursion_depth"], 3);
    let threads = get("threads?include=participated".to_owned()).await;
    assert_eq!(threads["chunk"][0]["event_id"], root);
    assert_eq!(threads["chunk"][0]["unsigned"]["m.relations"]["m.thread"]["count"], 1);
}

#[tokio::test]
async fn lists_public_rooms() {
    let server = Server::new().await;
    let path = "/_matrix/client/v3/publicRooms";
    // Without an account, too.
    let page = server.api.call(Method::GET, path, "", "").await.json();
    assert_eq!(page["chunk"][0]["name"], "Kitchen");
    assert_eq!(page["chunk"][0]["canonical_alias"], "#kitchen:example.org");
    assert_eq!(page["total_room_count_estimate"], 1);
    let search = async |term: &str| {
        let body = json!({"filter": {"generic_search_term": term}}).to_string();
        server.api.call(Method::POST, path, &server.bob, body).await.json()["chunk"].as_array().unwrap().len()
    };
    assert_eq!((search("kitch").await, search("garden").await), (1, 0));
    let body = json!({"server": "elsewhere.example"}).to_string();
    let elsewhere = format!("{path}?server=elsewhere.example");
    assert_eq!(server.api.call(Method::POST, &elsewhere, &server.bob, body).await.error(), error(404, "M_NOT_FOUND"));
    let junk = format!("{path}?since=junk");
    assert_eq!(server.api.call(Method::GET, &junk, "", "").await.error(), error(400, "M_INVALID_PARAM"));
}

#[tokio::test]
async fn lists_notifications() {
    let server = Server::new().await;
    let path = "/_matrix/client/v3/notifications";
    let empty = server.api.call(Method::GET, path, &server.bob, "").await.json();
    assert_eq!(empty["notifications"], json!([]));
    assert_eq!(
        server.api.call(Method::GET, &format!("{path}?from=junk"), &server.bob, "").await.error(),
        error(400, "M_INVALID_PARAM")
    );
}

#[tokio::test]
async fn summaries_and_trees() {
    let server = Server::new().await;
    let get = async |path: &str, token: &str| server.api.call(Method::GET, path, token, "").await;
    let summary = format!("/_matrix/client/v1/room_summary/{}?via=example.com&via=example.net", server.room);
    let by_alias = "/_matrix/client/v1/room_summary/%23kitchen:example.org";
    for (path, token, membership) in [
        (summary.as_str(), server.alice.as_str(), json!("join")),
        (by_alias, server.bob.as_str(), json!("leave")),
        (by_alias, "", Value::Null),
    ] {
        let found = get(path, token).await.json();
        // Without a join rule a room is public.
        assert_eq!((&found["name"], found.get("join_rule")), (&json!("Kitchen"), None), "{path}");
        assert_eq!(found["membership"], membership, "{path}");
        assert_eq!((&found["room_version"], &found["num_joined_members"]), (&json!("12"), &json!(1)), "{path}");
    }
    for path in ["!no:example.org", "%23no:example.org", "%23no:example.com"] {
        let path = format!("/_matrix/client/v1/room_summary/{path}");
        assert_eq!(get(&path, &server.alice).await.error(), error(404, "M_NOT_FOUND"), "{path}");
    }

    let tree = format!("/_matrix/client/v1/rooms/{}/hierarchy", server.room);
    let found = get(&format!("{tree}?limit=5&max_depth=3&suggested_only=true"), &server.bob).await.json();
    assert_eq!(found["rooms"][0]["room_id"], server.room.as_str());
    assert_eq!(found["rooms"][0]["children_state"], json!([]));
    for (path, token, expected) in [
        (tree.as_str(), "", error(401, "M_MISSING_TOKEN")),
        ("/_matrix/client/v1/rooms/!no:example.org/hierarchy", server.alice.as_str(), error(403, "M_FORBIDDEN")),
        (&format!("{tree}?from=junk"), &server.alice, error(400, "M_INVALID_PARAM")),
        (&format!("{tree}?limit=0"), &server.alice, error(400, "M_INVALID_PARAM")),
        (&format!("{tree}?limit=x"), &server.alice, error(400, "M_INVALID_PARAM")),
    ] {
        assert_eq!(get(path, token).await.error(), expected, "{path}");
    }
}

#[tokio::test]
async fn events_by_time_and_mutual_rooms() {
    let server = Server::new().await;
    let event = server.send("m.room.message", json!({ "body": "x" })).await;
    let get = async |path: &str, token: &str| {
        server.api.call(Method::GET, &format!("/_matrix/client/v1/{path}"), token, "").await
    };
    let path = format!("rooms/{}/timestamp_to_event", server.room);
    let found = get(&format!("{path}?ts=9000000000000&dir=b"), &server.alice).await.json();
    assert_eq!(found["event_id"], event);
    assert!(found["origin_server_ts"].is_u64());
    for (rest, token, expected) in [
        ("?ts=9000000000000&dir=f", &server.alice, error(404, "M_NOT_FOUND")),
        ("?ts=x&dir=f", &server.alice, error(400, "M_INVALID_PARAM")),
        ("?ts=1&dir=x", &server.alice, error(400, "M_INVALID_PARAM")),
        ("?ts=1", &server.alice, error(400, "M_MISSING_PARAM")),
        ("?ts=1&dir=f", &server.bob, error(403, "M_FORBIDDEN")),
        ("?ts=1&dir=f", &String::new(), error(401, "M_MISSING_TOKEN")),
    ] {
        assert_eq!(get(&format!("{path}{rest}"), token).await.error(), expected, "{rest}");
    }

    let of = |user: &str| format!("mutual_rooms?user_id={user}");
    let none = json!({ "joined": [], "count": 0 });
    assert_eq!(get(&of("@bob:example.org"), &server.alice).await.json(), none);
    server.join("bob").await;
    let one = json!({ "joined": [server.room], "count": 1 });
    assert_eq!(get(&of("@bob:example.org"), &server.alice).await.json(), one);
    assert_eq!(get(&of("@alice:example.org"), &server.bob).await.json(), one);
    assert_eq!(get(&of("@nobody:example.com"), &server.bob).await.json(), none);
    for (rest, token, expected) in [
        ("mutual_rooms", &server.alice, error(400, "M_MISSING_PARAM")),
        ("mutual_rooms?user_id=bob", &server.alice, error(400, "M_INVALID_PARAM")),
        ("mutual_rooms?user_id=@alice:example.org", &server.alice, error(400, "M_INVALID_PARAM")),
        ("mutual_rooms?user_id=@bob:example.org&from=junk", &server.alice, error(400, "M_INVALID_PARAM")),
        ("mutual_rooms?user_id=@bob:example.org", &String::new(), error(401, "M_MISSING_TOKEN")),
    ] {
        assert_eq!(get(rest, token).await.error(), expected, "{rest}");
    }
}

#[tokio::test]
async fn ignored_users_are_not_seen() {
    let server = Server::new().await;
    server.join("bob").await;
    let bob = UserId::parse("@bob:example.org").unwrap();
    let root = server.send("m.room.message", json!({ "body": "root" })).await;
    let relates = |kind: &str| json!({ "rel_type": kind, "event_id": root });
    let draft = |event_type: &str, state_key: Option<&str>, content: Value| hearth_rooms::send::Draft {
        event_type: event_type.into(),
        state_key: state_key.map(str::to_owned),
        content: serde_json::value::to_raw_value(&content).unwrap(),
        redacts: None,
        transaction: None,
        timestamp: None,
    };
    let by_bob = [
        draft("m.room.message", None, json!({ "body": "noise" })),
        draft("m.room.message", None, json!({ "body": "in thread", "m.relates_to": relates("m.thread") })),
        draft("x.reference", None, json!({ "m.relates_to": relates("m.reference") })),
        draft("m.room.member", Some("@bob:example.org"), json!({ "membership": "join", "displayname": "Loud" })),
    ];
    for draft in by_bob {
        server.api.state.rooms.send(&server.room, &bob, draft).await.unwrap();
    }
    server.send("m.room.message", json!({ "body": "mine", "m.relates_to": relates("m.thread") })).await;
    let read = async || {
        let page = server.get(&server.alice, "messages?dir=b&limit=100").await;
        let senders = page["chunk"].as_array().unwrap().iter();
        let heard =
            senders.clone().filter(|event| event["sender"] == "@bob:example.org" && event.get("state_key").is_none());
        let state = senders.filter(|event| event["sender"] == "@bob:example.org" && event.get("state_key").is_some());
        let context = server.get(&server.alice, &format!("context/{root}?limit=100")).await;
        let after = context["events_after"].as_array().unwrap().len();
        let v1 = format!("/_matrix/client/v1/rooms/{}/relations/{root}", server.room);
        let related = server.api.call(Method::GET, &v1, &server.alice, "").await.json();
        let event = server.get(&server.alice, &format!("event/{root}")).await;
        let bundled = &event["unsigned"]["m.relations"];
        let references = bundled["m.reference"]["chunk"].as_array().map_or(0, Vec::len);
        let count = bundled["m.thread"]["count"].as_u64().unwrap();
        (heard.count(), state.count(), after, related["chunk"].as_array().unwrap().len(), references, count)
    };
    assert_eq!(read().await, (3, 2, 5, 3, 1, 2));
    let list = json!({ "ignored_users": { "@bob:example.org": {} } });
    let path = "/_matrix/client/v3/user/@alice:example.org/account_data/m.ignored_user_list";
    assert_eq!(server.api.call(Method::PUT, path, &server.alice, list.to_string()).await.status, 200);
    assert_eq!(read().await, (0, 2, 2, 1, 0, 1));
}

#[tokio::test]
async fn searches() {
    let server = Server::new().await;
    let event = server.send("m.room.message", json!({ "body": "Martians and men" })).await;
    let path = "/_matrix/client/v3/search";
    let search = async |path: &str, token: &str, body: &Value| {
        server.api.call(Method::POST, path, token, body.to_string()).await
    };
    let criteria = |room_events: Value| json!({ "search_categories": { "room_events": room_events } });
    let found = search(path, &server.alice, &criteria(json!({ "search_term": "men" }))).await.json();
    let found = &found["search_categories"]["room_events"];
    assert_eq!((&found["count"], &found["highlights"]), (&json!(1), &json!(["men"])));
    assert_eq!(found["results"][0]["result"]["event_id"], event);
    assert_eq!(found["results"][0]["result"]["room_id"], server.room.as_str());
    let nothing = search(path, &server.bob, &criteria(json!({ "search_term": "men" }))).await.json();
    assert_eq!(nothing["search_categories"]["room_events"]["results"], json!([]));
    let none = search(path, &server.bob, &json!({ "search_categories": {} })).await.json();
    assert_eq!(none, json!({ "search_categories": {} }));
    let good = criteria(json!({ "search_term": "x" }));
    for (path, token, body, expected) in [
        (path, &server.alice, json!({}), error(400, "M_BAD_JSON")),
        (path, &server.alice, criteria(json!({})), error(400, "M_BAD_JSON")),
        (path, &server.alice, criteria(json!({ "search_term": "x", "keys": ["x"] })), error(400, "M_BAD_JSON")),
        (path, &server.alice, criteria(json!({ "search_term": "x", "order_by": "x" })), error(400, "M_BAD_JSON")),
        ("/_matrix/client/v3/search?next_batch=junk", &server.alice, good.clone(), error(400, "M_INVALID_PARAM")),
        (path, &String::new(), good, error(401, "M_MISSING_TOKEN")),
    ] {
        assert_eq!(search(path, token, &body).await.error(), expected, "{body}");
    }
}
