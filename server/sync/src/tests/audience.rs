//! Batches as such: for users and servers alike.

use ruma::{OwnedServerName, UserId, owned_server_name};
use serde_json::json;

use super::world::World;
use crate::{Audience, Batch, Limits, Standing, SyncPosition};

async fn batch(world: &World, audience: &Audience, since: Option<SyncPosition>) -> Batch {
    world.engine.next_batch(audience, since, Limits::default()).await.unwrap().0
}

fn user(user: &UserId) -> Audience {
    Audience::User(user.to_owned())
}

#[tokio::test]
async fn a_server_gets_what_its_users_are_in() {
    let world = World::new();
    let alice = world.user("alice").await;
    let server = Audience::Server(owned_server_name!("example.org"));
    let stranger: OwnedServerName = owned_server_name!("elsewhere.example.org");
    let start = batch(&world, &server, None).await;
    assert!(start.rooms.is_empty());
    let room = world.public_room(&alice).await;
    let joined = batch(&world, &server, Some(start.position)).await;
    assert_eq!(joined.rooms.len(), 1);
    assert!(matches!(joined.rooms[0].standing, Standing::Joined) && joined.rooms[0].since.is_none(), "new to it");
    assert_eq!(joined.joined.len(), 1);
    world.say(&room, &alice, "x").await;
    let next = batch(&world, &server, Some(joined.position)).await;
    assert_eq!(next.rooms.len(), 1);
    assert_eq!(next.rooms[0].since, Some(joined.position.rooms));
    assert!(batch(&world, &server, Some(next.position)).await.is_empty());
    assert!(batch(&world, &Audience::Server(stranger), Some(start.position)).await.rooms.is_empty());
    world.account_data(&alice, None, "org.x", json!({})).await;
    assert!(batch(&world, &server, Some(next.position)).await.is_empty(), "a server has no account data");
}

#[tokio::test]
async fn kept_memberships_follow_every_change() {
    let world = World::new();
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let mut rooms = Vec::new();
    for _ in 0..5 {
        rooms.push(world.public_room(&alice).await);
    }
    for (number, room) in rooms.iter().enumerate() {
        world.join(room, &bob).await;
        assert_eq!(batch(&world, &user(&bob), None).await.joined.len(), number + 1);
    }
    for (number, room) in rooms.iter().enumerate() {
        world.leave(room, &bob).await;
        assert_eq!(batch(&world, &user(&bob), None).await.joined.len(), 4 - number);
    }
    assert!(world.engine.cache_stats().iter().any(|(_, stats)| stats.hits > 0 && stats.entries > 0));
}

/// More happens elsewhere than the audience has rooms, so that their heads are compared instead.
#[tokio::test]
async fn what_happens_elsewhere_hides_nothing() {
    let world = World::new();
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let (mine, other) = (world.public_room(&bob).await, world.public_room(&alice).await);
    let start = batch(&world, &user(&bob), None).await;
    for number in 0..10 {
        world.say(&other, &alice, &number.to_string()).await;
    }
    assert!(batch(&world, &user(&bob), Some(start.position)).await.is_empty());
    world.say(&mine, &bob, "x").await;
    for number in 0..10 {
        world.say(&other, &alice, &number.to_string()).await;
    }
    assert_eq!(batch(&world, &user(&bob), Some(start.position)).await.rooms.len(), 1);
}
