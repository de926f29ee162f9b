//! `hearth store`: a backup while the server works, restored on another machine; copies between stores; what is refused.
//! What needs an `fdbserver` is skipped, loudly, where none is installed.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "tests panic")]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use hearth_store::{EmbeddedOptions, RangeRead, Store};
use hearth_tests::{Account, Engine, Options, TestServer, command, foundationdb::Cluster, run};
use rustix::process::Signal;
use serde_json::{Value, json};

const FAILED: i32 = 1;
const CONFIGURATION: i32 = 78;

/// `hearth store` with arguments: exit code, what it said, and what it complained of.
async fn store(arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut command = command(["store"]);
    command.args(arguments);
    let Output { status, stdout, stderr } = run(command, input).await;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

/// One that must do what it is asked to.
async fn done(arguments: &[&str]) -> String {
    let (code, said, complained) = store(arguments, "").await;
    assert_eq!(code, 0, "{arguments:?}: {said}{complained}");
    eprintln!("{}", said.trim_end());
    said
}

/// One that must fail, with words about it.
async fn refused(arguments: &[&str], code: i32, words: &[&str]) {
    let (found, said, complained) = store(arguments, "").await;
    assert_eq!(found, code, "{arguments:?}: {said}{complained}");
    for word in words {
        assert!(complained.contains(word), "{arguments:?}: {word:?} in {complained}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

async fn create_room(server: &TestServer, who: &Account) -> String {
    let path = "/_matrix/client/v3/createRoom";
    let (status, room) = server.call("POST", path, Some(&who.token), Some(json!({ "preset": "public_chat" }))).await;
    assert_eq!(status, 200, "{room}");
    room["room_id"].as_str().unwrap().to_owned()
}

/// Sends a message; its event id.
async fn send(server: &TestServer, who: &Account, room: &str, body: &str) -> String {
    let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/{body}");
    let content = json!({ "msgtype": "m.text", "body": body });
    let (status, sent) = server.call("PUT", &path, Some(&who.token), Some(content)).await;
    assert_eq!(status, 200, "{sent}");
    sent["event_id"].as_str().unwrap().to_owned()
}

/// Everything that stands in a room, oldest first, as the client sees it.
async fn timeline(server: &TestServer, who: &Account, room: &str) -> Vec<Value> {
    let mut events = Vec::new();
    let mut from = String::new();
    loop {
        let path = format!("/_matrix/client/v3/rooms/{room}/messages?dir=f&limit=200{from}");
        let (status, page) = server.call("GET", &path, Some(&who.token), None).await;
        assert_eq!(status, 200, "{page}");
        for event in page["chunk"].as_array().unwrap() {
            let mut event = event.clone();
            // How long ago it was depends on when one asks.
            event["unsigned"] = Value::Null;
            events.push(event);
        }
        match page["end"].as_str() {
            Some(end) => from = format!("&from={end}"),
            None => return events,
        }
    }
}

async fn state(server: &TestServer, who: &Account, room: &str) -> BTreeMap<(String, String), Value> {
    let path = format!("/_matrix/client/v3/rooms/{room}/state");
    let (status, events) = server.call("GET", &path, Some(&who.token), None).await;
    assert_eq!(status, 200, "{events}");
    let word = |event: &Value, name: &str| event[name].as_str().unwrap().to_owned();
    let entry = |event: &Value| ((word(event, "type"), word(event, "state_key")), event["content"].clone());
    events.as_array().unwrap().iter().map(entry).collect()
}

/// What is new since a token: the token after it and the messages' bodies.
async fn sync(server: &TestServer, who: &Account, room: &str, since: Option<&str>) -> (String, Vec<String>) {
    let since = since.map(|since| format!("&since={since}")).unwrap_or_default();
    let path = format!("/_matrix/client/v3/sync?timeout=0{since}");
    let (status, answer) = server.call("GET", &path, Some(&who.token), None).await;
    assert_eq!(status, 200, "{answer}");
    let events = answer["rooms"]["join"][room]["timeline"]["events"].as_array().cloned().unwrap_or_default();
    let bodies = events.iter().filter_map(|event| event["content"]["body"].as_str().map(str::to_owned)).collect();
    (answer["next_batch"].as_str().unwrap().to_owned(), bodies)
}

fn ids(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event_id"].as_str().unwrap()).collect()
}

/// A server with Alice, her room and some messages.
async fn inhabited(options: Options) -> (TestServer, Account, String) {
    let server = TestServer::start(options).await;
    let alice = server.register("alice").await;
    let room = create_room(&server, &alice).await;
    for number in 0..30 {
        send(&server, &alice, &room, &format!("early-{number}")).await;
    }
    (server, alice, room)
}

/// Sends messages until it is told to stop; returns the ids of all that were acknowledged.
async fn talk(server: &TestServer, who: &Account, room: &str, stop: &AtomicBool) -> Vec<String> {
    let mut sent = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        sent.push(send(server, who, room, &format!("during-{}", sent.len())).await);
    }
    sent
}

/// Makes a server whose folder is ready, but which has no data yet.
async fn empty(engine: Engine) -> TestServer {
    let mut server = TestServer::start(Options { engine, ..Options::default() }).await;
    assert_eq!(server.stop().await, Some(0));
    std::fs::remove_dir_all(server.data_dir()).unwrap();
    server
}

fn passphrase_file(folder: &Path) -> PathBuf {
    let file = folder.join("passphrase");
    std::fs::write(&file, "correct horse battery staple\n").unwrap();
    file
}

/// A backup that a working server makes is of one moment, with everything acknowledged before; restored elsewhere, clients go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_restores_what_clients_saw() {
    let (server, alice, room) = inhabited(Options::default()).await;
    let (token, _) = sync(&server, &alice, &room, None).await;
    let config = server.config_file();
    let passphrase = passphrase_file(server.folder());
    let backup = server.folder().join("one.hearth-backup");
    let before = timeline(&server, &alice, &room).await;

    let stop = Arc::new(AtomicBool::new(false));
    let (talked, said) = tokio::join!(talk(&server, &alice, &room, &stop), async {
        let arguments =
            ["backup", "--config", text(&config), "--to", text(&backup), "--passphrase-file", text(&passphrase)];
        let said = done(&arguments).await;
        stop.store(true, Ordering::Relaxed);
        said
    });
    assert!(said.contains("Backed up") && said.contains(text(&backup)), "{said}");
    let after = timeline(&server, &alice, &room).await;
    assert!(after.len() >= before.len() + talked.len() && !talked.is_empty());

    // The same words while the server has the store: figures from it; a check and a restore need the store.
    let stats: Value = serde_json::from_str(&done(&["stats", "--json", "--config", text(&config)]).await).unwrap();
    let tables = stats["tables"].as_array().unwrap();
    assert!(tables.iter().any(|table| table["table"] == "event" && table["entries"].as_u64() > Some(30)), "{stats}");
    refused(&["check", "--config", text(&config)], FAILED, &["stop the server first"]).await;
    refused(
        &["restore", "--config", text(&config), "--from", text(&backup), "--passphrase-file", text(&passphrase)],
        FAILED,
        &["Stop the server first"],
    )
    .await;

    // Every way in which it is not what it was.
    done(&["verify", "--from", text(&backup), "--passphrase-file", text(&passphrase)]).await;
    let (code, _, complained) = store(&["verify", "--from", text(&backup)], "wrong\n").await;
    assert!(code == FAILED && complained.contains("this is not the passphrase"), "{complained}");
    let mut bytes = std::fs::read(&backup).unwrap();
    let other = server.folder().join("other.hearth-backup");
    std::fs::write(&other, &bytes[..bytes.len() / 2]).unwrap();
    let from_other = ["verify", "--from", text(&other), "--passphrase-file", text(&passphrase)];
    refused(&from_other, FAILED, &["is cut off"]).await;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&other, &bytes).unwrap();
    refused(&from_other, FAILED, &["is damaged or was altered"]).await;

    let mut target = empty(Engine::Embedded).await;
    let new_config = target.config_file();
    refused(
        &["restore", "--config", text(&new_config), "--from", text(&other), "--passphrase-file", text(&passphrase)],
        FAILED,
        &["is damaged or was altered"],
    )
    .await;
    let restore =
        ["restore", "--config", text(&new_config), "--from", text(&backup), "--passphrase-file", text(&passphrase)];
    let said = done(&restore).await;
    assert!(said.contains("compared") && said.contains("identity.toml, the server's signing key"), "{said}");
    refused(&restore, FAILED, &["the target store is not empty", "Move"]).await;
    let identity = |server: &TestServer| std::fs::read(server.data_dir().join("identity.toml")).unwrap();
    assert_eq!(identity(&target), identity(&server));
    assert!(done(&["check", "--config", text(&new_config)]).await.contains("everything agrees"));

    target.start_again().await;
    let restored = timeline(&target, &alice, &room).await;
    assert!(restored.len() >= before.len(), "everything from before the backup is there");
    assert_eq!(ids(&restored), ids(&after[..restored.len()]), "and a beginning of what came during it");
    assert_eq!(restored, after[..restored.len()]);
    assert_eq!(state(&target, &alice, &room).await, state(&server, &alice, &room).await);
    // The token from before still works, and so does the newest one of the old server.
    let (newest, _) = sync(&server, &alice, &room, None).await;
    send(&target, &alice, &room, "after").await;
    for since in [&token, &newest] {
        let (_, bodies) = sync(&target, &alice, &room, Some(since)).await;
        assert_eq!(bodies.last().map(String::as_str), Some("after"), "{bodies:?}");
    }
    let new = timeline(&target, &alice, &room).await;
    assert_eq!(new.last().unwrap()["content"]["body"], "after");
    assert_eq!(new.len(), restored.len() + 1);
}

/// Without a passphrase the key stays out, and whoever restores is told what is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_without_passphrase_has_no_key() {
    let (mut server, ..) = inhabited(Options::default()).await;
    assert_eq!(server.stop().await, Some(0));
    let config = server.config_file();
    let folder = server.folder().join("backups");
    std::fs::create_dir(&folder).unwrap();
    let said = done(&["backup", "--config", text(&config), "--to", text(&folder)]).await;
    assert!(said.contains("It is not encrypted") && said.contains("identity.toml"), "{said}");
    let backup = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    assert!(backup.file_name().unwrap().to_str().unwrap().starts_with("hearth.test-"), "{backup:?}");
    refused(&["backup", "--config", text(&config), "--to", text(&backup)], FAILED, &["exists already"]).await;

    let mut target = empty(Engine::Embedded).await;
    let said = done(&["restore", "--config", text(&target.config_file()), "--from", text(&backup)]).await;
    assert!(said.contains("Still needed") && said.contains("identity.toml"), "{said}");
    std::fs::copy(server.data_dir().join("identity.toml"), target.data_dir().join("identity.toml")).unwrap();
    target.start_again().await;
    drop(target);

    // Of another server.
    let stranger = TestServer::start(Options { server_name: "other.test".to_owned(), ..Options::default() }).await;
    refused(
        &["restore", "--config", text(&stranger.config_file()), "--from", text(&backup)],
        CONFIGURATION,
        &["hearth.test", "other.test", "Nothing was written"],
    )
    .await;
}

