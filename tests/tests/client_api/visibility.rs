//! [History visibility](https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility) and membership on
//! every endpoint that returns events or state.
//!
//! A room lives through five stages. In each of them the same message, state event and relations are sent, and between them
//! the memberships change. What each user may see follows from the rules as the specification words them, in [`Case::sees`].

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::{User, encode, find, ids, list, server};

const STAGES: usize = 5;
const VISIBILITIES: [&str; 4] = ["world_readable", "shared", "invited", "joined"];

/// Who reads, with the membership in each stage.
const READERS: [(&str, [&str; STAGES]); 10] = [
    ("stranger", ["", "", "", "", ""]),
    ("invited", ["", "invite", "invite", "invite", "invite"]),
    ("rejected", ["", "invite", "leave", "leave", "leave"]),
    ("knocked", ["", "knock", "knock", "knock", "knock"]),
    ("joined", ["", "invite", "join", "join", "join"]),
    ("left", ["", "invite", "join", "leave", "leave"]),
    ("kicked", ["", "invite", "join", "leave", "leave"]),
    ("banned", ["", "invite", "join", "ban", "ban"]),
    ("outlaw", ["", "ban", "ban", "ban", "ban"]),
    ("rejoined", ["", "invite", "join", "leave", "join"]),
];

/// What is sent in a stage.
struct Stage {
    message: String,
    /// `x.stage`, with the stage's number as content.
    state: String,
    /// Replies in the thread of each earlier message, by stage of that message.
    replies: Vec<String>,
}

struct Case<'a> {
    visibility: &'a str,
    room: &'a str,
    stages: &'a [Stage],
    /// The reader's membership in each stage.
    membership: [&'a str; STAGES],
}

impl Case<'_> {
    /// The rules of the specification, in their order.
    fn sees(&self, stage: usize) -> bool {
        self.visibility == "world_readable"
            || self.membership[stage] == "join"
            || self.visibility == "shared" && self.membership[stage + 1..].contains(&"join")
            || self.visibility == "invited" && self.membership[stage] == "invite"
    }

    /// The stages of which the reader may see what was sent.
    fn visible(&self) -> Vec<usize> {
        (0..STAGES).filter(|stage| self.sees(*stage)).collect()
    }

    /// The last stage of the state that the reader may read: members the current state, former members that of when they
    /// left, others none unless everybody may.
    fn state(&self) -> Option<usize> {
        match self.membership.iter().rposition(|membership| *membership == "join") {
            Some(stage) => Some(stage),
            None => (self.visibility == "world_readable").then_some(STAGES - 1),
        }
    }

    fn is_joined(&self) -> bool {
        self.membership[STAGES - 1] == "join"
    }

    /// Whether the state of a stage is the reader's business: they may see the event that set it, or it was there while
    /// they were a member, or is what they may read now.
    fn knows_state(&self, stage: usize) -> bool {
        self.sees(stage) || self.membership.get(stage + 1) == Some(&"join") || self.state() == Some(stage)
    }

    /// Whatever a response holds, and however deep: nothing of a stage that the reader may not see.
    fn leaks(&self, answer: &Value) -> Option<String> {
        let text = answer.to_string();
        let secrets = (0..STAGES).filter(|stage| !self.sees(*stage)).map(|stage| format!("secret of stage {stage}"));
        let state =
            (0..STAGES).filter(|stage| !self.knows_state(*stage)).map(|stage| format!("state of stage {stage}"));
        secrets.chain(state).find(|secret| text.contains(secret))
    }
}

