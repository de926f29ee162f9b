//! Readings of the whole server, taken at most about once a second however many dashboards are open.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use hearth_accounts::Accounts;
use hearth_jobs::{Filter, JobState, Jobs, Kind, Page, kinds};
use hearth_rooms::Rooms;
use hearth_store::Store;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    backups::Backups,
    clock::unix_millis,
    error::AdminError,
    job::Job,
    process::{ProcessFigures, ProcessReader},
    storage::{StorageHealth, StorageMonitor, StorageState},
};
use crate::metrics::Metrics;

/// A reading of the whole server.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(super) struct Overview {
    /// When it was taken, in Unix milliseconds.
    pub at: u64,
    /// Who the server is.
    pub server: ServerInfo,
    /// What the process uses.
    pub process: ProcessFigures,
    /// What the store did and holds.
    pub store: StoreFigures,
    /// What there is.
    pub counts: Counts,
    /// Requests since the start.
    pub requests: RequestFigures,
    /// What is done beside requests.
    pub jobs: JobFigures,
    /// How the backups stand.
    pub backups: BackupFigures,
    /// Work per second since the reading before this one.
    pub rates: Rates,
    /// What the owner should know, gravest first. Empty is good.
    pub notices: Vec<Notice>,
}

/// Who the server is and where it answers.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(super) struct ServerInfo {
    /// The part after the colon in its users' ids.
    pub server_name: String,
    /// Version of the software.
    pub version: String,
    /// Seconds since the process started.
    pub uptime_seconds: u64,
    /// What clients are told to connect to.
    pub public_base_url: String,
    /// Where it listens for clients and other servers.
    pub listeners: Vec<String>,
    /// Who may register.
    pub registration: RegistrationMode,
}

/// Who may register an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RegistrationMode {
    /// Nobody; accounts are made here.
    Closed,
    /// Whoever has a registration token.
    Token,
    /// Anybody.
    Open,
}

impl From<RegistrationMode> for hearth_accounts::RegistrationMode {
    fn from(mode: RegistrationMode) -> Self {
        match mode {
            RegistrationMode::Closed => Self::Closed,
            RegistrationMode::Token => Self::Token,
            RegistrationMode::Open => Self::Open,
        }
    }
}

impl From<hearth_accounts::RegistrationMode> for RegistrationMode {
    fn from(mode: hearth_accounts::RegistrationMode) -> Self {
        match mode {
            hearth_accounts::RegistrationMode::Closed => Self::Closed,
            hearth_accounts::RegistrationMode::Token => Self::Token,
            hearth_accounts::RegistrationMode::Open => Self::Open,
        }
    }
}

/// Figures of the store since the start.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(super) struct StoreFigures {
    /// `embedded`, `memory` or `foundationdb`.
    pub engine: String,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Committed transactions.
    pub commits: u64,
    /// Transactions that were tried again after a conflict.
    pub conflicts: u64,
    /// Point and range reads.
    pub reads: u64,
}

/// What there is on the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct Counts {
    /// Accounts that are not deactivated.
    pub users: u64,
    /// Rooms that the server knows.
    pub rooms: u64,
    /// Messages in all rooms.
    pub messages: u64,
    /// Events in all rooms, messages included.
    pub events: u64,
}

/// What is done beside requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct JobFigures {
    /// Jobs that run now, the first twenty.
    pub running: Vec<Job>,
    /// How many wait.
    pub waiting: u64,
    /// How many have failed and stay until somebody looks after them.
    pub failed: u64,
    /// How many that have ended are kept to be looked at.
    pub ended: u64,
    /// Grows with every change of the queue that this process has seen; progress alone is none.
    pub changes: u64,
}

/// How the backups stand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct BackupFigures {
    /// When the newest one was made, Unix milliseconds; absent where there is none.
    pub newest_at: Option<u64>,
    /// Files in the folder.
    pub files: u64,
    /// Hours between scheduled ones; 0: none are scheduled.
    pub interval_hours: u32,
    /// Why the last try failed, where it did.
    pub failure: Option<String>,
}

