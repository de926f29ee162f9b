//! A healthy history has no finding, and each kind of damage is found.

use hearth_store::{Store, Transaction, Versionstamp, check::Report, first_stamp};
use proptest::prelude::*;
use ruma::{OwnedRoomId, RoomId};
use serde_json::json;

use super::check;
use crate::{
    EventNid, Membership, RoomNid, Rooms, StateKeyNid, TypeNid,
    ids::Kind,
    keys::{
        ALIAS, COUNTER, EVENT, EVENT_AT, EVENT_NID, EXTREMITY, LOCAL_MEMBER, MEMBER, MEMBERSHIP, NEXT_ID, NOTIFICATION,
        PUBLISHED, REDACTION, ROOM, ROOM_ALIAS, ROOM_HEAD, ROOM_NID, SERVER_USERS, STATE, STATE_AT, STATE_BEFORE,
        STATE_KEY, STATE_KEY_NID, STATE_SNAPSHOT, STREAM_HEAD, THREAD, THREAD_ORDER, TIMELINE, TOUCHED, TRANSACTION,
        TYPE, TYPE_NID,
    },
    membership::Change,
    publish::counter,
    records::{AliasRecord, LocalMember, Outcome},
    send::Draft,
    snapshots::{BlockId, BlockRef, Snapshot, SnapshotId},
    testing::{draft, rooms, user, with_transaction},
};

const USERS: [&str; 4] = ["alice", "bob", "carol", "dora"];

#[derive(Debug, Clone)]
enum Step {
    Message,
    Reaction,
    InThread,
    Redaction,
    Topic,
    Change(usize, Change),
    Alias,
    Publish(bool),
    Forget,
}

fn step() -> impl Strategy<Value = (usize, Step)> {
    let change = prop_oneof![
        Just(Change::Join),
        Just(Change::Leave),
        Just(Change::Invite),
        Just(Change::Kick),
        Just(Change::Ban),
        Just(Change::Unban)
    ];
    let step = prop_oneof![
        3 => Just(Step::Message),
        2 => Just(Step::Reaction),
        2 => Just(Step::InThread),
        2 => Just(Step::Redaction),
        1 => Just(Step::Topic),
        4 => (0..4_usize, change).prop_map(|(target, change)| Step::Change(target, change)),
        1 => Just(Step::Alias),
        1 => any::<bool>().prop_map(Step::Publish),
        1 => Just(Step::Forget),
    ];
    (0..4_usize, step)
}

/// What a story remembers.
struct Story {
    rooms: Rooms,
    room: OwnedRoomId,
    sent: Vec<ruma::OwnedEventId>,
}

impl Story {
    async fn begin() -> Self {
        let rooms = rooms();
        let body = json!({ "preset": "public_chat", "room_alias_name": "first", "visibility": "public" });
        let room = rooms.create_for_test("alice", body).await.unwrap();
        for name in ["bob", "carol"] {
            rooms.change_for_test(&room, name, name, Change::Join).await.unwrap();
        }
        let first = rooms.send_for_test(&room, "alice", "m.room.message", json!({ "body": "first" })).await.unwrap();
        Self { rooms, room, sent: vec![first] }
    }

    async fn send(&mut self, sender: &str, draft: Draft) {
        // Refusals are part of the story.
        if let Ok(sent) = self.rooms.send(&self.room, &user(sender), draft).await {
            self.sent.push(sent);
        }
    }

    async fn take(&mut self, number: usize, sender: usize, step: &Step) {
        let name = USERS[sender];
        let target = self.sent[number % self.sent.len()].clone();
        match step {
            Step::Message => {
                let message = draft("m.room.message", None, json!({ "body": "x", "msgtype": "m.text" }));
                self.send(name, with_transaction(message, "PHONE", &format!("t{number}"))).await;
            }
            Step::Reaction => {
                let relates = json!({ "rel_type": "m.annotation", "event_id": target, "key": "+" });
                self.send(name, draft("m.reaction", None, json!({ "m.relates_to": relates }))).await;
            }
            Step::InThread => {
                let relates = json!({ "rel_type": "m.thread", "event_id": self.sent[0] });
                self.send(name, draft("m.room.message", None, json!({ "body": "y", "m.relates_to": relates }))).await;
            }
            Step::Redaction => {
                let redaction = Draft { redacts: Some(target), ..draft("m.room.redaction", None, json!({})) };
                self.send(name, redaction).await;
            }
            Step::Topic => self.send(name, draft("m.room.topic", Some(""), json!({ "topic": number }))).await,
            Step::Change(target, change) => {
                let target = if matches!(change, Change::Join | Change::Leave) { name } else { USERS[*target] };
                let _ = self.rooms.change_for_test(&self.room, name, target, *change).await;
            }
            Step::Alias => {
                let alias = ruma::RoomAliasId::parse(format!("#a{}:example.org", number % 3)).unwrap();
                if number.is_multiple_of(2) {
                    let _ = self.rooms.create_alias(&alias, &self.room, &user(name)).await;
                } else {
                    let _ = self.rooms.delete_alias(&alias, &user(name), number % 4 == 1).await;
                }
            }
            Step::Publish(published) => {
                let _ = self.rooms.set_published(&self.room, &user(name), *published, false).await;
            }
            Step::Forget => drop(self.rooms.forget(&self.room, &user(name)).await),
        }
    }
}

