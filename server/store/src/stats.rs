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
