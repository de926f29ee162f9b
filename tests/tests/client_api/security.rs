//! Tokens, other users' paths, interactive authentication, deactivation, CORS, rate limits.

use std::time::Duration;

use hearth_tests::{Options, TestServer};
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use crate::{
    errors::{bearer, raw},
    support::{User, absolute, encode, next_batch, server},
};

#[tokio::test]
async fn what_belongs_to_others() {
    let server = server().await;
    let (alice, bob) = (User::new(&server, "alice").await, User::new(&server, "bob").await);
    let room = alice.create(json!({ "preset": "public_chat" })).await;
    bob.own(&room, "join").await;
    let user = encode(alice.id());
    let filter = alice.ok("POST", &format!("user/{user}/filter"), Some(json!({}))).await;
    let filter = filter["filter_id"].as_str().unwrap();
    alice.ok("PUT", &format!("user/{user}/account_data/x"), Some(json!({ "secret": 1 }))).await;
    for (method, path) in [
        ("GET", format!("user/{user}/account_data/x")),
        ("PUT", format!("user/{user}/account_data/x")),
        ("GET", format!("user/{user}/rooms/{room}/account_data/x")),
        ("PUT", format!("user/{user}/rooms/{room}/account_data/x")),
        ("GET", format!("user/{user}/rooms/{room}/tags")),
        ("PUT", format!("user/{user}/rooms/{room}/tags/u.x")),
        ("DELETE", format!("user/{user}/rooms/{room}/tags/u.x")),
        ("POST", format!("user/{user}/filter")),
        ("GET", format!("user/{user}/filter/{filter}")),
        ("PUT", format!("profile/{user}/displayname")),
        ("PUT", format!("profile/{user}/avatar_url")),
        ("PUT", format!("profile/{user}/m.tz")),
        ("DELETE", format!("profile/{user}/displayname")),
        ("PUT", format!("presence/{user}/status")),
        ("PUT", format!("rooms/{room}/typing/{user}")),
    ] {
        let body = json!({ "displayname": "x", "avatar_url": "mxc://a/b", "m.tz": "UTC", "presence": "online", "typing": true });
        let body = (method != "GET").then_some(body);
        bob.refused(method, &path, body, 403, "M_FORBIDDEN").await;
    }
    // Devices and filters of others are not there.
    let device = &alice.account.device_id;
    bob.refused("GET", &format!("devices/{device}"), None, 404, "M_NOT_FOUND").await;
    bob.refused("PUT", &format!("devices/{device}"), Some(json!({ "display_name": "x" })), 404, "M_NOT_FOUND").await;
    let (status, _) = bob.get(&format!("sync?filter={filter}")).await;
    assert!(matches!(status, 400 | 404), "{status}");
    assert_eq!(alice.read(&format!("user/{user}/account_data/x")).await, json!({ "secret": 1 }));
    // What only the server writes.
    for event_type in ["m.push_rules", "m.fully_read"] {
        let path = format!("user/{user}/account_data/{event_type}");
        alice.refused("PUT", &path, Some(json!({})), 405, "M_BAD_JSON").await;
    }
}

#[tokio::test]
async fn tokens() {
    let server = server().await;
    let alice = User::new(&server, "alice").await;
    let whoami = absolute("account/whoami");
    // In the query it is deprecated, and counts.
    let (status, answer) = server.call("GET", &format!("{whoami}?access_token={}", alice.token()), None, None).await;
    assert_eq!((status, &answer["user_id"]), (200, &json!(alice.id())));
    for value in ["Bearer", "Bearer ", "Basic YTpi", "", "bearer", "Bearer  "] {
        let headers = HeaderMap::from_iter([("authorization".parse().unwrap(), HeaderValue::try_from(value).unwrap())]);
        let (status, _, answer) = raw(&server, "GET", &whoami, headers, Vec::new()).await;
        assert_eq!((status, &answer["errcode"]), (401, &json!("M_MISSING_TOKEN")), "{value:?}: {answer}");
    }
    let long = "x".repeat(10_000);
    for token in ["nonsense", "%00", "x y", &long] {
        let (status, _, answer) = raw(&server, "GET", &whoami, bearer(token), Vec::new()).await;
        assert_eq!((status, &answer["errcode"]), (401, &json!("M_UNKNOWN_TOKEN")), "{answer}");
        assert_ne!(answer["soft_logout"], true);
    }
    // The header wins.
    let (status, _, _) =
        raw(&server, "GET", &format!("{whoami}?access_token={}", alice.token()), bearer("nonsense"), Vec::new()).await;
    assert_eq!(status, 401);
    // A host is no reason to answer otherwise.
    let mut headers = bearer(alice.token());
    headers.insert("host", HeaderValue::from_static("evil.example"));
    assert_eq!(raw(&server, "GET", &whoami, headers, Vec::new()).await.0, 200);
}

