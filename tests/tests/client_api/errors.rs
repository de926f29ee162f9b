//! What is wrong with a request is said with the right status and code
//! ([API standards](https://spec.matrix.org/v1.19/client-server-api/#standard-error-response)), and changes nothing.

use std::{sync::LazyLock, time::Duration};

use hearth_tests::TestServer;
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use crate::{
    routes::ROUTES,
    support::{User, absolute, encode, server, txn},
};

/// The largest body that the server takes, in bytes.
const BODY_LIMIT: usize = 4 << 20;

/// Keeps no connections, which belong to the runtime of one test.
static CLIENT: LazyLock<reqwest::Client> =
    LazyLock::new(|| reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap());

/// Sends bytes as they are: status, headers and body.
pub(crate) async fn raw(
    server: &TestServer,
    method: &str,
    path: &str,
    headers: HeaderMap,
    body: Vec<u8>,
) -> (u16, HeaderMap, Value) {
    let url = format!("{}{}", server.base_url(), absolute(path));
    let request = CLIENT.request(method.parse().unwrap(), &url).timeout(Duration::from_mins(1)).headers(headers);
    let response = request.body(body).send().await.unwrap_or_else(|error| panic!("{method} {url}: {error}"));
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    (status, headers, response.json().await.unwrap_or_default())
}

/// The header that carries a token.
pub(crate) fn bearer(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::try_from(format!("Bearer {token}")).unwrap());
    headers
}

/// Alice in a room of hers with an event, and what a client knows of all that.
struct World<'a> {
    alice: User<'a>,
    bob: User<'a>,
    room: String,
    event: String,
}

impl<'a> World<'a> {
    async fn new(server: &'a TestServer) -> Self {
        let (alice, bob) = (User::new(server, "alice").await, User::new(server, "bob").await);
        let room = alice.create(json!({ "preset": "public_chat", "room_alias_name": "kitchen" })).await;
        bob.own(&room, "join").await;
        let event = alice.say(&room, "hello").await;
        Self { alice, bob, room, event }
    }

    /// Everything that Alice and Bob could see change.
    async fn picture(&self) -> Value {
        let mut picture = Vec::new();
        for user in [&self.alice, &self.bob] {
            let mut sync = user.sync(None, &[]).await;
            for noise in ["next_batch", "presence"] {
                sync.as_object_mut().unwrap().remove(noise);
            }
            picture.push(sync);
            for path in
                ["joined_rooms", &format!("profile/{}", user.id()), "pushers", &format!("rooms/{}/aliases", self.room)]
            {
                picture.push(user.read(path).await);
            }
            let mut devices = user.read("devices").await;
            for device in devices["devices"].as_array_mut().unwrap() {
                device.as_object_mut().unwrap().remove("last_seen_ts");
            }
            picture.push(devices);
        }
        picture.push(self.alice.read("publicRooms").await);
        let mut picture = json!(picture);
        forget_age(&mut picture);
        picture
    }

    /// A path of the specification with something for each of its variables.
    fn path(&self, template: &str) -> String {
        let values = [
            ("{userId}", encode(self.alice.id())),
            ("{roomId}", self.room.clone()),
            ("{roomIdOrAlias}", self.room.clone()),
            ("{roomAlias}", "%23kitchen%3Ahearth.test".to_owned()),
            ("{eventId}", self.event.clone()),
            ("{deviceId}", self.alice.account.device_id.clone()),
            ("{kind}", "override".to_owned()),
            ("{ruleId}", ".m.rule.master".to_owned()),
            ("{keyName}", "displayname".to_owned()),
            ("{eventType}", "m.room.message".to_owned()),
            ("{stateKey}", "x".to_owned()),
            ("{txnId}", txn()),
            ("{receiptType}", "m.read".to_owned()),
            ("{relType}", "m.thread".to_owned()),
            ("{type}", "x.type".to_owned()),
            ("{tag}", "u.tag".to_owned()),
            ("{filterId}", "1".to_owned()),
        ];
        values.iter().fold(template.to_owned(), |path, (variable, value)| path.replace(variable, value))
    }
}

/// Events grow older between two looks.
fn forget_age(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("age");
            fields.values_mut().for_each(forget_age);
        }
        Value::Array(values) => values.iter_mut().for_each(forget_age),
        _ => {}
    }
}

