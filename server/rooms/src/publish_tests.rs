//! What publication writes: state and its history, counters, redactions, threads, annotations; special events.

use std::collections::BTreeMap;

use hearth_store::Versionstamp;
use proptest::prelude::*;
use ruma::{EventId, OwnedEventId, OwnedRoomId, RoomId};
use serde_json::{Value, json};

use crate::{
    EventNid, RoomError, RoomNid, Rooms, StateKeyNid, TypeNid,
    keys::{
        COUNTER, EVENT, EVENT_AT, EXTREMITY, LOCAL, MEMBER, NOTIFICATION, REDACTION, ROOM, ROOM_HEAD, STATE, STATE_AT,
        STATE_LOG, STREAM, STREAM_HEAD, THREAD, THREAD_AT, THREAD_ORDER, TIMELINE,
    },
    membership::Change,
    publish::counter,
    send::Draft,
    testing::{VERSIONS, draft, rooms, user, with_transaction},
};

/// A step of a random story.
#[derive(Debug, Clone)]
enum Step {
    Message {
        sender: usize,
    },
    State {
        sender: usize,
        event_type: usize,
        key: usize,
        value: u8,
    },
    Change {
        sender: usize,
        target: usize,
        change: Change,
    },
    /// Both at once, so that they share a transaction.
    Together(Box<(Step, Step)>),
}

const USERS: [&str; 4] = ["alice", "bob", "carol", "dora"];

fn step() -> impl Strategy<Value = Step> {
    let change = prop_oneof![
        Just(Change::Join),
        Just(Change::Leave),
        Just(Change::Invite),
        Just(Change::Kick),
        Just(Change::Ban),
        Just(Change::Unban)
    ];
    let simple =
        prop_oneof![
            (0..4_usize).prop_map(|sender| Step::Message { sender }),
            (0..4_usize, 0..3_usize, 0..3_usize, any::<u8>())
                .prop_map(|(sender, event_type, key, value)| Step::State { sender, event_type, key, value: value % 3 }),
            (0..4_usize, 0..4_usize, change).prop_map(|(sender, target, change)| {
                let sender = if matches!(change, Change::Join | Change::Leave) { target } else { sender };
                Step::Change { sender, target, change }
            }),
        ];
    simple.clone().prop_recursive(1, 2, 2, move |_| {
        (simple.clone(), simple.clone()).prop_map(|pair| Step::Together(Box::new(pair)))
    })
}

async fn take(rooms: &Rooms, room: &RoomId, step: &Step) {
    // Refusals are part of the story.
    match step {
        Step::Message { sender } => {
            let _ = rooms.send_for_test(room, USERS[*sender], "m.room.message", json!({ "body": "x" })).await;
        }
        Step::State { sender, event_type, key, value } => {
            let event_type = ["m.room.topic", "x.one", "x.two"][*event_type];
            let key = ["", "a", "b"][*key];
            let _ = rooms.state_for_test(room, USERS[*sender], event_type, key, json!({ "value": value })).await;
        }
        Step::Change { sender, target, change } => {
            let _ = rooms.change_for_test(room, USERS[*sender], USERS[*target], *change).await;
        }
        Step::Together(pair) => {
            tokio::join!(Box::pin(take(rooms, room, &pair.0)), Box::pin(take(rooms, room, &pair.1)));
        }
    }
}

async fn nid_of(rooms: &Rooms, room: &RoomId) -> RoomNid {
    rooms.find_room(&rooms.store.begin(), room).await.unwrap().unwrap()
}

