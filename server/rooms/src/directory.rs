//! [Room aliases](https://spec.matrix.org/v1.19/client-server-api/#room-aliases) and a room's place in the public directory.

use ruma::{OwnedRoomAliasId, OwnedRoomId, RoomAliasId, RoomId, UserId};

use crate::{RoomError, Rooms};

impl Rooms {
    /// Makes an alias for an existing room.
    pub async fn create_alias(&self, alias: &RoomAliasId, room_id: &RoomId, creator: &UserId) -> Result<(), RoomError> {
        let _ = (alias, room_id, creator);
        todo!()
    }

    /// Deletes an alias: its creator, or who may send `m.room.canonical_alias` in the room. `server_admin` may always.
    pub async fn delete_alias(&self, alias: &RoomAliasId, user: &UserId, server_admin: bool) -> Result<(), RoomError> {
        let _ = (alias, user, server_admin);
        todo!()
    }

    /// The room of an alias.
    pub async fn resolve_alias(&self, alias: &RoomAliasId) -> Result<OwnedRoomId, RoomError> {
        let _ = alias;
        todo!()
    }

    /// A room's aliases, for its members (or anyone if it is world readable).
    pub async fn aliases(&self, room_id: &RoomId, viewer: &UserId) -> Result<Vec<OwnedRoomAliasId>, RoomError> {
        let _ = (room_id, viewer);
        todo!()
    }

    /// Whether the public directory lists the room.
    pub async fn is_published(&self, room_id: &RoomId) -> Result<bool, RoomError> {
        let _ = room_id;
        todo!()
    }

    /// Lists or unlists the room: who may send `m.room.canonical_alias` there.
    pub async fn set_published(
        &self,
        room_id: &RoomId,
        user: &UserId,
        published: bool,
        server_admin: bool,
    ) -> Result<(), RoomError> {
        let _ = (room_id, user, published, server_admin);
        todo!()
    }
}