async fn checked(store: &Store) -> Report {
    let report = Report::new();
    check(store, &report).await.unwrap();
    report
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_healthy_history_has_no_finding(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut story = Story::begin().await;
            for (number, (sender, step)) in steps.iter().enumerate() {
                story.take(number, *sender, step).await;
            }
            let report = checked(&story.rooms.store).await;
            assert_eq!(report.kept(), []);
            assert!(report.rows() > 50);
        });
    }
}

/// A room in which there is something of everything.
struct Place {
    store: Store,
    room: RoomNid,
    /// The first message, which has a reaction and a thread.
    event: EventNid,
    alice: StateKeyNid,
    bob: StateKeyNid,
    server: StateKeyNid,
}

async fn place() -> Place {
    let mut story = Story::begin().await;
    for (number, (sender, step)) in
        [(0, Step::InThread), (0, Step::Reaction), (0, Step::Message), (1, Step::Message), (0, Step::Topic)]
            .iter()
            .enumerate()
    {
        story.take(number * 100, *sender, step).await;
    }
    // Reacts to the message that is redacted then.
    let last = story.sent.last().unwrap().clone();
    let redaction = Draft { redacts: Some(last), ..draft("m.room.redaction", None, json!({})) };
    story.send("alice", redaction).await;
    let store = story.rooms.store.clone();
    let tx = store.begin();
    let key = async |name: &str| STATE_KEY_NID.get(&tx, (name,)).await.unwrap().unwrap();
    let place = Place {
        room: ROOM_NID.get(&tx, (RoomId::as_str(&story.room),)).await.unwrap().unwrap(),
        event: EVENT_NID.get(&tx, (story.sent[0].as_str(),)).await.unwrap().unwrap(),
        alice: key("@alice:example.org").await,
        bob: key("@bob:example.org").await,
        server: key("example.org").await,
        store: store.clone(),
    };
    assert_eq!(checked(&store).await.kept(), []);
    place
}

/// Damages a fresh store; the check must find something in `table` that says `words`.
async fn found(table: &str, words: &str, damage: impl AsyncFn(&Transaction, &Place)) {
    let place = place().await;
    let tx = place.store.begin();
    damage(&tx, &place).await;
    tx.commit().await.unwrap();
    let kept = checked(&place.store).await.kept();
    let fits = kept.iter().any(|finding| finding.table == format!("rooms/{table}") && finding.what.contains(words));
    assert!(fits, "{table}: {words}: {kept:#?}");
}

const NONE: EventNid = EventNid(9_999_999);

fn never() -> Versionstamp {
    first_stamp(3)
}

#[tokio::test]
async fn every_damage_to_names_is_found() {
    let room = RoomNid(70_000);
    found("room_nid", "no such room", async |tx, _| ROOM_NID.set(tx, ("!x:y",), &room)).await;
    found("room", "cannot be found by its id", async |tx, _| ROOM_NID.clear_prefix(tx, ())).await;
    found("room", "given away again", async |tx, _| NEXT_ID.set(tx, (Kind::Room as u64,), &1)).await;
    found("event_nid", "no such event", async |tx, place| EVENT.clear(tx, (place.event,))).await;
    found("type_nid", "which is another", async |tx, _| TYPE_NID.set(tx, ("x.y",), &TypeNid(80_000))).await;
    found("type", "cannot be found", async |tx, _| TYPE.set(tx, (TypeNid(65_536),), &"x.y".into())).await;
    found("key_nid", "which is another", async |tx, place| STATE_KEY.clear(tx, (place.bob,))).await;
    found("key", "cannot be found", async |tx, _| STATE_KEY_NID.clear(tx, ("@bob:example.org",))).await;
    found("event", "given away again", async |tx, _| NEXT_ID.clear(tx, (Kind::Event as u64,))).await;
}

