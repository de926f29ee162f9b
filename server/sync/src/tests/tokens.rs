//! Positions: what is refused, what goes on where.

use serde_json::json;

use super::world::{World, sections};
use crate::SyncError;

#[tokio::test]
async fn garbled_and_foreign_tokens_are_refused() {
    let world = World::new();
    let alice = world.user("alice").await;
    world.public_room(&alice).await;
    let first = world.sync(&alice, json!({})).await;
    let mine = first["next_batch"].as_str().unwrap();
    assert!(mine.starts_with('s'));
    let future = format!("s{}_0_0", u64::MAX);
    for token in ["", "s", "nonsense", "s1_1", "s1_1_1_1", "t000000000000000000000000", &future] {
        let refused = world.try_sync(&alice, json!({ "since": token })).await;
        assert!(matches!(refused, Err(SyncError::UnknownPosition)), "{token}: {refused:?}");
    }
    assert!(world.try_sync(&alice, json!({ "since": mine })).await.is_ok());
}

#[tokio::test]
async fn nothing_new_is_an_empty_response() {
    let world = World::new();
    let alice = world.user("alice").await;
    let room = world.public_room(&alice).await;
    let first = world.sync(&alice, json!({})).await;
    assert_eq!(sections(&first), [format!("join {room}")]);
    assert_eq!(first["device_unused_fallback_key_types"], json!([]));
    let second = world.next(&alice, &first).await;
    let fields: Vec<&String> = second.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["device_unused_fallback_key_types", "next_batch"]);
    // The same position may be asked for again and again.
    world.say(&room, &alice, "hello").await;
    for _ in 0..2 {
        assert_eq!(sections(&world.next(&alice, &first).await), [format!("join {room}")]);
    }
}

#[tokio::test]
async fn who_has_no_room_can_sync() {
    let world = World::new();
    let alice = world.user("alice").await;
    let first = world.sync(&alice, json!({})).await;
    assert_eq!(first["account_data"]["events"][0]["type"], "m.push_rules");
    let second = world.next(&alice, &first).await;
    assert!(second["account_data"].is_null());
    let room = world.public_room(&alice).await;
    assert_eq!(sections(&world.next(&alice, &second).await), [format!("join {room}")]);
}