/// Alice's room of a visibility, and everybody in it.
async fn live(alice: &User<'_>, readers: &BTreeMap<&str, User<'_>>, visibility: &str) -> (String, Vec<Stage>) {
    let state = |event_type: &str, field: &str, value: &str| json!({ "type": event_type, "content": { field: value } });
    let room = alice
        .create(json!({
            "initial_state": [
                state("m.room.history_visibility", "history_visibility", visibility),
                state("m.room.join_rules", "join_rule", "knock"),
            ],
        }))
        .await;
    let mut stages: Vec<Stage> = Vec::new();
    for number in 0..STAGES {
        for (name, membership) in READERS {
            let reader = &readers[name];
            let before = number.checked_sub(1).map_or("", |before| membership[before]);
            match (before, membership[number]) {
                (before, now) if before == now => {}
                (_, "invite") => alice.act(&room, "invite", reader).await,
                (_, "knock") => reader.own(&room, "knock").await,
                ("invite", "join") => reader.own(&room, "join").await,
                // Nobody may join without an invite: both happen in front of the stage.
                (_, "join") => alice.bring(&room, reader).await,
                (_, "ban") => alice.act(&room, "ban", reader).await,
                (_, _) if name == "kicked" => alice.act(&room, "kick", reader).await,
                _ => reader.own(&room, "leave").await,
            }
        }
        let message = alice.say(&room, &format!("secret of stage {number}")).await;
        let state = alice
            .set(&room, "x.stage", "", json!({ "number": number, "text": format!("state of stage {number}") }))
            .await;
        let mut replies = Vec::new();
        for root in &stages {
            let content = json!({
                "msgtype": "m.text",
                "body": format!("secret of stage {number}"),
                "m.relates_to": { "rel_type": "m.thread", "event_id": root.message },
            });
            replies.push(alice.send(&room, "m.room.message", content).await);
            let content = json!({
                "msgtype": "m.text",
                "body": "*",
                "m.new_content": { "msgtype": "m.text", "body": format!("secret of stage {number}") },
                "m.relates_to": { "rel_type": "m.replace", "event_id": root.message },
            });
            alice.send(&room, "m.room.message", content).await;
        }
        stages.push(Stage { message, state, replies });
    }
    (room, stages)
}

#[tokio::test]
async fn membership_decides_every_read() {
    let server = server().await;
    let alice = User::new(&server, "alice").await;
    let mut readers = BTreeMap::new();
    for (name, _) in READERS {
        readers.insert(name, User::new(&server, name).await);
    }
    for visibility in VISIBILITIES {
        let (room, stages) = live(&alice, &readers, visibility).await;
        for (name, membership) in READERS {
            let case = Case { visibility, room: &room, stages: &stages, membership };
            let reader = &readers[name];
            single_events(&case, reader).await;
            pages(&case, reader).await;
            relations(&case, reader).await;
            state(&case, reader).await;
            syncs(&case, reader).await;
        }
    }
}

/// `event` and `context`
async fn single_events(case: &Case<'_>, reader: &User<'_>) {
    let who = format!("{} in {}", reader.id(), case.visibility);
    for (number, stage) in case.stages.iter().enumerate() {
        for event in [&stage.message, &stage.state] {
            let (status, answer) = reader.get(&format!("rooms/{}/event/{event}", case.room)).await;
            if case.sees(number) {
                assert_eq!((status, answer["event_id"].as_str()), (200, Some(event.as_str())), "{who}: {answer}");
                assert_eq!(answer["room_id"], case.room);
            } else {
                assert_eq!(
                    (status, &answer["errcode"]),
                    (404, &json!("M_NOT_FOUND")),
                    "{who}, stage {number}: {answer}"
                );
            }
            assert_eq!(case.leaks(&answer), None, "{who}: {answer}");
        }
        let (status, answer) = reader.get(&format!("rooms/{}/context/{}?limit=100", case.room, stage.message)).await;
        if case.sees(number) {
            assert_eq!((status, answer["event"]["event_id"].as_str()), (200, Some(stage.message.as_str())), "{who}");
            let around: BTreeSet<&str> =
                ids(&answer["events_before"]).into_iter().chain(ids(&answer["events_after"])).collect();
            for other in case.visible().into_iter().filter(|other| *other != number) {
                assert!(around.contains(case.stages[other].message.as_str()), "{who}: stage {other} around {number}");
            }
            // The state at the last event, or that of when the reader left.
            let shown = find(&answer["state"], "x.stage", Some("")).map(|event| &event["content"]["number"]);
            assert_eq!(shown, case.state().map(|stage| json!(stage)).as_ref(), "{who}: {answer}");
        } else {
            assert!(matches!(status, 403 | 404), "{who}: {answer}");
        }
        assert_eq!(case.leaks(&answer), None, "{who}: {answer}");
    }
}

