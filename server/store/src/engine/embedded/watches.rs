//! Watches: who waits for which key to differ from what.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::tree::Snapshot;
use crate::StoreError;
use crate::engine::key::{Key, KeyRange};
use crate::engine::mutex::lock;

/// One who waits.
#[derive(Debug)]
struct Watcher {
    expected: Option<Bytes>,
    sender: oneshot::Sender<Result<(), StoreError>>,
}

/// Everyone who waits.
#[derive(Debug, Default)]
pub(super) struct Watches {
    by_key: Mutex<BTreeMap<Key, Vec<Watcher>>>,
}

impl Watches {
    /// Adds a watcher of `key`. The caller samples the key's value afterwards and calls [`Self::fire`] when it
    /// differs already: a commit either finds the watcher or is seen by the sample.
    pub(super) fn add(&self, key: &Key, expected: Option<Bytes>, sender: oneshot::Sender<Result<(), StoreError>>) {
        lock(&self.by_key).entry(key.clone()).or_default().push(Watcher { expected, sender });
    }

    /// Wakes the watchers of `writes` whose expectation the published state does not meet any more.
    pub(super) fn fire(
        &self,
        writes: &[KeyRange],
        published: impl FnOnce() -> Arc<Snapshot>,
    ) -> Result<(), StoreError> {
        let mut by_key = lock(&self.by_key);
        if by_key.is_empty() {
            return Ok(());
        }
        // Taken under the lock: no watcher here expects anything newer.
        let snapshot = &*published();
        for write in writes {
            match write {
                KeyRange::Point(key) => fire_key(&mut by_key, key, snapshot)?,
                KeyRange::Range(begin, end) => {
                    let inside = (Bound::Included(begin), Bound::Excluded(end));
                    let keys: Vec<Key> = by_key.range::<Key, _>(inside).map(|(key, _)| key.clone()).collect();
                    for key in keys {
                        fire_key(&mut by_key, &key, snapshot)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Forgets the watchers of `key` that nobody waits for any more.
    fn prune(&self, key: &Key) {
        let mut by_key = lock(&self.by_key);
        if let Some(watchers) = by_key.get_mut(key) {
            watchers.retain(|watcher| !watcher.sender.is_closed());
            if watchers.is_empty() {
                by_key.remove(key);
            }
        }
    }

    /// Wakes everyone with `error`.
    pub(super) fn fail(&self, error: &StoreError) {
        for watcher in std::mem::take(&mut *lock(&self.by_key)).into_values().flatten() {
            let _ = watcher.sender.send(Err(error.clone()));
        }
    }
}

fn fire_key(by_key: &mut BTreeMap<Key, Vec<Watcher>>, key: &Key, snapshot: &Snapshot) -> Result<(), StoreError> {
    let Some(watchers) = by_key.get_mut(key) else { return Ok(()) };
    snapshot.get(key, |value| {
        for watcher in watchers.extract_if(.., |watcher| watcher.expected.as_deref() != value) {
            let _ = watcher.sender.send(Ok(()));
        }
    })?;
    if watchers.is_empty() {
        by_key.remove(key);
    }
    Ok(())
}

/// The waiting end of a watch.
#[derive(Debug)]
pub(crate) struct EmbeddedWatch {
    pub(super) watches: Arc<Watches>,
    pub(super) key: Key,
    pub(super) receiver: oneshot::Receiver<Result<(), StoreError>>,
}

impl EmbeddedWatch {
    /// Waits for the change.
    pub(crate) async fn changed(mut self) -> Result<(), StoreError> {
        // The sender is dropped unused where the transaction does not commit.
        (&mut self.receiver).await.unwrap_or(Err(StoreError::Closed))
    }
}

impl Drop for EmbeddedWatch {
    fn drop(&mut self) {
        self.receiver.close();
        self.watches.prune(&self.key);
    }
}
