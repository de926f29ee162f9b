//! What a store counts.

/// Figures for the dashboard.
#[derive(Debug, Clone, Default)]
pub struct StoreStats {
    /// `embedded`, `memory` or `foundationdb`.
    pub engine: &'static str,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Commits since the start.
    pub commits: u64,
    /// Transactions that were retried after a conflict since the start.
    pub conflicts: u64,
    /// Point and range reads since the start.
    pub reads: u64,
}

/// How the store is, for the dashboard and for whoever supervises the database.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Health {
    /// Whether transactions are answered now.
    pub available: bool,
    /// What is wrong or degraded, in a sentence; empty where all is well.
    pub message: String,
    /// Version of the engine's server: FoundationDB's of the cluster, this crate's for the embedded one.
    pub version: String,
    /// Bytes on disk of all data in the database, replicas included, other keyspaces of a shared cluster too.
    pub disk_bytes: u64,
    /// Bytes of keys and values, as far as the engine counts them.
    pub stored_bytes: Option<u64>,
    /// Bytes free on the fullest disk.
    pub free_disk_bytes: Option<u64>,
    /// Machines in the cluster; 1 for the embedded engine.
    pub machines: u32,
    /// Server processes in the cluster; 1 for the embedded engine.
    pub processes: u32,
    /// Redundancy as configured (`single`, `double`, `triple`); empty for the embedded engine.
    pub redundancy: String,
}
