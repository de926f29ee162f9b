//! Readings of the whole server, taken at most about once a second however many dashboards are open.

use std::{sync::Arc, time::Duration};

use hearth_accounts::Accounts;
use hearth_rooms::Rooms;
use hearth_store::Store;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    clock::unix_millis,
    error::AdminError,
    process::{ProcessFigures, ProcessReader},
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
}

/// Takes readings and shares the newest one with all who ask.
pub(super) struct Figures {
    sources: FigureSources,
    process: ProcessReader,
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

impl Figures {
    /// Reads nothing yet.
    pub(super) fn new(sources: FigureSources) -> Self {
        Self { sources, process: ProcessReader::new(), state: tokio::sync::Mutex::default() }
    }

    /// Takes a reading, or gives the newest one where it is fresh.
    pub(super) async fn read(&self) -> Result<Overview, AdminError> {
        let mut state = self.state.lock().await;
        let metrics = self.sources.metrics.snapshot();
        if let Some((totals, overview)) = &state.last
            && metrics.uptime.saturating_sub(totals.uptime) < FRESH
        {
            return Ok(overview.clone());
        }
        let counts = self.counts(&mut state.rooms_at_events).await?;
        let process = self.process.read();
        let store = self.sources.store.stats();
        let registration = self.sources.accounts.config().registration.into();
        let totals = Totals {
            uptime: metrics.uptime,
            requests: metrics.requests,
            events: counts.events,
            commits: store.commits,
            conflicts: store.conflicts,
            reads: store.reads,
            cpu_ms: process.cpu_ms,
        };
        let overview = Overview {
            at: unix_millis(),
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
            notices: notices(counts, registration, metrics.server_errors),
        };
        state.last = Some((totals, overview.clone()));
        Ok(overview)
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

fn notices(counts: Counts, registration: RegistrationMode, server_errors: u64) -> Vec<Notice> {
    let mut notices = Vec::new();
    if server_errors > 0 {
        let what = if server_errors == 1 { "One request" } else { "Some requests" };
        notices.push(Notice {
            code: NoticeCode::ServerErrors,
            message: format!("{what} failed because of an error in the server. The log says why."),
        });
    }
    if registration == RegistrationMode::Open {
        notices.push(Notice {
            code: NoticeCode::OpenRegistration,
            message: "Anybody who can reach this server can make an account. Set registration to \"token\" or \
                      \"closed\" in the configuration unless you want that."
                .to_owned(),
        });
    }
    if counts.users == 0 {
        notices.push(Notice {
            code: NoticeCode::NoUsers,
            message: "There is no account yet. Make the first one under Users, then log in with a Matrix client."
                .to_owned(),
        });
    }
    notices
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
        let codes = |users, registration, errors| {
            let counts = Counts { users, ..Counts::default() };
            notices(counts, registration, errors).into_iter().map(|notice| notice.code).collect::<Vec<_>>()
        };
        assert_eq!(codes(1, RegistrationMode::Closed, 0), []);
        assert_eq!(codes(1, RegistrationMode::Token, 0), []);
        assert_eq!(codes(1, RegistrationMode::Open, 0), [NoticeCode::OpenRegistration]);
        assert_eq!(codes(0, RegistrationMode::Closed, 3), [NoticeCode::ServerErrors, NoticeCode::NoUsers]);
    }
}
