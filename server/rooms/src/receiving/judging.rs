//! What becomes of an event whose predecessors are here
//! ([checks performed on receipt](https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu)),
//! and of the room's current state with it.

use std::{
    collections::{BTreeSet, HashSet},
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use hearth_protocol::{
    Pdu,
    auth::auth_types,
    receive::{Outcome as Judgement, Step, Verified, authorize},
};
use hearth_store::Transaction;
use ruma::{EventId, OwnedEventId, events::StateEventType};

use super::publishing::{Guard, Judged, Placing, Publication};
use crate::{
    EventNid, Outcome, RoomError, Rooms,
    error::corrupt,
    keys::{BACKWARD, EVENT_NID, EXTREMITY, ROOM},
    room_info::RoomInfo,
    snapshots::{SnapshotId, StateTuple, StateTupleKey},
    stored_event::StoredEvent,
    writer::States,
};

/// How often an event is prepared anew, because the room changed meanwhile, before that is no matter any more.
const ATTEMPTS: u32 = 50;
/// Longest pause before the second attempt; before each further one it is as much longer.
const PAUSE: Duration = Duration::from_millis(1);
/// Rejected and soft-failed events that are looked behind for extremities.
const LOOK_BEHIND: usize = 1000;

/// The state before an event.
pub(super) enum Before {
    /// What comes after its previous events, all of which have their places.
    Previous,
    /// As another server said.
    Given(Vec<StateTuple>),
}

/// Entries of a state that authorize an event.
type Entries = Vec<(StateEventType, String, Arc<StoredEvent>)>;

impl Rooms {
    /// Gives an event its place in the graph: judges it and publishes it, or keeps it aside.
    pub(super) async fn place(&self, info: &RoomInfo, event: &Verified, before: Before) -> Result<(), RoomError> {
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                // Whoever was quicker goes on with the next; they should not meet again and again.
                let jitter = RandomState::new().hash_one(attempt) as u32 % (attempt + 1);
                tokio::time::sleep(PAUSE * jitter).await;
            }
            let (prev, before) = self.before(info, &event.pdu, &before).await?;
            let guard = self.guard(info).await?;
            let Some(judged) = self.judge(&self.store.begin(), info, event, prev, before, guard.state).await? else {
                tracing::info!(event_id = %event.pdu.event_id, "an event is dropped: its auth events are not here");
                return Ok(());
            };
            let done = match judged.outcome {
                Outcome::Accepted => self.publish(info, event, &judged, before, guard).await?,
                _ => self.keep_aside(info, event, judged).await?,
            };
            if done {
                return Ok(());
            }
        }
        Err(RoomError::BadState(format!("{} found no moment in which the room did not change", event.pdu.event_id)))
    }

    /// Previous events that are known, and the state before an event.
    async fn before(
        &self,
        info: &RoomInfo,
        pdu: &Pdu,
        before: &Before,
    ) -> Result<(Vec<EventNid>, SnapshotId), RoomError> {
        let mut prev = Vec::with_capacity(pdu.prev_events.len());
        let tx = self.store.begin();
        for id in &pdu.prev_events {
            prev.extend(self.find_stored(&tx, info, id).await?.map(|event| event.nid));
        }
        drop(tx);
        let state = match before {
            Before::Previous => self.state_over(info, &prev).await?,
            Before::Given(tuples) => {
                let room = info.nid;
                self.store
                    .transact("given state", |tx| async move {
                        self.snapshots.create(&tx, room, tuples.iter().copied()).await
                    })
                    .await?
            }
        };
        Ok((prev, state))
    }

    /// The room as it is now.
    async fn guard(&self, info: &RoomInfo) -> Result<Guard, RoomError> {
        let room = info.nid;
        let tx = self.store.begin();
        let record = ROOM.get_snapshot(&tx, (room,)).await?.ok_or(RoomError::RoomNotFound)?;
        let mut extremities = Vec::new();
        for ((_, event), ()) in EXTREMITY.scan((room,)).snapshot().all(&tx).await? {
            extremities.push((event, self.stored_event(&tx, event).await?.pdu.event_id.clone()));
        }
        let state = record.state.ok_or_else(|| corrupt("a room without a snapshot of its state"))?;
        Ok(Guard { revision: record.revision, extremities, state })
    }

    /// An event's auth events; `None` if one is not here.
    pub(super) async fn auth_events(
        &self,
        tx: &Transaction,
        info: &RoomInfo,
        pdu: &Pdu,
    ) -> Result<Option<(Vec<EventNid>, Vec<Arc<Pdu>>)>, RoomError> {
        let mut nids = Vec::with_capacity(pdu.auth_events.len());
        let mut pdus = Vec::with_capacity(pdu.auth_events.len() + 1);
        for id in &pdu.auth_events {
            let Some(event) = self.find_stored(tx, info, id).await? else { return Ok(None) };
            nids.push(event.nid);
            pdus.push(event.pdu.clone());
        }
        if info.version.room_id_is_create_event()
            && let Some(create) = pdu.create_event_id()
            && let Some(event) = self.find_stored(tx, info, &create).await?
        {
            pdus.push(event.pdu.clone());
        }
        Ok(Some((nids, pdus)))
    }

    /// The fourth to the sixth check. `None` if an auth event is not here.
    pub(super) async fn judge(
        &self,
        tx: &Transaction,
        info: &RoomInfo,
        event: &Verified,
        prev: Vec<EventNid>,
        before: SnapshotId,
        current: SnapshotId,
    ) -> Result<Option<Judged>, RoomError> {
        let pdu = &event.pdu;
        let Some((auth, auth_pdus)) = self.auth_events(tx, info, pdu).await? else { return Ok(None) };
        let version = &info.version;
        // Malformed content is refused whatever the state.
        let mut keys = auth_types(version, &pdu.event_type, &pdu.sender, pdu.state_key.as_deref(), &pdu.content)
            .unwrap_or_default();
        keys.extend([(StateEventType::RoomCreate, String::new()), (StateEventType::RoomPowerLevels, String::new())]);
        let state_before = self.entries(tx, info, before, &keys).await?;
        let state_now = self.entries(tx, info, current, &keys).await?;
        let judgement = authorize(
            version,
            event,
            |id: &EventId| auth_pdus.iter().find(|pdu| pdu.event_id == id).map(|pdu| &**pdu),
            |event_type, key| find(&state_before, event_type, key).map(|event| &*event.pdu),
            |event_type, key| find(&state_now, event_type, key).map(|event| &*event.pdu),
        );
        let (outcome, reason) = outcome(judgement);
        let power_levels = find(&state_before, &StateEventType::RoomPowerLevels, "").map(|event| event.pdu.clone());
        Ok(Some(Judged { outcome, reason, prev, auth, before: Some(before), power_levels }))
    }

    /// Entries of a state.
    async fn entries(
        &self,
        tx: &Transaction,
        info: &RoomInfo,
        state: SnapshotId,
        keys: &[(StateEventType, String)],
    ) -> Result<Entries, RoomError> {
        let mut named = Vec::with_capacity(keys.len());
        let mut numbered: Vec<StateTupleKey> = Vec::with_capacity(keys.len());
        for (event_type, key) in keys {
            let event_nid = self.find_type(tx, &event_type.to_string()).await?;
            if let Some(numbers) = event_nid.zip(self.find_state_key(tx, key).await?) {
                named.push((event_type, key));
                numbered.push(numbers);
            }
        }
        let found = self.snapshots.lookup(tx, info.nid, state, &numbered).await?;
        let mut entries = Vec::with_capacity(found.len());
        for ((event_type, key), event) in named.into_iter().zip(found) {
            if let Some(event) = event {
                entries.push((event_type.clone(), key.clone(), self.stored_event(tx, event).await?));
            }
        }
        Ok(entries)
    }

    /// Publishes an accepted event; false when the room has changed since `guard`.
    async fn publish(
        &self,
        info: &RoomInfo,
        event: &Verified,
        judged: &Judged,
        before: SnapshotId,
        guard: Guard,
    ) -> Result<bool, RoomError> {
        let room = info.nid;
        let tx = self.store.begin();
        let id = &event.pdu.event_id;
        let passed = self.passed(&tx, info, &judged.prev).await?;
        let mut ends: Vec<(EventNid, OwnedEventId)> =
            guard.extremities.iter().filter(|(end, _)| !passed.contains(end)).cloned().collect();
        // What is behind an accepted event is no end.
        let is_end = BACKWARD.get_snapshot(&tx, (room, id.as_str())).await?.is_none();
        drop(tx);
        let placing = self.number(info, &event.pdu).await?;
        if is_end {
            ends.push((placing.nid, id.clone()));
        }
        let alone = is_end && ends.len() == 1;
        let states = if alone && before == guard.state {
            States::AtTheEnd
        } else if !is_end && ends.len() == guard.extremities.len() {
            States::Resolved { before, current: guard.state }
        } else {
            let current = self.current(info, event, judged, before, &placing, &ends).await?;
            let Some(current) = current else { return Ok(false) };
            States::Resolved { before, current }
        };
        let differences = match states {
            States::Resolved { current, .. } => {
                let tx = self.store.begin();
                self.snapshots.diff(&tx, room, guard.state, current).await?
            }
            States::AtTheEnd => Vec::new(),
        };
        let publication = Publication::new(info, event, judged, placing, guard, ends, states, differences);
        self.run_publication(info, publication).await
    }

    /// The events that are no ends when something accepted comes after `prev`: these, and what is before them where they were
    /// refused.
    async fn passed(
        &self,
        tx: &Transaction,
        info: &RoomInfo,
        prev: &[EventNid],
    ) -> Result<HashSet<EventNid>, RoomError> {
        let mut passed = HashSet::new();
        let mut open = prev.to_vec();
        while let Some(event) = open.pop() {
            if passed.len() >= LOOK_BEHIND || !passed.insert(event) {
                continue;
            }
            let place = self.graph(tx, info.nid, event).await?;
            if matches!(place.outcome, Outcome::Rejected | Outcome::SoftFailed) {
                open.extend(&place.prev);
            }
        }
        Ok(passed)
    }

    /// The current state with the event: what comes after all ends. `None` when another receiver is at the same event.
    async fn current(
        &self,
        info: &RoomInfo,
        event: &Verified,
        judged: &Judged,
        before: SnapshotId,
        placing: &Placing,
        ends: &[(EventNid, OwnedEventId)],
    ) -> Result<Option<SnapshotId>, RoomError> {
        let room = info.nid;
        let own = placing.state.map(|(event_type, state_key)| StateTuple { event_type, state_key, event: placing.nid });
        let states = self
            .store
            .transact("states after ends", |tx| async move {
                let mut states = BTreeSet::new();
                for (end, _) in ends {
                    states.insert(if *end == placing.nid {
                        self.snapshots.apply(&tx, room, before, own).await?
                    } else {
                        self.state_after(&tx, room, *end).await?
                    });
                }
                Ok::<_, RoomError>(states)
            })
            .await?;
        if states.len() > 1 && own.is_some() && !placing.stored {
            // Resolution reads the event like any other.
            let outlier = Judged {
                outcome: Outcome::Outlier,
                reason: None,
                prev: Vec::new(),
                auth: judged.auth.clone(),
                before: None,
                power_levels: None,
            };
            if !self.keep_numbered(info, event, &outlier, placing).await? {
                return Ok(None);
            }
        }
        self.resolve_states(info, states).await.map(Some)
    }

    /// Whether an event id has a number already, and which.
    pub(super) async fn stored_nid(&self, tx: &Transaction, id: &EventId) -> Result<Option<EventNid>, RoomError> {
        Ok(EVENT_NID.get_snapshot(tx, (id.as_str(),)).await?)
    }
}

fn find<'a>(entries: &'a Entries, event_type: &StateEventType, key: &str) -> Option<&'a StoredEvent> {
    entries.iter().find(|(kind, state_key, _)| kind == event_type && state_key == key).map(|(_, _, event)| &**event)
}

/// As it is stored.
fn outcome(judgement: Judgement) -> (Outcome, Option<String>) {
    let step = |step: Step| match step {
        Step::Signature => "by a missing signature",
        Step::AuthEvents => "by its auth events",
        Step::StateBefore => "by the state before it",
    };
    match judgement {
        Judgement::Accepted => (Outcome::Accepted, None),
        Judgement::Rejected(at, reason) => (Outcome::Rejected, Some(format!("{}: {reason}", step(at)))),
        Judgement::SoftFailed(reason) => (Outcome::SoftFailed, Some(reason)),
    }
}
