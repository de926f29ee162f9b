//! What the last frame of a backup says.

use hearth_store::Version;
use serde::{Deserialize, Serialize};

use super::header::{RawHeader, time};
use crate::{BackupSummary, SubspaceSum};

/// What the last frame says, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) version: Version,
    /// When that was the store's version, in milliseconds since the epoch.
    pub(super) taken: u64,
    pub(super) keys: u64,
    pub(super) bytes: u64,
    /// Frames before this one.
    pub(super) frames: u64,
    pub(super) attachments: Vec<String>,
    pub(super) subspaces: Vec<SubspaceSum>,
}

impl End {
    pub(super) fn summary(self, header: &RawHeader, file_bytes: u64) -> BackupSummary {
        let Self { version, taken, keys, bytes, attachments, subspaces, .. } = self;
        let taken = time(taken);
        BackupSummary { header: header.public(), version, taken, keys, bytes, file_bytes, subspaces, attachments }
    }
}
