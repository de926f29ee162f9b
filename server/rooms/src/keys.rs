//! The whole keyspace of the Rooms database. Nothing outside this crate knows these keys.

use hearth_store::{Bytes, Versionstamp, keyspace};

use crate::{
    ids::{EventNid, RoomNid, StateKeyNid, TypeNid},
    records::{
        AliasRecord, EventRecord, GraphRecord, InboundRecord, LocalMember, MembershipChange, MembershipRecord,
        Notification, RelationEntry, ReportRecord, ResolvedRecord, RoomRecord, SearchEntry, SearchRecord, StagedEvent,
        StagedJoin, StateChange, StreamEntry, ThreadRecord, TimelineEntry,
    },
    snapshots::{BlockId, Snapshot, SnapshotId},
};

keyspace! {
    database "rooms";

    /// Next numeric id to lease, by kind (1 room, 2 event, 3 type, 4 state key).
    NEXT_ID "next_id": (kind: u64) => u64;
    /// Numeric id of a room id.
    ROOM_NID "room_nid": (room_id: String) => RoomNid;
    /// The room itself.
    ROOM "room": (room: RoomNid) => RoomRecord;
    /// Numeric id of an event id.
    EVENT_NID "event_nid": (event_id: String) => EventNid;
    /// The event itself.
    EVENT "event": (event: EventNid) => EventRecord;
    /// Where an event stands in its room's timeline.
    EVENT_AT "event_at": (event: EventNid) => Versionstamp;
    /// Numeric id of an event type.
    TYPE_NID "type_nid": (event_type: String) => TypeNid;
    /// The event type of a numeric id.
    TYPE "type": (event_type: TypeNid) => String;
    /// Numeric id of a state key, user id or server name.
    STATE_KEY_NID "key_nid": (state_key: String) => StateKeyNid;
    /// The state key, user id or server name of a numeric id.
    STATE_KEY "key": (state_key: StateKeyNid) => String;

    /// A room's timeline.
    TIMELINE "timeline": (room: RoomNid, at: Versionstamp) => TimelineEntry;
    /// Events of this server's users by room, for federation.
    LOCAL "local": (room: RoomNid, at: Versionstamp) => EventNid;
    /// Every publication, in order, over all rooms.
    STREAM "stream": (at: Versionstamp) => StreamEntry;
    /// The newest entry of the stream (one key, `0`): what waiting readers watch.
    STREAM_HEAD "stream_head": (zero: u64) => Versionstamp;
    /// The newest entry of a room's timeline.
    ROOM_HEAD "room_head": (room: RoomNid) => Versionstamp;
    /// Who goes first when several processes write to a room: a number that marks the process (see `turns`).
    CLAIM "claim": (room: RoomNid) => u64;
    /// Forward extremities.
    EXTREMITY "extremity": (room: RoomNid, event: EventNid) => ();

    /// Current state, members not included.
    STATE "state": (room: RoomNid, event_type: TypeNid, state_key: StateKeyNid) => EventNid;
    /// Current members (users) of a room.
    MEMBER "member": (room: RoomNid, user: StateKeyNid) => MembershipRecord;
    /// Every value that a state entry ever had, members included; 0 where a resolution left none.
    STATE_AT "state_at": (room: RoomNid, event_type: TypeNid, state_key: StateKeyNid, at: Versionstamp) => EventNid;
    /// Changes of a room's state in order, members included.
    STATE_LOG "state_log": (room: RoomNid, at: Versionstamp) => StateChange;

    /// Where an event stands in the graph of its room.
    GRAPH "graph": (room: RoomNid, event: EventNid) => GraphRecord;
    /// The chain cover of the auth graph: its events by chain and place. An event is in the auth chain of all that follow it
    /// in its chain.
    CHAIN "chain": (room: RoomNid, chain: u64, sequence: u64) => EventNid;
    /// Links of the chain cover: the place in the other chain up to which the auth chain of an event goes, where it goes
    /// further than those of the events before it in its own chain.
    CHAIN_LINK "chain_link": (room: RoomNid, chain: u64, sequence: u64, to: u64) => u64;

    /// Events that accepted events come after and that are not here: behind them there may be history to fetch. With one of
    /// the events that name it.
    BACKWARD "backward": (room: RoomNid, event_id: String) => EventNid;
    /// Resolutions of states, by algorithm and a hash of the states.
    RESOLVED "resolved": (room: RoomNid, algorithm: u64, states: u64) => ResolvedRecord;
    /// Events from other servers that wait for their room's worker, in the order of arrival.
    INBOUND "inbound": (room: RoomNid, at: Versionstamp) => InboundRecord;
    /// How many wait.
    INBOUND_COUNT "inbound_count": (room: RoomNid) => u64;

    /// Joins of rooms that are not known yet, with their checkpoints.
    STAGED_JOIN "staged_join": (room_id: String) => StagedJoin;
    /// The events that such a join has stored.
    STAGED "staged": (room: RoomNid, event: EventNid) => StagedEvent;

    /// The state before an event.
    STATE_BEFORE "state_before": (room: RoomNid, event: EventNid) => SnapshotId;
    /// Lists of blocks; the id comes from the content (see `snapshots`).
    STATE_SNAPSHOT "snapshot": (room: RoomNid, snapshot: SnapshotId) => Snapshot;
    /// Sorted 3-tuples (type, state key, event), in parts; the id comes from the content.
    STATE_BLOCK "block": (room: RoomNid, block: BlockId, part: u64) => Bytes;
    /// Snapshots (kind 1) and blocks (kind 2) that the collector is about to delete.
    CONDEMNED "condemned": (room: RoomNid, kind: u64, id: u64) => ();

    /// Memberships of an audience: a user or a server.
    MEMBERSHIP "membership": (audience: StateKeyNid, room: RoomNid) => MembershipRecord;
    /// Changes of an audience's memberships in order.
    MEMBERSHIP_LOG "membership_log": (audience: StateKeyNid, at: Versionstamp) => MembershipChange;
    /// Joined users of this server in a room, with what push rules need; publication keeps it.
    LOCAL_MEMBER "local_member": (room: RoomNid, user: StateKeyNid) => LocalMember;
    /// Number of joined users of a server in a room; present while it is not 0.
    SERVER_USERS "server_users": (room: RoomNid, server: StateKeyNid) => u64;
    /// Counters of a room (kind 1 timeline events, 2 joined, 3 invited, 4 messages); room 0 sums all rooms.
    COUNTER "counter": (room: RoomNid, kind: u64) => u64;

    /// Events that relate to an event, by kind of relation (so that the latest edit of an event with ten thousand
    /// reactions is one short read).
    RELATION "relation": (parent: EventNid, rel_type: String, at: Versionstamp) => RelationEntry;
    /// Annotations by what they annotate, who made them, their type and key: none is made twice.
    ANNOTATION "annotation": (parent: EventNid, sender: StateKeyNid, event_type: TypeNid, key: String) => EventNid;
    /// Events to which something relates or which are redacted, by where they stand: a page of a timeline asks this once
    /// instead of asking for each event.
    TOUCHED "touched": (room: RoomNid, at: Versionstamp) => ();
    /// Threads of a room by root.
    THREAD "thread": (room: RoomNid, root: EventNid) => ThreadRecord;
    /// Where the newest event of a thread stands.
    THREAD_AT "thread_at": (root: EventNid) => Versionstamp;
    /// Threads of a room by newest event.
    THREAD_ORDER "thread_order": (room: RoomNid, at: Versionstamp) => EventNid;
    /// The redaction of an event.
    REDACTION "redaction": (event: EventNid) => EventNid;
    /// The newest version at a time (milliseconds since 1970), noted now and then: how old a versionstamp is.
    VERSION_AT "version_at": (time: u64) => u64;
    /// The event that a device's transaction id made, by user, device and scope (`type` or `redact`) with id.
    TRANSACTION "transaction": (user: StateKeyNid, device: String, id: String) => EventNid;

    /// Aliases.
    ALIAS "alias": (alias: String) => AliasRecord;
    /// Aliases of a room.
    ROOM_ALIAS "room_alias": (room: RoomNid, alias: String) => ();
    /// Rooms that this server's users may not join, and since when (milliseconds since 1970).
    BLOCKED "blocked": (room_id: String) => u64;
    /// What users reported to the administrator, in the order of arrival.
    REPORT "report": (at: Versionstamp) => ReportRecord;
    /// Number of reports (one key, `0`).
    REPORTS "reports": (zero: u64) => u64;
    /// The search index: the events in which a word stands.
    SEARCH_WORD "search_word": (room: RoomNid, word: String, at: Versionstamp) => SearchEntry;
    /// The words by which an event is found.
    SEARCH_EVENT "search_event": (room: RoomNid, event: EventNid) => SearchRecord;
    /// The last event of a room's timeline that the search index knows.
    SEARCH_POSITION "search_position": (room: RoomNid) => Versionstamp;
    /// Rooms in the public directory.
    PUBLISHED "published": (room: RoomNid) => ();

    /// Where a user last sent into a room, by thread (`0` outside of threads): what is older counts as read.
    SENT "sent": (user: StateKeyNid, room: RoomNid, thread: EventNid) => Versionstamp;
    /// Unread events of a user.
    NOTIFICATION "notification": (user: StateKeyNid, room: RoomNid, at: Versionstamp) => Notification;
}
