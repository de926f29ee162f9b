//! State resolution over `ruma-state-res`
//! ([v2](https://spec.matrix.org/v1.19/rooms/v2/#state-resolution),
//! [v2.1](https://spec.matrix.org/v1.19/rooms/v12/#state-resolution)).
//!
//! The caller gives the states and what its index knows of the auth graph; events are asked for by id. Since nothing here does
//! I/O, the events are loaded before: [`Resolution::missing`] says which, in rounds, until there are none. For a large room
//! only a small part of the states need be given: see [`split`] and [`Resolution::auth_keys`].

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use ruma::{
    EventId, OwnedEventId,
    events::{StateEventType, TimelineEventType},
    room_version_rules::StateResolutionVersion,
    state_res::{self, StateMap},
};

use crate::{
    Pdu, RoomVersion,
    auth::{Refused, auth_types},
};

/// Changes whenever the same input may give another result than before (other code here, another ruma), so that memoized results
/// of older code are not used.
pub const ALGORITHM: u32 = 1;

/// Why states were not resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolutionError {
    /// The room version's algorithm is not implemented (version 1).
    #[error("no state resolution for room version {0}")]
    Unsupported(String),
    /// Events that are needed were not given; the result without them would be another one.
    #[error("state resolution lacks {} events, {} among them", .0.len(), .0.first().map_or("none", |id| id.as_str()))]
    Missing(Vec<OwnedEventId>),
    /// An event is not what its place wants.
    #[error("state resolution: {0}")]
    Invalid(String),
}

/// What states agree on and what not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split<K, V> {
    /// Keys that all states have with the same value.
    pub agreed: BTreeMap<K, V>,
    /// All other keys, each with the value of every state that has it, in the order of the states.
    pub conflicted: BTreeMap<K, Vec<Option<V>>>,
}

/// Splits states by any keys and values, such as numeric ids.
///
/// The states restricted to `conflicted`, each with those entries of `agreed` that [`Resolution::auth_keys`] names, resolve
/// to the same as the whole ones; the resolved state is then `agreed` over what came out.
pub fn split<K: Ord + Clone, V: Eq + Clone>(states: &[BTreeMap<K, V>]) -> Split<K, V> {
    let mut split = Split { agreed: BTreeMap::new(), conflicted: BTreeMap::new() };
    let keys: BTreeSet<&K> = states.iter().flat_map(BTreeMap::keys).collect();
    for key in keys {
        let values: Vec<Option<V>> = states.iter().map(|state| state.get(key).cloned()).collect();
        match values.first() {
            Some(Some(first)) if values.iter().all(|value| value.as_ref() == Some(first)) => {
                split.agreed.insert(key.clone(), first.clone());
            }
            _ => {
                split.conflicted.insert(key.clone(), values);
            }
        }
    }
    split
}

/// What of the auth graph bears on a resolution.
#[derive(Debug, Clone, Default)]
pub struct AuthGraph {
    /// The auth difference: events in the full auth chain of some state but not of all. The chain of a state is the union of its
    /// events' auth chains (the events themselves are not in it).
    pub difference: Vec<OwnedEventId>,
    /// The conflicted state subgraph, for room versions that use it ([`needs_subgraph`]): conflicted events and
    /// every event on a path of `auth_events` from one of them to another.
    pub subgraph: Vec<OwnedEventId>,
}

/// Whether [`AuthGraph::subgraph`] is used (room version 12 on).
pub fn needs_subgraph(version: &RoomVersion) -> bool {
    version.rules.state_res.v2_rules().is_some_and(|rules| rules.consider_conflicted_state_subgraph)
}

/// States to resolve.
#[derive(Debug, Clone)]
pub struct Resolution {
    version: RoomVersion,
    states: Vec<StateMap<OwnedEventId>>,
    graph: AuthGraph,
    /// The full conflicted set.
    conflicted: BTreeSet<OwnedEventId>,
}

impl Resolution {
    /// Takes the states, two or more, and the auth graph's part.
    pub fn new(
        version: &RoomVersion,
        states: Vec<StateMap<OwnedEventId>>,
        graph: AuthGraph,
    ) -> Result<Self, ResolutionError> {
        if version.rules.state_res == StateResolutionVersion::V1 {
            return Err(ResolutionError::Unsupported(version.id.to_string()));
        }
        let mut conflicted: BTreeSet<OwnedEventId> = conflicted_events(&states).into_iter().collect();
        if !conflicted.is_empty() {
            conflicted.extend(graph.difference.iter().cloned());
            if needs_subgraph(version) {
                conflicted.extend(graph.subgraph.iter().cloned());
            }
        }
        Ok(Self { version: version.clone(), states, graph, conflicted })
    }

    /// Every event that may be replayed: the full conflicted set.
    pub fn conflicted(&self) -> impl Iterator<Item = &OwnedEventId> {
        self.conflicted.iter()
    }

    /// Adds an entry to all states, such as one of [`Self::auth_keys`] that they agree on.
    pub fn agree(&mut self, event_type: &StateEventType, state_key: &str, event: &EventId) {
        for state in &mut self.states {
            state.entry((event_type.clone(), state_key.to_owned())).or_insert_with(|| event.to_owned());
        }
    }