/// Requests since the start.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(super) struct RequestFigures {
    /// Answered.
    pub total: u64,
    /// Being answered, waiting syncs included.
    pub in_flight: u64,
    /// Answered with a 4xx status.
    pub client_errors: u64,
    /// Answered with a 5xx status.
    pub server_errors: u64,
}

/// Work per second.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
pub(super) struct Rates {
    /// Seconds that the rates are the mean of. 0 in the first reading, whose rates mean nothing.
    pub interval_seconds: f64,
    /// Requests per second.
    pub requests: f64,
    /// New events per second.
    pub events: f64,
    /// Committed transactions per second.
    pub commits: f64,
    /// Transactions per second that were tried again after a conflict.
    pub conflicts: f64,
    /// Point and range reads per second.
    pub reads: f64,
    /// Processor use in percent of one core.
    pub cpu_percent: f64,
}

/// Something that the owner should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct Notice {
    /// For programs.
    pub code: NoticeCode,
    /// One or two sentences for people, with what to do.
    pub message: String,
}

/// Kinds of notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum NoticeCode {
    /// There is no account that is an administrator.
    NoUsers,
    /// Anybody may register.
    OpenRegistration,
    /// Requests failed with 5xx since the start.
    ServerErrors,
    /// The store needs a look.
    Storage,
    /// The last backup failed.
    BackupFailed,
    /// There is no recent backup.
    BackupMissing,
    /// Jobs have failed, other than backups.
    JobsFailed,
}

/// Figures that only grow, from which rates are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Totals {
    uptime: Duration,
    requests: u64,
    events: u64,
    commits: u64,
    conflicts: u64,
    reads: u64,
    cpu_ms: u64,
}

impl Totals {
    fn rates_since(&self, before: &Self) -> Rates {
        let seconds = self.uptime.saturating_sub(before.uptime).as_secs_f64();
        if seconds <= 0.0 {
            return Rates::default();
        }
        let per_second = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        Rates {
            interval_seconds: seconds,
            requests: per_second(self.requests, before.requests),
            events: per_second(self.events, before.events),
            commits: per_second(self.commits, before.commits),
            conflicts: per_second(self.conflicts, before.conflicts),
            reads: per_second(self.reads, before.reads),
            cpu_percent: per_second(self.cpu_ms, before.cpu_ms) / 10.0,
        }
    }
}

/// Where the figures come from, and what never changes among them.
pub(super) struct FigureSources {
    pub(super) server_name: String,
    pub(super) version: String,
    pub(super) public_base_url: String,
    pub(super) listeners: Vec<String>,
    pub(super) accounts: Accounts,
    pub(super) rooms: Rooms,
    pub(super) store: Store,
    pub(super) metrics: Arc<Metrics>,
    pub(super) jobs: Jobs,
    pub(super) backups: Backups,
    pub(super) storage: StorageMonitor,
}

/// Takes readings and shares the newest one with all who ask.
pub(super) struct Figures {
    sources: FigureSources,
    process: ProcessReader,
    job_changes: AtomicU64,
    state: tokio::sync::Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<(Totals, Overview)>,
    /// The number of events and that of rooms then: rooms are counted by reading them, and their number can only have
    /// changed when there are new events.
    rooms_at_events: Option<(u64, u64)>,
}

/// Younger readings than this are given out again.
const FRESH: Duration = Duration::from_millis(800);
/// Pause before a failed watch is tried again.
const WATCH_AGAIN: Duration = Duration::from_secs(2);

impl Figures {
    /// Reads nothing yet.
    pub(super) fn new(sources: FigureSources) -> Self {
        Self {
            sources,
            process: ProcessReader::new(),
            job_changes: AtomicU64::new(0),
            state: tokio::sync::Mutex::default(),
        }
    }

