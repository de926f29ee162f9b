//! What the page sees of the server's supervision: `DesktopState` of `COMMANDS.md`.

use crate::{
    config::Config,
    database::{self, Blame, DatabaseState, DatabaseView},
    folder::{Folder, Settings},
    server::Ready,
    words::{millis, state_name},
};
use hearth_supervisor::{CrashReason, NextAction, State, Status};
use serde::Serialize;
use std::time::SystemTime;

/// Log lines shown with a state.
pub(crate) const TAIL_LINES: usize = 20;

/// See `COMMANDS.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct DesktopState {
    state: &'static str,
    summary: String,
    advice: Option<String>,
    next: NextAction,
    setup_step: Option<&'static str>,
    server_name: Option<String>,
    pid: Option<u32>,
    client_urls: Vec<String>,
    admin_url: Option<String>,
    reason: Option<Reason>,
    crash_loop: bool,
    retry_in_ms: Option<u64>,
    notice: Option<Notice>,
    log_tail: Vec<String>,
    log_file: Option<String>,
    data_folder: String,
    tray: bool,
    keep_running: bool,
    database: Option<DatabaseState>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Reason {
    Exit { code: i32 },
    Signal { signal: i32 },
    Configuration,
    NotReady { after_ms: u64 },
    PortTaken { port: u16, process: Option<String>, pid: Option<u32> },
    Spawn,
    Unfit,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Notice {
    at_ms: u64,
    message: String,
    restarts: u32,
    recovered: bool,
    log: Vec<String>,
}

/// What a [`DesktopState`] is made of.
pub(crate) struct Parts<'a> {
    pub(crate) status: &'a Status,
    pub(crate) config: Option<&'a Config>,
    pub(crate) settings: &'a Settings,
    pub(crate) folder: &'a Folder,
    pub(crate) log_tail: Vec<String>,
    pub(crate) tray: bool,
    /// The local FoundationDB, where that is the engine.
    pub(crate) database: Option<DatabaseView>,
}

impl DesktopState {
    pub(crate) fn new(parts: Parts<'_>) -> Self {
        let Parts { status, config, settings, folder, log_tail, tray, database } = parts;
        let blame = database.as_ref().map_or(Blame::None, |view| database::blame(&status.state, &view.status.state));
        // Whose state tells what is the case: the server's, unless it is the database that keeps it from its work.
        let blamed = database.as_ref().map(|view| &view.status.state).filter(|_| blame != Blame::None);
        let shown = blamed.unwrap_or(&status.state);
        let (reason, crash_loop, retry_in) = match shown {
            State::Crashed { reason, crash_loop, retry_in } => (Some(reason), *crash_loop, *retry_in),
            _ => (None, false, None),
        };
        let setup_step = match config {
            None => Some("server"),
            Some(_) if settings.owner_pending => Some("owner"),
            Some(_) => None,
        };
        let ready = status.ready.as_ref().and_then(Ready::parse);
        let log_file = folder.log();
        Self {
            state: if blame == Blame::Degrades { "degraded" } else { state_name(shown) },
            summary: blamed.map_or_else(|| summary(status), database::summary),
            advice: blamed.map_or_else(|| advice(&status.state), database::advice),
            next: match (setup_step, blame) {
                (_, Blame::Degrades) => database::next(shown),
                (Some(_), _) if status.state.is_up() => NextAction::SetUp,
                _ => shown.next_action(),
            },
            setup_step,
            server_name: config.map(|config| config.server_name.clone()).filter(|name| !name.is_empty()),
            pid: status.pid,
            client_urls: ready.as_ref().map(|ready| ready.listeners.clone()).unwrap_or_default(),
            admin_url: ready.as_ref().map(Ready::admin_url),
            reason: reason.map(Reason::from),
            crash_loop,
            retry_in_ms: retry_in.map(|time| millis(time.as_millis())),
            notice: notice(status),
            log_tail,
            log_file: log_file.exists().then(|| log_file.display().to_string()),
            data_folder: folder.path().display().to_string(),
            tray,
            keep_running: settings.keep_running && tray,
            database: database.as_ref().map(DatabaseState::from),
        }
    }
}

