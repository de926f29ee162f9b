//! Finding and ordering what a search asks for.

use std::{cmp::Ordering, collections::BTreeSet, sync::Arc};

use hearth_store::{Transaction, Version, Versionstamp, first_stamp};
use ruma::{OwnedRoomId, RoomId};
use serde::Deserialize;

use super::{
    index::{key, new_content, text_of},
    token::{Group, Token},
    words::words,
};
use crate::{
    EventFilter, Reader, RoomError, RoomNid, Rooms, View,
    audience::TimelineEvent,
    event_filter::RoomFilter,
    keys::{MEMBERSHIP, SEARCH_WORD},
    records::{Membership, SearchEntry},
};

/// Words of a search that count.
const WORDS: usize = 10;
/// Events that one search indexes at most before it looks.
const INDEXED: usize = 10_000;
/// Places of one word in one room that are read at most.
const PLACES: usize = 1000;
/// Places that one search reads at most, over all rooms and words.
const ALL_PLACES: usize = 50_000;
/// Events that are looked at one by one at most: the best ones by the index.
const CANDIDATES: usize = 500;
/// Rooms that one search looks into at most.
const ROOMS: usize = 2000;
/// How far back the rooms are followed that a room replaces.
const PREDECESSORS: usize = 10;

/// What is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum SearchKey {
    /// The body of messages.
    #[serde(rename = "content.body")]
    Body,
    /// Names of rooms.
    #[serde(rename = "content.name")]
    Name,
    /// Topics of rooms.
    #[serde(rename = "content.topic")]
    Topic,
}

impl SearchKey {
    fn bit(self) -> u64 {
        match self {
            Self::Body => key::BODY,
            Self::Name => key::NAME,
            Self::Topic => key::TOPIC,
        }
    }
}

/// The order of results.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderBy {
    /// Those that match best first, newer ones first among equals.
    #[default]
    Rank,
    /// The newest first.
    Recent,
}

/// By what results are grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupBy {
    /// By room.
    RoomId,
    /// By sender.
    Sender,
}

/// Which events around a result are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ContextRequest {
    /// Events before it.
    pub before_limit: u64,
    /// Events after it.
    pub after_limit: u64,
    /// The profiles that the senders had.
    pub include_profile: bool,
}

impl Default for ContextRequest {
    fn default() -> Self {
        Self { before_limit: 5, after_limit: 5, include_profile: false }
    }
}

/// The grouping of a request.
#[derive(Debug, Clone, Default, Deserialize)]
struct Groupings {
    #[serde(default)]
    group_by: Vec<Grouping>,
}

#[derive(Debug, Clone, Deserialize)]
struct Grouping {
    key: GroupBy,
}

/// The criteria of a search, as clients send them.
#[derive(Debug, Clone, Deserialize)]
pub struct SearchRequest {
    /// The words to look for.
    pub search_term: String,
    /// Where; everywhere by default.
    pub keys: Option<Vec<SearchKey>>,
    /// Only events that pass; its `limit` is that of a page.
    #[serde(default)]
    pub filter: EventFilter,
    /// The order.
    #[serde(default)]
    pub order_by: OrderBy,
    /// Events around the results, if they are asked for.
    pub event_context: Option<ContextRequest>,
    /// Also the state of the rooms.
    #[serde(default)]
    pub include_state: bool,
    #[serde(default)]
    groupings: Groupings,
}

impl SearchRequest {
    /// By what the results are grouped.
    pub fn groups(&self) -> impl Iterator<Item = GroupBy> {
        self.groupings.group_by.iter().map(|grouping| grouping.key)
    }

    fn wants(&self, bit: u64) -> bool {
        self.keys.as_ref().is_none_or(|keys| keys.iter().any(|key| key.bit() & bit != 0))
    }
}

/// An event that matches.
#[derive(Debug, Clone)]
pub(super) struct Hit {
    pub(super) view: Arc<View>,
    pub(super) event: TimelineEvent,
    pub(super) rank: f64,
}

