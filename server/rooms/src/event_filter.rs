//! [Room event filters](https://spec.matrix.org/v1.19/client-server-api/#filtering), applied on the server.

use std::collections::{HashMap, HashSet};

use hearth_protocol::Pdu;
use hearth_store::Transaction;
use serde::Deserialize;

use crate::{RoomError, Rooms, StateKeyNid, TypeNid, keys, records::TimelineEntry, stored_event::LoadedEvent};

/// A `RoomEventFilter` (or its lesser forms `StateFilter` and `EventFilter`) as clients send it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct EventFilter {
    /// At most so many events.
    pub limit: Option<u64>,
    /// Only these types; `*` stands for any text.
    pub types: Option<Vec<String>>,
    /// None of these types.
    pub not_types: Option<Vec<String>>,
    /// Only from these users.
    pub senders: Option<Vec<String>>,
    /// None from these users.
    pub not_senders: Option<Vec<String>>,
    /// Only in these rooms.
    pub rooms: Option<Vec<String>>,
    /// None in these rooms.
    pub not_rooms: Option<Vec<String>>,
    /// Only with (or without) a `url` in the content.
    pub contains_url: Option<bool>,
    /// Only events that have a relation from one of these users.
    pub related_by_senders: Option<Vec<String>>,
    /// Only events that have a relation of one of these kinds.
    pub related_by_rel_types: Option<Vec<String>>,
    /// Only the members that are needed to show the events.
    pub lazy_load_members: bool,
    /// With lazy loading: also members that were sent already.
    pub include_redundant_members: bool,
    /// Unread counts by thread.
    pub unread_thread_notifications: bool,
    /// Users whom the reader ignores: their events are hidden, except for state
    /// ([ignoring users](https://spec.matrix.org/v1.19/client-server-api/#ignoring-users)). Set by the server.
    #[serde(skip)]
    pub ignored: Vec<String>,
}

impl EventFilter {
    /// Whether events of this room may pass at all.
    pub fn accepts_room(&self, room_id: &str) -> bool {
        accepts(self.rooms.as_deref(), self.not_rooms.as_deref(), |name| name == room_id)
    }

    /// Whether events of this type may pass at all.
    pub fn accepts_type(&self, event_type: &str) -> bool {
        accepts(self.types.as_deref(), self.not_types.as_deref(), |pattern| matches_pattern(pattern, event_type))
    }

    /// Whether events from this user may pass at all.
    pub fn accepts_sender(&self, sender: &str) -> bool {
        accepts(self.senders.as_deref(), self.not_senders.as_deref(), |name| name == sender)
    }

    /// Whether the event passes by what stands in it (the conditions about relations to it are not asked).
    pub fn accepts(&self, pdu: &Pdu) -> bool {
        self.accepts_room(pdu.room_id.as_str())
            && self.accepts_sender(pdu.sender.as_str())
            && self.accepts_type(&pdu.event_type.to_string())
            && self.accepts_content(pdu)
    }

    fn accepts_content(&self, pdu: &Pdu) -> bool {
        #[derive(Deserialize)]
        struct Content {
            url: Option<serde_json::Value>,
        }

        let Some(wanted) = self.contains_url else { return true };
        let content: Option<Content> = serde_json::from_str(pdu.content.get()).ok();
        content.is_some_and(|content| content.url.is_some_and(|url| url.is_string())) == wanted
    }

    fn asks_for_relations(&self) -> bool {
        self.related_by_senders.is_some() || self.related_by_rel_types.is_some()
    }
}

fn accepts(only: Option<&[String]>, none: Option<&[String]>, matches: impl Fn(&str) -> bool) -> bool {
    only.is_none_or(|names| names.iter().any(|name| matches(name)))
        && none.is_none_or(|names| !names.iter().any(|name| matches(name)))
}

/// Whether `text` matches `pattern`, in which `*` stands for any text.
fn matches_pattern(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// A filter made ready for one room: it decides most cases by the numeric ids in the timeline, without
/// loading the event.
pub(crate) struct RoomFilter<'f> {
    filter: &'f EventFilter,
    passes_room: bool,
    senders: Option<HashSet<StateKeyNid>>,
    not_senders: HashSet<StateKeyNid>,
    ignored: HashSet<StateKeyNid>,
    related_by_senders: Option<HashSet<StateKeyNid>>,
    types: HashMap<TypeNid, bool>,
}

/// Relations of one event that a filter on relations reads at most.
const MAX_RELATIONS: usize = 1000;