    /// Counts the changes of the queue of jobs; never ends.
    pub(super) async fn watch_jobs(&self) {
        loop {
            let watched = async {
                let watch = self.sources.jobs.watch().await?;
                self.job_changes.fetch_add(1, Relaxed);
                watch.changed().await.map_err(hearth_jobs::JobsError::from)
            };
            if let Err(error) = watched.await {
                tracing::debug!(%error, "the queue of jobs cannot be watched");
                tokio::time::sleep(WATCH_AGAIN).await;
            }
        }
    }

    /// Takes a reading, or gives the newest one where it is fresh.
    pub(super) async fn read(&self) -> Result<Overview, AdminError> {
        let mut state = self.state.lock().await;
        let metrics = self.sources.metrics.snapshot();
        if let Some((totals, overview)) = &state.last
            && overview.jobs.changes == self.job_changes.load(Relaxed)
            && metrics.uptime.saturating_sub(totals.uptime) < FRESH
        {
            return Ok(overview.clone());
        }
        let counts = self.counts(&mut state.rooms_at_events).await?;
        let (jobs, backups) = self.work().await?;
        let health = self.sources.storage.recent_health().map(|health| {
            let free = health.free_disk_bytes.or(self.sources.storage.disk().map(|space| space.free_bytes));
            StorageHealth::judge(self.sources.store.engine(), &health, free)
        });
        let process = self.process.read();
        let store = self.sources.store.stats();
        let registration = self.sources.accounts.registration_mode().await?.into();
        let totals = Totals {
            uptime: metrics.uptime,
            requests: metrics.requests,
            events: counts.events,
            commits: store.commits,
            conflicts: store.conflicts,
            reads: store.reads,
            cpu_ms: process.cpu_ms,
        };
        let at = unix_millis();
        let overview = Overview {
            at,
            server: ServerInfo {
                server_name: self.sources.server_name.clone(),
                version: self.sources.version.clone(),
                uptime_seconds: metrics.uptime.as_secs(),
                public_base_url: self.sources.public_base_url.clone(),
                listeners: self.sources.listeners.clone(),
                registration,
            },
            process,
            store: StoreFigures {
                engine: store.engine.to_owned(),
                disk_bytes: store.disk_bytes,
                commits: store.commits,
                conflicts: store.conflicts,
                reads: store.reads,
            },
            counts,
            requests: RequestFigures {
                total: metrics.requests,
                in_flight: metrics.in_flight,
                client_errors: metrics.client_errors,
                server_errors: metrics.server_errors,
            },
            rates: state.last.as_ref().map(|(before, _)| totals.rates_since(before)).unwrap_or_default(),
            notices: notices(&Situation {
                at,
                uptime: metrics.uptime,
                counts,
                registration,
                server_errors: metrics.server_errors,
                failed_jobs: jobs.failed,
                health: health.as_ref(),
                backups: &backups,
            }),
            jobs,
            backups,
        };
        state.last = Some((totals, overview.clone()));
        Ok(overview)
    }

    /// What is done beside requests, and how the backups stand.
    async fn work(&self) -> Result<(JobFigures, BackupFigures), AdminError> {
        const SHOWN: Page = Page { limit: 20, after: None };
        let (jobs, backups) = (&self.sources.jobs, &self.sources.backups);
        // Before the reading: a change that comes during it is told once more.
        let changes = self.job_changes.load(Relaxed);
        let counts = jobs.counts().await?;
        let sum = |of: fn(&hearth_jobs::KindCounts) -> u64| counts.iter().map(of).sum::<u64>();
        let mut figures = JobFigures {
            running: Vec::new(),
            waiting: sum(|kind| kind.waiting),
            failed: sum(|kind| kind.failed),
            ended: sum(|kind| kind.done + kind.cancelled),
            changes,
        };
        if sum(|kind| kind.running) > 0 {
            let running = Filter { kind: None, state: Some(JobState::Running) };
            figures.running = jobs.list(&running, &SHOWN).await?.jobs.into_iter().map(Job::from).collect();
        }
        let mut failure = None;
        if counts.iter().any(|kind| kind.kind == kinds::Backup::NAME && kind.failed > 0) {
            let failed = Filter { kind: Some(kinds::Backup::NAME.to_owned()), state: Some(JobState::Failed) };
            let newest = jobs.list(&failed, &SHOWN).await?.jobs.into_iter().next();
            failure = newest.map(|job| job.last_error.unwrap_or_default());
        }
        let glance = backups.glance();
        let backups = BackupFigures {
            newest_at: glance.and_then(|glance| glance.newest),
            files: glance.map_or(0, |glance| glance.files),
            interval_hours: backups.settings().interval_hours,
            failure,
        };
        Ok((figures, backups))
    }

