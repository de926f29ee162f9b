//! Matrix rules without I/O, over ruma: events as servers exchange them, room versions, signing,
//! authorization, redaction, and the form in which clients see events.
//!
//! Knows no store and does no I/O.

pub mod auth;
#[cfg(test)]
mod auth_tests;
pub mod build;
pub mod client_event;
pub mod pdu;
#[cfg(test)]
mod pdu_tests;
pub mod room_version;
pub mod signing;

pub use pdu::Pdu;
pub use room_version::RoomVersion;
pub use signing::SigningKey;
