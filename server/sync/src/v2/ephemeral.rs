//! Typing and receipts.

use std::collections::BTreeMap;

use hearth_rooms::RoomInfo;
use hearth_store::Transaction;
use hearth_transitory::{ReceiptEntry, ReceiptKind};
use ruma::{events::AnySyncEphemeralRoomEvent, serde::Raw};
use serde_json::{Value, json, value::to_raw_value};

use super::asker::Span;
use crate::{RoomBatch, SyncEngine, SyncError};

/// What a room's members do beside its events.
#[derive(Default)]
pub(super) struct Ephemeral {
    /// As events.
    pub(super) events: Vec<Raw<AnySyncEphemeralRoomEvent>>,
    /// The reader has read something, perhaps on another device: unread counts may be others.
    pub(super) has_own_receipt: bool,
}

impl SyncEngine {
    /// The ephemeral events of a joined room: all if `everything`, else what changed.
    pub(super) async fn ephemeral(
        &self,
        tx: &Transaction,
        span: &Span<'_>,
        info: &RoomInfo,
        room: &RoomBatch,
        everything: bool,
    ) -> Result<Ephemeral, SyncError> {
        let (transitory, asker) = (&self.0.transitory, span.asker);
        let filter = &asker.filter.ephemeral;
        let in_room = filter.accepts_room(info.room_id.as_str());
        let mut ephemeral = Ephemeral::default();
        if (everything || room.typing) && in_room && filter.accepts_type("m.typing") {
            let mut typing = transitory.typing(tx, &info.room_id).await?;
            typing.retain(|user| !asker.ignores(user.as_str()));
            // Nobody types: news for a client that has seen the room before.
            if room.typing && span.since.is_some() || !typing.is_empty() {
                ephemeral.events.extend(event("m.typing", &json!({ "user_ids": typing })));
            }
        }
        if everything || room.receipts {
            let since = if everything { None } else { span.since.map(|since| since.transitory) };
            let mut receipts = transitory.receipts(tx, &info.room_id, asker.user, since).await?;
            ephemeral.has_own_receipt = receipts.iter().any(|receipt| receipt.user == asker.user);
            receipts.retain(|receipt| !asker.ignores(receipt.user.as_str()));
            if in_room && filter.accepts_type("m.receipt") {
                ephemeral.events.extend(receipt_events(receipts));
            }
        }
        Ok(ephemeral)
    }
}

fn event<T>(event_type: &str, content: &Value) -> Option<Raw<T>> {
    to_raw_value(&json!({ "type": event_type, "content": content })).ok().map(Raw::from_json)
}

/// Event, kind and user of a receipt: what one `m.receipt` holds once.
type Place = (String, &'static str, String);

/// As few `m.receipt` events as hold all receipts: one, unless a user has receipts for one event in several threads.
fn receipt_events<T>(receipts: Vec<ReceiptEntry>) -> Vec<Raw<T>> {
    let mut contents: Vec<BTreeMap<Place, Value>> = Vec::new();
    for receipt in receipts {
        let kind = match receipt.kind {
            ReceiptKind::Public => "m.read",
            ReceiptKind::Private => "m.read.private",
        };
        let mut data = json!({ "ts": receipt.ts });
        if let Some(thread) = receipt.thread {
            data["thread_id"] = thread.into();
        }
        let place = (receipt.event_id.to_string(), kind, receipt.user.to_string());
        if let Some(content) = contents.iter_mut().find(|content| !content.contains_key(&place)) {
            content.insert(place, data);
        } else {
            contents.push(BTreeMap::from([(place, data)]));
        }
    }
    let content = |places: BTreeMap<Place, Value>| {
        let mut content = json!({});
        for ((event, kind, user), data) in places {
            content[event][kind][user] = data;
        }
        content
    };
    contents.into_iter().filter_map(|places| event("m.receipt", &content(places))).collect()
}

#[cfg(test)]
mod tests {
    use ruma::{OwnedEventId, OwnedUserId};

    use super::*;

    #[test]
    fn receipts_share_events_unless_they_collide() {
        let receipt = |user: &str, kind, thread: Option<&str>, event: &str| ReceiptEntry {
            user: OwnedUserId::try_from(user).unwrap(),
            kind,
            thread: thread.map(ToOwned::to_owned),
            event_id: OwnedEventId::try_from(event).unwrap(),
            ts: 5,
        };
        let events: Vec<Raw<Value>> = receipt_events(vec![
            receipt("@a:x", ReceiptKind::Public, None, "$1"),
            receipt("@b:x", ReceiptKind::Public, Some("main"), "$1"),
            receipt("@a:x", ReceiptKind::Private, None, "$1"),
            receipt("@a:x", ReceiptKind::Public, Some("$t"), "$1"),
            receipt("@c:x", ReceiptKind::Public, None, "$2"),
        ]);
        let events: Vec<Value> = events.iter().map(|event| serde_json::from_str(event.json().get()).unwrap()).collect();
        assert_eq!(
            events,
            [
                json!({"type": "m.receipt", "content": {
                    "$1": {
                        "m.read": {"@a:x": {"ts": 5}, "@b:x": {"ts": 5, "thread_id": "main"}},
                        "m.read.private": {"@a:x": {"ts": 5}},
                    },
                    "$2": {"m.read": {"@c:x": {"ts": 5}}},
                }}),
                json!({"type": "m.receipt", "content": {"$1": {"m.read": {"@a:x": {"ts": 5, "thread_id": "$t"}}}}}),
            ]
        );
    }
}
