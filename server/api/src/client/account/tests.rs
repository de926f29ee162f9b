//! The endpoints of this part, from the outside.

use hearth_accounts::{Accounts, AccountsConfig, PasswordCost, RegistrationMode};
use hearth_jobs::{Filter, Kind, Page, kinds::DeactivateUser};
use http::Method;
use ruma::owned_server_name;
use serde_json::{Value, json};

use crate::client::{
    ClientParts,
    test_support::{Answer, PASSWORD, TestApi},
};

const V3: &str = "/_matrix/client/v3";
const V1: &str = "/_matrix/client/v1";

/// Calls a `v3` endpoint (or one by its whole path).
async fn call(api: &TestApi, method: Method, path: &str, token: &str, body: Value) -> Answer {
    let path = if path.starts_with("/_") { path.to_owned() } else { format!("{V3}{path}") };
    let body = if body.is_null() { String::new() } else { body.to_string() };
    api.call(method, &path, token, body).await
}

async fn get(api: &TestApi, path: &str, token: &str) -> Answer {
    call(api, Method::GET, path, token, Value::Null).await
}

async fn put(api: &TestApi, path: &str, token: &str, body: Value) -> Answer {
    call(api, Method::PUT, path, token, body).await
}

async fn post(api: &TestApi, path: &str, token: &str, body: Value) -> Answer {
    call(api, Method::POST, path, token, body).await
}

async fn delete(api: &TestApi, path: &str, token: &str, body: Value) -> Answer {
    call(api, Method::DELETE, path, token, body).await
}

#[track_caller]
fn ok(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.error(), (status, code.to_owned()), "{}", answer.text);
}

/// An API whose accounts are configured otherwise.
fn api_with(change: impl Fn(&mut AccountsConfig)) -> TestApi {
    TestApi::with(|parts: &mut ClientParts| {
        let mut config = AccountsConfig::new(owned_server_name!("example.org"));
        config.passwords = PasswordCost { memory_kib: 8, iterations: 1 };
        change(&mut config);
        parts.accounts = Accounts::new(parts.accounts.store().clone(), config);
    })
}

fn password_auth(user: &str, session: &Value) -> Value {
    json!({
        "type": "m.login.password",
        "identifier": { "type": "m.id.user", "user": user },
        "password": PASSWORD,
        "session": session,
    })
}

/// Sends a request twice: for the session, and with the password.
async fn confirmed(api: &TestApi, method: Method, path: &str, token: &str, user: &str, body: &Value) -> Answer {
    let challenge = call(api, method.clone(), path, token, body.clone()).await;
    assert_eq!(challenge.status, 401, "{}", challenge.text);
    assert_eq!(challenge.json()["flows"], json!([{ "stages": ["m.login.password"] }]));
    let mut body = body.clone();
    body["auth"] = password_auth(user, &challenge.json()["session"]);
    call(api, method, path, token, body).await
}

#[tokio::test]
async fn open_registration() {
    let api = TestApi::new();
    assert_eq!(ok(&get(&api, "/register/available?username=alice", "").await), json!({ "available": true }));
    let challenge = post(&api, "/register", "", json!({})).await;
    assert_eq!(challenge.status, 401);
    let challenge = challenge.json();
    assert_eq!(challenge["flows"], json!([{ "stages": ["m.login.dummy"] }]));
    assert_eq!(challenge["params"], json!({}));
    assert!(challenge.get("errcode").is_none());
    let body = json!({
        "username": "Alice", "password": PASSWORD, "device_id": "PHONE", "initial_device_display_name": "Phone",
        "refresh_token": true, "auth": { "type": "m.login.dummy", "session": challenge["session"] },
    });
    let session = ok(&post(&api, "/register", "", body).await);
    assert_eq!(session["user_id"], "@alice:example.org");
    assert_eq!(session["device_id"], "PHONE");
    assert_eq!(session["expires_in_ms"], 3_600_000);
    assert!(session["refresh_token"].is_string());
    let token = session["access_token"].as_str().unwrap();
    let me = ok(&get(&api, "/account/whoami", token).await);
    assert_eq!(me, json!({ "user_id": "@alice:example.org", "device_id": "PHONE" }));

    let dummy = json!({ "type": "m.login.dummy" });
    for (body, status, code) in [
        (json!({ "username": "alice", "password": PASSWORD, "auth": dummy }), 400, "M_USER_IN_USE"),
        (json!({ "username": "alice" }), 400, "M_USER_IN_USE"),
        (json!({ "username": "a b" }), 400, "M_INVALID_USERNAME"),
        (json!({ "username": "bob", "password": "short" }), 400, "M_WEAK_PASSWORD"),
        (json!({ "username": "bob", "auth": dummy }), 400, "M_MISSING_PARAM"),
        (json!({ "username": 3 }), 400, "M_BAD_JSON"),
        (json!({ "auth": "x" }), 400, "M_BAD_JSON"),
        (json!({ "type": "m.login.application_service" }), 403, "M_FORBIDDEN"),
    ] {
        refused(&post(&api, "/register", "", body).await, status, code);
    }
    refused(&post(&api, "/register?kind=guest", "", json!({})).await, 403, "M_GUEST_ACCESS_FORBIDDEN");
    refused(&post(&api, "/register?kind=other", "", json!({})).await, 400, "M_INVALID_PARAM");
    refused(&get(&api, "/register/available?username=alice", "").await, 400, "M_USER_IN_USE");
    refused(&get(&api, "/register/available?username=%C3%A4", "").await, 400, "M_INVALID_USERNAME");
    refused(&get(&api, "/register/available", "").await, 400, "M_MISSING_PARAM");

    let body = json!({ "password": PASSWORD, "inhibit_login": true, "auth": dummy });
    let made_up = ok(&post(&api, "/_matrix/client/r0/register", "", body).await);
    assert!(made_up.get("access_token").is_none() && made_up.get("device_id").is_none());
    assert!(made_up["user_id"].as_str().unwrap().ends_with(":example.org"));
}

