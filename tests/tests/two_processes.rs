//! Two processes on one FoundationDB cluster are one server, also while one after the other is killed.
//!
//! Twenty users send and sync through both. Whenever enough was acknowledged, one of the processes is killed as a power
//! cut does it and started again; clients go on through the other one, with the same transaction ids and sync tokens. In the
//! end no acknowledged event is missing from anybody's stream, none came twice, and the lease that one of the processes
//! holds has gone from hand to hand with growing tokens.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "tests panic")]

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hearth_store::{
    FoundationDbOptions, Store,
    lease::{LeaseInfo, leases},
    process::processes,
};
use hearth_tests::{Account, Engine, Options, TestServer, foundationdb::Cluster};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinSet,
};

const USERS: usize = 20;
const ROOMS: usize = 3;
/// Messages of each user.
const MESSAGES: usize = 45;
/// How often a process is killed.
const KILLS: usize = 10;
/// Acknowledged messages between two kills.
const BETWEEN: usize = USERS * MESSAGES / (KILLS + 1);
/// Bounds of failures, never waits.
const PATIENCE: Duration = Duration::from_mins(2);
const REQUEST: Duration = Duration::from_secs(20);
/// Pause before a request is made again that no process has answered well.
const AGAIN: Duration = Duration::from_millis(50);

/// What is the server's in the cluster.
const PREFIX: &str = "two";

/// What is counted for the report.
#[derive(Default)]
struct Counts {
    acknowledged: AtomicUsize,
    /// Requests that ended with a broken connection.
    broken: AtomicUsize,
    /// Answers of the 5xx class.
    unavailable: AtomicUsize,
    syncs: AtomicUsize,
    /// Messages whose request was made more than once.
    repeated: AtomicUsize,
}

/// The server as clients see it: two addresses.
struct Both {
    http: reqwest::Client,
    addresses: [String; 2],
    counts: Counts,
    /// Something was acknowledged.
    progress: Notify,
    /// Messages that may be sent: there is traffic at every kill, and in the end of each round.
    budget: Semaphore,
    done: AtomicBool,
}

