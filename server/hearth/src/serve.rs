//! `hearth serve`: from a configuration to a running server, and back to a closed store.

use std::{io::Write, path::Path, sync::Arc, time::Duration};

use axum::Router;
use hearth_api::{
    admin::{self, AdminParts, AdminToken, logs::LogRing},
    client::{self, ApiError, ClientParts, ClientState, InFlight, RateLimiter},
    metrics::Metrics,
};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admin_settings,
    config::{Config, Service},
    databases::Databases,
    development,
    failure::{Failure, STOP},
    jobs,
    listen::{Bound, Limits},
    stop_signal::StopSignal,
    tls,
};

/// How long running requests may take to finish after the server was asked to stop.
const GRACE: Duration = Duration::from_secs(10);
/// Most connections of all listeners for clients and servers, and of the admin listener.
const CONNECTIONS: usize = 4096;
const ADMIN_CONNECTIONS: usize = 64;

/// How to run, besides the configuration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// Stop at the end of standard input.
    pub(crate) exit_on_stdin_eof: bool,
    /// Tell a person on standard error where to go next.
    pub(crate) greet: bool,
}

/// The line on standard output that supervisors and tests wait for.
#[derive(Serialize)]
struct Ready<'a> {
    event: &'static str,
    listeners: &'a [String],
    admin: &'a str,
    admin_token_file: &'a Path,
}

/// Runs the server until something stops it. Returns the exit code.
pub(crate) async fn serve(config: Config, manner: Manner, logs: Arc<LogRing>) -> Result<u8, Failure> {
    // First of all: a signal during the start must not be lost.
    let mut stop = StopSignal::install(manner.exit_on_stdin_eof)?;
    for variable in &config.ignored_variables {
        tracing::warn!("the environment variable {variable} names no key of the configuration");
    }
    raise_file_limit();
    // Before the store: a typing error in a path must not wait for it.
    tls::check_authorities(&config.federation.extra_ca)?;
    let mut acceptors = Vec::new();
    for listener in &config.listeners {
        acceptors.push(listener.tls.as_ref().map(tls::acceptor).transpose()?);
    }
    let databases = tokio::select! {
        opened = Databases::open(&config) => opened?,
        code = stop.wait() => return Ok(code),
    };
    let outcome = run(&config, manner, &databases, acceptors, logs, &mut stop).await;
    databases.close().await;
    match &outcome {
        Ok(STOP) => tracing::info!("stopped"),
        Ok(code) => tracing::info!(code, "stopped"),
        Err(error) => tracing::error!(%error, "stopped"),
    }
    outcome
}

