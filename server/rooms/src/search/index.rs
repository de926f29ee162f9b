//! The index: which words stand in which event. It follows a room's timeline on its own, so that publishing an event costs
//! nothing: a search first brings the rooms that it looks at up to date.

use std::collections::BTreeMap;

use hearth_protocol::Pdu;
use hearth_store::{Transaction, Versionstamp};
use ruma::events::TimelineEventType;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::words::words;
use crate::{
    EventNid, RoomError, RoomNid, Rooms, TypeNid,
    keys::{EVENT_AT, EVENT_NID, RELATION, ROOM_HEAD, SEARCH_EVENT, SEARCH_POSITION, SEARCH_WORD, TIMELINE},
    records::{SearchEntry, SearchRecord},
    relating::RelatesTo,
    stored_event::LoadedEvent,
};

/// Events of the timeline that one transaction indexes.
const PIECE: usize = 50;
/// Edits that are looked at for the latest valid one.
const EDITS: usize = 50;

/// Which part of a content a text is; a bit, so that requests can ask for several.
pub(crate) mod key {
    pub(crate) const BODY: u64 = 1;
    pub(crate) const NAME: u64 = 2;
    pub(crate) const TOPIC: u64 = 4;
}

/// What is searched of an event: which key it is, and its text.
pub(crate) fn text_of(pdu: &Pdu, content: &RawValue) -> Option<(u64, String)> {
    let (key, field) = match (&pdu.event_type, pdu.state_key.as_deref()) {
        (TimelineEventType::RoomName, Some("")) => (key::NAME, "name"),
        (TimelineEventType::RoomTopic, Some("")) => (key::TOPIC, "topic"),
        (_, None) => (key::BODY, "body"),
        _ => return None,
    };
    let content: Value = serde_json::from_str(content.get()).ok()?;
    Some((key, content.get(field)?.as_str()?.to_owned()))
}

/// `m.new_content` of an edit.
pub(crate) fn new_content(edit: &Pdu) -> Option<Box<RawValue>> {
    #[derive(Deserialize)]
    struct Content {
        #[serde(rename = "m.new_content")]
        new_content: Box<RawValue>,
    }
    serde_json::from_str::<Content>(edit.content.get()).ok().map(|content| content.new_content)
}

impl Rooms {
    /// Brings the index of a room up to date, at most by `most` events. Returns how many there were.
    pub async fn index_room(&self, room: RoomNid, most: usize) -> Result<usize, RoomError> {
        let mut indexed = 0;
        while indexed < most {
            let piece =
                self.store.transact("index room", |tx| async move { self.index_piece(&tx, room).await }).await?;
            indexed += piece;
            if piece < PIECE {
                break;
            }
        }
        Ok(indexed)
    }

    async fn index_piece(&self, tx: &Transaction, room: RoomNid) -> Result<usize, RoomError> {
        let position = SEARCH_POSITION.get(tx, (room,)).await?;
        let head = ROOM_HEAD.get_snapshot(tx, (room,)).await?;
        if head.is_none() || head == position {
            return Ok(0);
        }
        let scan = TIMELINE.scan((room,)).snapshot().limit(PIECE);
        let scan = match &position {
            Some(position) => scan.after((room, position)),
            None => scan,
        };
        let entries = scan.all(tx).await?;
        for ((_, _), entry) in &entries {
            if entry.state_key.is_some() && matches!(entry.event_type, TypeNid::MEMBER | TypeNid::POWER_LEVELS) {
                continue;
            }
            self.index_event(tx, room, entry.event).await?;
        }
        if let Some(((_, last), _)) = entries.last() {
            SEARCH_POSITION.set(tx, (room,), last);
        }
        Ok(entries.len())
    }

    /// Indexes an event, or the one whose text it changes.
    async fn index_event(&self, tx: &Transaction, room: RoomNid, nid: EventNid) -> Result<(), RoomError> {
        let event = self.stored_event(tx, nid).await?;
        if event.pdu.event_type == TimelineEventType::RoomRedaction {
            if let Some(target) = self.redacted_by(tx, room, &event.pdu).await? {
                self.index_event_again(tx, room, target).await?;
            }
            return Ok(());
        }
        self.index_event_again(tx, room, nid).await
    }

