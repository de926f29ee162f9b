//! Jobs of the real server: cut off in the middle by a killed process, they end in the same state.

#![allow(clippy::unwrap_used)] // a test

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use hearth_tests::{Account, Options, TestServer};
use serde_json::{Value, json};

const ROOMS: usize = 150;
/// A bound for failures, never a wait.
const PATIENCE: Duration = Duration::from_mins(2);
/// Pause between two questions.
const AGAIN: Duration = Duration::from_millis(20);

/// The answer's body, after checking that it is one.
async fn ok(server: &TestServer, method: &str, path: &str, account: &Account, body: Value) -> Value {
    let body = (method != "GET").then_some(body);
    let (status, answer) = server.call(method, &format!("/_matrix/client/v3{path}"), Some(&account.token), body).await;
    assert_eq!(status, 200, "{method} {path}: {answer}\n{}", server.log());
    answer
}

/// The first job of a kind and key, whatever it does.
async fn job(server: &TestServer, kind: &str, key: &str) -> Option<Value> {
    let (status, list) = server.admin("GET", &format!("/jobs?kind={kind}"), None).await;
    assert_eq!(status, 200, "{list}\n{}", server.log());
    list["jobs"].as_array().unwrap().iter().find(|job| job["key"] == key).cloned()
}

/// Waits until the job has ended.
async fn ended(server: &TestServer, kind: &str, key: &str) -> Value {
    let begin = Instant::now();
    loop {
        if let Some(job) = job(server, kind, key).await
            && !job["ended_at"].is_null()
        {
            return job;
        }
        assert!(begin.elapsed() < PATIENCE, "{kind} of {key} does not end\n{}", server.log());
        tokio::time::sleep(AGAIN).await;
    }
}

/// How often a user left each room, by the room's own timeline.
async fn leaves(server: &TestServer, alice: &Account, room: &str, user: &str) -> usize {
    let filter = r#"{"types":["m.room.member"]}"#;
    let filter: String = url::form_urlencoded::byte_serialize(filter.as_bytes()).collect();
    let path = format!("/rooms/{room}/messages?dir=b&limit=100&filter={filter}");
    let chunk = ok(server, "GET", &path, alice, Value::Null).await["chunk"].clone();
    let events = chunk.as_array().unwrap();
    events.iter().filter(|event| event["state_key"] == user && event["content"]["membership"] == "leave").count()
}

async fn is_joined(server: &TestServer, alice: &Account, room: &str, user: &str) -> bool {
    ok(server, "GET", &format!("/rooms/{room}/joined_members"), alice, Value::Null).await["joined"].get(user).is_some()
}

#[tokio::test]
async fn a_deactivation_survives_killed_processes() {
    let mut server = TestServer::start(Options::default()).await;
    let alice = server.register("alice").await;
    let (bob, carol) = (server.register("bob").await, server.register("carol").await);
    let mut rooms = Vec::new();
    for _ in 0..ROOMS {
        let room = ok(&server, "POST", "/createRoom", &alice, json!({ "preset": "public_chat" })).await;
        let room = room["room_id"].as_str().unwrap().to_owned();
        for member in [&bob, &carol] {
            ok(&server, "POST", &format!("/join/{room}"), member, json!({})).await;
        }
        rooms.push(room);
    }

    // Carol's is left alone, to compare with.
    let path = |account: &Account| format!("/users/{}/deactivate", account.user_id);
    let (status, answer) = server.admin("POST", &path(&carol), Some(json!({ "erase": false }))).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(ended(&server, "deactivate_user", &carol.user_id).await["state"], "done");

    let (status, answer) = server.admin("POST", &path(&bob), Some(json!({ "erase": false }))).await;
    assert_eq!(status, 200, "{answer}");
    let mut in_the_middle = 0;
    // Rooms are left in their order: whenever some more are, the process is killed.
    for room in [0, ROOMS / 3, 2 * ROOMS / 3] {
        let begin = Instant::now();
        while is_joined(&server, &alice, &rooms[room], &bob.user_id).await {
            assert!(begin.elapsed() < PATIENCE, "room {room} is not left\n{}", server.log());
        }
        in_the_middle += usize::from(is_joined(&server, &alice, &rooms[ROOMS - 1], &bob.user_id).await);
        server.kill9().await;
        server.start_again().await;
    }
    assert!(in_the_middle > 0, "every kill came too late");
    let job = ended(&server, "deactivate_user", &bob.user_id).await;
    assert_eq!((&job["state"], &job["last_error"]), (&json!("done"), &Value::Null), "{job}");
    for room in &rooms {
        for gone in [&bob, &carol] {
            assert!(!is_joined(&server, &alice, room, &gone.user_id).await);
            assert_eq!(leaves(&server, &alice, room, &gone.user_id).await, 1, "{} in {room}", gone.user_id);
        }
    }
    for gone in [&bob, &carol] {
        let (status, _) = server.call("GET", "/_matrix/client/v3/account/whoami", Some(&gone.token), None).await;
        assert_eq!(status, 401);
    }
    assert_eq!(server.stop().await, Some(0));
}

/// The names of backups in a folder, sorted.
fn backups(folder: &std::path::Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[tokio::test]
async fn backups_by_hand_stay_and_scheduled_ones_are_retained() {
    let options = Options { more: "[backup]\ninterval_hours = 1\nkeep = 1\n".to_owned(), ..Options::default() };
    let server = TestServer::start(options).await;
    let folder = server.data_dir().join("backups");
    // The first one is scheduled for later; asked for, it is made now.
    let begin = Instant::now();
    let id = loop {
        if let Some(job) = job(&server, "backup", "scheduled").await {
            assert_eq!((&job["state"], &job["scheduled"]), (&json!("waiting"), &json!(true)), "{job}");
            break job["id"].as_str().unwrap().to_owned();
        }
        assert!(begin.elapsed() < PATIENCE, "nothing is scheduled\n{}", server.log());
        tokio::time::sleep(AGAIN).await;
    };
    let mut ids = vec![id];
    let (status, by_hand) = server.admin("POST", "/backups", None).await;
    assert_eq!((status, &by_hand["kind"]), (202, &json!("backup")), "{by_hand}");
    assert_eq!(ended(&server, "backup", "manual").await["state"], "done");
    let by_hand = backups(&folder);
    assert_eq!(by_hand.len(), 1, "{by_hand:?}");
    let mut made = Vec::new();
    for _ in 0..2 {
        let (status, job) = server.admin("POST", &format!("/jobs/{}/retry", ids.last().unwrap()), None).await;
        assert_eq!(status, 200, "{job}");
        let begin = Instant::now();
        // It is followed by the next one at its time.
        let next = loop {
            let (_, done) = server.admin("GET", &format!("/jobs/{}", ids.last().unwrap()), None).await;
            if done["ended_at"].is_null() {
                assert!(begin.elapsed() < PATIENCE, "no backup is made: {done}\n{}", server.log());
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            assert_eq!(done["state"], "done", "{done}");
            let waiting = server.admin("GET", "/jobs?kind=backup&state=waiting", None).await.1;
            break waiting["jobs"][0]["id"].as_str().unwrap().to_owned();
        };
        assert!(!ids.contains(&next));
        ids.push(next);
        let mut files = backups(&folder);
        files.retain(|file| !by_hand.contains(file));
        assert_eq!(files.len(), 1, "one is kept: {files:?}");
        assert!(!made.contains(&files[0]), "and it is the newest");
        made.extend(files);
    }
    assert_eq!(backups(&folder).len(), 2, "the one by hand stays");
}