#[tokio::test]
async fn registration_with_a_token() {
    let api = api_with(|config| config.registration = RegistrationMode::Token);
    api.state.accounts.create_registration_token(Some("ticket"), Some(1), None).await.unwrap();
    let validity = |token: &str| format!("{V1}/register/m.login.registration_token/validity?token={token}");
    assert_eq!(ok(&get(&api, &validity("ticket"), "").await), json!({ "valid": true }));
    assert_eq!(ok(&get(&api, &validity("other"), "").await), json!({ "valid": false }));
    let challenge = post(&api, "/register", "", json!({ "username": "alice", "password": PASSWORD })).await.json();
    assert_eq!(challenge["flows"], json!([{ "stages": ["m.login.registration_token"] }]));
    let with = |token: &str| {
        let auth = json!({ "type": "m.login.registration_token", "token": token, "session": challenge["session"] });
        json!({ "username": "alice", "password": PASSWORD, "auth": auth })
    };
    let wrong = post(&api, "/register", "", with("wrong")).await;
    refused(&wrong, 401, "M_UNAUTHORIZED");
    assert_eq!(wrong.json()["session"], challenge["session"]);
    let dummy = json!({ "type": "m.login.dummy", "session": challenge["session"] });
    refused(&post(&api, "/register", "", json!({ "auth": dummy })).await, 401, "M_UNRECOGNIZED");
    ok(&post(&api, "/register", "", with("ticket")).await);
    assert_eq!(ok(&get(&api, &validity("ticket"), "").await), json!({ "valid": false }));
}

#[tokio::test]
async fn closed_registration() {
    let api = api_with(|_| ());
    for answer in [
        post(&api, "/register", "", json!({})).await,
        get(&api, "/register/available?username=alice", "").await,
        get(&api, &format!("{V1}/register/m.login.registration_token/validity?token=x"), "").await,
        get(&api, "/_synapse/admin/v1/register", "").await,
    ] {
        refused(&answer, 403, "M_FORBIDDEN");
    }
}

#[tokio::test]
async fn shared_secret_registration() {
    use hmac::{Hmac, Mac};
    const PATH: &str = "/_synapse/admin/v1/register";
    let api = api_with(|config| config.shared_secret = Some("secret".to_owned()));
    let nonce = ok(&get(&api, PATH, "").await)["nonce"].as_str().unwrap().to_owned();
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(b"secret").unwrap();
    mac.update(format!("{nonce}\0alice\0{PASSWORD}\0admin").as_bytes());
    let mac = format!("{:x}", mac.finalize().into_bytes());
    let body = json!({ "nonce": nonce, "username": "alice", "password": PASSWORD, "admin": true, "mac": mac });
    let session = ok(&post(&api, PATH, "", body.clone()).await);
    let token = session["access_token"].as_str().unwrap();
    assert!(api.state.accounts.authenticate(token).await.unwrap().admin);
    refused(&post(&api, PATH, "", body).await, 400, "M_INVALID_PARAM");
    refused(&post(&api, PATH, "", json!({})).await, 400, "M_BAD_JSON");
}

