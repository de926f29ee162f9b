//! A consistent read of a whole range that may take longer than a transaction lives: for backups and copies.

use bytes::Bytes;

use crate::engine::SnapshotEngine;
use crate::{KeyValue, StoreError, Version};

/// A consistent read of a range; see [`crate::Store::snapshot`].
///
/// What [`Self::next`] gives, applied in order (entries added, replaced parts forgotten), is after the last part the range
/// exactly as it was at [`Self::version`]. Dropping it early is fine.
#[derive(Debug)]
pub struct Snapshot {
    engine: SnapshotEngine,
}

/// A part of a [`Snapshot`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotPart {
    /// The next entries, in key order, all of them above those of earlier parts of this kind.
    Entries(Vec<KeyValue>),
    /// What was given below `begin..end` so far is out of date: these entries, in key order, stand there instead.
    Replace {
        /// First key, inclusive.
        begin: Bytes,
        /// Last key, exclusive.
        end: Bytes,
        /// All that is there.
        entries: Vec<KeyValue>,
    },
}

impl Snapshot {
    pub(crate) fn new(engine: SnapshotEngine) -> Self {
        Self { engine }
    }

    /// The next part (about a megabyte at most, and always at least one entry or a replaced range); `None` at the end.
    pub async fn next(&mut self) -> Result<Option<SnapshotPart>, StoreError> {
        match &mut self.engine {
            SnapshotEngine::Embedded(snapshot) => snapshot.next().await,
            SnapshotEngine::FoundationDb(snapshot) => snapshot.next().await,
        }
    }

    /// The version whose state this is: on the embedded engine known from the start, on FoundationDB once
    /// [`Self::next`] has given `None`.
    pub fn version(&self) -> Option<Version> {
        match &self.engine {
            SnapshotEngine::Embedded(snapshot) => Some(snapshot.version()),
            SnapshotEngine::FoundationDb(snapshot) => snapshot.version(),
        }
    }
}
