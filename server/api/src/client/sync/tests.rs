//! The endpoints over HTTP: paths, bodies, codes. What a response holds is tested with the engine.

use http::Method;
use serde_json::{Value, json};

use crate::client::test_support::{Answer, TestApi};

const V3: &str = "/_matrix/client/v3";

/// Alice and Bob, and a room that Alice has made.
struct Server {
    api: TestApi,
    alice: String,
    bob: String,
    room: String,
}

impl Server {
    async fn new() -> Self {
        let api = TestApi::new();
        let (alice, bob) = (api.login("alice").await, api.login("bob").await);
        let mut server = Self { api, alice, bob, room: String::new() };
        let rules = json!([{ "type": "m.room.join_rules", "state_key": "", "content": { "join_rule": "knock" } }]);
        let room = server.call(Method::POST, "/createRoom", &server.alice, json!({ "initial_state": rules })).await;
        server.room = room.json()["room_id"].as_str().unwrap().to_owned();
        server
    }

    async fn call(&self, method: Method, path: &str, token: &str, body: Value) -> Answer {
        self.api.call(method, &format!("{V3}{path}"), token, body.to_string()).await
    }

    async fn get(&self, path: &str, token: &str) -> Answer {
        self.api.call(Method::GET, &format!("{V3}{path}"), token, "").await
    }

    async fn say(&self) -> String {
        let path = format!("/rooms/{}/send/m.room.message/1", self.room);
        let answer = self.call(Method::PUT, &path, &self.alice, json!({ "msgtype": "m.text", "body": "x" })).await;
        answer.json()["event_id"].as_str().unwrap().to_owned()
    }
}

