//! Events in the form that clients get: `unsigned` and bundled aggregations included.

use hearth_protocol::client_event::{UnsignedData, to_client};
use hearth_store::{Transaction, Versionstamp};
use ruma::{
    DeviceId, MilliSecondsSinceUnixEpoch, UserId,
    events::{AnyStateEvent, AnyTimelineEvent, TimelineEventType},
    serde::Raw,
};
use serde_json::value::RawValue;

use crate::{
    EventNid, Membership, RoomError, Rooms, audience::TimelineEvent, error::corrupt, keys, relating::RelatesTo,
    stored_event::LoadedEvent, visibility::View,
};

/// Who reads, and in which form.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    /// The user.
    pub user: &'a UserId,
    /// The user's device: events that it sent show their transaction id.
    pub device: Option<&'a DeviceId>,
    /// Whether events carry `room_id` (not inside `/sync`).
    pub with_room_id: bool,
    /// Users whose messages the reader does not want to see
    /// ([ignoring users](https://spec.matrix.org/v1.19/client-server-api/#ignoring-users)).
    pub ignored: &'a [String],
}

impl<'a> Reader<'a> {
    /// A reader of everything but `/sync`.
    pub fn new(user: &'a UserId, device: Option<&'a DeviceId>) -> Self {
        Self { user, device, with_room_id: true, ignored: &[] }
    }

    /// A reader of `/sync`, where events carry no room id.
    pub fn in_sync(user: &'a UserId, device: Option<&'a DeviceId>) -> Self {
        Self { user, device, with_room_id: false, ignored: &[] }
    }

    /// The same reader, who ignores these users.
    #[must_use]
    pub fn ignoring(self, ignored: &'a [String]) -> Self {
        Self { ignored, ..self }
    }

    /// Whether the reader ignores the event: a message of an ignored user.
    pub(crate) fn ignores(&self, event: &hearth_protocol::Pdu) -> bool {
        event.state_key.is_none() && self.ignored.iter().any(|ignored| *ignored == *event.sender.as_str())
    }
}

/// What is bundled with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Related {
    /// Nothing relates to it, or it is bundled itself as an edit.
    Nothing,
    /// All but threads: it is bundled itself as the newest event of one.
    WithoutThreads,
    /// Everything.
    WithThreads,
}

/// References that are bundled with an event at most.
const MAX_REFERENCES: usize = 100;
/// Edits or thread replies that are looked at for the latest visible one.
const MAX_CANDIDATES: usize = 50;
/// Events of a thread that are looked at for those that the reader ignores.
const MAX_COUNTED: usize = 1000;

impl Rooms {
    /// Serializes events of a timeline for a client, bundled aggregations included. The view must be that of the reader,
    /// and allow the events.
    pub async fn client_events(
        &self,
        tx: &Transaction,
        view: &View,
        reader: &Reader<'_>,
        events: &[TimelineEvent],
    ) -> Result<Vec<Raw<AnyTimelineEvent>>, RoomError> {
        let now = MilliSecondsSinceUnixEpoch::now();
        let mut written = Vec::with_capacity(events.len());
        for event in events {
            let related = if event.touched { Related::WithThreads } else { Related::Nothing };
            written.push(self.write_event(tx, view, reader, &event.event, &event.at, now, related).await?);
        }
        Ok(written)
    }

    /// Serializes events of one room's state for a client. They carry no aggregations, which are for timelines alone.
    pub async fn client_state(
        &self,
        tx: &Transaction,
        reader: &Reader<'_>,
        events: &[LoadedEvent],
    ) -> Result<Vec<Raw<AnyStateEvent>>, RoomError> {
        let now = MilliSecondsSinceUnixEpoch::now();
        let mut written = Vec::with_capacity(events.len());
        let Some(first) = events.first() else { return Ok(written) };
        let user = self.find_state_key(tx, reader.user.as_str()).await?;
        let view = self.view_of(tx, first.stored.room, user).await?;
        for event in events {
            let unsigned = self.unsigned(tx, &view, reader, event, None, now).await?;
            written.push(to_client(&event.pdu, &unsigned, reader.with_room_id).cast_unchecked());
        }
        Ok(written)
    }

