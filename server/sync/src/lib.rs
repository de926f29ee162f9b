//! What an audience gets next.
//!
//! An [`Audience`] is a local user or another server. Both have rooms, changes of membership, a position
//! ([`SyncPosition`]) and a next batch ([`SyncEngine::next_batch`]); the forms in which it reaches them are thin faces on
//! that: [`v2`] is `GET /sync`. Users pull and may wait for something new: the [`hub`] wakes them, and no wake-up is ever
//! lost.
//!
//! What users tell each other beside events, and what concerns several databases at once, is in [`markers`] and
//! [`presence`].

mod batch;
mod cache;
mod engine;
mod error;
mod fields;
mod filter;
pub mod hub;
pub mod markers;
mod members_sent;
mod memberships;
mod position;
pub mod presence;
mod sources;
pub mod v2;

#[cfg(test)]
mod tests;

pub use batch::{Audience, Batch, Limits, Reading, RoomBatch, Standing};
pub use engine::SyncEngine;
pub use error::SyncError;
pub use position::SyncPosition;
