//! The graph of a room's events, and the chain cover of its auth graph, kept at insertion.
//!
//! The auth graph (edges `auth_events`) of a room of any age is deep, and walking its edges one by one is what made old
//! servers slow. A *chain cover* puts every state event into a chain, at a place: an event is in the auth chain of all that come
//! behind it in its chain. *Links* say how far an auth chain goes in other chains. So an auth chain, of one event or of
//! a whole state, is one number per chain, found by following links ([`crate::cover`]).

use std::{collections::HashMap, sync::Arc};

use hearth_store::Transaction;

use crate::{
    EventNid, Outcome, RoomError, RoomNid, Rooms, TypeNid,
    keys::{CHAIN, CHAIN_LINK, GRAPH, MEMBER, STATE, STATE_BEFORE},
    records::GraphRecord,
    snapshots::{ABSENT, StateTuple},
    writer::{Appended, RoomWriter, States},
};

/// How many chains an event tries to continue before it begins one of its own.
const TRIES: usize = 3;

/// What a transaction wrote of the chain cover so far, so that it need not be read again.
#[derive(Default)]
pub(crate) struct Fresh {
    places: HashMap<EventNid, GraphRecord>,
    /// The last places of chains.
    ends: HashMap<u64, u64>,
    /// How far chains go in others.
    reach: HashMap<u64, HashMap<u64, u64>>,
}

impl Rooms {
    /// Where an event stands in the graph.
    pub(crate) async fn graph(
        &self,
        tx: &Transaction,
        room: RoomNid,
        event: EventNid,
    ) -> Result<Arc<GraphRecord>, RoomError> {
        if let Some(record) = self.caches.graph.get(&event) {
            return Ok(record);
        }
        let record = GRAPH.get_snapshot(tx, (room, event)).await?;
        record.map(Arc::new).ok_or_else(|| RoomError::Corrupt(format!("{event:?} has no place in the graph")))
    }

    /// [`Self::graph`] in a transaction that writes none: what is read is kept.
    pub(crate) async fn known_graph(
        &self,
        tx: &Transaction,
        room: RoomNid,
        event: EventNid,
    ) -> Result<Arc<GraphRecord>, RoomError> {
        let record = self.graph(tx, room, event).await?;
        self.caches.keep_graph(event, record.clone());
        Ok(record)
    }

    /// Writes an event's place; gives it one in the chain cover if it is a state event that was not rejected. An outlier that
    /// gets its place in the graph keeps the one in the cover.
    pub(crate) async fn write_place(
        &self,
        tx: &Transaction,
        room: RoomNid,
        event: EventNid,
        mut record: GraphRecord,
        fresh: &mut Fresh,
    ) -> Result<GraphRecord, RoomError> {
        if let Some(known) = GRAPH.get(tx, (room, event)).await? {
            (record.chain, record.sequence) = (known.chain, known.sequence);
        }
        self.cover_place(tx, room, event, record, fresh).await
    }

    /// [`Self::write_place`] of an event that has none so far.
    async fn cover_place(
        &self,
        tx: &Transaction,
        room: RoomNid,
        event: EventNid,
        mut record: GraphRecord,
        fresh: &mut Fresh,
    ) -> Result<GraphRecord, RoomError> {
        if record.effect().is_some() && record.chain == 0 {
            (record.chain, record.sequence) = self.cover(tx, room, event, &record, fresh).await?;
        }
        GRAPH.set(tx, (room, event), &record);
        fresh.places.insert(event, record.clone());
        Ok(record)
    }

