//! The store's own tables: who uses it, and who of them may do what only one may do at a time.

use crate::records::{LeaseRecord, ProcessRecord};

crate::keyspace! {
    database "store";

    /// Who holds a lease, with the fencing token. Stays when the lease is free, so that the token only grows.
    LEASE "lease": (name: String) => LeaseRecord;
    /// When a lease lapses (milliseconds since the epoch). A row of its own: a renewal is no conflict for those who read
    /// the token.
    LEASE_UNTIL "lease_until": (name: String) => u64;
    /// The processes that use the store.
    PROCESS "process": (process: String) => ProcessRecord;
}
