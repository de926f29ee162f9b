//! Taking a user away who is gone for ever, piece by piece.

use ruma::UserId;

use crate::{
    RoomError, RoomNid, Rooms,
    keys::{NOTIFICATION, SENT, TRANSACTION},
};

/// One piece of leaving all rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftRooms {
    /// Rooms that were left now.
    pub left: usize,
    /// The last of them: where to go on.
    pub last: RoomNid,
    /// Rooms after it.
    pub more: usize,
}

impl Rooms {
    /// Leaves the next `limit` rooms after `after` that the user is in, invited to or knocking at. `None`: there are no
    /// more. A room that refuses stays as it is.
    pub async fn leave_some(
        &self,
        user: &UserId,
        after: Option<RoomNid>,
        limit: usize,
    ) -> Result<Option<LeftRooms>, RoomError> {
        let mut rooms = self.rooms_to_leave(user).await?;
        rooms.retain(|room| after.is_none_or(|after| *room > after));
        let more = rooms.len().saturating_sub(limit);
        rooms.truncate(limit);
        let Some(last) = rooms.last().copied() else { return Ok(None) };
        let left = rooms.len();
        self.leave_these(user, rooms).await?;
        Ok(Some(LeftRooms { left, last, more }))
    }

    /// Removes what is kept for a user alone: unread notifications, what counts as read, transaction ids. For one who can
    /// no longer log in.
    pub async fn clear_traces(&self, user: &UserId) -> Result<(), RoomError> {
        self.store
            .transact("clear traces", |tx| async move {
                let Some(nid) = self.find_state_key(&tx, user.as_str()).await? else { return Ok(()) };
                NOTIFICATION.clear_prefix(&tx, (nid,));
                SENT.clear_prefix(&tx, (nid,));
                TRANSACTION.clear_prefix(&tx, (nid,));
                Ok(())
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        Membership,
        membership::Change,
        testing::{draft, rooms, user, with_transaction},
    };

    #[tokio::test]
    async fn leaves_in_pieces_and_nothing_stays() {
        let rooms = rooms();
        let mut ids = Vec::new();
        for _ in 0..5 {
            let room = rooms.public_room("alice").await;
            rooms.change_for_test(&room, "bob", "bob", Change::Join).await.unwrap();
            ids.push(room);
        }
        let invited = rooms.public_room("alice").await;
        rooms.change_for_test(&invited, "alice", "bob", Change::Invite).await.unwrap();
        let elsewhere = rooms.public_room("alice").await;
        let message = with_transaction(draft("m.room.message", None, json!({ "body": "x" })), "A", "1");
        rooms.send(&ids[0], &user("bob"), message).await.unwrap();

        let (mut after, mut pieces) = (None, Vec::new());
        while let Some(piece) = rooms.leave_some(&user("bob"), after, 4).await.unwrap() {
            after = Some(piece.last);
            pieces.push((piece.left, piece.more));
        }
        assert_eq!(pieces, [(4, 2), (2, 0)]);
        assert!(rooms.leave_some(&user("bob"), None, 4).await.unwrap().is_none(), "also from the beginning");
        for room in ids.iter().chain([&invited]) {
            assert_eq!(rooms.membership_of(room, &user("bob")).await.unwrap(), Some(Membership::Leave));
        }
        assert_eq!(rooms.membership_of(&elsewhere, &user("alice")).await.unwrap(), Some(Membership::Join));
        rooms.clear_traces(&user("bob")).await.unwrap();
        let tx = rooms.store.begin();
        let bob = rooms.find_state_key(&tx, user("bob").as_str()).await.unwrap().unwrap();
        assert!(NOTIFICATION.scan((bob,)).first(&tx).await.unwrap().is_none());
        assert!(SENT.scan((bob,)).first(&tx).await.unwrap().is_none());
        assert!(TRANSACTION.scan((bob,)).first(&tx).await.unwrap().is_none());
    }
}
