//! What is missing before an event can be judged: the events that it names, fetched one generation after the other, and
//! where that goes too far back, the state before it as another server says.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use hearth_protocol::{
    auth::{Refused, check_auth_events},
    receive::Verified,
};
use hearth_store::Transaction;
use ruma::{EventId, OwnedEventId};

use super::{judging::Before, publishing::Judged};
use crate::{
    Outcome, RoomError, Rooms,
    keys::{EVENT_NID, STATE_BEFORE},
    room_info::RoomInfo,
    snapshots::StateTuple,
    stored_event::StoredEvent,
};

/// Most events that are fetched because of one.
const FETCHED: usize = 1000;
/// Most ids that are asked for at once.
const ASKED: usize = 100;
/// Steps taken for one event: each event may name 30 others. Rooms of old versions could name each other in circles.
const STEPS: usize = 30 * FETCHED;
/// Most events of a state that is fetched.
const STATE: usize = 100_000;

/// An event that is being taken in, and why.
struct Open {
    event: Verified,
    /// Something comes after it, so that it needs its place in the graph; otherwise it may stay an outlier.
    is_previous: bool,
}

impl Rooms {
    /// Takes an event in, and before it whatever it needs and can be had.
    pub(super) async fn take_in(&self, info: &RoomInfo, event: Verified) -> Result<(), RoomError> {
        let mut asked = HashSet::from([event.pdu.event_id.clone()]);
        let mut open = vec![Open { event, is_previous: true }];
        let mut steps = 0;
        while let Some(top) = open.last() {
            let missing = self.missing(info, &top.event).await?;
            let Some(missing) = missing else {
                open.pop();
                continue;
            };
            steps += 1;
            // One of them may wait further down: its turn is now.
            let below = open.iter().position(|other| missing.contains_key(&other.event.pdu.event_id));
            if let (Some(below), true) = (below, steps < STEPS) {
                let mut next = open.remove(below);
                next.is_previous |= missing.get(&next.event.pdu.event_id).copied().unwrap_or(false);
                open.push(next);
                continue;
            }
            let room_left = FETCHED.saturating_sub(asked.len()).min(ASKED);
            let wanted: Vec<OwnedEventId> =
                missing.keys().filter(|id| !asked.contains(*id)).take(room_left).cloned().collect();
            if !wanted.is_empty() {
                asked.extend(wanted.iter().cloned());
                for event in self.fetch(info, &wanted).await? {
                    let is_previous = missing.get(&event.pdu.event_id).copied().unwrap_or(false);
                    open.push(Open { event, is_previous });
                }
                continue;
            }
            if let Some(Open { event, is_previous }) = open.pop() {
                self.settle(info, event, is_previous, &missing).await?;
            }
        }
        Ok(())
    }

    /// The events that an event names and that are not here as they have to be, each with whether it is a previous event; `None`
    /// where the event itself has its place.
    async fn missing(
        &self,
        info: &RoomInfo,
        event: &Verified,
    ) -> Result<Option<BTreeMap<OwnedEventId, bool>>, RoomError> {
        let tx = self.store.begin();
        if self.is_placed(&tx, info, &event.pdu.event_id).await? {
            return Ok(None);
        }
        let mut missing = BTreeMap::new();
        for id in &event.pdu.auth_events {
            if self.find_stored(&tx, info, id).await?.is_none() {
                missing.insert(id.clone(), false);
            }
        }
        for id in &event.pdu.prev_events {
            if !self.is_placed(&tx, info, id).await? {
                missing.insert(id.clone(), true);
            }
        }
        Ok(Some(missing))
    }

    /// An event of the room by its id, whatever became of it.
    pub(super) async fn find_stored(
        &self,
        tx: &Transaction,
        info: &RoomInfo,
        id: &EventId,
    ) -> Result<Option<Arc<StoredEvent>>, RoomError> {
        let Some(nid) = EVENT_NID.get_snapshot(tx, (id.as_str(),)).await? else { return Ok(None) };
        let event = self.stored_event(tx, nid).await?;
        Ok((event.room == info.nid).then_some(event))
    }

    /// Whether an event of the room has its place in the graph.
    pub(super) async fn is_placed(&self, tx: &Transaction, info: &RoomInfo, id: &EventId) -> Result<bool, RoomError> {
        let Some(event) = self.find_stored(tx, info, id).await? else { return Ok(false) };
        match event.outcome {
            Outcome::Accepted | Outcome::SoftFailed => Ok(true),
            Outcome::Outlier => Ok(false),
            // Also what would have been an outlier can be rejected.
            Outcome::Rejected => Ok(STATE_BEFORE.get_snapshot(tx, (info.nid, event.nid)).await?.is_some()),
        }
    }

    /// Events that are here as outliers, or that another server has.
    async fn fetch(&self, info: &RoomInfo, wanted: &[OwnedEventId]) -> Result<Vec<Verified>, RoomError> {
        let mut events = Vec::with_capacity(wanted.len());
        let mut remote = Vec::new();
        let tx = self.store.begin();
        for id in wanted {
            match self.find_stored(&tx, info, id).await? {
                Some(event) => {
                    let pdu = (*event.pdu).clone();
                    let rejection = pdu.rejected.then(|| Refused("rejected before".to_owned()));
                    events.push(Verified { pdu, redacted: false, rejection });
                }
                None => remote.push(id.clone()),
            }
        }
        drop(tx);
        if !remote.is_empty()
            && let Some(fetch) = self.receiving.fetch.get()
        {
            let mut expected: HashSet<OwnedEventId> = remote.iter().cloned().collect();
            let fetched = fetch.events(&info.room_id, &remote).await;
            // Nothing that was not asked for, and nothing twice.
            events.extend(
                fetched
                    .into_iter()
                    .filter(|event| event.pdu.room_id == info.room_id && expected.remove(&event.pdu.event_id)),
            );
        }
        Ok(events)
    }

