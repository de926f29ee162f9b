//! What the state of a large room costs: bytes per change, blocks per snapshot, time per lookup, full state and diff;
//! beside it, on the same data, a full copy at each change and a chain of single changes that is rewritten whole at
//! the 65th block. `cargo bench -p hearth-rooms --bench snapshots`

use std::{collections::BTreeMap, hint::black_box, time::Instant};

use hearth_rooms::{
    EventNid, RoomNid, StateKeyNid, TypeNid,
    snapshots::{MAX_BLOCKS, SnapshotId, Snapshots, StateTuple, Wanted, block},
};
use hearth_store::{RangeRead, Store, StoreError};
use rand::{Rng, SeedableRng, rngs::StdRng};

const ROOM: RoomNid = RoomNid(65_536);
/// Members who join one after the other.
const MEMBERS: u64 = 50_000;
/// What happens to the state after that.
const CHANGES: u64 = 20_000;
/// Every how many changes a full copy is measured; in between it is taken to be as large.
const SAMPLE: usize = 50;
/// Changes that share a transaction while the room is built.
const BATCH: usize = 200;
const LOOKUPS: usize = 20_000;
const MEMBER: TypeNid = TypeNid(5);

/// Joins, then leaves, returns and renames of members, and now and then another setting of the room.
fn history() -> Vec<StateTuple> {
    let mut random = StdRng::seed_from_u64(1);
    let mut event = 70_000;
    let mut tuple = |event_type, state_key| {
        // Messages come between.
        event += random.gen_range(1..20);
        StateTuple { event_type, state_key: StateKeyNid(state_key), event: EventNid(event) }
    };
    let mut history: Vec<StateTuple> = (1..=7).map(|number| tuple(TypeNid(number), 1)).collect();
    history.extend((0..MEMBERS).map(|member| tuple(MEMBER, 65_536 + member)));
    let mut random = StdRng::seed_from_u64(2);
    history.extend((0..CHANGES).map(|_| match random.gen_range(0..20) {
        0 => tuple(TypeNid(random.gen_range(2..12)), 1),
        _ => tuple(MEMBER, 65_536 + random.gen_range(0..MEMBERS)),
    }));
    history
}

async fn build(store: &Store, snapshots: &Snapshots, history: &[StateTuple]) -> Vec<SnapshotId> {
    let mut states = vec![
        store
            .transact("bench", |tx| async move { snapshots.create(&tx, ROOM, []).await })
            .await
            .expect("the empty state is stored"),
    ];
    for batch in history.chunks(BATCH) {
        let base = states[states.len() - 1];
        let made = store
            .transact("bench", |tx| async move {
                let mut made = vec![base];
                for change in batch {
                    made.push(snapshots.apply(&tx, ROOM, made[made.len() - 1], [*change]).await?);
                }
                Ok::<_, StoreError>(made)
            })
            .await
            .expect("states are stored");
        states.extend_from_slice(&made[1..]);
    }
    states
}

/// Entries, bytes of keys and bytes of values.
async fn stored(store: &Store) -> (usize, usize, usize) {
    let (mut entries, mut keys, mut values) = (0, 0, 0);
    let mut begin = Vec::new();
    loop {
        let read =
            RangeRead { begin: begin.clone(), end: vec![0xff], limit: Some(10_000), reverse: false, snapshot: true };
        let page = store.begin().range(&read).await.expect("reads");
        let Some(last) = page.last() else { return (entries, keys, values) };
        begin = [&last.key[..], &[0]].concat();
        entries += page.len();
        keys += page.iter().map(|entry| entry.key.len()).sum::<usize>();
        values += page.iter().map(|entry| entry.value.len()).sum::<usize>();
    }
}

fn bytes_of(tuples: &[StateTuple]) -> usize {
    block::encode(tuples).iter().map(Vec::len).sum()
}

