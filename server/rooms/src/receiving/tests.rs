//! Random rooms, received in any order by any number of receivers, must end as the slow reference says.
//!
//! `HEARTH_DAG_SEEDS` gives the number of seeds per room version, for longer runs.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use hearth_protocol::{
    receive::Verified,
    testing::{Dag, DagPlan, Reference, reference::State},
};
use hearth_store::Store;
use ruma::{EventId, OwnedEventId, RoomId};

use super::{Fetch, StateIds};
use crate::{
    EventNid, Outcome, RoomNid, Rooms,
    cover::Cover,
    ids::Kind,
    keys::{EVENT_NID, EXTREMITY, INBOUND, INBOUND_COUNT, MEMBER, ROOM, STATE, STATE_BEFORE, TIMELINE},
    room_info::RoomInfo,
    snapshots::Wanted,
    testing::{VERSIONS, rooms_on},
    writer::RoomWriter,
};

/// Everything of a room but what is hidden can be had.
struct Peer {
    events: HashMap<OwnedEventId, Verified>,
    reference: Reference,
}

impl Peer {
    fn new(dag: &Dag) -> Self {
        let events = dag.events.iter().map(|event| (event.pdu.event_id.clone(), verified(&event.pdu))).collect();
        Self { events, reference: dag.reference.clone() }
    }
}

impl Fetch for Peer {
    fn events<'a>(&'a self, _: &'a RoomId, wanted: &'a [OwnedEventId]) -> BoxFuture<'a, Vec<Verified>> {
        Box::pin(std::future::ready(wanted.iter().filter_map(|id| self.events.get(id).cloned()).collect()))
    }

    fn state_ids<'a>(&'a self, _: &'a RoomId, event: &'a EventId) -> BoxFuture<'a, Option<StateIds>> {
        let event = self.reference.events().get(event).expect("what is asked for is in the room");
        let state = self.reference.state_before(&event.prev_events);
        let auth_chain = self.reference.auth_chain(state.values()).into_iter().collect();
        let ids = StateIds { state: state.values().cloned().collect(), auth_chain };
        Box::pin(std::future::ready(Some(ids)))
    }
}

pub(super) fn verified(pdu: &hearth_protocol::Pdu) -> Verified {
    Verified { pdu: pdu.clone(), redacted: false, rejection: None }
}

/// The room with its create event alone.
pub(super) async fn begin(rooms: &Rooms, dag: &Dag) -> RoomNid {
    let nid = RoomNid(rooms.ids.next(&rooms.store, Kind::Room).await.unwrap());
    let info = &Arc::new(RoomInfo { nid, room_id: dag.room_id.clone(), version: dag.version.clone() });
    let create = &dag.events[0].pdu;
    let published = rooms
        .store
        .transact("begin", |tx| async move {
            RoomWriter::begin(rooms, tx, info.clone(), hearth_protocol::Pdu::clone(create)).await?.finish().await
        })
        .await
        .unwrap();
    published.unwrap().remember(rooms);
    nid
}

pub(super) async fn ids(rooms: &Rooms, nids: impl IntoIterator<Item = EventNid>) -> BTreeSet<OwnedEventId> {
    let tx = rooms.store.begin();
    let mut ids = BTreeSet::new();
    for nid in nids {
        ids.insert(rooms.stored_event(&tx, nid).await.unwrap().pdu.event_id.clone());
    }
    ids
}

pub(super) fn values(state: &State) -> BTreeSet<OwnedEventId> {
    state.values().cloned().collect()
}

