//! Authorization of events and power levels, over `ruma-state-res`.

use std::collections::HashSet;

use ruma::{
    EventId, Int, OwnedUserId, UserId,
    events::{StateEventType, TimelineEventType, room::power_levels::UserPowerLevel},
    state_res::{
        auth_types_for_event, check_state_dependent_auth_rules, check_state_independent_auth_rules,
        events::{RoomCreateEvent, RoomPowerLevelsEvent, RoomPowerLevelsIntField},
    },
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Pdu, RoomVersion};

/// Power level of a creator where no power levels event says otherwise, up to room version 11.
const CREATOR_POWER: i32 = 100;

/// Why the authorization rules refuse an event; the text names the rule.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// The state that authorizes an event of this kind
/// ([auth events selection](https://spec.matrix.org/v1.19/server-server-api/#auth-events-selection)).
pub fn auth_types(
    version: &RoomVersion,
    event_type: &TimelineEventType,
    sender: &UserId,
    state_key: Option<&str>,
    content: &RawValue,
) -> Result<Vec<(StateEventType, String)>, Refused> {
    auth_types_for_event(event_type, sender, state_key, content, &version.rules.authorization).map_err(Refused)
}

/// Checks `pdu` against `state` (the state before it, or its auth events), state-independent rules included:
/// every one of its auth events must be in `state`. For events that this server makes.
pub fn check<'a>(
    version: &RoomVersion,
    pdu: &Pdu,
    state: impl Fn(&StateEventType, &str) -> Option<&'a Pdu>,
) -> Result<(), Refused> {
    let rules = &version.rules.authorization;
    let types = auth_types(version, &pdu.event_type, &pdu.sender, pdu.state_key.as_deref(), &pdu.content)?;
    let mut known: Vec<&Pdu> = types.iter().filter_map(|(kind, key)| state(kind, key)).collect();
    if rules.room_create_event_id_as_room_id {
        known.extend(state(&StateEventType::RoomCreate, ""));
    }
    let find = |id: &EventId| known.iter().copied().find(|event| event.event_id == id);
    check_state_independent_auth_rules(rules, pdu, find).map_err(Refused)?;
    check_state(version, pdu, state)
}

/// Checks `pdu` against its own auth events: the rules about `auth_events` themselves, then the others with them as the
/// state. `find` gives the events by id, those that were rejected with [`Pdu::rejected`] set; from room version 12 on it is
/// asked for the create event too, which is no auth event.
pub fn check_auth_events<'a>(
    version: &RoomVersion,
    pdu: &Pdu,
    find: impl Fn(&EventId) -> Option<&'a Pdu>,
) -> Result<(), Refused> {
    let rules = &version.rules.authorization;
    if pdu.event_type == TimelineEventType::RoomCreate {
        check_create_version(version, pdu)?;
    }
    check_state_independent_auth_rules(rules, pdu, &find).map_err(Refused)?;
    let mut events: Vec<&Pdu> = pdu.auth_events.iter().filter_map(|id| find(id)).collect();
    if version.room_id_is_create_event() {
        events.extend(pdu.create_event_id().and_then(|id| find(&id)));
    }
    check_state(version, pdu, |event_type: &StateEventType, key: &str| {
        events.iter().copied().find(|event| event.is_state(&event_type.to_string(), key))
    })
}

/// Checks `pdu` against a state, by the rules that depend on the state alone.
pub fn check_state<'a>(
    version: &RoomVersion,
    pdu: &Pdu,
    state: impl Fn(&StateEventType, &str) -> Option<&'a Pdu>,
) -> Result<(), Refused> {
    check_state_dependent_auth_rules(&version.rules.authorization, pdu, state).map_err(Refused)
}

/// A create event must be of the room version by which it is read; without `room_version` that is 1.
fn check_create_version(version: &RoomVersion, pdu: &Pdu) -> Result<(), Refused> {
    #[derive(Deserialize)]
    struct Content {
        room_version: Option<String>,
    }

    let content: Content = serde_json::from_str(pdu.content.get())
        .map_err(|error| Refused(format!("`room_version` of the create event: {error}")))?;
    let named = content.room_version.as_deref().unwrap_or("1");
    if named != version.id.as_str() {
        return Err(Refused(format!("create event of room version {named} in a room of version {}", version.id)));
    }
    Ok(())
}

/// The power levels that hold in a room
/// ([`m.room.power_levels`](https://spec.matrix.org/v1.19/client-server-api/#mroompower_levels)), creators'
/// infinite power from room version 12 on included.
pub struct PowerLevels<'a> {
    version: &'a RoomVersion,
    creators: HashSet<OwnedUserId>,
    event: Option<RoomPowerLevelsEvent<&'a Pdu>>,
}

impl<'a> PowerLevels<'a> {
    /// From the room's create event and its current power levels event, if it has one.
    pub fn new(version: &'a RoomVersion, create: &'a Pdu, power_levels: Option<&'a Pdu>) -> Result<Self, Refused> {
        let creators = RoomCreateEvent::new(create).creators(&version.rules.authorization).map_err(Refused)?;
        Ok(Self { version, creators, event: power_levels.map(RoomPowerLevelsEvent::new) })
    }

    /// The power of a user.
    pub fn of(&self, user: &UserId) -> Result<UserPowerLevel, Refused> {
        let rules = &self.version.rules.authorization;
        let is_creator = self.creators.contains(user);
        if is_creator && rules.explicitly_privilege_room_creators {
            return Ok(UserPowerLevel::Infinite);
        }
        match &self.event {
            Some(event) => event.user_power_level(user, rules).map(UserPowerLevel::Int).map_err(Refused),
            None if is_creator => Ok(UserPowerLevel::Int(CREATOR_POWER.into())),
            None => Ok(UserPowerLevel::Int(Int::from(0))),
        }
    }

    /// The power that an action (`ban`, `invite`, `kick`, `redact`) needs.
    pub fn needed_to(&self, action: RoomPowerLevelsIntField) -> Result<Int, Refused> {
        match &self.event {
            Some(event) => event.get_as_int_or_default(action, &self.version.rules.authorization).map_err(Refused),
            None => Ok(action.default_value()),
        }
    }

    /// Whether a user may do an action.
    pub fn may(&self, user: &UserId, action: RoomPowerLevelsIntField) -> Result<bool, Refused> {
        Ok(self.of(user)? >= self.needed_to(action)?)
    }

    /// Whether a user may send events of a type; `state` tells state events from others.
    pub fn may_send(&self, user: &UserId, event_type: &TimelineEventType, state: bool) -> Result<bool, Refused> {
        let needed = match &self.event {
            Some(event) => event
                .event_power_level(event_type, state.then_some(""), &self.version.rules.authorization)
                .map_err(Refused)?,
            None if state => RoomPowerLevelsIntField::StateDefault.default_value(),
            None => RoomPowerLevelsIntField::EventsDefault.default_value(),
        };
        Ok(self.of(user)? >= needed)
    }
}
