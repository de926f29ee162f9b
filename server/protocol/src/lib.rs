//! Matrix rules without I/O, over ruma: events as servers exchange them, room versions, signing,
//! authorization, redaction, and the form in which clients see events.
//!
//! Knows no store and does no I/O.

pub mod auth;
#[cfg(test)]
mod auth_tests;
pub mod build;
pub mod client_event;
mod format;
mod hashing;
#[cfg(test)]
mod hashing_tests;
mod json;
pub mod keys;
pub mod pdu;
mod pdu_error;
#[cfg(test)]
mod pdu_tests;
pub mod receive;
#[cfg(test)]
mod receive_tests;
pub mod redaction;
pub mod room_version;
pub mod server_acl;
pub mod signing;
pub mod state_resolution;
#[cfg(test)]
mod state_resolution_tests;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use pdu::Pdu;
pub use room_version::RoomVersion;
pub use signing::SigningKey;
