use std::path::Path;

use crate::file::{Checked, FileReader};
use crate::task::{Wanted, finish};
use crate::{ArchiveError, BackupSummary, Passphrase, Phase, Progress};

/// Reads a whole backup and checks everything in it.
pub async fn verify(
    path: &Path,
    passphrase: Option<&Passphrase>,
    progress: &Progress,
) -> Result<BackupSummary, ArchiveError> {
    let summary = check(path, passphrase, progress).await?.summary;
    progress.begin(Phase::Done, 0);
    Ok(summary)
}

/// Reads a whole backup, so that it can be read again for its data.
pub(crate) async fn check(
    path: &Path,
    passphrase: Option<&Passphrase>,
    progress: &Progress,
) -> Result<Checked, ArchiveError> {
    let (wanted, waiting) = Wanted::new();
    let (file, passphrase, progress) = (path.to_owned(), passphrase.cloned(), progress.clone());
    let work = tokio::task::spawn_blocking(move || {
        let reader = FileReader::open(&file, passphrase.as_ref())?;
        progress.begin(Phase::Verifying, reader.length());
        reader.check(|keys, bytes| {
            progress.add(keys, bytes);
            wanted.check(&file)
        })
    });
    let checked = finish(work, path).await;
    drop(waiting);
    checked
}