#[tokio::test]
async fn unknown_endpoints_and_methods() {
    let server = server().await;
    let alice = User::new(&server, "alice").await;
    for path in [
        "/",
        "/_matrix",
        "/_matrix/client",
        "/_matrix/client/v3",
        "/_matrix/client/v3/nothing",
        "/_matrix/client/v9/sync",
        "/_matrix/client/v3/sync/more",
        "/_matrix/client/v3/sync/",
        "/_matrix/client/v3/rooms/!a:b/nothing",
        "/_matrix/client/v3/rooms",
        "/_matrix/client/v1/sync",
        "/_matrix/nothing",
        "/_matrix/client/%FF",
        "/_matrix/client/v3/nothing?a=%FF",
    ] {
        for method in ["GET", "POST", "PUT", "DELETE"] {
            for token in [None, Some(alice.token()), Some("nonsense")] {
                let (status, answer) = server.call(method, path, token, None).await;
                assert_eq!((status, &answer["errcode"]), (404, &json!("M_UNRECOGNIZED")), "{method} {path}: {answer}");
            }
        }
    }
    for (path, wrong) in [
        ("/_matrix/client/versions", &["POST", "PUT", "DELETE", "PATCH"][..]),
        ("/_matrix/client/v3/sync", &["POST", "PUT", "DELETE"]),
        ("/_matrix/client/v3/createRoom", &["GET", "PUT", "DELETE"]),
        ("/_matrix/client/v3/login", &["PUT", "DELETE"]),
        ("/_matrix/client/v3/rooms/!a:b/send/x/1", &["GET", "POST", "DELETE"]),
        ("/_matrix/client/v3/rooms/!a:b/state/x", &["POST", "DELETE"]),
        ("/_matrix/client/v3/rooms/!a:b/messages", &["POST", "PUT"]),
        ("/_matrix/client/v3/profile/@a:b", &["PUT", "POST", "DELETE"]),
        ("/.well-known/matrix/client", &["POST"]),
    ] {
        for method in wrong {
            let (status, answer) = server.call(method, path, Some(alice.token()), None).await;
            assert_eq!((status, &answer["errcode"]), (405, &json!("M_UNRECOGNIZED")), "{method} {path}: {answer}");
        }
    }
}

#[tokio::test]
async fn every_endpoint_wants_its_token_and_json() {
    let server = server().await;
    let world = World::new(&server).await;
    let before = world.picture().await;
    for (method, template, wants_token) in ROUTES {
        let path = world.path(template);
        let body = (*method != "GET").then(|| json!({}));
        if *wants_token {
            for (token, code) in [(None, "M_MISSING_TOKEN"), (Some("nonsense"), "M_UNKNOWN_TOKEN")] {
                let (status, answer) = server.call(method, &path, token, body.clone()).await;
                assert_eq!((status, &answer["errcode"]), (401, &json!(code)), "{method} {path}: {answer}");
            }
        }
        // There is nothing to parse, and the latter end a session.
        if matches!(*method, "GET" | "DELETE") || path.contains("/logout") {
            continue;
        }
        let headers = bearer(world.alice.token());
        for (body, code) in [
            (&b"{"[..], "M_NOT_JSON"),
            (b"{\"a\":}", "M_NOT_JSON"),
            (b"{}{}", "M_NOT_JSON"),
            (b"{\"a\": NaN}", "M_NOT_JSON"),
            (b"{'a': 1}", "M_NOT_JSON"),
            (b"\xEF\xBB\xBF{}", "M_NOT_JSON"),
            (b"{\"a\": \"\xFF\"}", "M_NOT_JSON"),
            (b"{\"a\": \"\\ud800\"}", "M_BAD_JSON"),
            (b"{\"a\": 1e400}", "M_BAD_JSON"),
            (b"{\"a\": \"\n\"}", "M_NOT_JSON"),
            (b"[]", "M_BAD_JSON"),
            (b"null", "M_BAD_JSON"),
            (b"\"text\"", "M_BAD_JSON"),
            (b"1", "M_BAD_JSON"),
        ] {
            let (status, _, answer) = raw(&server, method, &path, headers.clone(), body.to_vec()).await;
            let shown = String::from_utf8_lossy(body);
            assert_eq!((status, &answer["errcode"]), (400, &json!(code)), "{method} {path} {shown}: {answer}");
        }
        let deep = format!("{}1{}", "{\"a\":".repeat(5000), "}".repeat(5000)).into_bytes();
        let (status, _, answer) = raw(&server, method, &path, headers.clone(), deep).await;
        assert_eq!(status, 400, "{method} {path}: {answer}");
        assert!(answer["errcode"] == "M_BAD_JSON" || answer["errcode"] == "M_NOT_JSON", "{answer}");
    }
    assert_eq!(world.picture().await, before);
}

