//! Who sees what, on every method that reads: each kind of reader, each history visibility, and changes in between.

use std::collections::BTreeSet;

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, api::Direction};
use serde_json::{Value, json};

use crate::{
    EventFilter, Position, Reader, RoomError, Rooms,
    audience::SliceRequest,
    membership::Change,
    relations::RelationsRequest,
    state::MembersRequest,
    testing::{rooms, user},
    timeline::MessagesRequest,
};

/// A room of Alice in which the steps of a story happened.
struct Story {
    rooms: Rooms,
    room: OwnedRoomId,
    /// Where the story begins, after what every new room has.
    begin: Position,
    /// Messages in order: number and event id.
    messages: Vec<(u32, OwnedEventId)>,
}

impl Story {
    /// Steps: a number sends a message (in a thread at the first one) and sets the room's name to the number; `hv:x`
    /// and `rule:x` set history visibility and join rule; the rest are things that happen to Bob.
    async fn tell(visibility: &str, steps: &str) -> Self {
        let rooms = rooms();
        let initial = json!([{
            "type": "m.room.history_visibility", "state_key": "", "content": {"history_visibility": visibility},
        }]);
        let body = json!({"preset": "public_chat", "initial_state": initial});
        let room = rooms.create_for_test("alice", body).await.unwrap();
        let begin = Position::after_version(rooms.store.current_version().await.unwrap());
        let mut story = Self { rooms, room, begin, messages: Vec::new() };
        for step in steps.split_whitespace() {
            story.step(step).await;
        }
        story
    }

    async fn step(&mut self, step: &str) {
        let (rooms, room) = (&self.rooms, &self.room);
        let by_alice = async |change| rooms.change_for_test(room, "alice", "bob", change).await.unwrap();
        let by_bob = async |change| rooms.change_for_test(room, "bob", "bob", change).await.unwrap();
        let state = async |event_type: &str, content: Value| {
            rooms.state_for_test(room, "alice", event_type, "", content).await.unwrap()
        };
        match step.split_once(':') {
            Some(("hv", visibility)) => {
                state("m.room.history_visibility", json!({ "history_visibility": visibility })).await;
            }
            Some((_, rule)) => {
                state("m.room.join_rules", json!({ "join_rule": rule })).await;
            }
            None => match step {
                "join" => by_bob(Change::Join).await,
                "leave" => by_bob(Change::Leave).await,
                "knock" => by_bob(Change::Knock).await,
                "invite" => by_alice(Change::Invite).await,
                "kick" => by_alice(Change::Kick).await,
                "ban" => by_alice(Change::Ban).await,
                "unban" => by_alice(Change::Unban).await,
                "forget" => rooms.forget(room, &user("bob")).await.unwrap(),
                number => {
                    let mut content = json!({"msgtype": "m.text", "body": number});
                    if let Some((_, root)) = self.messages.first() {
                        content["m.relates_to"] = json!({"rel_type": "m.thread", "event_id": root});
                    }
                    let id = rooms.send_for_test(room, "alice", "m.room.message", content).await.unwrap();
                    state("m.room.name", json!({ "name": number })).await;
                    self.messages.push((number.parse().unwrap(), id));
                }
            },
        }
    }

    /// Asks every reading method what Bob sees; they must all agree. Returns the messages and the room's name.
    async fn seen_by_bob(&self) -> (Vec<u32>, Option<u32>) {
        let bob = user("bob");
        let reader = Reader::new(&bob, None);
        let mut seen = Vec::new();
        for (number, id) in &self.messages {
            match self.rooms.event(&self.room, &reader, id).await {
                Ok(_) => seen.push(*number),
                Err(RoomError::EventNotFound) => {}
                Err(other) => panic!("{other}"),
            }
        }
        let expected: BTreeSet<u32> = seen.iter().copied().collect();
        self.check_pages(&reader, &expected).await;
        self.check_context(&reader, &expected).await;
        self.check_relations(&reader, &expected).await;
        self.check_slice(&bob, &expected).await;
        (seen, self.name(&reader).await)
    }

    async fn check_pages(&self, reader: &Reader<'_>, expected: &BTreeSet<u32>) {
        for direction in [Direction::Forward, Direction::Backward] {
            let mut seen = Vec::new();
            let mut from = None;
            loop {
                let request = MessagesRequest {
                    from,
                    to: None,
                    direction,
                    limit: Some(2),
                    filter: EventFilter { lazy_load_members: true, ..EventFilter::default() },
                };
                let page = match self.rooms.messages(&self.room, reader, &request).await {
                    Ok(page) => page,
                    Err(RoomError::Forbidden(_)) => {
                        assert!(expected.is_empty(), "forbidden although {expected:?} are visible");
                        return;
                    }
                    Err(other) => panic!("{other}"),
                };
                seen.extend(page.chunk.iter().filter_map(|event| number(event.json().get())));
                from = page.end;
                if from.is_none() {
                    break;
                }
            }
            if direction == Direction::Backward {
                seen.reverse();
            }
            assert_eq!(seen, expected.iter().copied().collect::<Vec<_>>(), "messages {direction:?}");
        }
    }