/// Every entry of an embedded store that a copy takes along.
async fn contents(folder: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let store = Store::open(EmbeddedOptions { path: folder.to_owned(), cache_bytes: 8 << 20 }).await.unwrap();
    let mut found = BTreeMap::new();
    let mut begin = Vec::new();
    loop {
        let read = RangeRead { begin, end: vec![0xff], limit: Some(1000), reverse: false, snapshot: true };
        let entries = store.begin().range(&read).await.unwrap();
        let Some(last) = entries.last() else { break };
        begin = [&last.key[..], &[0]].concat();
        found.extend(entries.into_iter().map(|entry| (entry.key.to_vec(), entry.value.to_vec())));
    }
    store.close().await;
    let own = [hearth_store::tuple::pack(&("archive",)), hearth_store::tuple::pack(&("store", "process"))];
    found.retain(|key, _| !own.iter().any(|own| key.starts_with(own)));
    found
}

fn embedded(folder: &Path) -> String {
    format!("embedded:{}", folder.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_between_embedded_stores() {
    let (mut server, alice, room) = inhabited(Options::default()).await;
    let (token, _) = sync(&server, &alice, &room, None).await;
    let source = server.data_dir().join("store");
    let target = server.folder().join("copied");
    let copy = ["copy", "--from", &embedded(&server.data_dir()), "--to", &embedded(&target)];
    refused(&copy, CONFIGURATION, &["in use by another process"]).await;
    let nowhere = server.folder().join("nowhere");
    refused(&["copy", "--from", &embedded(&nowhere), "--to", &embedded(&target)], FAILED, &["is not a store"]).await;
    assert!(!nowhere.exists());
    assert_eq!(server.stop().await, Some(0));
    assert!(done(&copy).await.contains("Copied"));
    assert_eq!(contents(&source).await, contents(&target).await);
    refused(&copy, FAILED, &["not empty"]).await;

    // A server goes on with the copy.
    std::fs::rename(&source, server.folder().join("old")).unwrap();
    std::fs::rename(&target, &source).unwrap();
    assert!(done(&["check", "--config", text(&server.config_file())]).await.contains("everything agrees"));
    server.start_again().await;
    send(&server, &alice, &room, "after").await;
    let (_, bodies) = sync(&server, &alice, &room, Some(&token)).await;
    assert_eq!(bodies, ["after"]);
}

/// Ctrl-C and a crash in the middle: the same command goes on; until then no server uses either store.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_copy_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    let server = empty(Engine::Embedded).await;
    fill(&source, 60_000).await;
    let whole = contents(&source).await;
    let copy = || {
        let mut command = command(["store", "copy"]);
        command.args(["--from", &embedded(&source), "--to", &embedded(&target)]);
        command
    };
    for signal in [Signal::INT, Signal::KILL] {
        let mut child = copy().stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let loading = lines.find(|line| line.as_ref().is_ok_and(|line| line.starts_with("loading")));
        assert!(loading.is_some(), "it was done before it said anything");
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
        let status = child.wait().unwrap();
        assert!(!status.success());
        let last: String = lines.map_while(Result::ok).collect();
        assert_eq!(last.contains("goes on where it stopped"), signal == Signal::INT, "{last}");
        // A server refuses both, each in a sentence.
        for (store, words) in
            [(&source, "is locked while it is copied"), (&target, "holds only a part of what is copied")]
        {
            std::fs::create_dir_all(server.data_dir()).unwrap();
            std::fs::rename(store, server.data_dir().join("store")).unwrap();
            let mut command = command(["serve", "--config"]);
            command.arg(server.config_file());
            let output = run(command, "").await;
            let complained = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(CONFIGURATION), "{complained}");
            assert!(complained.contains(words), "{complained}");
            std::fs::rename(server.data_dir().join("store"), store).unwrap();
        }
    }
    let output = run(copy(), "").await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(contents(&target).await, whole);
    let said = done(&["unlock", "--store", &embedded(&source)]).await;
    assert!(said.contains("is not locked"), "{said}");
}

