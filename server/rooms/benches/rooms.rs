//! Sending into one room, with fsync: what one send costs in wall time, processor time of this process, store reads and disk.
//! On the embedded store, and on FoundationDB where it is installed (a server of its own beside this process).
//! `cargo bench -p hearth-rooms`, or with `-- MEMBERS SENDERS` one scenario alone.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use hearth_protocol::SigningKey;
use hearth_rooms::{
    PushRules, Rooms, RoomsConfig,
    membership::{Change, MemberProfile},
    send::Draft,
};
use hearth_store::{EmbeddedOptions, FoundationDbOptions, Store};
use hearth_store_testing::{Cluster, Storage};
use ruma::{
    OwnedDeviceId, OwnedRoomId, OwnedUserId, RoomVersionId, UserId,
    api::client::room::create_room::v3::{Request, RoomPreset},
    owned_server_name,
    push::Ruleset,
};
use serde_json::{json, value::to_raw_value};

/// Messages per scenario, and where each send waits for round trips.
const MESSAGES: usize = 5000;
const REMOTE_MESSAGES: usize = 1000;

/// Keeps everyone's rules as the Accounts database does.
struct CachedRules(HashMap<OwnedUserId, Arc<Ruleset>>);

impl PushRules for CachedRules {
    fn rulesets<'a>(&'a self, users: &'a [OwnedUserId]) -> BoxFuture<'a, Vec<Option<Arc<Ruleset>>>> {
        Box::pin(std::future::ready(users.iter().map(|user| self.0.get(user).cloned()).collect()))
    }
}

fn user(n: usize) -> OwnedUserId {
    UserId::parse(format!("@user{n}:example.org")).expect("it is a user id")
}

async fn room(rooms: &Rooms, members: usize) -> OwnedRoomId {
    let mut request = Request::new();
    request.preset = Some(RoomPreset::PublicChat);
    let profile = MemberProfile { displayname: Some("Somebody".to_owned()), avatar_url: None };
    let room_id = rooms.create(&user(0), &profile, request).await.expect("creates");
    for n in 1..members {
        rooms.change_membership(&room_id, &user(n), &user(n), Change::Join, &profile, None).await.expect("joins");
    }
    room_id
}

/// `senders` tasks send `messages` messages together.
async fn send(rooms: &Rooms, room: &OwnedRoomId, senders: usize, members: usize, messages: usize) {
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for sender in 0..senders {
        let (rooms, room, next) = (rooms.clone(), room.clone(), next.clone());
        tasks.spawn(async move {
            let user = user(sender % members);
            let device = OwnedDeviceId::from(format!("DEVICE{sender}"));
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= messages {
                    break;
                }
                let content = json!({ "msgtype": "m.text", "body": format!("Message number {n}, of usual length.") });
                let draft = Draft {
                    event_type: "m.room.message".into(),
                    state_key: None,
                    content: to_raw_value(&content).expect("it is JSON"),
                    redacts: None,
                    transaction: Some((device.clone(), format!("{senders}.{n}").into())),
                    timestamp: None,
                };
                rooms.send(&room, &user, draft).await.expect("sends");
            }
        });
    }
    tasks.join_all().await;
}

/// Processor time of all threads of this process, from the scheduler's books (Linux).
fn processor_time() -> Duration {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return Duration::ZERO };
    let nanoseconds: u64 = threads
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok())
        .filter_map(|line| line.split(' ').next()?.parse::<u64>().ok())
        .sum();
    Duration::from_nanos(nanoseconds)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    // Beside the build's files: the temporary folder is memory on many machines.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder");
    let mut stores = 0;
    scenarios("embedded", MESSAGES, async || {
        stores += 1;
        let options = EmbeddedOptions { path: folder.path().join(stores.to_string()), cache_bytes: 64 << 20 };
        Store::open(options).await.expect("opens")
    })
    .await;
    let Some(cluster) = Cluster::start_below(folder.path(), Storage::Ssd) else {
        println!("\nfoundationdb: SKIPPED, no fdbserver found");
        return;
    };
    scenarios("foundationdb", REMOTE_MESSAGES, async || {
        let options = FoundationDbOptions {
            cluster_file: cluster.cluster_file().to_owned(),
            client_library: cluster.client_library(),
            key_prefix: cluster.new_prefix(),
        };
        Store::open_foundationdb(options).await.expect("opens")
    })
    .await;
}

/// Every scenario, each on a new store.
async fn scenarios(engine: &str, messages: usize, mut open: impl AsyncFnMut() -> Store) {
    let rules = (0..64).map(|n| (user(n), Arc::new(Ruleset::server_default(&user(n))))).collect();
    let rules: Arc<dyn PushRules> = Arc::new(CachedRules(rules));
    println!("\n{messages} messages into one room of version 12, {engine} store, fsync on");
    println!(
        "{:>8} {:>8} {:>10} {:>11} {:>11} {:>7} {:>9}",
        "members", "senders", "sends/s", "wall/send", "cpu/send", "reads", "bytes"
    );
    let wanted: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    for members in [1, 10] {
        for senders in [1, 10, 64] {
            if wanted.len() == 2 && wanted != [members, senders] {
                continue;
            }
            let store = open().await;
            let (key, _) = SigningKey::generate(owned_server_name!("example.org"));
            let config = RoomsConfig {
                server_name: owned_server_name!("example.org"),
                key,
                default_version: RoomVersionId::V12,
            };
            let rooms = Rooms::new(store.clone(), config, rules.clone());
            let room = room(&rooms, members).await;
            let (before, cpu, begin) = (store.stats(), processor_time(), Instant::now());
            send(&rooms, &room, senders, members, messages).await;
            let wall = begin.elapsed();
            let cpu = processor_time().saturating_sub(cpu);
            let after = store.stats();
            rooms.close().await;
            store.close().await;
            let per = |total: Duration| format!("{:.1} µs", total.as_secs_f64() * 1e6 / messages as f64);
            // A cluster's disk is everyone's, and grows by pieces.
            let bytes = if store.is_shared() {
                "-".to_owned()
            } else {
                (after.disk_bytes.saturating_sub(before.disk_bytes) / messages as u64).to_string()
            };
            println!(
                "{members:>8} {senders:>8} {:>10.0} {:>11} {:>11} {:>7.2} {bytes:>9}",
                messages as f64 / wall.as_secs_f64(),
                per(wall),
                per(cpu),
                (after.reads - before.reads) as f64 / messages as f64,
            );
        }
    }
}
