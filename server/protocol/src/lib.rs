//! Matrix rules without I/O, over ruma: events as servers exchange them, room versions, signing,
//! authorization, redaction, and the form in which clients see events.
//!
//! Knows no store and does no I/O.

pub mod auth;
pub mod build;
pub mod client_event;
pub mod pdu;
pub mod room_version;
pub mod signing;

pub use pdu::Pdu;
pub use room_version::RoomVersion;
pub use signing::SigningKey;
