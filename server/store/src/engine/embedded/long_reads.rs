//! The long reads that are under way.

use std::sync::{Arc, Mutex};

use super::tree::Entries;
use crate::engine::mutex::lock;

/// The position of a long read; `None` once it is over or the store was closed.
pub(super) type Position = Mutex<Option<Entries>>;

/// Every long read that is under way, so that a closing store lets go of its files.
#[derive(Debug, Default)]
pub(super) struct LongReads(Mutex<Vec<std::sync::Weak<Position>>>);

impl LongReads {
    pub(super) fn add(&self, position: &Arc<Position>) {
        let mut all = lock(&self.0);
        all.retain(|position| position.strong_count() > 0);
        all.push(Arc::downgrade(position));
    }

    /// Ends them all.
    pub(super) fn end(&self) {
        for position in lock(&self.0).drain(..).filter_map(|position| position.upgrade()) {
            *lock(&position) = None;
        }
    }
}
