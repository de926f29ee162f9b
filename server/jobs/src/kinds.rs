//! The kinds that are enqueued in one crate and done in another.

use serde::{Deserialize, Serialize};

use crate::{Enqueue, JobId, Jobs, JobsError, Kind, WhileRunning};

/// Makes a backup of the whole store. The key is `scheduled` or `manual`.
#[derive(Debug, Clone, Copy)]
pub struct Backup;

/// What [`Backup`] is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupArguments {
    /// Asked for by a person: its file is named so, and retention leaves it alone.
    pub manual: bool,
}

impl Kind for Backup {
    const NAME: &'static str = "backup";
    type Arguments = BackupArguments;
}

/// Takes the rest of a deactivated user away: memberships room by room, then what the account left behind. The key is the
/// user id.
#[derive(Debug, Clone, Copy)]
pub struct DeactivateUser;

/// What [`DeactivateUser`] is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeactivateUserArguments {
    /// The user id.
    pub user: String,
}

impl DeactivateUser {
    /// Asks for it, once the account is closed.
    pub async fn enqueue(jobs: &Jobs, user: &str) -> Result<JobId, JobsError> {
        let how = Enqueue { while_running: WhileRunning::Ignore, ..Enqueue::default() };
        jobs.enqueue::<Self>(user, &DeactivateUserArguments { user: user.to_owned() }, how).await
    }
}

impl Kind for DeactivateUser {
    const NAME: &'static str = "deactivate_user";
    type Arguments = DeactivateUserArguments;
}

/// Deletes a room from this server: its local users leave, a little later everything of it is deleted. The key is the room
/// id.
#[derive(Debug, Clone, Copy)]
pub struct PurgeRoom;

/// What [`PurgeRoom`] is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeRoomArguments {
    /// The room id.
    pub room: String,
    /// Keep this server's users from joining it again.
    #[serde(default)]
    pub block: bool,
}

impl Kind for PurgeRoom {
    const NAME: &'static str = "purge_room";
    type Arguments = PurgeRoomArguments;
}
