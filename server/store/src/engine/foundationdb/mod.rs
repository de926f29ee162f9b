//! The FoundationDB engine: the store on a cluster, which other processes may use at the same time.
//!
//! ```text
//! transaction ── reads ──▶ the cluster's transaction, at one read version
//!     │   buffer (own writes, merged over what is stored: the same as the embedded engine's)
//!     └─ commit ─▶ is a snapshot being read? ─▶ conflicts, writes, receipt ─▶ the cluster
//!                       ◀── committed, or not ◀── the receipt tells when the cluster did not ◀──┘
//! ```
//!
//! - [`layout`]: everything lies below a root prefix, callers' entries apart from the engine's own rows.
//! - [`client`]: bounded waits and errors. Nothing here waits for the cluster for ever: what does not answer in time is
//!   [`crate::StoreError::Unavailable`]. FoundationDB's own timeout option is not used: a client that stops waiting knows no
//!   more about a commit with it than without.
//! - [`transaction`], [`range`], [`commit`]: the same semantics as the embedded engine's, by the same write buffer. The
//!   client's own read-your-writes layer is off.
//! - [`idempotency`]: whether a commit happened, when the cluster did not say.
//! - [`watch`]: wake-ups, across processes.
//! - [`capture`] and [`snapshot`]: consistent reads that take longer than five seconds.
//! - [`health`]: the cluster's status document.
//!
//! **Retries.** [`crate::Store::transact`] takes a new transaction for each attempt, so it cannot use `on_error` of the old one;
//! what `on_error` decides by, the client's own classification of errors, decides here too ([`client`]), and the pause
//! grows in the same way.
//!
//! **No `unsafe`.** The `foundationdb` crate's C functions are bound at run time by `foundationdb-sys`, which also starts
//! and stops the client's network thread.

mod capture;
mod client;
mod commit;
mod health;
mod idempotency;
mod layout;
mod open;
mod range;
mod snapshot;
#[cfg(test)]
mod tests;
mod transaction;
mod watch;

/// The engine's name.
pub(crate) const NAME: &str = "foundationdb";

pub(crate) use open::{FoundationDb, load_client};
pub(crate) use snapshot::FdbSnapshot;
pub(crate) use transaction::FdbTransaction;
pub(crate) use watch::FdbWatch;