impl Hit {
    pub(super) fn is_in(&self, group: &Group) -> bool {
        match group {
            Group::Room(room) => self.view.room.room_id == *room,
            Group::Sender(sender) => self.event.event.pdu.sender == *sender,
        }
    }
}

/// Everything that matches, in order, and what was looked for.
pub(super) struct Hits {
    pub(super) found: Vec<Hit>,
    pub(super) words: BTreeSet<String>,
    pub(super) version: Version,
}

/// A place that the index names, before the event is looked at.
struct Candidate {
    view: Arc<View>,
    at: Versionstamp,
    entry: SearchEntry,
    rank: f64,
}

impl Rooms {
    /// Everything that matches, the best first.
    pub(super) async fn find_hits(
        &self,
        reader: &Reader<'_>,
        request: &SearchRequest,
        from: Option<&Token>,
    ) -> Result<Hits, RoomError> {
        let words: BTreeSet<String> = words(&request.search_term).into_keys().take(WORDS).collect();
        let rooms = if words.is_empty() { Vec::new() } else { self.rooms_to_search(reader, &request.filter).await? };
        let mut left = INDEXED;
        for room in &rooms {
            left = left.saturating_sub(self.index_room(*room, left).await?);
            if left == 0 {
                tracing::info!("a search indexed as much as it may; the next one goes on");
                break;
            }
        }
        let words = &words;
        let rooms = &rooms;
        let (hits, version) = self
            .store
            .transact("search", |tx| async move {
                let version = tx.read_version().await?;
                let version = from.map_or(version, |from| from.version.min(version));
                let candidates = self.candidates(&tx, reader, request, rooms, words, version).await?;
                let hits = self.look_at(&tx, reader, request, candidates, words).await?;
                Ok::<_, RoomError>((hits, version))
            })
            .await?;
        Ok(Hits { found: hits, words: words.clone(), version })
    }

    /// Rooms that the reader is or was in and that the filter lets through, with the rooms that those replace which the filter
    /// names.
    async fn rooms_to_search(&self, reader: &Reader<'_>, filter: &EventFilter) -> Result<Vec<RoomNid>, RoomError> {
        let tx = self.store.begin();
        let Some(user) = self.find_state_key(&tx, reader.user.as_str()).await? else { return Ok(Vec::new()) };
        let mut named: BTreeSet<OwnedRoomId> = BTreeSet::new();
        for room in filter.rooms.iter().flatten() {
            let mut next = RoomId::parse(room).ok();
            for _ in 0..=PREDECESSORS {
                let Some(room) = next.take() else { break };
                if let Some(nid) = self.find_room(&tx, &room).await? {
                    next = self.predecessor_of(&tx, nid).await?;
                }
                named.insert(room);
            }
        }
        let unwanted = |room: &str| filter.not_rooms.iter().flatten().any(|unwanted| unwanted == room);
        let mut rooms = Vec::new();
        for ((_, room), record) in MEMBERSHIP.scan((user,)).snapshot().all(&tx).await? {
            if record.forgotten || !(record.ever_joined || record.membership == Membership::Join) {
                continue;
            }
            let info = self.room_info(&tx, room).await?;
            if (filter.rooms.is_none() || named.contains(&info.room_id)) && !unwanted(info.room_id.as_str()) {
                rooms.push(room);
            }
        }
        // The newest rooms.
        rooms.reverse();
        rooms.truncate(ROOMS);
        Ok(rooms)
    }

