//! How the store is, as a state and a sentence.

use hearth_store::Health;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Less room than this on the disk is told as a fault: a store without room ends the server.
const LITTLE_ROOM: u64 = 2_000_000_000;

/// How the store is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(in crate::admin) struct StorageHealth {
    /// For programs and colours.
    pub state: StorageState,
    /// For people, in a sentence or two.
    pub message: String,
}

/// How the store is, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::admin) enum StorageState {
    /// As it should be.
    Good,
    /// It answers, but something needs a look.
    Degraded,
    /// It does not answer.
    Unavailable,
}

impl StorageHealth {
    /// Puts the engine's own report and the room on the disk into words.
    pub(in crate::admin) fn judge(engine: &str, health: &Health, free_bytes: Option<u64>) -> Self {
        let said = health.message.trim();
        if !health.available {
            let message = if said.is_empty() { "The database does not answer." } else { said };
            return Self { state: StorageState::Unavailable, message: message.to_owned() };
        }
        if !said.is_empty() {
            return Self { state: StorageState::Degraded, message: said.to_owned() };
        }
        if engine == "memory" {
            let message = "Everything is in memory and gone when the server stops.".to_owned();
            return Self { state: StorageState::Degraded, message };
        }
        if free_bytes.is_some_and(|free| free < LITTLE_ROOM) {
            let message = "The disk is nearly full. Make room: without any, the server stops.".to_owned();
            return Self { state: StorageState::Degraded, message };
        }
        let message = match (engine, &*health.redundancy) {
            ("foundationdb", "double" | "triple") => "The cluster answers, and every entry is on several machines.",
            ("foundationdb", _) => "The database answers. Everything that was acknowledged is on its disk.",
            _ => "Everything that was acknowledged is on the disk.",
        };
        Self { state: StorageState::Good, message: message.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_is_told() {
        let health = |available, message: &str| Health { available, message: message.to_owned(), ..Health::default() };
        for (engine, health, free, state, words) in [
            ("embedded", health(true, ""), Some(u64::MAX), StorageState::Good, "on the disk"),
            ("embedded", health(true, ""), None, StorageState::Good, "on the disk"),
            ("embedded", health(true, ""), Some(5), StorageState::Degraded, "nearly full"),
            ("memory", health(true, ""), None, StorageState::Degraded, "in memory"),
            ("foundationdb", health(true, "One machine is down."), None, StorageState::Degraded, "One machine"),
            ("foundationdb", health(false, ""), None, StorageState::Unavailable, "does not answer"),
            ("foundationdb", health(false, "No quorum."), Some(5), StorageState::Unavailable, "No quorum"),
        ] {
            let told = StorageHealth::judge(engine, &health, free);
            assert_eq!(told.state, state, "{told:?}");
            assert!(told.message.contains(words), "{told:?}");
        }
    }
}