#[tokio::test]
async fn every_damage_to_events_is_found() {
    let missing = async |tx: &Transaction, place: &Place| EVENT.clear(tx, (place.event,));
    for table in ["event_at", "timeline", "local", "stream", "relation", "annotation", "thread", "thread_at"] {
        found(table, "missing", missing).await;
    }
    found("event", "cannot be found by its id", async |tx, _| EVENT_NID.clear_prefix(tx, ())).await;
    found("event", "which is missing", async |tx, place| ROOM.clear(tx, (place.room,))).await;
    found("event", "does not stand", async |tx, place| TIMELINE.clear_prefix(tx, (place.room,))).await;
    found("event", "does not stand", async |tx, place| EVENT_AT.clear(tx, (place.event,))).await;
    found("event", "replaces one that is missing", async |tx, place| {
        let mut event = EVENT.get(tx, (place.event,)).await.unwrap().unwrap();
        event.replaces = Some(NONE);
        EVENT.set(tx, (place.event,), &event);
    })
    .await;
    found("timeline", "stands elsewhere", async |tx, place| EVENT_AT.set(tx, (place.event,), &never())).await;
    found("timeline", "has no name", async |tx, place| STATE_KEY.clear(tx, (place.alice,))).await;
    found("timeline", "has no name", async |tx, _| TYPE.clear_prefix(tx, ())).await;
    found("stream_head", "is behind", async |tx, _| STREAM_HEAD.set(tx, (0,), &never())).await;
    found("room_head", "is behind", async |tx, place| ROOM_HEAD.set(tx, (place.room,), &never())).await;
    found("room_head", "is missing", async |tx, place| ROOM.clear(tx, (place.room,))).await;
    found("room_head", "no forward extremity", async |tx, _| EXTREMITY.clear_prefix(tx, ())).await;
    found("extremity", "is missing", async |tx, place| EXTREMITY.set(tx, (place.room, NONE), &())).await;
    found("transaction", "is missing", async |tx, place| {
        TRANSACTION.set(tx, (place.bob, "PHONE", "t"), &NONE);
    })
    .await;
    found("event", "does not decode", async |tx, place| tx.set(&EVENT.pack(&(place.event,)), b"?")).await;
    // What is no part of the timeline needs no place there.
    let place = place().await;
    let tx = place.store.begin();
    let mut event = EVENT.get(&tx, (place.event,)).await.unwrap().unwrap();
    event.outcome = Outcome::Rejected;
    EVENT.set(&tx, (place.event,), &event);
    EVENT_AT.clear(&tx, (place.event,));
    tx.commit().await.unwrap();
    let kept = checked(&place.store).await.kept();
    assert!(kept.iter().all(|finding| !finding.what.contains("does not stand")), "{kept:#?}");
}

#[tokio::test]
async fn every_damage_to_state_is_found() {
    let topic = async |tx: &Transaction| {
        let nid = TYPE_NID.get(tx, ("m.room.topic",)).await.unwrap().unwrap();
        (nid, StateKeyNid::EMPTY)
    };
    found("state", "is missing or in another room", async |tx, place| {
        let (event_type, key) = topic(tx).await;
        STATE.set(tx, (place.room, event_type, key), &NONE);
    })
    .await;
    found("state", "of another type or key", async |tx, place| {
        let (event_type, key) = topic(tx).await;
        STATE.set(tx, (place.room, event_type, key), &place.event);
    })
    .await;
    found("state", "not the newest in its history", async |tx, place| {
        let (event_type, key) = topic(tx).await;
        STATE_AT.clear_prefix(tx, (place.room, event_type, key));
    })
    .await;
    found("state_at", "which is missing", async |tx, place| {
        STATE_AT.set(tx, (place.room, TypeNid::MEMBER, place.bob, &never()), &NONE);
    })
    .await;
    found("state_log", "not in the state's history", async |tx, place| {
        STATE_AT.clear_prefix(tx, (place.room, TypeNid::MEMBER, place.bob));
    })
    .await;
    found("state_before", "which is missing", async |tx, place| {
        STATE_BEFORE.set(tx, (place.room, place.event), &SnapshotId(5));
    })
    .await;
    found("snapshot", "needs block 7", async |tx, place| {
        let snapshot = Snapshot { count: 1, blocks: vec![BlockRef { id: BlockId(7), len: 1 }] };
        STATE_SNAPSHOT.set(tx, (place.room, SnapshotId(5)), &snapshot);
    })
    .await;
}

