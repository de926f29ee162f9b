//! How the contents of account data are stored: in parts, each write with an entry in the logs.

use bytes::Bytes;
use hearth_store::{Transaction, Versionstamp};

use crate::{
    AccountError,
    keys::{DATA, DATA_AT, DATA_LOG, HEAD, RULES_HEAD, STREAM, USER_HEAD},
    records::DataChange,
};

/// Event type of push rules; a write of them also moves [`RULES_HEAD`].
pub(crate) const PUSH_RULES: &str = "m.push_rules";
/// Event type of the list of ignored users, which notify of nothing: a write of it moves [`RULES_HEAD`], too.
pub(crate) const IGNORED_USERS: &str = "m.ignored_user_list";
/// Largest content, in bytes.
pub(crate) const CONTENT_BYTES: usize = 1_000_000;
/// Longest event type, in bytes.
pub(crate) const TYPE_BYTES: usize = 255;
/// A content is stored in parts of this many bytes: below the store's limit of a value.
const PART_BYTES: usize = 90_000;

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
    if event_type == PUSH_RULES || room.is_empty() && event_type == IGNORED_USERS {
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