#[tokio::test]
async fn bodies_that_are_too_large() {
    let server = server().await;
    let world = World::new(&server).await;
    let before = world.picture().await;
    let large = json!({ "x": "x".repeat(BODY_LIMIT) });
    for path in ["createRoom", "login", "register", &format!("rooms/{}/invite", world.room)] {
        world.alice.refused("POST", path, Some(large.clone()), 413, "M_TOO_LARGE").await;
    }
    // The same without a length in front.
    let chunks = (0..=BODY_LIMIT / 65_536).map(|_| Ok::<_, std::io::Error>(vec![b' '; 65_536]));
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    let url = format!("{}/_matrix/client/v3/createRoom", server.base_url());
    let answer = reqwest::Client::new().post(url).bearer_auth(world.alice.token()).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 413);
    assert_eq!(world.picture().await, before);
}

/// [Size limits](https://spec.matrix.org/v1.19/client-server-api/#size-limits) and
/// [canonical JSON](https://spec.matrix.org/v1.19/appendices/#canonical-json).
#[tokio::test]
async fn events_that_cannot_be() {
    let server = server().await;
    let world = World::new(&server).await;
    let before = world.picture().await;
    let World { alice, bob, room, event } = &world;
    let x = |bytes: usize| "x".repeat(bytes);
    let message = json!({ "msgtype": "m.text", "body": "x" });
    for (path, content, status, code) in [
        (format!("send/{}/{}", x(256), txn()), message.clone(), 413, "M_TOO_LARGE"),
        (format!("state/{}", x(256)), message.clone(), 413, "M_TOO_LARGE"),
        (format!("state/x.type/{}", x(256)), message.clone(), 413, "M_TOO_LARGE"),
        (format!("state/x.type/{}", encode(&"é".repeat(128))), message.clone(), 413, "M_TOO_LARGE"),
        (format!("send/m.room.message/{}", txn()), json!({ "body": x(65_536) }), 413, "M_TOO_LARGE"),
        (format!("send/m.room.message/{}", txn()), json!({ "body": "é".repeat(33_000) }), 413, "M_TOO_LARGE"),
        (format!("send/m.room.message/{}", txn()), json!({ "list": vec![0; 40_000] }), 413, "M_TOO_LARGE"),
        ("state/m.room.topic".to_string(), json!({ "topic": x(65_536) }), 413, "M_TOO_LARGE"),
    ] {
        let path = format!("rooms/{room}/{path}");
        alice.refused("PUT", &path, Some(content), status, code).await;
    }
    let headers = bearer(alice.token());
    for content in [
        "{\"a\": 1.5}",
        "{\"a\": 1e2}",
        "{\"a\": -0.0}",
        "{\"a\": 9007199254740992}",
        "{\"a\": -9007199254740992}",
        "{\"a\": 1e400}",
        "{\"a\": [{\"b\": [0.1]}]}",
        &format!("{{\"a\": {}}}", "9".repeat(4000)),
    ] {
        for path in [format!("send/m.room.message/{}", txn()), "state/x.type/key".to_owned(), "state/x.type".to_owned()]
        {
            let path = format!("rooms/{room}/{path}");
            let (status, _, answer) = raw(&server, "PUT", &path, headers.clone(), content.into()).await;
            assert_eq!((status, &answer["errcode"]), (400, &json!("M_BAD_JSON")), "{content:.60}: {answer}");
        }
    }
    for (event_type, state_key, content) in [
        ("m.room.power_levels", "", json!({ "users": { "nobody": 1 } })),
        ("m.room.power_levels", "", json!({ "ban": "50" })),
        ("m.room.power_levels", "", json!({ "users": [] })),
        ("m.room.member", bob.id(), json!({})),
        ("m.room.member", bob.id(), json!({ "membership": "lurk" })),
        ("m.room.member", bob.id(), json!({ "membership": 1 })),
        ("m.room.member", "nobody", json!({ "membership": "invite" })),
        ("m.room.member", "", json!({ "membership": "join" })),
        ("m.room.join_rules", "", json!({})),
        ("m.room.join_rules", "", json!({ "join_rule": 1 })),
        ("m.room.history_visibility", "", json!({ "history_visibility": "sometimes" })),
        ("m.room.canonical_alias", "", json!({ "alias": 1 })),
        ("m.room.canonical_alias", "", json!({ "alias": "kitchen" })),
        ("m.room.canonical_alias", "", json!({ "alias": "#elsewhere:hearth.test" })),
        ("m.room.canonical_alias", "", json!({ "alt_aliases": ["#elsewhere:hearth.test"] })),
    ] {
        let path = format!("rooms/{room}/state/{event_type}/{}", encode(state_key));
        let (status, answer) = alice.put(&path, content.clone()).await;
        assert!(
            matches!(status, 400 | 403) && answer["errcode"].is_string(),
            "{event_type} {content}: {status} {answer}"
        );
    }
    // A state event is no message and the other way round.
    for (event_type, content) in [("m.room.member", json!({ "membership": "leave" })), ("m.room.create", json!({}))] {
        let (status, answer) = alice.put(&format!("rooms/{room}/state/{event_type}/"), content.clone()).await;
        assert!(matches!(status, 400 | 403), "{event_type}: {answer}");
    }
    // What relates to something relates to it once.
    let reaction = json!({ "m.relates_to": { "rel_type": "m.annotation", "event_id": event, "key": "+" } });
    alice.send(room, "m.reaction", reaction.clone()).await;
    let with_reaction = world.picture().await;
    let path = format!("rooms/{room}/send/m.reaction/{}", txn());
    alice.refused("PUT", &path, Some(reaction), 400, "M_DUPLICATE_ANNOTATION").await;
    assert_eq!(world.picture().await, with_reaction);
    assert_ne!(with_reaction, before, "the picture shows changes");
}

