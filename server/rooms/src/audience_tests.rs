//! Tests of what the sync engine asks.

use std::collections::BTreeSet;

use hearth_store::{Transaction, Version};
use ruma::OwnedRoomId;
use serde_json::{Value, json};

use crate::{
    EventFilter, Membership, Position, RoomNid, Rooms, StateKeyNid,
    audience::{ChangedRooms, SliceRequest, StateEntry, TimelineSlice},
    membership::Change,
    testing::{rooms, user},
};

struct Scene {
    rooms: Rooms,
    room: OwnedRoomId,
    nid: RoomNid,
}

impl Scene {
    async fn new() -> Self {
        let rooms = rooms();
        let room = rooms.public_room("alice").await;
        let nid = rooms.find_room(&rooms.store.begin(), &room).await.unwrap().unwrap();
        Self { rooms, room, nid }
    }

    async fn now(&self) -> Version {
        self.rooms.store.current_version().await.unwrap()
    }

    fn tx(&self) -> Transaction {
        self.rooms.store.begin()
    }

    async fn user(&self, name: &str) -> StateKeyNid {
        self.rooms.find_state_key(&self.tx(), user(name).as_str()).await.unwrap().unwrap()
    }

    async fn change(&self, target: &str, change: Change) {
        let sender = if matches!(change, Change::Invite | Change::Ban | Change::Kick) { "alice" } else { target };
        self.rooms.change_for_test(&self.room, sender, target, change).await.unwrap();
    }

    async fn say(&self, body: &str) {
        let content = json!({"msgtype": "m.text", "body": body});
        self.rooms.send_for_test(&self.room, "alice", "m.room.message", content).await.unwrap();
    }

    async fn name(&self, name: &str) {
        self.rooms.state_for_test(&self.room, "alice", "m.room.name", "", json!({ "name": name })).await.unwrap();
    }

    async fn slice(&self, since: Option<Version>, limit: usize) -> TimelineSlice {
        let tx = self.tx();
        let view = self.rooms.view(&tx, &self.room, &user("alice")).await.unwrap();
        let until = Position::after_version(tx.read_version().await.unwrap());
        let filter = EventFilter::default();
        let request = SliceRequest { since, until, limit, filter: &filter };
        self.rooms.timeline_slice(&tx, &view, request).await.unwrap()
    }

    /// State entries as `type state_key content`.
    async fn told(&self, entries: Vec<StateEntry>) -> BTreeSet<String> {
        let tx = self.tx();
        let mut told = BTreeSet::new();
        for entry in entries {
            let event = self.rooms.load_event(&tx, entry.event).await.unwrap();
            let key = event.pdu.state_key.clone().unwrap();
            told.insert(format!("{} {key} {}", event.pdu.event_type, event.pdu.content.get()));
        }
        told
    }
}

fn texts(slice: &TimelineSlice) -> Vec<String> {
    slice
        .events
        .iter()
        .map(|event| {
            let content: Value = serde_json::from_str(event.event.pdu.content.get()).unwrap();
            content["body"].as_str().or(content["name"].as_str()).unwrap_or("-").to_owned()
        })
        .collect()
}

#[tokio::test]
async fn slices_are_the_newest_part_of_what_is_new() {
    let scene = Scene::new().await;
    let since = scene.now().await;
    let empty = scene.slice(Some(since), 10).await;
    assert!(empty.events.is_empty() && !empty.limited);
    for body in ["1", "2", "3"] {
        scene.say(body).await;
    }
    for (limit, expected, limited) in [
        (10, vec!["1", "2", "3"], false),
        (3, vec!["1", "2", "3"], false),
        (2, vec!["2", "3"], true),
        (0, vec![], true),
    ] {
        let slice = scene.slice(Some(since), limit).await;
        assert_eq!(
            (texts(&slice), slice.limited),
            (expected.iter().map(ToString::to_string).collect(), limited),
            "{limit}"
        );
        // The gap before the slice leads to what is missing, and to nothing else.
        let tx = scene.tx();
        let view = scene.rooms.view(&tx, &scene.room, &user("alice")).await.unwrap();
        let request =
            SliceRequest { since: Some(since), until: slice.start.clone(), limit: 10, filter: &EventFilter::default() };
        let before = scene.rooms.timeline_slice(&tx, &view, request).await.unwrap();
        assert_eq!(texts(&before).len(), 3 - expected.len(), "{limit}");
    }
    assert!(!scene.slice(None, 100).await.limited, "the room begins here");
    assert!(scene.slice(None, 5).await.limited);
}

