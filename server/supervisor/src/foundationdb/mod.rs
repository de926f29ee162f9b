//! A local FoundationDB: one `fdbserver` on loopback, supervised, for a machine whose owner need not know what a cluster is.
//!
//! ```text
//! <data folder>/foundationdb/
//!     lock          held (by the operating system) by whoever supervises the server
//!     fdb.cluster   which cluster it is, and its port
//!     data/         the server's files
//!     log/          what the server prints, and its own trace files; both rotate
//! ```
//!
//! Nothing here deletes anything but old logs, and `configure new` is only ever said to an empty data folder.

mod cli;
mod cluster_file;
mod instance;
mod leftover;
mod programs;
mod status;

pub use instance::{FindPrograms, InstanceError, LocalInstance, Supervision};
pub use programs::{NotInstalled, Programs};
pub use status::InstanceHealth;