#[tokio::test]
async fn limits_are_exact() {
    let server = server().await;
    let alice = User::new(&server, "alice").await;
    let room = alice.create(json!({})).await;
    let longest = "x".repeat(255);
    alice.set(&room, &longest, &longest, json!({})).await;
    assert_eq!(alice.read(&format!("rooms/{room}/state/{longest}/{longest}")).await, json!({}));
    alice.send(&room, &longest, json!({ "a": 9_007_199_254_740_991_u64, "b": -9_007_199_254_740_991_i64 })).await;
    // The largest message is found by halving; what is around the content is not known here.
    let (mut fits, mut fails) = (60_000, 65_536);
    while fails - fits > 1 {
        let middle = usize::midpoint(fits, fails);
        let path = format!("rooms/{room}/send/x.y/{}", txn());
        match alice.put(&path, json!({ "x": "y".repeat(middle) })).await.0 {
            200 => fits = middle,
            413 => fails = middle,
            other => panic!("{other}"),
        }
    }
    assert!((64_000..65_400).contains(&fits), "{fits}");
    // NUL is a character, in texts and in keys of JSON.
    let event = alice.send(&room, "m.room.message", json!({ "body": "\0", "\0": "\u{10FFFF}" })).await;
    let got = alice.read(&format!("rooms/{room}/event/{event}")).await;
    assert_eq!(got["content"], json!({ "body": "\0", "\0": "\u{10FFFF}" }));
    // Of two equal keys one counts, everywhere the same one.
    let path = format!("rooms/{room}/send/x.y/{}", txn());
    let body = br#"{"a": 1, "a": 2}"#.to_vec();
    let (status, _, answer) = raw(&server, "PUT", &path, bearer(alice.token()), body).await;
    if status == 200 {
        let event = answer["event_id"].as_str().unwrap();
        let got = alice.read(&format!("rooms/{room}/event/{event}")).await;
        assert_eq!(got["content"], json!({ "a": 2 }));
    } else {
        assert_eq!((status, &answer["errcode"]), (400, &json!("M_BAD_JSON")), "{answer}");
    }
}

