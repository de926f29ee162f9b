//! The caches of the reading side.

use std::sync::Arc;

use crate::{
    EventNid, Outcome, RoomNid, StateKeyNid, TypeNid,
    cache::{Cache, CacheStats},
    histories::{MemberHistory, VisibilityHistory},
    public_room::PublicRoom,
    records::GraphRecord,
    room_info::RoomInfo,
    stored_event::StoredEvent,
};

/// Default bound of the cache of parsed events, in bytes.
const EVENT_CACHE_BYTES: usize = 32 << 20;
/// Bound of each cache of names, in entries.
const NAMES: usize = 20_000;
/// Bound of each cache of membership and visibility histories, in entries.
const HISTORIES: usize = 20_000;
/// Bound of the cache of places in the graph, in entries (about 200 bytes each).
const GRAPH: usize = 100_000;
/// Bound of the cache of public rooms, in entries.
const PUBLIC_ROOMS: usize = 2000;
/// What a parsed event occupies in the cache beside its texts, roughly, in bytes.
const EVENT_OVERHEAD: usize = 700;

/// All caches of the reading side.
pub(crate) struct Caches {
    pub(crate) events: Cache<EventNid, Arc<StoredEvent>>,
    pub(crate) rooms: Cache<RoomNid, Arc<RoomInfo>>,
    pub(crate) room_nids: Cache<String, RoomNid>,
    pub(crate) types: Cache<TypeNid, Arc<str>>,
    pub(crate) type_nids: Cache<String, TypeNid>,
    pub(crate) keys: Cache<StateKeyNid, Arc<str>>,
    pub(crate) key_nids: Cache<String, StateKeyNid>,
    /// Own entries per (room, user).
    pub(crate) members: Cache<(RoomNid, StateKeyNid), Arc<MemberHistory>>,
    /// History visibility per room.
    pub(crate) visibilities: Cache<RoomNid, Arc<VisibilityHistory>>,
    /// Places in the graph.
    pub(crate) graph: Cache<EventNid, Arc<GraphRecord>>,
    /// Entries of the public room list.
    pub(crate) public_rooms: Cache<RoomNid, Arc<PublicRoom>>,
}

impl Caches {
    pub(crate) fn new(event_bytes: usize) -> Self {
        Self {
            events: Cache::new(event_bytes),
            rooms: Cache::new(NAMES),
            room_nids: Cache::new(NAMES),
            types: Cache::new(NAMES),
            type_nids: Cache::new(NAMES),
            keys: Cache::new(NAMES),
            key_nids: Cache::new(NAMES),
            members: Cache::new(HISTORIES),
            visibilities: Cache::new(HISTORIES),
            graph: Cache::new(GRAPH),
            public_rooms: Cache::new(PUBLIC_ROOMS),
        }
    }

    /// Keeps a committed event.
    pub(crate) fn keep(&self, event: Arc<StoredEvent>) {
        // An outlier may find its place later; all other records are final.
        if event.outcome != Outcome::Outlier {
            let weight = EVENT_OVERHEAD + 2 * event.pdu.json.len();
            self.events.insert(event.nid, event, weight);
        }
    }

    /// Keeps the place of a committed event.
    pub(crate) fn keep_graph(&self, event: EventNid, record: Arc<GraphRecord>) {
        if record.outcome != Outcome::Outlier {
            self.graph.insert(event, record, 1);
        }
    }

    /// By name, for the dashboard.
    pub(crate) fn stats(&self) -> Vec<(&'static str, CacheStats)> {
        vec![
            ("events", self.events.stats()),
            ("rooms", self.rooms.stats()),
            ("room ids", self.room_nids.stats()),
            ("event types", self.types.stats()),
            ("event type ids", self.type_nids.stats()),
            ("state keys", self.keys.stats()),
            ("state key ids", self.key_nids.stats()),
            ("membership histories", self.members.stats()),
            ("visibility histories", self.visibilities.stats()),
            ("event graph", self.graph.stats()),
            ("public rooms", self.public_rooms.stats()),
        ]
    }
}

impl Default for Caches {
    fn default() -> Self {
        Self::new(EVENT_CACHE_BYTES)
    }
}