    async fn index_event_again(&self, tx: &Transaction, room: RoomNid, nid: EventNid) -> Result<(), RoomError> {
        let event = self.stored_event(tx, nid).await?;
        match RelatesTo::of(&event.pdu.content) {
            Some(relation) if relation.rel_type == "m.replace" => {
                let parent = EVENT_NID.get_snapshot(tx, (relation.event_id.as_str(),)).await?;
                match parent {
                    Some(parent) => self.write_words(tx, room, parent).await,
                    None => Ok(()),
                }
            }
            _ => self.write_words(tx, room, nid).await,
        }
    }

    /// What a redaction redacts, in this room.
    async fn redacted_by(&self, tx: &Transaction, room: RoomNid, pdu: &Pdu) -> Result<Option<EventNid>, RoomError> {
        #[derive(Deserialize)]
        struct Content {
            redacts: Option<String>,
        }
        let content: Option<Content> = serde_json::from_str(pdu.content.get()).ok();
        let named = content.and_then(|content| content.redacts);
        let Some(id) = pdu.redacts.as_ref().map(ToString::to_string).or(named) else { return Ok(None) };
        let Some(nid) = EVENT_NID.get_snapshot(tx, (id.as_str(),)).await? else { return Ok(None) };
        Ok((self.stored_event(tx, nid).await?.room == room).then_some(nid))
    }

    /// Writes the words of an event's current text in place of those that were indexed before.
    async fn write_words(&self, tx: &Transaction, room: RoomNid, nid: EventNid) -> Result<(), RoomError> {
        let event = self.load_event(tx, nid).await?;
        let Some(at) = EVENT_AT.get_snapshot(tx, (nid,)).await? else { return Ok(()) };
        if event.stored.room != room {
            return Ok(());
        }
        let text = if event.redaction.is_some() { None } else { self.indexed_text(tx, &event).await? };
        let (key, counts) = text.map_or_else(|| (0, BTreeMap::new()), |(key, text)| (key, words(&text)));
        if let Some(before) = SEARCH_EVENT.get(tx, (room, nid)).await? {
            for word in &before.words {
                SEARCH_WORD.clear(tx, (room, word.as_str(), &at));
            }
        }
        let total: u64 = counts.values().sum();
        for (word, count) in &counts {
            let entry = SearchEntry { event: nid, key, count: *count, total };
            SEARCH_WORD.set(tx, (room, word.as_str(), &at), &entry);
        }
        if counts.is_empty() {
            SEARCH_EVENT.clear(tx, (room, nid));
        } else {
            SEARCH_EVENT.set(tx, (room, nid), &SearchRecord { words: counts.into_keys().collect() });
        }
        Ok(())
    }

    /// The text of an event after its edits.
    async fn indexed_text(&self, tx: &Transaction, event: &LoadedEvent) -> Result<Option<(u64, String)>, RoomError> {
        if event.pdu.state_key.is_none() {
            let edits = RELATION.scan((event.stored.nid, "m.replace")).snapshot().reverse().limit(EDITS);
            for (_, relation) in edits.all(tx).await? {
                let edit = self.load_event(tx, relation.event).await?;
                if edit.redaction.is_none()
                    && edit.pdu.sender == event.pdu.sender
                    && edit.pdu.event_type == event.pdu.event_type
                    && edit.pdu.state_key.is_none()
                    && let Some(content) = new_content(&edit.pdu)
                {
                    return Ok(text_of(&event.pdu, &content));
                }
            }
        }
        Ok(text_of(&event.pdu, &event.pdu.content))
    }

    /// Where words stand in a room, the newest first, up to `until`.
    pub(crate) async fn word_entries(
        &self,
        tx: &Transaction,
        room: RoomNid,
        word: &str,
        until: &Versionstamp,
        limit: usize,
    ) -> Result<Vec<(Versionstamp, SearchEntry)>, RoomError> {
        let scan = SEARCH_WORD.scan((room, word)).before((room, word, until)).reverse().limit(limit).snapshot();
        Ok(scan.all(tx).await?.into_iter().map(|((.., at), entry)| (at, entry)).collect())
    }
}
