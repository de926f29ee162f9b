//! [Presence](https://spec.matrix.org/v1.19/client-server-api/#presence) of local users.
//!
//! Each device says what it knows (state, last connection, last activity); the user's presence is put together from the
//! devices that are connected: online if one of them is online and was active lately, else unavailable if there is one
//! at all. Only what others see is a change; a device's signs of life are written sparingly (see [`crate::throttle`]).

use hearth_store::{StoreError, Transaction};
use ruma::{DeviceId, UserId};

use crate::{
    Change, PresenceState, Transitory, TransitoryError, changes,
    keys::{DEVICE_PRESENCE, PRESENCE, PRESENCE_DUE},
    records::{DevicePresenceRecord, PresenceRecord},
    throttle::Sign,
    timers,
};

/// A device that was not connected for so long is away, in milliseconds. Longer than any long poll.
pub const AWAY_AFTER: u64 = 180_000;
/// A user who did nothing for so long is idle, in milliseconds.
pub const IDLE_AFTER: u64 = 300_000;
/// Activity counts as current for so long, in milliseconds.
pub const ACTIVE_FOR: u64 = 90_000;
/// Devices of one user that count.
const DEVICES_PER_USER: usize = 100;
/// Users that one transaction of the timers task updates.
const DUE_AT_ONCE: usize = 50;

/// A user's presence as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// The state.
    pub state: PresenceState,
    /// The user's own words.
    pub status_msg: Option<String>,
    /// When the user last did something, milliseconds since the epoch.
    pub last_active: Option<u64>,
    /// Others may take the user to be active without further updates.
    pub currently_active: bool,
}

impl From<PresenceRecord> for Presence {
    fn from(record: PresenceRecord) -> Self {
        Self {
            state: record.state,
            status_msg: record.status_msg,
            last_active: (record.last_active > 0).then_some(record.last_active),
            currently_active: record.currently_active,
        }
    }
}

impl Transitory {
    /// `PUT /presence/{userId}/status`: the device's state and the user's status message, at `now` (milliseconds since
    /// the epoch).
    pub async fn set_presence(
        &self,
        user: &UserId,
        device: &DeviceId,
        state: PresenceState,
        status_msg: Option<&str>,
        now: u64,
    ) -> Result<(), TransitoryError> {
        self.sign_of_life(user, device, Sign::Set(state, status_msg), now).await
    }

    /// The device polls with `set_presence` at `now`. `Offline` leaves presence alone, as the specification asks of
    /// `set_presence=offline`.
    pub async fn seen(
        &self,
        user: &UserId,
        device: &DeviceId,
        set_presence: PresenceState,
        now: u64,
    ) -> Result<(), TransitoryError> {
        if set_presence == PresenceState::Offline {
            return Ok(());
        }
        self.sign_of_life(user, device, Sign::Seen(set_presence), now).await
    }

    /// The device's user did something (sent an event, typed, read) at `now`. That ends idling; a device that keeps
    /// its user's presence to itself goes on doing so.
    pub async fn active(&self, user: &UserId, device: &DeviceId, now: u64) -> Result<(), TransitoryError> {
        self.sign_of_life(user, device, Sign::Active, now).await
    }

    /// A user's presence; `None` when they never had one.
    pub async fn presence(&self, tx: &Transaction, user: &UserId) -> Result<Option<Presence>, TransitoryError> {
        Ok(PRESENCE.get_snapshot(tx, (user.as_str(),)).await?.map(Presence::from))
    }

