//! What is removed after a certain time.

use hearth_store::Transaction;

use crate::keys::EXPIRY;

/// What expires; the number is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Expiring {
    Uia = 1,
    LoginToken = 2,
    Nonce = 3,
}

/// Has `key` removed after `at` (milliseconds since 1970). Readers check the time themselves and do not rely on it.
pub(crate) fn expire_at(tx: &Transaction, at: u64, kind: Expiring, key: &str) {
    EXPIRY.set(tx, (at, kind as u64, key), &());
}