#[tokio::test]
async fn login() {
    let api = TestApi::new();
    api.login("alice").await;
    let flows = ok(&get(&api, "/login", "").await);
    assert_eq!(flows["flows"][0]["type"], "m.login.password");
    let user = |user: &str| json!({ "type": "m.id.user", "user": user });
    let device =
        json!({ "type": "m.login.password", "identifier": user("alice"), "password": PASSWORD, "device_id": "D" });
    for body in [
        device.clone(),
        json!({ "type": "m.login.password", "identifier": user("@alice:example.org"), "password": PASSWORD }),
        json!({ "type": "m.login.password", "user": "alice", "password": PASSWORD }),
    ] {
        let session = ok(&post(&api, "/login", "", body).await);
        assert_eq!(session["user_id"], "@alice:example.org");
        assert!(session.get("refresh_token").is_none() && session.get("expires_in_ms").is_none());
    }
    let third_party = json!({ "type": "m.id.thirdparty", "medium": "email", "address": "a@example.org" });
    for (body, status, code) in [
        (json!({}), 400, "M_MISSING_PARAM"),
        (json!({ "type": "m.login.sso" }), 400, "M_UNKNOWN"),
        (json!({ "type": "m.login.password" }), 400, "M_MISSING_PARAM"),
        (json!({ "type": "m.login.password", "password": PASSWORD }), 400, "M_MISSING_PARAM"),
        (json!({ "type": "m.login.password", "identifier": user("alice") }), 400, "M_MISSING_PARAM"),
        (json!({ "type": "m.login.password", "identifier": user("alice"), "password": "x" }), 403, "M_FORBIDDEN"),
        (json!({ "type": "m.login.password", "identifier": user("bob"), "password": PASSWORD }), 403, "M_FORBIDDEN"),
        (json!({ "type": "m.login.password", "identifier": third_party, "password": PASSWORD }), 403, "M_FORBIDDEN"),
        (json!({ "type": "m.login.password", "identifier": "alice", "password": PASSWORD }), 400, "M_BAD_JSON"),
        (json!({ "type": "m.login.token", "token": "x" }), 403, "M_FORBIDDEN"),
        (json!({ "type": "m.login.token" }), 400, "M_MISSING_PARAM"),
        (json!({ "type": 3 }), 400, "M_BAD_JSON"),
    ] {
        refused(&post(&api, "/login", "", body).await, status, code);
    }
    let alice = ruma::user_id!("@alice:example.org");
    api.state.accounts.deactivate(alice, false).await.unwrap();
    refused(&post(&api, "/login", "", device).await, 403, "M_USER_DEACTIVATED");
}

#[tokio::test]
async fn refresh_and_logout() {
    let api = TestApi::new();
    api.login("alice").await;
    let body = json!({
        "type": "m.login.password", "identifier": { "type": "m.id.user", "user": "alice" }, "password": PASSWORD,
        "refresh_token": true,
    });
    let first = ok(&post(&api, "/login", "", body.clone()).await);
    let second = ok(&post(&api, "/refresh", "", json!({ "refresh_token": first["refresh_token"] })).await);
    assert!(second["access_token"] != first["access_token"] && second["expires_in_ms"] == 3_600_000);
    let token = second["access_token"].as_str().unwrap();
    ok(&get(&api, "/account/whoami", token).await);
    let again = post(&api, "/refresh", "", json!({ "refresh_token": first["refresh_token"] })).await;
    refused(&again, 401, "M_UNKNOWN_TOKEN");
    refused(&get(&api, "/account/whoami", first["access_token"].as_str().unwrap()).await, 401, "M_UNKNOWN_TOKEN");
    ok(&post(&api, "/logout", token, json!({})).await);
    refused(&get(&api, "/account/whoami", token).await, 401, "M_UNKNOWN_TOKEN");
    refused(&post(&api, "/logout", "", json!({})).await, 401, "M_MISSING_TOKEN");

    let (one, two) = (ok(&post(&api, "/login", "", body.clone()).await), ok(&post(&api, "/login", "", body).await));
    ok(&post(&api, "/logout/all", one["access_token"].as_str().unwrap(), json!({})).await);
    refused(&get(&api, "/account/whoami", two["access_token"].as_str().unwrap()).await, 401, "M_UNKNOWN_TOKEN");
}