    async fn check_context(&self, reader: &Reader<'_>, expected: &BTreeSet<u32>) {
        for (middle, id) in &self.messages {
            let context = self.rooms.context(&self.room, reader, id, Some(100), &EventFilter::default()).await;
            let Ok(context) = context else {
                assert!(!expected.contains(middle), "context of {middle}");
                continue;
            };
            let events = context.events_before.iter().chain([&context.event]).chain(&context.events_after);
            let seen: BTreeSet<u32> = events.filter_map(|event| number(event.json().get())).collect();
            assert_eq!(seen, *expected, "context of {middle}");
        }
    }

    async fn check_relations(&self, reader: &Reader<'_>, expected: &BTreeSet<u32>) {
        let Some((first, root)) = self.messages.first() else { return };
        let replies: BTreeSet<u32> = expected.iter().copied().filter(|number| number != first).collect();
        for recurse in [false, true] {
            let request = RelationsRequest { recurse, ..RelationsRequest::default() };
            match self.rooms.relations(&self.room, reader, root, &request).await {
                Ok(page) => {
                    assert!(expected.contains(first));
                    let seen: BTreeSet<u32> =
                        page.chunk.iter().filter_map(|event| number(event.json().get())).collect();
                    assert_eq!(seen, replies, "relations");
                }
                Err(RoomError::EventNotFound) => assert!(!expected.contains(first), "relations"),
                Err(other) => panic!("{other}"),
            }
        }
        let threads = self.rooms.threads(&self.room, reader, None, None, false).await;
        let threads = threads.map(|page| page.chunk).unwrap_or_default();
        assert_eq!(threads.len(), usize::from(self.messages.len() > 1 && expected.contains(first)), "threads");
        for thread in threads {
            let thread: Value = serde_json::from_str(thread.json().get()).unwrap();
            let latest = &thread["unsigned"]["m.relations"]["m.thread"]["latest_event"]["content"]["body"];
            let latest = latest.as_str().map(|body| body.parse::<u32>().unwrap());
            assert_eq!(latest, replies.last().copied(), "bundled latest event");
        }
    }

    async fn check_slice(&self, bob: &OwnedUserId, expected: &BTreeSet<u32>) {
        let tx = self.rooms.store.begin();
        let view = self.rooms.view(&tx, &self.room, bob).await.unwrap();
        let request = SliceRequest {
            since: None,
            until: Position::after_version(tx.read_version().await.unwrap()),
            limit: 1000,
            filter: &EventFilter::default(),
        };
        let slice = self.rooms.timeline_slice(&tx, &view, request).await.unwrap();
        let seen: BTreeSet<u32> = slice.events.iter().filter_map(|event| body(event.event.pdu.content.get())).collect();
        assert_eq!(seen, *expected, "slice");
    }

    /// The room's name as every way to read state tells it.
    async fn name(&self, reader: &Reader<'_>) -> Option<u32> {
        let content = self.rooms.state_content(&self.room, reader.user, "m.room.name", "").await;
        let state = self.rooms.state(&self.room, reader).await;
        let event = self.rooms.state_event(&self.room, reader, "m.room.name", "").await;
        let members = self.rooms.members(&self.room, reader, &MembersRequest::default()).await;
        match content {
            Ok(content) => {
                let name: Value = serde_json::from_str(content.get()).unwrap();
                let state: Vec<Value> =
                    state.unwrap().iter().map(|event| serde_json::from_str(event.json().get()).unwrap()).collect();
                let named = state.iter().find(|event| event["type"] == "m.room.name").unwrap();
                assert_eq!(named["content"], name, "/state");
                let event: Value = serde_json::from_str(event.unwrap().json().get()).unwrap();
                assert_eq!(event["content"], name, "format=event");
                assert!(!members.unwrap().is_empty());
                Some(name["name"].as_str().unwrap().parse().unwrap())
            }
            Err(RoomError::Forbidden(_)) => {
                assert!(matches!(state, Err(RoomError::Forbidden(_))), "/state");
                assert!(matches!(event, Err(RoomError::Forbidden(_))), "format=event");
                assert!(matches!(members, Err(RoomError::Forbidden(_))), "/members");
                None
            }
            Err(other) => panic!("{other}"),
        }
    }
}

