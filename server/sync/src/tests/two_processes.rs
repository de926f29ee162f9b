//! Two processes on one store behave as one server. Here they are two sets of everything that a process holds, which
//! share nothing but the store.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hearth_accounts::{AccountError, NewDevice};
use hearth_rooms::{RoomError, membership::Change, send::Draft};
use hearth_transitory::ReceiptKind;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId, device_id};
use serde_json::{Value, json, value::to_raw_value};

use super::world::{World, find, marking, profile, timeline};

/// Numbers without a pattern, the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

async fn stop(worlds: &[World]) {
    for world in worlds {
        world.stop().await;
    }
}

/// Sends with a transaction id, as the API does.
async fn send(world: &World, room: &RoomId, user: &UserId, id: &str) -> Result<OwnedEventId, RoomError> {
    let draft = Draft {
        event_type: "m.room.message".into(),
        state_key: None,
        content: to_raw_value(&json!({ "msgtype": "m.text", "body": id })).unwrap(),
        redacts: None,
        transaction: Some((device_id!("DEVICE").to_owned(), id.into())),
        timestamp: None,
    };
    world.rooms.send(room, user, draft).await
}

#[tokio::test]
async fn what_one_process_has_acknowledged_the_other_one_shows() {
    let worlds = World::pair();
    let (alice, bob) = (worlds[0].user("alice").await, worlds[1].user("bob").await);
    let room = worlds[1].public_room(&alice).await;
    worlds[0].join(&room, &bob).await;
    let mut since = worlds[1].sync(&bob, json!({})).await["next_batch"].clone();
    for step in 0..40 {
        let (here, there) = (&worlds[step % 2], &worlds[(step + 1) % 2]);
        let body = step.to_string();
        let event = here.say(&room, &alice, &body).await;
        here.account_data(&bob, None, "org.x", json!({ "step": step })).await;
        here.read(&room, &alice, ReceiptKind::Public, &event).await;
        here.engine
            .set_typing(marking(&room, &alice), (step % 4 < 2).then_some(Duration::from_secs(100)))
            .await
            .unwrap();
        let response = there.sync(&bob, json!({ "since": since })).await;
        since = response["next_batch"].clone();
        let joined = &response["rooms"]["join"][room.as_str()];
        assert_eq!(timeline(joined), [body]);
        let datum = find(&response["account_data"], "org.x").unwrap();
        assert_eq!(datum["content"]["step"], step);
        let receipt = find(&joined["ephemeral"], "m.receipt").unwrap();
        assert!(receipt["content"][event.as_str()]["m.read"][alice.as_str()].is_object());
        if step % 2 == 0 {
            let typing = find(&joined["ephemeral"], "m.typing").unwrap();
            assert_eq!(typing["content"]["user_ids"].as_array().unwrap().len(), usize::from(step % 4 < 2));
        }
        // Either process goes on from the other one's token, and finds nothing twice.
        let nothing = here.sync(&bob, json!({ "since": since })).await;
        assert!(nothing["rooms"].is_null() && nothing["account_data"].is_null(), "{nothing}");
    }

    // What a process knows of a room's state is not true any more when the other one has changed it.
    for step in 0..20 {
        let (here, there) = (&worlds[step % 2], &worlds[(step + 1) % 2]);
        here.leave(&room, &bob).await;
        assert!(matches!(send(there, &room, &bob, &format!("left {step}")).await, Err(RoomError::Forbidden(_))));
        there.join(&room, &bob).await;
        send(here, &room, &bob, &format!("back {step}")).await.unwrap();
        for (level, may) in [(50, false), (0, true)] {
            let levels = json!({ "events": { "m.room.message": level }, "users": {} });
            here.set(&room, &alice, "m.room.power_levels", levels).await;
            let sent = send(there, &room, &bob, &format!("power {level} {step}")).await;
            assert_eq!(sent.is_ok(), may, "{sent:?}");
        }
    }
    stop(&worlds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_transaction_id_makes_one_event_wherever_it_is_used() {
    let worlds = World::pair();
    let alice = worlds[0].user("alice").await;
    let room = worlds[0].public_room(&alice).await;
    let since = worlds[0].sync(&alice, json!({})).await["next_batch"].clone();
    let mut sent = Vec::new();
    for number in 0..50 {
        let id = number.to_string();
        let (one, two) = tokio::join!(send(&worlds[0], &room, &alice, &id), send(&worlds[1], &room, &alice, &id));
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!(one, two);
        sent.push(one.to_string());
    }
    let filter = json!({ "room": { "timeline": { "limit": 200 } } });
    let response = worlds[1].sync(&alice, json!({ "since": since, "filter": filter })).await;
    let events = response["rooms"]["join"][room.as_str()]["timeline"]["events"].as_array().unwrap().clone();
    let shown: Vec<&str> = events.iter().map(|event| event["event_id"].as_str().unwrap()).collect();
    assert_eq!(shown, sent);
    stop(&worlds).await;
}

#[tokio::test]
async fn members_are_loaded_lazily_through_both() {
    let worlds = World::pair();
    let (alice, bob) = (worlds[0].user("alice").await, worlds[0].user("bob").await);
    // With a name: the members need not stand in for it.
    let room = worlds[0].create(&alice, json!({ "preset": "public_chat", "name": "A room" })).await;
    worlds[0].join(&room, &bob).await;
    for number in 0..30 {
        worlds[0].say(&room, &alice, &number.to_string()).await;
    }
    let lazy = json!({ "room": { "state": { "lazy_load_members": true }, "timeline": { "limit": 5 } } });
    let first = worlds[0].sync(&alice, json!({ "filter": lazy })).await;
    let has_bob = |response: &Value| {
        let state = response["rooms"]["join"][room.as_str()]["state"]["events"].as_array().cloned().unwrap_or_default();
        state.iter().any(|event| event["state_key"] == bob.as_str())
    };
    worlds[0].say(&room, &bob, "hello").await;
    let lost = worlds[0].sync(&alice, json!({ "since": first["next_batch"], "filter": lazy })).await;
    assert!(has_bob(&lost));
    // The device never got that, and asks the other process, where bob has left the timeline by then.
    for number in 0..10 {
        worlds[0].say(&room, &alice, &number.to_string()).await;
    }
    let second = worlds[1].sync(&alice, json!({ "since": first["next_batch"], "filter": lazy })).await;
    assert!(!has_bob(&second));
    worlds[1].say(&room, &bob, "hello again").await;
    let third = worlds[0].sync(&alice, json!({ "since": second["next_batch"], "filter": lazy })).await;
    assert!(has_bob(&third), "the device has never seen him");
    stop(&worlds).await;
}

const USERS: usize = 20;
/// Users who are in every room all the time; the others come and go.
const STAY: usize = 12;
const ROOMS: usize = 4;
const STEPS: usize = 30;

/// What a user's client has made of its sync stream.
#[derive(Default)]
struct Client {
    /// Events of each room in the order in which they came, since the last gap.
    events: HashMap<String, Vec<String>>,
    typing: HashMap<String, Value>,
    receipts: BTreeMap<(String, String), String>,
    data: Value,
    since: Value,
}

impl Client {
    fn take(&mut self, response: &Value, may_miss: bool) {
        for (room, section) in response["rooms"]["join"].as_object().into_iter().flatten() {
            if section["timeline"]["limited"] == true {
                assert!(may_miss, "a gap in the stream of somebody who was there all the time");
                self.events.remove(room);
            }
            self.add(room, section);
            if let Some(typing) = find(&section["ephemeral"], "m.typing") {
                self.typing.insert(room.clone(), typing["content"]["user_ids"].clone());
            }
            for event in section["ephemeral"]["events"].as_array().into_iter().flatten() {
                for (id, kinds) in event["content"].as_object().into_iter().flatten() {
                    for user in kinds["m.read"].as_object().into_iter().flatten() {
                        self.receipts.insert((room.clone(), user.0.clone()), id.clone());
                    }
                }
            }
        }
        for (room, section) in response["rooms"]["leave"].as_object().into_iter().flatten() {
            self.add(room, section);
        }
        if let Some(datum) = find(&response["account_data"], "org.x") {
            self.data = datum["content"]["step"].clone();
        }
        self.since = response["next_batch"].clone();
    }

    fn add(&mut self, room: &str, section: &Value) {
        let events = self.events.entry(room.to_owned()).or_default();
        for event in section["timeline"]["events"].as_array().into_iter().flatten() {
            let id = event["event_id"].as_str().unwrap().to_owned();
            assert!(!events.contains(&id), "{id} came twice");
            events.push(id);
        }
    }
}

/// A user's client, which asks one process or the other.
async fn read(
    worlds: Arc<[World; 2]>,
    user: OwnedUserId,
    mut client: Client,
    stays: bool,
    done: Arc<AtomicBool>,
) -> Client {
    let filter = json!({ "room": { "timeline": { "limit": 1000 } } });
    let mut dice = Dice(0x1234_5678 + user.as_str().bytes().map(u64::from).sum::<u64>());
    loop {
        let is_done = done.load(Ordering::SeqCst);
        let world = &worlds[dice.roll(2)];
        let timeout = if is_done { 0 } else { 200 };
        let parameters = json!({ "since": client.since, "filter": filter, "timeout": timeout });
        let response = world.sync(&user, parameters).await;
        client.take(&response, !stays);
        if is_done {
            return client;
        }
    }
}

/// What a user does, through one process or the other. Returns the acknowledged events by room, the last receipt of each
/// room, and the last account data.
async fn act(
    worlds: Arc<[World; 2]>,
    rooms: Vec<OwnedRoomId>,
    user: OwnedUserId,
    number: usize,
) -> (Vec<(OwnedRoomId, OwnedEventId)>, HashMap<OwnedRoomId, OwnedEventId>, Option<usize>) {
    let mut dice = Dice(0x9e37_79b9 * (number as u64 + 1));
    let (mut sent, mut receipts, mut data) = (Vec::new(), HashMap::new(), None);
    for step in 0..STEPS {
        let side = dice.roll(2);
        let (world, other) = (&worlds[side], &worlds[1 - side]);
        let room = &rooms[dice.roll(rooms.len())];
        match dice.roll(10) {
            0 if number >= STAY => {
                let change = if dice.roll(2) == 0 { Change::Join } else { Change::Leave };
                match world.rooms.change_membership(room, &user, &user, change, &profile(&user), None).await {
                    Ok(()) | Err(RoomError::Forbidden(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            1 | 2 if number < STAY => {
                let timeout = (dice.roll(3) > 0).then_some(Duration::from_millis(300));
                world.engine.set_typing(marking(room, &user), timeout).await.unwrap();
            }
            3 if number < STAY => {
                if let Some((_, event)) = sent.iter().rev().find(|(of, _)| of == room) {
                    world.read(room, &user, ReceiptKind::Public, event).await;
                    receipts.insert(room.clone(), event.clone());
                }
            }
            4 => {
                world.account_data(&user, None, "org.x", json!({ "step": step })).await;
                data = Some(step);
            }
            5 => {
                let tokens = world.accounts.open_session(&user, NewDevice::default()).await.unwrap();
                let session = other.accounts.authenticate(&tokens.access_token).await.unwrap();
                assert_eq!(session.device_id, tokens.device_id);
                other.accounts.logout(&user, &tokens.device_id).await.unwrap();
                assert!(matches!(
                    world.accounts.authenticate(&tokens.access_token).await,
                    Err(AccountError::UnknownToken { .. })
                ));
            }
            _ => {
                let id = format!("{number}/{step}");
                match send(world, room, &user, &id).await {
                    Ok(event) => {
                        // A client that did not hear the answer asks again, whom it may.
                        if dice.roll(4) == 0 {
                            assert_eq!(send(other, room, &user, &id).await.unwrap(), event);
                        }
                        sent.push((room.clone(), event));
                    }
                    Err(RoomError::Forbidden(_)) if number >= STAY => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
    (sent, receipts, data)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everybody_has_one_stream_over_both() {
    let worlds = Arc::new(World::pair());
    let (mut users, mut rooms) = (Vec::new(), Vec::new());
    for number in 0..USERS {
        users.push(worlds[number % 2].user(&format!("user{number}")).await);
    }
    for number in 0..ROOMS {
        let room = worlds[number % 2].public_room(&users[0]).await;
        for (number, user) in users[1..STAY].iter().enumerate() {
            worlds[number % 2].join(&room, user).await;
        }
        rooms.push(room);
    }

    let done = Arc::new(AtomicBool::new(false));
    let (mut readers, mut actors) = (Vec::new(), Vec::new());
    for (number, user) in users.iter().enumerate() {
        // All from the same point: nothing happens yet.
        let first = worlds[number % 2].sync(user, json!({})).await;
        let client = Client { since: first["next_batch"].clone(), ..Client::default() };
        readers.push(tokio::spawn(read(worlds.clone(), user.clone(), client, number < STAY, done.clone())));
    }
    for (number, user) in users.iter().enumerate() {
        actors.push(tokio::spawn(act(worlds.clone(), rooms.clone(), user.clone(), number)));
    }
    let mut acknowledged = BTreeSet::new();
    let (mut receipts, mut data) = (BTreeMap::new(), Vec::new());
    for (actor, user) in actors.into_iter().zip(&users) {
        let (sent, read, datum) = actor.await.unwrap();
        for (room, event) in sent {
            assert!(acknowledged.insert((room.to_string(), event.to_string())));
        }
        receipts
            .extend(read.into_iter().map(|(room, event)| ((room.to_string(), user.to_string()), event.to_string())));
        data.push(datum);
    }
    // Typing ends by itself, through whichever process.
    for room in &rooms {
        loop {
            let transitory = &worlds[0].transitory;
            let tx = transitory.store().begin();
            let watch = transitory.watch(&tx).await.unwrap();
            let typing = transitory.typing(&tx, room).await.unwrap();
            tx.commit().await.unwrap();
            if typing.is_empty() {
                break;
            }
            watch.changed().await.unwrap();
        }
    }
    done.store(true, Ordering::SeqCst);
    let mut clients = Vec::new();
    for reader in readers {
        clients.push(reader.await.unwrap());
    }

    let reference = &clients[0].events;
    let shown: BTreeSet<(String, String)> =
        reference.iter().flat_map(|(room, events)| events.iter().map(|event| (room.clone(), event.clone()))).collect();
    assert!(acknowledged.is_subset(&shown), "acknowledged events are missing");
    for (number, client) in clients.iter().enumerate() {
        for room in rooms.iter().map(|room| room.as_str()) {
            let all = &reference[room];
            let Some(events) = client.events.get(room) else { continue };
            let places: Vec<usize> =
                events.iter().map(|event| all.iter().position(|other| other == event).unwrap_or(usize::MAX)).collect();
            // A newcomer also sees what was before everything here.
            let places: Vec<usize> = places.into_iter().skip_while(|place| *place == usize::MAX).collect();
            assert!(places.is_sorted(), "user {number} has {room} in another order: {places:?}");
        }
        if number < STAY {
            assert!(client.events == *reference, "user {number} has other events");
            assert!(client.typing.values().all(|typing| *typing == json!([])), "{:?}", client.typing);
            assert_eq!(client.receipts, receipts, "user {number}");
        }
        assert_eq!(client.data.as_u64(), data[number].map(|step| step as u64), "user {number}");
    }
    for world in worlds.iter() {
        assert_eq!(world.engine.hub().waiting(), 0);
    }
    stop(&*worlds).await;
}