/// [CORS](https://spec.matrix.org/v1.19/client-server-api/#web-browser-clients)
#[tokio::test]
async fn browsers_may_ask() {
    let server = server().await;
    for (method, path, status) in [
        ("GET", "/_matrix/client/versions", 200),
        ("GET", "/_matrix/client/v3/sync", 401),
        ("POST", "/_matrix/client/v3/sync", 405),
        ("GET", "/_matrix/client/v3/nothing", 404),
        ("POST", "/_matrix/client/v3/login", 400),
        ("GET", "/.well-known/matrix/client", 200),
        ("OPTIONS", "/_matrix/client/v3/sync", 204),
        ("OPTIONS", "/_matrix/client/v3/nothing", 204),
    ] {
        let headers =
            HeaderMap::from_iter([("origin".parse().unwrap(), HeaderValue::from_static("https://app.example"))]);
        let (got, headers, _) = raw(&server, method, path, headers, Vec::new()).await;
        assert!(got == status || method == "OPTIONS" && got == 200, "{method} {path}: {got}");
        assert_eq!(headers["access-control-allow-origin"], "*", "{method} {path}");
        assert_eq!(headers["access-control-allow-methods"], "GET, POST, PUT, DELETE, OPTIONS", "{method} {path}");
        for name in ["X-Requested-With", "Content-Type", "Authorization"] {
            assert!(headers["access-control-allow-headers"].to_str().unwrap().contains(name), "{method} {path}");
        }
        assert!(!headers.contains_key("access-control-allow-credentials"));
    }
}