/// A store with so many entries of half a kilobyte.
async fn fill(folder: &Path, entries: u64) {
    let store = Store::open(EmbeddedOptions { path: folder.to_owned(), cache_bytes: 8 << 20 }).await.unwrap();
    for from in (0..entries).step_by(2000) {
        let tx = store.begin();
        for number in from..(from + 2000).min(entries) {
            let value: Vec<u8> = (0..500u64).map(|at| (number.wrapping_mul(at + 7) >> (at % 9)) as u8).collect();
            tx.set(&hearth_store::tuple::pack(&("rooms", "filled", number)), &value);
        }
        tx.commit().await.unwrap();
    }
    store.close().await;
}

/// From one engine to the other and back, every key and value the same; servers work on each of them.
#[tokio::test(flavor = "multi_thread")]
async fn to_foundationdb_and_back() {
    let Some(cluster) = Cluster::start("to_foundationdb_and_back").await else { return };
    let (mut server, alice, room) = inhabited(Options::default()).await;
    let (token, _) = sync(&server, &alice, &room, None).await;
    assert_eq!(server.stop().await, Some(0));
    let source = server.data_dir().join("store");
    let back = server.folder().join("back");
    let there = format!("foundationdb:{}", cluster.cluster_file().display());
    done(&["copy", "--from", &embedded(&source), "--to", &there, "--to-key-prefix", "moved"]).await;
    refused(
        &["copy", "--from", &embedded(&source), "--to", &there, "--to-key-prefix", "moved"],
        FAILED,
        &["not empty"],
    )
    .await;
    done(&["copy", "--from", &there, "--from-key-prefix", "moved", "--to", &embedded(&back)]).await;
    assert_eq!(contents(&source).await, contents(&back).await);

    // A server on the cluster goes on, and is backed up while it works.
    let engine = Engine::FoundationDb { cluster_file: cluster.cluster_file(), key_prefix: "moved".to_owned() };
    let identity = Some(server.data_dir().join("identity.toml"));
    let mut on_cluster = TestServer::start(Options { engine, identity, ..Options::default() }).await;
    let config = on_cluster.config_file();
    let (_, bodies) = sync(&on_cluster, &alice, &room, Some(&token)).await;
    assert!(bodies.is_empty(), "{bodies:?}");
    send(&on_cluster, &alice, &room, "on-the-cluster").await;
    let (token, bodies) = sync(&on_cluster, &alice, &room, Some(&token)).await;
    assert_eq!(bodies, ["on-the-cluster"]);
    let third = server.folder().join("third");
    refused(
        &["copy", "--from", &there, "--from-key-prefix", "moved", "--to", &embedded(&third)],
        FAILED,
        &["stop them first"],
    )
    .await;
    let backup = server.folder().join("cluster.hearth-backup");
    let stop = Arc::new(AtomicBool::new(false));
    let (talked, ()) = tokio::join!(talk(&on_cluster, &alice, &room, &stop), async {
        done(&["backup", "--config", text(&config), "--to", text(&backup)]).await;
        stop.store(true, Ordering::Relaxed);
    });
    assert!(!talked.is_empty());
    assert!(done(&["check", "--config", text(&config)]).await.contains("everything agrees"));
    assert!(done(&["stats", "--config", text(&config)]).await.contains("engine foundationdb"));
    let after = timeline(&on_cluster, &alice, &room).await;
    assert_eq!(on_cluster.stop().await, Some(0));

    // And back: the versions of the cluster are far above those of an embedded store.
    std::fs::rename(&source, server.folder().join("old")).unwrap();
    done(&["restore", "--config", text(&server.config_file()), "--from", text(&backup)]).await;
    server.start_again().await;
    let restored = timeline(&server, &alice, &room).await;
    assert_eq!(restored, after[..restored.len()]);
    assert!(restored.iter().any(|event| event["content"]["body"] == "on-the-cluster"));
    send(&server, &alice, &room, "home-again").await;
    let (_, bodies) = sync(&server, &alice, &room, Some(&token)).await;
    assert_eq!(bodies.last().map(String::as_str), Some("home-again"), "{bodies:?}");
}

