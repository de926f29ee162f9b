//! The endpoints over HTTP: paths, bodies, codes. What the rules allow is tested with the Rooms database.

use http::Method;
use serde_json::{Value, json};

use crate::client::test_support::{Answer, TestApi};

const V3: &str = "/_matrix/client/v3";

/// Alice and Bob, and how they call.
struct Server {
    api: TestApi,
    alice: String,
    bob: String,
}

impl Server {
    async fn new() -> Self {
        let api = TestApi::new();
        let (alice, bob) = (api.login("alice").await, api.login("bob").await);
        Self { api, alice, bob }
    }

    async fn call(&self, method: Method, path: &str, token: &str, body: &Value) -> Answer {
        self.api.call(method, &format!("{V3}{path}"), token, body.to_string()).await
    }

    async fn ok(&self, method: Method, path: &str, token: &str, body: Value) -> Value {
        let answer = self.call(method, path, token, &body).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.json()
    }

    async fn post(&self, path: &str, token: &str, body: Value) -> Value {
        self.ok(Method::POST, path, token, body).await
    }

    async fn put(&self, path: &str, token: &str, body: Value) -> Value {
        self.ok(Method::PUT, path, token, body).await
    }

    async fn create(&self, body: Value) -> String {
        self.post("/createRoom", &self.alice, body).await["room_id"].as_str().unwrap().to_owned()
    }
}

