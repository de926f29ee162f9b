//! A client that knows nothing of the server: it sends what a test says, and looks at what comes back.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
};

use hearth_tests::{Account, Options, TestServer};
use serde_json::{Value, json};

/// What a path without a leading slash is below.
const API: &str = "/_matrix/client/v3/";

/// Keeps transaction ids apart.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A server with open registration and no rate limits.
pub(crate) async fn server() -> TestServer {
    TestServer::start(Options::default()).await
}

/// A new transaction id.
pub(crate) fn txn() -> String {
    format!("txn-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Percent-encodes everything that is not plain in a path.
pub(crate) fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(byte.into()),
            _ => write!(encoded, "%{byte:02X}").unwrap(),
        }
        encoded
    })
}

/// A path of the client API; one that begins with a slash stays as it is.
pub(crate) fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("{API}{path}") }
}

/// An account with its device at a server.
pub(crate) struct User<'a> {
    pub(crate) server: &'a TestServer,
    pub(crate) account: Account,
}

impl<'a> User<'a> {
    pub(crate) async fn new(server: &'a TestServer, name: &str) -> Self {
        Self { server, account: server.register(name).await }
    }

    /// The same account on a new device.
    pub(crate) async fn second_device(&self) -> Self {
        let name = self.id().trim_start_matches('@').split(':').next().unwrap();
        let login = json!({
            "type": "m.login.password",
            "identifier": { "type": "m.id.user", "user": name },
            "password": format!("{name}-password"),
        });
        let (status, answer) = self.server.call("POST", &absolute("login"), None, Some(login)).await;
        assert_eq!(status, 200, "{answer}");
        let text = |key: &str| answer[key].as_str().unwrap().to_owned();
        let account =
            Account { user_id: self.id().to_owned(), device_id: text("device_id"), token: text("access_token") };
        Self { server: self.server, account }
    }

    pub(crate) fn id(&self) -> &str {
        &self.account.user_id
    }

    pub(crate) fn token(&self) -> &str {
        &self.account.token
    }

    /// Status and body.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        self.server.call(method, &absolute(path), Some(self.token()), body).await
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.call("GET", path, None).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> (u16, Value) {
        self.call("PUT", path, Some(body)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call("POST", path, Some(body)).await
    }

    /// The body of what must be 200.
    pub(crate) async fn ok(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let (status, answer) = self.call(method, path, body).await;
        assert_eq!(status, 200, "{} {method} {path}: {answer}", self.id());
        answer
    }

    pub(crate) async fn read(&self, path: &str) -> Value {
        self.ok("GET", path, None).await
    }

    /// Expects this status and code.
    pub(crate) async fn refused(&self, method: &str, path: &str, body: Option<Value>, status: u16, code: &str) {
        let shown = body.as_ref().map(ToString::to_string).unwrap_or_default();
        let (got, answer) = self.call(method, path, body).await;
        assert_eq!((got, answer["errcode"].as_str()), (status, Some(code)), "{method} {path} {shown:.300}: {answer}");
    }

    pub(crate) async fn create(&self, body: Value) -> String {
        let answer = self.ok("POST", "createRoom", Some(body)).await;
        answer["room_id"].as_str().unwrap().to_owned()
    }

    /// Sends an event, returns its id.
    pub(crate) async fn send(&self, room: &str, event_type: &str, content: Value) -> String {
        let path = format!("rooms/{room}/send/{event_type}/{}", txn());
        self.ok("PUT", &path, Some(content)).await["event_id"].as_str().unwrap().to_owned()
    }

    /// Sends a text message, returns its id.
    pub(crate) async fn say(&self, room: &str, text: &str) -> String {
        self.send(room, "m.room.message", json!({ "msgtype": "m.text", "body": text })).await
    }

    /// Sets state, returns the event's id.
    pub(crate) async fn set(&self, room: &str, event_type: &str, state_key: &str, content: Value) -> String {
        let path = format!("rooms/{room}/state/{event_type}/{}", encode(state_key));
        self.ok("PUT", &path, Some(content)).await["event_id"].as_str().unwrap().to_owned()
    }

    /// `join`, `leave`, `knock`, `forget`: what users do themselves.
    pub(crate) async fn own(&self, room: &str, action: &str) {
        let path = if action == "knock" { format!("knock/{room}") } else { format!("rooms/{room}/{action}") };
        self.ok("POST", &path, Some(json!({}))).await;
    }

    /// `invite`, `kick`, `ban`, `unban`: what users do to others.
    pub(crate) async fn act(&self, room: &str, action: &str, target: &User<'_>) {
        self.ok("POST", &format!("rooms/{room}/{action}"), Some(json!({ "user_id": target.id() }))).await;
    }

    /// Invites somebody who then joins.
    pub(crate) async fn bring(&self, room: &str, other: &User<'_>) {
        self.act(room, "invite", other).await;
        other.own(room, "join").await;
    }

    /// One sync that does not wait. `query` is what comes besides `since` and `timeout`.
    pub(crate) async fn sync(&self, since: Option<&str>, query: &[(&str, &str)]) -> Value {
        self.read(&sync_path(since, query)).await
    }
}

fn sync_path(since: Option<&str>, query: &[(&str, &str)]) -> String {
    let since = since.map(|since| ("since", since));
    let mut path = "sync?timeout=0".to_owned();
    for (name, value) in query.iter().copied().chain(since) {
        write!(path, "&{name}={}", encode(value)).unwrap();
    }
    path
}

/// `next_batch` of a sync.
pub(crate) fn next_batch(sync: &Value) -> &str {
    sync["next_batch"].as_str().expect("every sync has a next_batch")
}

/// The elements of a list, none where there is none.
pub(crate) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Ids of events, in their order.
pub(crate) fn ids(events: &Value) -> Vec<&str> {
    list(events).map(|event| event["event_id"].as_str().expect("events have ids")).collect()
}

/// `body` of the messages among events, in their order.
pub(crate) fn bodies(events: &Value) -> Vec<&str> {
    list(events).filter_map(|event| event["content"]["body"].as_str()).collect()
}

/// The types of events, each once.
pub(crate) fn types(events: &Value) -> BTreeSet<&str> {
    list(events).map(|event| event["type"].as_str().expect("events have a type")).collect()
}

/// The first event of this type and state key.
pub(crate) fn find<'a>(events: &'a Value, event_type: &str, state_key: Option<&str>) -> Option<&'a Value> {
    list(events).find(|event| event["type"] == event_type && event["state_key"].as_str() == state_key)
}

/// Status and code of a refusal.
pub(crate) fn code(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["errcode"].as_str().unwrap_or_default())
}