/// Data with versions from the cluster's future makes the cluster go there, if that is allowed.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_passes_the_versions_of_what_comes() {
    let Some(cluster) = Cluster::start("a_cluster_passes_the_versions_of_what_comes").await else { return };
    let (mut server, alice, room) = inhabited(Options::default()).await;
    assert_eq!(server.stop().await, Some(0));
    let source = server.data_dir().join("store");
    {
        let store = Store::open(EmbeddedOptions { path: source.clone(), cache_bytes: 8 << 20 }).await.unwrap();
        store.advance_version(40_000_000_000_000).await.unwrap();
        let tx = store.begin();
        tx.clear(b"nothing");
        tx.commit().await.unwrap();
        store.close().await;
    }
    server.start_again().await;
    send(&server, &alice, &room, "far-ahead").await;
    let (token, _) = sync(&server, &alice, &room, None).await;
    assert_eq!(server.stop().await, Some(0));

    let there = format!("foundationdb:{}", cluster.cluster_file().display());
    let from = embedded(&source);
    let copy = ["copy", "--from", &from, "--to", &there];
    refused(&copy, FAILED, &["--advance-version", "sort before"]).await;
    done(&[&copy[..], &["--advance-version"]].concat()).await;
    let engine = Engine::FoundationDb { cluster_file: cluster.cluster_file(), key_prefix: "hearth".to_owned() };
    let identity = Some(server.data_dir().join("identity.toml"));
    let on_cluster = TestServer::start(Options { engine, identity, ..Options::default() }).await;
    send(&on_cluster, &alice, &room, "after").await;
    let (_, bodies) = sync(&on_cluster, &alice, &room, Some(&token)).await;
    assert_eq!(bodies, ["after"]);
    let bodies: Vec<Value> = timeline(&on_cluster, &alice, &room).await;
    let last: Vec<&Value> = bodies.iter().rev().take(2).map(|event| &event["content"]["body"]).collect();
    assert_eq!(last, ["after", "far-ahead"]);
}
