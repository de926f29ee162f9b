//! What the server's owner sees: every room, whoever is in it. No visibility rules apply here, and
//! message content is never returned.
//!
//! Everything is read in transactions without conflict ranges, so that looking never makes a writer retry.

use std::collections::HashMap;

use hearth_store::Transaction;
use ruma::RoomId;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    EventNid, Membership, RoomError, RoomNid, Rooms, StateKeyNid, TypeNid,
    keys::{COUNTER, EVENT, MEMBER, PUBLISHED, ROOM, SERVER_USERS, STATE},
    publish::counter,
    records::{EventRecord, MembershipRecord, RoomRecord},
};

/// Rooms read in one transaction while counting and listing; keeps each far below the store's limits.
const ROOMS_PER_TRANSACTION: usize = 2000;

/// Numbers over all rooms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoomTotals {
    /// Timeline events.
    pub events: u64,
    /// Messages among them.
    pub messages: u64,
}

/// What rooms are listed by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RoomOrder {
    /// Newest event.
    #[default]
    Activity,
    /// Name, or the alias or id that stands for it.
    Name,
    /// Joined members.
    Members,
    /// Messages.
    Messages,
}

/// Which rooms to list.
#[derive(Debug, Clone, Default)]
pub struct RoomQuery {
    /// Only rooms whose name, alias or id contains this, in any case.
    pub search: Option<String>,
    /// What to sort by.
    pub order: RoomOrder,
    /// Smallest first (names from A); otherwise the other way round.
    pub ascending: bool,
    /// Skip so many.
    pub offset: usize,
    /// At most so many.
    pub limit: usize,
}

/// One page of rooms.
#[derive(Debug, Clone)]
pub struct RoomPage {
    /// The rooms.
    pub rooms: Vec<RoomSummary>,
    /// How many there are on all pages.
    pub total: usize,
}

/// A room as its owner sees it in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomSummary {
    /// Room id.
    pub room_id: String,
    /// Room version.
    pub version: String,
    /// `m.room.name`
    pub name: Option<String>,
    /// `m.room.canonical_alias`
    pub canonical_alias: Option<String>,
    /// `m.room.topic`
    pub topic: Option<String>,
    /// Who made it.
    pub creator: Option<String>,
    /// `type` of the create event, such as `m.space`.
    pub room_type: Option<String>,
    /// `m.room.encryption` is set.
    pub encrypted: bool,
    /// Servers other than the creator's may join (`m.federate`).
    pub federated: bool,
    /// Listed in the public directory.
    pub published: bool,
    /// `join_rule`
    pub join_rule: Option<String>,
    /// `history_visibility`
    pub history_visibility: Option<String>,
    /// Joined members.
    pub joined: u64,
    /// Invited members.
    pub invited: u64,
    /// Servers with joined members.
    pub servers: u64,
    /// Timeline events.
    pub events: u64,
    /// Messages among them.
    pub messages: u64,
    /// `origin_server_ts` of the newest event, Unix milliseconds.
    pub last_event_ts: u64,
}

/// A member of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomMember {
    /// User id.
    pub user_id: String,
    /// What the membership is.
    pub membership: Membership,
    /// `displayname` of the member event.
    pub displayname: Option<String>,
    /// Who made the membership so.
    pub sender: String,
    /// When, Unix milliseconds.
    pub since: u64,
}

/// One page of a room's members.
#[derive(Debug, Clone)]
pub struct MemberPage {
    /// The members: joined, invited, knocking, banned, left; in each the oldest known first.
    pub members: Vec<RoomMember>,
    /// How many there are on all pages.
    pub total: usize,
}

/// One entry of a room's current state, members not included.
#[derive(Debug, Clone)]
pub struct StateEntry {
    /// Event type.
    pub event_type: String,
    /// State key.
    pub state_key: String,
    /// The event that set it.
    pub event_id: String,
    /// Its sender.
    pub sender: String,
    /// Its `origin_server_ts`, Unix milliseconds.
    pub origin_server_ts: u64,
    /// Its content, as JSON.
    pub content: Box<RawValue>,
}

/// The parts of an event that are shown here.
#[derive(Deserialize)]
struct ShownEvent {
    sender: String,
    #[serde(default)]
    origin_server_ts: u64,
    content: Box<RawValue>,
}

