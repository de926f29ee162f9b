//! The data directory: who holds it, whether it is ours, and where the files are.
//!
//! ```text
//! format        what wrote this directory: "hearth store, format 1, ready"
//! lock          held (by the operating system) while a process has the store open
//! tree.redb     the tree as of the last checkpoint
//! commits.log   what was committed since
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::OpenError;

/// The format that this code writes, and the newest that it reads.
const FORMAT: u32 = 1;
const FORMAT_FILE: &str = "format";
const LOCK_FILE: &str = "lock";
const TREE_FILE: &str = "tree.redb";
const LOG_FILE: &str = "commits.log";

/// A locked data directory. The lock is released when this is dropped.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    _lock: File,
}

/// What is in a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Nothing, or what a first start left that did not get to its end: nothing was ever stored.
    Nothing,
    /// A store.
    Store,
}

impl Directory {
    /// Looks at `path` and locks it. Changes nothing where it refuses.
    pub(super) fn lock(path: &Path) -> Result<(Self, Content), OpenError> {
        match fs::symlink_metadata(path) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                fs::create_dir_all(path).map_err(|error| unreadable(path, &error))?;
            }
            Err(error) => return Err(unreadable(path, &error)),
        }
        look(path)?;
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join(LOCK_FILE))
            .map_err(|error| unreadable(path, &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(unreadable(path, &error)),
        }
        // Once more: it may have been created by another process before the lock.
        let content = look(path)?;
        Ok((Self { path: path.to_owned(), _lock: lock }, content))
    }

    /// Removes what an unfinished first start left, and notes that one begins.
    pub(super) fn begin_creation(&self) -> Result<(), OpenError> {
        for file in [TREE_FILE, LOG_FILE] {
            match fs::remove_file(self.path.join(file)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(unreadable(&self.path, &error)),
                _ => {}
            }
        }
        self.write_format("creating")
    }

    /// Notes that the store is complete.
    pub(super) fn finish_creation(&self) -> Result<(), OpenError> {
        self.write_format("ready")
    }

    fn write_format(&self, state: &str) -> Result<(), OpenError> {
        let write = || {
            let new = self.path.join("format.new");
            fs::write(&new, format!("hearth store, format {FORMAT}, {state}\n"))?;
            File::open(&new)?.sync_all()?;
            fs::rename(&new, self.path.join(FORMAT_FILE))?;
            sync_directory(&self.path)
        };
        write().map_err(|error| unreadable(&self.path, &error))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the tree's and the log's file.
    pub(super) fn files(&self, create: bool) -> Result<(File, File), OpenError> {
        let open = |name| {
            let path = self.path.join(name);
            let file = OpenOptions::new().read(true).write(true).create_new(create).open(&path);
            let file = file.map_err(|error| OpenError::Unreadable {
                path: self.path.clone(),
                detail: format!("{name}: {error}"),
            })?;
            Ok(file)
        };
        Ok((open(TREE_FILE)?, open(LOG_FILE)?))
    }

    /// Bytes of the tree and the log on disk.
    pub(super) fn disk_bytes(path: &Path) -> u64 {
        [TREE_FILE, LOG_FILE].iter().filter_map(|name| fs::metadata(path.join(name)).ok()).map(|file| file.len()).sum()
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> OpenError {
    OpenError::Unreadable { path: path.to_owned(), detail: error.to_string() }
}

/// Makes renames in `path` durable.
fn sync_directory(path: &Path) -> std::io::Result<()> {
    // Windows has no handle on a directory that could be synced; NTFS journals renames by itself.
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

/// What is in `path`, which is not changed.
fn look(path: &Path) -> Result<Content, OpenError> {
    let foreign = |detail: String| OpenError::Foreign { path: path.to_owned(), detail };
    if !fs::metadata(path).map_err(|error| unreadable(path, &error))?.is_dir() {
        return Err(foreign("it is not a directory".to_owned()));
    }
    let format = match fs::read(path.join(FORMAT_FILE)) {
        Ok(format) => format,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            for entry in fs::read_dir(path).map_err(|error| unreadable(path, &error))? {
                let name = entry.map_err(|error| unreadable(path, &error))?.file_name();
                if name != LOCK_FILE && name != "format.new" {
                    return Err(foreign(format!("it holds {} but no format file", name.display())));
                }
            }
            return Ok(Content::Nothing);
        }
        Err(error) => return Err(unreadable(path, &error)),
    };
    let text = String::from_utf8_lossy(&format);
    let mut words = text.strip_prefix("hearth store, format ").unwrap_or_default().trim_end().split(", ");
    let Some(found) = words.next().and_then(|number| number.parse::<u32>().ok()) else {
        return Err(foreign("its format file is not one of ours".to_owned()));
    };
    if found > FORMAT {
        return Err(OpenError::Newer { path: path.to_owned(), found, supported: FORMAT });
    }
    match words.next() {
        Some("creating") => Ok(Content::Nothing),
        Some("ready") => Ok(Content::Store),
        _ => Err(foreign("its format file is not one of ours".to_owned())),
    }
}
