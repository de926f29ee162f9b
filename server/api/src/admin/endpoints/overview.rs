//! What the whole server is doing.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::admin::{Admin, error::AdminError, process::ProcessFigures};

/// A reading of the whole server.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(in crate::admin) struct Overview {
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
pub(in crate::admin) struct ServerInfo {
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
pub(in crate::admin) enum RegistrationMode {
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
pub(in crate::admin) struct StoreFigures {
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
pub(in crate::admin) struct Counts {
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
pub(in crate::admin) struct RequestFigures {
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
pub(in crate::admin) struct Rates {
    /// Seconds that the rates are the mean of. 0 in the first reading, whose rates mean nothing.
    pub interval_seconds: f64,
    /// Requests per second.
    pub requests: f64,
    /// New events per second.
    pub events: f64,
    /// Committed transactions per second.
    pub commits: f64,
    /// Processor use in percent of one core.
    pub cpu_percent: f64,
}

/// Something that the owner should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(in crate::admin) struct Notice {
    /// For programs.
    pub code: NoticeCode,
    /// One or two sentences for people, with what to do.
    pub message: String,
}

/// Kinds of notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::admin) enum NoticeCode {
    /// There is no account that is an administrator.
    NoUsers,
    /// Anybody may register.
    OpenRegistration,
    /// Requests failed with 5xx since the start.
    ServerErrors,
}

/// How one route of the server was used since the start.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(in crate::admin) struct RouteFigures {
    /// HTTP method.
    pub method: String,
    /// Path pattern.
    pub path: String,
    /// Answered requests.
    pub count: u64,
    /// Of these, answered with a 5xx status.
    pub server_errors: u64,
    /// Mean time to the answer in milliseconds; long polls count the time they waited.
    pub mean_ms: f64,
    /// The longest such time.
    pub slowest_ms: f64,
}

/// How full one of the server's caches is and how well it serves.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(in crate::admin) struct CacheFigures {
    /// What it holds.
    pub name: String,
    /// Entries held.
    pub entries: u64,
    /// Their weight: bytes in `events`, entries in the others.
    pub weight: u64,
    /// The bound of the weight.
    pub capacity: u64,
    /// Lookups that found their entry, since the start.
    pub hits: u64,
    /// Lookups that did not.
    pub misses: u64,
}

/// Figures that only grow, from which rates are made.
#[derive(Debug, Clone, Copy)]
pub(in crate::admin) struct Totals {
    uptime: Duration,
    requests: u64,
    events: u64,
    commits: u64,
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
            cpu_percent: per_second(self.cpu_ms, before.cpu_ms) / 10.0,
        }
    }
}

/// The newest reading, shared by all who ask: the figures are taken at most about once a second however
/// many dashboards are open.
#[derive(Debug, Default)]
pub(in crate::admin) struct Sampler {
    last: tokio::sync::Mutex<Option<(Totals, Overview)>>,
}

/// Younger readings than this are given out again.
const FRESH: Duration = Duration::from_millis(800);

/// Takes a reading, or gives the newest one where it is fresh.
pub(in crate::admin) async fn read(admin: &Admin) -> Result<Overview, AdminError> {
    let mut last = admin.sampler.last.lock().await;
    let metrics = admin.parts.metrics.snapshot();
    if let Some((totals, overview)) = &*last
        && metrics.uptime.saturating_sub(totals.uptime) < FRESH
    {
        return Ok(overview.clone());
    }
    let counts = admin.counts().await?;
    let process = admin.process.read();
    let store = admin.parts.store.stats();
    let registration = admin.parts.accounts.config().registration.into();
    let totals = Totals {
        uptime: metrics.uptime,
        requests: metrics.requests,
        events: counts.events,
        commits: store.commits,
        cpu_ms: process.cpu_ms,
    };
    let overview = Overview {
        at: super::unix_millis(),
        server: ServerInfo {
            server_name: admin.parts.server_name.to_string(),
            version: admin.parts.version.clone(),
            uptime_seconds: metrics.uptime.as_secs(),
            public_base_url: admin.parts.public_base_url.clone(),
            listeners: admin.parts.listeners.clone(),
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
        rates: last.as_ref().map(|(before, _)| totals.rates_since(before)).unwrap_or_default(),
        notices: notices(counts, registration, metrics.server_errors),
    };
    *last = Some((totals, overview.clone()));
    Ok(overview)
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

/// A reading of the whole server.
#[utoipa::path(get, path = "/overview", tag = "server", responses(
    (status = OK, body = Overview),
    (status = "default", body = AdminError),
))]
pub(super) async fn overview(State(admin): State<Arc<Admin>>) -> Result<Json<Overview>, AdminError> {
    read(&admin).await.map(Json)
}

/// How the server's routes were used, the most used first.
#[utoipa::path(get, path = "/routes", tag = "server", responses(
    (status = OK, body = Vec<RouteFigures>),
    (status = "default", body = AdminError),
))]
pub(super) async fn routes(State(admin): State<Arc<Admin>>) -> Json<Vec<RouteFigures>> {
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    let figures = admin.parts.metrics.routes().into_iter().map(|(route, stats)| RouteFigures {
        method: route.method.to_owned(),
        path: route.path,
        count: stats.count,
        server_errors: stats.server_errors,
        mean_ms: millis(stats.total) / stats.count.max(1) as f64,
        slowest_ms: millis(stats.slowest),
    });
    Json(figures.collect())
}

/// The server's caches.
#[utoipa::path(get, path = "/caches", tag = "server", responses(
    (status = OK, body = Vec<CacheFigures>),
    (status = "default", body = AdminError),
))]
pub(in crate::admin) async fn caches(State(admin): State<Arc<Admin>>) -> Json<Vec<CacheFigures>> {
    let figures = admin.parts.rooms.cache_stats().into_iter().map(|(name, stats)| CacheFigures {
        name: name.to_owned(),
        entries: stats.entries,
        weight: stats.weight,
        capacity: stats.capacity,
        hits: stats.hits,
        misses: stats.misses,
    });
    Json(figures.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_means_over_the_interval() {
        let before = Totals { uptime: Duration::from_secs(10), requests: 100, events: 7, commits: 50, cpu_ms: 1000 };
        let now = Totals { uptime: Duration::from_secs(12), requests: 110, events: 7, commits: 53, cpu_ms: 2000 };
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