fn number(event: &str) -> Option<u32> {
    let event: Value = serde_json::from_str(event).unwrap();
    if event["type"] == "m.room.message" { body(&event["content"].to_string()) } else { None }
}

fn body(content: &str) -> Option<u32> {
    serde_json::from_str::<Value>(content).unwrap()["body"].as_str()?.parse().ok()
}

/// A story; the messages that Bob sees under each visibility; the name that he sees (0: the state is refused).
type Row = (&'static str, [&'static [u32]; 4], [u32; 4]);

#[tokio::test]
async fn every_reader_with_every_visibility() {
    const ALL: [&str; 4] = ["world_readable", "shared", "invited", "joined"];
    #[rustfmt::skip]
    let stories: &[Row] = &[
        // A stranger, and strangers who try.
        ("1 2",                              [&[1, 2],       &[],           &[],     &[]],     [2, 0, 0, 0]),
        ("rule:knock 1 knock 2",             [&[1, 2],       &[],           &[],     &[]],     [2, 0, 0, 0]),
        ("1 ban 2",                          [&[1, 2],       &[],           &[],     &[]],     [2, 0, 0, 0]),
        // Invited.
        ("1 invite 2",                       [&[1, 2],       &[],           &[2],    &[]],     [2, 0, 0, 0]),
        ("1 invite 2 leave 3",               [&[1, 2, 3],    &[],           &[2],    &[]],     [3, 0, 0, 0]),
        ("1 invite 2 kick 3",                [&[1, 2, 3],    &[],           &[2],    &[]],     [3, 0, 0, 0]),
        // Joined.
        ("1 join 2",                         [&[1, 2],       &[1, 2],       &[2],    &[2]],    [2, 2, 2, 2]),
        ("1 invite 2 join 3",                [&[1, 2, 3],    &[1, 2, 3],    &[2, 3], &[3]],    [3, 3, 3, 3]),
        ("rule:knock 1 knock 2 invite 3 join 4",
                                             [&[1, 2, 3, 4], &[1, 2, 3, 4], &[3, 4], &[4]],    [4, 4, 4, 4]),
        // No longer joined: the state is that of the leave.
        ("1 join 2 leave 3",                 [&[1, 2, 3],    &[1, 2],       &[2],    &[2]],    [2, 2, 2, 2]),
        ("1 join 2 kick 3",                  [&[1, 2, 3],    &[1, 2],       &[2],    &[2]],    [2, 2, 2, 2]),
        ("1 join 2 ban 3",                   [&[1, 2, 3],    &[1, 2],       &[2],    &[2]],    [2, 2, 2, 2]),
        ("1 join 2 leave 3 ban 4 unban 5",   [&[1, 2, 3, 4, 5], &[1, 2],    &[2],    &[2]],    [2, 2, 2, 2]),
        ("1 join 2 leave 3 invite 4",        [&[1, 2, 3, 4], &[1, 2],       &[2, 4], &[2]],    [2, 2, 2, 2]),
        ("1 join rule:knock 2 leave 3 knock 4", [&[1, 2, 3, 4], &[1, 2],    &[2],    &[2]],    [2, 2, 2, 2]),
        // Back again.
        ("1 join 2 leave 3 join 4",          [&[1, 2, 3, 4], &[1, 2, 3, 4], &[2, 4], &[2, 4]], [4, 4, 4, 4]),
        ("1 join 2 leave 3 join 4 leave 5",  [&[1, 2, 3, 4, 5], &[1, 2, 3, 4], &[2, 4], &[2, 4]], [4, 4, 4, 4]),
        ("1 join 2 leave 3 invite 4 join 5", [&[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5], &[2, 4, 5], &[2, 5]], [5, 5, 5, 5]),
        // Who forgot the room is a stranger to it.
        ("1 join 2 leave 3 forget 4",        [&[1, 2, 3, 4], &[],           &[],     &[]],     [4, 0, 0, 0]),
    ];
    for (steps, messages, names) in stories {
        for (index, visibility) in ALL.into_iter().enumerate() {
            let (seen, name) = Story::tell(visibility, steps).await.seen_by_bob().await;
            assert_eq!(seen, messages[index], "messages of {steps:?} when {visibility}");
            assert_eq!(name.unwrap_or(0), names[index], "state of {steps:?} when {visibility}");
        }
    }
}