    #[allow(clippy::too_many_arguments)] // One internal step; a struct for it would be used once.
    async fn write_event(
        &self,
        tx: &Transaction,
        view: &View,
        reader: &Reader<'_>,
        event: &LoadedEvent,
        at: &Versionstamp,
        now: MilliSecondsSinceUnixEpoch,
        related: Related,
    ) -> Result<Raw<AnyTimelineEvent>, RoomError> {
        let mut unsigned = self.unsigned(tx, view, reader, event, Some(at), now).await?;
        unsigned.membership = Some(view.membership_after(at).unwrap_or(Membership::Leave).as_str().to_owned());
        if event.redaction.is_none() && related != Related::Nothing {
            unsigned.relations = Box::pin(self.aggregate(tx, view, reader, event, now, related)).await?;
        }
        Ok(to_client(&event.pdu, &unsigned, reader.with_room_id))
    }

    /// What `unsigned` holds wherever the event is shown. `at` is where it stands, if that is known.
    async fn unsigned(
        &self,
        tx: &Transaction,
        view: &View,
        reader: &Reader<'_>,
        event: &LoadedEvent,
        at: Option<&Versionstamp>,
        now: MilliSecondsSinceUnixEpoch,
    ) -> Result<UnsignedData, RoomError> {
        let stored = &event.stored;
        let mut unsigned = UnsignedData {
            age: Some(i64::from(now.0) - i64::from(event.pdu.origin_server_ts.0)),
            ..UnsignedData::default()
        };
        if let (Some((device, transaction_id)), Some(reading)) = (&stored.transaction, reader.device)
            && event.pdu.sender == reader.user
            && device == reading.as_str()
        {
            unsigned.transaction_id = Some(transaction_id.as_str().into());
        }
        if let Some(replaced) = stored.replaces {
            let replaced = self.load_event(tx, replaced).await?;
            if self.may_see_replaced(tx, view, reader, event, at, &replaced).await? {
                unsigned.prev_content = Some(replaced.pdu.content.clone());
            }
            unsigned.replaces_state = Some(replaced.pdu.event_id.clone());
        }
        if let Some(redaction) = &event.redaction {
            let none = UnsignedData::default();
            unsigned.redacted_because = Some(to_client(&redaction.pdu, &none, reader.with_room_id));
        }
        Ok(unsigned)
    }

    /// Whether the reader "has permission to see the previous content" of a state event: they may see the event that it
    /// replaced, or were a member when it was replaced, or it is about themselves.
    async fn may_see_replaced(
        &self,
        tx: &Transaction,
        view: &View,
        reader: &Reader<'_>,
        event: &LoadedEvent,
        at: Option<&Versionstamp>,
        replaced: &LoadedEvent,
    ) -> Result<bool, RoomError> {
        if view.sees_everything() || event.pdu.is_state("m.room.member", reader.user.as_str()) {
            return Ok(true);
        }
        let known = match at {
            Some(at) => Some(at.clone()),
            None => keys::EVENT_AT.get_snapshot(tx, (event.stored.nid,)).await?,
        };
        if known.is_some_and(|at| view.membership_before(&at) == Some(Membership::Join)) {
            return Ok(true);
        }
        let is_visibility = replaced.pdu.is_state("m.room.history_visibility", "");
        let at = keys::EVENT_AT.get_snapshot(tx, (replaced.stored.nid,)).await?;
        Ok(at.is_some_and(|at| view.can_see_event(&at, false, is_visibility)))
    }

    /// Bundled [aggregations](https://spec.matrix.org/v1.19/client-server-api/#aggregations-of-child-events).
    async fn aggregate(
        &self,
        tx: &Transaction,
        view: &View,
        reader: &Reader<'_>,
        event: &LoadedEvent,
        now: MilliSecondsSinceUnixEpoch,
        related: Related,
    ) -> Result<Option<Box<RawValue>>, RoomError> {
        let nid = event.stored.nid;
        if keys::RELATION.scan((nid,)).snapshot().first(tx).await?.is_none() {
            return Ok(None);
        }
        let mut parts = Vec::new();
        if let Some((at, edit)) = self.latest_edit(tx, view, event).await? {
            let edit = Box::pin(self.write_event(tx, view, reader, &edit, &at, now, Related::Nothing)).await?;
            parts.push(format!("\"m.replace\":{}", edit.json().get()));
        }
        if related == Related::WithThreads
            && let Some(thread) = self.thread_summary(tx, view, reader, event, now).await?
        {
            parts.push(format!("\"m.thread\":{thread}"));
        }
        let references = self.references(tx, view, reader, nid).await?;
        if !references.is_empty() {
            let chunk = serde_json::json!({ "chunk": references });
            parts.push(format!("\"m.reference\":{chunk}"));
        }
        if parts.is_empty() {
            return Ok(None);
        }
        RawValue::from_string(format!("{{{}}}", parts.join(","))).map(Some).map_err(corrupt)
    }

