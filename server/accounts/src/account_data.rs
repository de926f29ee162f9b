//! [Account data](https://spec.matrix.org/v1.19/client-server-api/#client-config) and
//! [tags](https://spec.matrix.org/v1.19/client-server-api/#room-tagging).

use ruma::{RoomId, UserId};
use serde_json::{Map, Value, value::RawValue};

use crate::{AccountError, Accounts};

impl Accounts {
    /// The content stored under `event_type`, global or of a room. `m.push_rules` always has one.
    pub async fn account_data(
        &self,
        user: &UserId,
        room: Option<&RoomId>,
        event_type: &str,
    ) -> Result<Option<Box<RawValue>>, AccountError> {
        let _ = (user, room, event_type);
        todo!()
    }

    /// Stores a content (a JSON object). Which types a client may write is the caller's to decide.
    pub async fn set_account_data(
        &self,
        user: &UserId,
        room: Option<&RoomId>,
        event_type: &str,
        content: &RawValue,
    ) -> Result<(), AccountError> {
        let _ = (user, room, event_type, content);
        todo!()
    }

    /// The user's tags of a room by name, as in `m.tag`.
    pub async fn tags(&self, user: &UserId, room: &RoomId) -> Result<Map<String, Value>, AccountError> {
        let _ = (user, room);
        todo!()
    }

    /// Sets a tag (`None` removes it).
    pub async fn set_tag(
        &self,
        user: &UserId,
        room: &RoomId,
        tag: &str,
        info: Option<Map<String, Value>>,
    ) -> Result<(), AccountError> {
        let _ = (user, room, tag, info);
        todo!()
    }
}
