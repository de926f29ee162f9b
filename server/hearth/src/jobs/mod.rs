//! The kinds of jobs that this server does, and the runner that does them.

mod backup;
mod deactivation;
mod maintenance;
mod purge;

use std::time::Duration;

use hearth_accounts::AccountError;
use hearth_api::admin::backups::BackupSettings;
use hearth_jobs::{
    JobError, JobsError, Runner, RunnerOptions, Schedule,
    kinds::{Backup, BackupArguments},
};
use hearth_rooms::RoomError;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    backup::Backups,
    deactivation::{Deactivations, enqueue_unfinished},
    maintenance::{ExpireLogins, ExpireLoginsKind, Trim, TrimKind},
    purge::Purges,
};
use crate::{databases::Databases, failure::Failure};

/// Key of the jobs that a schedule brings back.
const SCHEDULED: &str = "scheduled";

/// Runs this server's jobs among `tasks` until `stop`. `backups` says where backups are, how and when they are made.
pub(crate) fn start(tasks: &TaskTracker, databases: &Databases, backups: BackupSettings, stop: &CancellationToken) {
    let runner = match runner(databases, backups) {
        Ok(runner) => runner,
        // What is scheduled is small and plain: it encodes.
        Err(error) => return tracing::error!(%error, "jobs cannot be scheduled"),
    };
    let (jobs, accounts, stop) = (databases.jobs.clone(), databases.accounts.clone(), stop.clone());
    tasks.spawn(async move {
        if let Err(error) = enqueue_unfinished(&jobs, &accounts).await {
            tracing::warn!(%error, "cannot read which deactivations did not come to their end");
        }
        runner.run(stop).await;
    });
}

/// Finishes the deactivations that were begun, where no server runs that would. What other processes have in hand is left
/// to them.
pub(crate) async fn finish_deactivations(databases: &Databases) -> Result<(), Failure> {
    enqueue_unfinished(&databases.jobs, &databases.accounts).await.map_err(|error| Failure::new(error.to_string()))?;
    base(databases).handle(deactivations(databases)).run_due(CancellationToken::new()).await;
    Ok(())
}

fn base(databases: &Databases) -> Runner {
    let options = RunnerOptions {
        name: databases.registration.id().to_owned(),
        sole: !databases.store.is_shared(),
        ..RunnerOptions::default()
    };
    Runner::new(databases.jobs.clone(), options)
}

fn deactivations(databases: &Databases) -> Deactivations {
    Deactivations { accounts: databases.accounts.clone(), rooms: databases.rooms.clone() }
}

fn runner(databases: &Databases, backups: BackupSettings) -> Result<Runner, JobsError> {
    let every = Duration::from_hours(backups.interval_hours.into());
    let runner = base(databases)
        .handle(deactivations(databases))
        .handle(ExpireLogins { accounts: databases.accounts.clone() })
        .handle(Trim { rooms: databases.rooms.clone() })
        .handle(Purges { rooms: databases.rooms.clone(), transitory: databases.transitory.clone() })
        .handle(Backups { store: databases.store.clone(), settings: backups })
        .schedule::<ExpireLoginsKind>(SCHEDULED, &(), ExpireLogins::SCHEDULE)?
        .schedule::<TrimKind>(SCHEDULED, &(), Trim::SCHEDULE)?;
    if every.is_zero() {
        return Ok(runner);
    }
    let schedule = Schedule { every, jitter: every / 50, first: Duration::from_mins(10).min(every) };
    runner.schedule::<Backup>(SCHEDULED, &BackupArguments { manual: false }, schedule)
}

/// What an error of the Rooms database is to a job. The store's own stays what it is, so that a transaction of the
/// handler's is retried.
fn of_rooms(error: RoomError) -> JobError {
    match error {
        RoomError::Store(error) => JobError::Store(error),
        error => JobError::retry(error),
    }
}

/// The same of the Accounts database.
fn of_accounts(error: AccountError) -> JobError {
    match error {
        AccountError::Store(error) => JobError::Store(error),
        error => JobError::retry(error),
    }
}

#[cfg(test)]
mod tests;