#[tokio::test]
async fn ids_and_parameters_that_are_none() {
    let server = server().await;
    let world = World::new(&server).await;
    let World { alice, room, event, .. } = &world;
    let before = world.picture().await;
    let user = encode(alice.id());
    let long = "x".repeat(300);
    // Junk in the place of an id is a bad request or nothing that is there.
    for junk in [
        "x", "!", "@", "$", "%23", "!%00", "%00", "%FF", "%C3%28", "@a", "a:b", "%20", "..%2F..", &long, "%23a",
        "@%00:x", "-1",
    ] {
        for (method, path) in [
            ("GET", format!("rooms/{junk}/state")),
            ("GET", format!("rooms/{junk}/messages?dir=b")),
            ("GET", format!("rooms/{junk}/members")),
            ("GET", format!("rooms/{junk}/joined_members")),
            ("GET", format!("rooms/{junk}/event/{event}")),
            ("GET", format!("rooms/{room}/event/{junk}")),
            ("GET", format!("rooms/{room}/context/{junk}")),
            ("GET", format!("/_matrix/client/v1/rooms/{room}/relations/{junk}")),
            ("GET", format!("/_matrix/client/v1/rooms/{junk}/threads")),
            ("PUT", format!("rooms/{junk}/send/m.room.message/{}", txn())),
            ("PUT", format!("rooms/{junk}/state/m.room.topic")),
            ("PUT", format!("rooms/{room}/redact/{junk}/{}", txn())),
            ("POST", format!("rooms/{junk}/join")),
            ("POST", format!("rooms/{junk}/leave")),
            ("POST", format!("rooms/{junk}/forget")),
            ("POST", format!("join/{junk}")),
            ("POST", format!("knock/{junk}")),
            ("POST", format!("rooms/{room}/receipt/m.read/{junk}")),
            ("POST", format!("rooms/{room}/receipt/{junk}/{event}")),
            ("PUT", format!("rooms/{room}/typing/{junk}")),
            ("PUT", format!("directory/room/{junk}")),
            ("GET", format!("directory/room/{junk}")),
            ("DELETE", format!("directory/room/{junk}")),
            ("GET", format!("directory/list/room/{junk}")),
            ("PUT", format!("directory/list/room/{junk}")),
            ("GET", format!("profile/{junk}")),
            ("PUT", format!("profile/{junk}/displayname")),
            ("GET", format!("presence/{junk}/status")),
            ("PUT", format!("presence/{junk}/status")),
            ("GET", format!("devices/{junk}")),
            ("GET", format!("user/{junk}/filter/1")),
            ("GET", format!("user/{user}/filter/{junk}")),
            ("GET", format!("user/{junk}/account_data/x")),
            ("PUT", format!("user/{junk}/account_data/x")),
            ("PUT", format!("user/{user}/rooms/{junk}/account_data/x")),
            ("PUT", format!("user/{user}/rooms/{junk}/tags/x")),
            ("GET", format!("pushrules/global/{junk}/x")),
            ("GET", format!("pushrules/global/override/{junk}")),
            ("PUT", format!("pushrules/global/{junk}/x")),
        ] {
            let body = (method != "GET").then(
                || json!({ "typing": true, "presence": "online", "displayname": "x", "room_id": room, "actions": [] }),
            );
            let (status, answer) = alice.call(method, &path, body).await;
            assert!(
                matches!(status, 400 | 403 | 404) && answer["errcode"].is_string(),
                "{method} {path}: {status} {answer}"
            );
        }
    }
    for (path, body) in [
        (format!("rooms/{room}/invite"), json!({ "user_id": "nobody" })),
        (format!("rooms/{room}/invite"), json!({ "user_id": 1 })),
        (format!("rooms/{room}/invite"), json!({})),
        (format!("rooms/{room}/invite"), json!({ "user_id": "@nobody:hearth.test" })),
        (format!("rooms/{room}/kick"), json!({ "user_id": "" })),
        (format!("rooms/{room}/ban"), json!({ "user_id": null })),
        (format!("rooms/{room}/unban"), json!({ "user_id": ["@bob:hearth.test"] })),
        (format!("rooms/{room}/read_markers"), json!({ "m.fully_read": "nothing" })),
        (format!("rooms/{room}/receipt/m.read/{event}"), json!({ "thread_id": 1 })),
        (format!("rooms/{room}/receipt/m.read/{event}"), json!({ "thread_id": "" })),
        (format!("rooms/{room}/receipt/m.read/{event}"), json!({ "thread_id": "$nothing" })),
        (format!("rooms/{room}/receipt/m.fully_read/{event}"), json!({ "thread_id": "main" })),
        ("createRoom".to_owned(), json!({ "preset": "lair" })),
        ("createRoom".to_owned(), json!({ "visibility": "half" })),
        ("createRoom".to_owned(), json!({ "invite": "@bob:hearth.test" })),
        ("createRoom".to_owned(), json!({ "invite": ["bob"] })),
        ("createRoom".to_owned(), json!({ "invite": ["@nobody:hearth.test"] })),
        ("createRoom".to_owned(), json!({ "room_version": "99" })),
        ("createRoom".to_owned(), json!({ "room_version": 12 })),
        ("createRoom".to_owned(), json!({ "room_alias_name": "kitchen" })),
        ("createRoom".to_owned(), json!({ "room_alias_name": "a:b" })),
        ("createRoom".to_owned(), json!({ "room_alias_name": "x".repeat(300) })),
        ("createRoom".to_owned(), json!({ "initial_state": [{ "type": "x" }] })),
        ("createRoom".to_owned(), json!({ "initial_state": [{ "content": {} }] })),
        ("createRoom".to_owned(), json!({ "initial_state": [{ "type": "x", "content": { "a": 0.5 } }] })),
        ("createRoom".to_owned(), json!({ "initial_state": {} })),
        ("createRoom".to_owned(), json!({ "creation_content": [] })),
        ("createRoom".to_owned(), json!({ "power_level_content_override": { "users": 1 } })),
        ("createRoom".to_owned(), json!({ "power_level_content_override": { "users": { "@bob:hearth.test": 0.5 } } })),
        ("createRoom".to_owned(), json!({ "name": "x".repeat(70_000) })),
        ("createRoom".to_owned(), json!({ "name": 1 })),
        (format!("user/{user}/filter"), json!({ "room": 1 })),
        (format!("user/{user}/filter"), json!({ "room": { "timeline": { "limit": -1 } } })),
        (format!("user/{user}/filter"), json!({ "room": { "rooms": "all" } })),
        ("publicRooms".to_owned(), json!({ "limit": "many" })),
        ("publicRooms".to_owned(), json!({ "since": "nonsense" })),
        ("user_directory/search".to_owned(), json!({ "search_term": 1 })),
        ("delete_devices".to_owned(), json!({ "devices": "all" })),
        ("pushers/set".to_owned(), json!({ "kind": "http" })),
    ] {
        let (status, answer) = alice.post(&path, body.clone()).await;
        assert!(
            matches!(status, 400 | 403 | 404 | 413) && answer["errcode"].is_string(),
            "{path} {body:.100}: {status} {answer}"
        );
    }
    for path in [
        format!("rooms/{room}/messages"),
        format!("rooms/{room}/messages?dir=sideways"),
        format!("rooms/{room}/messages?dir=b&from=nonsense"),
        format!("rooms/{room}/messages?dir=b&to=nonsense"),
        format!("rooms/{room}/messages?dir=b&limit=many"),
        format!("rooms/{room}/messages?dir=b&limit=-1"),
        format!("rooms/{room}/messages?dir=b&filter=%7B"),
        format!("rooms/{room}/messages?dir=b&filter=1"),
        format!("rooms/{room}/context/{event}?limit=x"),
        format!("rooms/{room}/members?at=nonsense"),
        format!("rooms/{room}/members?membership=lurk"),
        format!("/_matrix/client/v1/rooms/{room}/threads?from=nonsense"),
        format!("/_matrix/client/v1/rooms/{room}/threads?include=some"),
        format!("/_matrix/client/v1/rooms/{room}/relations/{event}?from=nonsense"),
        "sync?since=nonsense".to_owned(),
        "sync?since=%00".to_owned(),
        "sync?timeout=soon".to_owned(),
        "sync?timeout=-1".to_owned(),
        "sync?filter=nonsense".to_owned(),
        "sync?filter=%7B".to_owned(),
        "sync?filter=%7B%22room%22%3A1%7D".to_owned(),
        "sync?set_presence=hidden".to_owned(),
        "sync?full_state=perhaps".to_owned(),
        "publicRooms?since=nonsense".to_owned(),
        "publicRooms?limit=x".to_owned(),
        "notifications?from=nonsense".to_owned(),
        format!("sync?since={}", "1".repeat(20_000)),
        format!("sync?filter={}", "%7B%22a%22%3A".repeat(4000)),
    ] {
        let (status, answer) = alice.get(&path).await;
        assert!(matches!(status, 400 | 404) && answer["errcode"].is_string(), "{path:.100}: {status} {answer}");
    }
    assert_eq!(world.picture().await, before);
}

