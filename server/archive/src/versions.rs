//! New commits must sort after everything that came from elsewhere.
//!
//! Positions in streams, and the tokens that clients keep of them, are versionstamps: the version of a commit. The embedded
//! engine counts commits, a FoundationDB cluster adds about a million to its version each second. Data that comes from a store with
//! larger versions than the target's would lie in the target's future: what happens next would sort before what has happened,
//! and clients would never hear of it. So the target's version is made to pass the data's.
//!
//! A restored backup is older than the newest tokens that its server gave out. They must not lie in the future either, so the
//! version passes also what the old server can have reached until now.

use std::time::{Duration, Instant, SystemTime};

use hearth_store::{Store, Version};

use crate::{ArchiveError, BackupSummary};

/// Versions per second of a FoundationDB cluster.
const CLUSTER_RATE: u64 = 1_000_000;
/// Commits per second that no embedded store reaches: each version there is one sync of the disk.
const EMBEDDED_RATE: u64 = 100_000;
/// The clock may be wrong by this much.
const CLOCKS: Duration = Duration::from_mins(1);
/// A cluster that gets there by itself within this time is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time between two looks at a cluster's version.
const LOOK: Duration = Duration::from_millis(500);

/// What the server of a backup can have reached at `now`.
pub(crate) fn reached(summary: &BackupSummary, now: SystemTime) -> Version {
    let since = now.duration_since(summary.header.created).unwrap_or_default() + CLOCKS;
    let rate = if summary.header.engine == "foundationdb" { CLUSTER_RATE } else { EMBEDDED_RATE };
    summary.version.saturating_add(since.as_secs().saturating_mul(rate))
}

/// Makes every later commit of `store` get a version above `passed`.
pub(crate) async fn pass(store: &Store, passed: Version, may_advance: bool) -> Result<(), ArchiveError> {
    // The embedded engine's versions are this store's alone.
    if !store.is_shared() {
        return Ok(store.advance_version(passed).await?);
    }
    let until = Instant::now() + PATIENCE;
    loop {
        let current = store.current_version().await?;
        if current > passed {
            return Ok(());
        }
        let missing = Duration::from_micros(passed - current);
        if missing > until.saturating_duration_since(Instant::now()) {
            if !may_advance {
                return Err(ArchiveError::VersionBehind { current, needed: passed });
            }
            return Ok(store.advance_version(passed).await?);
        }
        tokio::time::sleep(LOOK).await;
    }
}
