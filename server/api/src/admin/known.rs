//! What takes a while to find out, for those who cannot wait.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

/// Something that takes a while to find out. Who asks gets what is known; a task beside finds it out anew when that is old.
#[derive(Debug)]
pub(super) struct Known<T> {
    newest: Mutex<Option<(Instant, T)>>,
    wanted: Notify,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self { newest: Mutex::new(None), wanted: Notify::new() }
    }
}

impl<T: Clone> Known<T> {
    /// What is known; asks for it anew where that is older than `fresh`.
    pub(super) fn get(&self, fresh: Duration) -> Option<T> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.as_ref().is_none_or(|(at, _)| at.elapsed() > fresh) {
            self.wanted.notify_one();
        }
        newest.as_ref().map(|(_, value)| value.clone())
    }

    /// It has been found out.
    pub(super) fn set(&self, value: T) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), value));
    }

    /// Asks for it anew.
    pub(super) fn ask(&self) {
        self.wanted.notify_one();
    }

    /// Resolves when somebody wants it anew.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }
}
