//! What must be done from time to time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hearth_accounts::Accounts;
use hearth_jobs::{Handler, JobError, Kind, Policy, Running, Schedule};
use hearth_rooms::{Rooms, TransactionPlace};
use serde::{Deserialize, Serialize};

use super::{of_accounts, of_rooms};

/// Removes logins, registrations and nonces that were begun and have expired.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExpireLoginsKind;

impl Kind for ExpireLoginsKind {
    const NAME: &'static str = "expire_logins";
    type Arguments = ();
}

/// Does it.
pub(super) struct ExpireLogins {
    pub(super) accounts: Accounts,
}

impl ExpireLogins {
    /// What has expired is refused whether or not it is there still, so there is no hurry.
    pub(super) const SCHEDULE: Schedule =
        Schedule { every: Duration::from_hours(1), jitter: Duration::from_mins(5), first: Duration::from_mins(5) };
}

impl Handler for ExpireLogins {
    type Kind = ExpireLoginsKind;

    async fn run(&self, job: &Running<()>) -> Result<(), JobError> {
        let removed = self.accounts.remove_expired().await.map_err(of_accounts)?;
        job.progress(removed as u64, None, format!("removed {removed}"));
        Ok(())
    }

    fn policy(&self) -> Policy {
        Policy { history: 3, ..Policy::default() }
    }
}

/// Removes what nobody will ask for any more: transaction ids, unread notifications beyond a bound.
#[derive(Debug, Clone, Copy)]
pub(super) struct TrimKind;

impl Kind for TrimKind {
    const NAME: &'static str = "trim";
    type Arguments = ();
}

/// Does it.
pub(super) struct Trim {
    pub(super) rooms: Rooms,
}

impl Trim {
    /// Often enough that an age is known to half a day.
    pub(super) const SCHEDULE: Schedule =
        Schedule { every: Duration::from_hours(12), jitter: Duration::from_mins(30), first: Duration::from_mins(15) };

    /// A client that could not send keeps its request, with its transaction id, until it is on line again. Longer than a
    /// holiday; those who come back later may send a message twice.
    const TRANSACTION_IDS: Duration = Duration::from_hours(14 * 24);
    /// How long it is known which versions are how old.
    const TIMES: Duration = Duration::from_hours(32 * 24);
    /// Unread notifications that are kept in each room: as many as are counted.
    const NOTIFICATIONS_IN_ROOM: usize = 1000;
    /// And of each user in all rooms.
    const NOTIFICATIONS: usize = 20_000;
    /// Transaction ids that are looked at in one transaction.
    const PIECE: usize = 500;
}

/// How far a trimming came.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Trimmed {
    /// The time was noted.
    begun: bool,
    /// Everything before this version is old; `None`: it is not known yet what is.
    before: Option<u64>,
    /// Transaction ids up to here are done.
    transaction: Option<TransactionPlace>,
    transactions_done: bool,
    removed: u64,
}

impl Handler for Trim {
    type Kind = TrimKind;

    async fn run(&self, job: &Running<()>) -> Result<(), JobError> {
        let mut so_far: Trimmed = job.state().await?.unwrap_or_default();
        if !so_far.begun {
            so_far = self.begin(job).await?;
        }
        while let (Some(before), false) = (so_far.before, so_far.transactions_done) {
            so_far = self.transactions(job, &so_far, before).await?;
            job.progress(so_far.removed, None, "transaction ids");
            job.check()?;
        }
        // Quickly looked through again, should it come to that.
        let (mut user, mut notifications) = (None, 0);
        while let Some((next, removed)) = self
            .rooms
            .trim_notifications(user, Self::NOTIFICATIONS_IN_ROOM, Self::NOTIFICATIONS)
            .await
            .map_err(of_rooms)?
        {
            user = Some(next);
            notifications += removed as u64;
            job.progress(notifications, None, "unread notifications");
            job.check()?;
        }
        let message = format!("removed {} transaction ids and {notifications} notifications", so_far.removed);
        job.progress(so_far.removed + notifications, None, message);
        Ok(())
    }

    fn policy(&self) -> Policy {
        Policy { history: 3, ..Policy::default() }
    }
}

impl Trim {
    /// Notes what time it is and finds out what is old.
    async fn begin(&self, job: &Running<()>) -> Result<Trimmed, JobError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let old = now.saturating_sub(Self::TRANSACTION_IDS.as_millis() as u64);
        let before = self.rooms.version_before(old).await.map_err(of_rooms)?;
        let begun = Trimmed { begun: true, before, ..Trimmed::default() };
        let state = &begun;
        job.store()
            .transact("trim.begin", |tx| async move {
                self.rooms.note_time(&tx, now, Self::TIMES.as_millis() as u64).await.map_err(of_rooms)?;
                job.checkpoint(&tx, state).await
            })
            .await?;
        Ok(begun)
    }

    /// One piece of the transaction ids, in one transaction with the note of it.
    async fn transactions(&self, job: &Running<()>, so_far: &Trimmed, before: u64) -> Result<Trimmed, JobError> {
        job.store()
            .transact("trim.transactions", |tx| async move {
                let after = so_far.transaction.as_ref();
                let piece = self.rooms.trim_transactions(&tx, before, after, Self::PIECE).await.map_err(of_rooms)?;
                let state = Trimmed {
                    transactions_done: piece.next.is_none(),
                    transaction: piece.next,
                    removed: so_far.removed + piece.removed as u64,
                    ..*so_far
                };
                job.checkpoint(&tx, &state).await?;
                Ok(state)
            })
            .await
    }
}
