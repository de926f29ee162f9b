//! When devices were last seen, gathered in memory between two writes.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::records::SeenRecord;

/// Localpart and device id.
pub(crate) type DeviceKey = (String, String);

/// What is not written yet.
#[derive(Debug, Default)]
pub(crate) struct SeenBuffer(Mutex<HashMap<DeviceKey, SeenRecord>>);

impl SeenBuffer {
    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut HashMap<DeviceKey, SeenRecord>) -> T) -> T {
        // A panic elsewhere cannot leave the map half-changed, so a poisoned lock is as good as any.
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was noted of a device since the last write.
    pub(crate) fn get(&self, user: &str, device: &str) -> Option<SeenRecord> {
        self.with(|map| map.get(&(user.to_owned(), device.to_owned())).cloned())
    }
}
