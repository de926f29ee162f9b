//! How often a device's signs of life are written.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};

use crate::{PresenceState, records::DevicePresenceRecord};

/// A device's signs of life are written at most so often, in milliseconds. Well below the times above.
const WRITE_EVERY: u64 = 30_000;
/// Devices whose last sign of life is remembered; beyond that all are forgotten, which only costs a write each.
const THROTTLED_DEVICES: usize = 10_000;

/// What the store was last told about each device, so that a poll every second is not a write every second.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<HashMap<(OwnedUserId, OwnedDeviceId), Told>>);

#[derive(Debug, Clone, Copy)]
struct Told {
    state: PresenceState,
    seen: u64,
    active: u64,
}

impl Throttle {
    /// Whether the store should hear of this sign of life.
    pub(crate) fn is_news(&self, user: &UserId, device: &DeviceId, sign: Sign, now: u64) -> bool {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(told) = told.get(&(user.to_owned(), device.to_owned())) else { return true };
        match sign {
            Sign::Seen(state) => told.state != state || told.seen + WRITE_EVERY <= now,
            Sign::Active => told.active + WRITE_EVERY <= now,
            Sign::Set(..) => true,
        }
    }

    pub(crate) fn told(&self, user: &UserId, device: &DeviceId, record: &DevicePresenceRecord) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= THROTTLED_DEVICES {
            told.clear();
        }
        let entry = Told { state: record.state, seen: record.seen, active: record.active };
        told.insert((user.to_owned(), device.to_owned()), entry);
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
