//! What the sync engine asks: for an audience (a user or a server), what is in a room, and what changed.
//!
//! Everything here runs inside a transaction of the caller, so that one response is one consistent picture: take
//! `let tx = rooms.store().begin(); let now = tx.read_version().await?;`, ask, and hand out `now` as the next
//! position. A position of the Rooms database is a store [`Version`]: everything committed up to and in it was seen.
//! Its text form in a sync token is `s<version>`, optionally followed by `_…` (see [`Position`]), so that clients
//! can pass a sync token to `/messages`, `/members` and the like.
//!
//! How an incremental sync asks, cheapest question first:
//! 1. [`Rooms::changed_rooms`]: one short read when nothing happened;
//! 2. [`Rooms::membership_changes`]: rooms newly joined, invited to, left;
//! 3. for each room with changes: [`Rooms::view_of`], [`Rooms::timeline_slice`], [`Rooms::state_delta`] (or
//!    [`Rooms::full_state`]), [`Rooms::members_at`] for lazy loading, [`Rooms::sync_summary`], [`Rooms::unread_counts`];
//! 4. [`Rooms::client_events`] to serialize what is sent.
//!
//! To wake waiting readers: [`Rooms::watch_stream`] first, then [`Rooms::stream_since`].

mod changes;
mod room;
mod summary;

pub use room::SliceRequest;

#[cfg(doc)]
use crate::Rooms;
#[cfg(doc)]
use hearth_store::Version;
use hearth_store::Versionstamp;

use crate::{
    EventNid, Membership, RoomNid, StateKeyNid, TypeNid, position::Position, records::TimelineEntry,
    stored_event::LoadedEvent,
};

/// A room of an audience.
#[derive(Debug, Clone)]
pub struct AudienceRoom {
    /// The room.
    pub room: RoomNid,
    /// The membership now.
    pub membership: Membership,
    /// The member event that made it so.
    pub event: EventNid,
    /// Who sent that.
    pub sender: StateKeyNid,
    /// The user left and forgot the room.
    pub forgotten: bool,
}

/// What became of an audience's membership in one room since a version: first and last of its changes.
#[derive(Debug, Clone)]
pub struct MembershipStep {
    /// The room.
    pub room: RoomNid,
    /// What it was at the version asked about, `None` if there was none.
    pub before: Option<Membership>,
    /// What it is now.
    pub now: Membership,
    /// The member event of the last change, and where it stands.
    pub event: EventNid,
    /// Position of that change.
    pub at: Versionstamp,
    /// Position of the last change from something else to `join`, if there was one since.
    pub joined_at: Option<Versionstamp>,
    /// Position of the last change from `join` to something else, if there was one since.
    pub left_at: Option<Versionstamp>,
}

/// One event of a timeline.
#[derive(Debug, Clone)]
pub struct TimelineEvent {
    /// Where it stands.
    pub at: Versionstamp,
    /// What the timeline's index says of it.
    pub entry: TimelineEntry,
    /// Whether something relates to it or redacts it (or nobody looked).
    pub touched: bool,
    /// The event.
    pub event: LoadedEvent,
}

/// Part of a timeline.
#[derive(Debug, Clone)]
pub struct TimelineSlice {
    /// The events, oldest first.
    pub events: Vec<TimelineEvent>,
    /// Whether there are visible events between the slice's begin and the first event here.
    pub limited: bool,
    /// Right before the first event (`prev_batch` is its text); where there is no event, where the slice ends.
    pub start: Position,
}

/// One entry of a room's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateEntry {
    /// Event type.
    pub event_type: TypeNid,
    /// State key.
    pub state_key: StateKeyNid,
    /// The event.
    pub event: EventNid,
}

/// `summary` of a room in a sync response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncSummary {
    /// Users to name the room by, at most five; `None` when the room has a name or an alias.
    pub heroes: Option<Vec<ruma::OwnedUserId>>,
    /// Joined users.
    pub joined: u64,
    /// Invited users.
    pub invited: u64,
}

/// What happened in a room, for the hub that wakes readers.
#[derive(Debug, Clone)]
pub struct StreamEvent {
    /// Where in the stream.
    pub at: Versionstamp,
    /// The room.
    pub room: RoomNid,
    /// The event.
    pub event: EventNid,
    /// For a membership change, whose: a reader to wake even though it is in the room only now, or no longer.
    pub member: Option<StateKeyNid>,
}

/// The rooms that changed since a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangedRooms {
    /// These rooms (all of them, not only the audience's), each once.
    Some(Vec<RoomNid>),
    /// So much happened that the heads of the audience's own rooms have to be compared
    /// ([`Rooms::has_changed`]).
    TooMany,
}
