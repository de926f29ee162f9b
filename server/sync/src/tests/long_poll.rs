//! Requests that wait.

use std::{future::Future, pin::pin, task::Poll, time::Duration};

use hearth_rooms::membership::Change;
use hearth_transitory::{PresenceState, ReceiptKind, timers};
use ruma::device_id;
use serde_json::{Value, json};

use super::world::{World, marking, sections};

/// Begins a request that waits, and makes sure that it waits.
macro_rules! waiting {
    ($world:expr, $user:expr, $since:expr) => {{
        let registered = $world.engine.hub().waiting();
        let parameters = json!({ "since": $since["next_batch"], "timeout": 60_000 });
        let mut poll = Box::pin($world.sync($user, parameters));
        while $world.engine.hub().waiting() == registered {
            assert!(poll_once(&mut poll).await.is_none(), "answered at once");
            tokio::task::yield_now().await;
        }
        poll
    }};
}

async fn poll_once<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[tokio::test]
async fn everything_wakes_whom_it_concerns() {
    let world = World::running();
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let room = world.public_room(&alice).await;
    let invitation = world.create(&alice, json!({ "preset": "private_chat" })).await;
    world.join(&room, &bob).await;
    let event = world.say(&room, &alice, "hello").await;
    let mut since = world.sync(&bob, json!({})).await;

    for step in 0..8 {
        let poll = waiting!(world, &bob, since);
        match step {
            0 => drop(world.say(&room, &alice, "a message").await),
            1 => world.change(&invitation, &alice, &bob, Change::Invite).await,
            2 => world.read(&room, &alice, ReceiptKind::Public, &event).await,
            3 => world.engine.set_typing(marking(&room, &alice), Some(Duration::from_secs(1000))).await.unwrap(),
            4 => world.transitory.end_due(u64::MAX / 2).await.unwrap(),
            5 => world.account_data(&bob, None, "org.x", json!({})).await,
            6 => {
                let now = timers::now();
                world
                    .transitory
                    .set_presence(&alice, device_id!("A"), PresenceState::Online, Some("x"), now)
                    .await
                    .unwrap();
            }
            _ => world.change(&room, &alice, &bob, Change::Kick).await,
        }
        let answer = poll.await;
        let fields: Vec<&String> =
            answer.as_object().unwrap().keys().filter(|field| !field.starts_with("device")).collect();
        assert!(fields.len() > 1, "step {step}: {answer}");
        since = answer;
        // Presence follows from what alice does; it comes in its own time.
        loop {
            let more = world.next(&bob, &since).await;
            if more.as_object().unwrap().len() == 2 {
                break;
            }
            since = more;
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn time_runs_out_and_the_server_stops() {
    let world = World::running();
    let alice = world.user("alice").await;
    let room = world.public_room(&alice).await;
    let first = world.sync(&alice, json!({})).await;
    let empty = world.sync(&alice, json!({ "since": first["next_batch"], "timeout": 1 })).await;
    assert_eq!(sections(&empty), [""; 0]);
    world.say(&room, &alice, "x").await;
    assert_eq!(sections(&world.next(&alice, &empty).await).len(), 1, "the position moved on and lost nothing");

    let last = world.sync(&alice, json!({})).await;
    let poll = waiting!(world, &alice, last);
    world.stop().await;
    assert_eq!(sections(&poll.await), [""; 0]);
}

/// What the filter lets out neither answers a request nor is lost for another filter.
#[tokio::test]
async fn what_the_filter_hides_does_not_answer() {
    let world = World::running();
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let room = world.public_room(&alice).await;
    world.join(&room, &bob).await;
    let first = world.sync(&alice, json!({})).await;
    let filter = json!({ "room": { "timeline": { "types": ["m.room.message"] }, "rooms": [room] } });
    let poll = world.sync(&alice, json!({ "since": first["next_batch"], "timeout": 60_000, "filter": filter }));
    let other = world.public_room(&alice).await;
    let writing = async {
        for number in 0..20 {
            world.say(&other, &alice, &number.to_string()).await;
        }
        world.say(&room, &bob, "this").await;
    };
    let (answer, ()): (Value, ()) = tokio::join!(poll, writing);
    assert_eq!(sections(&answer), [format!("join {room}")]);
    world.stop().await;
}
