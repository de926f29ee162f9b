//! Forgetting a room.

use ruma::RoomId;

use crate::{
    Transitory, TransitoryError,
    changes::{self, Change},
    keys::{RECEIPT, RECEIPT_AT, RECEIPT_LOG, TYPING, TYPING_UNTIL},
};

impl Transitory {
    /// Forgets who typed and read in a room that is purged.
    pub async fn forget_room(&self, room: &RoomId) -> Result<(), TransitoryError> {
        self.store
            .transact("forget_room", async |tx| {
                for ((_, user), until) in TYPING.scan((room.as_str(),)).all(&tx).await? {
                    TYPING_UNTIL.clear(&tx, (until, room.as_str(), &user));
                }
                TYPING.clear_prefix(&tx, (room.as_str(),));
                RECEIPT.clear_prefix(&tx, (room.as_str(),));
                RECEIPT_AT.clear_prefix(&tx, (room.as_str(),));
                RECEIPT_LOG.clear_prefix(&tx, (room.as_str(),));
                for change in [Change::Typing(room.to_owned()), Change::Receipts(room.to_owned())] {
                    changes::forget(&tx, &change).await?;
                }
                Ok(())
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use hearth_store::Store;
    use ruma::{event_id, room_id, user_id};

    use super::*;
    use crate::{
        ReceiptKind,
        keys::{CHANGE, CHANGED_AT},
    };

    #[tokio::test]
    async fn nothing_is_left_of_a_room_and_others_stay() {
        let transitory = Transitory::new(Store::memory());
        let alice = user_id!("@alice:example.org");
        for room in [room_id!("!a:example.org"), room_id!("!ab:example.org")] {
            transitory.set_typing(room, alice, Some(5)).await.unwrap();
            transitory.set_receipt(room, alice, ReceiptKind::Public, None, event_id!("$e"), 1).await.unwrap();
        }
        transitory.forget_room(room_id!("!a:example.org")).await.unwrap();
        let tx = transitory.store.begin();
        assert_eq!(TYPING.scan(()).all(&tx).await.unwrap().len(), 1);
        assert_eq!(TYPING_UNTIL.scan(()).all(&tx).await.unwrap().len(), 1);
        assert_eq!(RECEIPT.scan(()).all(&tx).await.unwrap().len(), 1);
        assert_eq!(RECEIPT_AT.scan(()).all(&tx).await.unwrap().len(), 1);
        assert_eq!(RECEIPT_LOG.scan(()).all(&tx).await.unwrap().len(), 1);
        assert_eq!(CHANGE.scan(()).all(&tx).await.unwrap().len(), 2);
        assert_eq!(CHANGED_AT.scan(()).all(&tx).await.unwrap().len(), 2);
    }
}