/// Current state and everything derived from the timeline agree with its history.
async fn check_room(rooms: &Rooms, room: RoomNid) {
    let tx = rooms.store.begin();
    let mut replayed: BTreeMap<(TypeNid, StateKeyNid), EventNid> = BTreeMap::new();
    let mut last: BTreeMap<(TypeNid, StateKeyNid), Versionstamp> = BTreeMap::new();
    for ((_, at), change) in STATE_LOG.scan((room,)).all(&tx).await.unwrap() {
        let key = (change.event_type, change.state_key);
        assert_eq!(replayed.insert(key, change.event), change.replaces);
        last.insert(key, at);
    }
    let mut current: BTreeMap<(TypeNid, StateKeyNid), EventNid> = BTreeMap::new();
    for ((_, event_type, key), event) in STATE.scan((room,)).all(&tx).await.unwrap() {
        current.insert((event_type, key), event);
    }
    for ((_, user), record) in MEMBER.scan((room,)).all(&tx).await.unwrap() {
        current.insert((TypeNid::MEMBER, user), record.event);
    }
    assert_eq!(current, replayed, "current state is the replay of its log");
    for ((event_type, key), at) in last {
        let history = STATE_AT.scan((room, event_type, key)).reverse().first(&tx).await.unwrap().unwrap();
        assert_eq!((history.0.3, history.1), (at, replayed[&(event_type, key)]));
    }

    let timeline = TIMELINE.scan((room,)).all(&tx).await.unwrap();
    let mut messages = 0;
    for ((_, at), entry) in &timeline {
        assert_eq!(EVENT_AT.get(&tx, (entry.event,)).await.unwrap().as_ref(), Some(at));
        let event = rooms.stored_event(&tx, entry.event).await.unwrap();
        messages += u64::from(event.pdu.event_type.to_string() == "m.room.message");
    }
    let local: Vec<EventNid> =
        LOCAL.scan((room,)).all(&tx).await.unwrap().into_iter().map(|(_, event)| event).collect();
    assert_eq!(local, timeline.iter().map(|(_, entry)| entry.event).collect::<Vec<_>>());
    let streamed = STREAM.scan(()).all(&tx).await.unwrap();
    let in_room: Vec<EventNid> =
        streamed.iter().filter(|(_, entry)| entry.room == room).map(|(_, entry)| entry.event).collect();
    assert_eq!(in_room, local);
    assert_eq!(STREAM_HEAD.get(&tx, (0,)).await.unwrap().as_ref(), streamed.last().map(|((at,), _)| at));
    assert_eq!(ROOM_HEAD.get(&tx, (room,)).await.unwrap().as_ref(), timeline.last().map(|((_, at), _)| at));
    let ends = EXTREMITY.scan((room,)).all(&tx).await.unwrap();
    assert_eq!(ends.len(), 1);
    assert_eq!(ends[0].0.1, timeline.last().unwrap().1.event);
    let record = ROOM.get(&tx, (room,)).await.unwrap().unwrap();
    assert_eq!(record.depth, timeline.len() as u64);
    assert_eq!(record.revision, STATE_LOG.scan((room,)).all(&tx).await.unwrap().len() as u64);
    for (kind, expected) in [(counter::EVENTS, timeline.len() as u64), (counter::MESSAGES, messages)] {
        assert_eq!(COUNTER.get(&tx, (room, kind)).await.unwrap().unwrap_or(0), expected);
        assert_eq!(COUNTER.get(&tx, (counter::ALL_ROOMS, kind)).await.unwrap().unwrap_or(0), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn state_is_the_replay_of_its_history(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let rooms = rooms();
            let body = json!({
                "preset": "public_chat", "power_level_content_override": { "events": { "m.room.topic": 0 } },
            });
            let room = rooms.create_for_test("alice", body).await.unwrap();
            for step in &steps {
                take(&rooms, &room, step).await;
            }
            check_room(&rooms, nid_of(&rooms, &room).await).await;
        });
    }
}

/// A room of Alice (creator), the moderator (power 50, may redact) and Bob.
async fn small_room(rooms: &Rooms, version: &str) -> OwnedRoomId {
    let users = match version {
        "12" => json!({ "@moderator:example.org": 50 }),
        _ => json!({ "@moderator:example.org": 50, "@alice:example.org": 100 }),
    };
    let body = json!({
        "preset": "public_chat", "room_version": version, "power_level_content_override": { "users": users },
    });
    let room = rooms.create_for_test("alice", body).await.unwrap();
    for name in ["moderator", "bob"] {
        rooms.change_for_test(&room, name, name, Change::Join).await.unwrap();
    }
    room
}

