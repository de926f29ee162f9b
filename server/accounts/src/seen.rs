//! When devices were last seen, gathered in memory between two writes.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use crate::{
    AccountError, Accounts, Session,
    keys::{DEVICE, SEEN},
    records::SeenRecord,
};

/// Devices that are remembered between two writes; more are passed over until the next one.
const CAPACITY: usize = 10_000;
/// Devices written in one transaction.
const BATCH: usize = 500;
/// What is kept of a `User-Agent`, in bytes.
const USER_AGENT_BYTES: usize = 255;

/// Localpart and device id.
type Key = (String, String);

/// What is not written yet.
#[derive(Debug, Default)]
pub(crate) struct SeenBuffer(Mutex<HashMap<Key, SeenRecord>>);

impl SeenBuffer {
    fn with<T>(&self, f: impl FnOnce(&mut HashMap<Key, SeenRecord>) -> T) -> T {
        // A panic elsewhere cannot leave the map half-changed, so a poisoned lock is as good as any.
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was noted of a device since the last write.
    pub(crate) fn get(&self, user: &str, device: &str) -> Option<SeenRecord> {
        self.with(|map| map.get(&(user.to_owned(), device.to_owned())).cloned())
    }
}

impl Accounts {
    /// Notes in memory that the session's device was just seen; [`Self::run_maintenance`] writes it down.
    pub fn note_seen(&self, session: &Session, ip: Option<IpAddr>, user_agent: Option<&str>) {
        let key = (session.user_id.localpart().to_owned(), session.device_id.to_string());
        let ts = self.clock.now();
        self.seen.with(|map| {
            if map.len() >= CAPACITY && !map.contains_key(&key) {
                return;
            }
            let entry = map.entry(key).or_insert(SeenRecord { ts, ip: None, user_agent: None });
            entry.ts = ts;
            if let Some(ip) = ip {
                entry.ip = Some(ip.to_canonical().to_string());
            }
            if let Some(agent) = user_agent {
                let end = agent.floor_char_boundary(USER_AGENT_BYTES);
                if entry.user_agent.as_deref() != Some(&agent[..end]) {
                    entry.user_agent = Some(agent[..end].to_owned());
                }
            }
        });
    }

    /// Writes down what was noted since the last time.
    pub(crate) async fn flush_seen(&self) -> Result<(), AccountError> {
        let noted: Vec<(Key, SeenRecord)> = self.seen.with(|map| map.drain().collect());
        for batch in noted.chunks(BATCH) {
            self.store
                .transact("accounts.flush_seen", |tx| async move {
                    for ((user, device), record) in batch {
                        // Read with a conflict: a device that is deleted meanwhile must not leave this behind.
                        if DEVICE.get(&tx, (user, device)).await?.is_some() {
                            SEEN.set(&tx, (user, device), record);
                        }
                    }
                    Ok::<_, AccountError>(())
                })
                .await?;
        }
        Ok(())
    }
}