fn error(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn a_room_from_its_beginning_to_its_end() {
    let server = Server::new().await;
    let (alice, bob) = (&server.alice, &server.bob);
    let room = server.create(json!({ "name": "Pub", "room_alias_name": "pub", "visibility": "public" })).await;
    let rooms = format!("/rooms/{room}");
    assert_eq!(server.post("/join/%23pub:example.org", bob, json!({})).await["room_id"], room.as_str());
    assert_eq!(server.post(&format!("/join/{room}"), bob, json!({})).await["room_id"], room.as_str());
    assert_eq!(server.post(&format!("{rooms}/join"), bob, json!({})).await["room_id"], room.as_str());
    let joined = server.ok(Method::GET, "/joined_rooms", bob, json!({})).await;
    assert_eq!(joined["joined_rooms"], json!([room]));

    // The same transaction id on the same path is the same request.
    let send = format!("{rooms}/send/m.room.message/t1");
    let message = server.put(&send, bob, json!({ "msgtype": "m.text", "body": "hello" })).await;
    assert_eq!(server.put(&send, bob, json!({ "msgtype": "m.text", "body": "hello" })).await, message);
    let message = message["event_id"].as_str().unwrap();
    let redact = format!("{rooms}/redact/{message}/t1");
    let redaction = server.put(&redact, bob, json!({ "reason": "oops" })).await;
    assert_ne!(redaction["event_id"], message);
    assert_eq!(server.put(&redact, bob, json!({})).await, redaction);

    // State without key, with an empty key, with a key.
    let topic = json!({ "topic": "beer" });
    let first = server.put(&format!("{rooms}/state/m.room.topic"), alice, topic.clone()).await;
    assert_eq!(server.put(&format!("{rooms}/state/m.room.topic/"), alice, topic).await, first);
    server.put(&format!("{rooms}/state/x.key/a%2Fb"), alice, json!({})).await;
    let profile = json!({ "membership": "join", "displayname": "Robert" });
    server.put(&format!("{rooms}/state/m.room.member/@bob:example.org"), bob, profile).await;

    for step in ["kick", "ban", "unban", "invite"] {
        let body = json!({ "user_id": "@bob:example.org", "reason": "r" });
        server.post(&format!("{rooms}/{step}"), alice, body).await;
    }
    server.post(&format!("{rooms}/leave"), bob, json!({ "reason": "no" })).await;
    server.post(&format!("{rooms}/forget"), bob, json!({})).await;
    server.put(&format!("{rooms}/state/m.room.join_rules"), alice, json!({ "join_rule": "knock" })).await;
    assert_eq!(server.post("/knock/%23pub:example.org", bob, json!({})).await["room_id"], room.as_str());
    server.post(&format!("{rooms}/leave"), bob, json!({})).await;
}

#[tokio::test]
async fn aliases_and_visibility() {
    let server = Server::new().await;
    let (alice, bob) = (&server.alice, &server.bob);
    let room = server.create(json!({ "preset": "public_chat" })).await;
    let alias = "/directory/room/%23one:example.org";
    server.put(alias, alice, json!({ "room_id": room })).await;
    let found = server.ok(Method::GET, alias, "", json!({})).await;
    assert_eq!(found, json!({ "room_id": room, "servers": ["example.org"] }));
    let aliases = format!("/rooms/{room}/aliases");
    assert_eq!(server.ok(Method::GET, &aliases, alice, json!({})).await["aliases"], json!(["#one:example.org"]));
    let list = format!("/directory/list/room/{room}");
    for visibility in ["public", "private"] {
        server.put(&list, alice, json!({ "visibility": visibility })).await;
        assert_eq!(server.ok(Method::GET, &list, "", json!({})).await["visibility"], visibility);
    }
    let cases = [
        (Method::PUT, alias, alice, json!({ "room_id": room }), error(409, "M_UNKNOWN")),
        (Method::GET, &aliases, bob, json!({}), error(403, "M_FORBIDDEN")),
        (Method::DELETE, alias, bob, json!({}), error(403, "M_FORBIDDEN")),
        (Method::PUT, &list, bob, json!({ "visibility": "public" }), error(403, "M_FORBIDDEN")),
        (Method::PUT, "/directory/room/one", alice, json!({ "room_id": room }), error(400, "M_INVALID_PARAM")),
        (Method::GET, "/directory/room/%23two:example.org", alice, json!({}), error(404, "M_NOT_FOUND")),
        (Method::POST, "/join/%23two:example.org", alice, json!({}), error(404, "M_NOT_FOUND")),
        (Method::GET, "/directory/list/room/!no:example.org", alice, json!({}), error(404, "M_NOT_FOUND")),
    ];
    for (method, path, token, body, expected) in cases {
        let answer = server.call(method.clone(), path, token, &body).await;
        assert_eq!(answer.error(), expected, "{method} {path}: {}", answer.text);
    }
    server.ok(Method::DELETE, alias, alice, json!({})).await;
}

#[tokio::test]
async fn refusals() {
    let server = Server::new().await;
    let (alice, bob) = (&server.alice, &server.bob);
    let room = server.create(json!({ "room_alias_name": "taken" })).await;
    let at = |rest: &str| format!("/rooms/{room}/{rest}");
    let user = |name: &str| json!({ "user_id": format!("@{name}:example.org") });
    let (nothing, nobody) = (json!({}), String::new());
    let third_party =
        json!({ "medium": "email", "address": "a@b.c", "id_server": "id.example", "id_access_token": "x" });
    let (post, put) = (Method::POST, Method::PUT);
    let cases = [
        (&post, "/createRoom".to_owned(), alice, json!({ "room_alias_name": "taken" }), 400, "M_ROOM_IN_USE"),
        (&post, "/createRoom".to_owned(), alice, json!({ "room_version": "x" }), 400, "M_UNSUPPORTED_ROOM_VERSION"),
        (&post, "/createRoom".to_owned(), alice, json!({ "invite": ["@nobody:example.org"] }), 404, "M_NOT_FOUND"),
        (&post, "/createRoom".to_owned(), alice, json!({ "invite": "bob" }), 400, "M_BAD_JSON"),
        (
            &post,
            "/createRoom".to_owned(),
            alice,
            json!({ "room_version": "11", "power_level_content_override": { "users": {} } }),
            400,
            "M_INVALID_ROOM_STATE",
        ),
        (&put, at("send/m.room.message/1"), bob, nothing.clone(), 403, "M_FORBIDDEN"),
        (&put, at("send/m.room.message/1"), alice, json!({ "a": 0.5 }), 400, "M_BAD_JSON"),
        (&put, at("send/m.room.message/1"), alice, json!({ "a": "x".repeat(66_000) }), 413, "M_TOO_LARGE"),
        (&put, at("send/m.room.message/1"), alice, json!([]), 400, "M_BAD_JSON"),
        (&put, at("state/m.room.topic"), bob, nothing.clone(), 403, "M_FORBIDDEN"),
        (&put, at("state/m.room.canonical_alias"), alice, json!({ "alias": "#no:example.org" }), 400, "M_BAD_ALIAS"),
        (&put, at("state/m.room.canonical_alias"), alice, json!({ "alias": "no" }), 400, "M_INVALID_PARAM"),
        (&put, at("redact/$nothing/1"), alice, nothing.clone(), 404, "M_NOT_FOUND"),
        (&post, at("join"), bob, nothing.clone(), 403, "M_FORBIDDEN"),
        (&post, "/rooms/!no:example.org/join".to_owned(), bob, nothing.clone(), 404, "M_NOT_FOUND"),
        (&post, "/knock/!no:example.org".to_owned(), bob, nothing.clone(), 404, "M_NOT_FOUND"),
        (&post, "/join/nonsense".to_owned(), bob, nothing.clone(), 400, "M_INVALID_PARAM"),
        (&post, at("leave"), bob, nothing.clone(), 403, "M_FORBIDDEN"),
        (&post, at("forget"), alice, nothing.clone(), 400, "M_UNKNOWN"),
        (&post, at("invite"), alice, user("nobody"), 404, "M_NOT_FOUND"),
        (&post, at("invite"), alice, user("alice"), 403, "M_FORBIDDEN"),
        (&post, at("invite"), bob, user("bob"), 403, "M_FORBIDDEN"),
        (&post, at("invite"), alice, third_party, 400, "M_THREEPID_NOT_FOUND"),
        (&post, at("kick"), alice, user("bob"), 403, "M_FORBIDDEN"),
        (&post, at("ban"), bob, user("alice"), 403, "M_FORBIDDEN"),
        (&post, at("unban"), alice, user("bob"), 400, "M_BAD_STATE"),
        (&post, at("ban"), alice, nothing.clone(), 400, "M_BAD_JSON"),
        (&post, at("ban"), &nobody, user("bob"), 401, "M_MISSING_TOKEN"),
    ];
    for (method, path, token, body, status, code) in cases {
        let answer = server.call(method.clone(), &path, token, &body).await;
        let body: String = body.to_string().chars().take(80).collect();
        assert_eq!(answer.error(), error(status, code), "{method} {path} {body}: {}", answer.text);
    }
}

#[tokio::test]
async fn upgrades() {
    let server = Server::new().await;
    let (alice, bob) = (&server.alice, &server.bob);
    let room = server.create(json!({ "preset": "public_chat", "room_version": "9", "name": "Pub" })).await;
    server.post(&format!("/join/{room}"), bob, json!({})).await;
    let tag = |room: &str| format!("/user/@bob:example.org/rooms/{room}/tags");
    server.put(&format!("{}/u.pub", tag(&room)), bob, json!({})).await;
    let path = format!("/rooms/{room}/upgrade");
    let body = json!({ "new_version": "12", "additional_creators": ["@bob:example.org"] });
    for (token, body, expected) in [
        (bob.as_str(), body.clone(), error(403, "M_FORBIDDEN")),
        ("", body.clone(), error(401, "M_MISSING_TOKEN")),
        (alice, json!({ "new_version": "x" }), error(400, "M_UNSUPPORTED_ROOM_VERSION")),
        (alice, json!({}), error(400, "M_BAD_JSON")),
    ] {
        assert_eq!(server.call(Method::POST, &path, token, &body).await.error(), expected, "{body}");
    }
    let new = server.post(&path, alice, body).await["replacement_room"].as_str().unwrap().to_owned();
    let create = server.ok(Method::GET, &format!("/rooms/{new}/state/m.room.create"), alice, json!({})).await;
    assert_eq!(create["predecessor"]["room_id"], room);
    assert_eq!(create["additional_creators"], json!(["@bob:example.org"]));
    // Who joins takes their settings along.
    assert_eq!(server.ok(Method::GET, &tag(&new), bob, json!({})).await["tags"], json!({}));
    server.post(&format!("/rooms/{new}/join"), bob, json!({})).await;
    assert_eq!(server.ok(Method::GET, &tag(&new), bob, json!({})).await["tags"], json!({ "u.pub": {} }));
}

#[tokio::test]
async fn reports() {
    let server = Server::new().await;
    let (alice, bob) = (&server.alice, &server.bob);
    let room = server.create(json!({ "preset": "public_chat" })).await;
    server.post(&format!("/join/{room}"), bob, json!({})).await;
    let message = server.put(&format!("/rooms/{room}/send/m.room.message/1"), alice, json!({ "body": "x" })).await;
    let message = message["event_id"].as_str().unwrap();
    let why = json!({ "reason": "bad" });
    for path in [format!("/rooms/{room}/report/{message}"), format!("/rooms/{room}/report")] {
        assert_eq!(server.post(&path, bob, why.clone()).await, json!({}));
    }
    server.post("/users/@alice:example.org/report", bob, why.clone()).await;
    server.post(&format!("/rooms/{room}/report/{message}"), bob, json!({ "score": -100 })).await;
    let kept = server.api.state.rooms.reports(None, 10).await.unwrap();
    assert_eq!(kept.len(), 4);
    assert_eq!((kept[3].reason.as_str(), kept[3].event_id.as_ref().unwrap().as_str()), ("bad", message));
    assert_eq!((kept[0].reason.as_str(), kept[1].user_id.as_ref().unwrap().as_str()), ("", "@alice:example.org"));
    server.post(&format!("/rooms/{room}/leave"), bob, json!({})).await;
    for (path, token, body, expected) in [
        (format!("/rooms/{room}/report/{message}"), bob, &why, error(404, "M_NOT_FOUND")),
        (format!("/rooms/{room}/report/$no"), alice, &why, error(404, "M_NOT_FOUND")),
        ("/rooms/!no:example.org/report".to_owned(), alice, &why, error(404, "M_NOT_FOUND")),
        ("/users/@no:example.org/report".to_owned(), alice, &why, error(404, "M_NOT_FOUND")),
        ("/users/@no:example.com/report".to_owned(), alice, &why, error(404, "M_NOT_FOUND")),
        ("/users/@alice:example.org/report".to_owned(), bob, &json!({}), error(400, "M_BAD_JSON")),
        (format!("/rooms/{room}/report"), &String::new(), &why, error(401, "M_MISSING_TOKEN")),
    ] {
        assert_eq!(server.call(Method::POST, &path, token, body).await.error(), expected, "{path}");
    }
}
