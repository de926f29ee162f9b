//! What is known of a supervised process, and what to do next.

use crate::{holder::Holder, port::PortTaken};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    time::{Duration, SystemTime},
};

/// Where the child is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// There is no [`Spec`](crate::Spec) yet.
    NotSetUp,
    /// The process was started and is not ready yet.
    Starting,
    /// Ready, and its health probe (if any) answers.
    Running,
    /// The process lives but its health probe fails; why.
    Degraded(String),
    /// A stop was asked for and the process still lives.
    Stopping,
    /// It does not run, and nobody expects it to.
    Stopped,
    /// It left without being asked, or never became ready.
    Crashed {
        /// Why.
        reason: CrashReason,
        /// Too many quick exits: it is not restarted until someone asks.
        crash_loop: bool,
        /// When the automatic restart comes, counted from the change to this state; `None`: it does not.
        retry_in: Option<Duration>,
    },
    /// Someone else holds what this process needs (a folder, as a rule).
    Foreign(Holder),
}

/// The one thing to offer to a person in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NextAction {
    /// Set it up for the first time.
    SetUp,
    /// Nothing: it changes by itself.
    Wait,
    /// Use it.
    Open,
    /// Start it (again).
    Start,
    /// Stop it and start it again.
    Restart,
    /// Use the other process, or stop it.
    UseOrStopOther,
}

impl State {
    /// The next action to offer.
    pub fn next_action(&self) -> NextAction {
        match self {
            Self::NotSetUp => NextAction::SetUp,
            Self::Starting | Self::Stopping | Self::Crashed { retry_in: Some(_), .. } => NextAction::Wait,
            Self::Running => NextAction::Open,
            Self::Degraded(_) => NextAction::Restart,
            Self::Stopped | Self::Crashed { retry_in: None, .. } => NextAction::Start,
            Self::Foreign(_) => NextAction::UseOrStopOther,
        }
    }

    /// Whether the process became ready and still lives.
    pub fn is_up(&self) -> bool {
        matches!(self, Self::Running | Self::Degraded(_))
    }

    /// Whether nothing changes until somebody asks.
    pub fn is_settled(&self) -> bool {
        !matches!(self, Self::Starting | Self::Stopping | Self::Crashed { retry_in: Some(_), .. })
    }
}

/// Why a process is not running although it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CrashReason {
    /// It left with this code.
    Exit(i32),
    /// This signal killed it.
    Signal(i32),
    /// It left with [`exit_code::CONFIGURATION`](crate::exit_code::CONFIGURATION).
    Configuration,
    /// It was not ready within this time, and was killed.
    NotReady(Duration),
    /// A port it needs is taken.
    PortTaken(PortTaken),
    /// It could not be started at all; the system's words.
    Spawn(String),
    /// Something that it needs is missing or wrong, found before it was started; a sentence that says what.
    Unfit(String),
}

impl CrashReason {
    /// Whether starting again by itself can help.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Exit(_) | Self::Signal(_) | Self::NotReady(_))
    }
}

impl fmt::Display for CrashReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "it left with exit code {code}"),
            Self::Signal(signal) => write!(f, "it was killed by signal {signal}"),
            Self::Configuration => f.write_str("its configuration is not valid"),
            Self::NotReady(after) => write!(f, "it was not ready after {} s", after.as_secs()),
            Self::PortTaken(taken) => write!(f, "{taken}"),
            Self::Spawn(error) => write!(f, "it could not be started: {error}"),
            Self::Unfit(why) => f.write_str(why),
        }
    }
}

/// The last unexpected exit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crash {
    /// When it was noticed.
    pub at: SystemTime,
    /// Why.
    pub reason: CrashReason,
    /// The last log lines before it, oldest first.
    pub log: Vec<String>,
}

/// Everything about a supervised process, published on every change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Where it is in its life.
    pub state: State,
    /// Its process id while it lives.
    pub pid: Option<u32>,
    /// The ready line's JSON while it is up, for [`Readiness::ReadyLine`](crate::Readiness::ReadyLine).
    pub ready: Option<serde_json::Value>,
    /// Automatic restarts since it was last started by hand.
    pub restarts: u32,
    /// The last unexpected exit since it was last started by hand.
    pub last_crash: Option<Crash>,
}

impl Status {
    pub(crate) fn new() -> Self {
        Self { state: State::NotSetUp, pid: None, ready: None, restarts: 0, last_crash: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_next_action() {
        let crashed = |retry_in| State::Crashed { reason: CrashReason::Exit(1), crash_loop: false, retry_in };
        let foreign = State::Foreign(Holder { pid: Some(7), name: None });
        for (state, action, up, settled) in [
            (State::NotSetUp, NextAction::SetUp, false, true),
            (State::Starting, NextAction::Wait, false, false),
            (State::Running, NextAction::Open, true, true),
            (State::Degraded("slow".to_owned()), NextAction::Restart, true, true),
            (State::Stopping, NextAction::Wait, false, false),
            (State::Stopped, NextAction::Start, false, true),
            (crashed(None), NextAction::Start, false, true),
            (crashed(Some(Duration::from_secs(1))), NextAction::Wait, false, false),
            (foreign, NextAction::UseOrStopOther, false, true),
        ] {
            assert_eq!((state.next_action(), state.is_up(), state.is_settled()), (action, up, settled), "{state:?}");
        }
    }

    #[test]
    fn only_what_may_pass_is_retried() {
        for (reason, retry) in [
            (CrashReason::Exit(1), true),
            (CrashReason::Signal(9), true),
            (CrashReason::NotReady(Duration::from_secs(9)), true),
            (CrashReason::Configuration, false),
            (CrashReason::Spawn("no such file".to_owned()), false),
            (CrashReason::Unfit("not installed".to_owned()), false),
        ] {
            assert_eq!(reason.is_retryable(), retry, "{reason:?}");
        }
    }

    #[test]
    fn a_holder_reads_as_a_person_would_say_it() {
        for (name, pid, text) in [
            (Some("nginx"), Some(812), "nginx (process 812)"),
            (None, Some(812), "process 812"),
            (None, None, "another process"),
        ] {
            assert_eq!(Holder { pid, name: name.map(str::to_owned) }.to_string(), text);
        }
    }
}
