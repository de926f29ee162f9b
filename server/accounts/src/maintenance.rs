//! What must be done from time to time.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{
    AccountError, Accounts,
    expiry::Expiring,
    keys::{EXPIRY, LOGIN_TOKEN, NONCE, UIA},
    registration_tokens::release_pending,
};

/// Time between two rounds; also how late a device's "last seen" may be.
const INTERVAL: Duration = Duration::from_mins(1);
/// Entries removed in one transaction.
const BATCH: usize = 200;

impl Accounts {
    /// Writes down when devices were last seen, about once a minute, until `stop`. The binary runs this as one owned task;
    /// the last round happens after `stop`.
    pub async fn run_maintenance(&self, stop: CancellationToken) {
        loop {
            let stopped = stop.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_none();
            if let Err(error) = self.flush_seen().await {
                tracing::warn!(%error, "cannot write when devices were last seen");
            }
            if stopped {
                return;
            }
        }
    }

    /// Removes what has expired: sessions of user-interactive authentication, login tokens, nonces. Returns how much that
    /// was. A job of the binary; what has expired is refused also while it is there.
    pub async fn remove_expired(&self) -> Result<usize, AccountError> {
        let now = self.clock.now();
        let mut all = 0;
        loop {
            let removed = self
                .store
                .transact("accounts.remove_expired", |tx| async move {
                    let due = EXPIRY.scan(()).until((now,)).limit(BATCH).all(&tx).await?;
                    for ((at, kind, key), ()) in &due {
                        EXPIRY.clear(&tx, (*at, *kind, key));
                        match *kind {
                            kind if kind == Expiring::Uia as u64 => {
                                if let Some(session) = UIA.get(&tx, (key,)).await? {
                                    release_pending(&tx, session.registration_token.as_deref(), false).await?;
                                    UIA.clear(&tx, (key,));
                                }
                            }
                            kind if kind == Expiring::LoginToken as u64 => LOGIN_TOKEN.clear(&tx, (key,)),
                            kind if kind == Expiring::Nonce as u64 => NONCE.clear(&tx, (key,)),
                            kind => tracing::warn!(kind, "unknown kind of expiry"),
                        }
                    }
                    Ok::<_, AccountError>(due.len())
                })
                .await?;
            all += removed;
            if removed < BATCH {
                return Ok(all);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NewDevice, accounts::tests::accounts};

    async fn expiring(accounts: &Accounts) -> usize {
        EXPIRY.scan(()).all(&accounts.store.begin()).await.unwrap().len()
    }

    #[tokio::test]
    async fn removes_what_has_expired_and_nothing_else() {
        let accounts = accounts();
        let alice = accounts.test_user("alice").await;
        for _ in 0..=BATCH {
            accounts.create_login_token(&alice).await.unwrap();
        }
        accounts.remove_expired().await.unwrap();
        assert_eq!(expiring(&accounts).await, BATCH + 1);
        accounts.clock.advance(Duration::from_hours(1));
        let (fresh, _) = accounts.create_login_token(&alice).await.unwrap();
        accounts.remove_expired().await.unwrap();
        assert_eq!(expiring(&accounts).await, 1);
        assert_eq!(LOGIN_TOKEN.scan(()).all(&accounts.store.begin()).await.unwrap().len(), 1);
        assert_eq!(accounts.redeem_login_token(&fresh).await.unwrap(), alice);
    }

    #[tokio::test]
    async fn writes_last_seen_when_it_stops() {
        let accounts = accounts();
        let alice = accounts.test_user("alice").await;
        let tokens = accounts.open_session(&alice, NewDevice::default()).await.unwrap();
        let session = accounts.authenticate(&tokens.access_token).await.unwrap();
        accounts.note_seen(&session, Some([127, 0, 0, 1].into()), Some("test"));
        let stop = CancellationToken::new();
        stop.cancel();
        accounts.run_maintenance(stop).await;
        assert!(accounts.seen.get("alice", tokens.device_id.as_str()).is_none());
        let device = accounts.device(&alice, &tokens.device_id).await.unwrap();
        assert!(device.last_seen_ts.is_some());
        assert_eq!(device.last_seen_ip.as_deref(), Some("127.0.0.1"));
        assert_eq!(device.last_seen_user_agent.as_deref(), Some("test"));
    }
}