    /// What the index says, the best first.
    async fn candidates(
        &self,
        tx: &Transaction,
        reader: &Reader<'_>,
        request: &SearchRequest,
        rooms: &[RoomNid],
        words: &BTreeSet<String>,
        version: Version,
    ) -> Result<Vec<Candidate>, RoomError> {
        let until = first_stamp(version.saturating_add(1));
        let user = self.find_state_key(tx, reader.user.as_str()).await?;
        let mut candidates = Vec::new();
        let mut read = 0;
        for room in rooms {
            if read >= ALL_PLACES {
                break;
            }
            // The rarest word leads; the others are asked for each of its places.
            let mut rarest: Option<(&String, Vec<(Versionstamp, SearchEntry)>)> = None;
            for word in words {
                let limit = rarest.as_ref().map_or(PLACES, |(_, places)| places.len() + 1);
                let places = self.word_entries(tx, *room, word, &until, limit.min(PLACES)).await?;
                read += places.len();
                if rarest.as_ref().is_none_or(|(_, fewest)| places.len() < fewest.len()) {
                    rarest = Some((word, places));
                }
                if rarest.as_ref().is_some_and(|(_, places)| places.is_empty()) {
                    break;
                }
            }
            let Some((leader, places)) = rarest.filter(|(_, places)| !places.is_empty()) else { continue };
            let view = Arc::new(self.view_of(tx, *room, user).await?);
            for (at, entry) in places {
                if !request.wants(entry.key) || !view.can_see_message(&at) {
                    continue;
                }
                let mut count = entry.count;
                let mut all = true;
                for word in words.iter().filter(|word| *word != leader) {
                    read += 1;
                    let other = SEARCH_WORD.get_snapshot(tx, (*room, word.as_str(), &at)).await?;
                    let Some(other) = other else {
                        all = false;
                        break;
                    };
                    count += other.count;
                }
                if all {
                    candidates.push(Candidate { view: view.clone(), at, rank: rank(count, entry.total), entry });
                }
            }
        }
        candidates.sort_by(|a, b| {
            let by_rank = match request.order_by {
                OrderBy::Rank => b.rank.partial_cmp(&a.rank).unwrap_or(Ordering::Equal),
                OrderBy::Recent => Ordering::Equal,
            };
            by_rank.then_with(|| b.at.cmp(&a.at))
        });
        candidates.truncate(CANDIDATES);
        Ok(candidates)
    }

    /// The candidates that the reader may find.
    async fn look_at(
        &self,
        tx: &Transaction,
        reader: &Reader<'_>,
        request: &SearchRequest,
        candidates: Vec<Candidate>,
        words: &BTreeSet<String>,
    ) -> Result<Vec<Hit>, RoomError> {
        // Rooms are chosen already, and may be others than those that the filter names.
        let filter = EventFilter { rooms: None, not_rooms: None, ..request.filter.clone() };
        let mut hits = Vec::new();
        for Candidate { view, at, entry, rank } in candidates {
            let event = match self.placed_event(tx, entry.event, at).await {
                Ok(event) => event,
                // Deleted, and the index not told.
                Err(RoomError::EventNotFound) => continue,
                Err(error) => return Err(error),
            };
            let pdu = &event.event.pdu;
            if event.event.redaction.is_some() || reader.ignores(pdu) || !filter.accepts(pdu) {
                continue;
            }
            let ready = RoomFilter::new(self, tx, &filter, view.room.room_id.as_str()).await?;
            if !ready.accepts_event(tx, &event.event).await? {
                continue;
            }
            if !view.sees_everything() && !self.shows(tx, &view, &event, words).await? {
                continue;
            }
            hits.push(Hit { view, event, rank });
        }
        Ok(hits)
    }

    /// Whether the words stand in what the reader sees of the event: perhaps not in its latest edit.
    async fn shows(
        &self,
        tx: &Transaction,
        view: &View,
        event: &TimelineEvent,
        wanted: &BTreeSet<String>,
    ) -> Result<bool, RoomError> {
        let edit = self.latest_edit(tx, view, &event.event).await?;
        let content = edit.and_then(|(_, edit)| new_content(&edit.pdu));
        let pdu = &event.event.pdu;
        let text = text_of(pdu, content.as_deref().unwrap_or(&pdu.content));
        let found = text.map(|(_, text)| words(&text)).unwrap_or_default();
        Ok(wanted.iter().all(|word| found.contains_key(word)))
    }
}

/// How well an event matches: by how much of its text the words are.
fn rank(count: u64, total: u64) -> f64 {
    // Both are small numbers: words of one event.
    let [count, total] = [count, total].map(|number| f64::from(u32::try_from(number).unwrap_or(u32::MAX)));
    count / (1.0 + total.max(1.0).ln())
}