/// `messages` both ways, in one page and in many.
async fn pages(case: &Case<'_>, reader: &User<'_>) {
    let who = format!("{} in {}", reader.id(), case.visibility);
    let expected: Vec<&str> = case.visible().into_iter().map(|stage| case.stages[stage].message.as_str()).collect();
    for (direction, limit) in [("b", 100), ("f", 100), ("b", 3), ("f", 3)] {
        let path = format!("rooms/{}/messages?dir={direction}&limit={limit}", case.room);
        let mut from = String::new();
        let mut seen: Vec<String> = Vec::new();
        loop {
            let (status, page) = reader.get(&format!("{path}{from}")).await;
            if status == 403 && seen.is_empty() {
                assert_eq!(page["errcode"], "M_FORBIDDEN");
                assert!(expected.is_empty(), "{who} may see something: {page}");
                return;
            }
            assert_eq!(status, 200, "{who}: {page}");
            assert_eq!(case.leaks(&page), None, "{who}: {page}");
            seen.extend(ids(&page["chunk"]).into_iter().map(str::to_owned));
            match page["end"].as_str() {
                Some(end) => from = format!("&from={}", encode(end)),
                None => break,
            }
        }
        // Who never could see anything is no member, whichever way they ask.
        assert!(!expected.is_empty(), "{who} was let in");
        if direction == "b" {
            seen.reverse();
        }
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), seen.len(), "{who}: an event twice");
        let messages: Vec<&str> = seen.iter().map(String::as_str).filter(|id| expected.contains(id)).collect();
        assert_eq!(messages, expected, "{who}, {direction} by {limit}");
    }
}

/// `relations` in its three forms, and `threads`.
async fn relations(case: &Case<'_>, reader: &User<'_>) {
    let who = format!("{} in {}", reader.id(), case.visibility);
    for (number, stage) in case.stages.iter().enumerate().take(STAGES - 1) {
        for path in ["", "/m.thread", "/m.thread/m.room.message"] {
            let path = format!("/_matrix/client/v1/rooms/{}/relations/{}{path}?limit=50", case.room, stage.message);
            let (status, answer) = reader.get(&path).await;
            if !case.sees(number) {
                assert_eq!((status, &answer["errcode"]), (404, &json!("M_NOT_FOUND")), "{who}: {answer}");
                continue;
            }
            assert_eq!(status, 200, "{who}: {answer}");
            assert_eq!(case.leaks(&answer), None, "{who}: {answer}");
            let replies =
                list(&answer["chunk"]).filter(|event| event["content"]["m.relates_to"]["rel_type"] == "m.thread");
            let got: Vec<&str> = replies.map(|event| event["event_id"].as_str().unwrap()).collect();
            let expected = (number + 1..STAGES).rev().filter(|later| case.sees(*later));
            let expected: Vec<&str> = expected.map(|later| case.stages[later].replies[number].as_str()).collect();
            assert_eq!(got, expected, "{who}: {path}");
        }
    }
    let (status, answer) = reader.get(&format!("/_matrix/client/v1/rooms/{}/threads?limit=50", case.room)).await;
    assert_eq!(case.leaks(&answer), None, "{who}: {answer}");
    if case.visible().is_empty() {
        assert_eq!((status, &answer["errcode"]), (403, &json!("M_FORBIDDEN")), "{who}: {answer}");
    } else {
        let got: BTreeSet<&str> = ids(&answer["chunk"]).into_iter().collect();
        let roots = case.visible().into_iter().filter(|stage| *stage < STAGES - 1);
        assert_eq!(got, roots.map(|stage| case.stages[stage].message.as_str()).collect(), "{who}");
    }
}

