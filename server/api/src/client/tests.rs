//! The framework, from the outside: what every endpoint does alike.

use std::net::SocketAddr;

use axum::{Router, body::Body, extract::ConnectInfo};
use http::{Method, Request, StatusCode, header};
use ruma::api::client::{
    account::change_password, config::set_global_account_data, message::get_message_events, session::logout,
    state::get_state_event_for_key,
};
use serde_json::json;

use super::{ApiError, Args, ClientState, RateLimiter, body::BODY_LIMIT, route, test_support::TestApi};

/// A body of this many bytes that never announces its length.
fn endless(bytes: usize) -> Body {
    let chunk = vec![b' '; 1 << 16];
    let chunks = (0..bytes >> 16).map(move |_| Ok::<_, std::io::Error>(chunk.clone()));
    Body::from_stream(futures_util::stream::iter(chunks))
}

/// An API whose endpoints tell what reached them.
fn api() -> TestApi {
    TestApi::new().routes(routes())
}

fn routes() -> Router<ClientState> {
    let router = Router::new();
    let router = route(router, async |_: ClientState, args: Args<set_global_account_data::v3::Request>| {
        if args.session.user_id != args.request.user_id {
            return Err(ApiError::forbidden("not you"));
        }
        Ok(set_global_account_data::v3::Response::new())
    });
    let router = route(router, async |_: ClientState, args: Args<get_state_event_for_key::v3::Request>| {
        let key = json!({ "room": args.request.room_id, "key": args.request.state_key });
        Ok(get_state_event_for_key::v3::Response::new(serde_json::value::to_raw_value(&key).unwrap()))
    });
    let router = route(router, async |_: ClientState, args: Args<get_message_events::v3::Request>| {
        let mut response = get_message_events::v3::Response::new();
        response.start = args.request.limit.to_string();
        Ok(response)
    });
    let router = route(router, async |_: ClientState, args: Args<change_password::v3::Request>| match args.session {
        Some(_) => Ok(change_password::v3::Response::new()),
        None => Err(ApiError::missing_token()),
    });
    route(router, async |_: ClientState, _: Args<logout::v3::Request>| -> Result<logout::v3::Response, _> {
        panic!("a bug");
        #[expect(unreachable_code, reason = "says what the type is")]
        Err(ApiError::unrecognized())
    })
}

const PASSWORD: &str = "/_matrix/client/v3/account/password";
const DATA: &str = "/_matrix/client/v3/user/@alice:example.org/account_data/org.example";