#[tokio::test]
async fn an_expired_token_is_a_soft_logout() {
    let api = api_with(|config| config.access_token_lifetime = std::time::Duration::ZERO);
    api.login("alice").await;
    let body = json!({ "type": "m.login.password", "user": "alice", "password": PASSWORD, "refresh_token": true });
    let session = ok(&post(&api, "/login", "", body).await);
    let answer = get(&api, "/account/whoami", session["access_token"].as_str().unwrap()).await;
    refused(&answer, 401, "M_UNKNOWN_TOKEN");
    assert_eq!(answer.json()["soft_logout"], true);
}

#[tokio::test]
async fn login_by_token() {
    let api = TestApi::new();
    let token = api.login("alice").await;
    let path = format!("{V1}/login/get_token");
    let answer = confirmed(&api, Method::POST, &path, &token, "alice", &json!({})).await;
    let login = ok(&answer);
    assert_eq!(login["expires_in_ms"], 120_000);
    let body = json!({ "type": "m.login.token", "token": login["login_token"] });
    assert_eq!(ok(&post(&api, "/login", "", body.clone()).await)["user_id"], "@alice:example.org");
    refused(&post(&api, "/login", "", body).await, 403, "M_FORBIDDEN");
}

#[tokio::test]
async fn a_session_for_one_request_does_not_authorize_another() {
    let api = TestApi::new();
    let token = api.login("alice").await;
    for id in ["ONE", "TWO"] {
        let body = json!({ "type": "m.login.password", "user": "alice", "password": PASSWORD, "device_id": id });
        ok(&post(&api, "/login", "", body).await);
    }
    let begun = delete(&api, "/devices/ONE", &token, json!({})).await.json();
    let auth = password_auth("alice", &begun["session"]);
    for answer in [
        delete(&api, "/devices/TWO", &token, json!({ "auth": auth })).await,
        post(&api, "/delete_devices", &token, json!({ "auth": auth, "devices": ["ONE"] })).await,
        post(&api, "/account/deactivate", &token, json!({ "auth": auth })).await,
        post(&api, "/account/password", &token, json!({ "auth": auth, "new_password": "another one" })).await,
        post(&api, &format!("{V1}/login/get_token"), &token, json!({ "auth": auth })).await,
        post(&api, "/register", "", json!({ "auth": { "session": begun["session"] } })).await,
    ] {
        refused(&answer, 403, "M_FORBIDDEN");
    }
    assert_eq!(ok(&get(&api, "/devices", &token).await)["devices"].as_array().unwrap().len(), 3);
    ok(&delete(&api, "/devices/ONE", &token, json!({ "auth": auth })).await);
    let after = delete(&api, "/devices/ONE", &token, json!({ "auth": auth })).await;
    refused(&after, 401, "M_UNKNOWN");
}

#[tokio::test]
async fn passwords_given_to_interactive_authentication_are_counted() {
    let api = TestApi::with(|parts| parts.limiter = crate::client::RateLimiter::new(true));
    let token = api.login("alice").await;
    let auth = json!({ "type": "m.login.password", "password": "guess" });
    let mut statuses = Vec::new();
    for _ in 0..12 {
        statuses.push(delete(&api, "/devices/X", &token, json!({ "auth": auth })).await.status.as_u16());
    }
    assert_eq!(statuses[..2], [401, 401]);
    assert_eq!(statuses.last(), Some(&429));
}

#[tokio::test]
async fn devices() {
    let api = TestApi::new();
    let token = api.login("alice").await;
    let me = ok(&get(&api, "/account/whoami", &token).await);
    let id = me["device_id"].as_str().unwrap();
    ok(&put(&api, &format!("/devices/{id}"), &token, json!({ "display_name": "Laptop" })).await);
    ok(&put(&api, &format!("/devices/{id}"), &token, json!({})).await);
    let device = ok(&get(&api, &format!("/devices/{id}"), &token).await);
    assert_eq!((&device["display_name"], &device["last_seen_ip"]), (&json!("Laptop"), &json!("192.0.2.1")));
    assert!(device["last_seen_ts"].as_u64().is_some());
    for answer in [
        get(&api, "/devices/OTHER", &token).await,
        put(&api, "/devices/OTHER", &token, json!({ "display_name": "x" })).await,
        put(&api, "/devices/OTHER", &token, json!({})).await,
    ] {
        refused(&answer, 404, "M_NOT_FOUND");
    }
    let body = json!({ "devices": [id, "OTHER"] });
    ok(&confirmed(&api, Method::POST, "/delete_devices", &token, "alice", &body).await);
    refused(&get(&api, "/devices", &token).await, 401, "M_UNKNOWN_TOKEN");
}

