//! Snapshots against maps, and the collector against writers.

use std::collections::BTreeMap;

use hearth_store::{Store, StoreError};
use proptest::prelude::*;

use super::{
    Difference, MAX_BLOCKS, SnapshotId, Snapshots, StateTuple, Wanted,
    collector::{collect, condemn_garbage, delete_doomed, look_again},
};
use crate::{
    EventNid, RoomNid, StateKeyNid, TypeNid,
    keys::{CONDEMNED, STATE_BEFORE, STATE_BLOCK, STATE_SNAPSHOT},
};

const ROOM: RoomNid = RoomNid(3);

type State = BTreeMap<(u64, u64), u64>;

fn tuple(((event_type, state_key), event): (&(u64, u64), &u64)) -> StateTuple {
    StateTuple { event_type: TypeNid(*event_type), state_key: StateKeyNid(*state_key), event: EventNid(*event) }
}

fn tuples(state: &State) -> Vec<StateTuple> {
    state.iter().map(tuple).collect()
}

/// A change: which of the earlier states it builds on, and what it sets (0 removes).
type Change = (prop::sample::Index, State);

/// Few keys, so that they are set again and again; most of them members.
fn delta() -> impl Strategy<Value = State> {
    let key = prop_oneof![4 => (Just(5), 1..200_u64), 1 => (1..9_u64, 1..4_u64)];
    let event = prop_oneof![6 => 1..100_000_u64, 1 => Just(0)];
    prop_oneof![
        8 => prop::collection::btree_map(key.clone(), event.clone(), 1..4),
        1 => prop::collection::btree_map(key, event, 1..120),
    ]
}

fn history() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec((any::<prop::sample::Index>(), delta()), 1..25)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

fn present(state: &State, key: (u64, u64)) -> Option<EventNid> {
    state.get(&key).copied().map(EventNid)
}

