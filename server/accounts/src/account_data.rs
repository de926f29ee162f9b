//! [Account data](https://spec.matrix.org/v1.19/client-server-api/#client-config) and
//! [tags](https://spec.matrix.org/v1.19/client-server-api/#room-tagging).

use ruma::{RoomId, UserId};
use serde_json::{Map, Value, value::RawValue};

use crate::{
    AccountError, Accounts,
    contents::{PUSH_RULES, TYPE_BYTES, damaged, read_data, write_data},
    push_rules::stored_rules,
};

/// Longest name of a tag, in bytes.
const TAG_BYTES: usize = 255;
/// How a content's room is written in keys.
fn room_key(room: Option<&RoomId>) -> &str {
    room.map_or("", |room| room.as_str())
}

/// The tags in an `m.tag` content; anything else a client wrote there counts as none.
fn tags_of(content: Option<String>) -> Result<Map<String, Value>, AccountError> {
    let Some(content) = content else { return Ok(Map::new()) };
    let mut content: Map<String, Value> = serde_json::from_str(&content).map_err(damaged)?;
    match content.remove("tags") {
        Some(Value::Object(tags)) => Ok(tags),
        _ => Ok(Map::new()),
    }
}

/// Event type of a room's tags.
const TAG: &str = "m.tag";

impl Accounts {
    /// The content stored under `event_type`, global or of a room. Global `m.push_rules` is there from the beginning.
    pub async fn account_data(
        &self,
        user: &UserId,
        room: Option<&RoomId>,
        event_type: &str,
    ) -> Result<Option<Box<RawValue>>, AccountError> {
        let localpart = self.local(user)?;
        if event_type.len() > TYPE_BYTES {
            return Ok(None);
        }
        let tx = self.store.begin();
        let content = read_data(&tx, localpart, room_key(room), event_type, true).await?;
        if room.is_none() && event_type == PUSH_RULES {
            return Ok(Some(stored_rules(user, content.as_deref())?.to_content()?));
        }
        content.map(|content| RawValue::from_string(content).map_err(damaged)).transpose()
    }

    /// Stores a content (a JSON object). Which types a client may write is the caller's to decide.
    pub async fn set_account_data(
        &self,
        user: &UserId,
        room: Option<&RoomId>,
        event_type: &str,
        content: &RawValue,
    ) -> Result<(), AccountError> {
        let localpart = self.local(user)?;
        self.store
            .transact("accounts.set_account_data", |tx| async move {
                write_data(&tx, localpart, room_key(room), event_type, content.get()).await
            })
            .await
    }

    /// The user's tags of a room by name, as in `m.tag`.
    pub async fn tags(&self, user: &UserId, room: &RoomId) -> Result<Map<String, Value>, AccountError> {
        let localpart = self.local(user)?;
        tags_of(read_data(&self.store.begin(), localpart, room.as_str(), TAG, true).await?)
    }

    /// Sets a tag (`None` removes it).
    pub async fn set_tag(
        &self,
        user: &UserId,
        room: &RoomId,
        tag: &str,
        info: Option<Map<String, Value>>,
    ) -> Result<(), AccountError> {
        let localpart = self.local(user)?;
        if tag.is_empty() || tag.len() > TAG_BYTES {
            return Err(AccountError::InvalidParam("a tag has 1 to 255 bytes".into()));
        }
        let (info, room) = (&info, room.as_str());
        self.store
            .transact("accounts.set_tag", |tx| async move {
                let mut tags = tags_of(read_data(&tx, localpart, room, TAG, false).await?)?;
                match info {
                    Some(info) => {
                        tags.insert(tag.to_owned(), Value::Object(info.clone()));
                    }
                    None => {
                        if tags.remove(tag).is_none() {
                            return Ok(());
                        }
                    }
                }
                let content = serde_json::json!({ "tags": tags }).to_string();
                write_data(&tx, localpart, room, TAG, &content).await
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use ruma::room_id;
    use serde_json::json;

    use super::*;
    use crate::{accounts::tests::accounts, contents::CONTENT_BYTES};

    fn raw(value: &Value) -> Box<RawValue> {
        serde_json::value::to_raw_value(value).unwrap()
    }

    #[tokio::test]
    async fn global_and_room_data_are_apart() {
        let accounts = accounts();
        let (alice, bob) = (accounts.test_user("alice").await, accounts.test_user("bob").await);
        let room = room_id!("!room:example.org");
        let (one, two) = (raw(&json!({ "n": 1 })), raw(&json!({ "n": 2 })));
        accounts.set_account_data(&alice, None, "org.example", &one).await.unwrap();
        accounts.set_account_data(&alice, Some(room), "org.example", &two).await.unwrap();
        for (user, room, expected) in [
            (&alice, None, Some(one.get())),
            (&alice, Some(room), Some(two.get())),
            (&alice, Some(room_id!("!other:example.org")), None),
            (&bob, None, None),
        ] {
            let content = accounts.account_data(user, room, "org.example").await.unwrap();
            assert_eq!(content.as_deref().map(RawValue::get), expected);
        }
    }

    #[tokio::test]
    async fn limits() {
        let accounts = accounts();
        let alice = accounts.test_user("alice").await;
        // Larger than one value of the store, then shorter: nothing of the longer one may be left.
        for length in [300_000, 100_000, 10] {
            let content = raw(&json!({ "text": "ä".repeat(length) }));
            accounts.set_account_data(&alice, None, "org.example", &content).await.unwrap();
            let read = accounts.account_data(&alice, None, "org.example").await.unwrap().unwrap();
            assert_eq!(read.get(), content.get());
        }
        let huge = raw(&json!({ "text": "x".repeat(CONTENT_BYTES) }));
        assert!(matches!(
            accounts.set_account_data(&alice, None, "org.example", &huge).await,
            Err(AccountError::TooLarge(_))
        ));
        let long = "t".repeat(256);
        assert!(accounts.set_account_data(&alice, None, &long, &raw(&json!({}))).await.is_err());
        assert!(accounts.account_data(&alice, None, &long).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn tags() {
        let accounts = accounts();
        let alice = accounts.test_user("alice").await;
        let room = room_id!("!room:example.org");
        let order = |order: f64| Some(json!({ "order": order }).as_object().unwrap().clone());
        accounts.set_tag(&alice, room, "m.favourite", order(0.25)).await.unwrap();
        accounts.set_tag(&alice, room, "u.work", Some(Map::new())).await.unwrap();
        accounts.set_tag(&alice, room, "m.favourite", order(0.5)).await.unwrap();
        let expected = json!({ "m.favourite": { "order": 0.5 }, "u.work": {} });
        assert_eq!(Value::Object(accounts.tags(&alice, room).await.unwrap()), expected);
        let content = accounts.account_data(&alice, Some(room), "m.tag").await.unwrap().unwrap();
        assert_eq!(serde_json::from_str::<Value>(content.get()).unwrap(), json!({ "tags": expected }));
        accounts.set_tag(&alice, room, "u.work", None).await.unwrap();
        accounts.set_tag(&alice, room, "u.unknown", None).await.unwrap();
        assert_eq!(accounts.tags(&alice, room).await.unwrap().len(), 1);
        assert!(accounts.set_tag(&alice, room, &"x".repeat(256), order(0.5)).await.is_err());
        // What a client wrote over it is no reason to fail.
        accounts.set_account_data(&alice, Some(room), "m.tag", &raw(&json!({ "tags": 3 }))).await.unwrap();
        assert!(accounts.tags(&alice, room).await.unwrap().is_empty());
    }
}
