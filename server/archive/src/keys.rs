//! The rows that this crate writes. No backup and no copy takes them along.

use hearth_store::keyspace;

use crate::records::{Locked, Unfinished};

keyspace! {
    database "archive";

    /// What is being written into this store (one key, `0`), until all of it is there.
    UNFINISHED "unfinished": (zero: u64) => Unfinished;
    /// The copy that is being made of this store (one key, `0`), until it is done.
    LOCKED "locked": (zero: u64) => Locked;
}
