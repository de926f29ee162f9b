//! Deltas add up: whatever happens and whenever a client syncs, with whatever limit, the union of its incremental syncs
//! is what an initial sync says.

use std::collections::{BTreeMap, BTreeSet};

use hearth_rooms::membership::{Change, MemberProfile};
use hearth_transitory::ReceiptKind;
use proptest::{prelude::*, test_runner::TestCaseResult};
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use serde_json::{Value, json};

use super::world::{World, marking, profile};

const USERS: usize = 3;
const ROOMS: usize = 2;

#[derive(Debug, Clone)]
enum Step {
    Say(usize, usize),
    Name(usize, usize),
    Change(usize, usize, usize, Change),
    Profile(usize),
    Read(usize, usize, bool),
    Type(usize, usize, bool),
    Tag(usize, usize),
    Data(usize),
    Sync(usize, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let (user, room) = (0..USERS, 0..ROOMS);
    let change = prop_oneof![
        4 => Just(Change::Join),
        2 => Just(Change::Leave),
        2 => Just(Change::Invite),
        1 => Just(Change::Kick),
        1 => Just(Change::Ban),
        1 => Just(Change::Unban),
    ];
    prop_oneof![
        6 => (user.clone(), room.clone()).prop_map(|(user, room)| Step::Say(user, room)),
        2 => (user.clone(), room.clone()).prop_map(|(user, room)| Step::Name(user, room)),
        6 => (user.clone(), user.clone(), room.clone(), change).prop_map(|(sender, target, room, change)| {
            let target = if matches!(change, Change::Join | Change::Leave) { sender } else { target };
            Step::Change(sender, target, room, change)
        }),
        1 => user.clone().prop_map(Step::Profile),
        2 => (user.clone(), room.clone(), any::<bool>()).prop_map(|(user, room, private)| Step::Read(user, room, private)),
        1 => (user.clone(), room.clone(), any::<bool>()).prop_map(|(user, room, on)| Step::Type(user, room, on)),
        1 => (user.clone(), room.clone()).prop_map(|(user, room)| Step::Tag(user, room)),
        1 => user.clone().prop_map(Step::Data),
        6 => (user, prop_oneof![0_u64..5, Just(100)]).prop_map(|(user, limit)| Step::Sync(user, limit)),
    ]
}

/// How the clients of a run ask.
#[derive(Debug, Clone, Copy)]
struct Manner {
    state_after: bool,
    lazy: bool,
}

/// A room as a client has put it together.
#[derive(Debug, Default, Clone, PartialEq)]
struct RoomModel {
    /// Event id by type and state key.
    state: BTreeMap<(String, String), String>,
    /// Event ids since the last gap, with their senders.
    timeline: Vec<(String, String)>,
    counts: Value,
    summary: BTreeMap<String, Value>,
    account_data: BTreeMap<String, Value>,
    typing: Value,
    /// Event and time by kind, user and thread.
    receipts: BTreeMap<(String, String, String), String>,
}

/// A client.
#[derive(Debug, Default, Clone)]
struct Client {
    since: Option<Value>,
    joined: BTreeMap<String, RoomModel>,
    left: BTreeMap<String, RoomModel>,
    invited: BTreeSet<String>,
    account_data: BTreeMap<String, Value>,
}

fn events(section: &Value) -> impl Iterator<Item = &Value> {
    section["events"].as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl RoomModel {
    fn apply_state<'a>(&mut self, events: impl Iterator<Item = &'a Value>) {
        for event in events.filter(|event| event["state_key"].is_string()) {
            self.state.insert((text(&event["type"]), text(&event["state_key"])), text(&event["event_id"]));
        }
    }

    /// What a client with lazy loading has to do when the room is left: nobody tells it of changes any more.
    fn forget_members(&mut self, manner: Manner) {
        if manner.lazy {
            self.state.retain(|(event_type, _), _| event_type != "m.room.member");
        }
    }

    fn apply(&mut self, section: &Value, manner: Manner) {
        if manner.state_after {
            assert!(section["state"].is_null());
            self.apply_state(events(&section["state_after"]));
        } else {
            assert!(section["state_after"].is_null());
            self.apply_state(events(&section["state"]));
            self.apply_state(events(&section["timeline"]));
        }
        if section["timeline"]["limited"] == true {
            self.timeline.clear();
        }
        self.timeline
            .extend(events(&section["timeline"]).map(|event| (text(&event["event_id"]), text(&event["sender"]))));
        if !section["unread_notifications"].is_null() {
            self.counts = section["unread_notifications"].clone();
        }
        for (field, value) in section["summary"].as_object().into_iter().flatten() {
            self.summary.insert(field.clone(), value.clone());
        }
        for event in events(&section["account_data"]) {
            self.account_data.insert(text(&event["type"]), event["content"].clone());
        }
        for event in events(&section["ephemeral"]) {
            if event["type"] == "m.typing" {
                self.typing = event["content"]["user_ids"].clone();
                continue;
            }
            for (id, kinds) in event["content"].as_object().unwrap() {
                for (kind, users) in kinds.as_object().unwrap() {
                    for (user, data) in users.as_object().unwrap() {
                        let key = (kind.clone(), user.clone(), text(&data["thread_id"]));
                        self.receipts.insert(key, format!("{id} {}", data["ts"]));
                    }
                }
            }
        }
    }
}

impl Client {
    fn apply(&mut self, response: &Value, manner: Manner) {
        for (room, section) in response["rooms"]["join"].as_object().into_iter().flatten() {
            self.invited.remove(room);
            let model = match self.left.remove(room) {
                // State and timeline are told anew; what else was known of the room is void.
                Some(left) => {
                    let kept = RoomModel { state: left.state, timeline: left.timeline, ..RoomModel::default() };
                    self.joined.entry(room.clone()).or_insert(kept)
                }
                None => self.joined.entry(room.clone()).or_default(),
            };
            model.apply(section, manner);
        }
        for (room, section) in response["rooms"]["leave"].as_object().into_iter().flatten() {
            self.invited.remove(room);
            let mut model = self.joined.remove(room).or_else(|| self.left.remove(room)).unwrap_or_default();
            model.apply(section, manner);
            model.forget_members(manner);
            self.left.insert(room.clone(), model);
        }
        for room in response["rooms"]["invite"].as_object().into_iter().flatten().map(|(room, _)| room) {
            // Left and invited again since the last response: the stay is over all the same.
            if let Some(mut model) = self.joined.remove(room) {
                model.forget_members(manner);
                self.left.insert(room.clone(), model);
            }
            self.invited.insert(room.clone());
        }
        for event in events(&response["account_data"]) {
            self.account_data.insert(text(&event["type"]), event["content"].clone());
        }
        self.since = Some(response["next_batch"].clone());
    }
}

struct Run {
    world: World,
    manner: Manner,
    users: Vec<OwnedUserId>,
    rooms: Vec<OwnedRoomId>,
    clients: Vec<Client>,
    newest: Vec<Option<OwnedEventId>>,
    number: u64,
}

impl Run {
    async fn new(manner: Manner) -> Self {
        let world = World::new();
        let mut users = Vec::new();
        for name in ["alice", "bob", "carol"] {
            users.push(world.user(name).await);
        }
        let mut rooms = Vec::new();
        for creator in &users[..ROOMS] {
            rooms.push(world.public_room(creator).await);
        }
        let clients = vec![Client::default(); USERS];
        Self { world, manner, users, rooms, clients, newest: vec![None; ROOMS], number: 0 }
    }

