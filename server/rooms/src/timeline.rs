//! Reading a room's timeline: one event, the events around it, and page by page
//! ([getting events for a room](https://spec.matrix.org/v1.19/client-server-api/#getting-events-for-a-room)).

use std::collections::BTreeSet;

use hearth_store::{Transaction, Versionstamp};
use ruma::{
    EventId, RoomId,
    api::Direction,
    events::{AnyStateEvent, AnyTimelineEvent},
    serde::Raw,
};

use crate::{
    EventFilter, EventNid, Position, Reader, RoomError, Rooms, StateKeyNid, TypeNid, View, audience::TimelineEvent,
    keys, scan::Stretch,
};

/// Events of a page when the client does not say.
const DEFAULT_LIMIT: u64 = 10;
/// Events of a page at most.
const MAX_LIMIT: u64 = 1000;

/// Which page is wanted.
#[derive(Debug, Clone)]
pub struct MessagesRequest {
    /// Where to start; by default at the newest event (backwards) or the oldest (forwards).
    pub from: Option<String>,
    /// Where to stop.
    pub to: Option<String>,
    /// Which way.
    pub direction: Direction,
    /// At most so many events.
    pub limit: Option<u64>,
    /// Only those that pass; its own `limit` counts too.
    pub filter: EventFilter,
}

/// A page of a timeline.
#[derive(Debug, Clone, Default)]
pub struct MessagesPage {
    /// Where it starts.
    pub start: String,
    /// Where to go on; `None` at the end of what is visible.
    pub end: Option<String>,
    /// The events, in the order of the direction.
    pub chunk: Vec<Raw<AnyTimelineEvent>>,
    /// Member events of the senders, when members are loaded lazily.
    pub state: Vec<Raw<AnyStateEvent>>,
}

/// An event with those around it.
#[derive(Debug, Clone)]
pub struct EventContext {
    /// Token for what is before.
    pub start: String,
    /// Token for what is after.
    pub end: String,
    /// Newest first.
    pub events_before: Vec<Raw<AnyTimelineEvent>>,
    /// The event.
    pub event: Raw<AnyTimelineEvent>,
    /// Oldest first.
    pub events_after: Vec<Raw<AnyTimelineEvent>>,
    /// The state at the last event.
    pub state: Vec<Raw<AnyStateEvent>>,
}

impl Rooms {
    /// One event, if the reader may see it.
    pub async fn event(
        &self,
        room_id: &RoomId,
        reader: &Reader<'_>,
        event_id: &EventId,
    ) -> Result<Raw<AnyTimelineEvent>, RoomError> {
        self.store
            .transact("event", |tx| async move {
                let (view, event) = self.visible_event(&tx, room_id, reader, event_id).await?;
                let mut written = self.client_events(&tx, &view, reader, &[event]).await?;
                written.pop().ok_or(RoomError::EventNotFound)
            })
            .await
    }

    /// An event and up to `limit` around it.
    pub async fn context(
        &self,
        room_id: &RoomId,
        reader: &Reader<'_>,
        event_id: &EventId,
        limit: Option<u64>,
        filter: &EventFilter,
    ) -> Result<EventContext, RoomError> {
        let limit = limit.unwrap_or(DEFAULT_LIMIT).min(filter.limit.unwrap_or(MAX_LIMIT)).min(MAX_LIMIT) as usize;
        self.store
            .transact("context", |tx| async move {
                let (view, event) = self.visible_event(&tx, room_id, reader, event_id).await?;
                let now = Position::after_version(tx.read_version().await?);
                let before = Stretch {
                    begin: Position::start(),
                    end: Position::before(&event.at),
                    direction: Direction::Backward,
                    limit: limit / 2,
                };
                let before = self.scan_timeline(&tx, &view, before, filter).await?.events;
                let after = Stretch {
                    begin: Position::after(&event.at),
                    end: now.clone(),
                    direction: Direction::Forward,
                    limit: limit - limit / 2,
                };
                let after = self.scan_timeline(&tx, &view, after, filter).await?.events;

                let first = before.last().unwrap_or(&event);
                let last = after.last().unwrap_or(&event);
                let (start, end) = (Position::before(&first.at), Position::after(&last.at));
                let state = if view.state_access() == crate::visibility::StateAccess::Denied {
                    Vec::new()
                } else {
                    let at = self.readable_state(&tx, &view, Some(&end)).await?;
                    let mut senders = senders(&before);
                    senders.push(event.entry.sender);
                    senders.extend(self::senders(&after));
                    self.state_around(&tx, &view, reader, &at, senders, filter).await?
                };
                Ok(EventContext {
                    start: start.to_string(),
                    end: end.to_string(),
                    events_before: self.client_events(&tx, &view, reader, &before).await?,
                    events_after: self.client_events(&tx, &view, reader, &after).await?,
                    event: self
                        .client_events(&tx, &view, reader, &[event])
                        .await?
                        .pop()
                        .ok_or(RoomError::EventNotFound)?,
                    state,
                })
            })
            .await
    }

