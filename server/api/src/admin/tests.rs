//! The listener as a whole: who gets in, what it answers, that its description is current.

use std::path::Path as FilePath;

use axum::{
    Router,
    body::{Body, to_bytes},
    response::Response,
};
use futures_util::{StreamExt, future::BoxFuture};
use hearth_accounts::{Accounts, AccountsConfig, PasswordCost};
use hearth_protocol::SigningKey;
use hearth_rooms::{PushRules, Rooms, RoomsConfig};
use http::{Request, StatusCode, header};
use ruma::{OwnedUserId, RoomVersionId, push::Ruleset, server_name};
use serde_json::{Value, json};
use tower::ServiceExt;

use hearth_archive::{BackupOptions, Passphrase};
use hearth_jobs::Jobs;
use hearth_store::Store;
use tokio_util::sync::CancellationToken;

use super::{
    backups::{BackupMaker, BackupSettings},
    storage::StorageSettings,
    *,
};

pub(super) const TOKEN: &str = "the-token";

struct NoPushRules;

impl PushRules for NoPushRules {
    fn rulesets<'a>(&'a self, users: &'a [OwnedUserId]) -> BoxFuture<'a, Vec<Option<Arc<Ruleset>>>> {
        Box::pin(async move { vec![None; users.len()] })
    }
}

struct PlainBackups;

impl BackupMaker for PlainBackups {
    fn passphrase(&self) -> Result<Option<Passphrase>, String> {
        Ok(None)
    }

    fn options(&self, passphrase: Option<Passphrase>) -> Result<BackupOptions, String> {
        Ok(BackupOptions {
            server_name: "hearth.test".to_owned(),
            hearth_version: "1.2.3".to_owned(),
            passphrase,
            scheduled: false,
            attachments: Vec::new(),
        })
    }
}

pub(super) fn parts() -> AdminParts {
    let store = Store::memory();
    let server_name = server_name!("hearth.test").to_owned();
    let mut config = AccountsConfig::new(server_name.clone());
    config.passwords = PasswordCost { memory_kib: 64, iterations: 1 };
    let accounts = Accounts::new(store.clone(), config);
    let (key, _) = SigningKey::generate(server_name.clone());
    let rooms = RoomsConfig { server_name: server_name.clone(), key, default_version: RoomVersionId::V12 };
    AdminParts {
        token: AdminToken::new(TOKEN),
        server_name,
        version: "1.2.3".to_owned(),
        public_base_url: "http://127.0.0.1:8008".to_owned(),
        listeners: vec!["http://127.0.0.1:8008".to_owned()],
        rooms: Rooms::new(store.clone(), rooms, Arc::new(NoPushRules)),
        accounts,
        storage: StorageSettings { tables: Vec::new(), folder: None },
        backups: BackupSettings {
            folder: FilePath::new("/no/such/folder").to_owned(),
            interval_hours: 24,
            keep: 3,
            encrypted: false,
            config_file: FilePath::new("/etc/hearth.toml").to_owned(),
            store_folder: None,
            maker: Arc::new(PlainBackups),
        },
        jobs: Jobs::new(store.clone()),
        process: None,
        store,
        logs: Arc::default(),
        metrics: Arc::default(),
        shutdown: CancellationToken::new(),
    }
}

async fn send(router: &Router, request: Request<Body>) -> (StatusCode, Value, Response<()>) {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
    (parts.status, json, Response::from_parts(parts, ()))
}

fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path).header(header::HOST, "127.0.0.1:8010")
}

/// An API call with the token.
pub(super) async fn call(router: &Router, method: &str, path: &str, body: Option<Value>) -> (StatusCode, Value) {
    let request = request(method, &format!("{API}{path}"))
        .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())))
        .unwrap();
    let (status, body, _) = send(router, request).await;
    (status, body)
}

