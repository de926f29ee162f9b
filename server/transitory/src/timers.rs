//! Due times: typing that was not renewed, users who went idle or away.
//!
//! One task per process ([`Transitory::run_timers`]) sleeps until the earliest due time in the database and writes what
//! became true as ordinary changes. It watches a key that every new timer touches, so timers that other processes
//! set count too, and whichever process is up ends them: each end is one transaction that removes the due time, so a
//! second process finds nothing left to do. No process is the one that does it, so none has to be replaced.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hearth_store::{StoreError, Transaction, Watch};
use tokio_util::sync::CancellationToken;

use crate::{
    Transitory, TransitoryError,
    keys::{PRESENCE_DUE, TIMER_HEAD, TYPING_UNTIL},
};

/// Pause after a failure of the store.
const RETRY: Duration = Duration::from_secs(1);
/// Pause between the news of a timer and the look at it.
const GATHER: Duration = Duration::from_millis(10);
/// Longest time without a look: the wall clock may jump, and a machine may sleep.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);

/// Milliseconds since the epoch.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Tells every timers task that there is a new due time.
pub(crate) fn announce(tx: &Transaction) {
    TIMER_HEAD.set_to_commit_stamp(tx, (0,), 0);
}

impl Transitory {
    /// Ends what is due, until `stop`. One per process.
    pub async fn run_timers(&self, stop: CancellationToken) {
        loop {
            let failure = match self.next_timer().await {
                Ok((due, watch)) => {
                    let until = due.map_or(LONGEST_SLEEP, |due| Duration::from_millis(due.saturating_sub(now())));
                    tokio::select! {
                        () = stop.cancelled() => return,
                        // A new timer may be due earlier: look again. Many at once are one reason to look.
                        changed = watch.changed() => {
                            tokio::time::sleep(GATHER).await;
                            changed.err().map(TransitoryError::from)
                        }
                        () = tokio::time::sleep(until.min(LONGEST_SLEEP)) => self.end_due(now()).await.err(),
                    }
                }
                Err(TransitoryError::Store(StoreError::Closed)) => return,
                Err(error) => Some(error),
            };
            if let Some(error) = failure {
                tracing::warn!(%error, "timers are paused");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(RETRY) => {}
                }
            }
        }
    }

    /// Ends everything that is due at `now` (milliseconds since the epoch).
    pub async fn end_due(&self, now: u64) -> Result<(), TransitoryError> {
        while self.expire_typing(now).await? {}
        while self.end_due_presence(now).await? {}
        Ok(())
    }

    /// The earliest due time, and what fires when a new timer is set.
    async fn next_timer(&self) -> Result<(Option<u64>, Watch), TransitoryError> {
        self.store
            .transact("next_timer", async |tx| {
                let typing = TYPING_UNTIL.scan(()).snapshot().first(&tx).await?.map(|((until, _, _), ())| until);
                let presence = PRESENCE_DUE.scan(()).snapshot().first(&tx).await?.map(|((due, _), ())| due);
                let watch = TIMER_HEAD.watch(&tx, (0,)).await?;
                Ok((typing.into_iter().chain(presence).min(), watch))
            })
            .await
    }
}