/// `state`, `state/{type}/{key}`, `members`, `joined_members`, `aliases`.
async fn state(case: &Case<'_>, reader: &User<'_>) {
    let who = format!("{} in {}", reader.id(), case.visibility);
    let own = encode(reader.id());
    for path in ["state", "state/x.stage", "state/x.stage/", "state/x.stage/?format=event", "members"] {
        let (status, answer) = reader.get(&format!("rooms/{}/{path}", case.room)).await;
        let Some(stage) = case.state() else {
            assert_eq!((status, &answer["errcode"]), (403, &json!("M_FORBIDDEN")), "{who} {path}: {answer}");
            continue;
        };
        assert_eq!(status, 200, "{who} {path}: {answer}");
        let got = match path {
            "state" => &find(&answer, "x.stage", Some("")).unwrap()["content"]["number"],
            "state/x.stage/?format=event" => &answer["content"]["number"],
            "members" => {
                // A member sees themselves, with the membership that made them see this state.
                let own = find(&answer["chunk"], "m.room.member", Some(reader.id()));
                let membership = own.map(|event| event["content"]["membership"].as_str().unwrap());
                let last = case.membership[STAGES - 1];
                assert_eq!(membership.unwrap_or_default(), last, "{who}: {answer}");
                continue;
            }
            _ => &answer["number"],
        };
        assert_eq!(got, &json!(stage), "{who} {path}");
    }
    // The own member event is state like any other.
    let (status, _) = reader.get(&format!("rooms/{}/state/m.room.member/{own}", case.room)).await;
    let known = !case.membership[STAGES - 1].is_empty();
    assert_eq!(
        status,
        if case.state().is_none() {
            403
        } else if known {
            200
        } else {
            404
        },
        "{who}"
    );

    let (status, answer) = reader.get(&format!("rooms/{}/joined_members", case.room)).await;
    assert_eq!(status, if case.is_joined() { 200 } else { 403 }, "{who}: {answer}");
    if case.is_joined() {
        let joined: BTreeSet<&str> = answer["joined"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(joined, BTreeSet::from(["@alice:hearth.test", "@joined:hearth.test", "@rejoined:hearth.test"]));
    }
    let (status, answer) = reader.get(&format!("rooms/{}/aliases", case.room)).await;
    let may = case.is_joined() || case.visibility == "world_readable";
    assert_eq!(status, if may { 200 } else { 403 }, "{who}: {answer}");
}

/// `sync`, with and without left rooms.
async fn syncs(case: &Case<'_>, reader: &User<'_>) {
    let who = format!("{} in {}", reader.id(), case.visibility);
    let now = case.membership[STAGES - 1];
    for include_leave in [false, true] {
        let filter = json!({ "room": { "timeline": { "limit": 100 }, "include_leave": include_leave } }).to_string();
        let answer = reader.sync(None, &[("filter", &filter)]).await;
        let rooms = &answer["rooms"];
        assert_eq!(case.leaks(&rooms["join"][case.room]), None, "{who}: {rooms}");
        assert_eq!(case.leaks(&rooms["leave"][case.room]), None, "{who}: {rooms}");
        assert_eq!(case.leaks(&rooms["invite"][case.room]), None, "{who}: {rooms}");
        assert_eq!(case.leaks(&rooms["knock"][case.room]), None, "{who}: {rooms}");
        let sections = ["join", "invite", "knock", "leave"].into_iter();
        let sections: Vec<&str> = sections.filter(|section| rooms[section].get(case.room).is_some()).collect();
        let section = match now {
            "" => None,
            "leave" | "ban" => include_leave.then_some("leave"),
            other => Some(other),
        };
        assert_eq!(sections, Vec::from_iter(section), "{who}, include_leave {include_leave}");
        let Some(section) = section else { continue };
        let room = &rooms[section][case.room];
        match section {
            "invite" | "knock" => {
                let stripped = &room[format!("{section}_state")]["events"];
                let own = find(stripped, "m.room.member", Some(reader.id())).unwrap();
                assert_eq!(own["content"]["membership"], section, "{who}: {room}");
                assert!(find(stripped, "m.room.create", Some("")).is_some(), "{who}: {room}");
                assert!(find(stripped, "x.stage", Some("")).is_none(), "{who}: {room}");
                for event in list(stripped) {
                    let mut fields: Vec<&str> = event.as_object().unwrap().keys().map(String::as_str).collect();
                    fields.retain(|field| !["content", "sender", "state_key", "type"].contains(field));
                    assert!(
                        fields
                            .iter()
                            .all(|field| ["origin_server_ts", "event_id", "room_id", "unsigned"].contains(field)),
                        "{fields:?}"
                    );
                }
            }
            _ => {
                let last = case.membership.iter().rposition(|membership| *membership == "join");
                let until = last.map_or(0, |last| last + 1);
                let expected: Vec<&str> = match section {
                    "leave" => case.visible().into_iter().filter(|stage| *stage < until).collect(),
                    _ => case.visible(),
                }
                .into_iter()
                .map(|stage| case.stages[stage].message.as_str())
                .collect();
                let got = ids(&room["timeline"]["events"]);
                let got: Vec<&str> =
                    got.into_iter().filter(|id| case.stages.iter().any(|stage| stage.message == *id)).collect();
                assert_eq!(got, expected, "{who}: {room}");
            }
        }
    }
}

/// The visibility that counts is the one at the event; an event that changes it, or the reader's own membership, counts
/// on both sides of the change.
#[tokio::test]
async fn visibility_is_that_of_the_moment() {
    let server = server().await;
    let (alice, bob, stranger) =
        (User::new(&server, "alice").await, User::new(&server, "bob").await, User::new(&server, "stranger").await);
    let room = alice.create(json!({ "preset": "public_chat" })).await;
    let mut events = Vec::new();
    for visibility in ["shared", "joined", "invited", "world_readable", "joined"] {
        let content = json!({ "history_visibility": visibility });
        let change = alice.set(&room, "m.room.history_visibility", "", content).await;
        events.push((change, alice.say(&room, visibility).await));
    }
    bob.own(&room, "join").await;
    let last = alice.say(&room, "last").await;
    let sees = async |reader: &User<'_>, event: &str| {
        let (status, _) = reader.get(&format!("rooms/{room}/event/{event}")).await;
        assert!(matches!(status, 200 | 404), "{status}");
        status == 200
    };
    // The first change is from shared to shared, and is the same event as the one of the preset.
    for (number, (change, message), by_bob, by_stranger) in [
        (0, &events[0], [true, true], [false, false]),
        (1, &events[1], [true, false], [false, false]),
        (2, &events[2], [false, false], [false, false]),
        (3, &events[3], [true, true], [true, true]),
        (4, &events[4], [true, false], [true, false]),
    ] {
        assert_eq!([sees(&bob, change).await, sees(&bob, message).await], by_bob, "Bob, {number}");
        let got = [sees(&stranger, change).await, sees(&stranger, message).await];
        assert_eq!(got, by_stranger, "a stranger, {number}");
    }
    assert!(sees(&bob, &last).await && !sees(&stranger, &last).await);
    let page = bob.read(&format!("rooms/{room}/messages?dir=b&limit=100")).await;
    let seen: Vec<&str> = list(&page["chunk"]).filter_map(|event| event["content"]["body"].as_str()).collect();
    assert_eq!(seen, ["last", "world_readable", "shared"]);
    // One's own joining is visible where nothing before it is.
    let joined = find(&page["chunk"], "m.room.member", Some(bob.id())).unwrap();
    assert_eq!(joined["content"]["membership"], "join");
}