async fn run(
    config: &Config,
    manner: Manner,
    databases: &Databases,
    acceptors: Vec<Option<tokio_rustls::TlsAcceptor>>,
    logs: Arc<LogRing>,
    stop: &mut StopSignal,
) -> Result<u8, Failure> {
    let mut bound = Vec::new();
    for (listener, acceptor) in config.listeners.iter().zip(acceptors) {
        bound.push(Bound::bind(listener.address, acceptor).await?);
    }
    let admin_bound = Bound::bind(config.admin, None).await?;
    let urls: Vec<String> = bound.iter().map(Bound::url).collect();
    let public_base_url = config.public_base_url.clone().unwrap_or_else(|| default_base_url(config, &bound));
    let (token, token_file) = databases.folder.write_admin_access(&admin_bound.url())?;

    let metrics = Arc::new(Metrics::new());
    let stopping = CancellationToken::new();
    let client = client::router(ClientState::new(ClientParts {
        server_name: config.server_name.clone(),
        federation_address: federation_address(config, &public_base_url),
        public_base_url: public_base_url.clone(),
        accounts: databases.accounts.clone(),
        rooms: databases.rooms.clone(),
        transitory: databases.transitory.clone(),
        sync: databases.sync.clone(),
        jobs: databases.jobs.clone(),
        default_room_version: config.default_room_version.clone(),
        in_flight: InFlight::default(),
        limiter: RateLimiter::new(config.rate_limit),
        metrics: metrics.clone(),
        stopping: stopping.clone(),
    }));
    let (admin, admin_work) = admin::router(AdminParts {
        token: AdminToken::new(&token),
        server_name: config.server_name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        public_base_url,
        listeners: urls.clone(),
        accounts: databases.accounts.clone(),
        rooms: databases.rooms.clone(),
        store: databases.store.clone(),
        storage: admin_settings::storage(config),
        backups: admin_settings::backups(config, &databases.folder),
        jobs: databases.jobs.clone(),
        process: Some(databases.registration.id().to_owned()),
        logs,
        metrics,
        shutdown: stopping.clone(),
    });

    let background = TaskTracker::new();
    spawn_background(&background, databases, &stopping);
    jobs::start(&background, databases, admin_settings::backups(config, &databases.folder), &stopping);
    background.spawn(admin_work);
    let limits = Limits {
        stop: stopping.clone(),
        kill: CancellationToken::new(),
        tasks: TaskTracker::new(),
        room: Arc::new(Semaphore::new(CONNECTIONS)),
    };
    for (listener, bound) in config.listeners.iter().zip(bound) {
        let router = if listener.serves.contains(&Service::Client) { client.clone() } else { nothing_yet() };
        limits.tasks.spawn(bound.serve(router, limits.clone()));
    }
    let admin_url = admin_bound.url();
    limits.tasks.spawn(admin_bound.serve(admin, limits.with_room(ADMIN_CONNECTIONS)));
    tracing::info!(server_name = %config.server_name, listeners = ?urls, dashboard = admin_url, "ready");
    print_ready(&Ready { event: "ready", listeners: &urls, admin: &admin_url, admin_token_file: &token_file });
    if manner.greet {
        development::greet(config, &admin_url, &token_file);
    }

    let outcome = tokio::select! {
        code = stop.wait() => Ok(code),
        error = databases.store.failed() => Err(Failure::internal(format!(
            "The store has failed and the server ends, so that nothing is lost: {error}. \
             Everything that was acknowledged is on disk. Look after the disk, then start again."
        ))),
        never = databases.keep_up() => match never {},
    };
    stopping.cancel();
    limits.tasks.close();
    if tokio::time::timeout(GRACE, limits.tasks.wait()).await.is_err() {
        tracing::warn!("cut off requests that were still running");
        limits.kill.cancel();
        limits.tasks.wait().await;
    }
    background.close();
    background.wait().await;
    outcome
}

/// What runs beside requests, until `stopping`.
fn spawn_background(tasks: &TaskTracker, databases: &Databases, stopping: &CancellationToken) {
    let (registration, stop) = (databases.registration.clone(), stopping.clone());
    tasks.spawn(async move { registration.run(stop).await });
    let (accounts, stop) = (databases.accounts.clone(), stopping.clone());
    tasks.spawn(async move { accounts.run_maintenance(stop).await });
    let (transitory, stop) = (databases.transitory.clone(), stopping.clone());
    tasks.spawn(async move { transitory.run_timers(stop).await });
    let (sync, stop) = (databases.sync.clone(), stopping.clone());
    tasks.spawn(async move { sync.run(stop).await });
}

/// For listeners that serve only what this version does not have.
fn nothing_yet() -> Router {
    Router::new().fallback(async || ApiError::unrecognized())
}

/// What clients are told where the configuration does not say it.
fn default_base_url(config: &Config, bound: &[Bound]) -> String {
    let serving = config.listeners.iter().position(|listener| listener.serves.contains(&Service::Client));
    let Some(bound) = bound.get(serving.unwrap_or_default()) else { return format!("https://{}", config.server_name) };
    if bound.address.ip().is_unspecified() {
        // Every address of the machine: the server's own name is the best guess at one that others reach.
        let scheme = if bound.url().starts_with("https") { "https" } else { "http" };
        return format!("{scheme}://{}:{}", config.server_name.host(), bound.address.port());
    }
    bound.url()
}

/// What other servers are told: the public address, which must be HTTPS.
fn federation_address(config: &Config, public_base_url: &str) -> Option<String> {
    let url =
        url::Url::parse(public_base_url).ok().filter(|url| url.scheme() == "https" && config.federation.enabled)?;
    Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?))
}

fn print_ready(ready: &Ready<'_>) {
    // Strings and a path that was made of one: serialization cannot fail.
    let line = serde_json::to_string(ready).unwrap_or_default();
    let mut stdout = std::io::stdout().lock();
    // A parent that does not read it is no reason to stop.
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Every connection is an open file, and the system's usual limit is meant for ordinary programs.
fn raise_file_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        let wanted = limit.maximum.unwrap_or(u64::MAX).min(2 * CONNECTIONS as u64);
        if limit.current.is_some_and(|current| current < wanted) {
            limit.current = Some(wanted);
            if let Err(error) = setrlimit(Resource::Nofile, limit) {
                tracing::debug!(%error, "the limit of open files stays as it is");
            }
        }
    }
}
