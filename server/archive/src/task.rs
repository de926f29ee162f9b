//! Work that blocks: files, compression, encryption.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::ArchiveError;

/// Tells blocking work that nobody waits for it any more.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted(Arc<AtomicBool>);

/// Calls the work off when it is dropped.
#[derive(Debug)]
pub(crate) struct Waiting(Wanted);

impl Wanted {
    pub(crate) fn new() -> (Self, Waiting) {
        let wanted = Self::default();
        (wanted.clone(), Waiting(wanted))
    }

    /// Fails where nobody waits any more; nobody sees that error.
    pub(crate) fn check(&self, path: &Path) -> Result<(), ArchiveError> {
        if self.0.load(Ordering::Relaxed) {
            return Err(ArchiveError::File { path: path.to_owned(), detail: "it was given up".to_owned() });
        }
        Ok(())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// Waits for blocking work. Where the wait is dropped, [`Waiting`] ends the work soon after.
pub(crate) async fn finish<T>(
    work: tokio::task::JoinHandle<Result<T, ArchiveError>>,
    path: &Path,
) -> Result<T, ArchiveError> {
    work.await.unwrap_or_else(|error| {
        Err(ArchiveError::File { path: path.to_owned(), detail: format!("the work on it broke off: {error}") })
    })
}
