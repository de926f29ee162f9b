//! What each device was sent of a room's members
//! ([lazy loading](https://spec.matrix.org/v1.19/client-server-api/#lazy-loading-room-members)).
//!
//! A bounded memory in the process, which the correctness of a response does not depend on: what is forgotten is sent
//! again, which the specification allows. A member counts as sent once the device continues from the very response that
//! held it. A device that lost a response gets its members again, and so does one that goes on through another
//! process and comes back: of a response that this process did not give it is not known what it held, and whether
//! the last one of this process had arrived before.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hearth_rooms::{CacheStats, RoomNid, StateKeyNid};
use hearth_store::Version;
use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};

use crate::cache::Cache;

/// Devices that are remembered.
const DEVICES: usize = 1000;
/// Members that are remembered of one device; beyond that the device starts over.
const MEMBERS: usize = 5000;

type Member = (RoomNid, StateKeyNid);

#[derive(Debug, Default)]
struct Members {
    /// What surely arrived, with the version of the response that held it.
    arrived: HashMap<Member, Version>,
    /// The newest such version.
    newest: Version,
    /// Responses that the device has not continued from yet: one, unless it asks for several at the same time.
    under_way: Vec<(Version, HashSet<Member>)>,
}

type Sent = Arc<Mutex<Members>>;

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
    fn lock(&self) -> MutexGuard<'_, Members> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The device asks for what comes after `since`: so it has the response that ended there, and nothing newer.
    pub(crate) fn continues_from(&self, since: Option<Version>) {
        let members = &mut *self.lock();
        if since.is_none_or(|since| since < members.newest) {
            members.arrived.retain(|_, version| Some(*version) <= since);
            members.newest = since.unwrap_or_default();
        }
        for (version, held) in members.under_way.drain(..) {
            if Some(version) == since {
                members.newest = version;
                for member in held {
                    members.arrived.entry(member).or_insert(version);
                }
            }
        }
    }

    /// The room is told from its beginning: the device relies on nothing that it had before.
    pub(crate) fn begin(&self, room: RoomNid) {
        let mut members = self.lock();
        members.arrived.retain(|(of, _), _| *of != room);
        for (_, held) in &mut members.under_way {
            held.retain(|(of, _)| *of != room);
        }
    }

    /// Whether a device that has read up to `since` has the member.
    pub(crate) fn has(&self, room: RoomNid, member: StateKeyNid, since: Version) -> bool {
        self.lock().arrived.get(&(room, member)).is_some_and(|arrived| *arrived <= since)
    }

    /// The response that ends at `version` holds the member.
    pub(crate) fn sent(&self, room: RoomNid, member: StateKeyNid, version: Version) {
        let members = &mut *self.lock();
        let count = members.arrived.len() + members.under_way.iter().map(|(_, held)| held.len()).sum::<usize>();
        if count >= MEMBERS {
            *members = Members::default();
        }
        match members.under_way.iter_mut().find(|(under_way, _)| *under_way == version) {
            Some((_, held)) => {
                held.insert((room, member));
            }
            None => members.under_way.push((version, HashSet::from([(room, member)]))),
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
        device.sent(room, member, 10);
        assert!(!device.has(room, member, 10), "nobody knows whether it arrived");
        device.continues_from(Some(10));
        assert!(!device.has(room, member, 9), "asks again from before that response");
        assert!(lazy.device(user_id!("@a:x"), device_id!("A")).has(room, member, 10));
        assert!(!lazy.device(user_id!("@a:x"), device_id!("B")).has(room, member, 10));
        device.sent(room, member, 20);
        assert!(device.has(room, member, 10), "it has it from the first time");
        device.begin(RoomNid(9));
        assert!(device.has(room, member, 20), "another room");
        device.continues_from(Some(20));
        device.sent(room, member, 30);
        device.begin(room);
        device.continues_from(Some(30));
        assert!(!device.has(room, member, 30), "told from its beginning, without the member");
        device.sent(room, member, 40);
        device.continues_from(Some(40));
        assert!(device.has(room, member, 40));
        device.continues_from(Some(39));
        assert!(!device.has(room, member, 40), "it has lost what it had");
    }

    #[test]
    fn a_response_of_another_process_proves_nothing() {
        let lazy = MembersSent::default();
        let device = lazy.device(user_id!("@a:x"), device_id!("A"));
        let (room, member) = (RoomNid(1), StateKeyNid(2));
        // It is lost; the device asks another process, whose response ends at 20 and does not hold the member.
        device.sent(room, member, 10);
        device.continues_from(Some(20));
        assert!(!device.has(room, member, 20));
        // Asked twice from the same point: the first answer does not count once it was asked for again.
        device.sent(room, member, 30);
        device.continues_from(Some(20));
        device.continues_from(Some(30));
        assert!(!device.has(room, member, 30));
    }
}