    /// Runs a step. What the server refuses changes nothing, which is as good a test.
    async fn step(&mut self, step: &Step) {
        self.number += 1;
        let Self { world, users, rooms, number, .. } = self;
        match *step {
            Step::Say(user, room) => {
                let content = json!({ "msgtype": "m.text", "body": number.to_string() });
                if let Some(event) = self.try_send(user, room, "m.room.message", None, content).await {
                    self.newest[room] = Some(event);
                }
            }
            Step::Name(user, room) => {
                let content = json!({ "name": number.to_string() });
                self.try_send(user, room, "m.room.name", Some(String::new()), content).await;
            }
            Step::Change(sender, target, room, change) => {
                let profile = profile(&users[target]);
                let changed =
                    world.rooms.change_membership(&rooms[room], &users[sender], &users[target], change, &profile, None);
                let _ = changed.await;
            }
            Step::Profile(user) => {
                let profile = MemberProfile { displayname: Some(number.to_string()), avatar_url: None };
                world.rooms.update_profile(&users[user], &profile).await.unwrap();
            }
            Step::Read(user, room, private) => {
                let kind = if private { ReceiptKind::Private } else { ReceiptKind::Public };
                if let Some(event) = &self.newest[room] {
                    let _ = world.engine.set_receipt(marking(&rooms[room], &users[user]), kind, event, None).await;
                }
            }
            Step::Type(user, room, on) => {
                let timeout = on.then(|| std::time::Duration::from_secs(1000));
                let _ = world.engine.set_typing(marking(&rooms[room], &users[user]), timeout).await;
            }
            Step::Tag(user, room) => {
                world.account_data(&users[user], Some(&rooms[room]), "m.tag", json!({ "n": number })).await;
            }
            Step::Data(user) => world.account_data(&users[user], None, "org.x", json!({ "n": number })).await,
            Step::Sync(user, limit) => self.sync(user, limit).await,
        }
    }

