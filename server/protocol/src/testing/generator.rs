//! Random rooms: servers with different views of one room fork it, merge it, fight over its state and break its rules.

use std::{collections::BTreeMap, sync::Arc};

use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomVersionId, ServerName,
    UInt, UserId, events::StateEventType,
};
use serde_json::{Value, json, value::to_raw_value};

use super::{
    actions::{Action, Actor},
    reference::{Reference, State, Verdict},
};
use crate::{
    Pdu, RoomVersion, SigningKey,
    auth::auth_types,
    build::{Named, Unsigned},
    keys::{ServerKey, ServerKeys, Validity},
};

/// Time of the create event.
const START: u64 = 1_700_000_000_000;

/// What room to make. The same plan makes the same room.
#[derive(Debug, Clone)]
pub struct DagPlan {
    /// Room version, 2 to 12.
    pub version: RoomVersionId,
    /// Seed of all that is random.
    pub seed: u64,
    /// Number of events after the room's first ones.
    pub events: usize,
    /// Number of servers, `s0` to …; `@creator:s0` makes the room.
    pub servers: usize,
    /// Users of each server, besides the creator.
    pub users: usize,
    /// How likely an event is sent from an old view of the room, so that it forks.
    pub forks: f64,
    /// How likely an event merges several ends.
    pub merges: f64,
    /// How likely somebody tries what they may not, or lies about what authorizes it.
    pub invalid: f64,
}

/// A generated event.
#[derive(Debug, Clone)]
pub struct Generated {
    /// The event, signed.
    pub pdu: Arc<Pdu>,
    /// What becomes of it.
    pub verdict: Verdict,
}

/// A generated room.
#[derive(Debug)]
pub struct Dag {
    /// Its version.
    pub version: RoomVersion,
    /// Its id.
    pub room_id: OwnedRoomId,
    /// The servers' keys.
    pub keys: ServerKeys,
    /// The events; each comes after those that it names. The last merges all ends, if anybody was left who may send,
    /// so that the current state does not depend on the order of arrival.
    pub events: Vec<Generated>,
    /// The state after each.
    pub reference: Reference,
    /// Whether the last event merges all ends.
    pub is_closed: bool,
}

impl DagPlan {
    /// A room with three servers of two users each, 200 events and a fair share of trouble.
    ///
    /// # Panics
    /// When `version` is no room version id.
    pub fn new(version: &str, seed: u64) -> Self {
        let version = RoomVersionId::try_from(version).expect("a room version");
        Self { version, seed, events: 200, servers: 3, users: 2, forks: 0.25, merges: 0.25, invalid: 0.15 }
    }
}

impl Dag {
    /// Makes a room.
    ///
    /// # Panics
    /// When the room version cannot be resolved.
    pub fn generate(plan: &DagPlan) -> Self {
        let mut maker = Maker::new(plan);
        maker.begin();
        for _ in 0..plan.events {
            maker.step();
        }
        let is_closed = maker.close();
        let Maker { version, room_id, keys, events, reference, .. } = maker;
        let room_id = room_id.expect("every room begins with a create event");
        let mut public = ServerKeys::default();
        for (server, key) in &keys {
            let validity = Validity::Until(MilliSecondsSinceUnixEpoch(UInt::new_saturating(2 * START)));
            let id = format!("ed25519:{}", key.pair.version());
            public.insert(server.clone(), id, ServerKey { key: key.pair.public_key().to_vec(), validity });
        }
        Self { version, room_id, keys: public, events, reference, is_closed }
    }

    /// Indices of all events in a random order in which each still comes after those that it names.
    ///
    /// # Panics
    /// Never: the events are a graph without cycles.
    pub fn topological_order(&self, seed: u64) -> Vec<usize> {
        let mut random = StdRng::seed_from_u64(seed);
        let place: BTreeMap<&OwnedEventId, usize> =
            self.events.iter().enumerate().map(|(index, event)| (&event.pdu.event_id, index)).collect();
        let mut waiting: Vec<usize> = (0..self.events.len()).collect();
        let mut done = vec![false; self.events.len()];
        let mut order = Vec::with_capacity(self.events.len());
        while !waiting.is_empty() {
            let ready = |index: &usize| {
                let pdu = &self.events[*index].pdu;
                pdu.prev_events.iter().chain(&pdu.auth_events).all(|id| done[place[id]])
            };
            let candidates: Vec<usize> = waiting.iter().copied().filter(ready).take(8).collect();
            let next = *candidates.choose(&mut random).expect("the events are a graph without cycles");
            done[next] = true;
            order.push(next);
            waiting.retain(|index| *index != next);
        }
        order
    }

