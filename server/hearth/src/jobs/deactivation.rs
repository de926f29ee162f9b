//! Taking deactivated users away, over all databases.
//!
//! The account is closed in one transaction of the Accounts database, before the job is enqueued: from then on nothing can
//! be done with it. What spans databases follows here, and the account stays among the unfinished ones until all of it is
//! done, so that a process that ended between the two is no loss ([`enqueue_unfinished`]).

use hearth_accounts::{AccountError, Accounts};
use hearth_jobs::{
    Handler, JobError, Jobs, Policy, Running,
    kinds::{DeactivateUser, DeactivateUserArguments},
};
use hearth_rooms::{RoomNid, Rooms};
use ruma::UserId;
use serde::{Deserialize, Serialize};

use super::{of_accounts, of_rooms};

/// Rooms that are left between two checkpoints.
const ROOMS: usize = 32;

/// Takes deactivated users away.
pub(super) struct Deactivations {
    pub(super) accounts: Accounts,
    pub(super) rooms: Rooms,
}

/// How far a deactivation came.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Left {
    /// The last room that was left, or that refused.
    last: Option<RoomNid>,
    /// How many were.
    rooms: u64,
}

impl Handler for Deactivations {
    type Kind = DeactivateUser;

    async fn run(&self, job: &Running<DeactivateUserArguments>) -> Result<(), JobError> {
        let user = UserId::parse(&job.arguments.user).map_err(|error| JobError::GiveUp(error.to_string()))?;
        // Whoever enqueued this has closed the account: sessions, devices, tokens, pushers, profile. Asked for again, so
        // that no enqueuer can be wrong.
        match self.accounts.deactivate(&user, false).await {
            Ok(()) => {}
            Err(AccountError::UserNotFound) => return Err(JobError::GiveUp("there is no such user here".to_owned())),
            Err(error) => return Err(of_accounts(error)),
        }
        let mut so_far: Left = job.state().await?.unwrap_or_default();
        while let Some(piece) = self.rooms.leave_some(&user, so_far.last, ROOMS).await.map_err(of_rooms)? {
            so_far = Left { last: Some(piece.last), rooms: so_far.rooms + piece.left as u64 };
            let state = &so_far;
            job.store()
                .transact("deactivation.checkpoint", |tx| async move { job.checkpoint(&tx, state).await })
                .await?;
            job.progress(so_far.rooms, Some(so_far.rooms + piece.more as u64), "leaving rooms");
            job.check()?;
        }
        self.rooms.clear_traces(&user).await.map_err(of_rooms)?;
        self.accounts.finish_deactivation(&user).await.map_err(of_accounts)?;
        job.progress(so_far.rooms, Some(so_far.rooms), format!("left {} rooms", so_far.rooms));
        tracing::info!(%user, rooms = so_far.rooms, "finished a deactivation");
        Ok(())
    }

    fn policy(&self) -> Policy {
        // Nobody else will do it.
        Policy { concurrency: 2, attempts: 0, ..Policy::default() }
    }
}

/// Enqueues the deactivations whose process ended before it could.
pub(super) async fn enqueue_unfinished(jobs: &Jobs, accounts: &Accounts) -> Result<(), JobError> {
    for user in accounts.unfinished_deactivations().await.map_err(of_accounts)? {
        DeactivateUser::enqueue(jobs, user.as_str()).await?;
    }
    Ok(())
}