impl<'f> RoomFilter<'f> {
    pub(crate) async fn new(
        rooms: &Rooms,
        tx: &Transaction,
        filter: &'f EventFilter,
        room_id: &str,
    ) -> Result<Self, RoomError> {
        Ok(Self {
            filter,
            passes_room: filter.accepts_room(room_id),
            senders: match &filter.senders {
                Some(names) => Some(nids(rooms, tx, names).await?),
                None => None,
            },
            not_senders: nids(rooms, tx, filter.not_senders.as_deref().unwrap_or_default()).await?,
            ignored: nids(rooms, tx, &filter.ignored).await?,
            related_by_senders: match &filter.related_by_senders {
                Some(names) => Some(nids(rooms, tx, names).await?),
                None => None,
            },
            types: HashMap::new(),
        })
    }

    /// Whether nothing can pass, so that there is no use in reading the timeline.
    pub(crate) fn passes_nothing(&self) -> bool {
        !self.passes_room
            || self.senders.as_ref().is_some_and(HashSet::is_empty)
            || self.filter.types.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether the filter lets much of the timeline out, so that more has to be read than is wanted.
    pub(crate) fn is_selective(&self) -> bool {
        let filter = self.filter;
        filter.types.is_some()
            || filter.not_types.is_some()
            || filter.senders.is_some()
            || filter.not_senders.is_some()
            || !filter.ignored.is_empty()
            || filter.contains_url.is_some()
            || filter.asks_for_relations()
    }

    /// Whether the event may pass by its entry in the timeline.
    pub(crate) async fn accepts_entry(
        &mut self,
        rooms: &Rooms,
        tx: &Transaction,
        entry: &TimelineEntry,
    ) -> Result<bool, RoomError> {
        if self.senders.as_ref().is_some_and(|senders| !senders.contains(&entry.sender))
            || self.not_senders.contains(&entry.sender)
            || entry.state_key.is_none() && self.ignored.contains(&entry.sender)
        {
            return Ok(false);
        }
        if self.filter.types.is_none() && self.filter.not_types.is_none() {
            return Ok(true);
        }
        if let Some(verdict) = self.types.get(&entry.event_type) {
            return Ok(*verdict);
        }
        let verdict = self.filter.accepts_type(&rooms.type_name(tx, entry.event_type).await?);
        self.types.insert(entry.event_type, verdict);
        Ok(verdict)
    }

    /// Whether the event passes by what its entry does not tell.
    pub(crate) async fn accepts_event(&self, tx: &Transaction, event: &LoadedEvent) -> Result<bool, RoomError> {
        if !self.filter.accepts_content(&event.pdu) {
            return Ok(false);
        }
        if !self.filter.asks_for_relations() {
            return Ok(true);
        }
        let prefixes = match &self.filter.related_by_rel_types {
            Some(kinds) => kinds.iter().map(|kind| Some(kind.as_str())).collect(),
            None => vec![None],
        };
        for kind in prefixes {
            let scan = match kind {
                Some(kind) => keys::RELATION.scan((event.stored.nid, kind)),
                None => keys::RELATION.scan((event.stored.nid,)),
            };
            let limit = if self.related_by_senders.is_some() { MAX_RELATIONS } else { 1 };
            for (_, relation) in scan.snapshot().limit(limit).all(tx).await? {
                if self.related_by_senders.as_ref().is_none_or(|senders| senders.contains(&relation.sender)) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

async fn nids(rooms: &Rooms, tx: &Transaction, names: &[String]) -> Result<HashSet<StateKeyNid>, RoomError> {
    let mut nids = HashSet::with_capacity(names.len());
    for name in names {
        // A user whom no room ever saw has sent nothing.
        nids.extend(rooms.find_state_key(tx, name).await?);
    }
    Ok(nids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("m.room.message", "m.room.message", true),
            ("m.room.message", "m.room.messages", false),
            ("m.room.*", "m.room.message", true),
            ("m.room.*", "m.roommessage", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("*.message", "m.room.message", true),
            ("m.*.me*ge", "m.room.message", true),
            ("m.*.me*xge", "m.room.message", false),
            ("a*a", "a", false),
            ("a**b", "ab", true),
        ] {
            assert_eq!(matches_pattern(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn lists_include_and_exclude() {
        let filter: EventFilter = serde_json::from_str(
            r#"{"types":["m.room.*"],"not_types":["m.room.member"],"not_senders":["@b:h"],"rooms":null,
                "not_rooms":["!x:h"],"unknown":1}"#,
        )
        .unwrap();
        assert!(filter.accepts_type("m.room.message"));
        assert!(!filter.accepts_type("m.room.member"), "excluded wins");
        assert!(!filter.accepts_type("m.reaction"));
        assert!(filter.accepts_sender("@a:h") && !filter.accepts_sender("@b:h"));
        assert!(filter.accepts_room("!r:h") && !filter.accepts_room("!x:h"));
        let nothing: EventFilter = serde_json::from_str(r#"{"types":[]}"#).unwrap();
        assert!(!nothing.accepts_type("m.room.message"));
    }
}
