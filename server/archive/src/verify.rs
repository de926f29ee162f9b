use std::path::Path;

use crate::{ArchiveError, BackupSummary, Passphrase, Progress};

/// Reads a whole backup and checks everything in it.
pub async fn verify(
    path: &Path,
    passphrase: Option<&Passphrase>,
    progress: &Progress,
) -> Result<BackupSummary, ArchiveError> {
    let _ = (path, passphrase, progress);
    todo!()
}
