//! A sync's [filter](https://spec.matrix.org/v1.19/client-server-api/#filtering), made ready.

use hearth_rooms::EventFilter;
use ruma::api::client::filter::{EventFormat, FilterDefinition};
use serde::Serialize;

use crate::{SyncError, fields::EventFields};

/// Events of a room's timeline where the filter does not say how many.
const DEFAULT_TIMELINE: usize = 10;
/// Most events of a room's timeline in one response.
const LONGEST_TIMELINE: usize = 200;

/// A filter, taken apart into the questions that are asked of it.
#[derive(Debug, Default)]
pub(crate) struct SyncFilter {
    /// Which rooms are in the response at all (`rooms` and `not_rooms` alone).
    pub(crate) rooms: EventFilter,
    pub(crate) timeline: EventFilter,
    pub(crate) state: EventFilter,
    pub(crate) ephemeral: EventFilter,
    pub(crate) room_account_data: EventFilter,
    pub(crate) account_data: EventFilter,
    pub(crate) presence: EventFilter,
    pub(crate) include_leave: bool,
    /// Events as other servers see them.
    pub(crate) federation_format: bool,
    pub(crate) fields: Option<EventFields>,
}

impl SyncFilter {
    pub(crate) fn new(definition: &FilterDefinition) -> Result<Self, SyncError> {
        let room = &definition.room;
        let rooms = EventFilter {
            rooms: room.rooms.as_ref().map(|rooms| rooms.iter().map(ToString::to_string).collect()),
            not_rooms: Some(room.not_rooms.iter().map(ToString::to_string).collect()),
            ..EventFilter::default()
        };
        Ok(Self {
            rooms,
            timeline: part(&room.timeline)?,
            state: part(&room.state)?,
            ephemeral: part(&room.ephemeral)?,
            room_account_data: part(&room.account_data)?,
            account_data: part(&definition.account_data)?,
            presence: part(&definition.presence)?,
            include_leave: room.include_leave,
            federation_format: definition.event_format == EventFormat::Federation,
            fields: definition.event_fields.as_deref().map(EventFields::new),
        })
    }

    /// Most events of a room's timeline.
    pub(crate) fn timeline_limit(&self) -> usize {
        let limit = self.timeline.limit.and_then(|limit| usize::try_from(limit).ok());
        limit.unwrap_or(DEFAULT_TIMELINE).min(LONGEST_TIMELINE)
    }

    /// Whether member events are sent only where they are needed. The timeline's filter counts too: clients used to
    /// put it there.
    pub(crate) fn is_lazy(&self) -> bool {
        self.state.lazy_load_members || self.timeline.lazy_load_members
    }

    /// Whether member events are sent again and again.
    pub(crate) fn wants_redundant_members(&self) -> bool {
        self.state.include_redundant_members || self.timeline.include_redundant_members
    }

    /// Whether unread counts are wanted by thread.
    pub(crate) fn by_thread(&self) -> bool {
        self.timeline.unread_thread_notifications
    }

    /// Whether presence is wanted at all.
    pub(crate) fn wants_presence(&self) -> bool {
        self.presence.accepts_type("m.presence")
    }
}

/// One part of a definition in the form that the Rooms database takes. Both follow the specification's names.
fn part(definition: &impl Serialize) -> Result<EventFilter, SyncError> {
    let json = serde_json::to_value(definition).and_then(serde_json::from_value);
    json.map_err(|error| SyncError::BadFilter(error.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filter(definition: serde_json::Value) -> SyncFilter {
        SyncFilter::new(&serde_json::from_value(definition).unwrap()).unwrap()
    }

    #[test]
    fn parts_are_found() {
        let empty = filter(json!({}));
        assert_eq!(empty.timeline_limit(), DEFAULT_TIMELINE);
        assert!(!empty.is_lazy() && !empty.by_thread() && empty.wants_presence() && empty.fields.is_none());
        assert!(empty.rooms.accepts_room("!a:x") && empty.timeline.accepts_type("m.room.message"));

        let full = filter(json!({
            "event_fields": ["type"],
            "event_format": "federation",
            "presence": {"types": []},
            "account_data": {"not_types": ["m.*"]},
            "room": {
                "rooms": ["!a:x"], "not_rooms": ["!b:x"], "include_leave": true,
                "timeline": {"limit": 3, "types": ["m.room.*"], "unread_thread_notifications": true, "contains_url": true},
                "state": {"lazy_load_members": true, "include_redundant_members": true, "not_senders": ["@a:x"]},
                "ephemeral": {"types": ["m.typing"]},
                "account_data": {"types": ["m.tag"]},
            },
        }));
        assert!(full.fields.is_some() && full.federation_format && full.include_leave);
        assert!(!full.wants_presence());
        assert!(!full.account_data.accepts_type("m.direct") && full.account_data.accepts_type("org.x"));
        assert!(
            full.rooms.accepts_room("!a:x") && !full.rooms.accepts_room("!b:x") && !full.rooms.accepts_room("!c:x")
        );
        assert_eq!(full.timeline_limit(), 3);
        assert_eq!(full.timeline.contains_url, Some(true));
        assert!(full.by_thread() && full.is_lazy() && full.wants_redundant_members());
        assert!(!full.state.accepts_sender("@a:x"));
        assert!(!full.ephemeral.accepts_type("m.receipt"));
        assert!(!full.room_account_data.accepts_type("m.fully_read"));
    }

    #[test]
    fn timelines_are_bounded() {
        assert_eq!(filter(json!({"room": {"timeline": {"limit": 0}}})).timeline_limit(), 0);
        assert_eq!(filter(json!({"room": {"timeline": {"limit": 1_000_000}}})).timeline_limit(), LONGEST_TIMELINE);
    }
}