/// With `UPDATE=1` the document is written instead of compared; then run `npm run api` in `ui`.
#[test]
fn openapi_is_current() {
    let path = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("../../ui/src/api/openapi.json");
    let now = render(&openapi());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, now).unwrap();
        return;
    }
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(committed == now, "ui/src/api/openapi.json is old: run this test with UPDATE=1, then `npm run api`");
}

#[test]
fn every_operation_is_described() {
    let document = serde_json::to_value(openapi()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 14, "{:?}", paths.keys());
    let mut ids = std::collections::HashSet::new();
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().unwrap() {
            assert!(ids.insert(&operation["operationId"]), "{} is there twice", operation["operationId"]);
            assert!(operation["summary"].is_string(), "{method} {path} has no summary");
            assert!(operation["responses"]["default"].is_object(), "{method} {path} does not say how it fails");
        }
    }
}

#[tokio::test]
async fn the_api_wants_the_token() {
    let (router, _) = router(parts());
    for authorization in [None, Some("Bearer wrong"), Some("Bearer"), Some("Basic the-token"), Some("the-token")] {
        for path in ["/overview", "/openapi.json", "/nowhere", "/events"] {
            let mut request = request("GET", &format!("{API}{path}"));
            if let Some(authorization) = authorization {
                request = request.header(header::AUTHORIZATION, authorization);
            }
            let (status, body, response) = send(&router, request.body(Body::empty()).unwrap()).await;
            assert_eq!((status, &body["code"]), (StatusCode::UNAUTHORIZED, &json!("unauthorized")), "{path}");
            assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
        }
    }
    let (status, body) = call(&router, "GET", "/openapi.json", None).await;
    assert_eq!((status, &body["info"]["title"]), (StatusCode::OK, &json!("Hearth admin API")));
    let (status, body) = call(&router, "GET", "/nowhere", None).await;
    assert_eq!((status, &body["code"]), (StatusCode::NOT_FOUND, &json!("not_found")));
    let (status, body) = call(&router, "DELETE", "/overview", None).await;
    assert_eq!((status, &body["code"]), (StatusCode::METHOD_NOT_ALLOWED, &json!("method_not_allowed")));
}