#[tokio::test]
async fn own_account() {
    let api = TestApi::new();
    let token = api.login("alice").await;
    assert_eq!(ok(&get(&api, "/account/3pid", &token).await), json!({ "threepids": [] }));
    let weak = post(&api, "/account/password", &token, json!({ "new_password": "short" })).await;
    refused(&weak, 400, "M_WEAK_PASSWORD");
    refused(&post(&api, "/account/password", &token, json!({})).await, 400, "M_MISSING_PARAM");
    refused(
        &post(&api, "/account/password", "", json!({ "new_password": "long enough" })).await,
        401,
        "M_MISSING_TOKEN",
    );
    let other =
        ok(&post(&api, "/login", "", json!({ "type": "m.login.password", "user": "alice", "password": PASSWORD }))
            .await);
    let other = other["access_token"].as_str().unwrap();
    let body = json!({ "new_password": "battery staple" });
    ok(&confirmed(&api, Method::POST, "/account/password", &token, "alice", &body).await);
    ok(&get(&api, "/account/whoami", &token).await);
    refused(&get(&api, "/account/whoami", other).await, 401, "M_UNKNOWN_TOKEN");
    let body = json!({ "new_password": PASSWORD, "logout_devices": false,
        "auth": { "type": "m.login.password", "password": "battery staple" } });
    ok(&post(&api, "/account/password", &token, body).await);

    let gone = confirmed(&api, Method::POST, "/account/deactivate", &token, "alice", &json!({ "erase": true })).await;
    assert_eq!(ok(&gone), json!({ "id_server_unbind_result": "success" }));
    refused(&get(&api, "/account/whoami", &token).await, 401, "M_UNKNOWN_TOKEN");
    let jobs = api.state.jobs.list(&Filter::default(), &Page::default()).await.unwrap().jobs;
    let asked: Vec<_> = jobs.iter().map(|job| (job.kind.as_str(), job.key.as_str())).collect();
    assert_eq!(asked, [(DeactivateUser::NAME, "@alice:example.org")], "the rest is a job");
    refused(&get(&api, "/profile/@alice:example.org", "").await, 404, "M_NOT_FOUND");
}

#[tokio::test]
async fn profiles() {
    let api = TestApi::new();
    let (alice, _) = (api.login("alice").await, api.login("bob").await);
    let path = |field: &str| format!("/profile/@alice:example.org{field}");
    let long = format!("m.{}", "x".repeat(300));
    ok(&put(&api, &path("/displayname"), &alice, json!({ "displayname": "Alice" })).await);
    ok(&put(&api, &path("/m.tz"), &alice, json!({ "m.tz": "Europe/London" })).await);
    ok(&put(&api, &path("/org.example.job"), &alice, json!({ "org.example.job": { "n": [1] } })).await);
    // Anyone may read.
    let all = ok(&get(&api, &path(""), "").await);
    assert_eq!(all, json!({ "displayname": "Alice", "m.tz": "Europe/London", "org.example.job": { "n": [1] } }));
    assert_eq!(ok(&get(&api, &path("/displayname"), "").await), json!({ "displayname": "Alice" }));
    ok(&delete(&api, &path("/m.tz"), &alice, json!({})).await);
    ok(&delete(&api, &path("/m.tz"), &alice, Value::Null).await);
    refused(&get(&api, &path("/m.tz"), "").await, 404, "M_NOT_FOUND");
    for (path, body, status, code) in [
        (path("/displayname"), json!({}), 400, "M_MISSING_PARAM"),
        (path("/displayname"), json!({ "displayname": 1 }), 400, "M_INVALID_PARAM"),
        (path("/avatar_url"), json!({ "avatar_url": "http://example.org" }), 400, "M_INVALID_PARAM"),
        (path("/custom"), json!({ "custom": 1 }), 400, "M_INVALID_PARAM"),
        (path(&format!("/{long}")), json!({ &*long: 1 }), 400, "M_KEY_TOO_LARGE"),
        (path("/m.big"), json!({ "m.big": "x".repeat(70_000) }), 400, "M_PROFILE_TOO_LARGE"),
        ("/profile/@bob:example.org/displayname".to_owned(), json!({ "displayname": "x" }), 403, "M_FORBIDDEN"),
        ("/profile/bob/displayname".to_owned(), json!({ "displayname": "x" }), 400, "M_INVALID_PARAM"),
    ] {
        refused(&put(&api, &path, &alice, body).await, status, code);
    }
    refused(&get(&api, "/profile/@nobody:example.org", "").await, 404, "M_NOT_FOUND");
    refused(&get(&api, "/profile/%FF", "").await, 400, "M_INVALID_PARAM");
    refused(&put(&api, &path("/displayname"), "", json!({ "displayname": "x" })).await, 401, "M_MISSING_TOKEN");
}