fn redaction(target: &EventId) -> Draft {
    Draft { redacts: Some(target.to_owned()), ..draft("m.room.redaction", None, json!({ "reason": "r" })) }
}

/// Whether redactions name their target in their content.
fn in_content(version: &str) -> bool {
    matches!(version, "11" | "12")
}

type Refusal = fn(&RoomError) -> bool;

#[tokio::test]
async fn redactions_by_version_and_power() {
    for version in VERSIONS {
        let rooms = rooms();
        let room = small_room(&rooms, version).await;
        let other = small_room(&rooms, version).await;
        let nid = nid_of(&rooms, &room).await;
        let message = async |sender: &str, body: &str| {
            rooms.send_for_test(&room, sender, "m.room.message", json!({ "body": body })).await.unwrap()
        };
        let redact = async |sender: &str, target: &EventId| rooms.send(&room, &user(sender), redaction(target)).await;

        let (of_alice, of_bob) = (message("alice", "secret of alice").await, message("bob", "secret of bob").await);
        let create = {
            let tx = rooms.store.begin();
            let first = TIMELINE.scan((nid,)).first(&tx).await.unwrap().unwrap().1.event;
            rooms.stored_event(&tx, first).await.unwrap().pdu.event_id.clone()
        };
        let elsewhere = rooms.send_for_test(&other, "bob", "m.room.message", json!({})).await.unwrap();
        let cases: [(&str, &EventId, Refusal); 6] = [
            ("bob", &of_alice, |error| matches!(error, RoomError::Forbidden(_))),
            ("stranger", &of_bob, |error| matches!(error, RoomError::Forbidden(_))),
            ("alice", &create, |error| matches!(error, RoomError::Forbidden(_))),
            ("bob", &elsewhere, |error| matches!(error, RoomError::EventNotFound)),
            ("alice", ruma::event_id!("$nothing"), |error| matches!(error, RoomError::EventNotFound)),
            ("stranger", ruma::event_id!("$nothing"), |error| matches!(error, RoomError::Forbidden(_))),
        ];
        for (sender, target, expected) in cases {
            let error = redact(sender, target).await.unwrap_err();
            assert!(expected(&error), "version {version}: {sender} {target}: {error:?}");
        }
        let own = redact("bob", &of_bob).await.unwrap();
        let by_power = redact("moderator", &of_alice).await.unwrap();
        redact("alice", &of_alice).await.unwrap();

        let tx = rooms.store.begin();
        for (target, by, secret) in [(&of_bob, &own, "bob"), (&of_alice, &by_power, "alice")] {
            let (event, at) = rooms.locate_event(&tx, nid, target).await.unwrap();
            let record = EVENT.get(&tx, (event.nid,)).await.unwrap().unwrap();
            assert!(!record.json.contains("secret"), "version {version}: {secret}'s text is gone from the disk");
            let redacted_by = REDACTION.get(&tx, (event.nid,)).await.unwrap().unwrap();
            let redacting = rooms.stored_event(&tx, redacted_by).await.unwrap();
            assert_eq!(&redacting.pdu.event_id, by, "version {version}: the first redaction stays");
            assert_eq!(redacting.pdu.redacts.as_ref(), Some(target), "version {version}");
            let json: Value = serde_json::from_str(&redacting.pdu.json).unwrap();
            let (top, content) = (json.get("redacts").is_some(), json["content"].get("redacts").is_some());
            assert_eq!((top, content), if in_content(version) { (false, true) } else { (true, false) }, "{version}");
            for name in ["alice", "bob", "moderator"] {
                let user = rooms.find_state_key(&tx, user(name).as_str()).await.unwrap().unwrap();
                let unread = NOTIFICATION.get(&tx, (user, nid, &at)).await.unwrap();
                assert!(unread.is_none(), "version {version}: nothing that is redacted is unread");
            }
        }
    }
}

