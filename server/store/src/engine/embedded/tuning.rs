//! The engine's figures.

use std::time::Duration;

use crate::limits::TRANSACTION_LIFETIME;

/// What tests set otherwise.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tuning {
    /// How long a transaction may live after its first read, and how long writes are kept to check reads against.
    pub(super) lifetime: Duration,
    /// The tree is made durable when the log has grown to this. It bounds the replay after a crash (well under a second).
    pub(super) log_bytes: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { lifetime: TRANSACTION_LIFETIME, log_bytes: 8 << 20 }
    }
}