    /// Indices of all events in any order, a tenth of them twice.
    pub fn any_order(&self, seed: u64) -> Vec<usize> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut order: Vec<usize> = (0..self.events.len()).collect();
        order.extend((0..self.events.len() / 10).map(|_| random.gen_range(0..self.events.len())));
        order.shuffle(&mut random);
        order
    }
}

/// An event before it has its place.
struct Draft {
    sender: OwnedUserId,
    event_type: String,
    state_key: Option<String>,
    content: Value,
    redacts: Option<OwnedEventId>,
}

struct Maker {
    plan: DagPlan,
    random: StdRng,
    version: RoomVersion,
    room_id: Option<OwnedRoomId>,
    keys: BTreeMap<OwnedServerName, SigningKey>,
    users: Vec<OwnedUserId>,
    events: Vec<Generated>,
    reference: Reference,
}

impl Maker {
    fn new(plan: &DagPlan) -> Self {
        let mut random = StdRng::seed_from_u64(plan.seed);
        let version = RoomVersion::get(&plan.version).expect("a supported room version");
        let mut keys = BTreeMap::new();
        let mut users = vec![user("creator", "s0")];
        for server in 0..plan.servers.max(1) {
            let name = format!("s{server}");
            let key = signing_key(&name, random.r#gen());
            keys.insert(key.server_name.clone(), key);
            users.extend((0..plan.users).map(|index| user(&format!("u{index}"), &name)));
        }
        let reference = Reference::new(version.clone());
        Self { plan: plan.clone(), random, version, room_id: None, keys, users, events: Vec::new(), reference }
    }

    /// The room as everybody agrees on it.
    fn begin(&mut self) {
        let creator = self.users[0].clone();
        let mut content = json!({ "room_version": self.version.id });
        if !self.version.facts.creator_is_sender {
            content["creator"] = creator.as_str().into();
        }
        let draft = |event_type: &str, key: &str, content| Draft {
            sender: creator.clone(),
            event_type: event_type.to_owned(),
            state_key: Some(key.to_owned()),
            content,
            redacts: None,
        };
        let mut users = json!({});
        if !self.version.facts.infinite_creators {
            users[creator.as_str()] = 100.into();
        }
        if let Some(admin) = self.users.get(1) {
            users[admin.as_str()] = 90.into();
        }
        if let Some(moderator) = self.users.last() {
            users[moderator.as_str()] = 50.into();
        }
        let levels = json!({ "users": users, "invite": 0, "events": { "m.room.topic": 0 } });
        for draft in [
            draft("m.room.create", "", content),
            draft("m.room.member", creator.as_str(), json!({ "membership": "join" })),
            draft("m.room.power_levels", "", levels),
            draft("m.room.join_rules", "", json!({ "join_rule": "public" })),
        ] {
            self.append(draft);
        }
        for user in self.users.clone().into_iter().skip(1) {
            let key = user.to_string();
            let content = json!({ "membership": "join" });
            let draft = Draft {
                sender: user,
                event_type: "m.room.member".to_owned(),
                state_key: Some(key),
                content,
                redacts: None,
            };
            self.append(draft);
        }
    }

    fn append(&mut self, draft: Draft) {
        let prev = self.events.last().map(|event| event.pdu.event_id.clone()).into_iter().collect();
        self.send(draft, prev);
    }

    /// One more event.
    fn step(&mut self) {
        let prev = self.previous();
        let state = self.reference.state_before(&prev);
        let lawless = self.random.gen_bool(self.plan.invalid);
        for _ in 0..20 {
            let draft = self.draft(&state, lawless);
            let pdu = self.build(draft, &state, prev.clone(), lawless);
            if lawless || self.reference.accepts(&pdu, &state) {
                return self.keep(pdu);
            }
        }
        // Nobody had a good idea; the creator can always talk, and if not, that is one more bad event.
        let draft = Draft {
            sender: self.users[0].clone(),
            event_type: "m.room.message".to_owned(),
            state_key: None,
            content: json!({ "body": "anybody there?" }),
            redacts: None,
        };
        let pdu = self.build(draft, &state, prev, false);
        self.keep(pdu);
    }

    /// What the next event comes after: an end of the room, several of them, or something older.
    fn previous(&mut self) -> Vec<OwnedEventId> {
        let mut tips = self.reference.tips();
        tips.shuffle(&mut self.random);
        let crowded = tips.len() > 10;
        if crowded || self.random.gen_bool(self.plan.merges) {
            let most = if crowded { 8 } else { 3 };
            tips.truncate(self.random.gen_range(1..=most));
            return tips;
        }
        if self.random.gen_bool(self.plan.forks) {
            let order = self.reference.order();
            let oldest = order.len().saturating_sub(20);
            return order.get(self.random.gen_range(oldest..order.len())).cloned().into_iter().collect();
        }
        tips.truncate(1);
        tips
    }

    fn draft(&mut self, state: &State, lawless: bool) -> Draft {
        let content = |event_type: StateEventType, key: &str| {
            let id = state.get(&(event_type, key.to_owned()))?;
            serde_json::from_str::<Value>(self.reference.events().get(id)?.content.get()).ok()
        };
        let members = self.users.iter().map(|user| {
            let membership = content(StateEventType::RoomMember, user.as_str());
            let membership = membership.and_then(|content| content["membership"].as_str().map(str::to_owned));
            (user.clone(), membership.unwrap_or_else(|| "leave".to_owned()))
        });
        let mut actor = Actor {
            members: members.collect(),
            levels: content(StateEventType::RoomPowerLevels, "").unwrap_or_else(|| json!({})),
            join_rule: content(StateEventType::RoomJoinRules, "")
                .and_then(|content| content["join_rule"].as_str().map(str::to_owned))
                .unwrap_or_else(|| "invite".to_owned()),
            version: &self.version,
            number: self.events.len(),
        };
        let target = self.reference.order().choose(&mut self.random).cloned();
        let Action { sender, event_type, state_key, content, redacts } =
            actor.act(&mut self.random, lawless, target.as_deref());
        Draft { sender, event_type, state_key, content, redacts }
    }

    /// The last event, after everything: from whoever may.
    fn close(&mut self) -> bool {
        let mut tips = self.reference.tips();
        while tips.len() > 1 {
            let prev: Vec<OwnedEventId> = tips.iter().take(crate::format::MAX_PREV_EVENTS).cloned().collect();
            let state = self.reference.state_before(&prev);
            let sent = self.users.clone().into_iter().any(|sender| {
                let draft = Draft {
                    sender,
                    event_type: "m.room.message".to_owned(),
                    state_key: None,
                    content: json!({ "body": "all together" }),
                    redacts: None,
                };
                let pdu = self.build(draft, &state, prev.clone(), false);
                let allowed = self.reference.accepts(&pdu, &state);
                if allowed {
                    self.keep(pdu);
                }
                allowed
            });
            if !sent {
                return false;
            }
            tips = self.reference.tips();
        }
        true
    }

    fn send(&mut self, draft: Draft, prev: Vec<OwnedEventId>) {
        let state = self.reference.state_before(&prev);
        let pdu = self.build(draft, &state, prev, false);
        self.keep(pdu);
    }

    fn keep(&mut self, pdu: Pdu) {
        self.room_id.get_or_insert_with(|| pdu.room_id.clone());
        let verdict = self.reference.add(pdu.clone());
        self.events.push(Generated { pdu: Arc::new(pdu), verdict });
    }

    fn build(&mut self, draft: Draft, state: &State, prev_events: Vec<OwnedEventId>, lawless: bool) -> Pdu {
        let Draft { sender, event_type, state_key, content, redacts } = draft;
        let content = to_raw_value(&content).expect("JSON");
        let event_type = event_type.into();
        let types = auth_types(&self.version, &event_type, &sender, state_key.as_deref(), &content).unwrap_or_default();
        // Who is banned may still have proof of better times.
        let then = self.reference.order().choose(&mut self.random).filter(|_| lawless);
        let then = then.map(|id| self.reference.state_after(id)).filter(|_| self.random.gen_bool(0.5));
        let authorizing = then.map_or(state, |then| &**then);
        let mut auth_events: Vec<OwnedEventId> = types.iter().filter_map(|key| authorizing.get(key).cloned()).collect();
        if lawless && self.random.gen_bool(0.3) {
            self.falsify(&mut auth_events);
        }
        let depth = |id: &OwnedEventId| self.reference.events().get(id).map_or(0, |event| event.depth);
        let depth = prev_events.iter().map(depth).max().unwrap_or(0) + 1;
        let mut named = Named::default();
        if self.version.references_have_hashes() {
            let id = format!("$e{}_{}:{}", self.events.len(), self.random.r#gen::<u32>(), sender.server_name());
            named.event_id = Some(id.try_into().expect("an event id"));
            for id in prev_events.iter().chain(&auth_events) {
                let event = self.reference.events().get(id).expect("known events alone are named");
                named.hashes.insert(id.clone(), event.reference_hash(&self.version).expect("a hash"));
            }
        }
        // Close together and often equal, so that ties are broken.
        let time = START + depth * 10 + self.random.gen_range(0..30) / 10 * 10;
        let is_create = event_type.to_string() == "m.room.create";
        let room_id = match &self.room_id {
            Some(room_id) => Some(room_id.clone()),
            None if self.version.room_id_is_create_event() => None,
            None => Some("!room:s0".try_into().expect("a room id")),
        };
        let unsigned = Unsigned {
            room_id: room_id.filter(|_| !(is_create && self.version.room_id_is_create_event())),
            sender,
            event_type,
            state_key,
            content,
            redacts,
            origin_server_ts: MilliSecondsSinceUnixEpoch(UInt::new(time).expect("a time")),
            prev_events,
            auth_events,
            depth,
            named,
        };
        let key = self.key(unsigned.sender.server_name());
        let pdu = unsigned.sign(&self.version, key).expect("what is drafted can be sent");
        let authorizer = serde_json::from_str::<Value>(pdu.content.get())
            .ok()
            .and_then(|content| UserId::parse(content.get("join_authorised_via_users_server")?.as_str()?).ok());
        match authorizer {
            Some(user) => pdu.signed_also(&self.version, self.key(user.server_name())).expect("it fits"),
            None => pdu,
        }
    }

    /// Names other auth events than the rules want.
    fn falsify(&mut self, auth_events: &mut Vec<OwnedEventId>) {
        let other = self.reference.order().choose(&mut self.random).cloned();
        match self.random.gen_range(0..3) {
            0 => drop(auth_events.pop()),
            1 if auth_events.len() < crate::format::MAX_AUTH_EVENTS => auth_events.extend(other),
            _ => {
                if let (Some(last), Some(other)) = (auth_events.last_mut(), other) {
                    *last = other;
                }
            }
        }
        if self.version.room_id_is_create_event() {
            // That would not even be an event.
            let create = self.events[0].pdu.event_id.clone();
            auth_events.retain(|id| *id != create);
        }
    }

    fn key(&self, server: &ServerName) -> &SigningKey {
        self.keys.get(server).expect("every user's server has a key")
    }
}

fn user(name: &str, server: &str) -> OwnedUserId {
    UserId::parse(format!("@{name}:{server}")).expect("a user id")
}

/// A server's key from a seed.
fn signing_key(server: &str, seed: [u8; 32]) -> SigningKey {
    use ed25519_dalek::pkcs8::EncodePrivateKey;
    let document = ed25519_dalek::SigningKey::from_bytes(&seed).to_pkcs8_der().expect("a document");
    let server = server.try_into().expect("a server name");
    SigningKey::from_pkcs8(server, "1".to_owned(), document.as_bytes()).expect("a key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_of_every_version_have_everything_in_them() {
        for id in RoomVersion::SUPPORTED {
            let dag = Dag::generate(&DagPlan { events: 120, ..DagPlan::new(id.as_str(), 7) });
            assert!(dag.is_closed, "{id}");
            let rejected = dag.events.iter().filter(|event| event.verdict.is_err()).count();
            assert!(rejected > 3 && rejected < 60, "{id}: {rejected}");
            let mut parents = BTreeMap::new();
            dag.events
                .iter()
                .flat_map(|event| &event.pdu.prev_events)
                .for_each(|id| *parents.entry(id).or_insert(0) += 1);
            assert!(parents.values().filter(|children| **children > 1).count() > 5, "{id}: forks");
            assert!(dag.events.iter().filter(|event| event.pdu.prev_events.len() > 1).count() > 5, "{id}: merges");
            let again = Dag::generate(&DagPlan { events: 120, ..DagPlan::new(id.as_str(), 7) });
            assert!(dag.events.iter().zip(&again.events).all(|(one, two)| one.pdu.json == two.pdu.json), "{id}");
            let order = dag.topological_order(1);
            let mut replayed = Reference::new(dag.version.clone());
            for index in order {
                assert_eq!(replayed.add(Pdu::clone(&dag.events[index].pdu)), dag.events[index].verdict);
            }
            assert_eq!(replayed.current_state(), dag.reference.current_state(), "{id}");
        }
    }
}
