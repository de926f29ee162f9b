//! How often a device's signs of life are written.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use hearth_store::Version;
use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};

use crate::{PresenceState, records::DevicePresenceRecord};

/// A device's signs of life are written at most so often, in milliseconds. Well below the times above.
const WRITE_EVERY: u64 = 30_000;
/// Devices whose last sign of life is remembered; beyond that all are forgotten, which only costs a write each.
const THROTTLED_DEVICES: usize = 10_000;

/// What this process last told the store about each device, so that a poll every second is not a write every second.
///
/// Another process, or a timer, may have written something else since. What others see of that is in the log of changes,
/// from where [`Self::changed`] hears of it; what nobody sees is put right by the next write, half a minute later at
/// most.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<Devices>);

#[derive(Debug, Default)]
struct Devices {
    users: HashMap<OwnedUserId, Vec<(OwnedDeviceId, Told)>>,
    count: usize,
}

#[derive(Debug, Clone, Copy)]
struct Told {
    state: PresenceState,
    seen: u64,
    active: u64,
    /// The version of the commit that told it.
    version: Version,
}

impl Throttle {
    /// Whether the store should hear of this sign of life.
    pub(crate) fn is_news(&self, user: &UserId, device: &DeviceId, sign: Sign, now: u64) -> bool {
        let devices = self.lock();
        let told = devices.users.get(user).and_then(|told| told.iter().find(|(id, _)| id == device));
        let Some((_, told)) = told else { return true };
        match sign {
            Sign::Seen(state) => told.state != state || told.seen + WRITE_EVERY <= now,
            Sign::Active => told.active + WRITE_EVERY <= now,
            Sign::Set(..) => true,
        }
    }

    /// The store was told `record` at `version`.
    pub(crate) fn told(&self, user: &UserId, device: &DeviceId, record: &DevicePresenceRecord, version: Version) {
        let mut devices = self.lock();
        if devices.count >= THROTTLED_DEVICES {
            *devices = Devices::default();
        }
        let told = Told { state: record.state, seen: record.seen, active: record.active, version };
        let of_user = devices.users.entry(user.to_owned()).or_default();
        if let Some((_, before)) = of_user.iter_mut().find(|(id, _)| id == device) {
            *before = told;
        } else {
            of_user.push((device.to_owned(), told));
            devices.count += 1;
        }
    }

    /// The user's presence changed at `version`: what was told before that may not be what is stored.
    pub(crate) fn changed(&self, user: &UserId, version: Version) {
        let mut devices = self.lock();
        let Some(of_user) = devices.users.get_mut(user) else { return };
        let before = of_user.len();
        of_user.retain(|(_, told)| told.version >= version);
        let (left, forgotten) = (of_user.len(), before - of_user.len());
        devices.count -= forgotten;
        if left == 0 {
            devices.users.remove(user);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Devices> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A device's sign of life.
#[derive(Clone, Copy)]
pub(crate) enum Sign<'a> {
    /// It polls, with this `set_presence`.
    Seen(PresenceState),
    /// Its user did something.
    Active,
    /// Its user set the state and the status message.
    Set(PresenceState, Option<&'a str>),
}