#[tokio::test]
async fn every_damage_to_members_is_found() {
    let leave = async |tx: &Transaction, place: &Place| {
        let mut record = MEMBER.get(tx, (place.room, place.bob)).await.unwrap().unwrap();
        record.membership = Membership::Leave;
        record
    };
    found("member", "on the user's side", async |tx, place| MEMBERSHIP.clear(tx, (place.bob, place.room))).await;
    found("member", "which is missing", async |tx, place| {
        let record = MEMBER.get(tx, (place.room, place.bob)).await.unwrap().unwrap();
        EVENT.clear(tx, (record.event,));
    })
    .await;
    found("member", "its event says otherwise", async |tx, place| {
        let record = leave(tx, place).await;
        MEMBER.set(tx, (place.room, place.bob), &record);
    })
    .await;
    found("member", "not the newest", async |tx, place| {
        STATE_AT.clear_prefix(tx, (place.room, TypeNid::MEMBER, place.bob));
    })
    .await;
    found("membership", "is not that in the room", async |tx, place| {
        let record = leave(tx, place).await;
        MEMBERSHIP.set(tx, (place.bob, place.room), &record);
    })
    .await;
    found("membership", "is not that in the room", async |tx, place| {
        SERVER_USERS.clear(tx, (place.room, place.server));
    })
    .await;
    found("membership", "which is missing", async |tx, place| ROOM.clear(tx, (place.room,))).await;
    found("membership_log", "which is missing", async |tx, place| {
        let record = MEMBER.get(tx, (place.room, place.bob)).await.unwrap().unwrap();
        EVENT.clear(tx, (record.event,));
    })
    .await;
    found("local_member", "is not joined", async |tx, place| {
        let record = leave(tx, place).await;
        MEMBER.set(tx, (place.room, place.bob), &record);
    })
    .await;
    found("local_member", "which is another", async |tx, place| {
        let member = LocalMember { user_id: "@x:example.org".into(), displayname: None };
        LOCAL_MEMBER.set(tx, (place.room, place.bob), &member);
    })
    .await;
    found("local_member", "would not be notified", async |tx, place| {
        LOCAL_MEMBER.clear(tx, (place.room, place.bob));
    })
    .await;
    found("server_users", "is not in it", async |tx, place| MEMBERSHIP.clear(tx, (place.server, place.room))).await;
    found("server_users", "counts its servers' users", async |tx, place| {
        SERVER_USERS.set(tx, (place.room, place.server), &2);
    })
    .await;
    for (kind, words) in
        [(counter::JOINED, "joined members"), (counter::INVITED, "invited members"), (counter::EVENTS, "events")]
    {
        found("counter", words, async |tx, place| COUNTER.add(tx, (place.room, kind), 1)).await;
    }
}

#[tokio::test]
async fn every_damage_to_relations_and_the_directory_is_found() {
    found("touched", "nothing stands", async |tx, place| TOUCHED.set(tx, (place.room, &never()), &())).await;
    found("redaction", "one of them is missing", async |tx, place| REDACTION.set(tx, (place.event,), &NONE)).await;
    found("thread", "newest event that is missing", async |tx, place| {
        let mut thread = THREAD.get(tx, (place.room, place.event)).await.unwrap().unwrap();
        thread.latest = Some(NONE);
        THREAD.set(tx, (place.room, place.event), &thread);
    })
    .await;
    found("thread", "not in the list", async |tx, place| THREAD_ORDER.clear_prefix(tx, (place.room,))).await;
    found("thread_order", "does not stand", async |tx, place| {
        THREAD_ORDER.set(tx, (place.room, &never()), &place.event);
    })
    .await;
    found("alias", "which is missing", async |tx, place| ROOM.clear(tx, (place.room,))).await;
    found("alias", "not in the list", async |tx, place| ROOM_ALIAS.clear_prefix(tx, (place.room,))).await;
    found("room_alias", "is not its alias", async |tx, _| {
        ALIAS.set(tx, ("#first:example.org",), &AliasRecord { room: RoomNid(1), creator: String::new() });
    })
    .await;
    found("published", "missing", async |tx, _| PUBLISHED.set(tx, (RoomNid(1),), &())).await;
    found("notification", "it is missing", async |tx, place| {
        let first = NOTIFICATION.scan((place.bob, place.room)).first(tx).await.unwrap();
        let (_, unread) = first.expect("Bob has something unread");
        EVENT.clear(tx, (unread.event,));
    })
    .await;
}
