//! Rooms that two users share
//! ([`GET /mutual_rooms`](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mutual_rooms)).

use ruma::{OwnedRoomId, RoomId, UserId};

use crate::{Membership, RoomError, Rooms};

/// Rooms of a page.
const PAGE: usize = 100;

/// A page of the rooms that two users share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MutualRooms {
    /// The rooms, in the order of their ids.
    pub joined: Vec<OwnedRoomId>,
    /// Number of all of them.
    pub count: u64,
    /// Token of the next page.
    pub next_batch: Option<String>,
}

impl Rooms {
    /// Rooms that both users are joined to, from the one after `from`.
    pub async fn mutual_rooms(&self, a: &UserId, b: &UserId, from: Option<&str>) -> Result<MutualRooms, RoomError> {
        let from = from.map(<&RoomId>::try_from).transpose().map_err(|_| RoomError::InvalidToken)?;
        let of_a = self.rooms_of(a, Membership::Join).await?;
        if of_a.is_empty() {
            return Ok(MutualRooms::default());
        }
        let of_b: std::collections::HashSet<OwnedRoomId> =
            self.rooms_of(b, Membership::Join).await?.into_iter().collect();
        let mut joined: Vec<OwnedRoomId> = of_a.into_iter().filter(|room| of_b.contains(room)).collect();
        joined.sort_unstable();
        let count = joined.len() as u64;
        if let Some(from) = from {
            joined.retain(|room| **room > *from);
        }
        let more = joined.len() > PAGE;
        joined.truncate(PAGE);
        let next_batch = joined.last().filter(|_| more).map(ToString::to_string);
        Ok(MutualRooms { joined, count, next_batch })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        membership::Change,
        testing::{rooms, user},
    };

    #[tokio::test]
    async fn shared_rooms_page_by_page() {
        let rooms = rooms();
        let mut shared = Vec::new();
        for n in 0..(PAGE + 20) {
            let room = rooms.public_room("alice").await;
            if n % 20 != 0 {
                rooms.change_for_test(&room, "bob", "bob", Change::Join).await.unwrap();
                shared.push(room);
            } else {
                rooms.change_for_test(&room, "alice", "bob", Change::Invite).await.unwrap();
            }
        }
        shared.sort_unstable();
        let (alice, bob) = (user("alice"), user("bob"));
        let first = rooms.mutual_rooms(&alice, &bob, None).await.unwrap();
        assert_eq!((first.count, first.joined.as_slice()), (shared.len() as u64, &shared[..PAGE]));
        let second = rooms.mutual_rooms(&alice, &bob, first.next_batch.as_deref()).await.unwrap();
        assert_eq!((second.joined.as_slice(), second.next_batch), (&shared[PAGE..], None));
        assert_eq!(rooms.mutual_rooms(&alice, &user("nobody"), None).await.unwrap(), MutualRooms::default());
        assert_eq!(rooms.mutual_rooms(&user("nobody"), &bob, None).await.unwrap(), MutualRooms::default());
        assert!(matches!(rooms.mutual_rooms(&alice, &bob, Some("junk")).await, Err(RoomError::InvalidToken)));
    }
}
