//! State resolution: scenarios of the public record, by name, under the algorithm of room version 2 to 11 ("v2") and that of
//! version 12 ("v2.1"); and random rooms, in which what is given in parts must resolve as the whole does.

use std::collections::BTreeMap;

use ruma::{OwnedEventId, RoomVersionId, UserId, events::StateEventType};
use serde_json::{Value, json};

use crate::{
    RoomVersion, SigningKey,
    auth::auth_types,
    build::Unsigned,
    pdu_tests::{key, unsigned},
    state_resolution::{AuthGraph, Events, Resolution, ResolutionError, conflicted_events, needs_subgraph, split},
    testing::{Dag, DagPlan, Reference, reference::State},
};

/// A room told event by event, each with a name.
struct Story {
    reference: Reference,
    key: SigningKey,
    names: BTreeMap<&'static str, OwnedEventId>,
    last: Vec<&'static str>,
}

const ALICE: &str = "@alice:domain";
const BOB: &str = "@bob:domain";
const CHARLIE: &str = "@charlie:domain";
const EVE: &str = "@eve:domain";

fn join() -> Value {
    json!({ "membership": "join" })
}

/// `users` of power levels, Alice aside, who has all power.
fn powers(users: &[(&str, i64)]) -> Value {
    users
        .iter()
        .map(|(user, level)| ((*user).to_owned(), Value::from(*level)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

impl Story {
    /// Alice makes a public room; Bob and Charlie join.
    fn begin(id: &RoomVersionId) -> Self {
        let reference = Reference::new(RoomVersion::get(id).unwrap());
        let mut story = Self { reference, key: key(), names: BTreeMap::new(), last: Vec::new() };
        let create = json!({ "creator": ALICE, "room_version": id });
        story.then("create", ALICE, "m.room.create", Some(""), create);
        story.then("alice", ALICE, "m.room.member", Some(ALICE), join());
        story.levels("levels", ALICE, &[]);
        story.then("public", ALICE, "m.room.join_rules", Some(""), json!({ "join_rule": "public" }));
        story.then("bob", BOB, "m.room.member", Some(BOB), join());
        story.then("charlie", CHARLIE, "m.room.member", Some(CHARLIE), join());
        story
    }

    /// Goes on after these events.
    fn after(&mut self, names: &[&'static str]) -> &mut Self {
        self.last = names.to_vec();
        self
    }

    #[expect(clippy::needless_pass_by_value, reason = "contents are written where they are used")]
    fn then(
        &mut self,
        name: &'static str,
        sender: &str,
        event_type: &str,
        state_key: Option<&str>,
        content: Value,
    ) -> &mut Self {
        let version = self.reference.version().clone();
        let prev_events: Vec<OwnedEventId> = self.last.iter().map(|name| self.names[name].clone()).collect();
        let state = self.reference.state_before(&prev_events);
        let mut event = unsigned(event_type, state_key, &content);
        let sender = UserId::parse(sender).unwrap();
        let types = auth_types(&version, &event.event_type, &sender, state_key, &event.content).unwrap();
        let depth = self.reference.order().len() as u64;
        event = Unsigned {
            room_id: match self.names.get("create") {
                Some(create) => Some(self.reference.events().get(create).unwrap().room_id.clone()),
                None => event.room_id.filter(|_| !version.room_id_is_create_event()),
            },
            sender,
            prev_events,
            auth_events: types.iter().filter_map(|key| state.get(key).cloned()).collect(),
            depth,
            origin_server_ts: ruma::MilliSecondsSinceUnixEpoch(ruma::UInt::new(depth).unwrap()),
            ..event
        };
        let pdu = event.sign(&version, &self.key).unwrap();
        self.names.insert(name, pdu.event_id.clone());
        self.reference.add(pdu).unwrap();
        self.last = vec![name];
        self
    }

    fn levels(&mut self, name: &'static str, sender: &str, users: &[(&str, i64)]) -> &mut Self {
        let mut users = powers(users);
        if !self.reference.version().facts.infinite_creators {
            users[ALICE] = 100.into();
        }
        self.then(name, sender, "m.room.power_levels", Some(""), json!({ "users": users, "state_default": 50 }))
    }

    fn topic(&mut self, name: &'static str, sender: &str) -> &mut Self {
        self.then(name, sender, "m.room.topic", Some(""), json!({ "topic": name }))
    }

    fn member(&mut self, name: &'static str, sender: &str, target: &str, membership: &str) -> &mut Self {
        self.then(name, sender, "m.room.member", Some(target), json!({ "membership": membership, "reason": name }))
    }

    /// A state of these events, whether or not the room ever had it.
    fn state(&self, names: &[&'static str]) -> State {
        let entry = |name: &&'static str| {
            let event = self.reference.events().get(&self.names[name]).unwrap();
            let key = event.state_key.clone().unwrap();
            ((StateEventType::from(event.event_type.to_string()), key), event.event_id.clone())
        };
        names.iter().map(entry).collect()
    }

    fn states_after(&self, names: &[&'static str]) -> Vec<State> {
        names.iter().map(|name| State::clone(self.reference.state_after(&self.names[name]))).collect()
    }

    /// Resolves, both ways, and gives names by key.
    fn resolve(&self, states: Vec<State>) -> BTreeMap<String, &'static str> {
        let expected = self.reference.resolve(&states);
        let resolved = resolve_in_parts(&self.reference, states);
        assert_eq!(resolved, expected);
        let name = |id: &OwnedEventId| *self.names.iter().find(|(_, known)| *known == id).unwrap().0;
        resolved
            .iter()
            .map(|((event_type, key), id)| (format!("{event_type} {key}").trim().to_owned(), name(id)))
            .collect()
    }
}

/// Resolves as a server does: only what is in conflict, with what of the rest bears on it, events loaded as they are asked for.
fn resolve_in_parts(reference: &Reference, states: Vec<State>) -> State {
    let graph = reference.auth_graph(&states);
    let whole = Resolution::new(reference.version(), states.clone(), graph.clone()).unwrap();
    let whole = whole.resolve(reference.events()).unwrap();

    let sorted: Vec<BTreeMap<(String, String), OwnedEventId>> = states
        .into_iter()
        .map(|state| state.into_iter().map(|((kind, key), id)| ((kind.to_string(), key), id)).collect())
        .collect();
    let parts = split(&sorted);
    let mut conflicted = vec![State::new(); sorted.len()];
    for ((kind, key), values) in &parts.conflicted {
        for (state, value) in conflicted.iter_mut().zip(values) {
            state.extend(value.clone().map(|id| ((kind.as_str().into(), key.clone()), id)));
        }
    }
    let mut resolution = Resolution::new(reference.version(), conflicted, graph).unwrap();
    let mut loaded = Events::default();
    let load = |loaded: &mut Events, ids: Vec<OwnedEventId>| {
        let none = ids.is_empty();
        for id in ids {
            loaded.insert(reference.events().get(&id).unwrap().clone());
        }
        !none
    };
    let first = resolution.conflicted().cloned().collect();
    if load(&mut loaded, first) {
        for (kind, key) in resolution.auth_keys(&loaded).unwrap() {
            if let Some(id) = parts.agreed.get(&(kind.to_string(), key.clone())) {
                resolution.agree(&kind, &key, id);
            }
        }
        let mut rounds = 0;
        loop {
            let missing = resolution.missing(&loaded);
            if !load(&mut loaded, missing) {
                break;
            }
            rounds += 1;
            assert!(rounds <= reference.order().len(), "it comes to an end");
        }
        assert!(loaded.len() <= reference.events().len());
    }
    let mut resolved = resolution.resolve(&loaded).unwrap();
    resolved.extend(parts.agreed.into_iter().map(|((kind, key), id)| ((kind.as_str().into(), key), id)));
    assert_eq!(resolved, whole);
    resolved
}

/// Every version that has an algorithm, and whether it is v2.1.
fn versions() -> impl Iterator<Item = (&'static RoomVersionId, bool)> {
    // Named ids need hashes of what an event names, which the stories do not bother with.
    RoomVersion::SUPPORTED[1..].iter().map(|id| (id, needs_subgraph(&RoomVersion::get(id).unwrap())))
}

/// MSC4297, problem A: a server got an outdated join rule with a partial state. Alice, who set both rules, has left, on which
/// all agree: under v2 both her rules fall, and the room has none.
#[test]
fn msc4297_problem_a_conflicts_that_the_unconflicted_state_forbids() {
    for (id, is_v2_1) in versions() {
        let mut story = Story::begin(id);
        story
            .then("invite", ALICE, "m.room.join_rules", Some(""), json!({ "join_rule": "invite" }))
            .member("gone", ALICE, ALICE, "leave")
            .then("bob++", BOB, "m.room.member", Some(BOB), json!({ "membership": "join", "displayname": "b" }))
            .after(&["gone"])
            .then(
                "charlie++",
                CHARLIE,
                "m.room.member",
                Some(CHARLIE),
                json!({ "membership": "join", "displayname": "c" }),
            );
        let blue = story.state(&["create", "levels", "public", "bob", "gone", "charlie++"]);
        let other = story.state(&["create", "levels", "invite", "charlie", "gone", "bob++"]);
        let resolved = story.resolve(vec![other, blue]);
        let expected = is_v2_1.then_some(&"invite");
        assert_eq!(resolved.get("m.room.join_rules"), expected, "version {id}");
        assert_eq!(resolved["m.room.member @bob:domain"], "bob++", "version {id}");
        assert_eq!(resolved["m.room.member @charlie:domain"], "charlie++", "version {id}");
        assert_eq!(resolved["m.room.member @alice:domain"], "gone", "version {id}");
    }
}

/// MSC4297, problem B: Alice promoted Bob, who promoted Charlie. A server got the levels of before all that with a partial
/// state, while everybody's auth chains have Bob's promotion, so that it is in no difference: under v2 it is not replayed,
/// Charlie's is not allowed without it, and the levels are back at the beginning.
#[test]
fn msc4297_problem_b_conflicts_that_need_what_is_between_them() {
    for (id, is_v2_1) in versions() {
        let mut story = Story::begin(id);
        story
            .levels("bob's", ALICE, &[(BOB, 50)])
            .levels("charlie's", BOB, &[(BOB, 50), (CHARLIE, 50)])
            .then("zara", "@zara:domain", "m.room.member", Some("@zara:domain"), join())
            .after(&["charlie's"])
            .then("eve", EVE, "m.room.member", Some(EVE), join())
            .then("eve++", EVE, "m.room.member", Some(EVE), json!({ "membership": "join", "displayname": "e" }));
        let red = story.state(&["create", "alice", "levels", "public", "bob", "charlie", "eve++"]);
        let other = story.state(&["create", "alice", "charlie's", "public", "bob", "charlie", "zara"]);
        let resolved = story.resolve(vec![red, other]);
        let expected = if is_v2_1 { "charlie's" } else { "levels" };
        assert_eq!(resolved["m.room.power_levels"], expected, "version {id}");
        assert_eq!(resolved["m.room.member @eve:domain"], "eve++", "version {id}");
        assert_eq!(resolved["m.room.member @zara:domain"], "zara", "version {id}");
    }
}

/// Both forks are right and the levels differ by more than one step: nothing is lost under either algorithm.
#[test]
fn an_old_fork_does_not_reset_power_levels() {
    for (id, _) in versions() {
        let mut story = Story::begin(id);
        story.levels("bob's", ALICE, &[(BOB, 50)]).levels("charlie's", BOB, &[(BOB, 50), (CHARLIE, 50)]).levels(
            "given up",
            CHARLIE,
            &[(BOB, 50), (CHARLIE, 0)],
        );
        for old in ["charlie", "bob's", "charlie's"] {
            let resolved = story.resolve(story.states_after(&["given up", old]));
            assert_eq!(resolved["m.room.power_levels"], "given up", "version {id}: {old}");
        }
    }
}

/// A ban stands against what the banned moderator did at the same time (MSC1442, design goals).
#[test]
fn a_ban_beats_what_the_banned_did_meanwhile() {
    for (id, _) in versions() {
        let mut story = Story::begin(id);
        story
            .levels("bob's", ALICE, &[(BOB, 50)])
            .member("ban", ALICE, BOB, "ban")
            .after(&["bob's"])
            .levels("by bob", BOB, &[(BOB, 50), (EVE, 50)])
            .topic("bob's topic", BOB);
        let resolved = story.resolve(story.states_after(&["ban", "bob's topic"]));
        assert_eq!(resolved["m.room.member @bob:domain"], "ban", "version {id}");
        assert_eq!(resolved["m.room.power_levels"], "bob's", "version {id}");
        assert_eq!(resolved.get("m.room.topic"), None, "version {id}");
    }
}

/// Who joins from before the room was closed is not in it.
#[test]
fn join_rules_are_not_evaded_by_forking() {
    for (id, _) in versions() {
        let mut story = Story::begin(id);
        story
            .then("closed", ALICE, "m.room.join_rules", Some(""), json!({ "join_rule": "invite" }))
            .after(&["charlie"])
            .then("eve", EVE, "m.room.member", Some(EVE), join());
        let resolved = story.resolve(story.states_after(&["closed", "eve"]));
        assert_eq!(resolved["m.room.join_rules"], "closed", "version {id}");
        assert_eq!(resolved.get("m.room.member @eve:domain"), None, "version {id}");
    }
}

/// MSC1442, example 1: Alice demotes Bob while he changes levels and the topic; and the later topic by the mainline.
#[test]
fn msc1442_example_1_mainline() {
    for (id, _) in versions() {
        let mut story = Story::begin(id);
        story
            .topic("topic 1", ALICE)
            .levels("P1", ALICE, &[(BOB, 50)])
            .topic("topic 2", ALICE)
            .levels("P2", ALICE, &[(BOB, 0)])
            .after(&["P1"])
            .levels("P3", BOB, &[(BOB, 50), (CHARLIE, 1)])
            .topic("topic 3", BOB);
        let states = story.states_after(&["P2", "topic 3"]);
        let resolved = story.resolve(states);
        assert_eq!((resolved["m.room.power_levels"], resolved["m.room.topic"]), ("P2", "topic 2"), "version {id}");
        story
            .after(&["P2", "topic 3"])
            .then("message 2", CHARLIE, "m.room.message", None, json!({}))
            .after(&["P2"])
            .topic("topic 4", ALICE);
        let resolved = story.resolve(story.states_after(&["message 2", "topic 4"]));
        assert_eq!(resolved["m.room.topic"], "topic 4", "version {id}");
    }
}

/// MSC1442, state resets, and matrix-spec#2447: a moderator sets the topic and is banned or kicked afterwards. An event that
/// also points to before all that takes the topic away: both algorithms replay the ban before the topic.
#[test]
fn what_a_moderator_did_before_leaving_is_lost_when_an_old_fork_is_merged() {
    for (id, _) in versions() {
        for membership in ["ban", "leave"] {
            let mut story = Story::begin(id);
            story
                .topic("topic 1", ALICE)
                .levels("bob's", ALICE, &[(BOB, 50)])
                .topic("topic 2", BOB)
                .member("out", ALICE, BOB, membership);
            let resolved = story.resolve(story.states_after(&["out", "topic 1"]));
            assert_eq!(resolved["m.room.topic"], "topic 1", "version {id}: {membership}");
            assert_eq!(resolved["m.room.power_levels"], "bob's", "version {id}: {membership}");
            let resolved = story.resolve(story.states_after(&["out", "charlie"]));
            assert_eq!(resolved.get("m.room.topic"), None, "version {id}: {membership}");
        }
    }
}

/// MSC1442, auth events: who was unbanned and came back stays, since the join points to the unban.
#[test]
fn who_was_unbanned_and_came_back_stays() {
    for (id, _) in versions() {
        let mut story = Story::begin(id);
        story.member("ban", ALICE, EVE, "ban").member("unban", ALICE, EVE, "leave").member("back", EVE, EVE, "join");
        for old in ["ban", "unban", "charlie"] {
            let resolved = story.resolve(story.states_after(&["back", old]));
            assert_eq!(resolved["m.room.member @eve:domain"], "back", "version {id}: {old}");
        }
    }
}

/// Two admins demote each other: the one whose event sorts first stays. In version 12 that is always the creator.
#[test]
fn a_fight_over_power_has_one_winner() {
    for (id, is_v2_1) in versions() {
        let mut story = Story::begin(id);
        story
            .levels("bob's", ALICE, &[(BOB, 99), (CHARLIE, 98)])
            .levels("against charlie", BOB, &[(BOB, 99), (CHARLIE, 0)])
            .after(&["bob's"])
            .levels("against bob", CHARLIE, &[(BOB, 99), (CHARLIE, 98), (EVE, 98)])
            .after(&["bob's"])
            .levels("against both", ALICE, &[(BOB, 0), (CHARLIE, 0)]);
        let resolved = story.resolve(story.states_after(&["against bob", "against charlie"]));
        assert_eq!(resolved["m.room.power_levels"], "against charlie", "version {id}");
        for order in [["against both", "against bob"], ["against charlie", "against both"]] {
            let resolved = story.resolve(story.states_after(&order));
            assert_eq!(resolved["m.room.power_levels"], "against both", "version {id}, v2.1: {is_v2_1}");
        }
    }
}

/// Every merge of random rooms resolves in parts as a whole, whichever order the states come in.
#[test]
fn random_rooms_resolve_in_parts_as_the_reference_does() {
    for id in RoomVersion::SUPPORTED {
        let mut merges = 0;
        for seed in 0..3 {
            let dag = Dag::generate(&DagPlan { events: 80, ..DagPlan::new(id.as_str(), seed) });
            for event in dag.events.iter().filter(|event| event.pdu.prev_events.len() > 1) {
                let mut states: Vec<State> =
                    event.pdu.prev_events.iter().map(|id| State::clone(dag.reference.state_after(id))).collect();
                let expected = dag.reference.state_before(&event.pdu.prev_events);
                merges += usize::from(!conflicted_events(&states).is_empty());
                assert_eq!(resolve_in_parts(&dag.reference, states.clone()), *expected, "version {id}, seed {seed}");
                states.reverse();
                assert_eq!(resolve_in_parts(&dag.reference, states), *expected, "version {id}, seed {seed}");
            }
        }
        assert!(merges > 20, "version {id}: {merges}");
    }
}

#[test]
fn what_is_missing_is_an_error_and_no_guess() {
    let mut story = Story::begin(&RoomVersionId::V12);
    story.topic("topic 1", ALICE).after(&["charlie"]).topic("topic 2", ALICE);
    let states = story.states_after(&["topic 1", "topic 2"]);
    let resolution = Resolution::new(story.reference.version(), states.clone(), AuthGraph::default()).unwrap();
    let outcome = resolution.resolve(&Events::default());
    assert!(matches!(&outcome, Err(ResolutionError::Missing(ids)) if ids.len() >= 2), "{outcome:?}");
    assert!(matches!(resolution.auth_keys(&Events::default()), Err(ResolutionError::Missing(_))));
    let v1 = RoomVersion::known(&RoomVersionId::V1).unwrap();
    assert!(matches!(Resolution::new(&v1, states, AuthGraph::default()), Err(ResolutionError::Unsupported(_))));
    // States that agree need nothing.
    let same = story.states_after(&["topic 1", "topic 1"]);
    let agreed = Resolution::new(story.reference.version(), same.clone(), AuthGraph::default()).unwrap();
    assert_eq!(agreed.missing(&Events::default()), Vec::<OwnedEventId>::new());
    assert_eq!(agreed.resolve(&Events::default()).unwrap(), same[0]);
}

#[test]
fn splitting() {
    let state = |entries: &[(u8, u8)]| entries.iter().copied().collect::<BTreeMap<u8, u8>>();
    let parts = split(&[state(&[(1, 1), (2, 2), (3, 3)]), state(&[(1, 1), (2, 9)]), state(&[(1, 1), (2, 2), (4, 4)])]);
    assert_eq!(parts.agreed, state(&[(1, 1)]));
    let expected =
        [(2, vec![Some(2), Some(9), Some(2)]), (3, vec![Some(3), None, None]), (4, vec![None, None, Some(4)])];
    assert_eq!(parts.conflicted, BTreeMap::from(expected));
    assert!(split::<u8, u8>(&[]).agreed.is_empty());
}