#[tokio::test]
async fn the_page_is_open_and_strict() {
    let (router, _) = router(parts());
    let (status, _, response) = send(&router, request("GET", "/").body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    let headers = response.headers();
    let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    assert_eq!(headers[header::CACHE_CONTROL], "no-cache");
    assert_eq!(headers[header::CONTENT_TYPE], "text/html; charset=utf-8");

    for (method, path, expected) in [
        ("GET", "/nowhere.js", StatusCode::NOT_FOUND),
        ("GET", "/../Cargo.toml", StatusCode::NOT_FOUND),
        ("POST", "/", StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let (status, ..) = send(&router, request(method, path).body(Body::empty()).unwrap()).await;
        assert_eq!(status, expected, "{method} {path}");
    }
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused_even_with_the_token() {
    let (router, _) = router(parts());
    let with = |host: &str, origin: Option<&str>| {
        let mut request = Request::builder()
            .uri(format!("{API}/overview"))
            .header(header::HOST, host)
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"));
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        request.body(Body::empty()).unwrap()
    };
    for refused in [
        with("evil.example", None),
        with("evil.example", Some("http://evil.example")),
        with("127.0.0.1:8010", Some("http://evil.example")),
        with("127.0.0.1:8010", Some("null")),
    ] {
        let (status, body, response) = send(&router, refused).await;
        assert_eq!((status, &body["code"]), (StatusCode::FORBIDDEN, &json!("forbidden")));
        assert!(response.headers().contains_key(header::CONTENT_SECURITY_POLICY));
        assert!(!response.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    }
    let (status, ..) = send(&router, with("localhost:8010", Some("http://localhost:8010"))).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn users_from_creation_to_deactivation() {
    let parts = parts();
    let accounts = parts.accounts.clone();
    let (router, _) = router(parts);
    let (status, created) =
        call(&router, "POST", "/users", Some(json!({"localpart": "ada", "display_name": "Ada", "admin": true}))).await;
    assert_eq!((status, &created["user"]["user_id"]), (StatusCode::CREATED, &json!("@ada:hearth.test")));
    let password = created["generated_password"].as_str().unwrap();
    accounts.check_password("ada", password).await.unwrap();

    let again = call(&router, "POST", "/users", Some(json!({"localpart": "ada"}))).await;
    assert_eq!(
        (again.0, &again.1["code"], &again.1["field"]),
        (StatusCode::CONFLICT, &json!("conflict"), &json!("localpart"))
    );
    let bad = call(&router, "POST", "/users", Some(json!({"localpart": "A B"}))).await;
    assert_eq!((bad.0, &bad.1["field"]), (StatusCode::BAD_REQUEST, &json!("localpart")));
    let broken = call(&router, "POST", "/users", Some(json!({"localpart": 1}))).await;
    assert_eq!((broken.0, &broken.1["code"]), (StatusCode::BAD_REQUEST, &json!("invalid")));

    for name in ["bob", "cyd"] {
        call(&router, "POST", "/users", Some(json!({"localpart": name, "password": "long enough"}))).await;
    }
    let (_, page) = call(&router, "GET", "/users?limit=2", None).await;
    assert_eq!((page["users"].as_array().unwrap().len(), &page["next"]), (2, &json!("bob")));
    let (_, page) = call(&router, "GET", "/users?limit=2&after=bob", None).await;
    assert_eq!((&page["users"][0]["user_id"], &page["next"]), (&json!("@cyd:hearth.test"), &Value::Null));
    let (_, page) = call(&router, "GET", "/users?search=AD", None).await;
    assert_eq!((page["users"].as_array().unwrap().len(), &page["users"][0]["admin"]), (1, &json!(true)));

    let reset =
        call(&router, "POST", "/users/@bob:hearth.test/password", Some(json!({"password": "another one"}))).await;
    assert_eq!(reset, (StatusCode::OK, json!({"generated_password": null})));
    accounts.check_password("bob", "another one").await.unwrap();

    let (status, user) = call(&router, "PUT", "/users/@bob:hearth.test/admin", Some(json!({"admin": true}))).await;
    assert_eq!((status, &user["admin"]), (StatusCode::OK, &json!(true)));

    let (status, user) = call(&router, "POST", "/users/@bob:hearth.test/deactivate", Some(json!({}))).await;
    assert_eq!((status, &user["deactivated"]), (StatusCode::OK, &json!(true)));
    // A job leaves the rooms.
    let (_, jobs) = call(&router, "GET", "/jobs?kind=deactivate_user", None).await;
    assert_eq!(jobs["jobs"][0]["key"], json!("@bob:hearth.test"));
    let (status, _) = call(&router, "POST", "/users/@bob:hearth.test/deactivate", Some(json!({}))).await;
    assert_eq!(status, StatusCode::CONFLICT);
    for path in ["/users/@nobody:hearth.test", "/users/@nobody:hearth.test/devices"] {
        assert_eq!(call(&router, "GET", path, None).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(call(&router, "GET", "/users/bob", None).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn devices_are_listed_and_deleted() {
    let parts = parts();
    let accounts = parts.accounts.clone();
    let (router, _) = router(parts);
    call(&router, "POST", "/users", Some(json!({"localpart": "ada"}))).await;
    let user = ruma::user_id!("@ada:hearth.test");
    let tokens = accounts.open_session(user, hearth_accounts::NewDevice::default()).await.unwrap();
    let (_, devices) = call(&router, "GET", "/users/@ada:hearth.test/devices", None).await;
    assert_eq!(devices[0]["device_id"], json!(tokens.device_id));
    let path = format!("/users/@ada:hearth.test/devices/{}", tokens.device_id);
    assert_eq!(call(&router, "DELETE", &path, None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(call(&router, "DELETE", &path, None).await.0, StatusCode::NOT_FOUND);
    assert!(accounts.authenticate(&tokens.access_token).await.is_err());
}

#[tokio::test]
async fn registration_tokens_are_made_and_deleted() {
    let (router, _) = router(parts());
    let (status, token) = call(&router, "POST", "/registration_tokens", Some(json!({"uses_allowed": 3}))).await;
    assert_eq!((status, &token["uses_allowed"], &token["completed"]), (StatusCode::CREATED, &json!(3), &json!(0)));
    let named = json!({"token": "friends"});
    assert_eq!(call(&router, "POST", "/registration_tokens", Some(named.clone())).await.0, StatusCode::CREATED);
    assert_eq!(call(&router, "POST", "/registration_tokens", Some(named)).await.0, StatusCode::CONFLICT);
    for bad in
        [json!({"token": "a b"}), json!({"uses_allowed": 0}), json!({"expires_at": 1}), json!({"uses_allowed": -1})]
    {
        let (status, body) = call(&router, "POST", "/registration_tokens", Some(bad.clone())).await;
        assert_eq!((status, &body["code"]), (StatusCode::BAD_REQUEST, &json!("invalid")), "{bad}");
    }
    let (_, list) = call(&router, "GET", "/registration_tokens", None).await;
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert_eq!(call(&router, "DELETE", "/registration_tokens/friends", None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(call(&router, "DELETE", "/registration_tokens/friends", None).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn who_may_register_is_chosen_over_the_configuration() {
    let (router, _) = router(parts());
    let configured = json!({"mode": "closed", "configured": "closed", "chosen": false});
    assert_eq!(call(&router, "GET", "/registration", None).await, (StatusCode::OK, configured.clone()));
    for mode in ["token", "open", "closed"] {
        let expected = json!({"mode": mode, "configured": "closed", "chosen": true});
        let answer = call(&router, "PUT", "/registration", Some(json!({"mode": mode}))).await;
        assert_eq!(answer, (StatusCode::OK, expected.clone()));
        assert_eq!(call(&router, "GET", "/registration", None).await.1, expected);
    }
    assert_eq!(call(&router, "PUT", "/registration", Some(json!({"mode": "ajar"}))).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(call(&router, "PUT", "/registration", Some(json!({}))).await, (StatusCode::OK, configured));
}

#[tokio::test]
async fn rooms_that_do_not_exist() {
    let (router, _) = router(parts());
    assert_eq!(call(&router, "GET", "/rooms", None).await, (StatusCode::OK, json!({"rooms": [], "total": 0})));
    for path in ["/rooms/!none:hearth.test", "/rooms/!none:hearth.test/members", "/rooms/!none:hearth.test/state"] {
        assert_eq!(call(&router, "GET", path, None).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    let (status, body) = call(&router, "GET", "/rooms?order_by=colour", None).await;
    assert_eq!((status, &body["code"]), (StatusCode::BAD_REQUEST, &json!("invalid")));
}

#[tokio::test]
async fn live_updates_tell_everything_first_and_end_with_the_server() {
    let parts = parts();
    let shutdown = parts.shutdown.clone();
    let (router, _) = router(parts);
    let request = request("GET", &format!("{API}/events"))
        .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
        .body(Body::empty())
        .unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-cache");
    let mut body = response.into_body().into_data_stream();
    let mut seen = String::new();
    while !(seen.contains("event: overview") && seen.contains("event: changed")) {
        let chunk = body.next().await.unwrap().unwrap();
        seen.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert!(seen.contains(r#""server_name":"hearth.test""#), "{seen}");
    shutdown.cancel();
    while body.next().await.is_some() {}

    let (status, body) = call(&router, "GET", "/events?topics=weather", None).await;
    assert_eq!((status, &body["field"]), (StatusCode::BAD_REQUEST, &json!("topics")));
}
