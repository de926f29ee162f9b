//! The server on FoundationDB: its own local instance, harm to it, and what is said where it cannot work. What needs an
//! `fdbserver` is skipped, loudly, where none is installed.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "tests panic")]

use std::{
    collections::HashSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use hearth_supervisor::foundationdb::LocalInstance;
use hearth_tests::{
    Account, Engine, Options, TestServer, command,
    foundationdb::{Cluster, is_installed, signal},
    run,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::Mutex;

/// Exit codes of a wrong configuration, and of a database that does not answer.
const CONFIGURATION: i32 = 78;
const UNAVAILABLE: i32 = 69;
/// What an error may take, and a machine that is busy with other tests may add.
const SOON: Duration = Duration::from_secs(5);
const BUSY: Duration = Duration::from_secs(5);
/// Longest that a recovery may take: a bound for failures, never a wait.
const PATIENCE: Duration = Duration::from_mins(2);

fn local() -> Options {
    Options { engine: Engine::LocalFoundationDb, ..Options::default() }
}

async fn create_room(server: &TestServer, who: &Account) -> String {
    let path = "/_matrix/client/v3/createRoom";
    let (status, room) = server.call("POST", path, Some(&who.token), Some(json!({ "preset": "public_chat" }))).await;
    assert_eq!(status, 200, "{room}");
    room["room_id"].as_str().unwrap().to_owned()
}

async fn send(server: &TestServer, who: &Account, room: &str, transaction: &str) -> (u16, Value) {
    let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/{transaction}");
    let body = json!({ "msgtype": "m.text", "body": transaction });
    server.call("PUT", &path, Some(&who.token), Some(body)).await
}

/// Every message of a room, as event id and body.
async fn messages(server: &TestServer, who: &Account, room: &str) -> Vec<(String, String)> {
    let mut messages = Vec::new();
    let mut from = String::new();
    loop {
        let path = format!("/_matrix/client/v3/rooms/{room}/messages?dir=f&limit=100{from}");
        let (status, page) = server.call("GET", &path, Some(&who.token), None).await;
        assert_eq!(status, 200, "{page}");
        for event in page["chunk"].as_array().unwrap() {
            if let Some(body) = event["content"]["body"].as_str() {
                messages.push((event["event_id"].as_str().unwrap().to_owned(), body.to_owned()));
            }
        }
        match page["end"].as_str() {
            Some(end) => from = format!("&from={end}"),
            None => return messages,
        }
    }
}

/// `hearth serve` that must refuse: its exit code and its last words, and how long that took.
async fn refusal(folder: &Path, store: &str, environment: &[(&str, &str)]) -> (i32, String, Duration) {
    let file = folder.join("hearth.toml");
    let text = format!(
        "server_name = \"hearth.test\"\ndata_dir = \"data\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [admin]\naddress = \"127.0.0.1:0\"\n[store]\nengine = \"foundationdb\"\n{store}"
    );
    std::fs::write(&file, text).unwrap();
    let mut command = command(["serve", "--config"]);
    command.arg(file).envs(environment.iter().copied());
    let began = Instant::now();
    let output = run(command, "").await;
    let took = began.elapsed();
    assert!(output.stdout.is_empty(), "no ready line");
    let message = String::from_utf8(output.stderr).unwrap();
    let (_, words) = message.rsplit_once("hearth: ").unwrap_or_else(|| panic!("no last words: {message}"));
    (output.status.code().unwrap(), words.to_owned(), took)
}

#[tokio::test]
async fn a_missing_library_is_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for (store, environment) in [
        ("client_library = \"/nonexistent/libfdb_c.so\"\n", [].as_slice()),
        ("", [("FDB_CLIENT_LIBRARY", "/nonexistent/libfdb_c.so")].as_slice()),
        ("cluster_file = \"fdb.cluster\"\nclient_library = \"/nonexistent/libfdb_c.so\"\n", [].as_slice()),
    ] {
        let (code, words, took) = refusal(folder.path(), store, environment).await;
        assert_eq!(code, CONFIGURATION, "{words}");
        assert!(words.contains("/nonexistent/libfdb_c.so") && words.contains("foundationdb-clients"), "{words}");
        assert!(took < SOON, "{took:?}");
        assert!(!folder.path().join("data").exists(), "nothing was made");
    }
}

#[tokio::test]
async fn a_missing_server_is_named_at_once() {
    if !is_installed("a_missing_server_is_named_at_once") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (code, words, took) = refusal(folder.path(), "", &[("FDBSERVER", "/nonexistent/fdbserver")]).await;
    assert_eq!(code, CONFIGURATION, "{words}");
    assert!(words.contains("/nonexistent/fdbserver") && words.contains("foundationdb-server"), "{words}");
    assert!(took < SOON, "{took:?}");
    assert!(!folder.path().join("data").exists(), "nothing was made");
}

#[tokio::test]
async fn a_cluster_that_does_not_answer_is_an_error_soon() {
    if !is_installed("a_cluster_that_does_not_answer_is_an_error_soon") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let cluster_file = folder.path().join("fdb.cluster");
    let text = "hearth:0123456789@127.0.0.1:1\n";
    for (content, expected, word) in [
        (None, CONFIGURATION, "cannot be used"),
        (Some("no cluster file"), CONFIGURATION, "cannot be used"),
        (Some(text), UNAVAILABLE, "does not answer"),
    ] {
        match content {
            Some(content) => std::fs::write(&cluster_file, content).unwrap(),
            None => assert!(!cluster_file.exists()),
        }
        let (code, words, took) = refusal(folder.path(), "cluster_file = \"fdb.cluster\"\n", &[]).await;
        assert_eq!(code, expected, "{words}");
        assert!(words.contains(cluster_file.to_str().unwrap()) && words.contains(word), "{words}");
        assert!(took < SOON + BUSY, "{took:?}");
        assert!(!folder.path().join("data").exists(), "nothing was made");
    }
    assert_eq!(std::fs::read_to_string(cluster_file).unwrap(), text, "nor changed");
}

#[tokio::test]
async fn a_local_database_starts_and_stops_with_its_server() {
    if !is_installed("a_local_database_starts_and_stops_with_its_server") {
        return;
    }
    let mut server = TestServer::start(local()).await;
    let database = server.foundationdb_dir();
    let alice = server.register("alice").await;
    let room = create_room(&server, &alice).await;
    assert_eq!(send(&server, &alice, &room, "first").await.0, 200);
    assert_eq!(LocalInstance::processes(&database).len(), 1);
    assert_eq!(server.stop().await, Some(0));
    assert!(LocalInstance::processes(&database).is_empty(), "it left with the server");

    // A command alone brings the database with it, and takes it along.
    let mut list = command(["user", "list", "--config"]);
    list.arg(server.config_file());
    let output = run(list, "").await;
    assert!(String::from_utf8_lossy(&output.stdout).contains("@alice:hearth.test"), "{output:?}");
    assert!(LocalInstance::processes(&database).is_empty());

    server.start_again().await;
    assert_eq!(messages(&server, &alice, &room).await.len(), 1);
    // Beside a running server it goes through its admin API.
    let mut create = command(["user", "create", "bob", "--generate", "--config"]);
    create.arg(server.config_file());
    let output = run(create, "").await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(LocalInstance::processes(&database).len(), 1);
}

#[tokio::test]
async fn an_orphaned_database_is_no_second_one() {
    if !is_installed("an_orphaned_database_is_no_second_one") {
        return;
    }
    let mut server = TestServer::start(local()).await;
    let database = server.foundationdb_dir();
    let alice = server.register("alice").await;
    let room = create_room(&server, &alice).await;
    for round in 0..3 {
        assert_eq!(send(&server, &alice, &room, &format!("m{round}")).await.0, 200);
        // Stopped, the orphan cannot leave by itself when it sees that its parent has gone.
        if round == 2 {
            signal(&database, Signal::STOP);
        }
        server.kill9().await;
        server.start_again().await;
        assert_eq!(LocalInstance::processes(&database).len(), 1, "one server on one folder");
        let found = messages(&server, &alice, &room).await;
        assert_eq!(found.len(), round + 1, "{found:?}");
    }
}

#[tokio::test]
async fn a_stranger_on_its_port_makes_it_move() {
    if !is_installed("a_stranger_on_its_port_makes_it_move") {
        return;
    }
    let mut server = TestServer::start(local()).await;
    let alice = server.register("alice").await;
    let room = create_room(&server, &alice).await;
    assert_eq!(send(&server, &alice, &room, "before").await.0, 200);
    let cluster_file = server.foundationdb_dir().join("fdb.cluster");
    let cluster = || {
        let text = std::fs::read_to_string(&cluster_file).unwrap();
        let line = text.lines().find(|line| !line.starts_with('#')).unwrap();
        let (key, address) = line.split_once('@').unwrap();
        (key.to_owned(), address.to_owned())
    };
    for round in 0..2 {
        let (key, address) = cluster();
        assert_eq!(server.stop().await, Some(0));
        let stranger = std::net::TcpListener::bind(&address).unwrap();
        server.start_again().await;
        assert_eq!(cluster().0, key, "the same cluster");
        assert_ne!(cluster().1, address);
        assert_eq!(send(&server, &alice, &room, &format!("after {round}")).await.0, 200);
        assert_eq!(messages(&server, &alice, &room).await.len(), 2 + round);
        drop(stranger);
    }
}

#[tokio::test]
async fn another_identity_is_refused() {
    let Some(cluster) = Cluster::start("another_identity_is_refused").await else { return };
    let engine = Engine::FoundationDb { cluster_file: cluster.cluster_file(), key_prefix: "one".to_owned() };
    let server = TestServer::start(Options { engine, ..Options::default() }).await;
    let folder = tempfile::tempdir().unwrap();
    let store = format!("cluster_file = {:?}\nkey_prefix = \"one\"\n", cluster.cluster_file());
    let (code, words, _) = refusal(folder.path(), &store, &[]).await;
    assert_eq!(code, CONFIGURATION);
    assert!(words.contains("Copy the file identity.toml"), "{words}");
    assert!(!folder.path().join("data/identity.toml").exists());
    // Its folder is one server's, too.
    let data = server.data_dir();
    let file = folder.path().join("second.toml");
    let text = std::fs::read_to_string(server.config_file()).unwrap();
    std::fs::write(&file, text.replace("data_dir = \"data\"", &format!("data_dir = {data:?}"))).unwrap();
    let mut second = command(["serve", "--config"]);
    second.arg(&file);
    let output = run(second, "").await;
    assert_eq!(output.status.code(), Some(CONFIGURATION));
    assert!(String::from_utf8_lossy(&output.stderr).contains("in use by another process"), "{output:?}");
}

/// What the writers and the reader saw.
#[derive(Default)]
struct Seen {
    /// Room, event, body.
    acknowledged: Mutex<Vec<(String, String, String)>>,
    unavailable: AtomicU32,
    /// The slowest answer 503, in milliseconds.
    slowest: AtomicU32,
    stop: AtomicBool,
}

async fn write(server: Arc<TestServer>, who: Account, room: String, writer: usize, seen: Arc<Seen>) {
    for number in 0.. {
        let transaction = format!("w{writer}-{number}");
        // As a client does: the same transaction until it is answered.
        loop {
            if seen.stop.load(Ordering::Relaxed) {
                return;
            }
            let began = Instant::now();
            let (status, answer) = send(&server, &who, &room, &transaction).await;
            if status == 200 {
                let event = answer["event_id"].as_str().unwrap().to_owned();
                seen.acknowledged.lock().await.push((room.clone(), event, transaction));
                break;
            }
            assert_eq!(status, 503, "{answer}\n{}", server.log());
            seen.unavailable.fetch_add(1, Ordering::Relaxed);
            seen.slowest.fetch_max(u32::try_from(began.elapsed().as_millis()).unwrap(), Ordering::Relaxed);
        }
    }
}

/// Follows `/sync` until it has seen `goodbye`; gives every message, in order.
async fn follow(server: Arc<TestServer>, who: Account, goodbye: &str) -> Vec<String> {
    let filter = "%7B%22room%22%3A%7B%22timeline%22%3A%7B%22limit%22%3A1000%7D%7D%7D";
    let mut events = Vec::new();
    let mut since = String::new();
    loop {
        let path = format!("/_matrix/client/v3/sync?timeout=5000&filter={filter}{since}");
        let (status, batch) = server.call("GET", &path, Some(&who.token), None).await;
        if status == 503 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        assert_eq!(status, 200, "{batch}");
        since = format!("&since={}", batch["next_batch"].as_str().unwrap());
        let mut parted = false;
        for room in batch["rooms"]["join"].as_object().into_iter().flat_map(|rooms| rooms.values()) {
            assert_ne!(room["timeline"]["limited"], json!(true), "the limit is high enough");
            for event in room["timeline"]["events"].as_array().unwrap() {
                let Some(body) = event["content"]["body"].as_str() else { continue };
                events.push(event["event_id"].as_str().unwrap().to_owned());
                parted |= body == goodbye;
            }
        }
        // Not before: the same answer has the other rooms' last messages, too.
        if parted {
            return events;
        }
    }
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "{what} takes too long");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_stalls_and_dies_loses_nothing() {
    const ROOMS: usize = 4;
    const WRITERS: usize = 8;
    const ROUNDS: u32 = 3;
    const MESSAGES_BETWEEN: usize = 100;
    const GOODBYE: &str = "goodbye";
    if !is_installed("a_database_that_stalls_and_dies_loses_nothing") {
        return;
    }
    let server = Arc::new(TestServer::start(local()).await);
    let database = server.foundationdb_dir();
    let alice = server.register("alice").await;
    let mut rooms = Vec::new();
    for _ in 0..ROOMS {
        rooms.push(create_room(&server, &alice).await);
    }
    let seen = Arc::new(Seen::default());
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write(server.clone(), alice.clone(), rooms[writer % ROOMS].clone(), writer, seen.clone()));
    }
    let reader = tokio::spawn(follow(server.clone(), alice.clone(), GOODBYE));
    let more_acknowledged = async || {
        let before = seen.acknowledged.lock().await.len();
        let enough = async || seen.acknowledged.lock().await.len() >= before + MESSAGES_BETWEEN;
        until("an acknowledgement", enough).await;
    };
    more_acknowledged().await;
    for _ in 0..ROUNDS {
        // It stalls, as on a disk that hangs: whoever waits is told so in time.
        signal(&database, Signal::STOP);
        let before = seen.unavailable.load(Ordering::Relaxed);
        until("an error", async || seen.unavailable.load(Ordering::Relaxed) >= before + WRITERS as u32).await;
        signal(&database, Signal::CONT);
        more_acknowledged().await;
        // It dies, and the server starts it again.
        let killed = signal(&database, Signal::KILL);
        let alive = async || LocalInstance::processes(&database).first().is_some_and(|pid| *pid != killed);
        until("a new database server", alive).await;
        more_acknowledged().await;
    }
    seen.stop.store(true, Ordering::Relaxed);
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    assert_eq!(send(&server, &alice, &rooms[0], GOODBYE).await.0, 200);

    let synced = tokio::time::timeout(PATIENCE, reader).await.expect("the reader comes to the end").unwrap();
    let synced_once: HashSet<_> = synced.iter().collect();
    assert_eq!(synced_once.len(), synced.len(), "no event twice in the stream");
    let mut stored = 0;
    let acknowledged = seen.acknowledged.lock().await;
    for room in &rooms {
        let found = messages(&server, &alice, room).await;
        stored += found.len();
        let bodies: HashSet<_> = found.iter().map(|(_, body)| body).collect();
        assert_eq!(bodies.len(), found.len(), "each message once");
        let events: HashSet<_> = found.iter().map(|(event, _)| event).collect();
        for (_, event, body) in acknowledged.iter().filter(|(other, ..)| other == room) {
            assert!(events.contains(event), "{body} was acknowledged and is lost");
            assert!(synced_once.contains(event), "{body} was acknowledged and never synced");
        }
    }
    eprintln!(
        "{} messages acknowledged, {} answers 503 (the slowest after {} ms), {ROUNDS} stalls and {ROUNDS} kills of the database, \
         {stored} messages stored, {} synced",
        acknowledged.len(),
        seen.unavailable.load(Ordering::Relaxed),
        seen.slowest.load(Ordering::Relaxed),
        synced.len()
    );
}