    /// A page of the timeline.
    pub async fn messages(
        &self,
        room_id: &RoomId,
        reader: &Reader<'_>,
        request: &MessagesRequest,
    ) -> Result<MessagesPage, RoomError> {
        let from: Option<Position> = request.from.as_deref().map(str::parse).transpose()?;
        let to: Option<Position> = request.to.as_deref().map(str::parse).transpose()?;
        let (from, to) = (&from, &to);
        let filter = &request.filter;
        let limit = request.limit.unwrap_or(DEFAULT_LIMIT).min(filter.limit.unwrap_or(MAX_LIMIT));
        let limit = limit.min(MAX_LIMIT) as usize;
        self.store
            .transact("messages", |tx| async move {
                let view = self.view_to_enter(&tx, room_id, reader.user).await?;
                view.enter()?;
                let now = Position::after_version(tx.read_version().await?);
                let oldest = Position::start();
                let (begin, end, start) = match request.direction {
                    Direction::Backward => {
                        let from = from.clone().unwrap_or_else(|| now.clone()).min(now);
                        (to.clone().unwrap_or(oldest), from.clone(), from)
                    }
                    Direction::Forward => {
                        let from = from.clone().unwrap_or(oldest);
                        (from.clone(), to.clone().unwrap_or_else(|| now.clone()).min(now), from)
                    }
                };
                let stretch = Stretch { begin, end, direction: request.direction, limit };
                let found = self.scan_timeline(&tx, &view, stretch, filter).await?;
                let state = match found.events.first() {
                    Some(first) if filter.lazy_load_members => {
                        let at = Position::after(&first.at);
                        self.sender_members(&tx, &view, reader, &at, senders(&found.events)).await?
                    }
                    _ => Vec::new(),
                };
                Ok(MessagesPage {
                    start: request.from.clone().unwrap_or_else(|| start.to_string()),
                    end: found.next.map(|next| next.to_string()),
                    chunk: self.client_events(&tx, &view, reader, &found.events).await?,
                    state,
                })
            })
            .await
    }

    /// An event by its id, with the reader's view of its room; [`RoomError::EventNotFound`] when it is not there or
    /// not for this reader.
    pub(crate) async fn visible_event(
        &self,
        tx: &Transaction,
        room_id: &RoomId,
        reader: &Reader<'_>,
        event_id: &EventId,
    ) -> Result<(View, TimelineEvent), RoomError> {
        let view = match self.view(tx, room_id, reader.user).await {
            Err(RoomError::RoomNotFound) => return Err(RoomError::EventNotFound),
            view => view?,
        };
        let (stored, at) = self.locate_event(tx, view.room.nid, event_id).await?;
        let event = self.placed_event(tx, stored.nid, at).await?;
        if view.can_see(&event.at, &event.entry) { Ok((view, event)) } else { Err(RoomError::EventNotFound) }
    }

    /// An event whose place is known, with what the timeline's index says of it.
    pub(crate) async fn placed_event(
        &self,
        tx: &Transaction,
        event: EventNid,
        at: Versionstamp,
    ) -> Result<TimelineEvent, RoomError> {
        let event = self.load_event(tx, event).await?;
        let entry = keys::TIMELINE.get_snapshot(tx, (event.stored.room, &at)).await?;
        Ok(TimelineEvent { at, entry: entry.ok_or(RoomError::EventNotFound)?, touched: true, event })
    }

    /// The state at a position: all of it, or with lazy loading all but the members who sent nothing.
    async fn state_around(
        &self,
        tx: &Transaction,
        view: &View,
        reader: &Reader<'_>,
        at: &Position,
        senders: Vec<StateKeyNid>,
        filter: &EventFilter,
    ) -> Result<Vec<Raw<AnyStateEvent>>, RoomError> {
        let mut entries = self.full_state(tx, view.room.nid, at, !filter.lazy_load_members).await?;
        if filter.lazy_load_members {
            entries.extend(self.members_at(tx, view.room.nid, at, senders).await?);
        }
        let events: Vec<EventNid> = entries.into_iter().map(|entry| entry.event).collect();
        self.client_state(tx, reader, &self.load_events(tx, &events).await?).await
    }

    /// The senders' member events at a position.
    async fn sender_members(
        &self,
        tx: &Transaction,
        view: &View,
        reader: &Reader<'_>,
        at: &Position,
        senders: Vec<StateKeyNid>,
    ) -> Result<Vec<Raw<AnyStateEvent>>, RoomError> {
        let senders: BTreeSet<StateKeyNid> = senders.into_iter().collect();
        let mut events = Vec::with_capacity(senders.len());
        for sender in senders {
            // Who joined only later in the page has the member event there.
            if let Some(event) = self.state_entry_at(tx, view.room.nid, TypeNid::MEMBER, sender, at).await? {
                events.push(self.load_event(tx, event).await?);
            }
        }
        self.client_state(tx, reader, &events).await
    }
}

fn senders(events: &[TimelineEvent]) -> Vec<StateKeyNid> {
    events.iter().map(|event| event.entry.sender).collect()
}
