//! An ordered, transactional key-value store in FoundationDB's model.
//!
//! One API, two engines (the embedded one here; FoundationDB later), one conformance suite. Keys are
//! built with FoundationDB's tuple layer, so that they are byte-identical on both engines.
//!
//! What every caller may rely on, on either engine:
//! - transactions are strictly serializable and optimistic: reads note conflict ranges, writes are
//!   buffered, [`Transaction::commit`] succeeds only if nothing that was read has changed since;
//! - a transaction reads its own writes;
//! - what [`Store::transact`] returned successfully is on disk (fsync);
//! - FoundationDB's limits hold (see [`limits`]).
//!
//! The store knows nothing of Matrix.

mod engine;
mod error;
pub mod keyspace;
pub mod limits;
mod store;
mod transaction;
mod value;

pub use bytes::Bytes;
pub use error::{AsStoreError, OpenError, StoreError};
pub use foundationdb_tuple::{self as tuple, Versionstamp};
pub use keyspace::{Key, KeyPart, Scan, Table, TableInfo};
pub use store::{EmbeddedOptions, Store, StoreStats};
pub use transaction::{AtomicOp, Committed, KeyValue, RangeRead, Transaction, Watch};
pub use value::Value;

#[doc(hidden)]
pub use rmp_serde;

/// A commit version: what FoundationDB calls a version. Every commit gets a larger one than all
/// commits before it, across restarts; commits at the same time may share one and differ in their
/// versionstamps. `0` is before everything.
pub type Version = u64;

/// The commit version inside a complete versionstamp.
pub fn version_of(stamp: &Versionstamp) -> Version {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&stamp.as_bytes()[..8]);
    Version::from_be_bytes(bytes)
}

/// The smallest versionstamp of `version`: everything committed before `version` sorts below it.
pub fn first_stamp(version: Version) -> Versionstamp {
    let mut bytes = [0; 10];
    bytes[..8].copy_from_slice(&version.to_be_bytes());
    Versionstamp::complete(bytes, 0)
}

/// The largest versionstamp of `version`: everything visible at read version `version` sorts at
/// or below it.
pub fn last_stamp(version: Version) -> Versionstamp {
    let mut bytes = [0xff; 10];
    bytes[..8].copy_from_slice(&version.to_be_bytes());
    Versionstamp::complete(bytes, u16::MAX)
}