/// Everything that is stored agrees with the reference. Whether the last event of the room is its only end.
pub(super) async fn check(rooms: &Rooms, room: RoomNid, dag: &Dag, what: &str) -> bool {
    let tx = rooms.store.begin();
    let reference = &dag.reference;
    let mut nids = HashMap::new();
    let mut accepted = BTreeSet::new();
    for event in &dag.events {
        let id = &event.pdu.event_id;
        let nid = EVENT_NID.get(&tx, (id.as_str(),)).await.unwrap();
        let nid = nid.unwrap_or_else(|| panic!("{what}: {id} is here"));
        nids.insert(id.clone(), nid);
        let stored = rooms.stored_event(&tx, nid).await.unwrap();
        let verdict = &event.verdict;
        assert_eq!(
            stored.outcome == Outcome::Rejected,
            verdict.is_err(),
            "{what}: {id} {:?}: {verdict:?}",
            stored.outcome
        );
        assert_ne!(stored.outcome, Outcome::Outlier, "{what}: {id}");
        if stored.outcome == Outcome::Accepted {
            accepted.insert(id.clone());
        }
        let before = STATE_BEFORE.get(&tx, (room, nid)).await.unwrap().expect("a state before it");
        let entries = rooms.snapshots.entries(&tx, room, before, Wanted::All).await.unwrap();
        let found = ids(rooms, entries.into_iter().map(|tuple| tuple.event)).await;
        assert_eq!(found, values(&reference.state_before(&event.pdu.prev_events)), "{what}: the state before {id}");
    }

    let timeline = TIMELINE.scan((room,)).all(&tx).await.unwrap();
    let shown = ids(rooms, timeline.iter().map(|(_, entry)| entry.event)).await;
    assert_eq!((timeline.len(), shown), (accepted.len(), accepted), "{what}: the timeline");

    let ends = EXTREMITY.scan((room,)).all(&tx).await.unwrap();
    let ends: Vec<OwnedEventId> = ids(rooms, ends.into_iter().map(|((_, end), ())| end)).await.into_iter().collect();
    let expected = values(&reference.state_before(&ends));
    let record = ROOM.get(&tx, (room,)).await.unwrap().unwrap();
    let snapshot = rooms.snapshots.entries(&tx, room, record.state.unwrap(), Wanted::All).await.unwrap();
    assert_eq!(ids(rooms, snapshot.iter().map(|tuple| tuple.event)).await, expected, "{what}: the record's state");
    let mut current: Vec<EventNid> =
        STATE.scan((room,)).all(&tx).await.unwrap().into_iter().map(|(_, event)| event).collect();
    current.extend(MEMBER.scan((room,)).all(&tx).await.unwrap().into_iter().map(|(_, record)| record.event));
    assert_eq!(ids(rooms, current).await, expected, "{what}: the current state");
    assert!(INBOUND.scan((room,)).all(&tx).await.unwrap().is_empty(), "{what}: nothing waits");
    assert_eq!(INBOUND_COUNT.get(&tx, (room,)).await.unwrap().unwrap_or(0), 0, "{what}");

    check_cover(rooms, room, dag, &nids, what).await;
    let last = &dag.events[dag.events.len() - 1].pdu.event_id;
    let closed = dag.is_closed && ends == [last.clone()];
    if closed {
        assert_eq!(expected, values(&reference.current_state()), "{what}: the end");
    }
    closed
}

