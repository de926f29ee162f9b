use std::path::Path;

use hearth_store::Store;

use crate::{ArchiveError, BackupSummary, Passphrase, Progress};

/// A small file that goes into a backup besides the store's data, such as the server's identity.
#[derive(Clone)]
pub struct Attachment {
    /// Its name, without a folder.
    pub name: String,
    /// What is in it.
    pub content: Vec<u8>,
}

/// What a backup says of itself, and how it is written.
#[derive(Debug, Clone)]
pub struct BackupOptions {
    /// The server whose data it is.
    pub server_name: String,
    /// The Hearth that makes it.
    pub hearth_version: String,
    /// Encrypts it.
    pub passphrase: Option<Passphrase>,
    /// Made by the schedule, so that [`crate::retain`] may delete it later.
    pub scheduled: bool,
    /// Small files to take along. Secrets belong into an encrypted backup only.
    pub attachments: Vec<Attachment>,
}

impl std::fmt::Debug for Attachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Attachment({}, {} bytes)", self.name, self.content.len())
    }
}

/// Writes everything that is in `store` at one moment to a new file at `path`, while others go on reading and writing.
///
/// The file stands at `path` only when it is whole and on the disk. Dropping the future gives up and leaves nothing there.
pub async fn backup(
    store: &Store,
    path: &Path,
    options: BackupOptions,
    progress: &Progress,
) -> Result<BackupSummary, ArchiveError> {
    let _ = (store, path, options, progress);
    todo!()
}