/// [User-interactive authentication](https://spec.matrix.org/v1.19/client-server-api/#user-interactive-authentication-api)
/// takes no short cut.
#[tokio::test]
async fn interactive_authentication_is_needed() {
    let server = server().await;
    let (alice, bob) = (User::new(&server, "alice").await, User::new(&server, "bob").await);
    let phone = alice.second_device().await;
    let password = |user: &User<'_>, password: &str, session: &Value| {
        json!({
            "type": "m.login.password", "identifier": { "type": "m.id.user", "user": user.id() }, "password": password,
            "session": session,
        })
    };
    let delete = format!("devices/{}", phone.account.device_id);
    let asks = async |user: &User<'_>, method: &str, path: &str, body: Value| {
        let (status, answer) = user.call(method, path, Some(body.clone())).await;
        assert_eq!(status, 401, "{path} {body}: {answer}");
        assert!(answer["flows"].is_array() && answer["session"].is_string(), "{answer}");
        answer
    };
    for (method, path, body) in [
        ("DELETE", delete.as_str(), json!({})),
        ("POST", "delete_devices", json!({ "devices": [phone.account.device_id] })),
        ("POST", "account/password", json!({ "new_password": "another password" })),
        ("POST", "account/deactivate", json!({})),
    ] {
        let with = |auth: Value| {
            let mut body = body.clone();
            body["auth"] = auth;
            body
        };
        let session = asks(&alice, method, path, body.clone()).await["session"].clone();
        // A wrong password, another user's, a stage that is not asked for, a session of nobody or of another request.
        for auth in [
            password(&alice, "wrong", &session),
            password(&bob, "bob-password", &session),
            json!({ "type": "m.login.dummy", "session": session }),
            json!({ "type": "m.login.registration_token", "token": "", "session": session }),
            json!({ "session": session }),
        ] {
            let (status, answer) = alice.call(method, path, Some(with(auth.clone()))).await;
            assert!(matches!(status, 400 | 401 | 403), "{path} {auth}: {status} {answer}");
        }
        let (status, answer) = alice.call(method, path, Some(with(json!({ "session": "nonsense" })))).await;
        assert!(matches!(status, 400 | 401 | 403), "{path}: {status} {answer}");
        // Bob's session is not Alice's, nor the other way round.
        let other = asks(&bob, "POST", "account/deactivate", json!({})).await["session"].clone();
        let (status, answer) = alice.call(method, path, Some(with(password(&alice, "alice-password", &other)))).await;
        assert!(matches!(status, 400 | 401 | 403), "{path}: {status} {answer}");
    }
    // What was proved for one thing is not proved for another.
    let session = asks(&alice, "DELETE", &delete, json!({})).await["session"].clone();
    let auth = password(&alice, "alice-password", &session);
    alice.ok("DELETE", &delete, Some(json!({ "auth": auth }))).await;
    let (status, answer) = alice.post("account/deactivate", json!({ "auth": { "session": session } })).await;
    assert!(matches!(status, 400 | 401 | 403), "{status} {answer}");
    assert_eq!(phone.get("account/whoami").await.0, 401, "the device and its token are gone");
    assert_eq!(alice.get("account/whoami").await.0, 200);
    assert_eq!(bob.get("account/whoami").await.0, 200);
}

/// A sync that waits, sent once the server has it in hand.
async fn waiting_sync(user: &User<'_>) -> tokio::task::JoinHandle<reqwest::Response> {
    let first = user.sync(None, &[]).await;
    let url =
        format!("{}{}", user.server.base_url(), absolute(&format!("sync?timeout=60000&since={}", next_batch(&first))));
    let request = reqwest::Client::new().get(url).bearer_auth(user.token()).send();
    let waiting = tokio::spawn(async move { request.await.unwrap() });
    loop {
        let (_, overview) = user.server.admin("GET", "/overview", None).await;
        if overview["requests"]["in_flight"].as_u64().unwrap() >= 1 {
            return waiting;
        }
    }
}

#[tokio::test]
async fn a_session_that_ends_takes_its_syncs_along() {
    let server = server().await;
    let alice = User::new(&server, "alice").await;
    for path in ["logout", "logout/all"] {
        let phone = alice.second_device().await;
        let waiting = waiting_sync(&phone).await;
        phone.ok("POST", path, Some(json!({}))).await;
        // Long before its own time is over.
        let answer = tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("the sync ends").unwrap();
        assert_eq!(answer.status(), 401, "{path}");
        assert_eq!(answer.json::<Value>().await.unwrap()["errcode"], "M_UNKNOWN_TOKEN");
        let (status, answer) = phone.get("sync").await;
        assert_eq!((status, &answer["errcode"]), (401, &json!("M_UNKNOWN_TOKEN")));
    }
}

