//! What reading costs on an embedded store: pages, single events, state, and what an incremental sync asks.
//! `cargo bench -p hearth-rooms --bench reads`

use std::{hint::black_box, sync::Arc, time::Instant};

use futures_util::future::BoxFuture;
use hearth_protocol::SigningKey;
use hearth_rooms::{
    EventFilter, Position, PushRules, Reader, Rooms, RoomsConfig,
    audience::SliceRequest,
    membership::{Change, MemberProfile},
    send::Draft,
    timeline::MessagesRequest,
};
use hearth_store::{EmbeddedOptions, Store};
use ruma::{
    OwnedRoomId, OwnedUserId, RoomVersionId, UserId,
    api::{
        Direction,
        client::room::create_room::v3::{Request, RoomPreset},
    },
    owned_server_name,
    push::Ruleset,
};
use serde_json::{json, value::to_raw_value};

/// Rooms of the reader.
const ROOMS: usize = 100;
/// Members of each.
const MEMBERS: usize = 10;
/// Messages in the first room.
const MESSAGES: usize = 5000;
/// How often each read is done.
const RUNS: u32 = 2000;

struct NoRules;

impl PushRules for NoRules {
    fn rulesets<'a>(&'a self, users: &'a [OwnedUserId]) -> BoxFuture<'a, Vec<Option<Arc<Ruleset>>>> {
        Box::pin(std::future::ready(vec![None; users.len()]))
    }
}

fn user(n: usize) -> OwnedUserId {
    UserId::parse(format!("@user{n}:example.org")).expect("it is a user id")
}

async fn fill(rooms: &Rooms) -> OwnedRoomId {
    let profile = MemberProfile::default();
    let mut first = None;
    for _ in 0..ROOMS {
        let mut request = Request::new();
        request.preset = Some(RoomPreset::PublicChat);
        let room = rooms.create(&user(0), &profile, request).await.expect("creates");
        for n in 1..MEMBERS {
            rooms.change_membership(&room, &user(n), &user(n), Change::Join, &profile, None).await.expect("joins");
        }
        first.get_or_insert(room);
    }
    let first = first.expect("there are rooms");
    let sends = (0..MESSAGES).map(|n| {
        let content = json!({ "msgtype": "m.text", "body": format!("Message number {n}, of usual length.") });
        let draft = Draft {
            event_type: "m.room.message".into(),
            state_key: None,
            content: to_raw_value(&content).expect("it is JSON"),
            redacts: None,
            transaction: None,
            timestamp: None,
        };
        let (rooms, first) = (rooms, &first);
        async move { rooms.send(first, &user(n % MEMBERS), draft).await.expect("sends") }
    });
    futures_util::future::join_all(sends).await;
    first
}

/// Runs `read` often and prints time and store reads of one run.
async fn measure(rooms: &Rooms, name: &str, read: impl AsyncFn()) {
    read().await;
    let (before, begin) = (rooms.store().stats().reads, Instant::now());
    for _ in 0..RUNS {
        read().await;
    }
    let elapsed = begin.elapsed() / RUNS;
    let reads = (rooms.store().stats().reads - before) as f64 / f64::from(RUNS);
    println!("{name:<44} {:>9.1} µs {reads:>7.1} reads", elapsed.as_secs_f64() * 1e6);
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = EmbeddedOptions { path: folder.path().join("store"), cache_bytes: 64 << 20 };
    let store = Store::open(options).await.expect("opens");
    let (key, _) = SigningKey::generate(owned_server_name!("example.org"));
    let config =
        RoomsConfig { server_name: owned_server_name!("example.org"), key, default_version: RoomVersionId::V12 };
    let rooms = Rooms::new(store.clone(), config, Arc::new(NoRules));
    let room = fill(&rooms).await;
    let reader_id = user(1);
    let reader = Reader::new(&reader_id, None);
    let filter = EventFilter { lazy_load_members: true, ..EventFilter::default() };
    println!("{ROOMS} rooms of {MEMBERS} members, {MESSAGES} messages in one of them; embedded store");

    let request = MessagesRequest {
        from: None,
        to: None,
        direction: Direction::Backward,
        limit: Some(20),
        filter: EventFilter::default(),
    };
    measure(&rooms, "/messages, the newest 20", async || {
        black_box(rooms.messages(&room, &reader, &request).await.expect("reads"));
    })
    .await;
    let lazy = MessagesRequest { filter: filter.clone(), ..request.clone() };
    measure(&rooms, "/messages, the newest 20, with lazy members", async || {
        black_box(rooms.messages(&room, &reader, &lazy).await.expect("reads"));
    })
    .await;
    measure(&rooms, "/state", async || {
        black_box(rooms.state(&room, &reader).await.expect("reads"));
    })
    .await;
    measure(&rooms, "/state/m.room.create", async || {
        black_box(rooms.state_content(&room, &reader_id, "m.room.create", "").await.expect("reads"));
    })
    .await;

    let now = store.current_version().await.expect("reads");
    let nid = rooms.find_state_key(&store.begin(), reader_id.as_str()).await.expect("reads").expect("is known");
    measure(&rooms, "sync: nothing changed", async || {
        let tx = store.begin();
        black_box(rooms.changed_rooms(&tx, now).await.expect("reads"));
        black_box(rooms.membership_changes(&tx, nid, now).await.expect("reads"));
    })
    .await;
    measure(&rooms, "sync: the rooms of a user", async || {
        black_box(rooms.audience_rooms(&store.begin(), nid).await.expect("reads"));
    })
    .await;
    measure(&rooms, "sync: a room, 20 events, state, summary, counts", async || {
        let tx = store.begin();
        let view = rooms.view(&tx, &room, &reader_id).await.expect("reads");
        let until = Position::after_version(tx.read_version().await.expect("reads"));
        let request = SliceRequest { since: None, until, limit: 20, filter: &filter };
        let slice = rooms.timeline_slice(&tx, &view, request).await.expect("reads");
        let senders: Vec<_> = slice.events.iter().map(|event| event.entry.sender).collect();
        let in_sync = Reader::in_sync(&reader_id, None);
        black_box(rooms.members_at(&tx, view.room.nid, &slice.start, senders).await.expect("reads"));
        black_box(rooms.client_events(&tx, &view, &in_sync, &slice.events).await.expect("reads"));
        black_box(rooms.sync_summary(&tx, view.room.nid, nid).await.expect("reads"));
        black_box(rooms.unread_counts(&tx, nid, view.room.nid, true).await.expect("reads"));
    })
    .await;
    for (name, stats) in rooms.cache_stats() {
        println!("cache of {name}: {} entries, {} of {}", stats.entries, stats.weight, stats.capacity);
    }
    rooms.close().await;
    store.close().await;
}
