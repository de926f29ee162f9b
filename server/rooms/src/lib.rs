//! The Rooms database: events, state, timelines, memberships, aliases, relations, notification rows.
//!
//! [`Rooms`] is the only way in. Writing: [`create`], [`send`], [`membership`], [`directory`]. Reading, always
//! on behalf of a user and always through [`visibility`]: [`timeline`], [`state`], [`relations`], [`public_rooms`].
//! For the sync engine: [`audience`].
//!
//! Knows no other database. Its keys are in `keys.rs` and known to nobody else.

pub mod admin;
pub mod audience;
pub mod create;
pub mod directory;
mod error;
mod ids;
pub mod keys;
pub mod membership;
pub mod notifications;
pub mod public_rooms;
mod publish;
mod records;
pub mod relations;
mod rooms;
pub mod send;
pub mod state;
pub mod timeline;
pub mod visibility;

pub use error::RoomError;
pub use ids::{EventNid, RoomNid, StateKeyNid, TypeNid};
pub use notifications::PushRules;
pub use records::{Membership, Outcome};
pub use rooms::{Rooms, RoomsConfig};
