//! An ordered, transactional key-value store in FoundationDB's model.
//!
//! One API, two engines (an embedded one and FoundationDB), one conformance suite. Keys are
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

pub mod check;
pub mod data_model;
mod engine;
mod error;
pub mod keys;
pub mod keyspace;
pub mod lease;
pub mod limits;
mod operations;
mod options;
pub mod process;
mod records;
mod snapshot;
mod stats;
mod store;
mod transaction;
mod value;
mod version;

pub use bytes::Bytes;
pub use error::{AsStoreError, LibraryMissing, OpenError, StoreError};
pub use foundationdb_tuple::{self as tuple, Versionstamp};
pub use keyspace::{Key, KeyPart, Scan, Table, TableInfo};
pub use operations::{AtomicOp, Committed, KeyValue, RangeRead};
pub use options::{EmbeddedOptions, FoundationDbOptions};
pub use snapshot::{Snapshot, SnapshotPart};
pub use stats::{Health, StoreStats};
pub use store::Store;
pub use transaction::{Transaction, Watch};
pub use value::Value;
pub use version::{Version, first_stamp, last_stamp, version_of};

#[doc(hidden)]
pub use rmp_serde;
