//! Relations of an event that is being sent
//! ([forming relationships](https://spec.matrix.org/v1.19/client-server-api/#forming-relationships-between-events)).

use std::sync::Arc;

use ruma::OwnedEventId;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{EventNid, stored_event::StoredEvent};

/// `rel_type` of events in a thread.
pub(crate) const THREAD: &str = "m.thread";
/// `rel_type` of reactions.
pub(crate) const ANNOTATION_TYPE: &str = "m.annotation";
/// Longest `rel_type` and annotation key that are indexed, in bytes (the store bounds keys).
const INDEXED_BYTES: usize = 255;

/// An event's relation to an earlier one of the same room.
#[derive(Debug)]
pub(crate) struct Relation {
    pub(crate) parent: Arc<StoredEvent>,
    pub(crate) rel_type: String,
    /// `key` of an annotation.
    pub(crate) key: Option<String>,
}

impl Relation {
    /// The root of the thread that this makes the event part of.
    pub(crate) fn thread_root(&self) -> Option<EventNid> {
        (self.rel_type == THREAD).then_some(self.parent.nid)
    }

    /// The key under which an annotation is found again.
    pub(crate) fn annotation_key(&self) -> Option<&str> {
        let key = self.key.as_deref()?;
        (self.rel_type == ANNOTATION_TYPE && key.len() <= INDEXED_BYTES).then_some(key)
    }
}

/// `m.relates_to`, as it stands in a content.
#[derive(Deserialize)]
pub(crate) struct RelatesTo {
    pub(crate) rel_type: String,
    pub(crate) event_id: OwnedEventId,
    pub(crate) key: Option<String>,
}

#[derive(Deserialize)]
struct Content {
    #[serde(rename = "m.relates_to")]
    relates_to: serde_json::Value,
}

impl RelatesTo {
    /// Reads `m.relates_to`; `None` where there is none or it is no relation (a plain reply, or malformed).
    pub(crate) fn of(content: &RawValue) -> Option<Self> {
        // Most messages have none, and looking for a word is much cheaper than parsing.
        if !content.get().contains("m.relates_to") {
            return None;
        }
        let content: Content = serde_json::from_str(content.get()).ok()?;
        let relation: Self = serde_json::from_value(content.relates_to).ok()?;
        (relation.rel_type.len() <= INDEXED_BYTES).then_some(relation)
    }
}
