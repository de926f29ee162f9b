//! [Presence](https://spec.matrix.org/v1.19/client-server-api/#presence) as users ask for it and set it.

use std::time::Duration;

use hearth_transitory::{Presence, PresenceState, timers};
use ruma::{DeviceId, UserId, presence::PresenceState as MatrixPresence};

use crate::{SyncEngine, SyncError};

impl SyncEngine {
    /// Sets a user's presence from one of their devices.
    pub async fn set_presence(
        &self,
        user: &UserId,
        device: &DeviceId,
        presence: &MatrixPresence,
        status_msg: Option<&str>,
    ) -> Result<(), SyncError> {
        let state = state(presence)?;
        Ok(self.0.transitory.set_presence(user, device, state, status_msg, timers::now()).await?)
    }

    /// A user's presence, for themselves and for who shares a room with them.
    pub async fn presence_of(&self, viewer: &UserId, user: &UserId) -> Result<Presence, SyncError> {
        let parts = &*self.0;
        if viewer != user && !parts.rooms.share_room(viewer, user).await? {
            return Err(SyncError::Forbidden("You share no room with this user."));
        }
        if let Some(presence) = parts.transitory.presence(&parts.transitory.store().begin(), user).await? {
            return Ok(presence);
        }
        let is_local = user.server_name() == parts.accounts.config().server_name;
        if is_local && parts.accounts.is_active(user).await? {
            return Ok(Presence {
                state: PresenceState::Offline,
                status_msg: None,
                last_active: None,
                currently_active: false,
            });
        }
        Err(SyncError::NotFound("There is no presence of this user."))
    }
}

/// How long ago the user was active.
pub fn last_active_ago(presence: &Presence, now: u64) -> Option<Duration> {
    presence.last_active.map(|active| Duration::from_millis(now.saturating_sub(active)))
}

/// ruma's type for a state.
pub fn matrix_state(state: PresenceState) -> MatrixPresence {
    match state {
        PresenceState::Online => MatrixPresence::Online,
        PresenceState::Unavailable => MatrixPresence::Unavailable,
        PresenceState::Offline => MatrixPresence::Offline,
    }
}

/// The state of ruma's type.
pub(crate) fn state(presence: &MatrixPresence) -> Result<PresenceState, SyncError> {
    match presence {
        MatrixPresence::Online => Ok(PresenceState::Online),
        MatrixPresence::Unavailable => Ok(PresenceState::Unavailable),
        MatrixPresence::Offline => Ok(PresenceState::Offline),
        other => Err(SyncError::BadParameter(format!("{other} is no presence"))),
    }
}
