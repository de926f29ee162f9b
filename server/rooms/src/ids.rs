//! Numeric ids: local numbers for strings that repeat. Never 0, never shown outside the server.

hearth_store::numeric_key! {
    /// Numeric id of a room.
    RoomNid,
    /// Numeric id of an event.
    EventNid,
    /// Numeric id of an event type.
    TypeNid,
    /// Numeric id of a state key. User ids and server names are numbered here too: member events have
    /// user ids as state keys, and audiences are users and servers alike.
    StateKeyNid,
}

/// First id that is assigned at run time; those below are preassigned.
pub(crate) const FIRST_ASSIGNED: u64 = 65_536;

impl TypeNid {
    pub(crate) const CREATE: Self = Self(1);
    pub(crate) const POWER_LEVELS: Self = Self(2);
    pub(crate) const JOIN_RULES: Self = Self(3);
    pub(crate) const THIRD_PARTY_INVITE: Self = Self(4);
    pub(crate) const MEMBER: Self = Self(5);
    pub(crate) const REDACTION: Self = Self(6);
    pub(crate) const HISTORY_VISIBILITY: Self = Self(7);
}

impl StateKeyNid {
    /// The empty state key.
    pub(crate) const EMPTY: Self = Self(1);
}

/// What is numbered; the numbers are those of [`crate::keys::NEXT_ID`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Room = 1,
    Event = 2,
    Type = 3,
    StateKey = 4,
}
