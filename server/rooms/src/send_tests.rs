//! Tests of sending: one sender and many at once.

use std::collections::HashSet;

use serde_json::json;

use crate::{
    RoomError, Rooms,
    keys::{EVENT_NID, EXTREMITY, ROOM, TIMELINE},
    membership::Change,
    testing::{draft, rooms, user, with_transaction},
};

#[tokio::test]
async fn a_room_is_made_joined_and_written_to() {
    let rooms = rooms();
    let room = rooms.public_room("alice").await;
    rooms.change_for_test(&room, "bob", "bob", Change::Join).await.unwrap();
    let hello = json!({ "msgtype": "m.text", "body": "hello" });
    let first = rooms.send_for_test(&room, "alice", "m.room.message", hello.clone()).await.unwrap();
    let second = rooms.send_for_test(&room, "bob", "m.room.message", hello.clone()).await.unwrap();
    assert_ne!(first, second);
    let refused = rooms.send_for_test(&room, "carol", "m.room.message", hello).await;
    assert!(matches!(refused, Err(RoomError::Forbidden(_))), "{refused:?}");
    let (events, chain) = timeline(&rooms, &room).await;
    assert_eq!(events.last(), Some(&second.to_string()));
    assert!(chain, "each event follows the one before");
}

/// Event ids in timeline order, and whether each names exactly the one before as its previous event.
async fn timeline(rooms: &Rooms, room: &ruma::RoomId) -> (Vec<String>, bool) {
    let tx = rooms.store.begin();
    let nid = rooms.find_room(&tx, room).await.unwrap().unwrap();
    let mut ids: Vec<String> = Vec::new();
    let mut chain = true;
    let entries = TIMELINE.scan((nid,)).all(&tx).await.unwrap();
    for (depth, (_, entry)) in entries.into_iter().enumerate() {
        let event = rooms.stored_event(&tx, entry.event).await.unwrap();
        let previous: Vec<String> = event.pdu.prev_events.iter().map(ToString::to_string).collect();
        chain &= previous == ids.last().cloned().into_iter().collect::<Vec<_>>() && event.pdu.depth == depth as u64 + 1;
        ids.push(event.pdu.event_id.to_string());
    }
    let ends = EXTREMITY.scan((nid,)).all(&tx).await.unwrap();
    chain &= ends.len() == 1 && ROOM.get(&tx, (nid,)).await.unwrap().unwrap().depth == ids.len() as u64;
    (ids, chain)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_senders_lose_nothing_and_make_one_chain() {
    const SENDERS: usize = 64;
    const EACH: usize = 5;
    let rooms = rooms();
    let room = rooms.public_room("alice").await;
    let mut tasks = tokio::task::JoinSet::new();
    for sender in 0..SENDERS {
        let (rooms, room) = (rooms.clone(), room.clone());
        tasks.spawn(async move {
            let name = format!("user{sender}");
            // A third of them never join, and their refusals must not disturb the others.
            let joins = sender % 3 != 0;
            if joins {
                rooms.change_for_test(&room, &name, &name, Change::Join).await.unwrap();
            }
            let mut acknowledged = Vec::new();
            for n in 0..EACH {
                let sent = rooms.send_for_test(&room, &name, "m.room.message", json!({ "body": n })).await;
                match sent {
                    Ok(event_id) if joins => {
                        // Readable as soon as it is acknowledged.
                        let tx = rooms.store.begin();
                        assert!(EVENT_NID.get(&tx, (event_id.as_str(),)).await.unwrap().is_some());
                        acknowledged.push(event_id.to_string());
                    }
                    Err(RoomError::Forbidden(_)) if !joins => {}
                    other => panic!("{name}: {other:?}"),
                }
            }
            acknowledged
        });
    }
    let per_sender = tasks.join_all().await;
    let (events, chain) = timeline(&rooms, &room).await;
    assert!(chain);
    let places: std::collections::HashMap<&String, usize> =
        events.iter().enumerate().map(|(place, id)| (id, place)).collect();
    for acknowledged in &per_sender {
        let order: Vec<usize> = acknowledged.iter().map(|id| places[id]).collect();
        assert!(order.is_sorted(), "a sender's own order is kept");
    }
    let distinct: HashSet<&String> = per_sender.iter().flatten().collect();
    let senders = (0..SENDERS).filter(|sender| sender % 3 != 0).count();
    assert_eq!(distinct.len(), senders * EACH);
    let begin = events.len() - senders * (EACH + 1);
    assert_eq!(begin, 6, "the room's own events, and nothing twice: {events:?}");
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_the_lane_running() {
    let rooms = rooms();
    let room = rooms.public_room("alice").await;
    let mut waiting = Vec::new();
    for n in 0..20 {
        let mut send = Box::pin(rooms.send_for_test(&room, "alice", "m.room.message", json!({ "body": n })));
        // Polled once, so that it is queued (the first one leads); every second one is dropped there.
        let polled = futures_util::poll!(send.as_mut());
        if n % 2 == 1 && polled.is_pending() {
            waiting.push(send);
        }
    }
    for send in waiting {
        send.await.unwrap();
    }
    rooms.close().await;
    let refused = rooms.send_for_test(&room, "alice", "m.room.message", json!({})).await;
    assert!(matches!(refused, Err(RoomError::Store(_))), "closed: {refused:?}");
}

#[tokio::test]
async fn a_transaction_id_sends_once_even_after_a_restart() {
    let rooms = rooms();
    let room = rooms.public_room("alice").await;
    let other_room = rooms.public_room("alice").await;
    let message = |id: &str, device: &str, event_type: &str| {
        with_transaction(draft(event_type, None, json!({ "body": "x" })), device, id)
    };
    let alice = user("alice");
    let first = rooms.send(&room, &alice, message("1", "A", "m.room.message")).await.unwrap();
    let restarted = crate::testing::rooms_on(rooms.store.clone());
    for (server, case) in [(&rooms, "same process"), (&restarted, "after a restart")] {
        let again = server.send(&room, &alice, message("1", "A", "m.room.message")).await.unwrap();
        assert_eq!(again, first, "{case}");
    }
    let mut seen = HashSet::from([first]);
    for (room, id, device, event_type) in [
        (&room, "2", "A", "m.room.message"),
        (&room, "1", "B", "m.room.message"),
        (&room, "1", "A", "m.sticker"),
        (&other_room, "1", "A", "m.room.message"),
    ] {
        let event = rooms.send(room, &alice, message(id, device, event_type)).await.unwrap();
        assert!(seen.insert(event), "{id} {device} {event_type} is another request");
    }
    // Twice at once: one event, whoever comes first.
    let twice = || rooms.send(&room, &alice, message("3", "A", "m.room.message"));
    let (a, b) = tokio::join!(twice(), twice());
    assert_eq!(a.unwrap(), b.unwrap());
}

#[tokio::test]
async fn two_processes_on_one_store_do_not_trust_what_they_remember() {
    let one = rooms();
    let other = crate::testing::rooms_on(one.store.clone());
    let room = one.public_room("alice").await;
    one.change_for_test(&room, "bob", "bob", Change::Join).await.unwrap();
    for round in 0..3 {
        let content = json!({ "body": round });
        one.send_for_test(&room, "bob", "m.room.message", content.clone()).await.unwrap();
        other.send_for_test(&room, "bob", "m.room.message", content.clone()).await.unwrap();
        // Both remember Bob as a member by now.
        other.change_for_test(&room, "alice", "bob", Change::Kick).await.unwrap();
        let refused = one.send_for_test(&room, "bob", "m.room.message", content.clone()).await;
        assert!(matches!(refused, Err(RoomError::Forbidden(_))), "round {round}: {refused:?}");
        one.change_for_test(&room, "bob", "bob", Change::Join).await.unwrap();
        other.send_for_test(&room, "bob", "m.room.message", content).await.unwrap();
    }
    let both = async |server: &Rooms| {
        for n in 0..20 {
            server.send_for_test(&room, "bob", "m.room.message", json!({ "body": n })).await.unwrap();
        }
    };
    tokio::join!(both(&one), both(&other));
    let (events, chain) = timeline(&one, &room).await;
    assert!(chain, "conflicts are retried");
    assert_eq!(events.iter().collect::<HashSet<_>>().len(), events.len());
}

#[tokio::test]
async fn a_warm_send_reads_little() {
    let rooms = rooms();
    let room = rooms.public_room("alice").await;
    for name in ["bob", "carol", "dora"] {
        rooms.change_for_test(&room, name, name, Change::Join).await.unwrap();
    }
    let send = async |id: &str| {
        let message = with_transaction(draft("m.room.message", None, json!({ "body": "x" })), "A", id);
        rooms.send(&room, &user("bob"), message).await.unwrap();
    };
    send("cold").await;
    send("warm").await;
    let before = rooms.store.stats().reads;
    for n in 0..10 {
        send(&n.to_string()).await;
    }
    let reads = rooms.store.stats().reads - before;
    // The room record, its forward extremities, the transaction id.
    assert!(reads <= 30, "{reads} reads for ten sends");
}

/// An operation that fails as none should.
struct Panics;

impl crate::lanes::Operation for Panics {
    fn run<'a>(
        &'a self,
        _: &'a mut crate::writer::RoomWriter<'_>,
    ) -> futures_util::future::BoxFuture<'a, Result<ruma::OwnedEventId, RoomError>> {
        panic!("as the test wants it");
    }

    fn weight(&self) -> usize {
        0
    }
}

#[tokio::test]
async fn a_panic_blocks_no_room() {
    let rooms = rooms();
    let room = rooms.public_room("alice").await;
    let nid = rooms.find_room(&rooms.store.begin(), &room).await.unwrap().unwrap();
    let panics = rooms.lanes.run(&rooms, nid, std::sync::Arc::new(Panics));
    let beside = rooms.send_for_test(&room, "alice", "m.room.message", json!({}));
    let (panicked, beside) = tokio::join!(panics, beside);
    assert!(panicked.is_err());
    assert!(matches!(beside, Ok(_) | Err(RoomError::Store(_))), "an answer, and not for ever none: {beside:?}");
    rooms.send_for_test(&room, "alice", "m.room.message", json!({})).await.unwrap();
    rooms.close().await;
}