    async fn counts(&self, known: &mut Option<(u64, u64)>) -> Result<Counts, AdminError> {
        let totals = self.sources.rooms.totals().await?;
        let rooms = match *known {
            Some((events, rooms)) if events == totals.events => rooms,
            _ => self.sources.rooms.count_rooms().await? as u64,
        };
        *known = Some((totals.events, rooms));
        Ok(Counts {
            users: self.sources.accounts.user_count().await?,
            rooms,
            messages: totals.messages,
            events: totals.events,
        })
    }
}

/// What notices are made from.
struct Situation<'a> {
    at: u64,
    uptime: Duration,
    counts: Counts,
    registration: RegistrationMode,
    server_errors: u64,
    failed_jobs: u64,
    health: Option<&'a StorageHealth>,
    backups: &'a BackupFigures,
}

/// A server that has just started, or just woken, makes its overdue backup by itself before anybody is told.
const BACKUP_GRACE: Duration = Duration::from_hours(1);

fn notices(now: &Situation<'_>) -> Vec<Notice> {
    let mut notices = Vec::new();
    let mut tell = |code, message: String| notices.push(Notice { code, message });
    if let Some(health) = now.health.filter(|health| health.state != StorageState::Good) {
        tell(NoticeCode::Storage, health.message.clone());
    }
    if let Some(failure) = &now.backups.failure {
        tell(NoticeCode::BackupFailed, format!("The last backup failed: {}.", failure.trim_end_matches('.')));
    } else if let Some(message) = backup_missing(now) {
        tell(NoticeCode::BackupMissing, message);
    }
    let other_jobs = now.failed_jobs.saturating_sub(u64::from(now.backups.failure.is_some()));
    if other_jobs > 0 {
        let what = if other_jobs == 1 { "A job has".to_owned() } else { format!("{other_jobs} jobs have") };
        tell(NoticeCode::JobsFailed, format!("{what} failed and will not be tried again by itself."));
    }
    if now.server_errors > 0 {
        let what = if now.server_errors == 1 { "One request" } else { "Some requests" };
        tell(NoticeCode::ServerErrors, format!("{what} failed because of an error in the server. The log says why."));
    }
    if now.registration == RegistrationMode::Open {
        tell(
            NoticeCode::OpenRegistration,
            "Anybody who can reach this server can make an account. Close it under Registration unless you want that."
                .to_owned(),
        );
    }
    if now.counts.users == 0 {
        tell(
            NoticeCode::NoUsers,
            "There is no account yet. Make the first one under Users, then log in with a Matrix client.".to_owned(),
        );
    }
    notices
}

