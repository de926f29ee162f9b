//! The state after events: resolved where they do not agree, each resolution once
//! ([state resolution](https://spec.matrix.org/v1.19/rooms/v12/#state-resolution)).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hearth_protocol::state_resolution::{ALGORITHM, AuthGraph, Events, Resolution, needs_subgraph};
use hearth_store::Transaction;
use ruma::{OwnedEventId, events::StateEventType, state_res::StateMap};
use sha2::{Digest, Sha256};

use crate::{
    EventNid, RoomError, RoomNid, Rooms,
    cover::Cover,
    error::corrupt,
    keys::{EVENT_NID, RESOLVED, STATE_BEFORE},
    records::ResolvedRecord,
    room_info::RoomInfo,
    snapshots::{ABSENT, SnapshotId, StateTuple, StateTupleKey, Wanted},
};

impl Rooms {
    /// The state after an event that has its place in the graph. Writes in `tx` what it needs of snapshots.
    pub(crate) async fn state_after(
        &self,
        tx: &Transaction,
        room: RoomNid,
        event: EventNid,
    ) -> Result<SnapshotId, RoomError> {
        let before = STATE_BEFORE.get_snapshot(tx, (room, event)).await?;
        let before = before.ok_or_else(|| RoomError::Corrupt(format!("no state before {event:?}")))?;
        match self.graph(tx, room, event).await?.effect() {
            None => Ok(before),
            Some((event_type, state_key)) => {
                Ok(self.snapshots.apply(tx, room, before, [StateTuple { event_type, state_key, event }]).await?)
            }
        }
    }

    /// The state over several events, each with its place: what comes after them all.
    pub(crate) async fn state_over(&self, info: &RoomInfo, events: &[EventNid]) -> Result<SnapshotId, RoomError> {
        let room = info.nid;
        let states = self
            .store
            .transact("states after events", |tx| async move {
                let mut states = BTreeSet::new();
                for event in events {
                    states.insert(self.state_after(&tx, room, *event).await?);
                }
                if states.is_empty() {
                    states.insert(self.snapshots.create(&tx, room, []).await?);
                }
                Ok::<_, RoomError>(states)
            })
            .await?;
        self.resolve_states(info, states).await
    }

    /// What states resolve to.
    pub(crate) async fn resolve_states(
        &self,
        info: &RoomInfo,
        states: BTreeSet<SnapshotId>,
    ) -> Result<SnapshotId, RoomError> {
        let room = info.nid;
        let states: Vec<SnapshotId> = states.into_iter().collect();
        let (&base, rest) = states.split_first().ok_or_else(|| corrupt("no states to resolve"))?;
        if rest.is_empty() {
            return Ok(base);
        }
        let key = (room, u64::from(ALGORITHM), hash(&states));
        let states = &states;
        let known = self
            .store
            .transact("find resolution", |tx| async move {
                match RESOLVED.get_snapshot(&tx, key).await? {
                    // What nothing referred to may have been collected.
                    Some(known) if known.states == *states => {
                        let whole = self.snapshots.hold(&tx, room, known.resolved).await?;
                        Ok::<_, RoomError>(whole.then_some(known.resolved))
                    }
                    _ => Ok(None),
                }
            })
            .await?;
        if let Some(resolved) = known {
            return Ok(resolved);
        }
        let delta = &self.resolve_anew(info, states).await?;
        self.store
            .transact("remember resolution", |tx| async move {
                let resolved = self.snapshots.apply(&tx, room, base, delta.iter().copied()).await?;
                RESOLVED.set(&tx, key, &ResolvedRecord { states: states.clone(), resolved });
                Ok(resolved)
            })
            .await
    }