/// The chain cover says of merges what walking edges says.
async fn check_cover(rooms: &Rooms, room: RoomNid, dag: &Dag, nids: &HashMap<OwnedEventId, EventNid>, what: &str) {
    let tx = rooms.store.begin();
    let merges = dag.events.iter().filter(|event| event.pdu.prev_events.len() > 1);
    for event in merges.take(12) {
        let states: Vec<State> =
            event.pdu.prev_events.iter().map(|id| State::clone(dag.reference.state_after(id))).collect();
        let expected = dag.reference.auth_graph(&states);
        let mut keys: BTreeMap<String, Vec<Option<&OwnedEventId>>> = BTreeMap::new();
        for (index, state) in states.iter().enumerate() {
            for ((event_type, key), id) in state {
                keys.entry(format!("{event_type} {key}")).or_insert_with(|| vec![None; states.len()])[index] = Some(id);
            }
        }
        let (agreed, conflicted): (Vec<_>, Vec<_>) =
            keys.into_values().partition(|values| values.iter().all(|value| *value == values[0]));
        let by_state: Vec<Vec<EventNid>> = (0..states.len())
            .map(|index| conflicted.iter().filter_map(|values| values[index]).map(|id| nids[id]).collect())
            .collect();
        let agreed: Vec<EventNid> = agreed.iter().filter_map(|values| values[0]).map(|id| nids[id]).collect();
        let mut cover = Cover::new(rooms, &tx, room);
        let difference = cover.difference(&by_state, async || Ok(agreed)).await.unwrap();
        let between = cover.between(&by_state.into_iter().flatten().collect()).await.unwrap();
        let conflicts = !conflicted.is_empty();
        // Without conflicts nobody asks.
        if conflicts {
            let id = &event.pdu.event_id;
            let expected_difference: BTreeSet<OwnedEventId> = expected.difference.into_iter().collect();
            assert_eq!(ids(rooms, difference).await, expected_difference, "{what}: difference before {id}");
            let expected_subgraph: BTreeSet<OwnedEventId> = expected.subgraph.into_iter().collect();
            assert_eq!(ids(rooms, between).await, expected_subgraph, "{what}: subgraph before {id}");
        }
    }
}

fn seeds() -> u64 {
    std::env::var("HEARTH_DAG_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(1)
}

fn events() -> usize {
    if std::env::var_os("HEARTH_DAG_SEEDS").is_some() { 150 } else { 60 }
}

/// Receives everything in batches of random sizes, `receivers` at a time.
async fn receive_all(all: &[Rooms], dag: &Arc<Dag>, order: &[usize], receivers: usize) {
    let mut tasks = tokio::task::JoinSet::new();
    for receiver in 0..receivers {
        let rooms = all[receiver % all.len()].clone();
        let dag = dag.clone();
        let mine: Vec<usize> = order.iter().copied().skip(receiver).step_by(receivers).collect();
        tasks.spawn(async move {
            for batch in mine.chunks(1 + receiver * 3) {
                let events = batch.iter().map(|index| verified(&dag.events[*index].pdu)).collect();
                rooms.receive(&dag.room_id, events).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
    }
    tasks.join_all().await;
    for rooms in all {
        rooms.received(&dag.room_id).await.unwrap();
    }
}

async fn run(version: &str, seed: u64, way: usize) -> bool {
    let dag = Arc::new(Dag::generate(&DagPlan { events: events(), ..DagPlan::new(version, seed) }));
    let what = format!("version {version}, seed {seed}, way {way}");
    let store = Store::memory();
    let peer = Arc::new(Peer::new(&dag));
    let mut all = vec![rooms_on(store.clone())];
    let (order, receivers) = match way {
        0 => (dag.topological_order(seed), 1),
        1 => (dag.any_order(seed), 1),
        2 => (dag.any_order(seed + 1), 3),
        // As if in two processes.
        _ => {
            all = vec![rooms_on(store.clone()).beside_others(), rooms_on(store.clone()).beside_others()];
            (dag.any_order(seed + 2), 4)
        }
    };
    let room = begin(&all[0], &dag).await;
    for rooms in &all {
        rooms.start_receiving(peer.clone()).await.unwrap();
    }
    receive_all(&all, &dag, &order, receivers).await;
    let closed = check(&all[0], room, &dag, &what).await;
    for rooms in &all {
        rooms.close().await;
    }
    closed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_rooms_end_as_the_reference_says_in_every_order() {
    let mut runs = 0;
    let mut closed = 0;
    for (index, version) in VERSIONS.iter().enumerate() {
        for seed in 0..seeds() {
            let seed = seed + 100 * index as u64;
            for way in 0..4 {
                runs += 1;
                closed += usize::from(run(version, seed, way).await);
            }
        }
    }
    println!("{runs} runs, {closed} of which end in one end");
    assert!(closed * 2 > runs, "most rooms come together again");
}