impl From<&CrashReason> for Reason {
    fn from(reason: &CrashReason) -> Self {
        match reason {
            CrashReason::Exit(code) => Self::Exit { code: *code },
            CrashReason::Signal(signal) => Self::Signal { signal: *signal },
            CrashReason::Configuration => Self::Configuration,
            CrashReason::NotReady(after) => Self::NotReady { after_ms: millis(after.as_millis()) },
            CrashReason::PortTaken(taken) => Self::PortTaken {
                port: taken.port,
                process: taken.holder.as_ref().and_then(|holder| holder.name.clone()),
                pid: taken.holder.as_ref().and_then(|holder| holder.pid),
            },
            CrashReason::Spawn(_) => Self::Spawn,
            CrashReason::Unfit(_) => Self::Unfit,
        }
    }
}

/// What is the case, in one sentence.
pub(crate) fn summary(status: &Status) -> String {
    match &status.state {
        State::NotSetUp => "Your server is not set up yet.".to_owned(),
        State::Starting => "Your server is starting.".to_owned(),
        State::Running => "Your server is running.".to_owned(),
        State::Degraded(reason) => format!("Your server runs but does not answer: {reason}."),
        State::Stopping => "Your server is stopping.".to_owned(),
        State::Stopped => "Your server is stopped.".to_owned(),
        State::Crashed { reason: CrashReason::PortTaken(taken), .. } => format!("{taken}."),
        State::Crashed { reason: CrashReason::Configuration, .. } => {
            let why = last_words(status).unwrap_or("its configuration is not valid.");
            format!("Your server does not start: {why}")
        }
        State::Crashed { reason: CrashReason::Spawn(error), .. } => {
            format!("Your server's program could not be started: {error}.")
        }
        State::Crashed { reason: CrashReason::Unfit(why), .. } => format!("Your server does not start: {why}."),
        State::Crashed { reason, crash_loop: true, .. } => {
            format!("Your server stopped several times in a row; the last time {reason}.")
        }
        State::Crashed { reason, .. } => format!("Your server stopped unexpectedly: {reason}."),
        State::Foreign(holder) => format!("Your server's folder is already in use by {holder}."),
    }
}

/// The server's own sentence about why it left, by which `hearth` ends its log: `hearth: The reason.`
fn last_words(status: &Status) -> Option<&str> {
    status.last_crash.as_ref()?.log.iter().rev().find_map(|line| line.strip_prefix("hearth: "))
}

/// What to do about it, in one sentence.
fn advice(state: &State) -> Option<String> {
    let advice = match state {
        State::NotSetUp | State::Starting | State::Running | State::Stopping | State::Stopped => return None,
        State::Degraded(_) => "Restart it if this lasts.",
        State::Crashed { retry_in: Some(_), .. } => "It is started again by itself.",
        State::Crashed { reason: CrashReason::PortTaken(_), .. } => {
            "Stop that program, or choose another port in hearth.toml, then start the server again."
        }
        State::Crashed { reason: CrashReason::Configuration, .. } => {
            "Mend that, then start the server again. Its configuration is hearth.toml in the server's folder."
        }
        State::Crashed { reason: CrashReason::Spawn(_), .. } => "Install Hearth again, then start the server.",
        State::Crashed { reason: CrashReason::Unfit(_), .. } => "See to that, then start the server again.",
        State::Crashed { .. } => "The last log lines say why. Start it again when you have seen to it.",
        State::Foreign(_) => "Use the server that runs already, or stop it and start it here.",
    };
    Some(advice.to_owned())
}

