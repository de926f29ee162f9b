use std::path::Path;

use hearth_store::Store;

use crate::{ArchiveError, Attachment, BackupSummary, Passphrase, Progress};

/// How a backup is restored.
#[derive(Debug, Clone, Default)]
pub struct RestoreOptions {
    /// Decrypts it.
    pub passphrase: Option<Passphrase>,
    /// The cluster may be made to recover at a later version (see [`ArchiveError::VersionBehind`]).
    pub advance_version: bool,
    /// What an unfinished restore or copy of something else left in the target may be deleted.
    pub start_over: bool,
}

/// What was restored.
#[derive(Debug, Clone)]
pub struct Restored {
    /// What the backup holds.
    pub summary: BackupSummary,
    /// The files that it held besides the store's data.
    pub attachments: Vec<Attachment>,
}

/// Checks the whole backup, then writes its data to the empty `store` and compares.
///
/// Until that is done, [`crate::lock::incomplete`] says so; the same restore again goes on where it stopped.
pub async fn restore(
    path: &Path,
    store: &Store,
    options: RestoreOptions,
    progress: &Progress,
) -> Result<Restored, ArchiveError> {
    let _ = (path, store, options, progress);
    todo!()
}
