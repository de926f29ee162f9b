use std::path::Path;
use std::time::SystemTime;

use hearth_store::{Bytes, Store, StoreError};
use tokio::sync::mpsc;

use crate::file::{Checked, Frame};
use crate::load::{Leave, Loader, sum};
use crate::records::Source;
use crate::sums::difference;
use crate::task::{Wanted, finish};
use crate::verify::check;
use crate::versions::Passing;
use crate::{ArchiveError, Attachment, BackupSummary, Passphrase, Phase, Progress};

/// Frames (a quarter of a megabyte each) that may wait for the store.
const WAITING_FRAMES: usize = 8;

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
    let mut checked = check(path, options.passphrase.as_ref(), progress).await?;
    let restored = Restored { summary: checked.summary.clone(), attachments: std::mem::take(&mut checked.attachments) };
    let summary = &restored.summary;
    let passing = Passing::reached(summary, SystemTime::now());
    let source = Source::Backup(path.display().to_string());
    let leave = Leave { advance_version: options.advance_version, start_over: options.start_over };
    let mut loader = Loader::begin(store, digest(summary), source, passing, leave, progress).await?;
    progress.begin(Phase::Loading, summary.bytes);
    load(checked, path, &mut loader).await?;
    let found = sum(store, progress, summary.bytes).await?;
    if let Some(detail) = difference(&summary.subspaces, &found) {
        return Err(ArchiveError::Mismatch { detail });
    }
    loader.finish().await?;
    progress.begin(Phase::Done, 0);
    Ok(restored)
}

/// What tells a backup from all others.
fn digest(summary: &BackupSummary) -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    hash.update(format!("{:?} {} {}", summary.header, summary.version, summary.file_bytes));
    for sum in &summary.subspaces {
        hash.update(&sum.sha256);
    }
    crate::sums::hexadecimal(&hash.finalize())
}

async fn load(checked: Checked, path: &Path, loader: &mut Loader<'_>) -> Result<(), ArchiveError> {
    let (sender, mut frames) = mpsc::channel::<Vec<(Bytes, Bytes)>>(WAITING_FRAMES);
    let (wanted, waiting) = Wanted::new();
    let position = loader.position().map(<[u8]>::to_vec);
    let file = path.to_owned();
    let work = tokio::task::spawn_blocking(move || {
        let mut reader = checked.again()?;
        loop {
            wanted.check(&file)?;
            match reader.next()? {
                Frame::Entries(mut entries) => {
                    if let Some(position) = &position {
                        entries.retain(|(key, _)| key > position);
                    }
                    if sender.blocking_send(entries).is_err() {
                        return Err(ArchiveError::Store(StoreError::Closed));
                    }
                }
                Frame::Attachment(_) => {}
                Frame::End(_) => return Ok(()),
            }
        }
    });
    while let Some(entries) = frames.recv().await {
        loader.push(entries).await?;
    }
    loader.flush().await?;
    let read = finish(work, path).await;
    drop(waiting);
    read
}