    /// Finds a place in the chain cover and writes it with its links.
    async fn cover(
        &self,
        tx: &Transaction,
        room: RoomNid,
        event: EventNid,
        record: &GraphRecord,
        fresh: &mut Fresh,
    ) -> Result<(u64, u64), RoomError> {
        let mut reached: HashMap<u64, u64> = HashMap::new();
        let mut candidates = Vec::with_capacity(record.auth.len());
        for auth in &record.auth {
            let (chain, sequence, state) = if let Some(auth) = fresh.places.get(auth) {
                (auth.chain, auth.sequence, auth.state)
            } else {
                let auth = self.graph(tx, room, *auth).await?;
                (auth.chain, auth.sequence, auth.state)
            };
            if chain == 0 {
                continue;
            }
            let place = reached.entry(chain).or_default();
            *place = (*place).max(sequence);
            candidates.push((state == record.state, sequence, chain));
        }
        // Best the predecessor of the same entry, then whatever is long.
        candidates.sort_unstable_by(|one, two| two.cmp(one));
        let mut place = (event.0, 1);
        for (_, sequence, chain) in candidates.into_iter().take(TRIES) {
            let is_end = match fresh.ends.get(&chain) {
                Some(end) => *end == sequence,
                None => CHAIN.get(tx, (room, chain, sequence + 1)).await?.is_none(),
            };
            if is_end {
                place = (chain, sequence + 1);
                break;
            }
        }
        let (chain, sequence) = place;
        // What the event before it in the chain reaches need not be said again.
        let mut known = fresh.reach.remove(&chain).unwrap_or_default();
        if sequence > 1 && !fresh.ends.contains_key(&chain) {
            for ((.., to), target) in CHAIN_LINK.scan((room, chain)).snapshot().all(tx).await? {
                let known = known.entry(to).or_default();
                *known = (*known).max(target);
            }
        }
        for (to, target) in reached {
            let known = known.entry(to).or_default();
            if to != chain && *known < target {
                *known = target;
                CHAIN_LINK.set(tx, (room, chain, sequence, to), &target);
            }
        }
        fresh.ends.insert(chain, sequence);
        fresh.reach.insert(chain, known);
        CHAIN.set(tx, (room, chain, sequence), &event);
        Ok(place)
    }
}

impl RoomWriter<'_> {
    /// The places of the appended events and the states before them; the room record's state becomes the one after.
    pub(crate) async fn write_graph(
        &mut self,
        appended: &[Appended],
    ) -> Result<Vec<(EventNid, GraphRecord)>, RoomError> {
        let (tx, room) = (self.tx.clone(), self.room());
        let snapshots = self.rooms.snapshots.clone();
        let mut state = match self.record.state {
            Some(state) => state,
            None => snapshots.create(&tx, room, self.tuples().await?).await?,
        };
        let mut places = Vec::with_capacity(appended.len());
        let mut fresh = Fresh::default();
        for event in appended {
            let nid = event.event.nid;
            let (before, after) = match event.states {
                States::Resolved { before, current } => (before, current),
                States::AtTheEnd => {
                    let tuples: Vec<StateTuple> = event
                        .changes
                        .iter()
                        .map(|change| StateTuple {
                            event_type: change.event_type,
                            state_key: change.state_key,
                            event: change.event.unwrap_or(ABSENT),
                        })
                        .collect();
                    let after =
                        if tuples.is_empty() { state } else { snapshots.apply(&tx, room, state, tuples).await? };
                    (state, after)
                }
            };
            STATE_BEFORE.set(&tx, (room, nid), &before);
            let record = GraphRecord {
                depth: event.event.pdu.depth,
                prev: event.prev.clone(),
                auth: event.auth.clone(),
                state: event.state_key.map(|key| (event.event_type, key)),
                outcome: Outcome::Accepted,
                chain: 0,
                sequence: 0,
            };
            let record = match event.states {
                States::AtTheEnd => self.rooms.cover_place(&tx, room, nid, record, &mut fresh).await?,
                States::Resolved { .. } => self.rooms.write_place(&tx, room, nid, record, &mut fresh).await?,
            };
            places.push((nid, record));
            state = after;
        }
        self.record.state = Some(state);
        Ok(places)
    }

    /// The current state from its tables, for a room whose record does not name a snapshot yet.
    async fn tuples(&self) -> Result<Vec<StateTuple>, RoomError> {
        if self.is_new {
            return Ok(Vec::new());
        }
        let mut tuples = Vec::new();
        for ((_, event_type, state_key), event) in STATE.scan((self.room(),)).all(&self.tx).await? {
            tuples.push(StateTuple { event_type, state_key, event });
        }
        for ((_, state_key), record) in MEMBER.scan((self.room(),)).all(&self.tx).await? {
            tuples.push(StateTuple { event_type: TypeNid::MEMBER, state_key, event: record.event });
        }
        Ok(tuples)
    }
}
