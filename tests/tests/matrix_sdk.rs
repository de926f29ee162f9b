//! Real clients, part one: matrix-rust-sdk against the real binary. (Part two is `tests/js`.)

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, Ordering},
};

use futures_util::future::join_all;
use hearth_tests::{
    Options, TestServer,
    person::{self, Person},
};
use matrix_sdk::{
    Room, RoomMemberships, RoomState,
    deserialized_responses::TimelineEvent,
    room::{MessagesOptions, Receipts},
    ruma::{
        OwnedEventId, OwnedTransactionId,
        api::client::{
            room::create_room::v3::{Request as CreateRoom, RoomPreset},
            state::get_state_event_for_key,
        },
        assign,
        events::{
            StateEventType,
            reaction::ReactionEventContent,
            relation::{Annotation, Thread},
            room::message::{
                Relation, ReplacementMetadata, RoomMessageEventContent, RoomMessageEventContentWithoutRelation,
            },
        },
        uint,
    },
};
use serde_json::{Value, json};

const TOKEN: &str = "the-family-token";

async fn server() -> TestServer {
    TestServer::start(Options { registration_token: Some(TOKEN.to_owned()), ..Options::default() }).await
}

async fn send(room: &Room, body: impl Into<String>) -> OwnedEventId {
    room.send(RoomMessageEventContent::text_plain(body)).await.expect("send").response.event_id
}

