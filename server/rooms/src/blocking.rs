//! Rooms that the server's owner does not want.

use hearth_store::Transaction;
use ruma::RoomId;

use crate::{RoomError, Rooms, keys::BLOCKED};

impl Rooms {
    /// Keeps this server's users from joining the room, knocking at it, and from being invited to it, or lets them again.
    /// Members stay. The room need not be known here. `now` is in milliseconds since 1970.
    pub async fn block_room(&self, room_id: &RoomId, blocked: bool, now: u64) -> Result<(), RoomError> {
        self.store
            .transact("block room", |tx| async move {
                if !blocked {
                    BLOCKED.clear(&tx, (room_id.as_str(),));
                } else if BLOCKED.get(&tx, (room_id.as_str(),)).await?.is_none() {
                    BLOCKED.set(&tx, (room_id.as_str(),), &now);
                }
                Ok(())
            })
            .await
    }

    /// Since when the room is blocked, milliseconds since 1970; `None`: it is not.
    pub async fn blocked_since(&self, room_id: &RoomId) -> Result<Option<u64>, RoomError> {
        Ok(BLOCKED.get_snapshot(&self.store.begin(), (room_id.as_str(),)).await?)
    }

    /// Refuses in the transaction of a join, knock or invite.
    pub(crate) async fn must_not_be_blocked(&self, tx: &Transaction, room_id: &RoomId) -> Result<(), RoomError> {
        match BLOCKED.get(tx, (room_id.as_str(),)).await? {
            Some(_) => Err(RoomError::Forbidden("this server's administrator has blocked the room".to_owned())),
            None => Ok(()),
        }
    }
}
