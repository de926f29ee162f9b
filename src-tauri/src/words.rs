//! States and times as the page knows them.

use hearth_supervisor::State;

/// Milliseconds that fit; far more than any clock's.
pub(crate) fn millis(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// The state as the page knows it.
pub(crate) fn state_name(state: &State) -> &'static str {
    match state {
        State::NotSetUp => "not_set_up",
        State::Starting => "starting",
        State::Running => "running",
        State::Degraded(_) => "degraded",
        State::Stopping => "stopping",
        State::Stopped => "stopped",
        State::Crashed { .. } => "crashed",
        State::Foreign(_) => "foreign",
    }
}