/// A room with both people in it, as each of them sees it.
async fn room_of_two(alice: &Person, bob: &Person) -> (Room, Room) {
    let request = assign!(CreateRoom::new(), {
        preset: Some(RoomPreset::PrivateChat),
        name: Some("Kitchen".to_owned()),
        invite: vec![bob.user_id().to_owned()],
    });
    let room = alice.client.create_room(request).await.expect("create");
    let invited = bob.room_in(room.room_id(), RoomState::Invited).await;
    invited.join().await.expect("join");
    let joined = bob.room_in(room.room_id(), RoomState::Joined).await;
    (alice.room_in(room.room_id(), RoomState::Joined).await, joined)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_devices_and_every_preset() {
    let server = server().await;
    person::register(server.base_url(), "alice", TOKEN).await;
    let laptop = Person::login(server.base_url(), "alice", "laptop").await;
    let phone = Person::login(server.base_url(), "alice", "phone").await;
    assert_ne!(laptop.client.device_id(), phone.client.device_id());
    let devices = laptop.client.devices().await.expect("devices").devices;
    let names: HashSet<_> = devices.iter().filter_map(|device| device.display_name.as_deref()).collect();
    assert_eq!(names, HashSet::from(["first device", "laptop", "phone"]));

    for (preset, join_rule, guest_access) in [
        (RoomPreset::PrivateChat, "invite", "can_join"),
        (RoomPreset::TrustedPrivateChat, "invite", "can_join"),
        (RoomPreset::PublicChat, "public", "forbidden"),
    ] {
        let request = assign!(CreateRoom::new(), { preset: Some(preset.clone()) });
        let room = laptop.client.create_room(request).await.expect("create");
        let content = async |event_type: StateEventType| -> Value {
            let request =
                get_state_event_for_key::v3::Request::new(room.room_id().to_owned(), event_type, String::new());
            let response = laptop.client.send(request).await.expect("state");
            serde_json::from_str(response.event_or_content.get()).expect("JSON")
        };
        assert_eq!(content(StateEventType::RoomJoinRules).await["join_rule"], join_rule, "{preset:?}");
        assert_eq!(content(StateEventType::RoomGuestAccess).await["guest_access"], guest_access, "{preset:?}");
        assert_eq!(content(StateEventType::RoomHistoryVisibility).await["history_visibility"], "shared", "{preset:?}");
        // The other device learns of the room by sync.
        phone.room_in(room.room_id(), RoomState::Joined).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_messages_both_ways() {
    let server = server().await;
    for name in ["alice", "bob"] {
        person::register(server.base_url(), name, TOKEN).await;
    }
    let alice = Person::login(server.base_url(), "alice", "laptop").await;
    let phone = Person::login(server.base_url(), "alice", "phone").await;
    let bob = Person::login(server.base_url(), "bob", "tablet").await;
    let (at_alice, at_bob) = room_of_two(&alice, &bob).await;
    let room = at_alice.room_id().to_owned();
    phone.room_in(&room, RoomState::Joined).await;

    let talk = async |room: &Room, who: &str| {
        let mut ids = Vec::new();
        for i in 0..100 {
            ids.push(send(room, format!("{who} {i}")).await.to_string());
        }
        ids
    };
    let (from_alice, from_bob) = tokio::join!(talk(&at_alice, "alice"), talk(&at_bob, "bob"));
    let all: HashSet<&String> = from_alice.iter().chain(&from_bob).collect();
    let mut orders = Vec::new();
    for person in [&alice, &phone, &bob] {
        let order = person
            .until("all 200 messages", |seen| {
                let order: Vec<String> =
                    seen.events(&room).map(|(id, _)| id.to_owned()).filter(|id| all.contains(id)).collect();
                (order.iter().collect::<HashSet<_>>().len() == 200).then_some(order)
            })
            .await;
        assert_eq!(order.len(), 200, "a message arrived twice");
        for ids in [&from_alice, &from_bob] {
            let own: Vec<&String> = order.iter().filter(|id| ids.contains(id)).collect();
            assert_eq!(own, ids.iter().collect::<Vec<_>>(), "a sender's messages are out of order");
        }
        // The join may come with a gap; the talk may not.
        person.look(|seen| {
            let first = seen.events(&room).position(|(id, _)| id == order[0]).expect("it arrived");
            let gap = seen.gaps.iter().find(|(at, entry)| *at == room && *entry > first);
            assert_eq!(gap, None, "a long-polling client got a gap");
        });
        orders.push(order);
    }
    assert!(orders.windows(2).all(|pair| pair[0] == pair[1]), "devices saw different orders");
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_reactions_threads_receipts_typing_redaction() {
    let server = server().await;
    for name in ["alice", "bob"] {
        person::register(server.base_url(), name, TOKEN).await;
    }
    let alice = Person::login(server.base_url(), "alice", "laptop").await;
    let bob = Person::login(server.base_url(), "bob", "tablet").await;
    let (at_alice, at_bob) = room_of_two(&alice, &bob).await;
    let room = at_alice.room_id().to_owned();

    // Edit.
    let soup = send(&at_alice, "teh soup").await;
    bob.event(&room, &soup).await;
    let edit = RoomMessageEventContentWithoutRelation::text_plain("the soup")
        .make_replacement(ReplacementMetadata::new(soup.clone(), None));
    let edit = at_alice.send(edit).await.expect("edit").response.event_id;
    let seen = bob.event(&room, &edit).await;
    assert_eq!(seen["content"]["m.relates_to"]["rel_type"], "m.replace");
    assert_eq!(seen["content"]["m.new_content"]["body"], "the soup");

    // Reaction.
    let reaction = ReactionEventContent::new(Annotation::new(soup.clone(), "👍".to_owned()));
    let reaction = at_bob.send(reaction).await.expect("reaction").response.event_id;
    assert_eq!(alice.event(&room, &reaction).await["content"]["m.relates_to"]["key"], "👍");

    // Thread.
    let root = send(&at_alice, "who cooks?").await;
    bob.event(&room, &root).await;
    let mut reply = RoomMessageEventContent::text_plain("me");
    reply.relates_to = Some(Relation::Thread(Thread::plain(root.clone(), root.clone())));
    let reply = at_bob.send(reply).await.expect("reply").response.event_id;
    alice.event(&room, &reply).await;
    let fetched = at_alice.event(&root, None).await.expect("the root");
    let fetched: Value = fetched.raw().deserialize_as_unchecked().expect("JSON");
    let summary = &fetched["unsigned"]["m.relations"]["m.thread"];
    assert_eq!(summary["count"], 1);
    assert_eq!(summary["latest_event"]["event_id"], reply.as_str());

    // Receipt: alice has unread messages, reads, and has none; bob sees how far she read.
    let question = send(&at_bob, "read this").await;
    alice.event(&room, &question).await;
    alice.until("an unread count", |seen| seen.unread.get(&room).filter(|count| **count > 0).copied()).await;
    at_alice.send_multiple_receipts(Receipts::new().public_read_receipt(question.clone())).await.expect("receipt");
    bob.until("alice's receipt", |seen| {
        seen.ephemeral.get(&room)?.iter().find(|event| {
            event["type"] == "m.receipt"
                && !event["content"][question.as_str()]["m.read"][alice.user_id().as_str()].is_null()
        })?;
        Some(())
    })
    .await;
    alice.until("no unread", |seen| seen.unread.get(&room).filter(|count| **count == 0).copied()).await;

    // Typing.
    at_bob.typing_notice(true).await.expect("typing");
    alice
        .until("bob typing", |seen| {
            let last = seen.ephemeral.get(&room)?.iter().rfind(|event| event["type"] == "m.typing")?;
            (last["content"]["user_ids"] == json!([bob.user_id()])).then_some(())
        })
        .await;

    // Redaction.
    at_alice.redact(&soup, Some("burnt"), None).await.expect("redact");
    bob.until("the redaction", |seen| {
        seen.events(&room).find(|(_, event)| event["type"] == "m.room.redaction").map(|_| ())
    })
    .await;
    let fetched = at_bob.event(&soup, None).await.expect("the redacted message");
    let fetched: Value = fetched.raw().deserialize_as_unchecked().expect("JSON");
    assert_eq!(fetched["content"], json!({}));
    assert_eq!(fetched["unsigned"]["redacted_because"]["content"]["reason"], "burnt");
}

#[tokio::test(flavor = "multi_thread")]
async fn leave_rejoin_and_paginate_to_the_beginning() {
    let server = server().await;
    for name in ["alice", "bob"] {
        person::register(server.base_url(), name, TOKEN).await;
    }
    let alice = Person::login(server.base_url(), "alice", "laptop").await;
    let bob = Person::login(server.base_url(), "bob", "tablet").await;
    let (at_alice, at_bob) = room_of_two(&alice, &bob).await;
    let room = at_alice.room_id().to_owned();
    for i in 0..60 {
        send(&at_alice, format!("page {i}")).await;
    }
    at_bob.leave().await.expect("leave");
    bob.room_in(&room, RoomState::Left).await;
    send(&at_alice, "while bob was away").await;
    at_alice.invite_user_by_id(bob.user_id()).await.expect("invite");
    bob.room_in(&room, RoomState::Invited).await.join().await.expect("rejoin");
    let at_bob = bob.room_in(&room, RoomState::Joined).await;
    let members = at_bob.members(RoomMemberships::JOIN).await.expect("members");
    assert_eq!(members.len(), 2);

    let mut events: Vec<Value> = Vec::new();
    let mut from = None;
    loop {
        let mut options = MessagesOptions::backward().from(from.as_deref());
        options.limit = uint!(17);
        let page = at_bob.messages(options).await.expect("messages");
        events.extend(page.chunk.iter().map(|event| event.raw().deserialize_as_unchecked::<Value>().expect("JSON")));
        from = page.end;
        if from.is_none() {
            break;
        }
    }
    let ids: HashSet<&str> = events.iter().filter_map(|event| event["event_id"].as_str()).collect();
    assert_eq!(ids.len(), events.len(), "pagination repeats events");
    assert_eq!(events.last().expect("events")["type"], "m.room.create");
    let pages: Vec<&str> = events.iter().rev().filter_map(|event| event["content"]["body"].as_str()).collect();
    let expected: Vec<String> = (0..60).map(|i| format!("page {i}")).chain(["while bob was away".to_owned()]).collect();
    assert_eq!(pages, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_the_middle() {
    let mut server = server().await;
    for name in ["alice", "bob"] {
        person::register(server.base_url(), name, TOKEN).await;
    }
    let alice = Person::login(server.base_url(), "alice", "laptop").await;
    let bob = Person::login(server.base_url(), "bob", "tablet").await;
    let (at_alice, _) = room_of_two(&alice, &bob).await;
    let room = at_alice.room_id().to_owned();

    let mut ids = Vec::new();
    for round in 0..3 {
        for i in 0..20 {
            ids.push(send(&at_alice, format!("round {round}, {i}")).await.to_string());
        }
        server.restart().await;
    }
    let txn: OwnedTransactionId = "across the restart".into();
    let send_again = async || {
        let content = RoomMessageEventContent::text_plain("once");
        at_alice.send(content).with_transaction_id(txn.clone()).await.expect("send").response.event_id
    };
    let once = send_again().await;
    server.restart().await;
    assert_eq!(send_again().await, once, "a transaction id outlives a restart");
    ids.push(once.to_string());

    let order = bob
        .until("every message", |seen| {
            let order: Vec<String> =
                seen.events(&room).map(|(id, _)| id.to_owned()).filter(|id| ids.contains(id)).collect();
            (order.len() >= ids.len()).then_some(order)
        })
        .await;
    assert_eq!(order, ids, "lost, doubled or reordered over restarts");
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_nine_under_sixteen_senders_loses_nothing_acknowledged() {
    const SENDERS: usize = 16;
    const ENOUGH: usize = 150;
    let mut server = server().await;
    let alice = person::register(server.base_url(), "alice", TOKEN).await;
    let room = alice.create_room(CreateRoom::new()).await.expect("create");

    let mut acknowledged: Vec<OwnedEventId> = Vec::new();
    for round in 0..3 {
        let stop = AtomicBool::new(false);
        let (report, mut reports) = tokio::sync::mpsc::channel(SENDERS);
        let senders = join_all((0..SENDERS).map(|sender| {
            let (room, stop, report) = (room.clone(), &stop, report.clone());
            async move {
                let mut ids = Vec::new();
                for i in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let content = RoomMessageEventContent::text_plain(format!("{round}/{sender}/{i}"));
                    // An error is what a killed server gives: whether that send counts is unknown.
                    let Ok(sent) = room.send(content).await else { break };
                    ids.push(sent.response.event_id);
                    let _ = report.try_send(());
                }
                ids
            }
        }));
        drop(report);
        let kill = async {
            let mut count = 0;
            while count < ENOUGH && reports.recv().await.is_some() {
                count += 1;
            }
            server.kill9().await;
            stop.store(true, Ordering::Relaxed);
        };
        let (ids, ()) = tokio::join!(senders, kill);
        let ids: Vec<OwnedEventId> = ids.into_iter().flatten().collect();
        assert!(ids.len() >= ENOUGH, "the senders were busy when the server was killed");
        acknowledged.extend(ids);
        server.start_again().await;
    }

    // Every acknowledged event is readable, and stands in the timeline exactly once.
    for id in &acknowledged {
        room.event(id, None).await.unwrap_or_else(|error| panic!("{id} was acknowledged and is gone: {error}"));
    }
    let mut timeline = Vec::new();
    let mut from = None;
    loop {
        let mut options = MessagesOptions::backward().from(from.as_deref());
        options.limit = uint!(500);
        let page = room.messages(options).await.expect("messages");
        timeline.extend(page.chunk.iter().filter_map(TimelineEvent::event_id));
        from = page.end;
        if from.is_none() {
            break;
        }
    }
    let distinct: HashSet<&OwnedEventId> = timeline.iter().collect();
    assert_eq!(distinct.len(), timeline.len(), "an event stands twice in the timeline");
    assert!(acknowledged.iter().all(|id| distinct.contains(id)), "an acknowledged event is missing in the timeline");
}