impl ShownEvent {
    /// The content as `T`, its default where the content does not fit: rooms may hold anything.
    fn content<T: Default + for<'de> Deserialize<'de>>(&self) -> T {
        serde_json::from_str(self.content.get()).unwrap_or_default()
    }
}

/// Event type ids that the list needs; `None` where no room has such an event.
struct ShownTypes {
    name: Option<TypeNid>,
    alias: Option<TypeNid>,
    topic: Option<TypeNid>,
    encryption: Option<TypeNid>,
}

impl Rooms {
    /// Numbers over all rooms: two reads.
    pub async fn totals(&self) -> Result<RoomTotals, RoomError> {
        let tx = self.store.begin();
        Ok(RoomTotals {
            events: COUNTER.get_snapshot(&tx, (counter::ALL_ROOMS, counter::EVENTS)).await?.unwrap_or(0),
            messages: COUNTER.get_snapshot(&tx, (counter::ALL_ROOMS, counter::MESSAGES)).await?.unwrap_or(0),
        })
    }

    /// How many rooms there are. Reads every room record.
    pub async fn count_rooms(&self) -> Result<usize, RoomError> {
        Ok(self.all_records().await?.len())
    }

    /// Lists rooms. Names and aliases are read for all rooms only where the search or the order needs them.
    pub async fn list_rooms(&self, query: &RoomQuery) -> Result<RoomPage, RoomError> {
        let mut records = self.all_records().await?;
        let search = query.search.as_deref().map(str::to_lowercase).filter(|search| !search.is_empty());
        if search.is_some() || query.order == RoomOrder::Name {
            let mut names = HashMap::new();
            for chunk in records.chunks(ROOMS_PER_TRANSACTION) {
                let tx = self.store.begin();
                let types = self.shown_types(&tx).await?;
                for (nid, record) in chunk {
                    names.insert(*nid, names_of(&tx, *nid, record, &types).await?);
                }
            }
            if let Some(search) = search {
                records.retain(|(nid, _)| names[nid].iter().any(|name| name.contains(&search)));
            }
            if query.order == RoomOrder::Name {
                records.sort_by(|a, b| names[&a.0].first().cmp(&names[&b.0].first()).then(a.0.cmp(&b.0)));
            }
        }
        match query.order {
            RoomOrder::Name => {}
            RoomOrder::Activity => records.sort_by_key(|(nid, record)| (record.last_event_ts, *nid)),
            RoomOrder::Members => self.sort_by_counter(&mut records, counter::JOINED).await?,
            RoomOrder::Messages => self.sort_by_counter(&mut records, counter::MESSAGES).await?,
        }
        if !query.ascending {
            records.reverse();
        }
        let total = records.len();
        let tx = self.store.begin();
        let types = self.shown_types(&tx).await?;
        let mut rooms = Vec::new();
        for (nid, record) in records.into_iter().skip(query.offset).take(query.limit) {
            rooms.push(summary(&tx, nid, record, &types).await?);
        }
        Ok(RoomPage { rooms, total })
    }

    /// One room.
    pub async fn room_summary(&self, room_id: &RoomId) -> Result<RoomSummary, RoomError> {
        let tx = self.store.begin();
        let (nid, record) = self.find_record(&tx, room_id).await?;
        summary(&tx, nid, record, &self.shown_types(&tx).await?).await
    }

    /// A room's members, whatever their membership.
    pub async fn list_members(&self, room_id: &RoomId, offset: usize, limit: usize) -> Result<MemberPage, RoomError> {
        let tx = self.store.begin();
        let (nid, _) = self.find_record(&tx, room_id).await?;
        let mut entries = MEMBER.scan((nid,)).snapshot().all(&tx).await?;
        let total = entries.len();
        entries.sort_by_key(|((_, user), record)| (rank(record.membership), *user));
        let mut members = Vec::new();
        for ((_, user), record) in entries.into_iter().skip(offset).take(limit) {
            members.push(self.member(&tx, user, &record).await?);
        }
        Ok(MemberPage { members, total })
    }