#[tokio::test]
async fn redactions_through_send() {
    for version in VERSIONS {
        let rooms = rooms();
        let room = small_room(&rooms, version).await;
        let message = rooms.send_for_test(&room, "bob", "m.room.message", json!({ "body": "x" })).await.unwrap();
        let content = json!({ "redacts": message, "reason": "r" });
        let sent = rooms.send_for_test(&room, "bob", "m.room.redaction", content).await.unwrap();
        let tx = rooms.store.begin();
        let (event, _) = rooms.locate_event(&tx, nid_of(&rooms, &room).await, &sent).await.unwrap();
        assert_eq!(event.pdu.redacts.as_ref(), Some(&message), "version {version}");
        let json: Value = serde_json::from_str(&event.pdu.json).unwrap();
        assert_eq!(json.get("redacts").is_some(), !in_content(version), "version {version}");
        assert_eq!(json["content"].get("redacts").is_some(), in_content(version), "version {version}");
        let nothing = rooms.send_for_test(&room, "bob", "m.room.redaction", json!({})).await;
        assert!(matches!(nothing, Err(RoomError::BadRequest(_))), "version {version}: {nothing:?}");
    }
}

fn thread(root: &EventId) -> Value {
    json!({ "body": "t", "m.relates_to": { "rel_type": "m.thread", "event_id": root } })
}

#[tokio::test]
async fn threads_grow_and_shrink() {
    let rooms = rooms();
    let room = small_room(&rooms, "12").await;
    let nid = nid_of(&rooms, &room).await;
    let send = async |sender: &str, content: Value| {
        rooms.send_for_test(&room, sender, "m.room.message", content).await.unwrap()
    };
    let root = send("alice", json!({ "body": "root" })).await;
    let other = send("alice", json!({ "body": "other root" })).await;
    let first = send("bob", thread(&root)).await;
    send("bob", thread(&other)).await;
    // In one transaction.
    let (second, third) = tokio::join!(send("bob", thread(&root)), send("moderator", thread(&root)));
    check_thread(&rooms, nid, &root, &["alice", "bob", "moderator"], &[&first, &second, &third]).await;
    let redact = async |target: &EventId| rooms.send(&room, &user("moderator"), redaction(target)).await.unwrap();
    redact(&second).await;
    check_thread(&rooms, nid, &root, &["alice", "bob", "moderator"], &[&first, &third]).await;
    redact(&third).await;
    check_thread(&rooms, nid, &root, &["alice", "bob", "moderator"], &[&first]).await;
    redact(&first).await;
    redact(&first).await;
    check_thread(&rooms, nid, &root, &[], &[]).await;
    let again = send("bob", thread(&root)).await;
    check_thread(&rooms, nid, &root, &["alice", "bob"], &[&again]).await;

    let nested = rooms.send_for_test(&room, "bob", "m.room.message", thread(&again)).await;
    assert!(matches!(nested, Err(RoomError::BadRequest(_))), "no thread begins inside one: {nested:?}");
    // An unknown root makes no thread, and no error either.
    send("bob", thread(ruma::event_id!("$unknown"))).await;
}

async fn check_thread(rooms: &Rooms, room: RoomNid, root: &EventId, who: &[&str], events: &[&OwnedEventId]) {
    let tx = rooms.store.begin();
    let (root, _) = rooms.locate_event(&tx, room, root).await.unwrap();
    let record = THREAD.get(&tx, (room, root.nid)).await.unwrap().unwrap_or_default();
    assert_eq!(record.count, events.len() as u64);
    let mut participants = Vec::new();
    for participant in record.participants {
        participants.push(rooms.state_key_name(&tx, participant).await.unwrap().to_string());
    }
    participants.sort();
    assert_eq!(participants, who.iter().map(|name| user(name).to_string()).collect::<Vec<_>>());
    let at = THREAD_AT.get(&tx, (root.nid,)).await.unwrap();
    match events.last() {
        Some(last) => {
            let (last, stands_at) = rooms.locate_event(&tx, room, last).await.unwrap();
            assert_eq!((record.latest, at.as_ref()), (Some(last.nid), Some(&stands_at)));
        }
        None => assert_eq!((record.latest, &at), (None, &None)),
    }
    let order = THREAD_ORDER.scan((room,)).all(&tx).await.unwrap();
    let own: Vec<Versionstamp> =
        order.into_iter().filter(|(_, event)| *event == root.nid).map(|((_, at), _)| at).collect();
    assert_eq!(own, at.into_iter().collect::<Vec<_>>(), "a thread stands in the list once");
}