#[tokio::test]
async fn account_data() {
    let api = TestApi::new();
    let alice = api.login("alice").await;
    let user = "/user/@alice:example.org";
    for path in [format!("{user}/account_data/org.example"), format!("{user}/rooms/!r:example.org/account_data/x")] {
        refused(&get(&api, &path, &alice).await, 404, "M_NOT_FOUND");
        ok(&put(&api, &path, &alice, json!({ "n": 1 })).await);
        assert_eq!(ok(&get(&api, &path, &alice).await), json!({ "n": 1 }));
        let array = api.call(Method::PUT, &format!("{V3}{path}"), &alice, "[1]").await;
        refused(&array, 400, "M_BAD_JSON");
        refused(&api.call(Method::PUT, &format!("{V3}{path}"), &alice, "{").await, 400, "M_NOT_JSON");
        let other = path.replace("alice", "bob");
        refused(&get(&api, &other, &alice).await, 403, "M_FORBIDDEN");
        refused(&put(&api, &other, &alice, json!({})).await, 403, "M_FORBIDDEN");
    }
    for managed in ["m.push_rules", "m.fully_read"] {
        for room in ["", "/rooms/!r:example.org"] {
            let path = format!("{user}{room}/account_data/{managed}");
            refused(&put(&api, &path, &alice, json!({})).await, 405, "M_BAD_JSON");
        }
    }
    let rules = ok(&get(&api, &format!("{user}/account_data/m.push_rules"), &alice).await);
    assert!(rules["global"]["override"].is_array());
    let path = format!("{user}/rooms/nonsense/account_data/x");
    refused(&put(&api, &path, &alice, json!({})).await, 400, "M_INVALID_PARAM");
}

#[tokio::test]
async fn tags() {
    let api = TestApi::new();
    let alice = api.login("alice").await;
    let path = "/user/@alice:example.org/rooms/!r:example.org/tags";
    assert_eq!(ok(&get(&api, path, &alice).await), json!({ "tags": {} }));
    for (tag, info) in [
        ("m.favourite", json!({ "order": 0.25 })),
        ("u.work", json!({ "order": "0.5", "org.example": true })),
        ("u.plain", json!({ "order": null })),
    ] {
        ok(&put(&api, &format!("{path}/{tag}"), &alice, info).await);
    }
    refused(&put(&api, &format!("{path}/u.x"), &alice, json!({ "order": "x" })).await, 400, "M_BAD_JSON");
    refused(&put(&api, &format!("{path}/u.x"), &alice, json!({ "order": [] })).await, 400, "M_BAD_JSON");
    ok(&delete(&api, &format!("{path}/u.plain"), &alice, json!({})).await);
    assert_eq!(
        ok(&get(&api, path, &alice).await),
        json!({ "tags": { "m.favourite": { "order": 0.25 }, "u.work": { "order": 0.5, "org.example": true } } })
    );
    refused(&get(&api, &path.replace("alice", "bob"), &alice).await, 403, "M_FORBIDDEN");
}

#[tokio::test]
async fn filters() {
    let api = TestApi::new();
    let alice = api.login("alice").await;
    let path = "/user/@alice:example.org/filter";
    let filter = json!({ "room": { "timeline": { "limit": 3 } }, "org.example": 1 });
    let id = ok(&post(&api, path, &alice, filter.clone()).await)["filter_id"].as_str().unwrap().to_owned();
    assert_eq!(ok(&get(&api, &format!("{path}/{id}"), &alice).await), filter);
    assert_eq!(ok(&post(&api, path, &alice, filter).await)["filter_id"], id);
    refused(&post(&api, path, &alice, json!({ "room": 3 })).await, 400, "M_BAD_JSON");
    refused(&get(&api, &format!("{path}/unknown"), &alice).await, 404, "M_NOT_FOUND");
    refused(&post(&api, &path.replace("alice", "bob"), &alice, json!({})).await, 403, "M_FORBIDDEN");
}

