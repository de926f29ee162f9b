//! New commits must sort after everything that came from elsewhere.
//!
//! Positions in streams, and the tokens that clients keep of them, are versionstamps: the version of a commit. The embedded
//! engine counts commits, a FoundationDB cluster adds about a million to its version each second. Data that comes from a store with
//! larger versions than the target's would lie in the target's future: what happens next would sort before what has happened,
//! and clients would never hear of it. So the target's version is made to pass the data's.
//!
//! A restored backup is older than the newest tokens that its server gave out. They must not lie in the future either, so the
//! version passes also what the old server can have reached until now.
//!
//! An embedded store's versions are its own, and just go on further up. A cluster's are shared with everything else on it. One
//! that runs since before the data was written is there already, or is within moments: a copy of young data, or a backup that
//! comes back to where it was made. Otherwise it has to recover at a later version, which is done only if the caller
//! says so: other data on the cluster survives that unharmed, but nothing on it commits for about a second.
//!
//! Not done: an offset between the versions in keys and those of the cluster. The cluster itself writes versionstamps, so an
//! offset would have to be a part of every key and value that has one, and of every token; the engines' keys would differ.

use std::time::{Duration, Instant, SystemTime};

use hearth_store::{Store, Version};

use crate::{ArchiveError, BackupSummary};

/// Versions per second of a FoundationDB cluster.
const CLUSTER_RATE: u64 = 1_000_000;
/// Commits per second that no embedded store reaches: each version there is one sync of the disk.
const EMBEDDED_RATE: u64 = 100_000;
/// A cluster that gets there by itself within this time is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time between two looks at a cluster's version.
const LOOK: Duration = Duration::from_millis(500);

/// What must be passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Passing {
    /// Versions up to this one.
    pub(crate) version: Version,
    /// Further, where versions have to jump anyway: clocks are not exact, and a cluster jumps when it recovers.
    pub(crate) margin: Version,
}

impl Passing {
    /// What is in a store that nobody has used since.
    pub(crate) fn exactly(version: Version) -> Self {
        Self { version, margin: 0 }
    }

    /// What the server of a backup can have reached at `now`.
    pub(crate) fn reached(summary: &BackupSummary, now: SystemTime) -> Self {
        let since = now.duration_since(summary.taken).unwrap_or_default().as_secs();
        let (rate, margin) =
            if summary.header.engine == "foundationdb" { (CLUSTER_RATE, 1000) } else { (EMBEDDED_RATE, 60) };
        Self { version: summary.version.saturating_add(since.saturating_mul(rate)), margin: margin * rate }
    }
}

/// Makes every later commit of `store` get a version above what must be passed.
pub(crate) async fn pass(store: &Store, passing: Passing, may_advance: bool) -> Result<(), ArchiveError> {
    let Passing { version, margin } = passing;
    let beyond = version.saturating_add(margin);
    if !store.is_shared() {
        return Ok(store.advance_version(beyond).await?);
    }
    let until = Instant::now() + PATIENCE;
    loop {
        let current = store.current_version().await?;
        if current > version {
            return Ok(());
        }
        let missing = Duration::from_micros(version - current);
        if missing > until.saturating_duration_since(Instant::now()) {
            if !may_advance {
                return Err(ArchiveError::VersionBehind { current, needed: version });
            }
            return Ok(store.advance_version(beyond).await?);
        }
        tokio::time::sleep(LOOK).await;
    }
}
