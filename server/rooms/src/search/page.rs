//! A page of results in the form that clients get.

use std::collections::{BTreeMap, HashSet};

use hearth_store::Transaction;
use ruma::{
    OwnedRoomId, OwnedUserId,
    api::Direction,
    events::{AnyStateEvent, AnyTimelineEvent},
    serde::Raw,
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    query::{ContextRequest, GroupBy, Hit, Hits, SearchRequest},
    token::{Group, Token},
};
use crate::{EventFilter, Position, Reader, RoomError, Rooms, TypeNid, audience::TimelineEvent, scan::Stretch};

/// Results of a page when the client does not say, and at most.
const LIMIT: (u64, u64) = (10, 100);
/// Events on each side of a result at most.
const CONTEXT: u64 = 50;

/// `room_events` of the response.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SearchPage {
    /// Number of results, roughly.
    pub count: usize,
    /// The words that were looked for.
    pub highlights: Vec<String>,
    /// The results.
    pub results: Vec<SearchResult>,
    /// The state of the rooms of the results.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub state: BTreeMap<OwnedRoomId, Vec<Raw<AnyStateEvent>>>,
    /// The results by kind of group and its value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<&'static str, BTreeMap<String, SearchGroup>>,
    /// Where to go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_batch: Option<String>,
}

/// One result.
#[derive(Debug, Clone, Serialize)]
pub struct SearchResult {
    /// How well it matches.
    pub rank: f64,
    /// The event.
    pub result: Raw<AnyTimelineEvent>,
    /// What is around it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<SearchContext>,
}

/// Events around a result.
#[derive(Debug, Clone, Serialize)]
pub struct SearchContext {
    /// Token for what is before.
    pub start: String,
    /// Token for what is after.
    pub end: String,
    /// Newest first.
    pub events_before: Vec<Raw<AnyTimelineEvent>>,
    /// Oldest first.
    pub events_after: Vec<Raw<AnyTimelineEvent>>,
    /// What the senders were called then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile_info: Option<BTreeMap<OwnedUserId, Map<String, Value>>>,
}

/// Results that have a room or a sender in common.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SearchGroup {
    /// Their ids.
    pub results: Vec<ruma::OwnedEventId>,
    /// Place among the groups.
    pub order: usize,
    /// Where to go on within the group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_batch: Option<String>,
}

impl Rooms {
    /// A page of what a search finds for the reader.
    #[tracing::instrument(skip_all, fields(user = %reader.user))]
    pub async fn search(
        &self,
        reader: &Reader<'_>,
        request: &SearchRequest,
        from: Option<&str>,
    ) -> Result<SearchPage, RoomError> {
        let from = from.map(Token::parse).transpose()?;
        let Hits { found: mut hits, words, version } = self.find_hits(reader, request, from.as_ref()).await?;
        let (shown, group) = from.map_or((0, None), |from| (from.shown, from.group));
        if let Some(group) = &group {
            hits.retain(|hit| hit.is_in(group));
        }
        let limit = request.filter.limit.unwrap_or(LIMIT.0).clamp(1, LIMIT.1) as usize;
        let end = shown.saturating_add(limit).min(hits.len());
        let on_page = &hits[shown.min(end)..end];
        let token = |shown, group| Token { version, shown, group }.write();
        let mut page = SearchPage {
            count: hits.len(),
            highlights: words.into_iter().collect(),
            next_batch: (end < hits.len()).then(|| token(end, group)),
            ..SearchPage::default()
        };
        for kind in request.groups() {
            page.groups.insert(name(kind), groups(kind, &hits, shown.min(end)..end, token));
        }
        for hit in on_page {
            page.results.push(self.result(reader, request, hit).await?);
        }
        if request.include_state {
            let rooms: HashSet<OwnedRoomId> = on_page.iter().map(|hit| hit.view.room.room_id.clone()).collect();
            for room in rooms {
                let state = self.state(&room, reader).await?;
                page.state.insert(room, state);
            }
        }
        Ok(page)
    }

