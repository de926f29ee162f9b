//! The slow reference: the state after every event of a room, resolved from scratch with ruma over whole states and whole
//! auth chains, which are found by walking edges.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use ruma::{
    EventId, OwnedEventId,
    events::StateEventType,
    state_res::{self, StateMap},
};

use crate::{
    Pdu, RoomVersion,
    auth::{self, Refused},
    receive::Step,
    state_resolution::{AuthGraph, Events, conflicted_events},
};

/// A room's state.
pub type State = StateMap<OwnedEventId>;

/// What becomes of an event by its auth events and the state before it: soft failure depends on the order of arrival, which is
/// nothing the reference knows of.
pub type Verdict = Result<(), (Step, String)>;

/// A room of which every event is known.
#[derive(Debug, Clone)]
pub struct Reference {
    version: RoomVersion,
    events: Events,
    /// In the order in which they were added.
    order: Vec<OwnedEventId>,
    after: HashMap<OwnedEventId, Arc<State>>,
    has_child: HashSet<OwnedEventId>,
}

impl Reference {
    /// A room without events.
    pub fn new(version: RoomVersion) -> Self {
        Self { version, events: Events::default(), order: Vec::new(), after: HashMap::new(), has_child: HashSet::new() }
    }

    /// Adds an event whose previous and auth events were added before, and says what becomes of it.
    ///
    /// # Panics
    /// When a previous event is not there.
    pub fn add(&mut self, mut pdu: Pdu) -> Verdict {
        let before = self.state_before(&pdu.prev_events);
        let verdict = self.judge(&pdu, &before);
        pdu.rejected = verdict.is_err();
        let after = match &pdu.state_key {
            Some(key) if verdict.is_ok() => {
                let mut after = State::clone(&before);
                after.insert((pdu.event_type.to_string().into(), key.clone()), pdu.event_id.clone());
                Arc::new(after)
            }
            _ => before,
        };
        if verdict.is_ok() {
            self.has_child.extend(pdu.prev_events.iter().cloned());
        }
        self.after.insert(pdu.event_id.clone(), after);
        self.order.push(pdu.event_id.clone());
        self.events.insert(Arc::new(pdu));
        verdict
    }

    fn judge(&self, pdu: &Pdu, before: &State) -> Verdict {
        let find = |id: &EventId| self.events.get(id).map(|event| &**event);
        auth::check_auth_events(&self.version, pdu, find).map_err(|Refused(text)| (Step::AuthEvents, text))?;
        let state = |event_type: &StateEventType, key: &str| find(before.get(&(event_type.clone(), key.to_owned()))?);
        auth::check_state(&self.version, pdu, state).map_err(|Refused(text)| (Step::StateBefore, text))
    }

    /// Whether an event would be accepted.
    pub(super) fn accepts(&self, pdu: &Pdu, before: &State) -> bool {
        self.judge(pdu, before).is_ok()
    }

    /// The room version.
    pub fn version(&self) -> &RoomVersion {
        &self.version
    }

    /// The events, with [`Pdu::rejected`] set.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// The ids in the order in which they were added.
    pub fn order(&self) -> &[OwnedEventId] {
        &self.order
    }

    /// The state after an event.
    ///
    /// # Panics
    /// When it was not added.
    pub fn state_after(&self, id: &EventId) -> &Arc<State> {
        self.after.get(id).expect("events are added before they are referred to")
    }

    /// The state before an event with these previous events.
    pub fn state_before(&self, prev_events: &[OwnedEventId]) -> Arc<State> {
        let states: Vec<&Arc<State>> = prev_events.iter().map(|id| self.state_after(id)).collect();
        match states[..] {
            [] => Arc::default(),
            [one] => one.clone(),
            _ => Arc::new(self.resolve(&states.into_iter().map(|state| State::clone(state)).collect::<Vec<_>>())),
        }
    }

    /// Accepted events that no accepted event follows.
    pub fn tips(&self) -> Vec<OwnedEventId> {
        let is_tip = |id: &&OwnedEventId| {
            !self.has_child.contains(*id) && self.events.get(id).is_some_and(|event| !event.rejected)
        };
        self.order.iter().filter(is_tip).cloned().collect()
    }

    /// The state over all tips.
    pub fn current_state(&self) -> Arc<State> {
        self.state_before(&self.tips())
    }

    /// Resolves states with ruma.
    ///
    /// # Panics
    /// For room version 1, and when ruma finds an event malformed.
    pub fn resolve(&self, states: &[State]) -> State {
        let rules = self.version.rules.state_res.v2_rules().expect("a room version that can be resolved");
        let chains = states.iter().map(|state| self.full_auth_chain(state).into_iter().collect()).collect();
        let subgraph = || self.conflicted_subgraph(states).into_iter().collect();
        state_res::resolve(
            &self.version.rules.authorization,
            rules,
            states,
            chains,
            |id| self.events.get(id).cloned(),
            |_| Some(subgraph()),
        )
        .expect("the events are well-formed")
    }

    /// The auth graph's part in a resolution, found by walking edges.
    pub fn auth_graph(&self, states: &[State]) -> AuthGraph {
        let chains: Vec<BTreeSet<OwnedEventId>> = states.iter().map(|state| self.full_auth_chain(state)).collect();
        let union: BTreeSet<&OwnedEventId> = chains.iter().flatten().collect();
        let difference = union.into_iter().filter(|id| chains.iter().any(|chain| !chain.contains(*id))).cloned();
        AuthGraph { difference: difference.collect(), subgraph: self.conflicted_subgraph(states).into_iter().collect() }
    }

    /// Everything reachable over `auth_events` from some events, without these unless reached.
    pub fn auth_chain<'a>(&self, from: impl IntoIterator<Item = &'a OwnedEventId>) -> BTreeSet<OwnedEventId> {
        let mut chain = BTreeSet::new();
        let mut open: Vec<OwnedEventId> = from.into_iter().cloned().collect();
        while let Some(id) = open.pop() {
            for auth in self.events.get(&id).into_iter().flat_map(|event| &event.auth_events) {
                if chain.insert(auth.clone()) {
                    open.push(auth.clone());
                }
            }
        }
        chain
    }

    fn full_auth_chain(&self, state: &State) -> BTreeSet<OwnedEventId> {
        self.auth_chain(state.values())
    }

    fn conflicted_subgraph(&self, states: &[State]) -> BTreeSet<OwnedEventId> {
        let conflicted = conflicted_events(states);
        let mut subgraph = conflicted.clone();
        for id in self.auth_chain(&conflicted) {
            if self.auth_chain([&id]).iter().any(|ancestor| conflicted.contains(ancestor)) {
                subgraph.insert(id);
            }
        }
        subgraph
    }
}