#[tokio::test]
async fn push_rules() {
    let api = TestApi::new();
    let alice = api.login("alice").await;
    let base = "/pushrules/global";
    for path in ["/pushrules", "/pushrules/"] {
        let rules = ok(&get(&api, path, &alice).await);
        assert_eq!(rules["global"]["content"], json!([]));
    }
    assert_eq!(ok(&get(&api, "/pushrules/global/", &alice).await)["override"][0]["rule_id"], ".m.rule.master");
    let word = json!({ "pattern": "cake", "actions": ["notify"] });
    ok(&put(&api, &format!("{base}/content/one"), &alice, word.clone()).await);
    ok(&put(&api, &format!("{base}/content/two?after=one"), &alice, word.clone()).await);
    ok(&put(&api, &format!("{base}/room/!r:example.org"), &alice, json!({ "actions": [] })).await);
    let order = ok(&get(&api, "/pushrules/global/", &alice).await);
    assert_eq!((&order["content"][0]["rule_id"], &order["content"][1]["rule_id"]), (&json!("one"), &json!("two")));
    assert_eq!(
        ok(&get(&api, &format!("{base}/content/one"), &alice).await),
        json!({ "rule_id": "one", "pattern": "cake", "actions": ["notify"], "default": false, "enabled": true })
    );
    let one = format!("{base}/content/one");
    assert_eq!(ok(&get(&api, &format!("{one}/enabled"), &alice).await), json!({ "enabled": true }));
    ok(&put(&api, &format!("{one}/enabled"), &alice, json!({ "enabled": false })).await);
    assert_eq!(ok(&get(&api, &format!("{one}/enabled"), &alice).await), json!({ "enabled": false }));
    let sound = json!({ "actions": ["notify", { "set_tweak": "sound", "value": "bing" }] });
    ok(&put(&api, &format!("{one}/actions"), &alice, sound.clone()).await);
    assert_eq!(ok(&get(&api, &format!("{one}/actions"), &alice).await), sound);
    ok(&put(&api, &format!("{base}/override/always"), &alice, json!({ "actions": ["dont_notify", "org.example"] }))
        .await);
    let always = ok(&get(&api, &format!("{base}/override/always"), &alice).await);
    assert_eq!(always["actions"], json!(["dont_notify", "org.example"]));
    let condition = json!({ "actions": [], "conditions": [{ "kind": "org.example", "x": 1 }] });
    ok(&put(&api, &format!("{base}/underride/mine"), &alice, condition.clone()).await);
    assert_eq!(ok(&get(&api, &format!("{base}/underride/mine"), &alice).await)["conditions"], condition["conditions"]);

    for (path, body, status, code) in [
        (format!("{base}/content/.mine"), word.clone(), 400, "M_INVALID_PARAM"),
        (format!("{base}/content/a%2Fb"), word.clone(), 400, "M_INVALID_PARAM"),
        (format!("{base}/content/x?before=unknown"), word.clone(), 400, "M_INVALID_PARAM"),
        (format!("{base}/content/one?after=one"), word.clone(), 400, "M_INVALID_PARAM"),
        (format!("{base}/override/x?after=.m.rule.master"), json!({ "actions": [] }), 400, "M_INVALID_PARAM"),
        (format!("{base}/content/x"), json!({ "actions": [] }), 400, "M_MISSING_PARAM"),
        (format!("{base}/content/x"), json!({ "pattern": "x" }), 400, "M_BAD_JSON"),
        (format!("{base}/room/nonsense"), json!({ "actions": [] }), 400, "M_INVALID_PARAM"),
        (format!("{base}/nonsense/x"), json!({ "actions": [] }), 400, "M_INVALID_PARAM"),
        (format!("{base}/content/x/enabled"), json!({ "enabled": true }), 404, "M_NOT_FOUND"),
        (format!("{one}/enabled"), json!({}), 400, "M_BAD_JSON"),
        (format!("{base}/content/x/actions"), json!({ "actions": [] }), 404, "M_NOT_FOUND"),
    ] {
        refused(&put(&api, &path, &alice, body).await, status, code);
    }
    ok(&delete(&api, &one, &alice, json!({})).await);
    for path in [one, format!("{base}/nonsense/x")] {
        refused(&get(&api, &path, &alice).await, 404, "M_NOT_FOUND");
        refused(&delete(&api, &path, &alice, json!({})).await, 404, "M_NOT_FOUND");
    }
    let default = format!("{base}/override/.m.rule.master");
    refused(&delete(&api, &default, &alice, json!({})).await, 400, "M_INVALID_PARAM");
}

