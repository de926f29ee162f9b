use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::{ArchiveError, BackupHeader};

/// What the names of backups end in.
pub const EXTENSION: &str = "hearth-backup";

/// A backup in a folder, by its header alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupFile {
    /// Where it is.
    pub path: PathBuf,
    /// What its beginning says; the error's words where that cannot be read.
    pub header: Result<BackupHeader, String>,
    /// Bytes of the file.
    pub bytes: u64,
}

/// The name of a backup of `server_name` made at `created`, such as `hearth-example.org-20260131T120000Z.hearth-backup`.
pub fn default_file_name(server_name: &str, created: SystemTime) -> String {
    let _ = (server_name, created);
    todo!()
}

/// The backups in `folder`, newest first; none where the folder is missing. Reads headers alone; blocks.
pub fn list(folder: &Path) -> Result<Vec<BackupFile>, ArchiveError> {
    let _ = folder;
    todo!()
}

/// Deletes all but the `keep` newest scheduled backups of `server_name` in `folder`, and what crashed backups left half done.
/// Others stay. Returns what was deleted; blocks.
pub fn retain(folder: &Path, server_name: &str, keep: usize) -> Result<Vec<PathBuf>, ArchiveError> {
    let _ = (folder, server_name, keep);
    todo!()
}
