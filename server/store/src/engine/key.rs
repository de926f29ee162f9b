//! Keys as the engine's parts hand them to each other.

use std::sync::Arc;

/// A key, shared between buffer, conflict window and watches.
pub(crate) type Key = Arc<[u8]>;

/// Keys of a conflict: one key, or a range that excludes its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyRange {
    Point(Key),
    Range(Key, Key),
}

impl KeyRange {
    /// What the range adds to the size of a transaction, as FoundationDB counts it.
    pub(crate) fn size(&self) -> usize {
        /// A range without its keys.
        const RANGE_BYTES: usize = 24;
        RANGE_BYTES
            + match self {
                // From the key to its successor.
                Self::Point(key) => 2 * key.len() + 1,
                Self::Range(begin, end) => begin.len() + end.len(),
            }
    }
}