#[tokio::test]
async fn state_then_and_now() {
    let scene = Scene::new().await;
    scene.name("a").await;
    let since = scene.now().await;
    scene.name("b").await;
    scene.change("bob", Change::Join).await;
    let middle = scene.now().await;
    scene.name("c").await;
    scene.change("carol", Change::Join).await;
    scene.change("bob", Change::Leave).await;
    let tx = scene.tx();
    let end = Position::after_version(tx.read_version().await.unwrap());

    let delta = scene.rooms.state_delta(&tx, scene.nid, since, &Position::after_version(middle)).await.unwrap();
    let delta = scene.told(delta).await;
    assert!(delta.len() == 2 && delta.contains("m.room.name  {\"name\":\"b\"}"), "{delta:?}");
    let delta = scene.told(scene.rooms.state_delta(&tx, scene.nid, since, &end).await.unwrap()).await;
    assert!(delta.len() == 3 && delta.contains("m.room.name  {\"name\":\"c\"}"), "{delta:?}");

    for (at, name, joined) in
        [(Position::after_version(since), "a", 1), (Position::after_version(middle), "b", 2), (end.clone(), "c", 2)]
    {
        let state = scene.told(scene.rooms.full_state(&tx, scene.nid, &at, true).await.unwrap()).await;
        assert!(state.contains(&format!("m.room.name  {{\"name\":\"{name}\"}}")), "{state:?}");
        let joins =
            state.iter().filter(|entry| entry.starts_with("m.room.member") && entry.contains("\"join\"")).count();
        assert_eq!(joins, joined, "at {name}");
        let without = scene.told(scene.rooms.full_state(&tx, scene.nid, &at, false).await.unwrap()).await;
        assert!(without.iter().all(|entry| !entry.starts_with("m.room.member")));
        assert_eq!(without.len(), state.iter().filter(|entry| !entry.starts_with("m.room.member")).count());
    }
    let before_all = scene.rooms.full_state(&tx, scene.nid, &Position::start(), true).await.unwrap();
    assert!(before_all.is_empty());

    let (bob, carol) = (scene.user("bob").await, scene.user("carol").await);
    let at = Position::after_version(middle);
    let members = scene.rooms.members_at(&tx, scene.nid, &at, [bob, carol, bob]).await.unwrap();
    assert_eq!(members.len(), 1, "Carol came later, Bob once");
}

#[tokio::test]
async fn changes_of_membership() {
    let scene = Scene::new().await;
    scene.change("bob", Change::Invite).await;
    let since = scene.now().await;
    let bob = scene.user("bob").await;
    let steps = async |since| scene.rooms.membership_changes(&scene.tx(), bob, since).await.unwrap();
    assert!(steps(since).await.is_empty());
    assert_eq!(steps(0).await.len(), 1);
    scene.change("bob", Change::Join).await;
    scene.change("bob", Change::Leave).await;
    let step = &steps(since).await[0];
    assert_eq!((step.before, step.now), (Some(Membership::Invite), Membership::Leave));
    assert!(step.joined_at.is_some() && step.left_at > step.joined_at);
    let rooms_of = scene.rooms.audience_rooms(&scene.tx(), bob).await.unwrap();
    assert_eq!(rooms_of.len(), 1);
    assert_eq!((rooms_of[0].membership, rooms_of[0].forgotten), (Membership::Leave, false));

    // Servers have memberships of the same shape.
    let server = scene.rooms.find_state_key(&scene.tx(), "example.org").await.unwrap().unwrap();
    let servers = scene.rooms.audience_rooms(&scene.tx(), server).await.unwrap();
    assert_eq!(servers[0].membership, Membership::Join);
    assert_eq!(scene.rooms.membership_changes(&scene.tx(), server, 0).await.unwrap().len(), 1);
}

