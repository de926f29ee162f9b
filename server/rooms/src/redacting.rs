//! What a transaction does to the events that it redacts
//! ([redactions](https://spec.matrix.org/v1.19/client-server-api/#redactions)).

use std::collections::HashSet;

use hearth_store::{Transaction, Versionstamp};

use crate::{
    EventNid, RoomError, RoomNid, StateKeyNid, TypeNid,
    error::corrupt,
    keys::{ANNOTATION, EVENT, EVENT_AT, NOTIFICATION, REDACTION, TOUCHED},
    records::EventRecord,
    relating::{self, RelatesTo},
    writer::{Appended, RoomWriter},
};

struct Redaction {
    target: EventNid,
    by: EventNid,
    /// The target's record without what redaction removes.
    record: EventRecord,
    at: Option<Versionstamp>,
    annotation: Option<(EventNid, StateKeyNid, TypeNid, String)>,
}

/// The redactions of a transaction that take effect: the first of each event.
pub(crate) struct Redactions(Vec<Redaction>);

impl Redactions {
    /// Reads what the appended redactions change.
    pub(crate) async fn plan(writer: &RoomWriter<'_>, appended: &[Appended]) -> Result<Self, RoomError> {
        let tx = &writer.tx;
        let mut redactions = Vec::new();
        let mut seen = HashSet::new();
        for event in appended {
            let Some(target) = &event.effects.redaction else { continue };
            if !seen.insert(target.nid) || REDACTION.get(tx, (target.nid,)).await?.is_some() {
                continue;
            }
            // Absent only when this same transaction wrote the target, which no client can have seen.
            let Some(mut record) = EVENT.get(tx, (target.nid,)).await? else { continue };
            record.json = target.pdu.redacted(&writer.info.version).map_err(corrupt)?.json;
            let at = EVENT_AT.get(tx, (target.nid,)).await?;
            let annotation = annotation(writer, target).await?;
            redactions.push(Redaction { target: target.nid, by: event.event.nid, record, at, annotation });
        }
        Ok(Self(redactions))
    }

    /// What is redacted is no longer unread.
    pub(crate) fn clear_notifications(
        &self,
        tx: &Transaction,
        room: RoomNid,
        users: Option<impl Iterator<Item = StateKeyNid> + Clone>,
    ) {
        let Some(users) = users else { return };
        for at in self.0.iter().filter_map(|redaction| redaction.at.as_ref()) {
            for user in users.clone() {
                NOTIFICATION.clear(tx, (user, room, at));
            }
        }
    }

    /// Writes the redacted records. The removed content is gone from the disk.
    pub(crate) fn write(&self, tx: &Transaction) {
        for redaction in &self.0 {
            EVENT.set(tx, (redaction.target,), &redaction.record);
            REDACTION.set(tx, (redaction.target,), &redaction.by);
            if let Some(at) = &redaction.at {
                TOUCHED.set(tx, (redaction.record.room, at), &());
            }
            if let Some((parent, sender, event_type, key)) = &redaction.annotation {
                ANNOTATION.clear(tx, (*parent, *sender, *event_type, key));
            }
        }
    }
}

/// The row that kept the target, if it is an annotation, from being made twice.
async fn annotation(
    writer: &RoomWriter<'_>,
    target: &crate::stored_event::StoredEvent,
) -> Result<Option<(EventNid, StateKeyNid, TypeNid, String)>, RoomError> {
    let Some(RelatesTo { rel_type, event_id, key: Some(key) }) = RelatesTo::of(&target.pdu.content) else {
        return Ok(None);
    };
    if rel_type != relating::ANNOTATION_TYPE {
        return Ok(None);
    }
    let Some(parent) = writer.find_event(&event_id).await? else { return Ok(None) };
    let relation = relating::Relation { parent, rel_type, key: Some(key) };
    let Some(key) = relation.annotation_key() else { return Ok(None) };
    let (rooms, tx) = (writer.rooms, &writer.tx);
    let sender = writer.names.find_key(rooms, tx, target.pdu.sender.as_str()).await?;
    let event_type = writer.names.find_type(rooms, tx, &target.pdu.event_type.to_string()).await?;
    Ok(sender.zip(event_type).map(|(sender, event_type)| (relation.parent.nid, sender, event_type, key.to_owned())))
}