    async fn result(&self, reader: &Reader<'_>, request: &SearchRequest, hit: &Hit) -> Result<SearchResult, RoomError> {
        self.store
            .transact("search result", |tx| async move {
                let mut written = self.client_events(&tx, &hit.view, reader, std::slice::from_ref(&hit.event)).await?;
                let context = match &request.event_context {
                    Some(wanted) => Some(self.around(&tx, reader, wanted, hit).await?),
                    None => None,
                };
                Ok(SearchResult { rank: hit.rank, result: written.pop().ok_or(RoomError::EventNotFound)?, context })
            })
            .await
    }

    async fn around(
        &self,
        tx: &Transaction,
        reader: &Reader<'_>,
        wanted: &ContextRequest,
        hit: &Hit,
    ) -> Result<SearchContext, RoomError> {
        let filter = EventFilter { ignored: reader.ignored.to_vec(), ..EventFilter::default() };
        let Hit { view, event, .. } = hit;
        let now = Position::after_version(tx.read_version().await?);
        let before = Stretch {
            begin: Position::start(),
            end: Position::before(&event.at),
            direction: Direction::Backward,
            limit: wanted.before_limit.min(CONTEXT) as usize,
        };
        let after = Stretch {
            begin: Position::after(&event.at),
            end: now,
            direction: Direction::Forward,
            limit: wanted.after_limit.min(CONTEXT) as usize,
        };
        let before = self.scan_timeline(tx, view, before, &filter).await?.events;
        let after = self.scan_timeline(tx, view, after, &filter).await?.events;
        let (first, last) = (before.last().unwrap_or(event), after.last().unwrap_or(event));
        let profile_info = if wanted.include_profile {
            let all = before.iter().chain([event]).chain(&after);
            Some(self.profiles(tx, hit, all).await?)
        } else {
            None
        };
        Ok(SearchContext {
            start: Position::before(&first.at).to_string(),
            end: Position::after(&last.at).to_string(),
            events_before: self.client_events(tx, view, reader, &before).await?,
            events_after: self.client_events(tx, view, reader, &after).await?,
            profile_info,
        })
    }

    /// The senders' profiles when the result was sent.
    async fn profiles(
        &self,
        tx: &Transaction,
        hit: &Hit,
        events: impl Iterator<Item = &TimelineEvent>,
    ) -> Result<BTreeMap<OwnedUserId, Map<String, Value>>, RoomError> {
        let at = Position::after(&hit.event.at);
        let mut profiles = BTreeMap::new();
        for event in events {
            let sender = &event.event.pdu.sender;
            if profiles.contains_key(sender) {
                continue;
            }
            let room = hit.view.room.nid;
            let member = self.state_entry_at(tx, room, TypeNid::MEMBER, event.entry.sender, &at).await?;
            let Some(member) = member else { continue };
            let member = self.load_event(tx, member).await?;
            let mut content: Map<String, Value> = serde_json::from_str(member.pdu.content.get()).unwrap_or_default();
            content.retain(|field, value| matches!(field.as_str(), "displayname" | "avatar_url") && value.is_string());
            profiles.insert(sender.clone(), content);
        }
        Ok(profiles)
    }
}

fn name(kind: GroupBy) -> &'static str {
    match kind {
        GroupBy::RoomId => "room_id",
        GroupBy::Sender => "sender",
    }
}

/// The groups of the results on a page.
fn groups(
    kind: GroupBy,
    hits: &[Hit],
    on_page: std::ops::Range<usize>,
    token: impl Fn(usize, Option<Group>) -> String,
) -> BTreeMap<String, SearchGroup> {
    let mut groups: BTreeMap<String, SearchGroup> = BTreeMap::new();
    for hit in &hits[on_page.clone()] {
        let pdu = &hit.event.event.pdu;
        let group = match kind {
            GroupBy::RoomId => Group::Room(hit.view.room.room_id.clone()),
            GroupBy::Sender => Group::Sender(pdu.sender.clone()),
        };
        let value = match &group {
            Group::Room(room) => room.to_string(),
            Group::Sender(sender) => sender.to_string(),
        };
        let order = groups.len() + 1;
        let entry = groups.entry(value).or_insert_with(|| {
            let shown = hits[..on_page.end].iter().filter(|hit| hit.is_in(&group)).count();
            let more = hits[on_page.end..].iter().any(|hit| hit.is_in(&group));
            SearchGroup { order, next_batch: more.then(|| token(shown, Some(group.clone()))), ..SearchGroup::default() }
        });
        entry.results.push(pdu.event_id.clone());
    }
    groups
}
