//! [Pushers](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushers): kept for the clients that set
//! them.

use hearth_store::Transaction;
use ruma::{DeviceId, UserId};
use serde_json::value::RawValue;

use crate::{
    AccountError, Accounts,
    keys::{PUSHER, PUSHKEY},
    records::PusherRecord,
};

/// Longest push key and application id, in bytes (the specification's limits are 512 and 64).
const NAME_BYTES: usize = 512;
/// Largest pusher, in bytes.
const PUSHER_BYTES: usize = 65_536;

/// Removes one pusher.
pub(crate) fn clear_pusher(tx: &Transaction, user: &str, app_id: &str, pushkey: &str) {
    PUSHER.clear(tx, (user, app_id, pushkey));
    PUSHKEY.clear(tx, (app_id, pushkey, user));
}

/// Removes the pushers that a device set.
pub(crate) async fn clear_pushers_of(tx: &Transaction, user: &str, device: &str) -> Result<(), AccountError> {
    for ((_, app_id, pushkey), record) in PUSHER.scan((user,)).all(tx).await? {
        if record.device == device {
            clear_pusher(tx, user, &app_id, &pushkey);
        }
    }
    Ok(())
}

impl Accounts {
    /// The user's pushers, as they were set.
    pub async fn pushers(&self, user: &UserId) -> Result<Vec<Box<RawValue>>, AccountError> {
        let localpart = self.local(user)?;
        let pushers = PUSHER.scan((localpart,)).snapshot().all(&self.store.begin()).await?;
        let parse = |json| {
            RawValue::from_string(json).map_err(|error| AccountError::Internal(format!("stored pusher: {error}")))
        };
        pushers.into_iter().map(|(_, record)| parse(record.json)).collect()
    }

    /// Sets a pusher. Unless `append`, other users' pushers with the same push key (another account on the same phone)
    /// are removed.
    pub async fn set_pusher(
        &self,
        user: &UserId,
        device: &DeviceId,
        (app_id, pushkey): (&str, &str),
        pusher: &RawValue,
        append: bool,
    ) -> Result<(), AccountError> {
        let localpart = self.local(user)?;
        if app_id.len() > NAME_BYTES || pushkey.len() > NAME_BYTES {
            return Err(AccountError::InvalidParam("app_id and pushkey have at most 512 bytes".into()));
        }
        if pusher.get().len() > PUSHER_BYTES {
            return Err(AccountError::TooLarge(pusher.get().len()));
        }
        self.store
            .transact("accounts.set_pusher", |tx| async move {
                if !append {
                    for ((_, _, other), ()) in PUSHKEY.scan((app_id, pushkey)).all(&tx).await? {
                        clear_pusher(&tx, &other, app_id, pushkey);
                    }
                }
                let record = PusherRecord { device: device.to_string(), json: pusher.get().to_owned() };
                PUSHER.set(&tx, (localpart, app_id, pushkey), &record);
                PUSHKEY.set(&tx, (app_id, pushkey, localpart), &());
                Ok(())
            })
            .await
    }

    /// Removes a pusher; an unknown one is passed over.
    pub async fn delete_pusher(&self, user: &UserId, app_id: &str, pushkey: &str) -> Result<(), AccountError> {
        let localpart = self.local(user)?;
        if app_id.len() > NAME_BYTES || pushkey.len() > NAME_BYTES {
            return Ok(());
        }
        self.store
            .transact("accounts.delete_pusher", |tx| async move {
                clear_pusher(&tx, localpart, app_id, pushkey);
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
    async fn set_replace_delete() {
        let accounts = accounts();
        let (alice, bob) = (accounts.test_user("alice").await, accounts.test_user("bob").await);
        let device = accounts.open_session(&alice, NewDevice::default()).await.unwrap().device_id;
        let pusher = |n: u32| RawValue::from_string(format!("{{\"n\":{n}}}")).unwrap();
        let texts = async |user: &UserId| -> Vec<String> {
            accounts.pushers(user).await.unwrap().iter().map(|pusher| pusher.get().to_owned()).collect()
        };
        accounts.set_pusher(&alice, &device, ("app", "key"), &pusher(1), false).await.unwrap();
        accounts.set_pusher(&alice, &device, ("app", "key"), &pusher(2), false).await.unwrap();
        accounts.set_pusher(&alice, &device, ("app", "other"), &pusher(3), false).await.unwrap();
        assert_eq!(texts(&alice).await, [r#"{"n":2}"#, r#"{"n":3}"#]);
        accounts.set_pusher(&bob, &device, ("app", "other"), &pusher(4), true).await.unwrap();
        assert_eq!(texts(&alice).await.len(), 2, "appended");
        accounts.set_pusher(&bob, &device, ("app", "key"), &pusher(5), false).await.unwrap();
        assert_eq!(texts(&alice).await, [r#"{"n":3}"#], "taken over");
        accounts.delete_pusher(&bob, "app", "key").await.unwrap();
        assert_eq!(texts(&bob).await, [r#"{"n":4}"#]);
        accounts.logout(&alice, &device).await.unwrap();
        assert!(texts(&alice).await.is_empty(), "goes with its device");
    }
}
