//! [Devices](https://spec.matrix.org/v1.19/client-server-api/#device-management).

use std::time::Duration;

use hearth_store::Transaction;
use ruma::{DeviceId, OwnedDeviceId, UserId};

use crate::{
    AccountError, Accounts,
    keys::{DEVICE, DEVICE_TOKEN, SEEN, TOKEN},
    pushers::clear_pushers_of,
    records::{DeviceRecord, SeenRecord},
};

/// Longest name of a device, in bytes.
const DEVICE_NAME_BYTES: usize = 1024;
/// Time between two looks at a device whose watch has fired for nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A device of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Device id.
    pub device_id: OwnedDeviceId,
    /// Name.
    pub display_name: Option<String>,
    /// When it first logged in, milliseconds since 1970.
    pub created_ts: u64,
    /// When it was last seen, milliseconds since 1970.
    pub last_seen_ts: Option<u64>,
    /// From where it was last seen.
    pub last_seen_ip: Option<String>,
    /// With what it was last seen.
    pub last_seen_user_agent: Option<String>,
}

/// A device's name, if it is not too long.
pub(crate) fn check_device_name(name: Option<String>) -> Result<Option<String>, AccountError> {
    match name {
        Some(name) if name.len() > DEVICE_NAME_BYTES => {
            Err(AccountError::InvalidParam("a device name has at most 1024 bytes".into()))
        }
        name => Ok(name),
    }
}

/// Removes the tokens of a device.
pub(crate) async fn clear_tokens(tx: &Transaction, user: &str, device: &str) -> Result<(), AccountError> {
    for ((_, _, hash), ()) in DEVICE_TOKEN.scan((user, device)).all(tx).await? {
        TOKEN.clear(tx, (&hash,));
    }
    DEVICE_TOKEN.clear_prefix(tx, (user, device));
    Ok(())
}

/// Removes a device with everything that hangs on it.
pub(crate) async fn clear_device(tx: &Transaction, user: &str, device: &str) -> Result<(), AccountError> {
    clear_tokens(tx, user, device).await?;
    clear_pushers_of(tx, user, device).await?;
    DEVICE.clear(tx, (user, device));
    SEEN.clear(tx, (user, device));
    Ok(())
}

impl Accounts {
    /// The user's devices.
    pub async fn devices(&self, user: &UserId) -> Result<Vec<Device>, AccountError> {
        let localpart = self.local(user)?;
        let tx = self.store.begin();
        let mut devices = Vec::new();
        for ((_, id), record) in DEVICE.scan((localpart,)).snapshot().all(&tx).await? {
            let seen = SEEN.get_snapshot(&tx, (localpart, &id)).await?;
            devices.push(self.to_device(localpart, id, record, seen));
        }
        Ok(devices)
    }

    /// One device.
    pub async fn device(&self, user: &UserId, device: &DeviceId) -> Result<Device, AccountError> {
        let (localpart, id) = (self.local(user)?, device.as_str());
        let tx = self.store.begin();
        let record = DEVICE.get_snapshot(&tx, (localpart, id)).await?.ok_or(AccountError::DeviceNotFound)?;
        let seen = SEEN.get_snapshot(&tx, (localpart, id)).await?;
        Ok(self.to_device(localpart, id.to_owned(), record, seen))
    }

