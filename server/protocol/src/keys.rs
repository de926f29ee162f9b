//! Public keys of servers and for how long they count.

use std::collections::BTreeMap;

use ruma::{MilliSecondsSinceUnixEpoch, OwnedServerName, ServerName};

use crate::RoomVersion;

/// A server's key says at most this much about the future: seven days, in milliseconds
/// ([signing key validity period](https://spec.matrix.org/v1.19/rooms/v5/#signing-key-validity-period)).
const MAX_VALIDITY_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// Until when a key counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// From `verify_keys`: `valid_until_ts` of the answer.
    Until(MilliSecondsSinceUnixEpoch),
    /// From `old_verify_keys`: `expired_ts`.
    ExpiredAt(MilliSecondsSinceUnixEpoch),
}

/// An ed25519 key of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerKey {
    /// The public key, 32 bytes.
    pub key: Vec<u8>,
    /// Until when it counts.
    pub validity: Validity,
}

impl ServerKey {
    /// Whether it counts for an event of the time `event_ts`. Room versions 1 to 4 do not look at `valid_until_ts`.
    pub fn counts_for(
        &self,
        version: &RoomVersion,
        event_ts: MilliSecondsSinceUnixEpoch,
        now: MilliSecondsSinceUnixEpoch,
    ) -> bool {
        match self.validity {
            Validity::ExpiredAt(expired) => event_ts <= expired,
            Validity::Until(valid_until) if version.facts.key_validity => {
                u64::from(event_ts.0) <= u64::from(valid_until.0).min(u64::from(now.0).saturating_add(MAX_VALIDITY_MS))
            }
            Validity::Until(_) => true,
        }
    }
}

/// Keys by server and key id (`ed25519:a_1`).
#[derive(Debug, Clone, Default)]
pub struct ServerKeys(BTreeMap<OwnedServerName, BTreeMap<String, ServerKey>>);

impl ServerKeys {
    /// Adds a key.
    pub fn insert(&mut self, server: OwnedServerName, key_id: String, key: ServerKey) {
        self.0.entry(server).or_default().insert(key_id, key);
    }

    /// A server's key.
    pub fn get(&self, server: &ServerName, key_id: &str) -> Option<&ServerKey> {
        self.0.get(server)?.get(key_id)
    }
}
