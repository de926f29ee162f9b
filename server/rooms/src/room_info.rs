//! What is known of a room whatever happens in it.

use hearth_protocol::RoomVersion;
use ruma::OwnedRoomId;

use crate::RoomNid;

/// What never changes about a room.
#[derive(Debug, Clone)]
pub struct RoomInfo {
    /// Numeric id.
    pub nid: RoomNid,
    /// Room id.
    pub room_id: OwnedRoomId,
    /// Version with its rules.
    pub version: RoomVersion,
}
