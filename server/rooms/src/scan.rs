//! Reading a stretch of a timeline: visible events alone, filtered, with a bound on what is read.

use std::collections::HashSet;

use hearth_store::{Transaction, Versionstamp};
use ruma::api::Direction;

use crate::{
    RoomError, RoomNid, Rooms,
    audience::TimelineEvent,
    event_filter::{EventFilter, RoomFilter},
    keys,
    position::Position,
    records::TimelineEntry,
    visibility::View,
};

/// Entries that one request reads at most when a filter lets most of them out.
const MAX_SCANNED: usize = 5000;
/// Entries that one range read asks for at most.
const MAX_CHUNK: usize = 500;

/// Which stretch to read.
#[derive(Debug, Clone)]
pub(crate) struct Stretch {
    /// Not before this position.
    pub(crate) begin: Position,
    /// Not after this one.
    pub(crate) end: Position,
    /// From which of them to start.
    pub(crate) direction: Direction,
    /// At most so many events.
    pub(crate) limit: usize,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Found {
    /// In the order of the direction.
    pub(crate) events: Vec<TimelineEvent>,
    /// Where to go on; `None` when the stretch holds nothing more that is visible and passes the filter.
    pub(crate) next: Option<Position>,
}

impl Rooms {
    /// Reads visible events of `stretch` that pass `filter`.
    pub(crate) async fn scan_timeline(
        &self,
        tx: &Transaction,
        view: &View,
        stretch: Stretch,
        filter: &EventFilter,
    ) -> Result<Found, RoomError> {
        let Stretch { mut begin, mut end, direction, limit } = stretch;
        let backward = direction == Direction::Backward;
        let mut filter = RoomFilter::new(self, tx, filter, view.room.room_id.as_str()).await?;
        let mut events: Vec<TimelineEvent> = Vec::with_capacity(limit.min(100));
        if filter.passes_nothing() {
            return Ok(Found { events, next: None });
        }
        let mut scanned = 0;
        loop {
            // One more than wanted tells whether there is more.
            let wanted = limit + 1 - events.len();
            let chunk = if filter.is_selective() { wanted.max(100) } else { wanted }.min(MAX_CHUNK);
            let entries = timeline_chunk(tx, view.room.nid, &begin, &end, backward, chunk).await?;
            let is_last = entries.len() < chunk;
            let touched = touched(tx, view.room.nid, &entries).await?;
            let mut jump = None;
            for (at, entry) in entries {
                scanned += 1;
                // What was looked at lies behind.
                if backward {
                    end = Position::before(&at);
                } else {
                    begin = Position::after(&at);
                }
                if !view.can_see(&at, &entry) {
                    jump = Some(at);
                    break;
                }
                if !filter.accepts_entry(self, tx, &entry).await? {
                    continue;
                }
                if events.len() == limit && !filter.is_selective() {
                    return Ok(Found { next: Some(resume(&events, backward, &at)), events });
                }
                let touched = touched.contains(&at);
                let event = if touched {
                    self.load_event(tx, entry.event).await?
                } else {
                    self.load_untouched(tx, entry.event).await?
                };
                if !filter.accepts_event(tx, &event).await? {
                    continue;
                }
                if events.len() == limit {
                    return Ok(Found { next: Some(resume(&events, backward, &at)), events });
                }
                events.push(TimelineEvent { at, entry, touched, event });
            }
            match jump {
                // Everything up to the next change of visibility or membership is as invisible as this one.
                Some(at) => match view.next_change(&at, backward) {
                    Some(change) if backward => end = end.min(Position::after(change)),
                    Some(change) => begin = begin.max(Position::before(change)),
                    None => return Ok(Found { events, next: None }),
                },
                None if is_last => return Ok(Found { events, next: None }),
                None => {}
            }
            if scanned >= MAX_SCANNED {
                let next = if backward { end } else { begin };
                return Ok(Found { events, next: Some(next) });
            }
        }
    }
}

/// Where the next page begins: right behind the last event of this one.
fn resume(events: &[TimelineEvent], backward: bool, skipped: &Versionstamp) -> Position {
    match events.last() {
        Some(last) if backward => Position::before(&last.at),
        Some(last) => Position::after(&last.at),
        // A page of no events: the event that did not fit is still to come.
        None if backward => Position::after(skipped),
        None => Position::before(skipped),
    }
}

async fn timeline_chunk(
    tx: &Transaction,
    room: RoomNid,
    begin: &Position,
    end: &Position,
    backward: bool,
    limit: usize,
) -> Result<Vec<(Versionstamp, TimelineEntry)>, RoomError> {
    let mut scan =
        keys::TIMELINE.scan((room,)).from((room, begin.stamp())).before((room, end.stamp())).limit(limit).snapshot();
    if backward {
        scan = scan.reverse();
    }
    Ok(scan.all(tx).await?.into_iter().map(|((_, at), entry)| (at, entry)).collect())
}

/// Which of the entries were related to or redacted.
async fn touched(
    tx: &Transaction,
    room: RoomNid,
    entries: &[(Versionstamp, TimelineEntry)],
) -> Result<HashSet<Versionstamp>, RoomError> {
    let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) else { return Ok(HashSet::new()) };
    let (oldest, newest) = if first <= last { (first, last) } else { (last, first) };
    let scan = keys::TOUCHED.scan((room,)).from((room, oldest)).until((room, newest));
    Ok(scan.snapshot().all(tx).await?.into_iter().map(|((_, at), ())| at).collect())
}