#[tokio::test]
async fn who_is_deactivated_is_gone() {
    let server = server().await;
    let (alice, bob) = (User::new(&server, "alice").await, User::new(&server, "bob").await);
    let phone = bob.second_device().await;
    bob.ok("PUT", &format!("profile/{}/displayname", bob.id()), Some(json!({ "displayname": "Bob" }))).await;
    let (room, invited) = (alice.create(json!({})).await, alice.create(json!({})).await);
    alice.bring(&room, &bob).await;
    alice.act(&invited, "invite", &bob).await;
    let waiting = waiting_sync(&phone).await;
    let (_, answer) = bob.post("account/deactivate", json!({})).await;
    let auth = json!({
        "type": "m.login.password", "identifier": { "type": "m.id.user", "user": bob.id() }, "password": "bob-password",
        "session": answer["session"],
    });
    bob.ok("POST", "account/deactivate", Some(json!({ "auth": auth }))).await;
    let answer = tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("the sync ends").unwrap();
    assert_eq!(answer.status(), 401);
    for device in [&bob, &phone] {
        device.refused("GET", "account/whoami", None, 401, "M_UNKNOWN_TOKEN").await;
    }
    let login = json!({ "type": "m.login.password", "identifier": { "type": "m.id.user", "user": "bob" }, "password": "bob-password" });
    let (status, answer) = server.call("POST", &absolute("login"), None, Some(login)).await;
    assert_eq!((status, &answer["errcode"]), (403, &json!("M_USER_DEACTIVATED")), "{answer}");
    // Out of every room, by a job, and the name is never given again.
    let left = async {
        for room in [&room, &invited] {
            let path = format!("rooms/{room}/state/m.room.member/{}", encode(bob.id()));
            while alice.read(&path).await["membership"] != "leave" {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(1), left).await.expect("the job does its work");
    let (status, answer) = server.call("GET", &absolute("register/available?username=bob"), None, None).await;
    assert_eq!((status, &answer["errcode"]), (400, &json!("M_USER_IN_USE")), "{answer}");
    let found = alice.ok("POST", "user_directory/search", Some(json!({ "search_term": "bob" }))).await;
    assert_eq!(found["results"], json!([]));
}

/// Sends until the server has enough, and returns what it says then.
async fn until_limited(
    server: &TestServer,
    method: &str,
    path: &str,
    headers: &HeaderMap,
    body: &Value,
) -> (HeaderMap, Value) {
    for _ in 0..1000 {
        let (status, answered, answer) = raw(server, method, path, headers.clone(), body.to_string().into()).await;
        if status == 429 {
            return (answered, answer);
        }
    }
    panic!("{method} {path} is not limited")
}

#[tokio::test]
async fn too_many_requests() {
    let server = TestServer::start(Options { rate_limit: true, ..Options::default() }).await;
    let (alice, bob) = (User::new(&server, "alice").await, User::new(&server, "bob").await);
    let from = |address: &'static str| {
        HeaderMap::from_iter([("x-forwarded-for".parse().unwrap(), HeaderValue::from_static(address))])
    };
    let login = json!({ "type": "m.login.password", "identifier": { "type": "m.id.user", "user": "alice" }, "password": "wrong" });
    let (headers, answer) = until_limited(&server, "POST", "login", &from("192.0.2.1"), &login).await;
    assert_eq!(answer["errcode"], "M_LIMIT_EXCEEDED");
    let seconds: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
    let milliseconds = answer["retry_after_ms"].as_u64().unwrap();
    assert!(seconds >= 1 && milliseconds > 0 && seconds * 1000 >= milliseconds, "{seconds} s, {milliseconds} ms");
    assert_eq!(headers["access-control-allow-origin"], "*");
    // Another address may go on, and what else this one does.
    assert_eq!(raw(&server, "POST", "login", from("192.0.2.2"), login.to_string().into()).await.0, 403);
    assert_eq!(raw(&server, "GET", "login", from("192.0.2.1"), Vec::new()).await.0, 200);
    // The right password does not help.
    let right = json!({ "type": "m.login.password", "identifier": { "type": "m.id.user", "user": "alice" }, "password": "alice-password" });
    assert_eq!(raw(&server, "POST", "login", from("192.0.2.1"), right.to_string().into()).await.0, 429);
    // A session counts for its user, wherever it asks from.
    let body = json!({ "new_password": "another password" });
    let (_, answer) = until_limited(&server, "POST", "account/password", &bearer(alice.token()), &body).await;
    assert_eq!(answer["errcode"], "M_LIMIT_EXCEEDED");
    assert_eq!(alice.call("POST", "account/password", Some(body.clone())).await.0, 429);
    assert_eq!(bob.call("POST", "account/password", Some(body)).await.0, 401);
    assert_eq!(alice.get("account/whoami").await.0, 200);
}