    /// Resolves once the device is not there any more: its session has ended.
    pub async fn device_gone(&self, user: &UserId, device: &DeviceId) -> Result<(), AccountError> {
        let key = (self.local(user)?, device.as_str());
        let mut looked = false;
        loop {
            let (watch, is_there) = self
                .store
                .transact("accounts.device_gone", |tx| async move {
                    // Armed before the look, in the same transaction, so that no change falls between the two.
                    let watch = DEVICE.watch(&tx, key).await?;
                    let is_there = DEVICE.get_snapshot(&tx, key).await?.is_some();
                    Ok::<_, AccountError>((watch, is_there))
                })
                .await?;
            if !is_there {
                return Ok(());
            }
            // A cluster takes only so many watches, and may be away for a while: then this looks now and then.
            if looked {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            looked = true;
            if let Err(error) = watch.changed().await {
                tracing::debug!(%error, "cannot watch the device");
            }
        }
    }

    fn to_device(&self, user: &str, id: String, record: DeviceRecord, written: Option<SeenRecord>) -> Device {
        // The device may have been seen by another process later.
        let noted = self.seen.get(user, &id);
        let seen = noted.into_iter().chain(written).max_by_key(|seen| seen.ts);
        let (ts, ip, agent) = seen.map_or((None, None, None), |seen| (Some(seen.ts), seen.ip, seen.user_agent));
        Device {
            device_id: id.into(),
            display_name: record.display_name,
            created_ts: record.created_ts,
            last_seen_ts: ts,
            last_seen_ip: ip,
            last_seen_user_agent: agent,
        }
    }

    /// Renames a device; `None` removes the name.
    pub async fn rename_device(
        &self,
        user: &UserId,
        device: &DeviceId,
        display_name: Option<String>,
    ) -> Result<(), AccountError> {
        let (localpart, id) = (self.local(user)?, device.as_str());
        let display_name = &check_device_name(display_name)?;
        self.store
            .transact("accounts.rename_device", |tx| async move {
                let mut record = DEVICE.get(&tx, (localpart, id)).await?.ok_or(AccountError::DeviceNotFound)?;
                record.display_name.clone_from(display_name);
                DEVICE.set(&tx, (localpart, id), &record);
                Ok(())
            })
            .await
    }

    /// Deletes devices with their tokens and pushers; unknown ones are passed over.
    pub async fn delete_devices(&self, user: &UserId, devices: &[OwnedDeviceId]) -> Result<(), AccountError> {
        let localpart = self.local(user)?;
        self.store
            .transact("accounts.delete_devices", |tx| async move {
                for device in devices {
                    clear_device(&tx, localpart, device.as_str()).await?;
                }
                Ok(())
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NewDevice, accounts::tests::accounts};

    #[tokio::test]
    async fn rename_and_delete() {
        let accounts = accounts();
        let alice = accounts.test_user("alice").await;
        let bob = accounts.test_user("bob").await;
        let new = |id: &str| NewDevice {
            device_id: Some(id.into()),
            display_name: Some(format!("{id}'s name")),
            refresh: false,
        };
        let first = accounts.open_session(&alice, new("ONE")).await.unwrap();
        let second = accounts.open_session(&alice, new("TWO")).await.unwrap();
        let other = accounts.open_session(&bob, new("ONE")).await.unwrap();

        accounts.rename_device(&alice, "ONE".into(), Some("phone".into())).await.unwrap();
        assert_eq!(accounts.device(&alice, "ONE".into()).await.unwrap().display_name.as_deref(), Some("phone"));
        assert_eq!(accounts.device(&bob, "ONE".into()).await.unwrap().display_name.as_deref(), Some("ONE's name"));
        for (user, device) in [(&alice, "THREE"), (&bob, "TWO")] {
            assert!(matches!(
                accounts.rename_device(user, device.into(), None).await,
                Err(AccountError::DeviceNotFound)
            ));
        }
        let long = Some("x".repeat(1025));
        assert!(accounts.rename_device(&alice, "ONE".into(), long).await.is_err());

        accounts.delete_devices(&alice, &["ONE".into(), "UNKNOWN".into()]).await.unwrap();
        let left: Vec<_> = accounts.devices(&alice).await.unwrap().into_iter().map(|d| d.device_id).collect();
        assert_eq!(left, ["TWO"]);
        assert!(matches!(
            accounts.authenticate(&first.access_token).await,
            Err(AccountError::UnknownToken { soft_logout: false })
        ));
        assert!(accounts.authenticate(&second.access_token).await.is_ok());
        assert!(accounts.authenticate(&other.access_token).await.is_ok());
    }

    #[tokio::test]
    async fn waits_for_the_end_of_a_device() {
        let accounts = accounts();
        let alice = accounts.test_user("alice").await;
        let new = NewDevice { device_id: Some("ONE".into()), ..NewDevice::default() };
        accounts.open_session(&alice, new).await.unwrap();
        let gone = accounts.device_gone(&alice, "ONE".into());
        let end = async {
            // A change that is not the end.
            accounts.rename_device(&alice, "ONE".into(), Some("phone".into())).await.unwrap();
            accounts.logout(&alice, "ONE".into()).await.unwrap();
        };
        let (gone, ()) = tokio::join!(gone, end);
        gone.unwrap();
        accounts.device_gone(&alice, "ONE".into()).await.unwrap();
    }

    #[tokio::test]
    async fn last_seen_is_there_before_it_is_written() {
        let accounts = accounts();
        let alice = accounts.test_user("alice").await;
        let tokens = accounts.open_session(&alice, NewDevice::default()).await.unwrap();
        let session = accounts.authenticate(&tokens.access_token).await.unwrap();
        assert_eq!(accounts.device(&alice, &tokens.device_id).await.unwrap().last_seen_ts, None);
        accounts.note_seen(&session, None, Some(&"ä".repeat(300)));
        let device = accounts.device(&alice, &tokens.device_id).await.unwrap();
        assert!(device.last_seen_ts.is_some());
        assert_eq!(device.last_seen_user_agent.unwrap().len(), 254);
        // A device that is gone when it is written leaves nothing behind.
        accounts.delete_devices(&alice, &[tokens.device_id]).await.unwrap();
        accounts.flush_seen().await.unwrap();
        assert!(SEEN.scan(()).all(&accounts.store.begin()).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_device_was_seen_last_by_whichever_process_saw_it_last() {
        let here = accounts();
        let there = Accounts::new(here.store.clone(), here.config().clone());
        let alice = here.test_user("alice").await;
        let tokens = here.open_session(&alice, NewDevice::default()).await.unwrap();
        let session = here.authenticate(&tokens.access_token).await.unwrap();
        here.note_seen(&session, None, Some("old"));
        there.clock.advance(Duration::from_mins(5));
        there.note_seen(&session, None, Some("new"));
        there.flush_seen().await.unwrap();
        let agent =
            async |accounts: &Accounts| accounts.device(&alice, &tokens.device_id).await.unwrap().last_seen_user_agent;
        assert_eq!(
            agent(&here).await.as_deref(),
            Some("new"),
            "what is written counts, being newer than what is noted"
        );
        here.flush_seen().await.unwrap();
        assert_eq!(agent(&here).await.as_deref(), Some("new"), "and is not overwritten");
    }
}
