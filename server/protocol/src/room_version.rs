//! Room versions: every difference that matters here, in one table.

use ruma::{RoomVersionId, room_version_rules::RoomVersionRules};

/// A room version that this server supports, with its rules.
#[derive(Debug, Clone)]
pub struct RoomVersion {
    /// Its id, such as `12`.
    pub id: RoomVersionId,
    /// ruma's table of rule differences.
    pub rules: RoomVersionRules,
}

impl RoomVersion {
    /// The supported versions, oldest first: 10, 11 and 12.
    pub const SUPPORTED: &'static [RoomVersionId] = &[RoomVersionId::V10, RoomVersionId::V11, RoomVersionId::V12];

    /// The rules of `id`, if this server supports it.
    pub fn get(id: &RoomVersionId) -> Option<Self> {
        if !Self::SUPPORTED.contains(id) {
            return None;
        }
        Some(Self { id: id.clone(), rules: id.rules()? })
    }

    /// Whether the room id is the create event's id with another sigil (version 12 on).
    pub fn room_id_is_create_event(&self) -> bool {
        self.rules.authorization.room_create_event_id_as_room_id
    }
}