/// Why somebody should look after the backups, if they should.
fn backup_missing(now: &Situation<'_>) -> Option<String> {
    const HOUR_MS: u64 = 3_600_000;
    let every = u64::from(now.backups.interval_hours);
    match now.backups.newest_at {
        // Nobody wants to hear of backups before there is anything to keep.
        _ if now.counts.events == 0 || now.uptime < BACKUP_GRACE => None,
        None if every == 0 => Some("There is no backup, and none is scheduled. Make one under Storage.".to_owned()),
        None => Some("There is no backup yet. Make one under Storage.".to_owned()),
        // One may be missed: a machine sleeps at times.
        Some(newest) if every > 0 && now.at.saturating_sub(newest) > 2 * every * HOUR_MS => {
            Some("The newest backup is older than it should be. The jobs say what became of the last ones.".to_owned())
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_means_over_the_interval() {
        const ZERO: Totals =
            Totals { uptime: Duration::ZERO, requests: 0, events: 0, commits: 0, conflicts: 0, reads: 0, cpu_ms: 0 };
        let before =
            Totals { uptime: Duration::from_secs(10), requests: 100, events: 7, commits: 50, cpu_ms: 1000, ..ZERO };
        let now =
            Totals { uptime: Duration::from_secs(12), requests: 110, events: 7, commits: 53, cpu_ms: 2000, ..ZERO };
        let rates = now.rates_since(&before);
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(rates.interval_seconds, 2.0));
        assert!(close(rates.requests, 5.0) && close(rates.events, 0.0) && close(rates.commits, 1.5));
        assert!(close(rates.cpu_percent, 50.0), "one second of two is half a core");
        assert!(close(now.rates_since(&now).requests, 0.0), "no time passed");
    }

    #[test]
    fn notices_name_what_is_wrong() {
        let fine = BackupFigures { newest_at: Some(1), files: 1, interval_hours: 0, failure: None };
        let situation = || Situation {
            at: 1000,
            uptime: Duration::from_hours(5),
            counts: Counts { users: 1, rooms: 1, messages: 1, events: 1 },
            registration: RegistrationMode::Closed,
            server_errors: 0,
            failed_jobs: 0,
            health: None,
            backups: &fine,
        };
        let codes = |now: &Situation<'_>| notices(now).into_iter().map(|notice| notice.code).collect::<Vec<_>>();
        assert_eq!(codes(&situation()), []);
        assert_eq!(codes(&Situation { registration: RegistrationMode::Token, ..situation() }), []);
        let open = Situation { registration: RegistrationMode::Open, ..situation() };
        assert_eq!(codes(&open), [NoticeCode::OpenRegistration]);
        let empty = Situation { counts: Counts::default(), server_errors: 3, ..situation() };
        assert_eq!(codes(&empty), [NoticeCode::ServerErrors, NoticeCode::NoUsers]);
        let health = StorageHealth { state: StorageState::Unavailable, message: "Gone.".to_owned() };
        let failed = BackupFigures { failure: Some("disk full".to_owned()), ..fine.clone() };
        let bad = Situation { failed_jobs: 3, health: Some(&health), backups: &failed, ..situation() };
        assert_eq!(codes(&bad), [NoticeCode::Storage, NoticeCode::BackupFailed, NoticeCode::JobsFailed]);
        assert_eq!(notices(&bad)[1].message, "The last backup failed: disk full.");
        assert!(notices(&bad)[2].message.starts_with("2 jobs have"));
        assert_eq!(codes(&Situation { failed_jobs: 1, backups: &failed, ..situation() }), [NoticeCode::BackupFailed]);
    }

    #[test]
    fn old_and_missing_backups_are_told_once_there_was_time_for_them() {
        const DAY_MS: u64 = 86_400_000;
        let told = |newest_at, interval_hours, uptime_hours, events| {
            let backups = BackupFigures { newest_at, files: 0, interval_hours, failure: None };
            let now = Situation {
                at: 100 * DAY_MS,
                uptime: Duration::from_hours(uptime_hours),
                counts: Counts { users: 1, rooms: 1, messages: 0, events },
                registration: RegistrationMode::Closed,
                server_errors: 0,
                failed_jobs: 0,
                health: None,
                backups: &backups,
            };
            !notices(&now).is_empty()
        };
        assert!(!told(Some(99 * DAY_MS), 24, 5, 9));
        assert!(!told(Some(98 * DAY_MS), 24, 5, 9), "one may be missed");
        assert!(told(Some(97 * DAY_MS), 24, 5, 9));
        assert!(!told(Some(97 * DAY_MS), 24, 0, 9), "just started");
        assert!(told(None, 24, 5, 9) && told(None, 0, 5, 9));
        assert!(!told(None, 24, 5, 0), "nothing to keep");
        assert!(!told(Some(DAY_MS), 0, 5, 9), "by hand alone, as the owner likes");
    }
}
