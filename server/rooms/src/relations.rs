//! Events that relate to an event, and threads
//! ([relationships](https://spec.matrix.org/v1.19/client-server-api/#forming-relationships-between-events)).

use std::collections::{BTreeMap, HashSet};

use hearth_store::{Transaction, Versionstamp};
use ruma::{EventId, RoomId, api::Direction, events::AnyTimelineEvent, serde::Raw};

use crate::{
    EventNid, Position, Reader, RoomError, Rooms, View, audience::TimelineEvent, keys, records::RelationEntry,
};

/// Events of a page when the client does not say.
const DEFAULT_LIMIT: u64 = 20;
/// Events of a page at most.
const MAX_LIMIT: u64 = 500;
/// How deep relations of relations are followed.
const MAX_DEPTH: u64 = 3;
/// Relations that one request reads at most when it follows them; nothing but a flood has more.
const MAX_RELATIONS: usize = 2000;
/// Kinds of relation to one event that are told apart; the number of kinds that clients use is far below.
const MAX_KINDS: usize = 50;

/// Which relations are wanted.
#[derive(Debug, Clone, Default)]
pub struct RelationsRequest {
    /// Only this `rel_type`.
    pub rel_type: Option<String>,
    /// Only events of this type.
    pub event_type: Option<String>,
    /// Where to start; by default at the newest event (backwards) or the oldest (forwards).
    pub from: Option<String>,
    /// Where to stop.
    pub to: Option<String>,
    /// Which way; backwards by default.
    pub direction: Direction,
    /// At most so many events.
    pub limit: Option<u64>,
    /// Also events that relate to related events.
    pub recurse: bool,
}

/// A page of related events or of threads.
#[derive(Debug, Clone, Default)]
pub struct RelationsPage {
    /// The events, in the order of the direction.
    pub chunk: Vec<Raw<AnyTimelineEvent>>,
    /// Where to go on.
    pub next_batch: Option<String>,
    /// Where to go back from.
    pub prev_batch: Option<String>,
    /// How deep relations were followed.
    pub recursion_depth: Option<u64>,
}

/// The stretch of the timeline in which relations are read.
struct Bounds {
    begin: Position,
    end: Position,
    backward: bool,
}

impl Rooms {
    /// Events that relate to an event.
    pub async fn relations(
        &self,
        room_id: &RoomId,
        reader: &Reader<'_>,
        event_id: &EventId,
        request: &RelationsRequest,
    ) -> Result<RelationsPage, RoomError> {
        let from: Option<Position> = request.from.as_deref().map(str::parse).transpose()?;
        let to: Option<Position> = request.to.as_deref().map(str::parse).transpose()?;
        let (from, to) = (&from, &to);
        let limit = request.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT) as usize;
        self.store
            .transact("relations", |tx| async move {
                let (view, parent) = self.visible_event(&tx, room_id, reader, event_id).await?;
                let now = Position::after_version(tx.read_version().await?);
                let backward = request.direction == Direction::Backward;
                let (older, newer) = if backward { (to, from) } else { (from, to) };
                let bounds = Bounds {
                    begin: older.clone().unwrap_or_else(Position::start),
                    end: newer.clone().unwrap_or_else(|| now.clone()).min(now),
                    backward,
                };
                let event_type = match &request.event_type {
                    Some(name) => match self.find_type(&tx, name).await? {
                        Some(event_type) => Some(event_type),
                        None => return Ok(RelationsPage::default()),
                    },
                    None => None,
                };
                let parent = parent.event.stored.nid;
                let rel_type = request.rel_type.as_deref();
                let mut page = RelationsPage { prev_batch: request.from.clone(), ..RelationsPage::default() };
                let found = if request.recurse {
                    page.recursion_depth = Some(MAX_DEPTH);
                    descendants(&tx, parent, rel_type, &bounds).await?
                } else {
                    children(&tx, parent, rel_type, &bounds, MAX_RELATIONS).await?
                };
                let mut events: Vec<TimelineEvent> = Vec::new();
                for (at, relation) in found {
                    if event_type.is_some_and(|wanted| wanted != relation.event_type) {
                        continue;
                    }
                    let Some(event) = self.visible_child(&tx, &view, reader, relation.event, at).await? else {
                        continue;
                    };
                    if events.len() == limit {
                        page.next_batch = events.last().map(|last| {
                            if backward { Position::before(&last.at) } else { Position::after(&last.at) }.to_string()
                        });
                        break;
                    }
                    events.push(event);
                }
                page.chunk = self.client_events(&tx, &view, reader, &events).await?;
                Ok(page)
            })
            .await
    }

    /// Threads of a room, the one with the newest event first. With `participated`, only those into which the
    /// reader sent.
    pub async fn threads(
        &self,
        room_id: &RoomId,
        reader: &Reader<'_>,
        from: Option<&str>,
        limit: Option<u64>,
        participated: bool,
    ) -> Result<RelationsPage, RoomError> {
        let from: Option<Position> = from.map(str::parse).transpose()?;
        let from = &from;
        let limit = limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT) as usize;
        self.store
            .transact("threads", |tx| async move {
                let view = self.view_to_enter(&tx, room_id, reader.user).await?;
                view.enter()?;
                let room = view.room.nid;
                let now = Position::after_version(tx.read_version().await?);
                let mut end = from.clone().unwrap_or_else(|| now.clone()).min(now);
                let mut page = RelationsPage::default();
                let mut events: Vec<TimelineEvent> = Vec::new();
                let mut last = None;
                loop {
                    let scan = keys::THREAD_ORDER.scan((room,)).before((room, end.stamp())).reverse();
                    let order = scan.limit(MAX_LIMIT as usize).snapshot().all(&tx).await?;
                    let is_last = order.len() < MAX_LIMIT as usize;
                    for ((_, newest), root) in order {
                        end = Position::before(&newest);
                        if participated {
                            let thread = keys::THREAD.get_snapshot(&tx, (room, root)).await?;
                            let takes_part = |user| thread.is_some_and(|thread| thread.participants.contains(&user));
                            if !view.user.is_some_and(takes_part) {
                                continue;
                            }
                        }
                        let Some(at) = keys::EVENT_AT.get_snapshot(&tx, (root,)).await? else { continue };
                        let event = self.placed_event(&tx, root, at).await?;
                        if !view.can_see(&event.at, &event.entry) || reader.ignores(&event.event.pdu) {
                            continue;
                        }
                        if events.len() == limit {
                            page.next_batch = last.map(|last: Position| last.to_string());
                            page.chunk = self.client_events(&tx, &view, reader, &events).await?;
                            return Ok(page);
                        }
                        events.push(event);
                        last = Some(end.clone());
                    }
                    if is_last {
                        page.chunk = self.client_events(&tx, &view, reader, &events).await?;
                        return Ok(page);
                    }
                }
            })
            .await
    }

    /// A related event, unless it was redacted (which takes the relation away) or is not for the reader.
    async fn visible_child(
        &self,
        tx: &Transaction,
        view: &View,
        reader: &Reader<'_>,
        event: EventNid,
        at: Versionstamp,
    ) -> Result<Option<TimelineEvent>, RoomError> {
        let event = self.placed_event(tx, event, at).await?;
        let visible = event.event.redaction.is_none()
            && view.can_see(&event.at, &event.entry)
            && !reader.ignores(&event.event.pdu);
        Ok(visible.then_some(event))
    }
}

