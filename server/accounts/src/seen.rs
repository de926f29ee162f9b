//! When devices were last seen.

use std::net::IpAddr;

use crate::{
    AccountError, Accounts, Session,
    keys::{DEVICE, SEEN},
    records::SeenRecord,
    seen_buffer::DeviceKey,
};

/// Devices that are remembered between two writes; more are passed over until the next one.
const CAPACITY: usize = 10_000;
/// Devices written in one transaction.
const BATCH: usize = 500;
/// What is kept of a `User-Agent`, in bytes.
const USER_AGENT_BYTES: usize = 255;

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

    /// Writes down what was noted since the last time. What cannot be written is kept for the next time.
    pub(crate) async fn flush_seen(&self) -> Result<(), AccountError> {
        let noted: Vec<(DeviceKey, SeenRecord)> = self.seen.with(|map| map.drain().collect());
        for (number, batch) in noted.chunks(BATCH).enumerate() {
            let written = self
                .store
                .transact("accounts.flush_seen", |tx| async move {
                    for ((user, device), record) in batch {
                        // Read with a conflict: a device that is deleted meanwhile must not leave this behind.
                        if DEVICE.get(&tx, (user, device)).await?.is_none() {
                            continue;
                        }
                        // Another process may have seen the device later.
                        let before = SEEN.get(&tx, (user, device)).await?;
                        if before.is_none_or(|before| before.ts <= record.ts) {
                            SEEN.set(&tx, (user, device), record);
                        }
                    }
                    Ok::<_, AccountError>(())
                })
                .await;
            if let Err(error) = written {
                self.seen.with(|map| {
                    for (key, record) in noted.into_iter().skip(number * BATCH) {
                        if map.len() < CAPACITY {
                            map.entry(key).or_insert(record);
                        }
                    }
                });
                return Err(error);
            }
        }
        Ok(())
    }
}