#[tokio::test]
async fn pushers() {
    let api = TestApi::new();
    let alice = api.login("alice").await;
    assert_eq!(ok(&get(&api, "/pushers", &alice).await), json!({ "pushers": [] }));
    let pusher = json!({
        "kind": "http", "app_id": "org.example", "pushkey": "key", "app_display_name": "App",
        "device_display_name": "Phone", "lang": "en",
        "data": { "url": "https://push.example.org/_matrix/push/v1/notify", "format": "event_id_only" },
    });
    ok(&post(&api, "/pushers/set", &alice, pusher.clone()).await);
    assert_eq!(ok(&get(&api, "/pushers", &alice).await), json!({ "pushers": [pusher] }));
    let mut elsewhere = pusher.clone();
    elsewhere["data"]["url"] = "https://push.example.org/".into();
    refused(&post(&api, "/pushers/set", &alice, elsewhere).await, 400, "M_INVALID_PARAM");
    refused(&post(&api, "/pushers/set", &alice, json!({ "kind": "http" })).await, 400, "M_BAD_JSON");
    let gone = json!({ "kind": null, "app_id": "org.example", "pushkey": "key" });
    ok(&post(&api, "/pushers/set", &alice, gone).await);
    assert_eq!(ok(&get(&api, "/pushers", &alice).await), json!({ "pushers": [] }));
}

#[tokio::test]
async fn user_directory() {
    use hearth_rooms::membership::{Change, MemberProfile};
    use ruma::{UserId, api::client::room::create_room::v3 as create_room};
    let api = TestApi::new();
    let (alice, _, _) = (api.login("alice").await, api.login("bob").await, api.login("bobby").await);
    let user = |name: &str| UserId::parse(format!("@{name}:example.org")).unwrap();
    let rooms = &api.state.rooms;
    let profile = MemberProfile::default();
    let found = async |term: &str, limit: u32| -> (Vec<String>, bool) {
        let body = json!({ "search_term": term, "limit": limit });
        let answer = ok(&post(&api, "/user_directory/search", &alice, body).await);
        let users = answer["results"].as_array().unwrap().iter();
        let users = users.map(|user| user["user_id"].as_str().unwrap().to_owned()).collect();
        (users, answer["limited"].as_bool().unwrap())
    };
    let nobody: Vec<String> = Vec::new();
    assert_eq!(found("bob", 10).await, (nobody.clone(), false), "strangers");

    // A private room with bob, a public one with bobby alone.
    let private = rooms.create(&user("alice"), &profile, create_room::Request::new()).await.unwrap();
    rooms.change_membership(&private, &user("alice"), &user("bob"), Change::Invite, &profile, None).await.unwrap();
    assert_eq!(found("bob", 10).await.0, nobody, "invited only");
    rooms.change_membership(&private, &user("bob"), &user("bob"), Change::Join, &profile, None).await.unwrap();
    assert_eq!(found("BOB", 10).await, (vec!["@bob:example.org".to_owned()], false));
    let mut public = create_room::Request::new();
    public.preset = Some(create_room::RoomPreset::PublicChat);
    rooms.create(&user("bobby"), &profile, public).await.unwrap();
    let both = vec!["@bob:example.org".to_owned(), "@bobby:example.org".to_owned()];
    assert_eq!(found("bob", 10).await, (both.clone(), false));
    assert_eq!(found("bob", 2).await, (both.clone(), false));
    assert_eq!(found("bob", 1).await, (both[..1].to_vec(), true));
    refused(&post(&api, "/user_directory/search", &alice, json!({})).await, 400, "M_BAD_JSON");
}

#[tokio::test]
async fn a_new_display_name_reaches_the_rooms() {
    use hearth_rooms::membership::MemberProfile;
    use ruma::{api::client::room::create_room::v3 as create_room, user_id};
    let api = TestApi::new();
    let token = api.login("alice").await;
    let alice = user_id!("@alice:example.org");
    let room = api.state.rooms.create(alice, &MemberProfile::default(), create_room::Request::new()).await.unwrap();
    ok(&put(&api, "/profile/@alice:example.org/displayname", &token, json!({ "displayname": "Alice L." })).await);
    let path = format!("/rooms/{room}/state/m.room.member/@alice:example.org");
    let member = ok(&get(&api, &path, &token).await);
    assert_eq!(member["displayname"], "Alice L.");
}
