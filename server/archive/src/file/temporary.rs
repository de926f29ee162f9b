//! A file that is being written, and that nobody takes for a whole one.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::ArchiveError;

/// What its name ends in.
const UNFINISHED: &str = ".part";

/// A file beside its later place. Deleted when dropped, unless it was moved there. Its writer holds the system's lock on it, so
/// that what a crash left behind is told from what is being written.
#[derive(Debug)]
pub(crate) struct Temporary {
    path: PathBuf,
    moved: bool,
}

impl Temporary {
    /// A new empty file that becomes `path`, closed to other users.
    pub(crate) fn create(path: &Path, purpose: &str) -> Result<(Self, File), ArchiveError> {
        let mut name = path.file_name().map(OsString::from).unwrap_or_default();
        name.push(purpose);
        name.push(UNFINISHED);
        let temporary = path.with_file_name(name);
        let fail = |error: std::io::Error| ArchiveError::file(&temporary, &error);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = match options.open(&temporary) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if !is_left_behind(&temporary) {
                    return Err(ArchiveError::Exists { path: temporary });
                }
                fs::remove_file(&temporary).map_err(fail)?;
                options.open(&temporary).map_err(fail)?
            }
            opened => opened.map_err(fail)?,
        };
        // Where the file system knows no locks, a clean-up may take the file for a leftover; only that.
        let _ = file.try_lock();
        Ok((Self { path: temporary, moved: false }, file))
    }

    /// Where it is now.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves it to `path`, where nothing may be yet. `file` is it, and its content is on the disk when this returns.
    pub(crate) fn finish(mut self, file: &File, path: &Path) -> Result<(), ArchiveError> {
        file.sync_all().map_err(|error| ArchiveError::file(&self.path, &error))?;
        if path.exists() {
            return Err(ArchiveError::Exists { path: path.to_owned() });
        }
        fs::rename(&self.path, path).map_err(|error| ArchiveError::file(path, &error))?;
        self.moved = true;
        sync_folder(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.moved {
            // What stays is cleaned up with the next backup.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes changes of names in the folder of `path` durable.
pub(crate) fn sync_folder(path: &Path) -> Result<(), ArchiveError> {
    // Windows has no handle on a folder that could be synced; NTFS journals renames by itself.
    if !cfg!(unix) {
        return Ok(());
    }
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| ArchiveError::file(folder, &error))
}

/// Whether nobody writes the file any more.
fn is_left_behind(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| file.try_lock().is_ok())
}

/// Deletes what crashed backups left in `folder` whose names begin as [`Temporary`] makes them of one that ends in `extension`.
pub(crate) fn remove_leftovers(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mark = format!(".{extension}");
    let mut removed = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(|name| name.ends_with(UNFINISHED) && name.contains(&mark));
        let path = entry.path();
        if ours && is_left_behind(&path) && fs::remove_file(&path).is_ok() {
            removed.push(path);
        }
    }
    removed
}