    /// The keys of the state that replaying may ask for: what the events of the full conflicted set set and what authorizes
    /// them. They must have been loaded.
    pub fn auth_keys(&self, events: &Events) -> Result<BTreeSet<(StateEventType, String)>, ResolutionError> {
        let mut keys = BTreeSet::new();
        let mut missing = Vec::new();
        for id in &self.conflicted {
            let Some(event) = events.get(id) else {
                missing.push(id.clone());
                continue;
            };
            if let Some(state_key) = &event.state_key {
                keys.insert((event.event_type.to_string().into(), state_key.clone()));
            }
            // Malformed content fails the checks whatever the state.
            let types =
                auth_types(&self.version, &event.event_type, &event.sender, event.state_key.as_deref(), &event.content);
            keys.extend(types.unwrap_or_else(|Refused(_)| Vec::new()));
        }
        keys.insert((StateEventType::RoomCreate, String::new()));
        if missing.is_empty() { Ok(keys) } else { Err(ResolutionError::Missing(missing)) }
    }

    /// The events that are to be loaded next. Call again after loading them until it gives none: the full conflicted set,
    /// what the states have at [`Self::auth_keys`], and the auth events of these, of which power levels go on to
    /// their predecessors.
    pub fn missing(&self, events: &Events) -> Vec<OwnedEventId> {
        let mut missing: BTreeSet<OwnedEventId> =
            self.conflicted.iter().filter(|id| !events.contains(id)).cloned().collect();
        if !missing.is_empty() || self.conflicted.is_empty() {
            return missing.into_iter().collect();
        }
        let mut wanted: Vec<OwnedEventId> = self.conflicted.iter().cloned().collect();
        let keys = self.auth_keys(events).unwrap_or_default();
        wanted.extend(self.states.iter().flat_map(|state| keys.iter().filter_map(|key| state.get(key).cloned())));
        let mut seen: HashSet<OwnedEventId> = HashSet::new();
        // These count with all their auth events, what follows only along power levels.
        let roots = wanted.len();
        let mut next = 0;
        while let Some(id) = wanted.get(next).cloned() {
            let is_root = next < roots;
            next += 1;
            if !seen.insert(id.clone()) {
                continue;
            }
            let Some(event) = events.get(&id) else {
                missing.insert(id);
                continue;
            };
            if is_root || event.event_type == TimelineEventType::RoomPowerLevels {
                wanted.extend(event.auth_events.iter().cloned());
            }
            if is_root
                && self.version.room_id_is_create_event()
                && let Some(create) = event.create_event_id()
            {
                wanted.push(create);
            }
        }
        missing.into_iter().collect()
    }

    /// Resolves. An event that is needed and not among `events` is an error.
    pub fn resolve(&self, events: &Events) -> Result<StateMap<OwnedEventId>, ResolutionError> {
        let Some(rules) = self.version.rules.state_res.v2_rules() else {
            return Err(ResolutionError::Unsupported(self.version.id.to_string()));
        };
        let missing = RefCell::new(BTreeSet::new());
        let fetch = |id: &EventId| {
            let event = events.get(id).cloned();
            if event.is_none() {
                missing.borrow_mut().insert(id.to_owned());
            }
            event
        };
        // Two chains, of which one is empty, differ in all of the other.
        let chains = vec![self.graph.difference.iter().cloned().collect(), std::iter::empty().collect()];
        let subgraph = || self.graph.subgraph.iter().cloned().collect();
        let resolved =
            state_res::resolve(&self.version.rules.authorization, rules, &self.states, chains, fetch, |_| {
                Some(subgraph())
            });
        let missing = missing.into_inner();
        if !missing.is_empty() {
            return Err(ResolutionError::Missing(missing.into_iter().collect()));
        }
        resolved.map_err(|error| ResolutionError::Invalid(error.to_string()))
    }
}

/// Loaded events by id.
#[derive(Debug, Clone, Default)]
pub struct Events(HashMap<OwnedEventId, Arc<Pdu>>);

impl Events {
    /// Adds an event; [`Pdu::rejected`] must tell whether it was.
    pub fn insert(&mut self, event: Arc<Pdu>) {
        self.0.insert(event.event_id.clone(), event);
    }

    /// An event.
    pub fn get(&self, id: &EventId) -> Option<&Arc<Pdu>> {
        self.0.get(id)
    }

    /// Whether an event is there.
    pub fn contains(&self, id: &EventId) -> bool {
        self.0.contains_key(id)
    }

    /// Number of events.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Arc<Pdu>> for Events {
    fn from_iter<T: IntoIterator<Item = Arc<Pdu>>>(events: T) -> Self {
        let mut all = Self::default();
        events.into_iter().for_each(|event| all.insert(event));
        all
    }
}

/// The conflicted state set: the events of the states at keys where not all have the same event. The auth graph's conflicted
/// subgraph is between these.
pub fn conflicted_events(states: &[StateMap<OwnedEventId>]) -> BTreeSet<OwnedEventId> {
    let keys: HashSet<&(StateEventType, String)> = states.iter().flat_map(HashMap::keys).collect();
    let mut conflicted = BTreeSet::new();
    for key in keys {
        let first = states.first().and_then(|state| state.get(key));
        if first.is_none() || states.iter().any(|state| state.get(key) != first) {
            conflicted.extend(states.iter().filter_map(|state| state.get(key).cloned()));
        }
    }
    conflicted
}
