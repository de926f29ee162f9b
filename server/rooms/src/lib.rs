//! The Rooms database: events, state, timelines, memberships, aliases, relations, notification rows.
//!
//! [`Rooms`] is the only way in. Writing: [`create`], [`send`], [`membership`], [`directory`]. Reading, always
//! on behalf of a user and always through [`visibility`]: [`timeline`], [`state`], [`relations`], [`public_rooms`].
//! For the sync engine: [`audience`].
//!
//! A write to a room goes through its lane (`lanes`: concurrent writes share a transaction), which opens the room
//! (`writer`: current state, authorization, appending) and at the end writes everything at once (`publish`).
//!
//! Knows no other database. Its keys are in `keys.rs` and known to nobody else.

pub mod admin;
#[cfg(test)]
mod admin_tests;
mod allocator;
pub mod audience;
#[cfg(test)]
mod audience_tests;
mod blocking;
mod by_time;
mod cache;
mod caches;
pub mod check;
pub mod client_form;
mod cover;
pub mod create;
#[cfg(test)]
mod create_tests;
mod departing;
pub mod directory;
#[cfg(test)]
mod directory_tests;
mod discoverable;
mod error;
pub mod event_filter;
mod graph;
pub mod hierarchy;
#[cfg(test)]
mod hierarchy_tests;
mod histories;
mod ids;
pub mod keys;
mod lanes;
pub mod loading;
pub mod lookup;
pub mod membership;
#[cfg(test)]
mod membership_tests;
pub mod mutual;
mod names;
pub mod notifications;
#[cfg(test)]
mod notifications_tests;
pub mod position;
mod public_room;
pub mod public_rooms;
mod publish;
#[cfg(test)]
mod publish_tests;
mod purging;
pub mod receiving;
mod records;
mod redacting;
mod relating;
pub mod relations;
#[cfg(test)]
mod relations_tests;
pub mod reports;
mod resolving;
mod room_info;
mod rooms;
mod scan;
pub mod search;
pub mod send;
#[cfg(test)]
mod send_tests;
pub mod snapshots;
mod special;
pub mod state;
mod stored_event;
pub mod summary;
#[cfg(test)]
mod testing;
mod threads;
pub mod timeline;
#[cfg(test)]
mod timeline_tests;
mod trimming;
mod turns;
pub mod upgrade;
mod upgrade_contents;
#[cfg(test)]
mod upgrade_tests;
mod view;
pub mod visibility;
#[cfg(test)]
mod visibility_tests;
mod writer;

pub use cache::CacheStats;
pub use client_form::Reader;
pub use departing::LeftRooms;
pub use error::RoomError;
pub use event_filter::EventFilter;
pub use ids::{EventNid, RoomNid, StateKeyNid, TypeNid};
pub use notifications::PushRules;
pub use position::Position;
pub use purging::{Doomed, PurgedPiece};
pub use records::{Membership, Outcome};
pub use room_info::RoomInfo;
pub use rooms::{Rooms, RoomsConfig};
pub use stored_event::{LoadedEvent, StoredEvent};
pub use trimming::{TransactionPlace, TrimmedTransactions};
pub use visibility::View;
