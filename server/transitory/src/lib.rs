//! The Transitory database: what is true only for a while. Typing, receipts and presence; messages to devices and
//! device-list changes join them with end-to-end encryption.
//!
//! Everything that a reader may wait for is a *change*: one row in a log ordered by versionstamp (see [`changes`]).
//! A newer change of the same subject removes the older row, so the log never holds more rows than there are
//! subjects, however much happens. What ends by itself (typing, idling) has a due time; the one [`timers`] task of a
//! process turns due times into ordinary changes, so that readers need to know nothing of clocks.
//!
//! Knows no other database: rooms and users are their plain ids here.

pub mod changes;
pub mod check;
#[cfg(test)]
mod check_tests;
mod error;
pub mod keys;
pub mod presence;
mod purging;
pub mod receipts;
mod records;
mod throttle;
pub mod timers;
mod transitory;
pub mod typing;

#[cfg(test)]
mod tests;

pub use changes::Change;
pub use error::TransitoryError;
pub use presence::Presence;
pub use receipts::{ReceiptEntry, ReceiptKind};
pub use records::PresenceState;
pub use transitory::Transitory;