#[tokio::test]
async fn visibility_that_changes() {
    let stories: &[(&str, &str, &[u32], u32)] = &[
        ("world_readable", "1 hv:joined 2", &[1], 0),
        ("joined", "1 hv:world_readable 2", &[2], 2),
        ("world_readable", "1 hv:joined 2 join 3", &[1, 3], 3),
        ("joined", "1 hv:shared 2 join 3", &[2, 3], 3),
        ("shared", "1 hv:joined 2 join 3 hv:shared 4", &[1, 3, 4], 4),
        ("invited", "1 invite 2 hv:joined 3", &[2], 0),
        ("joined", "1 invite 2 hv:invited 3", &[3], 0),
        ("joined", "1 invite 2 hv:invited 3 join 4", &[3, 4], 4),
        ("shared", "1 join 2 leave hv:world_readable 3 hv:joined 4", &[1, 2, 3], 2),
        ("shared", "1 join 2 leave 3 hv:joined 4 join 5", &[1, 2, 3, 5], 5),
        ("world_readable", "1 join 2 leave 3 forget hv:shared 4", &[1, 2, 3], 0),
    ];
    for (visibility, steps, messages, name) in stories {
        let (seen, named) = Story::tell(visibility, steps).await.seen_by_bob().await;
        assert_eq!(seen, *messages, "messages of {steps:?} from {visibility}");
        assert_eq!(named.unwrap_or(0), *name, "state of {steps:?} from {visibility}");
    }
}

/// Both sides of a change count for the event that makes it.
#[tokio::test]
async fn the_events_that_change_it() {
    // Story from `joined`, and the types (with Bob's membership) of what Bob sees.
    let stories: &[(&str, &[&str])] = &[
        ("hv:world_readable hv:joined", &["world_readable", "joined"]),
        ("hv:shared", &[]),
        ("invite join leave", &["join", "leave"]),
        ("hv:invited invite leave", &["invite", "leave"]),
        ("join ban", &["join", "ban"]),
        ("join hv:shared", &["join", "shared"]),
        ("join leave ban", &["join", "leave"]),
    ];
    for (steps, expected) in stories {
        let story = Story::tell("joined", steps).await;
        let bob = user("bob");
        let request = MessagesRequest {
            from: Some(story.begin.to_string()),
            to: None,
            direction: Direction::Forward,
            limit: Some(100),
            filter: EventFilter::default(),
        };
        let page = story.rooms.messages(&story.room, &Reader::new(&bob, None), &request).await.unwrap_or_default();
        let seen: Vec<String> = page
            .chunk
            .iter()
            .filter_map(|event| {
                let event: Value = serde_json::from_str(event.json().get()).unwrap();
                let content = &event["content"];
                let what = content.get("history_visibility").or_else(|| content.get("membership"))?;
                Some(what.as_str().unwrap().to_owned())
            })
            .collect();
        assert_eq!(seen, *expected, "{steps}");
    }
}

/// A page does not end where the visible events have a gap.
#[tokio::test]
async fn gaps_are_crossed() {
    let mut story = Story::tell("joined", "join 1 leave").await;
    for _ in 0..20 {
        story.step("2").await;
    }
    story.messages.truncate(1);
    story.step("join").await;
    story.step("3").await;
    let (seen, _) = story.seen_by_bob().await;
    assert_eq!(seen, [1, 3]);
}

/// Events of the past, in the state of the past: `at` asks for no more than what was visible then.
#[tokio::test]
async fn members_of_the_past() {
    let mut story = Story::tell("joined", "1").await;
    let before = Position::after_version(story.rooms.store.current_version().await.unwrap()).to_string();
    story.step("join").await;
    let joined = Position::after_version(story.rooms.store.current_version().await.unwrap()).to_string();
    story.step("leave").await;
    story.step("2").await;
    let bob = user("bob");
    let members = async |at: &str| {
        let request = MembersRequest { at: Some(at.to_owned()), ..MembersRequest::default() };
        let members = story.rooms.members(&story.room, &Reader::new(&bob, None), &request).await?;
        Ok::<_, RoomError>(
            members
                .iter()
                .map(|event| {
                    let event: Value = serde_json::from_str(event.json().get()).unwrap();
                    format!("{} {}", event["state_key"].as_str().unwrap(), event["content"]["membership"])
                })
                .collect::<BTreeSet<_>>(),
        )
    };
    assert!(matches!(members(&before).await, Err(RoomError::Forbidden(_))), "before the join");
    let then = members(&joined).await.unwrap();
    assert!(then.contains("@bob:example.org \"join\""), "{then:?}");
    let now = members("s999999999999").await.unwrap();
    assert!(now.contains("@bob:example.org \"leave\""), "{now:?}");
    assert!(matches!(members("junk").await, Err(RoomError::InvalidToken)));
}
