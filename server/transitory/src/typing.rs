//! [Typing notifications](https://spec.matrix.org/v1.19/client-server-api/#typing-notifications).

use hearth_store::Transaction;
use ruma::{OwnedUserId, RoomId, UserId};

use crate::{
    Change, Transitory, TransitoryError, changes,
    keys::{TYPING, TYPING_UNTIL},
    timers,
};

/// Longest time that one request keeps a user typing, in milliseconds.
pub const LONGEST_TYPING: u64 = 120_000;
/// Timers that one transaction of the timers task ends.
const EXPIRED_AT_ONCE: usize = 200;

impl Transitory {
    /// `user` types in `room` until `until` (milliseconds since the epoch), or not any more.
    pub async fn set_typing(&self, room: &RoomId, user: &UserId, until: Option<u64>) -> Result<(), TransitoryError> {
        self.store
            .transact("set_typing", async |tx| {
                let key = (room.as_str(), user.as_str());
                let before = TYPING.get(&tx, key).await?;
                if let Some(before) = before {
                    TYPING_UNTIL.clear(&tx, (before, key.0, key.1));
                }
                if let Some(until) = until {
                    TYPING.set(&tx, key, &until);
                    TYPING_UNTIL.set(&tx, (until, key.0, key.1), &());
                    timers::announce(&tx);
                } else {
                    TYPING.clear(&tx, key);
                }
                // Prolonging changes nothing that anybody sees.
                if before.is_some() != until.is_some() {
                    changes::record(&tx, &Change::Typing(room.to_owned()), 0).await?;
                }
                Ok(())
            })
            .await
    }

    /// Who types in `room`, in the order of their ids.
    pub async fn typing(&self, tx: &Transaction, room: &RoomId) -> Result<Vec<OwnedUserId>, TransitoryError> {
        let rows = TYPING.scan((room.as_str(),)).snapshot().all(tx).await?;
        rows.into_iter()
            .map(|((_, user), _)| user.try_into())
            .collect::<Result<_, ruma::IdParseError>>()
            .map_err(|error| TransitoryError::Corrupt(error.to_string()))
    }

    /// Ends typing that was not renewed by `now`. Returns whether there may be more to end.
    pub(crate) async fn expire_typing(&self, now: u64) -> Result<bool, TransitoryError> {
        self.store
            .transact("expire_typing", async |tx| {
                let due = TYPING_UNTIL.scan(()).until((now,)).limit(EXPIRED_AT_ONCE).all(&tx).await?;
                let mut rooms = Vec::new();
                for ((until, room, user), ()) in &due {
                    TYPING.clear(&tx, (room, user));
                    TYPING_UNTIL.clear(&tx, (*until, room, user));
                    if !rooms.contains(&room) {
                        rooms.push(room);
                    }
                }
                for (index, room) in rooms.into_iter().enumerate() {
                    let room = RoomId::parse(room).map_err(|error| TransitoryError::Corrupt(error.to_string()))?;
                    changes::record(&tx, &Change::Typing(room), index as u16).await?;
                }
                Ok(due.len() == EXPIRED_AT_ONCE)
            })
            .await
    }
}