fn notice(status: &Status) -> Option<Notice> {
    let crash = status.last_crash.as_ref()?;
    let recovered = status.state.is_up();
    let happened = format!("The server stopped unexpectedly ({})", crash.reason);
    let message = match &status.state {
        state if state.is_up() => format!("{happened} and was started again."),
        State::Starting | State::Crashed { retry_in: Some(_), .. } => format!("{happened}; it is being started again."),
        _ => format!("{happened}."),
    };
    let at_ms = crash.at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| millis(time.as_millis()));
    Some(Notice { at_ms, message, restarts: status.restarts, recovered, log: crash.log.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_supervisor::{Crash, Holder, foundationdb::InstanceHealth, port::PortTaken};
    use serde_json::{Value, json};
    use std::{path::Path, time::Duration};

    fn shown(state: State, owner_pending: bool, configured: bool) -> Value {
        shown_with(state, owner_pending, configured, None)
    }

    fn shown_with(state: State, owner_pending: bool, configured: bool, database: Option<DatabaseView>) -> Value {
        let up = state.is_up();
        let status = Status {
            pid: up.then_some(7),
            ready: up.then(|| {
                json!({"event": "ready", "listeners": ["http://127.0.0.1:8008"], "admin": "http://127.0.0.1:8010",
                       "admin_token_file": "/secret"})
            }),
            restarts: 1,
            last_crash: Some(Crash {
                at: SystemTime::UNIX_EPOCH + Duration::from_secs(5),
                reason: CrashReason::Signal(9),
                log: vec!["last words".to_owned()],
            }),
            state,
        };
        let config = Config {
            server_name: "example.org".to_owned(),
            data_dir: "/nonexistent/data".into(),
            listeners: Vec::new(),
            admin: None,
            local_database: false,
        };
        let state = DesktopState::new(Parts {
            status: &status,
            config: configured.then_some(&config),
            settings: &Settings { keep_running: true, owner_pending },
            folder: &Folder::at(Path::new("/nonexistent")),
            log_tail: Vec::new(),
            tray: false,
            database,
        });
        serde_json::to_value(state).unwrap()
    }

    #[test]
    fn a_running_server_is_shown_as_the_contract_says() {
        let value = shown(State::Running, false, true);
        let expected = json!({
            "state": "running", "summary": "Your server is running.", "advice": null, "next": "open", "setup_step": null,
            "server_name": "example.org", "pid": 7, "client_urls": ["http://127.0.0.1:8008"],
            "admin_url": "http://127.0.0.1:8010", "reason": null, "crash_loop": false, "retry_in_ms": null,
            "notice": {
                "at_ms": 5000, "restarts": 1, "recovered": true, "log": ["last words"],
                "message": "The server stopped unexpectedly (it was killed by signal 9) and was started again.",
            },
            "log_tail": [], "log_file": null, "data_folder": "/nonexistent", "tray": false, "keep_running": false,
            "database": null,
        });
        assert_eq!(value, expected);
        assert!(!value.to_string().contains("/secret"), "the page never learns where the token is");
    }

    #[test]
    fn each_state_says_what_to_do() {
        let taken = PortTaken { port: 80, holder: Some(Holder { pid: Some(3), name: Some("nginx".to_owned()) }) };
        let crash = |reason, crash_loop, retry_in| State::Crashed { reason, crash_loop, retry_in };
        for (state, name, next, summary) in [
            (State::NotSetUp, "not_set_up", "set_up", "Your server is not set up yet."),
            (State::Starting, "starting", "wait", "Your server is starting."),
            (State::Stopping, "stopping", "wait", "Your server is stopping."),
            (State::Stopped, "stopped", "start", "Your server is stopped."),
            (
                State::Degraded("no answer".to_owned()),
                "degraded",
                "restart",
                "Your server runs but does not answer: no answer.",
            ),
            (
                crash(CrashReason::PortTaken(taken), false, None),
                "crashed",
                "start",
                "Port 80 is already used by nginx (process 3).",
            ),
            (
                crash(CrashReason::Exit(1), false, Some(Duration::from_secs(1))),
                "crashed",
                "wait",
                "Your server stopped unexpectedly: it left with exit code 1.",
            ),
            (
                crash(CrashReason::Exit(1), true, None),
                "crashed",
                "start",
                "Your server stopped several times in a row; the last time it left with exit code 1.",
            ),
            (
                State::Foreign(Holder { pid: Some(3), name: None }),
                "foreign",
                "use_or_stop_other",
                "Your server's folder is already in use by process 3.",
            ),
        ] {
            let value = shown(state, false, true);
            assert_eq!(
                (&value["state"], &value["next"], &value["summary"]),
                (&json!(name), &json!(next), &json!(summary))
            );
        }
    }

    #[test]
    fn a_database_that_is_to_blame_is_named() {
        let database = |state| DatabaseView {
            status: Status { state, pid: None, ready: None, restarts: 0, last_crash: None },
            version: None,
            health: InstanceHealth::default(),
            log_file: "/nonexistent".into(),
        };
        let crashed = |reason, retry_in| State::Crashed { reason, crash_loop: false, retry_in };
        let missing = crashed(CrashReason::Unfit("fdbserver is not installed".to_owned()), None);
        let value = shown_with(State::Stopped, false, true, Some(database(missing)));
        assert_eq!((&value["state"], &value["next"]), (&json!("crashed"), &json!("start")));
        assert_eq!(value["summary"], "Your server's database does not start: fdbserver is not installed.");
        assert_eq!((&value["reason"]["kind"], &value["database"]["state"]), (&json!("unfit"), &json!("crashed")));

        let retried = crashed(CrashReason::Signal(9), Some(Duration::from_secs(1)));
        let value = shown_with(State::Running, false, true, Some(database(retried)));
        assert_eq!((&value["state"], &value["next"]), (&json!("degraded"), &json!("wait")));
        assert_eq!(value["summary"], "Your server's database stopped unexpectedly: it was killed by signal 9.");

        let value = shown_with(State::Running, false, true, Some(database(State::Running)));
        assert_eq!((&value["state"], &value["summary"]), (&json!("running"), &json!("Your server is running.")));
    }

    #[test]
    fn the_servers_own_words_come_first() {
        let mut status = Status {
            state: State::Crashed { reason: CrashReason::Configuration, crash_loop: false, retry_in: None },
            pid: None,
            ready: None,
            restarts: 0,
            last_crash: None,
        };
        assert_eq!(summary(&status), "Your server does not start: its configuration is not valid.");
        let log =
            vec!["INFO starting".to_owned(), "hearth: hearth.toml:3: there is no key `x`".to_owned(), String::new()];
        status.last_crash = Some(Crash { at: SystemTime::UNIX_EPOCH, reason: CrashReason::Configuration, log });
        assert_eq!(summary(&status), "Your server does not start: hearth.toml:3: there is no key `x`");
    }

    #[test]
    fn the_first_run_goes_on_where_it_was() {
        assert_eq!(shown(State::NotSetUp, false, false)["setup_step"], "server");
        let value = shown(State::Running, true, true);
        assert_eq!((&value["setup_step"], &value["next"]), (&json!("owner"), &json!("set_up")));
    }

    #[test]
    fn reasons_carry_their_details() {
        for (reason, expected) in [
            (CrashReason::Exit(3), json!({"kind": "exit", "code": 3})),
            (CrashReason::Signal(9), json!({"kind": "signal", "signal": 9})),
            (CrashReason::Configuration, json!({"kind": "configuration"})),
            (CrashReason::NotReady(Duration::from_secs(2)), json!({"kind": "not_ready", "after_ms": 2000})),
            (
                CrashReason::PortTaken(PortTaken { port: 80, holder: None }),
                json!({"kind": "port_taken", "port": 80, "process": null, "pid": null}),
            ),
            (CrashReason::Spawn("x".to_owned()), json!({"kind": "spawn"})),
            (CrashReason::Unfit("x".to_owned()), json!({"kind": "unfit"})),
        ] {
            assert_eq!(serde_json::to_value(Reason::from(&reason)).unwrap(), expected);
        }
    }
}