/// Relations to `parent` within the bounds, in their order.
async fn children(
    tx: &Transaction,
    parent: EventNid,
    rel_type: Option<&str>,
    bounds: &Bounds,
    limit: usize,
) -> Result<Vec<(Versionstamp, RelationEntry)>, RoomError> {
    let kinds = match rel_type {
        Some(kind) => vec![kind.to_owned()],
        None => kinds(tx, parent).await?,
    };
    let mut found = Vec::new();
    for kind in &kinds {
        let kind = kind.as_str();
        let scan = keys::RELATION
            .scan((parent, kind))
            .from((parent, kind, bounds.begin.stamp()))
            .before((parent, kind, bounds.end.stamp()))
            .limit(limit)
            .snapshot();
        let scan = if bounds.backward { scan.reverse() } else { scan };
        found.extend(scan.all(tx).await?.into_iter().map(|((.., at), relation)| (at, relation)));
    }
    sort(&mut found, bounds.backward);
    Ok(found)
}

/// The kinds of relation to `parent`, each found by a jump past the one before.
async fn kinds(tx: &Transaction, parent: EventNid) -> Result<Vec<String>, RoomError> {
    let mut kinds: Vec<String> = Vec::new();
    while kinds.len() < MAX_KINDS {
        let scan = keys::RELATION.scan((parent,)).snapshot();
        let scan = match kinds.last() {
            Some(last) => scan.after((parent, last.as_str())),
            None => scan,
        };
        match scan.first(tx).await? {
            Some(((_, kind, _), _)) => kinds.push(kind),
            None => break,
        }
    }
    Ok(kinds)
}

/// Relations to `parent` and to what relates to it, [`MAX_DEPTH`] deep. `rel_type` chooses among what is found, not
/// which way to go on.
async fn descendants(
    tx: &Transaction,
    parent: EventNid,
    rel_type: Option<&str>,
    bounds: &Bounds,
) -> Result<Vec<(Versionstamp, RelationEntry)>, RoomError> {
    // A relation is younger than what it relates to, but not within the bounds just because that is.
    let everything = Bounds { begin: Position::start(), end: Position::after_version(u64::MAX - 1), backward: false };
    let mut seen = HashSet::from([parent]);
    let mut found: BTreeMap<Versionstamp, RelationEntry> = BTreeMap::new();
    let mut level = vec![parent];
    for _ in 0..MAX_DEPTH {
        let mut next = Vec::new();
        for event in level {
            let room = MAX_RELATIONS.saturating_sub(found.len());
            if room == 0 {
                break;
            }
            for (at, relation) in children(tx, event, None, &everything, room).await?.into_iter().take(room) {
                if seen.insert(relation.event) {
                    next.push(relation.event);
                    found.insert(at, relation);
                }
            }
        }
        level = next;
    }
    let mut found: Vec<_> = found
        .into_iter()
        .filter(|(at, relation)| {
            at >= bounds.begin.stamp()
                && at < bounds.end.stamp()
                && rel_type.is_none_or(|wanted| wanted == relation.rel_type)
        })
        .collect();
    sort(&mut found, bounds.backward);
    Ok(found)
}

fn sort(found: &mut [(Versionstamp, RelationEntry)], backward: bool) {
    found.sort_unstable_by(|(a, _), (b, _)| if backward { b.cmp(a) } else { a.cmp(b) });
}
