//! FoundationDB's limits, which hold on both engines so that code that runs on one runs on the other.

use std::time::Duration;

/// Largest key, in bytes: FoundationDB's 10,000 less the longest root prefix and the byte behind it.
pub const KEY_BYTES: usize = 10_000 - KEY_PREFIX_BYTES - 1;
/// Longest root prefix of a FoundationDB store, in bytes.
pub const KEY_PREFIX_BYTES: usize = 256;
/// Largest value, in bytes.
pub const VALUE_BYTES: usize = 100_000;
/// Largest transaction: keys and values written plus conflict ranges, in bytes, and some dozens of bytes for each write. A
/// write's own conflict range counts too, so that small entries count about twice what they hold. FoundationDB
/// works best well below, up to a megabyte or two.
pub const TRANSACTION_BYTES: usize = 10_000_000;
/// A transaction that lives longer fails with [`crate::StoreError::TransactionTooOld`].
pub const TRANSACTION_LIFETIME: Duration = Duration::from_secs(5);