    async fn sign_of_life(
        &self,
        user: &UserId,
        device: &DeviceId,
        sign: Sign<'_>,
        now: u64,
    ) -> Result<(), TransitoryError> {
        if !self.throttle.is_news(user, device, sign, now) {
            return Ok(());
        }
        let (written, committed) = self
            .store
            .transact_versioned("sign_of_life", async |tx| {
                let before = DEVICE_PRESENCE.get(&tx, (user.as_str(), device.as_str())).await?;
                let shows = before.as_ref().is_some_and(|before| before.state != PresenceState::Offline);
                if matches!(sign, Sign::Active) && !shows {
                    return Ok(None);
                }
                let mut record =
                    before.unwrap_or(DevicePresenceRecord { state: PresenceState::Online, seen: now, active: now });
                record.seen = record.seen.max(now);
                match sign {
                    Sign::Seen(state) if state == record.state => {}
                    // A new state is something that the user did.
                    Sign::Seen(state) | Sign::Set(state, _) => {
                        record.state = state;
                        record.active = record.active.max(now);
                    }
                    Sign::Active => {
                        record.state = PresenceState::Online;
                        record.active = record.active.max(now);
                    }
                }
                DEVICE_PRESENCE.set(&tx, (user.as_str(), device.as_str()), &record);
                put_together(&tx, user, Some(sign), now, 0).await?;
                Ok::<_, TransitoryError>(Some(record))
            })
            .await?;
        if let Some(written) = written {
            self.throttle.told(user, device, &written, committed.version);
        }
        Ok(())
    }

    /// Updates the presence of users that changes by itself at or before `now`. Returns whether there may be more.
    pub(crate) async fn end_due_presence(&self, now: u64) -> Result<bool, TransitoryError> {
        self.store
            .transact("end_due_presence", async |tx| {
                let due = PRESENCE_DUE.scan(()).until((now,)).limit(DUE_AT_ONCE).all(&tx).await?;
                for (index, ((due, user), ())) in due.iter().enumerate() {
                    PRESENCE_DUE.clear(&tx, (*due, user));
                    let user = UserId::parse(user).map_err(|error| TransitoryError::Corrupt(error.to_string()))?;
                    put_together(&tx, &user, None, now, index as u16).await?;
                }
                Ok(due.len() == DUE_AT_ONCE)
            })
            .await
    }
}

/// Puts a user's presence together from their devices, and logs it if others see a difference.
async fn put_together(
    tx: &Transaction,
    user: &UserId,
    sign: Option<Sign<'_>>,
    now: u64,
    index: u16,
) -> Result<(), StoreError> {
    let before = PRESENCE.get(tx, (user.as_str(),)).await?;
    let mut after = before.clone().unwrap_or_default();
    if let Some(Sign::Set(_, status_msg)) = sign {
        after.status_msg = status_msg.map(ToOwned::to_owned);
    }
    after.state = PresenceState::Offline;
    let mut due: Vec<u64> = Vec::new();
    let devices = DEVICE_PRESENCE.scan((user.as_str(),)).limit(DEVICES_PER_USER).all(tx).await?;
    for ((_, device_id), device) in devices {
        let away = device.seen + AWAY_AFTER;
        if away <= now {
            DEVICE_PRESENCE.clear(tx, (user.as_str(), &device_id));
            continue;
        }
        due.push(away);
        after.last_active = after.last_active.max(device.active);
        let idle = device.active + IDLE_AFTER;
        let state = match device.state {
            PresenceState::Online if idle <= now => PresenceState::Unavailable,
            PresenceState::Online => {
                due.push(idle);
                PresenceState::Online
            }
            other => other,
        };
        if state as u8 > after.state as u8 {
            after.state = state;
        }
    }
    let rests = after.last_active + ACTIVE_FOR;
    after.currently_active = after.state == PresenceState::Online && rests > now;
    if after.currently_active {
        due.push(rests);
    }
    after.due = due.into_iter().min();

    let due_before = before.as_ref().and_then(|before| before.due);
    if due_before != after.due
        && let Some(due) = due_before
    {
        PRESENCE_DUE.clear(tx, (due, user.as_str()));
    }
    if let Some(due) = after.due {
        PRESENCE_DUE.set(tx, (due, user.as_str()), &());
        // A timer that moves later needs no announcement: the task wakes at the old time and finds nothing due.
        if due_before.is_none_or(|before| due < before) {
            timers::announce(tx);
        }
    }
    PRESENCE.set(tx, (user.as_str(),), &after);

    let seen_by_others = |record: &PresenceRecord| (record.state, record.status_msg.clone(), record.currently_active);
    if before.as_ref().map(seen_by_others) != Some(seen_by_others(&after)) {
        changes::record(tx, &Change::Presence(user.to_owned()), index).await?;
    }
    Ok(())
}