    /// A room's current state, members not included.
    pub async fn list_state(&self, room_id: &RoomId) -> Result<Vec<StateEntry>, RoomError> {
        let tx = self.store.begin();
        let (nid, _) = self.find_record(&tx, room_id).await?;
        let mut entries = Vec::new();
        for ((_, event_type, state_key), event) in STATE.scan((nid,)).snapshot().all(&tx).await? {
            let record = event_record(&tx, event).await?;
            let shown = parse(&record.json)?;
            entries.push(StateEntry {
                event_type: self.type_name(&tx, event_type).await?.to_string(),
                state_key: self.state_key_name(&tx, state_key).await?.to_string(),
                event_id: record.event_id,
                sender: shown.sender,
                origin_server_ts: shown.origin_server_ts,
                content: shown.content,
            });
        }
        entries.sort_by(|a, b| (&a.event_type, &a.state_key).cmp(&(&b.event_type, &b.state_key)));
        Ok(entries)
    }

    async fn find_record(&self, tx: &Transaction, room_id: &RoomId) -> Result<(RoomNid, RoomRecord), RoomError> {
        let nid = self.find_room(tx, room_id).await?.ok_or(RoomError::RoomNotFound)?;
        let record = ROOM.get_snapshot(tx, (nid,)).await?.ok_or(RoomError::RoomNotFound)?;
        Ok((nid, record))
    }

    async fn shown_types(&self, tx: &Transaction) -> Result<ShownTypes, RoomError> {
        Ok(ShownTypes {
            name: self.find_type(tx, "m.room.name").await?,
            alias: self.find_type(tx, "m.room.canonical_alias").await?,
            topic: self.find_type(tx, "m.room.topic").await?,
            encryption: self.find_type(tx, "m.room.encryption").await?,
        })
    }

    async fn member(
        &self,
        tx: &Transaction,
        user: StateKeyNid,
        record: &MembershipRecord,
    ) -> Result<RoomMember, RoomError> {
        let event = parse(&event_record(tx, record.event).await?.json)?;
        Ok(RoomMember {
            user_id: self.state_key_name(tx, user).await?.to_string(),
            membership: record.membership,
            displayname: event.content::<MemberContent>().displayname,
            sender: self.state_key_name(tx, record.sender).await?.to_string(),
            since: event.origin_server_ts,
        })
    }

    async fn all_records(&self) -> Result<Vec<(RoomNid, RoomRecord)>, RoomError> {
        let mut records = Vec::new();
        loop {
            let tx = self.store.begin();
            let scan = ROOM.scan(()).snapshot().limit(ROOMS_PER_TRANSACTION);
            let scan = match records.last() {
                Some((last, _)) => scan.after((*last,)),
                None => scan,
            };
            let page = scan.all(&tx).await?;
            let full = page.len() == ROOMS_PER_TRANSACTION;
            records.extend(page.into_iter().map(|((nid,), record)| (nid, record)));
            if !full {
                return Ok(records);
            }
        }
    }

    async fn sort_by_counter(&self, records: &mut [(RoomNid, RoomRecord)], kind: u64) -> Result<(), RoomError> {
        let mut values = HashMap::new();
        for chunk in records.chunks(ROOMS_PER_TRANSACTION) {
            let tx = self.store.begin();
            for (nid, _) in chunk {
                values.insert(*nid, COUNTER.get_snapshot(&tx, (*nid, kind)).await?.unwrap_or(0));
            }
        }
        records.sort_by_key(|(nid, record)| (values[nid], record.last_event_ts, *nid));
        Ok(())
    }
}

/// Joined members first.
fn rank(membership: Membership) -> u8 {
    match membership {
        Membership::Join => 0,
        Membership::Invite => 1,
        Membership::Knock => 2,
        Membership::Ban => 3,
        Membership::Leave => 4,
    }
}

/// The state event of this type with the empty state key.
async fn state_event(
    tx: &Transaction,
    room: RoomNid,
    event_type: Option<TypeNid>,
) -> Result<Option<ShownEvent>, RoomError> {
    let Some(event_type) = event_type else { return Ok(None) };
    let Some(event) = STATE.get_snapshot(tx, (room, event_type, StateKeyNid::EMPTY)).await? else { return Ok(None) };
    parse(&event_record(tx, event).await?.json).map(Some)
}