/// What the specification lets a client leave out may be left out.
#[tokio::test]
async fn only_what_is_required() {
    let server = server().await;
    let world = World::new(&server).await;
    let World { alice, bob, room, event } = &world;
    let (user, device) = (encode(alice.id()), &alice.account.device_id);
    let v1 = format!("/_matrix/client/v1/rooms/{room}");
    for (method, path, body) in [
        ("GET", "sync".to_owned(), None),
        ("GET", format!("rooms/{room}/messages?dir=b"), None),
        ("GET", format!("rooms/{room}/context/{event}"), None),
        ("GET", format!("rooms/{room}/members"), None),
        ("GET", format!("{v1}/relations/{event}"), None),
        ("GET", format!("{v1}/threads"), None),
        ("GET", "notifications".to_owned(), None),
        ("GET", "publicRooms".to_owned(), None),
        ("GET", "pushrules/".to_owned(), None),
        ("GET", "pushrules/global/".to_owned(), None),
        ("POST", "publicRooms".to_owned(), Some(json!({}))),
        ("POST", "createRoom".to_owned(), Some(json!({}))),
        ("POST", format!("rooms/{room}/read_markers"), Some(json!({}))),
        ("POST", format!("rooms/{room}/receipt/m.read/{event}"), Some(json!({}))),
        ("POST", format!("rooms/{room}/receipt/m.read/{event}"), None),
        ("PUT", format!("rooms/{room}/typing/{user}"), Some(json!({ "typing": true }))),
        ("PUT", format!("rooms/{room}/typing/{user}"), Some(json!({ "typing": false }))),
        ("PUT", format!("presence/{user}/status"), Some(json!({ "presence": "online" }))),
        ("PUT", format!("devices/{device}"), Some(json!({}))),
        ("POST", format!("user/{user}/filter"), Some(json!({}))),
        ("PUT", format!("user/{user}/rooms/{room}/tags/u.x"), Some(json!({}))),
        ("PUT", "pushrules/global/override/x".to_owned(), Some(json!({ "actions": [] }))),
        ("POST", "user_directory/search".to_owned(), Some(json!({ "search_term": "x" }))),
        ("POST", "pushers/set".to_owned(), Some(json!({ "pushkey": "x", "app_id": "x", "kind": null }))),
        ("PUT", format!("directory/list/room/{room}"), Some(json!({}))),
        ("POST", format!("join/{room}"), None),
        ("POST", format!("rooms/{room}/join"), None),
        ("POST", format!("rooms/{room}/kick"), Some(json!({ "user_id": bob.id() }))),
        ("POST", format!("rooms/{room}/ban"), Some(json!({ "user_id": bob.id() }))),
        ("POST", format!("rooms/{room}/unban"), Some(json!({ "user_id": bob.id() }))),
        ("POST", format!("rooms/{room}/invite"), Some(json!({ "user_id": bob.id() }))),
        ("PUT", format!("rooms/{room}/redact/{event}/{}", txn()), Some(json!({}))),
        ("POST", format!("rooms/{room}/leave"), None),
        ("POST", format!("rooms/{room}/forget"), None),
    ] {
        let (status, answer) = alice.call(method, &path, body.clone()).await;
        assert_eq!(status, 200, "{method} {path} {body:?}: {answer}");
    }
    // The listing's default is public.
    let listed = bob.read(&format!("directory/list/room/{room}")).await;
    assert_eq!(listed["visibility"], "public");
}
