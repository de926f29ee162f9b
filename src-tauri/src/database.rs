//! The local FoundationDB of a server with that engine: run here, beside the server, so that a crash of one leaves the other
//! alone. And what the page sees of it: `DatabaseState` of `COMMANDS.md`.

use crate::{
    config::Config,
    error::{CommandError, ErrorCode},
    words::{millis, state_name},
};
use hearth_supervisor::{
    CrashReason, NextAction, Restart, State, Status,
    foundationdb::{InstanceHealth, LocalInstance},
};
use serde::Serialize;
use std::{path::PathBuf, sync::OnceLock};
use tokio::sync::watch;

/// The instance, from the first time that the configuration asks for one.
#[derive(Debug, Default)]
pub(crate) struct Database(OnceLock<Run>);

#[derive(Debug)]
struct Run {
    folder: PathBuf,
    instance: LocalInstance,
}

impl Database {
    /// Starts the instance that `config` asks for, if it does, and returns when its process runs (or another supervisor
    /// has it): the server waits by itself until it answers. Does nothing to one that runs.
    pub(crate) async fn start(&self, config: &Config) -> Result<(), CommandError> {
        if !config.local_database {
            return Ok(());
        }
        let folder = config.data_dir.join("foundationdb");
        let run = self
            .0
            .get_or_init(|| Run { instance: LocalInstance::new(&folder, Restart::default()), folder: folder.clone() });
        if run.folder != folder {
            let message = "The server's data folder was changed. Quit Hearth and open it again.";
            return Err(CommandError::new(ErrorCode::StartFailed, message));
        }
        let handle = run.instance.handle();
        if handle.status().state.is_up() {
            return Ok(());
        }
        run.instance.start().await;
        let mut changes = handle.subscribe();
        let launched = |status: &Status| status.pid.is_some() || !matches!(status.state, State::Starting);
        let status = changes.wait_for(launched).await.map_or_else(|_| handle.status(), |status| status.clone());
        match &status.state {
            State::Crashed { retry_in: None, .. } => {
                Err(CommandError::new(ErrorCode::StartFailed, summary(&status.state)))
            }
            _ => Ok(()),
        }
    }

    /// Waits until its start has come to an end: the server may find it answering before its own check has.
    pub(crate) async fn started(&self) {
        if let Some(run) = self.0.get() {
            let mut changes = run.instance.handle().subscribe();
            // An error says that nobody runs it any more, which is an end as well.
            let _ = changes.wait_for(|status| !matches!(status.state, State::Starting)).await;
        }
    }

    /// Stops it. The server first.
    pub(crate) async fn stop(&self) {
        if let Some(run) = self.0.get() {
            run.instance.stop().await;
        }
    }

    /// Every change of its status; `None` where there is none yet.
    pub(crate) fn subscribe(&self) -> Option<watch::Receiver<Status>> {
        self.0.get().map(|run| run.instance.handle().subscribe())
    }

    /// What is known of it; `None` where the configuration asks for none.
    pub(crate) fn view(&self, config: Option<&Config>) -> Option<DatabaseView> {
        let run = self.0.get().filter(|_| config.is_some_and(|config| config.local_database))?;
        Some(DatabaseView {
            status: run.instance.handle().status(),
            version: run.instance.version(),
            health: run.instance.health(),
            log_file: run.folder.join("log").join("fdbserver.log"),
        })
    }
}

/// What is known of the instance.
#[derive(Debug, Clone)]
pub(crate) struct DatabaseView {
    pub(crate) status: Status,
    pub(crate) version: Option<String>,
    pub(crate) health: InstanceHealth,
    pub(crate) log_file: PathBuf,
}

/// See `COMMANDS.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct DatabaseState {
    state: &'static str,
    summary: String,
    advice: Option<String>,
    version: Option<String>,
    pid: Option<u32>,
    restarts: u32,
    retry_in_ms: Option<u64>,
    memory_bytes: Option<u64>,
    data_bytes: Option<u64>,
    disk_free_bytes: Option<u64>,
    log_file: Option<String>,
}

impl From<&DatabaseView> for DatabaseState {
    fn from(view: &DatabaseView) -> Self {
        let DatabaseView { status, version, health, log_file } = view;
        let retry_in = match &status.state {
            State::Crashed { retry_in, .. } => *retry_in,
            _ => None,
        };
        Self {
            state: state_name(&status.state),
            summary: summary(&status.state),
            advice: advice(&status.state),
            version: version.clone(),
            pid: status.pid,
            restarts: status.restarts,
            retry_in_ms: retry_in.map(|time| millis(time.as_millis())),
            memory_bytes: health.memory_bytes,
            data_bytes: health.data_bytes,
            disk_free_bytes: health.disk_free_bytes,
            log_file: log_file.exists().then(|| log_file.display().to_string()),
        }
    }
}

/// How the database changes what is said of the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// Not at all.
    None,
    /// The server runs and cannot do its work.
    Degrades,
    /// The server does not run, and cannot be started before the database is.
    Prevents,
}