async fn event_record(tx: &Transaction, event: EventNid) -> Result<EventRecord, RoomError> {
    let missing = || RoomError::Corrupt(format!("event {} is in the state but not stored", event.0));
    EVENT.get_snapshot(tx, (event,)).await?.ok_or_else(missing)
}

fn parse(json: &str) -> Result<ShownEvent, RoomError> {
    serde_json::from_str(json).map_err(|error| RoomError::Corrupt(error.to_string()))
}

/// Lower-case texts that a search looks in; the first is what the room is sorted by.
async fn names_of(
    tx: &Transaction,
    nid: RoomNid,
    record: &RoomRecord,
    types: &ShownTypes,
) -> Result<Vec<String>, RoomError> {
    let name = state_event(tx, nid, types.name).await?.and_then(|event| event.content::<NameContent>().name);
    let alias = state_event(tx, nid, types.alias).await?.and_then(|event| event.content::<AliasContent>().alias);
    let texts = [name.filter(|name| !name.is_empty()), alias, Some(record.room_id.clone())];
    Ok(texts.into_iter().flatten().map(|text| text.to_lowercase()).collect())
}

async fn summary(
    tx: &Transaction,
    nid: RoomNid,
    record: RoomRecord,
    types: &ShownTypes,
) -> Result<RoomSummary, RoomError> {
    let counter = async |kind| COUNTER.get_snapshot(tx, (nid, kind)).await.map(|count| count.unwrap_or(0));
    let create_event = state_event(tx, nid, Some(TypeNid::CREATE)).await?;
    let create: CreateContent = create_event.as_ref().map(ShownEvent::content).unwrap_or_default();
    let join_rules = state_event(tx, nid, Some(TypeNid::JOIN_RULES)).await?;
    let visibility = state_event(tx, nid, Some(TypeNid::HISTORY_VISIBILITY)).await?;
    let name = state_event(tx, nid, types.name).await?.and_then(|event| event.content::<NameContent>().name);
    let topic = state_event(tx, nid, types.topic).await?.and_then(|event| event.content::<TopicContent>().topic);
    let alias = state_event(tx, nid, types.alias).await?.and_then(|event| event.content::<AliasContent>().alias);
    Ok(RoomSummary {
        name: name.filter(|name| !name.is_empty()),
        canonical_alias: alias,
        topic: topic.filter(|topic| !topic.is_empty()),
        // Since room version 11 the creator is the create event's sender.
        creator: create.creator.or_else(|| create_event.map(|event| event.sender)),
        room_type: create.room_type,
        encrypted: state_event(tx, nid, types.encryption).await?.is_some(),
        federated: create.federate.unwrap_or(true),
        published: PUBLISHED.get_snapshot(tx, (nid,)).await?.is_some(),
        join_rule: join_rules.and_then(|event| event.content::<JoinRulesContent>().join_rule),
        history_visibility: visibility.and_then(|event| event.content::<VisibilityContent>().history_visibility),
        joined: counter(counter::JOINED).await?,
        invited: counter(counter::INVITED).await?,
        servers: SERVER_USERS.scan((nid,)).snapshot().all(tx).await?.len() as u64,
        events: counter(counter::EVENTS).await?,
        messages: counter(counter::MESSAGES).await?,
        room_id: record.room_id,
        version: record.version,
        last_event_ts: record.last_event_ts,
    })
}

/// Contents of state events, as far as they are shown. Every field may be missing or of a wrong
/// type in a room that others made; then the whole content counts as empty.
#[derive(Default, Deserialize)]
struct CreateContent {
    creator: Option<String>,
    #[serde(rename = "type")]
    room_type: Option<String>,
    #[serde(rename = "m.federate")]
    federate: Option<bool>,
}

#[derive(Default, Deserialize)]
struct NameContent {
    name: Option<String>,
}

#[derive(Default, Deserialize)]
struct TopicContent {
    topic: Option<String>,
}

#[derive(Default, Deserialize)]
struct AliasContent {
    alias: Option<String>,
}

#[derive(Default, Deserialize)]
struct JoinRulesContent {
    join_rule: Option<String>,
}

#[derive(Default, Deserialize)]
struct VisibilityContent {
    history_visibility: Option<String>,
}

#[derive(Default, Deserialize)]
struct MemberContent {
    displayname: Option<String>,
}
