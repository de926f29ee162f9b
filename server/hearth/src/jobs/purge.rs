//! Deleting a room from this server.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hearth_jobs::{
    Handler, JobError, Policy, Running,
    kinds::{PurgeRoom, PurgeRoomArguments},
};
use hearth_rooms::{Doomed, PurgedPiece, Rooms};
use hearth_transitory::Transitory;
use ruma::RoomId;
use serde::{Deserialize, Serialize};

use super::of_rooms;

/// Between the departure of this server's users and the deletion: clients that are on line learn that they left.
const GRACE: Duration = Duration::from_secs(30);
/// Local users who leave between two checkpoints.
const USERS: usize = 16;
/// Members or events that are deleted in one transaction.
const ROWS: usize = 200;

/// Deletes rooms.
pub(super) struct Purges {
    pub(super) rooms: Rooms,
    pub(super) transitory: Transitory,
}

/// How far a purge came. What is deleted needs no note: it is not found again.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Purge {
    doomed: Doomed,
    /// It was blocked before the purge did that.
    was_blocked: bool,
    /// Local users who left.
    left: u64,
    /// They have had their time to learn of it.
    told: bool,
}

impl Handler for Purges {
    type Kind = PurgeRoom;

    async fn run(&self, job: &Running<PurgeRoomArguments>) -> Result<(), JobError> {
        let room = RoomId::parse(&job.arguments.room).map_err(|error| JobError::GiveUp(error.to_string()))?;
        let Some(mut purge) = self.begin(job, &room).await? else {
            job.progress(0, Some(0), "there is no such room here");
            return Ok(());
        };
        // Nobody comes back while it goes. What was noted before it is blocked tells whether it was.
        self.rooms.block_room(&room, true, now()).await.map_err(of_rooms)?;
        loop {
            let left = self.rooms.leave_as_local_users(&purge.doomed, USERS).await.map_err(of_rooms)?;
            if left == 0 {
                break;
            }
            purge.left += left as u64;
            purge.told = false;
            note(job, &purge).await?;
            job.progress(purge.left, None, "this server's users leave");
            job.check()?;
        }
        if !purge.told {
            purge.told = true;
            note(job, &purge).await?;
            if purge.left > 0 {
                return Err(JobError::Later(GRACE));
            }
        }
        self.delete(job, &purge).await?;
        self.transitory.forget_room(&room).await.map_err(JobError::retry)?;
        if !job.arguments.block && !purge.was_blocked {
            self.rooms.block_room(&room, false, now()).await.map_err(of_rooms)?;
        }
        let (events, left) = (purge.doomed.events, purge.left);
        job.progress(events, Some(events), format!("deleted {events} events; {left} users left"));
        tracing::info!(%room, events, users = left, "room purged");
        Ok(())
    }

    fn policy(&self) -> Policy {
        // A room that is half gone must go.
        Policy { concurrency: 2, attempts: 0, longest_pause: Duration::from_hours(1), ..Policy::default() }
    }
}

impl Purges {
    /// The purge as it was noted, or a new one. `None`: there is nothing to delete.
    async fn begin(&self, job: &Running<PurgeRoomArguments>, room: &RoomId) -> Result<Option<Purge>, JobError> {
        if let Some(purge) = job.state().await? {
            return Ok(Some(purge));
        }
        let Some(doomed) = self.rooms.doomed(room).await.map_err(of_rooms)? else { return Ok(None) };
        let was_blocked = self.rooms.blocked_since(room).await.map_err(of_rooms)?.is_some();
        let purge = Purge { doomed, was_blocked, left: 0, told: false };
        note(job, &purge).await?;
        Ok(Some(purge))
    }

    async fn delete(&self, job: &Running<PurgeRoomArguments>, purge: &Purge) -> Result<(), JobError> {
        let mut events = 0;
        loop {
            let piece = job
                .store()
                .transact("purge.piece", |tx| async move {
                    job.guard(&tx).await?;
                    self.rooms.purge_piece(&tx, &purge.doomed, ROWS).await.map_err(of_rooms)
                })
                .await?;
            match piece {
                PurgedPiece::Members(_) | PurgedPiece::Room => {}
                PurgedPiece::Events(deleted) => {
                    events += deleted as u64;
                    job.progress(events, Some(purge.doomed.events.max(events)), "deleting events");
                }
                PurgedPiece::Rest => return Ok(()),
            }
            job.check()?;
        }
    }
}

async fn note(job: &Running<PurgeRoomArguments>, purge: &Purge) -> Result<(), JobError> {
    job.store().transact("purge.checkpoint", |tx| async move { job.checkpoint(&tx, purge).await }).await
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