    /// Resolves; gives in what the result differs from the first of `states`. Looks only at what the states do not share and at
    /// what bears on that.
    async fn resolve_anew(&self, info: &RoomInfo, states: &[SnapshotId]) -> Result<Vec<StateTuple>, RoomError> {
        let room = info.nid;
        let tx = &self.store.begin();
        let mut conflicted: BTreeMap<StateTupleKey, Vec<Option<EventNid>>> = BTreeMap::new();
        for (index, other) in states.iter().enumerate().skip(1) {
            for difference in self.snapshots.diff(tx, room, states[0], *other).await? {
                let values = conflicted
                    .entry((difference.event_type, difference.state_key))
                    .or_insert_with(|| vec![difference.before; states.len()]);
                values[index] = difference.after;
            }
        }
        if conflicted.is_empty() {
            return Ok(Vec::new());
        }

        let events: BTreeSet<EventNid> = conflicted.values().flatten().copied().flatten().collect();
        let mut loaded = Loaded::default();
        loaded.load(self, tx, &events).await?;
        let by_state: Vec<Vec<EventNid>> =
            (0..states.len()).map(|index| conflicted.values().filter_map(|values| values[index]).collect()).collect();
        let mut cover = Cover::new(self, tx, room);
        let agreed = async || {
            let entries = self.snapshots.entries(tx, room, states[0], Wanted::All).await?;
            let agreed = entries.into_iter().filter(|tuple| !conflicted.contains_key(&tuple.key()));
            Ok(agreed.map(|tuple| tuple.event).collect())
        };
        let difference = cover.difference(&by_state, agreed).await?;
        let subgraph = if needs_subgraph(&info.version) { cover.between(&events).await? } else { Vec::new() };
        let graph = AuthGraph {
            difference: loaded.load(self, tx, &difference).await?,
            subgraph: loaded.load(self, tx, &subgraph).await?,
        };
        let maps = by_state.iter().map(|events| loaded.state(events)).collect::<Result<_, _>>()?;
        let mut resolution = Resolution::new(&info.version, maps, graph).map_err(corrupt)?;

        for (event_type, key) in resolution.auth_keys(&loaded.events).map_err(corrupt)? {
            let Some(type_nid) = self.find_type(tx, &event_type.to_string()).await? else { continue };
            let Some(key_nid) = self.find_state_key(tx, &key).await? else { continue };
            if conflicted.contains_key(&(type_nid, key_nid)) {
                continue;
            }
            let found = self.snapshots.lookup(tx, room, states[0], &[(type_nid, key_nid)]).await?;
            let found: Vec<EventNid> = found.into_iter().flatten().collect();
            for id in loaded.load(self, tx, &found).await? {
                resolution.agree(&event_type, &key, &id);
            }
        }
        loop {
            let missing = resolution.missing(&loaded.events);
            if missing.is_empty() {
                break;
            }
            for id in missing {
                let nid = EVENT_NID.get_snapshot(tx, (id.as_str(),)).await?;
                let nid = nid.ok_or_else(|| corrupt(format!("{id} is in an auth chain and not here")))?;
                loaded.load(self, tx, &[nid]).await?;
            }
        }
        let resolved = resolution.resolve(&loaded.events).map_err(corrupt)?;

        let mut delta = Vec::new();
        for ((event_type, state_key), values) in &conflicted {
            let any = values.iter().flatten().next().ok_or_else(|| corrupt("a conflict of nothing"))?;
            let winner = match resolved.get(&loaded.key(*any)?) {
                Some(id) => *loaded.nids.get(id).ok_or_else(|| corrupt(format!("{id} won unseen")))?,
                None => ABSENT,
            };
            delta.push(StateTuple { event_type: *event_type, state_key: *state_key, event: winner });
        }
        Ok(delta)
    }
}

/// Events by both their ids.
#[derive(Default)]
struct Loaded {
    events: Events,
    ids: HashMap<EventNid, OwnedEventId>,
    nids: HashMap<OwnedEventId, EventNid>,
}

impl Loaded {
    /// Loads events, and gives their ids.
    async fn load<'a>(
        &mut self,
        rooms: &Rooms,
        tx: &Transaction,
        nids: impl IntoIterator<Item = &'a EventNid>,
    ) -> Result<Vec<OwnedEventId>, RoomError> {
        let mut ids = Vec::new();
        for nid in nids {
            if let Some(id) = self.ids.get(nid) {
                ids.push(id.clone());
                continue;
            }
            let event = rooms.stored_event(tx, *nid).await?;
            let id = event.pdu.event_id.clone();
            self.events.insert(event.pdu.clone());
            self.ids.insert(*nid, id.clone());
            self.nids.insert(id.clone(), *nid);
            ids.push(id);
        }
        Ok(ids)
    }

    fn key(&self, nid: EventNid) -> Result<(StateEventType, String), RoomError> {
        let event = self.ids.get(&nid).and_then(|id| self.events.get(id));
        let event = event.ok_or_else(|| corrupt("an event of a state was not loaded"))?;
        let key = event.state_key.clone().ok_or_else(|| corrupt(format!("{} is in a state", event.event_id)))?;
        Ok((event.event_type.to_string().into(), key))
    }

    fn state(&self, events: &[EventNid]) -> Result<StateMap<OwnedEventId>, RoomError> {
        events.iter().map(|nid| Ok((self.key(*nid)?, self.ids[nid].clone()))).collect()
    }
}

fn hash(states: &[SnapshotId]) -> u64 {
    let mut hash = Sha256::new();
    for state in states {
        hash.update(state.0.to_be_bytes());
    }
    let hash = hash.finalize();
    // Below what the tuple layer's integers hold.
    hash[..6].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