#[tokio::test]
async fn annotations_are_not_doubled() {
    let rooms = rooms();
    let room = small_room(&rooms, "12").await;
    let message = rooms.send_for_test(&room, "alice", "m.room.message", json!({ "body": "x" })).await.unwrap();
    let react = async |sender: &str, event_type: &str, key: &str| {
        let relation = json!({ "rel_type": "m.annotation", "event_id": message, "key": key });
        rooms.send_for_test(&room, sender, event_type, json!({ "m.relates_to": relation })).await
    };
    let first = react("bob", "m.reaction", "👍").await.unwrap();
    let is_double = |outcome: &Result<_, _>| matches!(outcome, Err(RoomError::DuplicateAnnotation));
    for (sender, event_type, key, double) in [
        ("bob", "m.reaction", "👍", true),
        ("alice", "m.reaction", "👍", false),
        ("bob", "m.reaction", "👎", false),
        ("bob", "x.reaction", "👍", false),
        ("bob", "x.reaction", "👍", true),
    ] {
        let outcome = react(sender, event_type, key).await;
        assert_eq!(is_double(&outcome), double, "{sender} {event_type} {key}: {outcome:?}");
    }
    rooms.send(&room, &user("bob"), redaction(&first)).await.unwrap();
    react("bob", "m.reaction", "👍").await.unwrap();
    let (a, b) = tokio::join!(react("bob", "m.reaction", "at once"), react("bob", "m.reaction", "at once"));
    assert!(is_double(&a) != is_double(&b), "{a:?} {b:?}");
    // Very long keys are not indexed, but sent.
    react("bob", "m.reaction", &"x".repeat(20_000)).await.unwrap();
    let relation = json!({ "rel_type": "x".repeat(20_000), "event_id": message });
    rooms.send_for_test(&room, "bob", "x.related", json!({ "m.relates_to": relation })).await.unwrap();
}

#[tokio::test]
async fn state_that_changes_nothing_is_not_sent() {
    let rooms = rooms();
    let room = small_room(&rooms, "12").await;
    let name =
        async |sender: &str, content: Value| rooms.state_for_test(&room, sender, "m.room.name", "", content).await;
    let first = name("alice", json!({ "name": "a", "x": 1 })).await.unwrap();
    assert_eq!(name("alice", json!({ "x": 1, "name": "a" })).await.unwrap(), first, "in any spelling");
    let second = name("moderator", json!({ "name": "a", "x": 1 })).await.unwrap();
    assert_ne!(second, first, "by another sender it is news");
    assert_ne!(name("moderator", json!({ "name": "b" })).await.unwrap(), second);
    let refused = name("bob", json!({ "name": "b" })).await;
    assert!(matches!(refused, Err(RoomError::Forbidden(_))), "who may not send it learns nothing");
}

type Check = fn(&Result<OwnedEventId, RoomError>) -> bool;

