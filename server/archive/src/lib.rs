//! Moving and keeping a store's data: backups, restoring them, copies between stores, sizes.
//!
//! Knows no Matrix: it moves ordered keys and values, and counts them by the first two elements of their keys (database and
//! table).

mod changes;
mod error;
mod file;
mod folder;
mod load;
pub mod lock;
mod own;
mod progress;
mod sizes;
mod summary;
mod sums;
mod task;

mod backup;
mod copy;
mod passphrase;
mod restore;
mod verify;
mod versions;

pub use backup::{Attachment, BackupOptions, backup};
pub use copy::{CopyOptions, CopySummary, copy};
pub use error::ArchiveError;
pub use folder::{BackupFile, EXTENSION, default_file_name, list, retain};
pub use passphrase::Passphrase;
pub use progress::{Phase, Progress, ProgressFigures};
pub use restore::{RestoreOptions, Restored, restore};
pub use sizes::{Sizes, SubspaceSize, sizes};
pub use summary::{BackupHeader, BackupSummary, SubspaceSum};
pub use verify::verify;