    /// The newest valid [replacement](https://spec.matrix.org/v1.19/client-server-api/#event-replacements):
    /// same sender and type, neither side a state event, not redacted, not an edit of an edit.
    pub(crate) async fn latest_edit(
        &self,
        tx: &Transaction,
        view: &View,
        event: &LoadedEvent,
    ) -> Result<Option<(Versionstamp, LoadedEvent)>, RoomError> {
        if event.pdu.state_key.is_some()
            || event.pdu.event_type == TimelineEventType::RoomRedaction
            || RelatesTo::of(&event.pdu.content).is_some_and(|relation| relation.rel_type == "m.replace")
        {
            return Ok(None);
        }
        let scan = keys::RELATION.scan((event.stored.nid, "m.replace")).snapshot().reverse().limit(MAX_CANDIDATES);
        for ((.., at), relation) in scan.all(tx).await? {
            if !view.can_see_message(&at) {
                continue;
            }
            let edit = self.load_event(tx, relation.event).await?;
            if edit.redaction.is_none()
                && edit.pdu.sender == event.pdu.sender
                && edit.pdu.event_type == event.pdu.event_type
                && edit.pdu.state_key.is_none()
            {
                return Ok(Some((at, edit)));
            }
        }
        Ok(None)
    }

    /// `m.thread`: count, newest event, and whether the reader took part.
    async fn thread_summary(
        &self,
        tx: &Transaction,
        view: &View,
        reader: &Reader<'_>,
        root: &LoadedEvent,
        now: MilliSecondsSinceUnixEpoch,
    ) -> Result<Option<String>, RoomError> {
        let nid = root.stored.nid;
        let Some(thread) = keys::THREAD.get_snapshot(tx, (root.stored.room, nid)).await? else { return Ok(None) };
        let Some((at, latest)) = self.latest_in_thread(tx, view, reader, nid).await? else { return Ok(None) };
        let latest = Box::pin(self.write_event(tx, view, reader, &latest, &at, now, Related::WithoutThreads)).await?;
        let participated = view.user.is_some_and(|user| thread.participants.contains(&user));
        Ok(Some(format!(
            "{{\"count\":{},\"current_user_participated\":{participated},\"latest_event\":{}}}",
            thread.count.saturating_sub(self.ignored_in_thread(tx, reader, nid).await?),
            latest.json().get(),
        )))
    }

    /// Events in a thread that the reader ignores, as far as they are looked at.
    async fn ignored_in_thread(&self, tx: &Transaction, reader: &Reader<'_>, root: EventNid) -> Result<u64, RoomError> {
        let mut ignored = Vec::new();
        for user in reader.ignored {
            ignored.extend(self.find_state_key(tx, user).await?);
        }
        let mut count = 0;
        if !ignored.is_empty() {
            let scan = keys::RELATION.scan((root, "m.thread")).snapshot().reverse().limit(MAX_COUNTED);
            for (_, relation) in scan.all(tx).await? {
                if ignored.contains(&relation.sender)
                    && keys::REDACTION.get_snapshot(tx, (relation.event,)).await?.is_none()
                {
                    count += 1;
                }
            }
        }
        Ok(count)
    }

    /// The newest event in a thread that the reader may see, does not ignore, and that is not redacted.
    async fn latest_in_thread(
        &self,
        tx: &Transaction,
        view: &View,
        reader: &Reader<'_>,
        root: EventNid,
    ) -> Result<Option<(Versionstamp, LoadedEvent)>, RoomError> {
        let scan = keys::RELATION.scan((root, "m.thread")).snapshot().reverse().limit(MAX_CANDIDATES);
        for ((.., at), relation) in scan.all(tx).await? {
            if view.can_see_message(&at) {
                let event = self.load_event(tx, relation.event).await?;
                if event.redaction.is_none() && !reader.ignores(&event.pdu) {
                    return Ok(Some((at, event)));
                }
            }
        }
        Ok(None)
    }

    /// `m.reference`: ids of events that refer to this one.
    async fn references(
        &self,
        tx: &Transaction,
        view: &View,
        reader: &Reader<'_>,
        event: EventNid,
    ) -> Result<Vec<serde_json::Value>, RoomError> {
        let mut references = Vec::new();
        for ((.., at), relation) in
            keys::RELATION.scan((event, "m.reference")).snapshot().limit(MAX_REFERENCES).all(tx).await?
        {
            if view.can_see_message(&at) {
                let event = self.load_event(tx, relation.event).await?;
                if event.redaction.is_none() && !reader.ignores(&event.pdu) {
                    references.push(serde_json::json!({ "event_id": event.pdu.event_id }));
                }
            }
        }
        Ok(references)
    }
}