async fn check(store: &Store, snapshots: &Snapshots, states: &[(SnapshotId, State)]) -> Result<(), TestCaseError> {
    let tx = store.begin();
    for (id, state) in states {
        let all = snapshots.entries(&tx, ROOM, *id, Wanted::All).await.unwrap();
        prop_assert_eq!(&all, &tuples(state));
        prop_assert_eq!(snapshots.count(&tx, ROOM, *id).await.unwrap(), state.len() as u64);
        prop_assert!(snapshots.load(&tx, ROOM, *id).await.unwrap().blocks.len() <= MAX_BLOCKS);
        let (members, others): (Vec<_>, Vec<_>) = all.iter().partition(|tuple| tuple.event_type == TypeNid::MEMBER);
        prop_assert_eq!(snapshots.entries(&tx, ROOM, *id, Wanted::Members).await.unwrap(), members);
        prop_assert_eq!(snapshots.entries(&tx, ROOM, *id, Wanted::OtherThanMembers).await.unwrap(), others);
        let keys: Vec<(u64, u64)> = state.keys().copied().chain((1..10).map(|key| (5, key * 23))).collect();
        let nids: Vec<_> = keys.iter().map(|(of, key)| (TypeNid(*of), StateKeyNid(*key))).collect();
        let expected: Vec<_> = keys.iter().map(|key| present(state, *key)).collect();
        prop_assert_eq!(snapshots.lookup(&tx, ROOM, *id, &nids).await.unwrap(), expected);
    }
    for (first, before) in states.iter().step_by(3) {
        for (second, after) in states.iter().rev().take(4) {
            let keys: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).copied().collect();
            let expected: Vec<Difference> = keys
                .into_iter()
                .filter(|key| before.get(key) != after.get(key))
                .map(|key| Difference {
                    event_type: TypeNid(key.0),
                    state_key: StateKeyNid(key.1),
                    before: present(before, key),
                    after: present(after, key),
                })
                .collect();
            prop_assert_eq!(snapshots.diff(&tx, ROOM, *first, *second).await.unwrap(), expected);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn snapshots_are_maps(history in history()) {
        runtime().block_on(async {
            let store = Store::memory();
            let snapshots = Snapshots::default();
            let empty = store
                .transact("test", |tx| {
                    let snapshots = &snapshots;
                    async move { snapshots.create(&tx, ROOM, []).await }
                })
                .await
                .unwrap();
            let mut states = vec![(empty, State::new())];
            for (on, delta) in history {
                let (base, mut state) = on.get(&states).clone();
                for (key, event) in &delta {
                    match event {
                        0 => state.remove(key),
                        _ => state.insert(*key, *event),
                    };
                }
                let (apply, create) = (tuples(&delta), tuples(&state));
                let ids = store
                    .transact("test", |tx| {
                        let (snapshots, apply, create) = (&snapshots, apply.clone(), create.clone());
                        async move {
                            let applied = snapshots.apply(&tx, ROOM, base, apply.clone()).await?;
                            let again = snapshots.apply(&tx, ROOM, base, apply.clone()).await?;
                            // A change of nothing makes nothing.
                            let same = snapshots.apply(&tx, ROOM, applied, apply).await?;
                            Ok::<_, StoreError>((applied, again, same, snapshots.create(&tx, ROOM, create).await?))
                        }
                    })
                    .await
                    .unwrap();
                prop_assert_eq!((ids.0, ids.0), (ids.1, ids.2));
                states.push((ids.0, state.clone()));
                states.push((ids.3, state));
            }
            // Once with warm caches, once from the store alone.
            check(&store, &snapshots, &states).await?;
            check(&store, &Snapshots::new(0), &states).await
        })?;
    }

    #[test]
    fn the_collector_takes_garbage_and_nothing_else(
        history in prop::collection::vec((any::<prop::sample::Index>(), delta(), any::<bool>()), 1..25),
        writers in prop::collection::vec((any::<prop::sample::Index>(), delta()), 4..12),
        pauses in prop::collection::vec(0..4_u8, 60..120),
    ) {
        runtime().block_on(async {
            let store = Store::memory();
            let snapshots = Snapshots::new(0);
            // Events with states of which some are purged again, so that there is garbage.
            let mut states: Vec<State> = vec![State::new()];
            for (event, (on, delta, purged)) in (1..).zip(history) {
                let mut state = on.get(&states).clone();
                state.extend(delta.into_iter().filter(|(_, event)| *event != 0));
                states.push(state.clone());
                put_event(&store, &snapshots, event, &state, &|| std::future::ready(())).await;
                if purged {
                    let tx = store.begin();
                    STATE_BEFORE.clear(&tx, (ROOM, EventNid(event)));
                    tx.commit().await.unwrap();
                }
            }
            // Writers come back to old states, garbage among them, while two collectors run. Everybody pauses between any
            // two steps, for as long as the case says.
            let pauses = std::cell::RefCell::new(pauses.into_iter());
            let pause = || {
                let turns = pauses.borrow_mut().next().unwrap_or(0);
                let store = &store;
                async move {
                    // As long as so many commits take, so that others get as far meanwhile.
                    for turn in 0..turns {
                        let tx = store.begin();
                        tx.set(b"turn", &[turn]);
                        tx.commit().await.unwrap();
                    }
                }
            };
            let write = async {
                for (event, (on, delta)) in (1000..).zip(&writers) {
                    put_event(&store, &snapshots, event, on.get(&states), &pause).await;
                    let mut state = on.get(&states).clone();
                    state.extend(delta.iter().filter(|(_, event)| **event != 0).map(|(key, event)| (*key, *event)));
                    put_event(&store, &snapshots, event + 1000, &state, &pause).await;
                }
            };
            let collecting = || async {
                for _ in 0..4 {
                    let condemned = condemn_garbage(&store, ROOM).await.unwrap();
                    pause().await;
                    let doomed = look_again(&store, ROOM, condemned).await.unwrap();
                    pause().await;
                    delete_doomed(&store, ROOM, doomed).await.unwrap();
                    pause().await;
                }
            };
            tokio::join!(write, collecting(), collecting());
            collect(&store, ROOM).await.unwrap();
            let tx = store.begin();
            let referred = STATE_BEFORE.scan((ROOM,)).all(&tx).await.unwrap();
            for (_, id) in &referred {
                // Readable whole.
                snapshots.entries(&tx, ROOM, *id, Wanted::All).await.unwrap();
            }
            let mut named: Vec<_> = referred.into_iter().map(|(_, id)| id).collect();
            named.sort_unstable();
            named.dedup();
            let kept: Vec<_> = STATE_SNAPSHOT.scan((ROOM,)).all(&tx).await.unwrap();
            prop_assert_eq!(kept.iter().map(|((_, id), _)| *id).collect::<Vec<_>>(), named);
            let mut used: Vec<_> = kept.iter().flat_map(|(_, list)| &list.blocks).map(|block| block.id).collect();
            used.sort_unstable();
            used.dedup();
            let mut blocks: Vec<_> =
                STATE_BLOCK.scan((ROOM,)).all(&tx).await.unwrap().into_iter().map(|((_, id, _), _)| id).collect();
            blocks.dedup();
            prop_assert_eq!(blocks, used);
            prop_assert!(CONDEMNED.scan(()).all(&tx).await.unwrap().is_empty());
            Ok(())
        })?;
    }
}

async fn put_event<F: Future<Output = ()>>(
    store: &Store,
    snapshots: &Snapshots,
    event: u64,
    state: &State,
    pause: &impl Fn() -> F,
) {
    let state = tuples(state);
    let half = || state.iter().step_by(2).copied();
    // By hand, not with `transact`, so that a pause may stand anywhere.
    loop {
        let tx = store.begin();
        let base = snapshots.create(&tx, ROOM, half()).await.unwrap();
        pause().await;
        let id = snapshots.apply(&tx, ROOM, base, state.iter().copied()).await.unwrap();
        pause().await;
        STATE_BEFORE.set(&tx, (ROOM, EventNid(event)), &id);
        match tx.commit().await {
            Ok(_) => return,
            Err(StoreError::Conflict) => pause().await,
            Err(error) => panic!("{error}"),
        }
    }
}
