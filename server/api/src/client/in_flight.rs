//! A device's own event does not overtake the answer to the request that sent it.
//!
//! The commit that publishes an event wakes the sender's own long poll too, and both answers race on two connections.
//! Clients match the event to their local echo by the event id of the answer; matrix-js-sdk calls a message in a
//! thread failed when the sync wins. So a sync first lets the sends of its device finish that are under way.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hearth_accounts::Session;
use ruma::{OwnedDeviceId, OwnedUserId};
use tokio_util::sync::CancellationToken;

/// Longest that a sync waits: its events come late rather than never.
const PATIENCE: Duration = Duration::from_millis(250);

type Device = (OwnedUserId, OwnedDeviceId);

/// The sends that are under way, by device.
#[derive(Debug, Default)]
pub struct InFlight(Mutex<HashMap<Device, Vec<CancellationToken>>>);

/// A send under way; dropped when its answer is ready.
#[derive(Debug)]
#[must_use]
pub(crate) struct Sending<'a> {
    all: &'a InFlight,
    device: Device,
    token: CancellationToken,
}

impl InFlight {
    /// Notes that the session's device is sending.
    pub(crate) fn begin(&self, session: &Session) -> Sending<'_> {
        let device = (session.user_id.clone(), session.device_id.clone());
        let token = CancellationToken::new();
        self.lock().entry(device.clone()).or_default().push(token.clone());
        Sending { all: self, device, token }
    }

    /// Waits until the sends of the session's device that are under way now are answered.
    pub(crate) async fn settle(&self, session: &Session) {
        let device = (session.user_id.clone(), session.device_id.clone());
        let Some(tokens) = self.lock().get(&device).cloned() else { return };
        let all = async {
            for token in tokens {
                token.cancelled().await;
            }
        };
        // A send that takes longer has not been published either, or its client is slow to send the rest.
        let _ = tokio::time::timeout(PATIENCE, all).await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Device, Vec<CancellationToken>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        // Cancelling comes before forgetting, so that whoever finds the token can wait for it.
        self.token.cancel();
        if let Entry::Occupied(mut tokens) = self.all.lock().entry(self.device.clone()) {
            tokens.get_mut().retain(|token| !token.is_cancelled());
            if tokens.get().is_empty() {
                tokens.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, task::Poll};

    use futures_util::poll;

    use super::*;
    use crate::client::test_support::session;

    #[tokio::test]
    async fn a_sync_waits_for_its_own_device_alone() {
        let sends = InFlight::default();
        let (laptop, phone) = (session("@alice:hearth.test", "LAPTOP"), session("@alice:hearth.test", "PHONE"));
        let sending = sends.begin(&laptop);
        let mut own = pin!(sends.settle(&laptop));
        assert_eq!(poll!(own.as_mut()), Poll::Pending);
        assert_eq!(poll!(pin!(sends.settle(&phone))), Poll::Ready(()));
        drop(sending);
        assert_eq!(poll!(own), Poll::Ready(()));
        assert!(sends.lock().is_empty(), "nothing is kept");
    }
}