#[tokio::test]
async fn special_events() {
    let rooms = rooms();
    let room = small_room(&rooms, "12").await;
    let other = small_room(&rooms, "12").await;
    let alice = user("alice");
    for (alias, target) in [("#here:example.org", &room), ("#there:example.org", &other)] {
        rooms.create_alias(<&ruma::RoomAliasId>::try_from(alias).unwrap(), target, &alice).await.unwrap();
    }
    let fine: Check = |outcome| outcome.is_ok();
    let bad_request: Check = |outcome| matches!(outcome, Err(RoomError::BadRequest(_)));
    let forbidden: Check = |outcome| matches!(outcome, Err(RoomError::Forbidden(_)));
    let bad_alias: Check = |outcome| matches!(outcome, Err(RoomError::BadAlias(_)));
    let invalid: Check = |outcome| matches!(outcome, Err(RoomError::InvalidParam(_)));
    let too_large: Check = |outcome| matches!(outcome, Err(RoomError::TooLarge(_)));
    let canonical = "m.room.canonical_alias";
    let levels = "m.room.power_levels";
    let cases: Vec<(&str, Option<&str>, Value, Check)> = vec![
        (canonical, Some(""), json!({ "alias": "#here:example.org" }), fine),
        (canonical, Some(""), json!({ "alias": "#there:example.org" }), bad_alias),
        (canonical, Some(""), json!({ "alias": "#nowhere:example.org" }), bad_alias),
        (canonical, Some(""), json!({ "alias": "#far:elsewhere.example" }), bad_alias),
        (canonical, Some(""), json!({ "alias": "nonsense" }), invalid),
        (canonical, Some(""), json!({ "alias": 1 }), bad_request),
        (canonical, Some(""), json!({ "alt_aliases": ["#here:example.org", "#there:example.org"] }), bad_alias),
        (canonical, Some(""), json!({ "alt_aliases": ["#here:example.org"] }), fine),
        (canonical, Some(""), json!({ "alias": "", "alt_aliases": [] }), fine),
        (canonical, Some(""), json!({ "alias": null }), fine),
        (levels, Some(""), json!({ "ban": "50" }), bad_request),
        (levels, Some(""), json!({ "ban": 50.5 }), bad_request),
        (levels, Some(""), json!({ "users": [] }), bad_request),
        (levels, Some(""), json!({ "users": { "bob": 1 } }), bad_request),
        (levels, Some(""), json!({ "events": { "m.room.name": "1" } }), bad_request),
        (levels, Some(""), json!({ "users": { "@alice:example.org": 1 } }), forbidden),
        (levels, Some(""), json!({ "users": { "@moderator:example.org": 50 }, "x": "y" }), fine),
        ("m.room.join_rules", Some(""), json!({}), bad_request),
        ("m.room.history_visibility", Some(""), json!({ "history_visibility": "nobody" }), bad_request),
        ("m.room.create", Some(""), json!({ "room_version": "12" }), forbidden),
        ("m.room.create", None, json!({}), forbidden),
        ("m.room.message", None, json!({ "body": 1.5 }), bad_request),
        ("m.room.message", None, json!({ "body": "x".repeat(65_536) }), too_large),
        ("x.state", Some("@bob:example.org"), json!({}), forbidden),
    ];
    for (event_type, state_key, content, expected) in cases {
        let before = rooms.store.current_version().await.unwrap();
        let outcome = rooms.send(&room, &alice, draft(event_type, state_key, content.clone())).await;
        let case: String = format!("{event_type} {content}").chars().take(100).collect();
        assert!(expected(&outcome), "{case}: {outcome:?}");
        let after = rooms.store.current_version().await.unwrap();
        assert!(outcome.is_ok() || after == before, "{case}: a refusal changes nothing");
    }
    let long = "x".repeat(256);
    for (outcome, expected) in [
        (rooms.send(&room, &alice, draft(&long, None, json!({}))).await, too_large),
        (rooms.send(&room, &alice, draft("x", Some(&long), json!({}))).await, too_large),
        (rooms.send(&room, &alice, with_transaction(draft("x", None, json!({})), "D", &long)).await, invalid),
        (rooms.send(ruma::room_id!("!nowhere:example.org"), &alice, draft("x", None, json!({}))).await, forbidden),
    ] {
        assert!(expected(&outcome), "{outcome:?}");
    }
    check_room_alone(&rooms, &room).await;
}

/// [`check_room`] without the sums over all rooms.
async fn check_room_alone(rooms: &Rooms, room: &RoomId) {
    let tx = rooms.store.begin();
    let nid = rooms.find_room(&tx, room).await.unwrap().unwrap();
    let timeline = TIMELINE.scan((nid,)).all(&tx).await.unwrap().len() as u64;
    assert_eq!(COUNTER.get(&tx, (nid, counter::EVENTS)).await.unwrap(), Some(timeline));
}
