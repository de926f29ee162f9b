//! [Account data](https://spec.matrix.org/v1.19/client-server-api/#client-config) and
//! [tags](https://spec.matrix.org/v1.19/client-server-api/#room-tagging).

use bytes::Bytes;
use hearth_store::{Transaction, Versionstamp};
use ruma::{RoomId, UserId};
use serde_json::{Map, Value, value::RawValue};

use crate::{
    AccountError, Accounts,
    keys::{DATA, DATA_AT, DATA_LOG, HEAD, RULES_HEAD, STREAM, USER_HEAD},
    push_rules::{PUSH_RULES, stored_rules},
    records::DataChange,
};

/// Largest content, in bytes.
const CONTENT_BYTES: usize = 1_000_000;
/// Longest event type, in bytes.
const TYPE_BYTES: usize = 255;
/// Longest name of a tag, in bytes.
const TAG_BYTES: usize = 255;
/// A content is stored in parts of this many bytes: below the store's limit of a value.
const PART_BYTES: usize = 90_000;

/// How a content's room is written in keys.
pub(crate) fn room_key(room: Option<&RoomId>) -> &str {
    room.map_or("", |room| room.as_str())
}

/// Reads a content, without a conflict if `snapshot`.
pub(crate) async fn read_data(
    tx: &Transaction,
    user: &str,
    room: &str,
    event_type: &str,
    snapshot: bool,
) -> Result<Option<String>, AccountError> {
    let scan = DATA.scan((user, room, event_type));
    let parts = if snapshot { scan.snapshot().all(tx).await? } else { scan.all(tx).await? };
    if parts.is_empty() {
        return Ok(None);
    }
    let content: Vec<u8> = parts.into_iter().flat_map(|(_, part)| part).collect();
    String::from_utf8(content).map(Some).map_err(damaged)
}

/// Writes a content and enters it in the logs in place of its earlier entry. Once per transaction and user.
pub(crate) async fn write_data(
    tx: &Transaction,
    user: &str,
    room: &str,
    event_type: &str,
    content: &str,
) -> Result<(), AccountError> {
    if content.len() > CONTENT_BYTES {
        return Err(AccountError::TooLarge(content.len()));
    }
    if event_type.is_empty() || event_type.len() > TYPE_BYTES {
        return Err(AccountError::InvalidParam("an event type has 1 to 255 bytes".into()));
    }
    clear_entries(tx, user, room, event_type).await?;
    DATA.clear_prefix(tx, (user, room, event_type));
    for (number, part) in (0..).zip(content.as_bytes().chunks(PART_BYTES)) {
        DATA.set(tx, (user, room, event_type, number), &Bytes::copy_from_slice(part));
    }
    let at = Versionstamp::incomplete(0);
    DATA_AT.set_to_commit_stamp(tx, (user, room, event_type), 0);
    let change = DataChange { room: room.to_owned(), event_type: event_type.to_owned() };
    DATA_LOG.set_versionstamped_key(tx, (user, &at), &change);
    STREAM.set_versionstamped_key(tx, (&at,), &user.to_owned());
    USER_HEAD.set_to_commit_stamp(tx, (user,), 0);
    HEAD.set_to_commit_stamp(tx, (0,), 0);
    if event_type == PUSH_RULES {
        RULES_HEAD.set_to_commit_stamp(tx, (0,), 0);
    }
    Ok(())
}

/// Removes the log entries of a content.
async fn clear_entries(tx: &Transaction, user: &str, room: &str, event_type: &str) -> Result<(), AccountError> {
    if let Some(at) = DATA_AT.get(tx, (user, room, event_type)).await? {
        DATA_LOG.clear(tx, (user, &at));
        STREAM.clear(tx, (&at,));
    }
    Ok(())
}

/// Removes all account data of a user.
pub(crate) async fn clear_all_data(tx: &Transaction, user: &str) -> Result<(), AccountError> {
    for ((_, at), _) in DATA_LOG.scan((user,)).all(tx).await? {
        STREAM.clear(tx, (&at,));
    }
    DATA_LOG.clear_prefix(tx, (user,));
    DATA_AT.clear_prefix(tx, (user,));
    DATA.clear_prefix(tx, (user,));
    USER_HEAD.clear(tx, (user,));
    Ok(())
}

/// Stored content that does not parse.
pub(crate) fn damaged(error: impl std::fmt::Display) -> AccountError {
    AccountError::Internal(format!("stored account data: {error}"))
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
    use crate::accounts::tests::accounts;

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
