//! [Room membership](https://spec.matrix.org/v1.19/client-server-api/#room-membership).

use ruma::{OwnedMxcUri, OwnedRoomId, RoomId, UserId};

use crate::{RoomError, Rooms, records::Membership};

/// The parts of a user's profile that member events carry.
#[derive(Debug, Clone, Default)]
pub struct MemberProfile {
    /// `displayname`
    pub displayname: Option<String>,
    /// `avatar_url`
    pub avatar_url: Option<OwnedMxcUri>,
}

/// A membership change that one user makes for a target (perhaps themselves).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// `POST /join`
    Join,
    /// `POST /knock`
    Knock,
    /// `POST /invite`
    Invite,
    /// `POST /leave` (also rejects an invite or retracts a knock)
    Leave,
    /// `POST /kick`
    Kick,
    /// `POST /ban`
    Ban,
    /// `POST /unban`
    Unban,
}

impl Rooms {
    /// Changes a membership, with the checks that the specification gives for each request. `profile` is the target's.
    /// Joining a room where one is joined already changes nothing. Restricted rooms are joined through a local
    /// user who may invite.
    pub async fn change_membership(
        &self,
        room_id: &RoomId,
        sender: &UserId,
        target: &UserId,
        change: Change,
        profile: &MemberProfile,
        reason: Option<String>,
    ) -> Result<(), RoomError> {
        let _ = (room_id, sender, target, change, profile, reason);
        todo!()
    }

    /// Forgets a room that the user has left.
    pub async fn forget(&self, room_id: &RoomId, user: &UserId) -> Result<(), RoomError> {
        let _ = (room_id, user);
        todo!()
    }

    /// Rewrites the user's member events in every joined room after a profile change.
    pub async fn update_profile(&self, user: &UserId, profile: &MemberProfile) -> Result<(), RoomError> {
        let _ = (user, profile);
        todo!()
    }

    /// Leaves every joined room and rejects every invite (deactivation).
    pub async fn leave_all(&self, user: &UserId) -> Result<(), RoomError> {
        let _ = user;
        todo!()
    }

    /// Rooms where the user has `membership`.
    pub async fn rooms_of(&self, user: &UserId, membership: Membership) -> Result<Vec<OwnedRoomId>, RoomError> {
        let _ = (user, membership);
        todo!()
    }

    /// The user's membership in a room, `None` when they never had one.
    pub async fn membership_of(&self, room_id: &RoomId, user: &UserId) -> Result<Option<Membership>, RoomError> {
        let _ = (room_id, user);
        todo!()
    }

    /// Whether two users share a joined room.
    pub async fn share_room(&self, a: &UserId, b: &UserId) -> Result<bool, RoomError> {
        let _ = (a, b);
        todo!()
    }
}
