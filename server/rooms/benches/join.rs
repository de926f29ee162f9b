//! Joining a large room of another server from its state: time, and memory at most.
//! `cargo bench -p hearth-rooms --bench join`, or with `-- MEMBERS`.

use std::{sync::Arc, time::Instant};

use futures_util::future::BoxFuture;
use hearth_protocol::{
    Pdu, RoomVersion, SigningKey,
    build::{Named, Unsigned},
    receive::Verified,
};
use hearth_rooms::{PushRules, Rooms, RoomsConfig};
use hearth_store::{EmbeddedOptions, Store};
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, RoomVersionId, UInt, UserId, owned_server_name,
    push::Ruleset,
};
use serde_json::{Value, json, value::to_raw_value};

/// Events that come at once.
const BATCH: usize = 1000;

struct NoRules;

impl PushRules for NoRules {
    fn rulesets<'a>(&'a self, users: &'a [OwnedUserId]) -> BoxFuture<'a, Vec<Option<Arc<Ruleset>>>> {
        Box::pin(std::future::ready(vec![None; users.len()]))
    }
}

/// Makes the other server's events.
struct Author {
    version: RoomVersion,
    key: SigningKey,
    room_id: Option<OwnedRoomId>,
    depth: u64,
    last: Option<OwnedEventId>,
}

impl Author {
    fn event(&mut self, sender: &str, event_type: &str, key: &str, content: &Value, auth: &[OwnedEventId]) -> Pdu {
        self.depth += 1;
        let pdu = Unsigned {
            room_id: self.room_id.clone(),
            sender: UserId::parse(sender).expect("a user id"),
            event_type: event_type.into(),
            state_key: Some(key.to_owned()),
            content: to_raw_value(content).expect("JSON"),
            redacts: None,
            origin_server_ts: MilliSecondsSinceUnixEpoch(UInt::new(1_700_000_000_000 + self.depth).expect("a time")),
            prev_events: self.last.take().into_iter().collect(),
            auth_events: auth.to_vec(),
            depth: self.depth,
            named: Named::default(),
        }
        .sign(&self.version, &self.key)
        .expect("an event");
        self.last = Some(pdu.event_id.clone());
        self.room_id.get_or_insert_with(|| pdu.room_id.clone());
        pdu
    }
}

fn verified(pdu: Pdu) -> Verified {
    Verified { pdu, redacted: false, rejection: None }
}

/// Resident memory now and at most, in MB (Linux).
fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    (field("VmRSS:").unwrap_or(0) / 1024, field("VmHWM:").unwrap_or(0) / 1024)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let members: usize = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(50_000);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = EmbeddedOptions { path: folder.path().join("store"), cache_bytes: 64 << 20 };
    let store = Store::open(options).await.expect("opens");
    let (key, _) = SigningKey::generate(owned_server_name!("example.org"));
    let config =
        RoomsConfig { server_name: owned_server_name!("example.org"), key, default_version: RoomVersionId::V11 };
    let rooms = Rooms::new(store.clone(), config, Arc::new(NoRules));

    let version = RoomVersion::get(&RoomVersionId::V11).expect("it is known");
    let (key, _) = SigningKey::generate(owned_server_name!("remote"));
    let room_id = Some("!large:remote".try_into().expect("a room id"));
    let mut author = Author { version: version.clone(), key, room_id, depth: 0, last: None };
    let alice = "@alice:remote";
    let join = |name: &str| json!({ "membership": "join", "displayname": name });
    let create = author.event(alice, "m.room.create", "", &json!({ "room_version": "11" }), &[]);
    let room_id = create.room_id.clone();
    let create_id = create.event_id.clone();
    let own = author.event(alice, "m.room.member", alice, &join("Alice"), std::slice::from_ref(&create_id));
    let levels = json!({ "users": { alice: 100 } });
    let auth = [create_id.clone(), own.event_id.clone()];
    let levels = author.event(alice, "m.room.power_levels", "", &levels, &auth);
    let auth = [create_id.clone(), own.event_id.clone(), levels.event_id.clone()];
    let rules = author.event(alice, "m.room.join_rules", "", &json!({ "join_rule": "public" }), &auth);
    let auth = [create_id, levels.event_id.clone(), rules.event_id.clone()];
    let mut state: Vec<OwnedEventId> =
        [&create, &own, &levels, &rules].iter().map(|event| event.event_id.clone()).collect();

    let begin = Instant::now();
    let staging = rooms.begin_join(&room_id, &version).await.expect("begins");
    let first: Vec<Verified> = [create, own, levels, rules].into_iter().map(verified).collect();
    rooms.stage_events(&staging, &first).await.expect("stages");
    let mut made = std::time::Duration::ZERO;
    let (mut next, mut events) = (0, first.len());
    while next < members {
        let making = Instant::now();
        let mut batch = Vec::with_capacity(2 * BATCH);
        // Everybody joined and then changed their name, so that half of the events are of the auth chain alone.
        for member in next..(next + BATCH).min(members) {
            let user = format!("@member{member}:server{}.example", member % 1000);
            let first = author.event(&user, "m.room.member", &user, &join("First"), &auth);
            let again = [auth.as_slice(), std::slice::from_ref(&first.event_id)].concat();
            let second = author.event(&user, "m.room.member", &user, &join("Second"), &again);
            state.push(second.event_id.clone());
            batch.extend([verified(first), verified(second)]);
        }
        next += BATCH;
        events += batch.len();
        made += making.elapsed();
        rooms.stage_events(&staging, &batch).await.expect("stages");
    }
    println!(
        "{events} events stored in {:.1} s (made in {:.1} s more), memory {:?} MB",
        begin.elapsed().saturating_sub(made).as_secs_f64(),
        made.as_secs_f64(),
        memory()
    );
    let begin = Instant::now();
    let local = "@local:example.org";
    let join = author.event(local, "m.room.member", local, &join("Local"), &auth);
    rooms
        .finish_join(&staging, &state, &verified(join), &|progress| {
            if progress.done == progress.of {
                let memory = memory();
                println!(
                    "{:?}: {} after {:.1} s, memory {memory:?} MB",
                    progress.step,
                    progress.of,
                    begin.elapsed().as_secs_f64()
                );
            }
        })
        .await
        .expect("joins");
    let joined =
        rooms.joined_members(&room_id, &UserId::parse(local).expect("a user id")).await.expect("is joined").len();
    assert_eq!(joined, members + 2);
    println!(
        "joined; {:.0} bytes on disk per event; memory (now, most) {:?} MB",
        store.stats().disk_bytes as f64 / events as f64,
        memory()
    );
    rooms.close().await;
    store.close().await;
}