#[tokio::test]
async fn bodies() {
    let api = api();
    let token = api.login("alice").await;
    let cases: &[(&str, &[u8], (u16, &str))] = &[
        ("an object", br#"{"a": 1}"#, (200, "")),
        ("nothing", b"", (200, "")),
        ("white space", b" \n", (200, "")),
        ("no JSON", b"nonsense", (400, "M_NOT_JSON")),
        ("cut off", br#"{"a": "#, (400, "M_NOT_JSON")),
        ("two values", b"{} {}", (400, "M_NOT_JSON")),
        ("bad UTF-8", b"{\"a\": \"\xff\"}", (400, "M_NOT_JSON")),
        ("a lone surrogate in UTF-8", b"{\"a\": \"\xed\xa0\x80\"}", (400, "M_NOT_JSON")),
        ("a list", b"[]", (400, "M_BAD_JSON")),
        ("a string", b"\"a\"", (400, "M_BAD_JSON")),
    ];
    for (name, body, (status, code)) in cases {
        let answer = api.call(Method::PUT, DATA, &token, body.to_vec()).await;
        assert_eq!(answer.error(), (*status, (*code).to_owned()), "{name}");
    }
    for (depth, expected) in [(99, (200, "")), (100, (400, "M_BAD_JSON")), (50_000, (400, "M_BAD_JSON"))] {
        let nested = format!("{{\"[\\\"[\": {}1{}}}", "[".repeat(depth), "]".repeat(depth));
        let answer = api.call(Method::PUT, DATA, &token, nested).await;
        assert_eq!(answer.error(), (expected.0, expected.1.to_owned()), "{depth}: {}", answer.text);
    }
    // A wrong type before broken JSON is still broken JSON, and a wrong type alone is not.
    let answer = api.call(Method::POST, PASSWORD, &token, r#"{"new_password": 1, "#).await;
    assert_eq!(answer.error(), (400, "M_NOT_JSON".to_owned()));
    let answer = api.call(Method::POST, PASSWORD, &token, r#"{"new_password": 1}"#).await;
    assert_eq!(answer.error(), (400, "M_BAD_JSON".to_owned()));
    let answer = api.call(Method::POST, PASSWORD, &token, "{}").await;
    assert_eq!(answer.error(), (400, "M_BAD_JSON".to_owned()));
}

#[tokio::test]
async fn bodies_are_bounded() {
    let api = api();
    let token = api.login("alice").await;
    let large = format!("{{\"a\": \"{}\"}}", "x".repeat(BODY_LIMIT));
    assert_eq!(api.call(Method::PUT, DATA, &token, large).await.error(), (413, "M_TOO_LARGE".to_owned()));
    let answer = api.call(Method::PUT, DATA, &token, endless(BODY_LIMIT + (1 << 16))).await;
    assert_eq!(answer.error(), (413, "M_TOO_LARGE".to_owned()));
}

#[tokio::test]
async fn paths_and_queries() {
    let api = api();
    let token = api.login("alice").await;
    let get = async |path: &str| api.call(Method::GET, path, &token, Body::empty()).await;
    for (path, room, key) in [
        ("r0/rooms/!r:example.org/state/m.room.member/@a%3Aexample.org", "!r:example.org", "@a:example.org"),
        ("v3/rooms/!r%3Aexample.org/state/m.room.name/", "!r:example.org", ""),
        ("v3/rooms/!r:example.org/state/m.room.name", "!r:example.org", ""),
        ("v3/rooms/!r/state/org.example/a%2Fb%20%C3%BC", "!r", "a/b ü"),
    ] {
        let answer = get(&format!("/_matrix/client/{path}")).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        assert_eq!(answer.json(), json!({ "room": room, "key": key }), "{path}");
    }
    for (path, code) in [
        ("rooms/nonsense/state/m.room.name/", "M_INVALID_PARAM"),
        ("rooms/!r:example.org/state/m.room.name/%ff", "M_INVALID_PARAM"),
        ("rooms/!r:example.org/messages", "M_MISSING_PARAM"),
        ("rooms/!r:example.org/messages?dir=x", "M_INVALID_PARAM"),
        ("rooms/!r:example.org/messages?dir=b&limit=many", "M_INVALID_PARAM"),
    ] {
        let answer = get(&format!("/_matrix/client/v3/{path}")).await;
        assert_eq!(answer.error(), (400, code.to_owned()), "{path}: {}", answer.text);
    }
    let answer = get("/_matrix/client/v3/rooms/!r:example.org/messages?dir=b&limit=7&other=x").await;
    assert_eq!(answer.json()["start"], "7");
    let answer = api.call(Method::HEAD, "/_matrix/client/v3/rooms/!r:a/messages?dir=b", &token, Body::empty()).await;
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, ""));
}

#[tokio::test]
async fn tokens() {
    let api = api();
    let token = api.login("alice").await;
    let put = async |header: Option<String>, query: &str| {
        let mut request = Request::builder().method(Method::PUT).uri(format!("{DATA}{query}"));
        if let Some(header) = header {
            request = request.header(header::AUTHORIZATION, header);
        }
        api.send(request.body(Body::from("{}")).unwrap()).await.error()
    };
    let ok = (200, String::new());
    assert_eq!(put(Some(format!("Bearer {token}")), "").await, ok);
    assert_eq!(put(Some(format!("bearer {token}")), "?access_token=other").await, ok);
    assert_eq!(put(None, &format!("?a=b&access_token={token}")).await, ok);
    let missing = (401, "M_MISSING_TOKEN".to_owned());
    for (header, query) in [(None, ""), (None, "?access_token="), (Some("Bearer "), ""), (Some("Basic abc"), "")] {
        assert_eq!(put(header.map(str::to_owned), query).await, missing, "{header:?} {query}");
    }
    let unknown = (401, "M_UNKNOWN_TOKEN".to_owned());
    assert_eq!(put(Some("Bearer nonsense".to_owned()), "").await, unknown);
    assert_eq!(put(None, "?access_token=nonsense").await, unknown);
    let answer = api.call(Method::PUT, DATA, "nonsense", "{}").await;
    assert_eq!(answer.json()["soft_logout"], json!(null), "absent is false");
    // Who asks is checked before what they say.
    assert_eq!(api.call(Method::PUT, DATA, "nonsense", "nonsense").await.error(), unknown);
    // Where a token is optional, a wrong one is still refused.
    let body = r#"{"new_password": "x"}"#;
    assert_eq!(api.call(Method::POST, PASSWORD, "", body).await.error(), missing);
    assert_eq!(api.call(Method::POST, PASSWORD, "nonsense", body).await.error(), unknown);
    assert_eq!(api.call(Method::POST, PASSWORD, &token, body).await.error(), ok);
}

#[tokio::test]
async fn unknown_endpoints_and_methods() {
    let api = TestApi::new();
    for path in ["/", "/_matrix/client/v3/nothing", "/_matrix/client/v99/versions", "/_matrix/media/v3/upload"] {
        let answer = api.call(Method::GET, path, "", Body::empty()).await;
        assert_eq!(answer.error(), (404, "M_UNRECOGNIZED".to_owned()), "{path}");
    }
    for (method, path) in [
        (Method::POST, "/_matrix/client/versions"),
        (Method::DELETE, "/_matrix/client/v3/capabilities"),
        (Method::PATCH, "/.well-known/matrix/client"),
    ] {
        let answer = api.call(method, path, "", Body::empty()).await;
        assert_eq!(answer.error(), (405, "M_UNRECOGNIZED".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn browsers_may_ask_from_anywhere() {
    let api = api();
    for (method, path, status) in [
        (Method::OPTIONS, DATA, 204),
        (Method::OPTIONS, "/nowhere", 204),
        (Method::PUT, DATA, 401),
        (Method::GET, "/nowhere", 404),
        (Method::GET, DATA, 405),
    ] {
        let answer = api.call(method.clone(), path, "", Body::empty()).await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert_eq!(answer.headers[header::ACCESS_CONTROL_ALLOW_METHODS], "GET, POST, PUT, DELETE, OPTIONS");
        let allowed = answer.headers[header::ACCESS_CONTROL_ALLOW_HEADERS].to_str().unwrap();
        assert_eq!(allowed, "X-Requested-With, Content-Type, Authorization");
        assert!(answer.headers.contains_key("x-request-id"));
    }
}

#[tokio::test]
async fn too_many_requests() {
    let api = TestApi::with(|parts| parts.limiter = RateLimiter::new(true)).routes(routes());
    let ask = async |peer: [u8; 4], forwarded: &str| {
        let mut request = Request::builder().method(Method::PUT).uri(DATA);
        if !forwarded.is_empty() {
            request = request.header("x-forwarded-for", forwarded);
        }
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from((peer, 1))));
        api.send(request).await
    };
    let limited = loop {
        let answer = ask([192, 0, 2, 1], "").await;
        if answer.status != 401 {
            break answer;
        }
    };
    assert_eq!(limited.error(), (429, "M_LIMIT_EXCEEDED".to_owned()));
    let wait = limited.json()["retry_after_ms"].as_u64().unwrap();
    assert!((1..1000).contains(&wait), "{wait}");
    assert_eq!(limited.headers[header::RETRY_AFTER], "1");
    // A stranger cannot choose an address, a proxy on this machine can, and only its own entry counts.
    assert_eq!(ask([192, 0, 2, 1], "198.51.100.1").await.status, 429);
    assert_eq!(ask([192, 0, 2, 2], "").await.status, 401);
    assert_eq!(ask([127, 0, 0, 1], "198.51.100.1, 192.0.2.1").await.status, 429);
    assert_eq!(ask([127, 0, 0, 1], "192.0.2.1, 198.51.100.1").await.status, 401);
    // Whoever has a session is counted on their own.
    let token = api.login("alice").await;
    assert_eq!(api.call(Method::PUT, DATA, &token, "{}").await.status, 200);
}

#[tokio::test]
async fn a_panic_is_one_failed_request() {
    let api = api();
    let token = api.login("alice").await;
    let answer = api.call(Method::POST, "/_matrix/client/v3/logout", &token, Body::empty()).await;
    assert_eq!(answer.error(), (500, "M_UNKNOWN".to_owned()));
    assert!(!answer.text.contains("bug"), "{}", answer.text);
    assert!(answer.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    assert_eq!(api.call(Method::PUT, DATA, &token, "{}").await.status, 200);
}

#[tokio::test]
async fn discovery() {
    let api = TestApi::new();
    let get = async |path: &str, token: &str| api.call(Method::GET, path, token, Body::empty()).await;
    let versions = get("/_matrix/client/versions", "stale").await.json();
    assert!(versions["versions"].as_array().unwrap().contains(&json!("v1.11")));
    assert!(versions["unstable_features"].is_object());
    assert_eq!(
        get("/.well-known/matrix/client", "").await.json(),
        json!({ "m.homeserver": { "base_url": "https://example.org" } })
    );
    assert_eq!(get("/.well-known/matrix/server", "").await.json(), json!({ "m.server": "example.org:443" }));
    assert_eq!(get("/_hearth/health", "").await.json(), json!({ "status": "ok" }));
    assert_eq!(get("/_matrix/client/v3/capabilities", "").await.error(), (401, "M_MISSING_TOKEN".to_owned()));
    let token = api.login("alice").await;
    let capabilities = get("/_matrix/client/v3/capabilities", &token).await.json();
    assert_eq!(
        capabilities["capabilities"]["m.room_versions"],
        json!({ "default": "12", "available": {
            "2": "stable", "3": "stable", "4": "stable", "5": "stable", "6": "stable", "7": "stable", "8": "stable", "9": "stable",
            "10": "stable", "11": "stable", "12": "stable",
        } })
    );
    let closed = TestApi::with(|parts| parts.federation_address = None);
    let answer = closed.call(Method::GET, "/.well-known/matrix/server", "", Body::empty()).await;
    assert_eq!(answer.error(), (404, "M_NOT_FOUND".to_owned()));
}
