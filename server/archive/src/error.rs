use std::path::{Path, PathBuf};

use hearth_store::{StoreError, Version};

use crate::lock::Incomplete;

/// Why data was not kept, read or moved. Each message is a sentence for people.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file or folder failed.
    #[error("{path} cannot be used: {detail}")]
    File {
        /// Which one.
        path: PathBuf,
        /// The system's words.
        detail: String,
    },
    /// There is something at the path already, which is not overwritten.
    #[error("{path} exists already")]
    Exists {
        /// Which path.
        path: PathBuf,
    },
    /// Not a backup at all.
    #[error("{path} is not a backup of Hearth")]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// A newer Hearth made it.
    #[error("{path} was made by a newer Hearth (format {found}, this one reads up to {supported}): use that version")]
    Newer {
        /// Which file.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The newest one that can be read here.
        supported: u32,
    },
    /// The end is missing.
    #[error("{path} is cut off: its end is missing, so it is not a whole backup")]
    Truncated {
        /// Which file.
        path: PathBuf,
    },
    /// Something in it is not as it was written.
    #[error("{path} is damaged or was altered: {detail}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What does not fit, and where.
        detail: String,
    },
    /// It is encrypted and no passphrase was given.
    #[error("{path} is encrypted: it needs its passphrase")]
    PassphraseNeeded {
        /// Which file.
        path: PathBuf,
    },
    /// It is encrypted with another passphrase.
    #[error("this is not the passphrase of {path}")]
    PassphraseWrong {
        /// Which file.
        path: PathBuf,
    },
    /// The target holds data.
    #[error("the target store is not empty: data goes only into an empty one")]
    NotEmpty,
    /// A store is in the middle of something else.
    #[error("{0}")]
    Incomplete(Incomplete),
    /// Servers run on a store that must be unused.
    #[error(
        "{processes} running server process(es) use the store: stop them first (one that crashed counts for 20 seconds)"
    )]
    InUse {
        /// How many.
        processes: usize,
    },
    /// Versions of the target cluster are behind those in the data, so that new commits would sort before old ones.
    #[error(
        "the data comes from a store at version {needed}, and the target cluster is at {current} only: what is written next \
         would sort before what is there already. The cluster's version can be advanced; that makes the whole cluster \
         recover once (about a second without commits), and harms no other data on it. Allow it to go on"
    )]
    VersionBehind {
        /// The target's version.
        current: Version,
        /// The version that it must have passed.
        needed: Version,
    },
    /// Target and source differ after everything was written.
    #[error("the data written is not the data read: {detail}")]
    Mismatch {
        /// The first differences, by subspace.
        detail: String,
    },
}

impl ArchiveError {
    pub(crate) fn file(path: &Path, error: &std::io::Error) -> Self {
        Self::File { path: path.to_owned(), detail: error.to_string() }
    }
}