    async fn try_send(
        &self,
        user: usize,
        room: usize,
        event_type: &str,
        state_key: Option<String>,
        content: Value,
    ) -> Option<OwnedEventId> {
        let draft = hearth_rooms::send::Draft {
            event_type: event_type.into(),
            state_key,
            content: serde_json::value::to_raw_value(&content).unwrap(),
            redacts: None,
            transaction: None,
            timestamp: None,
        };
        self.world.rooms.send(&self.rooms[room], &self.users[user], draft).await.ok()
    }

    fn filter(&self, limit: u64) -> Value {
        json!({ "room": { "timeline": { "limit": limit }, "state": { "lazy_load_members": self.manner.lazy } } })
    }

    async fn sync(&mut self, user: usize, limit: u64) {
        let parameters = json!({
            "since": self.clients[user].since,
            "filter": self.filter(limit),
            "use_state_after": self.manner.state_after,
        });
        let response = self.world.sync(&self.users[user], parameters).await;
        self.clients[user].apply(&response, self.manner);
    }

    /// Lets every client catch up and compares it with one that begins now.
    async fn check(mut self) -> TestCaseResult {
        for user in 0..USERS {
            self.sync(user, 3).await;
            let manner = Manner { lazy: false, ..self.manner };
            let mut fresh = Client::default();
            let filter = json!({ "room": { "timeline": { "limit": 200 } } });
            let parameters = json!({ "filter": filter, "use_state_after": manner.state_after });
            fresh.apply(&self.world.sync(&self.users[user], parameters).await, manner);
            let client = &self.clients[user];
            prop_assert_eq!(&client.invited, &fresh.invited);
            prop_assert_eq!(&client.account_data, &fresh.account_data);
            let rooms = |client: &Client| client.joined.keys().cloned().collect::<Vec<_>>();
            prop_assert_eq!(rooms(client), rooms(&fresh));
            for (room, model) in &client.joined {
                check_room(model, &fresh.joined[room], self.manner)?;
            }
        }
        Ok(())
    }
}

fn check_room(model: &RoomModel, fresh: &RoomModel, manner: Manner) -> TestCaseResult {
    if manner.lazy {
        for (key, event) in &model.state {
            prop_assert_eq!(Some(event), fresh.state.get(key), "{:?} is out of date", key);
        }
        for (_, sender) in &model.timeline {
            let member = ("m.room.member".to_owned(), sender.clone());
            prop_assert!(model.state.contains_key(&member), "{} is unknown", sender);
        }
        let others = |model: &RoomModel| {
            model.state.keys().filter(|(event_type, _)| event_type != "m.room.member").cloned().collect::<Vec<_>>()
        };
        prop_assert_eq!(others(model), others(fresh));
    } else {
        prop_assert_eq!(&model.state, &fresh.state);
    }
    prop_assert!(fresh.timeline.ends_with(&model.timeline), "{:?} in {:?}", model.timeline, fresh.timeline);
    prop_assert_eq!(&model.counts, &fresh.counts);
    for (field, value) in &fresh.summary {
        prop_assert_eq!(model.summary.get(field), Some(value), "{}", field);
    }
    prop_assert_eq!(&model.account_data, &fresh.account_data);
    prop_assert_eq!(&model.receipts, &fresh.receipts);
    let typing = |model: &RoomModel| model.typing.as_array().cloned().unwrap_or_default();
    prop_assert_eq!(typing(model), typing(fresh));
    Ok(())
}

fn run(manner: Manner, steps: &[Step]) -> TestCaseResult {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut run = Run::new(manner).await;
        for step in steps {
            run.step(step).await;
        }
        run.check().await
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn deltas_add_up(
        state_after in any::<bool>(),
        lazy in any::<bool>(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        run(Manner { state_after, lazy }, &steps)?;
    }
}
