//! Which keys are of this store alone, and go into no backup and no copy.

use hearth_store::tuple;

/// Database of the rows that this crate writes.
pub(crate) const DATABASE: &str = "archive";

/// Prefixes of keys that stay where they are: this crate's notes, and the list of processes that use the store.
#[derive(Debug, Clone)]
pub(crate) struct Own([Vec<u8>; 2]);

impl Own {
    pub(crate) fn new() -> Self {
        Self([tuple::pack(&(DATABASE,)), tuple::pack(&("store", "process"))])
    }

    pub(crate) fn holds(&self, key: &[u8]) -> bool {
        self.0.iter().any(|prefix| key.starts_with(prefix))
    }

    /// Whether every key of `begin..end` is one.
    pub(crate) fn hold_range(&self, begin: &[u8], end: &[u8]) -> bool {
        self.0.iter().any(|prefix| begin.starts_with(prefix) && end <= &*hearth_store::keyspace::past(prefix))
    }
}

/// All keys that a store may hold: what lies above begins with 0xff, which no tuple does.
pub(crate) const ALL: (&[u8], &[u8]) = (b"", b"\xff");
