//! The values of the store's own tables. Fields are only ever appended (see [`crate::msgpack_value!`]).

use serde::{Deserialize, Serialize};

/// A lease as it is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeaseRecord {
    /// Grows by one each time that the lease is given away.
    pub(crate) token: u64,
    /// Empty: nobody.
    pub(crate) holder: String,
    /// How long it lives without a renewal, in milliseconds.
    pub(crate) lifetime: u64,
}

/// A process as it is stored. Times are in milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessRecord {
    pub(crate) host: String,
    pub(crate) pid: u32,
    pub(crate) version: String,
    pub(crate) started: u64,
    pub(crate) seen: u64,
}

crate::msgpack_value!(LeaseRecord, ProcessRecord);
