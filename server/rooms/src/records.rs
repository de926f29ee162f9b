//! The values in the Rooms database. Fields are only ever appended (see `hearth_store::msgpack_value!`).

use serde::{Deserialize, Serialize};

use crate::{EventNid, RoomNid, StateKeyNid, TypeNid, snapshots::SnapshotId};

/// A room.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RoomRecord {
    /// Room id.
    pub room_id: String,
    /// Room version id.
    pub version: String,
    /// Grows with every change of the current state: the guard of publication.
    pub revision: u64,
    /// Depth of the deepest forward extremity.
    pub depth: u64,
    /// `origin_server_ts` of the newest event, milliseconds.
    pub last_event_ts: u64,
    /// The current state as a snapshot; `None` in rooms from before there were any.
    #[serde(default)]
    pub state: Option<SnapshotId>,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// In the timeline.
    Accepted,
    /// Refused by authorization; kept, shown to nobody.
    Rejected,
    /// Valid where it stands in the graph, refused by the current state.
    SoftFailed,
    /// Known without its place in the graph.
    Outlier,
}

/// An event.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct EventRecord {
    /// Room.
    pub room: RoomNid,
    /// Event id.
    pub event_id: String,
    /// Canonical JSON of the PDU.
    pub json: String,
    /// What became of it.
    pub outcome: Outcome,
    /// For a state event, the one that it replaced in the current state.
    pub replaces: Option<EventNid>,
    /// Device and transaction id that sent it, for `unsigned.transaction_id`.
    pub transaction: Option<(String, String)>,
    /// Why it was rejected or soft-failed.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Where an event stands in the graph of its room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GraphRecord {
    /// `depth`, as the event says.
    pub depth: u64,
    /// `prev_events`, those that are known; none for an outlier.
    pub prev: Vec<EventNid>,
    /// `auth_events`, those that are known.
    pub auth: Vec<EventNid>,
    /// What the event sets, if it is a state event.
    pub state: Option<(TypeNid, StateKeyNid)>,
    /// What became of it.
    pub outcome: Outcome,
    /// Its chain in the cover of the auth graph; 0 for an event that authorizes nothing.
    pub chain: u64,
    /// Its place in the chain, from 1.
    pub sequence: u64,
}

impl GraphRecord {
    /// What the event changes in the state after it.
    pub(crate) fn effect(&self) -> Option<(TypeNid, StateKeyNid)> {
        self.state.filter(|_| self.outcome != Outcome::Rejected)
    }
}

/// A resolution of states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ResolvedRecord {
    /// The states, sorted.
    pub states: Vec<SnapshotId>,
    /// What they resolve to.
    pub resolved: SnapshotId,
}

/// An event that was accepted from another server and verified.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct InboundRecord {
    /// Event id.
    pub event_id: String,
    /// Canonical JSON, redacted if its hash did not match.
    pub json: String,
    /// Why it is to be rejected whatever the state.
    pub rejection: Option<String>,
}

/// A join that is being prepared.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StagedJoin {
    /// The number that the room will have.
    pub room: RoomNid,
    /// Room version id.
    pub version: String,
    /// Events authorized.
    pub authorized: u64,
    /// Entries of the state written.
    pub written: u64,
    /// The state.
    pub state: Option<SnapshotId>,
}

/// An event of the state or auth chain of a room that is being joined.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StagedEvent {
    /// Event id.
    pub event_id: String,
    /// `auth_events`.
    pub auth: Vec<String>,
    /// What it sets.
    pub state: Option<(TypeNid, StateKeyNid)>,
}

/// One entry of a room's timeline.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// The event.
    pub event: EventNid,
    /// Its type.
    pub event_type: TypeNid,
    /// Its sender.
    pub sender: StateKeyNid,
    /// Its state key, for a state event.
    pub state_key: Option<StateKeyNid>,
}

/// One entry of the stream of all rooms.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StreamEntry {
    /// The room.
    pub room: RoomNid,
    /// The event.
    pub event: EventNid,
    /// For a membership change, whose.
    pub member: Option<StateKeyNid>,
}

/// A change of a room's current state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StateChange {
    /// Event type.
    pub event_type: TypeNid,
    /// State key.
    pub state_key: StateKeyNid,
    /// The new event; 0 where a resolution left none.
    pub event: EventNid,
    /// The one before.
    pub replaces: Option<EventNid>,
}

