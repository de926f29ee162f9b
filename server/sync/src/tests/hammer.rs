//! Many writers and many long-polling readers at once: every event reaches every reader once and in order.

use std::{collections::HashMap, sync::Arc};

use serde_json::json;

use super::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_event_is_lost_or_doubled_under_long_polling() {
    const ROOMS: usize = 3;
    const WRITERS: usize = 6;
    const READERS: usize = 6;
    const MESSAGES: usize = 40;

    let world = Arc::new(World::running());
    let mut users = Vec::new();
    for number in 0..WRITERS.max(READERS) {
        users.push(world.user(&format!("user{number}")).await);
    }
    let mut rooms = Vec::new();
    for _ in 0..ROOMS {
        let room = world.public_room(&users[0]).await;
        for user in &users[1..] {
            world.join(&room, user).await;
        }
        rooms.push(room);
    }

    let mut readers = Vec::new();
    for reader in &users[..READERS] {
        let (world, reader) = (world.clone(), reader.clone());
        // From one position for all, before anything is written.
        let first = world.sync(&reader, json!({})).await;
        readers.push(tokio::spawn(async move {
            let filter = json!({ "room": { "timeline": { "limit": 200, "types": ["m.room.message"] } } });
            let mut since = first["next_batch"].clone();
            let mut seen: HashMap<(String, String), Vec<usize>> = HashMap::new();
            let mut count = 0;
            while count < WRITERS * MESSAGES {
                let parameters = json!({ "since": since, "filter": filter, "timeout": 60_000 });
                let response = world.sync(&reader, parameters).await;
                for (room, section) in response["rooms"]["join"].as_object().into_iter().flatten() {
                    assert!(section["timeline"]["limited"].is_null(), "nothing is left out");
                    for event in section["timeline"]["events"].as_array().into_iter().flatten() {
                        let number = event["content"]["body"].as_str().unwrap().parse().unwrap();
                        let sender = event["sender"].as_str().unwrap().to_owned();
                        seen.entry((room.clone(), sender)).or_default().push(number);
                        count += 1;
                    }
                }
                since = response["next_batch"].clone();
            }
            seen
        }));
    }
    let mut writers = Vec::new();
    for (number, writer) in users[..WRITERS].iter().enumerate() {
        let (world, writer, room) = (world.clone(), writer.clone(), rooms[number % ROOMS].clone());
        writers.push(tokio::spawn(async move {
            for message in 0..MESSAGES {
                world.say(&room, &writer, &message.to_string()).await;
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for reader in readers {
        let seen = reader.await.unwrap();
        assert_eq!(seen.len(), WRITERS);
        for (from, numbers) in seen {
            assert_eq!(numbers, (0..MESSAGES).collect::<Vec<_>>(), "{from:?}");
        }
    }
    assert_eq!(world.engine.hub().waiting(), 0);
    world.stop().await;
}
