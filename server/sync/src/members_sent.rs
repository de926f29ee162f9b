//! What each device was sent of a room's members
//! ([lazy loading](https://spec.matrix.org/v1.19/client-server-api/#lazy-loading-room-members)).
//!
//! A bounded memory in the process, which the correctness of a response does not depend on: what is forgotten (or what
//! another process sent) is sent again, which the specification allows. A member counts as sent only for requests
//! that continue from the response with the member, or from a later one: a device that lost a response and asks again
//! gets its members again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use hearth_rooms::{CacheStats, RoomNid, StateKeyNid};
use hearth_store::Version;
use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};

use crate::cache::Cache;

/// Devices that are remembered.
const DEVICES: usize = 1000;
/// Members that are remembered of one device; beyond that the device starts over.
const MEMBERS: usize = 5000;

/// Members by room, with the version of the response that first held them.
type Sent = Arc<Mutex<HashMap<(RoomNid, StateKeyNid), Version>>>;

#[derive(Debug)]
pub(crate) struct MembersSent(Cache<(OwnedUserId, OwnedDeviceId), Sent>);

impl Default for MembersSent {
    fn default() -> Self {
        Self(Cache::new(DEVICES))
    }
}

impl MembersSent {
    pub(crate) fn stats(&self) -> CacheStats {
        self.0.stats()
    }

    /// The memory of a device.
    pub(crate) fn device(&self, user: &UserId, device: &DeviceId) -> DeviceMembers {
        let key = (user.to_owned(), device.to_owned());
        DeviceMembers(self.0.get(&key).unwrap_or_else(|| {
            let sent = Sent::default();
            self.0.insert(key, sent.clone());
            sent
        }))
    }
}

/// What one device was sent.
pub(crate) struct DeviceMembers(Sent);

impl DeviceMembers {
    /// The room is told from its beginning: the device relies on nothing that it had before.
    pub(crate) fn begin(&self, room: RoomNid) {
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sent.retain(|(of, _), _| *of != room);
    }

    /// Whether a device that has read up to `since` has the member.
    pub(crate) fn has(&self, room: RoomNid, member: StateKeyNid, since: Version) -> bool {
        let sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sent.get(&(room, member)).is_some_and(|sent| *sent <= since)
    }

    /// The response that ends at `version` holds the member. `since` is where it begins.
    pub(crate) fn sent(&self, room: RoomNid, member: StateKeyNid, since: Option<Version>, version: Version) {
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sent.len() >= MEMBERS {
            sent.clear();
        }
        let first = sent.entry((room, member)).or_insert(version);
        // An earlier response counts only if this request shows that it arrived.
        if since.is_none_or(|since| *first > since) {
            *first = version;
        }
    }
}

#[cfg(test)]
mod tests {
    use ruma::{device_id, user_id};

    use super::*;

    #[test]
    fn only_what_surely_arrived_counts() {
        let lazy = MembersSent::default();
        let device = lazy.device(user_id!("@a:x"), device_id!("A"));
        let (room, member) = (RoomNid(1), StateKeyNid(2));
        assert!(!device.has(room, member, 100));
        device.sent(room, member, None, 10);
        assert!(!device.has(room, member, 9), "asks again from before that response");
        assert!(lazy.device(user_id!("@a:x"), device_id!("A")).has(room, member, 10));
        assert!(!lazy.device(user_id!("@a:x"), device_id!("B")).has(room, member, 10));
        device.sent(room, member, Some(10), 20);
        assert!(device.has(room, member, 10), "it has it from the first time");
        device.begin(RoomNid(9));
        assert!(device.has(room, member, 20), "another room");
        device.sent(room, member, Some(5), 30);
        assert!(!device.has(room, member, 10), "that response seems to be lost");
        assert!(device.has(room, member, 30));
        device.begin(room);
        assert!(!device.has(room, member, 30));
    }
}