/// Membership in a room. The order is that of the codes on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Membership {
    /// `join`
    Join,
    /// `invite`
    Invite,
    /// `leave`
    Leave,
    /// `ban`
    Ban,
    /// `knock`
    Knock,
}

impl Membership {
    /// As member events write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Invite => "invite",
            Self::Leave => "leave",
            Self::Ban => "ban",
            Self::Knock => "knock",
        }
    }

    /// What a member event says; `None` for a word that the specification does not know.
    pub fn parse(membership: &str) -> Option<Self> {
        [Self::Join, Self::Invite, Self::Leave, Self::Ban, Self::Knock]
            .into_iter()
            .find(|known| known.as_str() == membership)
    }
}

/// An audience's (user's or server's) membership in a room.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MembershipRecord {
    /// What it is now.
    pub membership: Membership,
    /// The member event; for a server, the one that made it so.
    pub event: EventNid,
    /// Who sent the member event.
    pub sender: StateKeyNid,
    /// The user left and forgot the room.
    pub forgotten: bool,
    /// The user was joined at some time (decides what a user who left may still read).
    pub ever_joined: bool,
}

/// A joined user of this server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LocalMember {
    /// User id.
    pub user_id: String,
    /// `displayname` of the member event.
    pub displayname: Option<String>,
}

/// A change of an audience's membership.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MembershipChange {
    /// The room.
    pub room: RoomNid,
    /// What it became.
    pub membership: Membership,
    /// What it was, `None` for the first.
    pub previous: Option<Membership>,
    /// The member event.
    pub event: EventNid,
}

/// An event that relates to another one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RelationEntry {
    /// The relating event (the child).
    pub event: EventNid,
    /// `rel_type`.
    pub rel_type: String,
    /// The child's type.
    pub event_type: TypeNid,
    /// The child's sender.
    pub sender: StateKeyNid,
    /// `key` of an annotation.
    pub key: Option<String>,
}

/// A thread, at its root.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct ThreadRecord {
    /// Number of events in it, redacted ones not counted.
    pub count: u64,
    /// The newest event in it.
    pub latest: Option<EventNid>,
    /// Users who sent into it (the root's sender included), at most 100.
    pub participants: Vec<StateKeyNid>,
}

/// An alias of a room.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AliasRecord {
    /// The room.
    pub room: RoomNid,
    /// Who made it.
    pub creator: String,
}

/// A word in an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SearchEntry {
    /// The event.
    pub event: EventNid,
    /// Where in the content: 1 body, 2 name, 4 topic.
    pub key: u64,
    /// How often the word occurs there.
    pub count: u64,
    /// Number of words there.
    pub total: u64,
}

/// What the search index knows of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SearchRecord {
    /// The words, each once.
    pub words: Vec<String>,
}

/// What a user reported to the administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReportRecord {
    /// Who reports.
    pub reporter: String,
    /// The room, for a report of a room or an event.
    pub room_id: Option<String>,
    /// The event.
    pub event_id: Option<String>,
    /// The user: the reported one, or the sender of the reported event.
    pub user_id: Option<String>,
    /// Why, in the reporter's words.
    pub reason: String,
    /// When it came, milliseconds since 1970.
    pub received_ts: u64,
}

/// An event that counts as unread for a user.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Notification {
    /// The event.
    pub event: EventNid,
    /// Whether it notifies (else it only highlights or counts as unread).
    pub notify: bool,
    /// Whether it highlights.
    pub highlight: bool,
    /// The thread's root, for an event in a thread.
    pub thread: Option<EventNid>,
    /// The push actions as JSON, for `/notifications`.
    pub actions: String,
}

hearth_store::msgpack_value!(
    RoomRecord,
    EventRecord,
    GraphRecord,
    ResolvedRecord,
    InboundRecord,
    StagedJoin,
    StagedEvent,
    TimelineEntry,
    StreamEntry,
    StateChange,
    MembershipRecord,
    LocalMember,
    MembershipChange,
    RelationEntry,
    ThreadRecord,
    AliasRecord,
    Notification,
    ReportRecord,
    SearchEntry,
    SearchRecord,
);