fn error(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn sync_answers_and_refuses() {
    let server = Server::new().await;
    let first = server.get("/sync", &server.alice).await;
    assert_eq!(first.status, 200);
    let first = first.json();
    assert!(first["rooms"]["join"][&server.room].is_object());
    let since = first["next_batch"].as_str().unwrap();
    let next = server.get(&format!("/sync?since={since}&timeout=1&set_presence=offline"), &server.alice).await;
    assert!(next.json()["rooms"].is_null(), "{}", next.text);
    for query in [
        "since=nonsense",
        "since=",
        "since=s99999999999_0_0",
        "timeout=soon",
        "full_state=perhaps",
        "filter=%7B",
        "filter=%7B%22room%22:1%7D",
        "filter=17",
        "set_presence=busy",
    ] {
        let refused = server.get(&format!("/sync?{query}"), &server.alice).await;
        assert_eq!(refused.error(), error(400, "M_INVALID_PARAM"), "{query}");
    }
    assert_eq!(server.get("/sync", "").await.error(), error(401, "M_MISSING_TOKEN"));
    assert_eq!(server.call(Method::POST, "/sync", &server.alice, json!({})).await.status, 405);
    let filter = "%7B%22room%22:%7B%22rooms%22:%5B%5D%7D%7D";
    let filtered = server.get(&format!("/sync?filter={filter}"), &server.alice).await;
    assert!(filtered.json()["rooms"].is_null());
}

#[tokio::test]
async fn knocks_alone_are_sent_too() {
    let server = Server::new().await;
    let first = server.get("/sync?set_presence=offline", &server.bob).await.json();
    let knocked = server.call(Method::POST, &format!("/knock/{}", server.room), &server.bob, json!({})).await;
    assert_eq!(knocked.status, 200, "{}", knocked.text);
    let since = first["next_batch"].as_str().unwrap();
    let next = server.get(&format!("/sync?since={since}&set_presence=offline"), &server.bob).await;
    assert!(next.json()["rooms"]["knock"][&server.room]["knock_state"]["events"].is_array(), "{}", next.text);
}

#[tokio::test]
async fn typing_is_ones_own() {
    let server = Server::new().await;
    let path = format!("/rooms/{}/typing/@alice:example.org", server.room);
    let typing = json!({ "typing": true, "timeout": 30_000 });
    assert_eq!(server.call(Method::PUT, &path, &server.alice, typing.clone()).await.text, "{}");
    let sync = server.get("/sync", &server.alice).await.json();
    let events = &sync["rooms"]["join"][&server.room]["ephemeral"]["events"];
    assert_eq!(events, &json!([{ "type": "m.typing", "content": { "user_ids": ["@alice:example.org"] } }]));
    assert_eq!(server.call(Method::PUT, &path, &server.bob, typing.clone()).await.error(), error(403, "M_FORBIDDEN"));
    let bobs = format!("/rooms/{}/typing/@bob:example.org", server.room);
    assert_eq!(server.call(Method::PUT, &bobs, &server.bob, typing).await.error(), error(403, "M_FORBIDDEN"));
    assert_eq!(server.call(Method::PUT, &path, &server.alice, json!({})).await.error(), error(400, "M_BAD_JSON"));
    assert_eq!(server.call(Method::PUT, &path, &server.alice, json!({ "typing": false })).await.status, 200);
}

#[tokio::test]
async fn receipts_and_markers() {
    let server = Server::new().await;
    let event = server.say().await;
    let path = |kind: &str, event: &str| format!("/rooms/{}/receipt/{kind}/{event}", server.room);
    for (kind, event, body, expected) in [
        ("m.read", &*event, json!({}), None),
        ("m.read", &event, json!({ "thread_id": "main" }), None),
        ("m.read.private", &event, json!({}), None),
        ("m.fully_read", &event, json!({}), None),
        ("m.fully_read", &event, json!({ "thread_id": "main" }), Some(error(400, "M_INVALID_PARAM"))),
        ("m.read", &event, json!({ "thread_id": "" }), Some(error(400, "M_INVALID_PARAM"))),
        ("m.read", &event, json!({ "thread_id": "$other" }), Some(error(400, "M_INVALID_PARAM"))),
        ("m.read", &event, json!({ "thread_id": 1 }), Some(error(400, "M_BAD_JSON"))),
        ("m.unknown", &event, json!({}), Some(error(400, "M_INVALID_PARAM"))),
        ("m.read", "$unknown", json!({}), Some(error(404, "M_NOT_FOUND"))),
    ] {
        let answer = server.call(Method::POST, &path(kind, event), &server.alice, body.clone()).await;
        match expected {
            None => assert_eq!(answer.text, "{}", "{kind} {body}"),
            Some(expected) => assert_eq!(answer.error(), expected, "{kind} {event} {body}"),
        }
    }
    let refused = server.call(Method::POST, &path("m.read", &event), &server.bob, json!({})).await;
    assert_eq!(refused.error(), error(403, "M_FORBIDDEN"));

    let markers = json!({ "m.fully_read": event, "m.read": event, "m.read.private": event });
    let path = format!("/rooms/{}/read_markers", server.room);
    assert_eq!(server.call(Method::POST, &path, &server.alice, markers).await.text, "{}");
    assert_eq!(server.call(Method::POST, &path, &server.alice, json!({})).await.text, "{}");
    let data = format!("/user/@alice:example.org/rooms/{}/account_data/m.fully_read", server.room);
    assert_eq!(server.get(&data, &server.alice).await.json(), json!({ "event_id": event }));
}

#[tokio::test]
async fn presence_is_set_and_asked_for() {
    let server = Server::new().await;
    let path = "/presence/@alice:example.org/status";
    let offline = server.get(path, &server.alice).await;
    assert_eq!(offline.json(), json!({ "presence": "offline" }));
    let online = json!({ "presence": "online", "status_msg": "here" });
    assert_eq!(server.call(Method::PUT, path, &server.alice, online.clone()).await.text, "{}");
    let answer = server.get(path, &server.alice).await.json();
    assert_eq!(answer["presence"], "online");
    assert_eq!(answer["status_msg"], "here");
    assert_eq!(answer["currently_active"], true);
    assert!(answer["last_active_ago"].is_u64());

    assert_eq!(server.call(Method::PUT, path, &server.bob, online).await.error(), error(403, "M_FORBIDDEN"));
    assert_eq!(server.get(path, &server.bob).await.error(), error(403, "M_FORBIDDEN"), "they share no room");
    let busy = json!({ "presence": "busy" });
    assert_eq!(server.call(Method::PUT, path, &server.alice, busy).await.error(), error(400, "M_INVALID_PARAM"));
    assert_eq!(server.call(Method::PUT, path, &server.alice, json!({})).await.error(), error(400, "M_BAD_JSON"));
}