#[tokio::test]
async fn rooms_that_changed() {
    let scene = Scene::new().await;
    let since = scene.now().await;
    let changed = async |since| scene.rooms.changed_rooms(&scene.tx(), since).await.unwrap();
    assert_eq!(changed(since).await, ChangedRooms::Some(Vec::new()));
    assert!(!scene.rooms.has_changed(&scene.tx(), scene.nid, since).await.unwrap());
    scene.say("1").await;
    scene.say("2").await;
    assert_eq!(changed(since).await, ChangedRooms::Some(vec![scene.nid]));
    assert!(scene.rooms.has_changed(&scene.tx(), scene.nid, since).await.unwrap());
    for n in 0..300 {
        scene.say(&n.to_string()).await;
    }
    assert_eq!(changed(since).await, ChangedRooms::TooMany);
}

#[tokio::test]
async fn the_stream_wakes() {
    let scene = Scene::new().await;
    let tx = scene.tx();
    let head = scene.rooms.stream_head(&tx).await.unwrap().unwrap();
    let watch = scene.rooms.watch_stream(&tx).await.unwrap();
    tx.commit().await.unwrap();
    scene.change("bob", Change::Join).await;
    watch.changed().await.unwrap();
    let news = scene.rooms.stream_since(&scene.tx(), &head, 10).await.unwrap();
    assert_eq!(news.len(), 1);
    assert_eq!((news[0].room, news[0].member), (scene.nid, Some(scene.user("bob").await)));
    let members = scene.rooms.local_members(&scene.tx(), scene.nid).await.unwrap();
    assert_eq!(members.len(), 2);
}

#[tokio::test]
async fn summaries_and_stripped_state() {
    let scene = Scene::new().await;
    let alice = scene.user("alice").await;
    let summary = async || scene.rooms.sync_summary(&scene.tx(), scene.nid, alice).await.unwrap();
    assert_eq!(summary().await.heroes, Some(Vec::new()));
    scene.change("bob", Change::Join).await;
    scene.change("carol", Change::Invite).await;
    for name in ["d", "e", "f", "g"] {
        scene.change(name, Change::Join).await;
    }
    let now = summary().await;
    assert_eq!((now.joined, now.invited), (6, 1));
    let heroes: Vec<_> = now.heroes.unwrap().iter().map(|hero| hero.localpart().to_owned()).collect();
    assert_eq!(heroes, ["bob", "carol", "d", "e", "f"]);
    for name in ["bob", "d", "e", "f", "g"] {
        scene.change(name, Change::Leave).await;
    }
    assert_eq!(summary().await.heroes.unwrap(), [user("carol")], "those who are here come first");
    scene.change("carol", Change::Leave).await;
    assert_eq!(summary().await.heroes.unwrap().len(), 5, "better than no name at all");
    scene.name("Kitchen").await;
    assert_eq!(summary().await.heroes, None);

    scene.change("carol", Change::Invite).await;
    let carol = scene.user("carol").await;
    let stripped = scene.rooms.stripped_state(&scene.tx(), scene.nid, carol).await.unwrap();
    let told: BTreeSet<String> = stripped
        .iter()
        .map(|event| {
            let event: Value = serde_json::from_str(event.json().get()).unwrap();
            assert_eq!(event.as_object().unwrap().len(), 4, "{event}");
            format!("{} {}", event["type"].as_str().unwrap(), event["state_key"].as_str().unwrap())
        })
        .collect();
    for expected in [
        "m.room.create ",
        "m.room.name ",
        "m.room.join_rules ",
        "m.room.member @carol:example.org",
        "m.room.member @alice:example.org",
    ] {
        assert!(told.contains(expected), "{expected} in {told:?}");
    }
}
