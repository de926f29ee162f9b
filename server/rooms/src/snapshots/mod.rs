//! State snapshots: the whole state of a room before an event, in little space.
//!
//! A [`Snapshot`] is a list of at most [`MAX_BLOCKS`] immutable [`block`]s, each a sorted run of 3-tuples (type, state
//! key, event); what stands in a later block wins. A change of the state adds one small block; blocks of like size
//! merge ([`tiers`]), so that a snapshot of n entries has O(log n) blocks and an entry is rewritten O(log n) times.
//!
//! Blocks and snapshots are addressed by their content within their room ([`content`]), so that equal ones are stored
//! once, whoever makes them. They never change; the [`collector`] deletes those that nothing refers to any more.
//!
//! Members are most of a large room's state and are seldom all wanted, so a large block keeps them in parts of their
//! own: [`Wanted`] says which parts a reader needs.

pub mod block;
mod collector;
mod content;
#[cfg(test)]
mod model_tests;
mod reading;
mod tiers;
mod writing;

use std::sync::Arc;

use crate::{
    EventNid, RoomNid, StateKeyNid, TypeNid,
    cache::{Cache, CacheStats},
};
use block::Part;

pub use collector::Collected;
pub(crate) use collector::collect;

hearth_store::numeric_key! {
    /// Numeric id of a snapshot within its room, derived from its content.
    SnapshotId,
    /// Numeric id of a block within its room, derived from its content.
    BlockId,
}

/// Most blocks of a snapshot.
pub const MAX_BLOCKS: usize = 64;
/// Default bound of the cache of decoded blocks, in bytes.
const BLOCK_CACHE_BYTES: usize = 16 << 20;
/// Bound of the cache of snapshots' lists, in blocks.
const SNAPSHOT_CACHE_BLOCKS: usize = 100_000;

/// One entry of a room's state. In a block, event 0 says that there is none (any more).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateTuple {
    /// Event type.
    pub event_type: TypeNid,
    /// State key.
    pub state_key: StateKeyNid,
    /// The event.
    pub event: EventNid,
}

impl StateTuple {
    /// What it is about.
    pub(crate) fn key(&self) -> StateTupleKey {
        (self.event_type, self.state_key)
    }

    /// Whether there is an event.
    pub(crate) fn is_present(&self) -> bool {
        self.event != ABSENT
    }
}

/// What a tuple is about: event type and state key.
pub type StateTupleKey = (TypeNid, StateKeyNid);
/// Stands for "no event" in a block.
pub(crate) const ABSENT: EventNid = EventNid(0);

/// The list of a snapshot's blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Number of state entries.
    pub count: u64,
    /// Oldest first; a later one wins.
    pub blocks: Vec<BlockRef>,
}

/// A block in a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockRef {
    /// Which.
    pub id: BlockId,
    /// Number of its tuples.
    pub len: u64,
}

/// Which part of a state a reader wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Everything.
    All,
    /// Member events alone.
    Members,
    /// Everything but member events.
    OtherThanMembers,
}

impl Wanted {
    fn takes(self, event_type: TypeNid) -> bool {
        match self {
            Self::All => true,
            Self::Members => event_type == TypeNid::MEMBER,
            Self::OtherThanMembers => event_type != TypeNid::MEMBER,
        }
    }
}

/// An entry in which two states differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// Event type.
    pub event_type: TypeNid,
    /// State key.
    pub state_key: StateKeyNid,
    /// The event in the first state.
    pub before: Option<EventNid>,
    /// The event in the second one.
    pub after: Option<EventNid>,
}

/// Reads and writes snapshots within a caller's transaction; remembers decoded blocks, which never change.
pub struct Snapshots {
    parts: Cache<(RoomNid, BlockId, u64), Arc<Part>>,
    lists: Cache<(RoomNid, SnapshotId), Arc<Snapshot>>,
}

impl Snapshots {
    /// With room for `bytes` of decoded blocks.
    pub fn new(bytes: usize) -> Self {
        Self { parts: Cache::new(bytes), lists: Cache::new(SNAPSHOT_CACHE_BLOCKS) }
    }

    /// The caches by name, for the dashboard.
    pub(crate) fn stats(&self) -> [(&'static str, CacheStats); 2] {
        [("state blocks", self.parts.stats()), ("state snapshots", self.lists.stats())]
    }
}

impl Default for Snapshots {
    fn default() -> Self {
        Self::new(BLOCK_CACHE_BYTES)
    }
}