/// Values alone, in the same coding: a full copy at each change, and single changes with a full copy at the 65th block.
fn other_forms(history: &[StateTuple]) -> (usize, usize) {
    let mut state = BTreeMap::new();
    let (mut copies, mut chain) = (0, 0);
    let mut blocks = 0;
    for (index, change) in history.iter().enumerate() {
        state.insert((change.event_type, change.state_key), *change);
        let full = || bytes_of(&state.values().copied().collect::<Vec<_>>());
        if index % SAMPLE == 0 {
            copies += full() * SAMPLE;
        }
        blocks += 1;
        if blocks > MAX_BLOCKS {
            blocks = 1;
            chain += full();
        } else {
            chain += bytes_of(&[*change]);
        }
    }
    (copies, chain)
}

fn per(name: &str, started: Instant, count: usize) {
    println!("{name:<44}{:>12.2} µs", started.elapsed().as_secs_f64() * 1e6 / count as f64);
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let history = history();
    let store = Store::memory();
    let snapshots = Snapshots::new(16 << 20);
    println!("{MEMBERS} joins and {CHANGES} further changes, one snapshot each");
    let started = Instant::now();
    let states = build(&store, &snapshots, &history).await;
    per("a change", started, history.len());

    let (entries, keys, values) = stored(&store).await;
    let changes = history.len();
    println!("{entries} entries, {keys} bytes of keys, {values} bytes of values");
    println!("{:<44}{:>12.1} bytes", "stored per change", (keys + values) as f64 / changes as f64);
    let (copies, chain) = other_forms(&history);
    for (name, bytes) in [("full copy at each change, values alone", copies), ("chain of 64, values alone", chain)] {
        let ratio = bytes as f64 / (keys + values) as f64;
        println!("{name:<44}{:>12.1} bytes, {ratio:.1} times ours", bytes as f64 / changes as f64);
    }

    let tx = store.begin();
    let mut blocks = Vec::with_capacity(states.len());
    for state in &states {
        blocks.push(snapshots.load(&tx, ROOM, *state).await.expect("it is there").blocks.len());
    }
    blocks.sort_unstable();
    println!(
        "{:<44}{:>12} median, {} at most",
        "blocks per snapshot",
        blocks[blocks.len() / 2],
        blocks[blocks.len() - 1]
    );

    let newest = states[states.len() - 1];
    let mut random = StdRng::seed_from_u64(3);
    for (name, snapshots) in [("warm", &snapshots), ("cold", &Snapshots::new(0))] {
        let count = if name == "warm" { LOOKUPS } else { LOOKUPS / 100 };
        let key = (MEMBER, StateKeyNid(65_536 + random.gen_range(0..MEMBERS)));
        snapshots.lookup(&tx, ROOM, newest, &[key]).await.expect("looks up");
        let started = Instant::now();
        for _ in 0..count {
            let key = (MEMBER, StateKeyNid(65_536 + random.gen_range(0..MEMBERS)));
            black_box(snapshots.lookup(&tx, ROOM, newest, &[key]).await.expect("looks up"));
        }
        per(&format!("lookup of a member, {name}"), started, count);
        for (what, wanted) in [("full state", Wanted::All), ("state without members", Wanted::OtherThanMembers)] {
            let started = Instant::now();
            for _ in 0..20 {
                black_box(snapshots.entries(&tx, ROOM, newest, wanted).await.expect("reads"));
            }
            per(&format!("{what}, {name}"), started, 20);
        }
        for distance in [1, 100, 10_000] {
            let pairs: Vec<_> = states.iter().zip(&states[distance..]).rev().step_by(97).take(50).collect();
            let pairs = &pairs[..if name == "warm" { pairs.len() } else { 10 }];
            let tx = store.begin();
            let started = Instant::now();
            for (before, after) in pairs {
                black_box(snapshots.diff(&tx, ROOM, **before, **after).await.expect("compares"));
            }
            per(&format!("diff over {distance} changes, {name}"), started, pairs.len());
        }
    }
}