    /// An event for which everything was tried.
    async fn settle(
        &self,
        info: &RoomInfo,
        event: Verified,
        is_previous: bool,
        missing: &BTreeMap<OwnedEventId, bool>,
    ) -> Result<(), RoomError> {
        let unauthorized = event.pdu.auth_events.iter().any(|id| missing.get(id) == Some(&false));
        if !unauthorized && !missing.values().any(|is_previous| *is_previous) {
            return self.place(info, &event, Before::Previous).await;
        }
        if !is_previous && !unauthorized {
            return self.keep_outlier(info, &event).await;
        }
        let fetched = match self.receiving.fetch.get() {
            Some(fetch) if is_previous => fetch.state_ids(&info.room_id, &event.pdu.event_id).await,
            _ => None,
        };
        let Some(ids) = fetched else {
            tracing::info!(event_id = %event.pdu.event_id, "an event is dropped: what is before it cannot be had");
            return Ok(());
        };
        if ids.state.len() + ids.auth_chain.len() > STATE {
            tracing::warn!(event_id = %event.pdu.event_id, "an event is dropped: the state before it is too large");
            return Ok(());
        }
        self.fetch_outliers(info, ids.auth_chain.iter().chain(&ids.state).cloned().collect()).await?;
        let mut tuples = Vec::with_capacity(ids.state.len());
        let tx = self.store.begin();
        for id in &ids.state {
            let Some(stored) = self.find_stored(&tx, info, id).await? else { continue };
            let place = self.graph(&tx, info.nid, stored.nid).await?;
            if let Some((event_type, state_key)) = place.effect() {
                tuples.push(StateTuple { event_type, state_key, event: stored.nid });
            }
        }
        drop(tx);
        for id in &event.pdu.auth_events {
            if self.find_stored(&self.store.begin(), info, id).await?.is_none() {
                tracing::info!(event_id = %event.pdu.event_id, "an event is dropped: {id} cannot be had");
                return Ok(());
            }
        }
        self.place(info, &event, Before::Given(tuples)).await
    }

    /// Gets events and keeps them as outliers, those that others need first.
    async fn fetch_outliers(&self, info: &RoomInfo, ids: Vec<OwnedEventId>) -> Result<(), RoomError> {
        let mut wanted = Vec::new();
        let tx = self.store.begin();
        for id in ids {
            if self.find_stored(&tx, info, &id).await?.is_none() {
                wanted.push(id);
            }
        }
        drop(tx);
        let mut events: HashMap<OwnedEventId, Verified> = HashMap::new();
        for ids in wanted.chunks(ASKED) {
            let fetched = self.fetch(info, ids).await?;
            events.extend(fetched.into_iter().map(|event| (event.pdu.event_id.clone(), event)));
        }
        for id in in_auth_order(&events) {
            if let Some(event) = events.get(&id) {
                self.keep_outlier(info, event).await?;
            }
        }
        Ok(())
    }

    /// Keeps an event without a place in the graph, by its auth events alone. One whose auth events are not here is dropped.
    async fn keep_outlier(&self, info: &RoomInfo, event: &Verified) -> Result<(), RoomError> {
        let tx = self.store.begin();
        if self.find_stored(&tx, info, &event.pdu.event_id).await?.is_some() {
            return Ok(());
        }
        let Some((auth, pdus)) = self.auth_events(&tx, info, &event.pdu).await? else { return Ok(()) };
        drop(tx);
        let checked = check_auth_events(&info.version, &event.pdu, |id: &EventId| {
            pdus.iter().find(|pdu| pdu.event_id == id).map(|pdu| &**pdu)
        });
        let (outcome, reason) = match (&event.rejection, checked) {
            (Some(refused), _) => (Outcome::Rejected, Some(refused.0.clone())),
            (None, Err(refused)) => (Outcome::Rejected, Some(format!("by its auth events: {refused}"))),
            (None, Ok(())) => (Outcome::Outlier, None),
        };
        let judged = Judged { outcome, reason, prev: Vec::new(), auth, before: None, power_levels: None };
        // If another receiver was at it, it is here too.
        self.keep_aside(info, event, judged).await.map(|_: bool| ())
    }
}

/// The ids of events in an order in which each comes after its auth events.
pub(super) fn in_auth_order(events: &HashMap<OwnedEventId, Verified>) -> Vec<OwnedEventId> {
    let mut done: HashSet<&OwnedEventId> = HashSet::with_capacity(events.len());
    let mut order = Vec::with_capacity(events.len());
    for start in events.keys() {
        let mut open = vec![(start, false)];
        while let Some((id, after)) = open.pop() {
            if after {
                order.push(id.clone());
                continue;
            }
            let Some(event) = events.get(id) else { continue };
            if !done.insert(id) {
                continue;
            }
            open.push((id, true));
            open.extend(event.pdu.auth_events.iter().map(|auth| (auth, false)));
        }
    }
    order
}