/// [Forgetting](https://spec.matrix.org/v1.19/client-server-api/#leaving-rooms) a room makes a stranger.
#[tokio::test]
async fn a_forgotten_room_is_gone() {
    let server = server().await;
    let (alice, bob) = (User::new(&server, "alice").await, User::new(&server, "bob").await);
    let room = alice.create(json!({ "preset": "public_chat" })).await;
    bob.own(&room, "join").await;
    let event = alice.say(&room, "hello").await;
    bob.refused("POST", &format!("rooms/{room}/forget"), None, 400, "M_UNKNOWN").await;
    bob.own(&room, "leave").await;
    bob.read(&format!("rooms/{room}/event/{event}")).await;
    bob.own(&room, "forget").await;
    for (path, status, code) in [
        (format!("event/{event}"), 404, "M_NOT_FOUND"),
        (format!("context/{event}"), 404, "M_NOT_FOUND"),
        ("messages?dir=b".to_owned(), 403, "M_FORBIDDEN"),
        ("state".to_owned(), 403, "M_FORBIDDEN"),
        ("members".to_owned(), 403, "M_FORBIDDEN"),
    ] {
        bob.refused("GET", &format!("rooms/{room}/{path}"), None, status, code).await;
    }
    let filter = json!({ "room": { "include_leave": true } }).to_string();
    assert_eq!(bob.sync(None, &[("filter", &filter)]).await["rooms"]["leave"][&room], Value::Null);
    // Joining again brings it back with its history.
    bob.own(&room, "join").await;
    bob.read(&format!("rooms/{room}/event/{event}")).await;
}

/// The public list tells only of rooms that are on it.
#[tokio::test]
async fn the_public_list() {
    let server = server().await;
    let (alice, stranger) = (User::new(&server, "alice").await, User::new(&server, "stranger").await);
    let state = |visibility: &str| json!([{ "type": "m.room.history_visibility", "content": { "history_visibility": visibility } }]);
    let open = json!({ "preset": "public_chat", "visibility": "public", "name": "Open", "initial_state": state("world_readable") });
    let open = alice.create(open).await;
    let closed =
        json!({ "preset": "public_chat", "visibility": "public", "name": "Closed", "initial_state": state("joined") });
    let closed = alice.create(closed).await;
    alice.create(json!({ "preset": "public_chat", "name": "Unlisted" })).await;
    for (reader, path) in [(Some(&stranger), "publicRooms"), (None, "publicRooms")] {
        let token = reader.map(User::token);
        let (status, answer) = server.call("GET", &crate::support::absolute(path), token, None).await;
        assert_eq!(status, 200, "{answer}");
        let rooms: BTreeMap<&str, bool> = list(&answer["chunk"])
            .map(|room| (room["room_id"].as_str().unwrap(), room["world_readable"].as_bool().unwrap()))
            .collect();
        assert_eq!(rooms, BTreeMap::from([(open.as_str(), true), (closed.as_str(), false)]));
    }
}