impl Both {
    /// Asks one process; `None` where it did not answer, or said that it cannot now.
    async fn ask(
        &self,
        side: usize,
        method: &str,
        path: &str,
        account: &Account,
        body: Option<Value>,
    ) -> Option<Value> {
        let url = format!("{}{path}", self.addresses[side]);
        let mut request = self.http.request(method.parse().unwrap(), url).bearer_auth(&account.token).timeout(REQUEST);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = async {
            let response = request.send().await?;
            let status = response.status();
            // Half an answer is none.
            Ok::<_, reqwest::Error>((status, response.json::<Value>().await?))
        };
        match answer.await {
            Ok((status, answer)) if status.is_success() => Some(answer),
            Ok((status, answer)) => {
                assert!(status.is_server_error(), "{method} {path}: {status} {answer}");
                self.counts.unavailable.fetch_add(1, Ordering::Relaxed);
                None
            }
            Err(_) => {
                self.counts.broken.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    /// Asks until one of the processes has answered, beginning with `side`. Tells how often it asked.
    async fn ask_until_answered(
        &self,
        mut side: usize,
        method: &str,
        path: &str,
        account: &Account,
        body: Option<&Value>,
    ) -> (Value, usize) {
        let begun = Instant::now();
        for tries in 1.. {
            if let Some(answer) = self.ask(side, method, path, account, body.cloned()).await {
                return (answer, tries);
            }
            assert!(begun.elapsed() < PATIENCE, "{method} {path}: neither process answers");
            tokio::time::sleep(AGAIN).await;
            side = 1 - side;
        }
        unreachable!("counting does not end")
    }

    /// A user's messages, with their transaction ids as bodies. Returns the acknowledged ones: body and event.
    async fn send(&self, account: &Account, number: usize, rooms: &[String]) -> Vec<(String, String)> {
        let mut random = StdRng::seed_from_u64(number as u64);
        let mut sent = Vec::new();
        for message in 0..MESSAGES {
            self.budget.acquire().await.unwrap().forget();
            let room = &rooms[random.gen_range(0..rooms.len())];
            let id = format!("{number}-{message}");
            let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/{id}");
            let body = json!({ "msgtype": "m.text", "body": id });
            let side = random.gen_range(0..2);
            let (answer, tries) = self.ask_until_answered(side, "PUT", &path, account, Some(&body)).await;
            if tries > 1 {
                self.counts.repeated.fetch_add(1, Ordering::Relaxed);
            }
            sent.push((id, answer["event_id"].as_str().unwrap().to_owned()));
            self.counts.acknowledged.fetch_add(1, Ordering::Relaxed);
            self.progress.notify_one();
        }
        sent
    }

    /// A user's sync stream through both processes, until nothing comes any more: bodies and events by room.
    async fn read(
        &self,
        account: &Account,
        number: usize,
        mut since: String,
    ) -> BTreeMap<String, Vec<(String, String)>> {
        const FILTER: &str =
            r#"{"room":{"timeline":{"limit":200,"types":["m.room.message"]}},"presence":{"types":[]}}"#;
        let mut random = StdRng::seed_from_u64(1000 + number as u64);
        let mut rooms: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        let mut seen = HashSet::new();
        let filter: String =
            reqwest::Url::parse_with_params("x:", [("filter", FILTER)]).unwrap().query().unwrap().into();
        loop {
            let is_over = self.done.load(Ordering::SeqCst);
            let timeout = if is_over { 0 } else { 2000 };
            let path = format!("/_matrix/client/v3/sync?since={since}&timeout={timeout}&set_presence=offline&{filter}");
            let (answer, _) = self.ask_until_answered(random.gen_range(0..2), "GET", &path, account, None).await;
            self.counts.syncs.fetch_add(1, Ordering::Relaxed);
            let mut is_empty = true;
            for (room, section) in answer["rooms"]["join"].as_object().into_iter().flatten() {
                let timeline = &section["timeline"];
                assert!(timeline["limited"] != true, "a gap in the stream of {}", account.user_id);
                for event in timeline["events"].as_array().into_iter().flatten() {
                    let id = event["event_id"].as_str().unwrap().to_owned();
                    assert!(seen.insert(id.clone()), "{id} came to {} twice", account.user_id);
                    let body = event["content"]["body"].as_str().unwrap().to_owned();
                    rooms.entry(room.clone()).or_default().push((body, id));
                    is_empty = false;
                }
            }
            answer["next_batch"].as_str().unwrap().clone_into(&mut since);
            if is_over && is_empty {
                return rooms;
            }
        }
    }
}

/// What became of the lease that one of the processes holds at a time.
#[derive(Default)]
struct Hands(Mutex<BTreeMap<u64, BTreeSet<String>>>);

impl Hands {
    async fn look(&self, store: &Store) -> Option<LeaseInfo> {
        // The cluster serves all the time, but a busy machine may make it slow.
        let lease = leases(store).await.ok()?.into_iter().find(|lease| lease.name == "store/processes")?;
        if let Some(holder) = &lease.holder {
            self.0.lock().unwrap().entry(lease.token).or_default().insert(holder.clone());
        }
        Some(lease)
    }
}

/// What the processes with these ids of the operating system are called in the store.
async fn ids_of(store: &Store, pids: &[u32]) -> Vec<String> {
    let all = processes(store).await.unwrap().into_iter();
    all.filter(|process| pids.contains(&process.pid)).map(|process| process.id).collect()
}

async fn register_and_join(servers: &[TestServer; 2]) -> (Vec<Account>, Vec<String>) {
    let mut accounts = Vec::new();
    for number in 0..USERS {
        accounts.push(servers[number % 2].register(&format!("user{number}")).await);
    }
    let mut rooms = Vec::new();
    for number in 0..ROOMS {
        let body = json!({ "preset": "public_chat", "name": format!("Room {number}") });
        let token = Some(accounts[number].token.as_str());
        let (status, answer) =
            servers[number % 2].call("POST", "/_matrix/client/v3/createRoom", token, Some(body)).await;
        assert_eq!(status, 200, "{answer}");
        rooms.push(answer["room_id"].as_str().unwrap().to_owned());
    }
    for (number, account) in accounts.iter().enumerate() {
        for room in &rooms {
            let path = format!("/_matrix/client/v3/join/{room}");
            let (status, answer) =
                servers[(number + 1) % 2].call("POST", &path, Some(&account.token), Some(json!({}))).await;
            assert_eq!(status, 200, "{answer}");
        }
    }
    (accounts, rooms)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_while_processes_are_killed() {
    let Some(cluster) = Cluster::start("nothing_is_lost_or_doubled_while_processes_are_killed").await else { return };
    let cluster_file = cluster.cluster_file();
    let key_prefix = PREFIX.as_bytes().to_vec();
    let store = FoundationDbOptions { cluster_file: cluster_file.clone(), client_library: None, key_prefix };
    let store = Store::open_foundationdb(store).await.unwrap();

    let options = |identity| Options {
        engine: Engine::FoundationDb { cluster_file: cluster_file.clone(), key_prefix: PREFIX.to_owned() },
        identity,
        ..Options::default()
    };
    let first = TestServer::start(options(None)).await;
    let second = TestServer::start(options(Some(first.data_dir().join("identity.toml")))).await;
    let mut servers = [first, second];
    let (accounts, rooms) = register_and_join(&servers).await;
    assert_eq!(processes(&store).await.unwrap().len(), 2);

    let both = Arc::new(Both {
        http: reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap(),
        addresses: [0, 1].map(|side: usize| servers[side].base_url().to_owned()),
        counts: Counts::default(),
        progress: Notify::new(),
        budget: Semaphore::new(2 * BETWEEN),
        done: AtomicBool::new(false),
    });
    let (mut readers, mut senders) = (JoinSet::new(), JoinSet::new());
    for (number, account) in accounts.iter().enumerate() {
        let (answer, _) = both.ask_until_answered(number % 2, "GET", "/_matrix/client/v3/sync", account, None).await;
        let since = answer["next_batch"].as_str().unwrap().to_owned();
        let (both, account) = (both.clone(), account.clone());
        readers.spawn(async move { (number, both.read(&account, number, since).await) });
    }
    let begun = Instant::now();
    for (number, account) in accounts.iter().enumerate() {
        let (both, account, rooms) = (both.clone(), account.clone(), rooms.clone());
        senders.spawn(async move { both.send(&account, number, &rooms).await });
    }

    let hands = Hands::default();
    let mut random = StdRng::seed_from_u64(7);
    let mut killed_holders = 0;
    for kill in 1..=KILLS {
        while both.counts.acknowledged.load(Ordering::Relaxed) < kill * BETWEEN {
            assert!(tokio::time::timeout(PATIENCE, both.progress.notified()).await.is_ok(), "nothing goes on");
        }
        let victim = &mut servers[random.gen_range(0..2)];
        let ids = ids_of(&store, &[victim.pid()]).await;
        let lease = hands.look(&store).await;
        victim.kill9().await;
        killed_holders += usize::from(lease.and_then(|lease| lease.holder).is_some_and(|holder| ids.contains(&holder)));
        victim.start_again().await;
        both.budget.add_permits(BETWEEN);
    }
    both.budget.add_permits(USERS * MESSAGES);
    let mut acknowledged = HashMap::new();
    while let Some(sent) = senders.join_next().await {
        acknowledged.extend(sent.unwrap());
    }
    both.done.store(true, Ordering::SeqCst);
    let mut streams = BTreeMap::new();
    while let Some(stream) = readers.join_next().await {
        let (number, rooms) = stream.unwrap();
        streams.insert(number, rooms);
    }
    let took = begun.elapsed();

    let shown: BTreeMap<String, String> = streams[&0].values().flatten().cloned().collect();
    assert_eq!(acknowledged.len(), USERS * MESSAGES);
    for (body, event) in &acknowledged {
        assert_eq!(shown.get(body), Some(event), "the acknowledged message {body} is lost or another one");
    }
    let total: usize = streams[&0].values().map(Vec::len).sum();
    assert_eq!(total, USERS * MESSAGES, "each transaction id made one event");
    for (number, stream) in &streams {
        assert!(*stream == streams[&0], "user {number} has another stream");
    }

    // Whoever held the lease when it was killed: one of the two that run now has it in the end, with a larger token.
    let begun = Instant::now();
    let alive = ids_of(&store, &[servers[0].pid(), servers[1].pid()]).await;
    assert_eq!(alive.len(), 2);
    let lease = loop {
        assert!(begun.elapsed() < PATIENCE, "the lease is not handed over");
        match hands.look(&store).await {
            Some(lease) if lease.holder.as_ref().is_some_and(|holder| alive.contains(holder)) => break lease,
            _ => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    };
    let handed_over = begun.elapsed();
    let hands = hands.0.into_inner().unwrap();
    assert!(hands.values().all(|holders| holders.len() == 1), "a token has one holder: {hands:?}");
    assert!(lease.token > killed_holders as u64, "each holder that was killed was followed by another one: {hands:?}");

    let Counts { broken, unavailable, syncs, repeated, .. } = &both.counts;
    println!(
        "two processes, {USERS} users, {KILLS} kills in {took:.1?}: {} messages acknowledged, {} of them asked more than once; \
         {} syncs; {} connections broken, {} answers 5xx; \
         {killed_holders} kills of the lease's holder, tokens {:?}, the last after {handed_over:.1?}",
        acknowledged.len(),
        repeated.load(Ordering::Relaxed),
        syncs.load(Ordering::Relaxed),
        broken.load(Ordering::Relaxed),
        unavailable.load(Ordering::Relaxed),
        hands.keys().collect::<Vec<_>>(),
    );
    let pids = [servers[0].pid(), servers[1].pid()];
    for server in &mut servers {
        assert_eq!(server.stop().await, Some(0));
    }
    assert!(ids_of(&store, &pids).await.is_empty(), "who stops takes its entry out");
    store.close().await;
    cluster.stop().await;
}
