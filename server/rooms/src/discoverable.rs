//! Who can be found in the [user directory](https://spec.matrix.org/v1.19/client-server-api/#user-directory) by
//! people who share no room with them.

use hearth_store::Transaction;
use ruma::UserId;
use serde::Deserialize;

use crate::{Membership, RoomError, RoomNid, Rooms, keys::MEMBERSHIP};

impl Rooms {
    /// Whether the user is joined to a room that is open to the world: anyone may join it or read its history.
    pub async fn in_open_room(&self, user: &UserId) -> Result<bool, RoomError> {
        let tx = self.store.begin();
        let Some(user) = self.find_state_key(&tx, user.as_str()).await? else { return Ok(false) };
        for ((_, room), record) in MEMBERSHIP.scan((user,)).snapshot().all(&tx).await? {
            if record.membership == Membership::Join && self.is_open(&tx, room).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn is_open(&self, tx: &Transaction, room: RoomNid) -> Result<bool, RoomError> {
        #[derive(Default, Deserialize)]
        struct Content {
            join_rule: Option<String>,
            history_visibility: Option<String>,
        }
        for event_type in ["m.room.join_rules", "m.room.history_visibility"] {
            let Some(event) = self.current_state_entry(tx, room, event_type).await? else { continue };
            let content: Content = serde_json::from_str(event.pdu.content.get()).unwrap_or_default();
            if content.join_rule.as_deref() == Some("public")
                || content.history_visibility.as_deref() == Some("world_readable")
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{
        membership::Change,
        testing::{rooms, user},
    };

    #[tokio::test]
    async fn only_members_of_open_rooms() {
        let rooms = rooms();
        let secret = rooms.create_for_test("alice", json!({ "preset": "private_chat" })).await.unwrap();
        let open = rooms.public_room("bob").await;
        let readable = json!({
            "preset": "private_chat",
            "initial_state": [
                { "type": "m.room.history_visibility", "content": { "history_visibility": "world_readable" } },
            ],
        });
        rooms.create_for_test("carol", readable).await.unwrap();
        for (name, found) in [("alice", false), ("bob", true), ("carol", true), ("nobody", false)] {
            assert_eq!(rooms.in_open_room(&user(name)).await.unwrap(), found, "{name}");
        }
        rooms.change_for_test(&open, "alice", "alice", Change::Join).await.unwrap();
        assert!(rooms.in_open_room(&user("alice")).await.unwrap());
        rooms.change_for_test(&open, "alice", "alice", Change::Leave).await.unwrap();
        assert!(!rooms.in_open_room(&user("alice")).await.unwrap());
        rooms.change_for_test(&secret, "alice", "bob", Change::Invite).await.unwrap();
        assert!(rooms.share_room(&user("alice"), &user("bob")).await.is_ok_and(|shared| !shared));
    }
}
