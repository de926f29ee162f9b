//! [Creating rooms](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3createroom).

use ruma::{OwnedRoomId, UserId, api::client::room::create_room};

use crate::{RoomError, Rooms};

impl Rooms {
    /// Creates a room with every event that the request asks for, in one transaction.
    /// `creator_profile` fills the creator's member event (`displayname`, `avatar_url`).
    pub async fn create(
        &self,
        creator: &UserId,
        creator_profile: &crate::membership::MemberProfile,
        request: create_room::v3::Request,
    ) -> Result<OwnedRoomId, RoomError> {
        let _ = (creator, creator_profile, request);
        todo!()
    }
}