/// Whether the database is why the server is not well.
pub(crate) fn blame(server: &State, database: &State) -> Blame {
    let is_down = !database.is_up() && !matches!(database, State::Foreign(_));
    match (server, database) {
        (State::Foreign(_) | State::Stopping | State::NotSetUp, _) => Blame::None,
        (server, _) if server.is_up() && is_down => Blame::Degrades,
        (server, State::Degraded(_)) if server.is_up() => Blame::Degrades,
        (server, State::Crashed { retry_in: None, .. }) if !server.is_up() => Blame::Prevents,
        _ => Blame::None,
    }
}

/// What to offer while the database degrades the server.
pub(crate) fn next(database: &State) -> NextAction {
    if database.is_settled() && !database.is_up() { NextAction::Restart } else { NextAction::Wait }
}

/// What is the case, in one sentence.
pub(crate) fn summary(state: &State) -> String {
    match state {
        State::NotSetUp | State::Stopped => "Your server's database is stopped.".to_owned(),
        State::Starting => "Your server's database is starting.".to_owned(),
        State::Running => "Your server's database is running.".to_owned(),
        State::Degraded(reason) => format!("Your server's database is not well: {reason}."),
        State::Stopping => "Your server's database is stopping.".to_owned(),
        State::Crashed { reason: CrashReason::Unfit(why), .. } => {
            format!("Your server's database does not start: {why}.")
        }
        State::Crashed { reason: CrashReason::Spawn(error), .. } => {
            format!("Your server's database could not be started: {error}.")
        }
        State::Crashed { reason, crash_loop: true, .. } => {
            format!("Your server's database stopped several times in a row; the last time {reason}.")
        }
        State::Crashed { reason, .. } => format!("Your server's database stopped unexpectedly: {reason}."),
        State::Foreign(holder) => format!("Your server's database is run by {holder}."),
    }
}

/// What to do about it, in one sentence.
pub(crate) fn advice(state: &State) -> Option<String> {
    let advice = match state {
        State::NotSetUp | State::Starting | State::Running | State::Stopping | State::Stopped | State::Foreign(_) => {
            return None;
        }
        State::Degraded(_) => "It goes on by itself once that is mended.",
        State::Crashed { retry_in: Some(_), .. } => "It is started again by itself.",
        State::Crashed { reason: CrashReason::Unfit(_) | CrashReason::Spawn(_), .. } => {
            "See to that, then start the server again."
        }
        State::Crashed { .. } => "Its log says why. Start the server again when you have seen to it.",
    };
    Some(advice.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_supervisor::Holder;
    use serde_json::json;
    use std::time::Duration;

    fn crashed(reason: CrashReason, retry_in: Option<Duration>) -> State {
        State::Crashed { reason, crash_loop: false, retry_in }
    }

    #[test]
    fn the_database_is_blamed_where_it_is_to_blame() {
        let missing = || crashed(CrashReason::Unfit("fdbserver is not installed".to_owned()), None);
        let retried = || crashed(CrashReason::Exit(1), Some(Duration::from_secs(1)));
        let foreign = || State::Foreign(Holder { pid: None, name: None });
        for (server, database, expected) in [
            (State::Running, State::Running, Blame::None),
            (State::Running, retried(), Blame::Degrades),
            (State::Running, State::Starting, Blame::Degrades),
            (State::Running, State::Degraded("the disk is full".to_owned()), Blame::Degrades),
            (State::Running, foreign(), Blame::None),
            (State::Stopped, missing(), Blame::Prevents),
            (State::Stopped, State::Stopped, Blame::None),
            (State::Starting, State::Starting, Blame::None),
            (State::Starting, retried(), Blame::None),
            (crashed(CrashReason::Exit(69), None), missing(), Blame::Prevents),
            (foreign(), missing(), Blame::None),
            (State::NotSetUp, missing(), Blame::None),
        ] {
            assert_eq!(blame(&server, &database), expected, "{server:?} {database:?}");
        }
        assert_eq!(next(&retried()), NextAction::Wait);
        assert_eq!(next(&missing()), NextAction::Restart);
        assert_eq!(next(&State::Degraded("x".to_owned())), NextAction::Wait);
    }

    #[test]
    fn the_page_sees_it_as_the_contract_says() {
        let view = DatabaseView {
            status: Status {
                state: crashed(CrashReason::Signal(9), Some(Duration::from_secs(2))),
                pid: None,
                ready: None,
                restarts: 3,
                last_crash: None,
            },
            version: Some("7.4.6".to_owned()),
            health: InstanceHealth { memory_bytes: Some(1), data_bytes: Some(2), ..InstanceHealth::default() },
            log_file: "/nonexistent".into(),
        };
        let expected = json!({
            "state": "crashed", "summary": "Your server's database stopped unexpectedly: it was killed by signal 9.",
            "advice": "It is started again by itself.", "version": "7.4.6", "pid": null, "restarts": 3, "retry_in_ms": 2000,
            "memory_bytes": 1, "data_bytes": 2, "disk_free_bytes": null, "log_file": null,
        });
        assert_eq!(serde_json::to_value(DatabaseState::from(&view)).unwrap(), expected);
    }
}
