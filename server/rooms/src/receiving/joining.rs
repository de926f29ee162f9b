//! Joining a room of which another server gave the state: events are stored and authorized in bounded transactions, each of
//! which leaves a checkpoint, and the room appears in one step at the end. Who is interrupted goes on where they were.
//!
//! 1. [`Rooms::begin_join`] numbers the room, or finds what an earlier attempt left.
//! 2. [`Rooms::stage_events`] stores events of the state and of its auth chain, in any order and any number of calls.
//! 3. [`Rooms::finish_join`] authorizes them in topological order by their auth events, builds the state, and publishes
//!    the room with the join event.
//!
//! Until then nothing leads to the room: its id has no number yet.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use hearth_protocol::{Pdu, RoomVersion, auth::check_auth_events, receive::Verified};
use hearth_store::{Transaction, Versionstamp};
use ruma::{EventId, OwnedEventId, OwnedServerName, RoomId, UserId};

use super::publishing::{Guard, Publication};
use crate::{
    EventNid, Membership, Outcome, RoomError, RoomNid, Rooms, StateKeyNid, TypeNid,
    cache::Cache,
    error::corrupt,
    graph::Fresh,
    ids::Kind,
    keys::{
        COUNTER, EVENT, EVENT_NID, LOCAL_MEMBER, MEMBER, MEMBERSHIP, MEMBERSHIP_LOG, ROOM, ROOM_NID, SERVER_USERS,
        STAGED, STAGED_JOIN, STATE, STATE_AT,
    },
    names::NewNames,
    publish::counter,
    records::{
        EventRecord, GraphRecord, LocalMember, MembershipChange, MembershipRecord, RoomRecord, StagedEvent, StagedJoin,
    },
    room_info::RoomInfo,
    snapshots::{Difference, StateTuple},
    writer::{MemberContent, RoomWriter, States},
};

/// Events that one transaction stores or authorizes.
const EVENTS: usize = 250;
/// Entries of the state that one transaction writes.
const ENTRIES: usize = 1000;
/// Bytes of auth events that are kept parsed; most events have the same few.
const PARSED: usize = 16 << 20;

/// What a join is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinStep {
    /// Authorizing the events of the state and its auth chain.
    Authorizing,
    /// Writing the state.
    State,
    /// Publishing.
    Publishing,
}

/// How far a join is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinProgress {
    /// At what.
    pub step: JoinStep,
    /// How many are done.
    pub done: usize,
    /// How many there are.
    pub of: usize,
}

/// A join that was begun.
#[derive(Debug, Clone)]
pub struct Staging {
    info: Arc<RoomInfo>,
}

/// A staged event in memory.
struct Edge {
    nid: EventNid,
    auth: Vec<EventNid>,
    /// It names an auth event that was not staged.
    incomplete: bool,
    state: Option<(TypeNid, StateKeyNid)>,
}

impl Rooms {
    /// Begins to join a room that is not known here, or goes on with it.
    pub async fn begin_join(&self, room_id: &RoomId, version: &RoomVersion) -> Result<Staging, RoomError> {
        let new = RoomNid(self.ids.next(&self.store, Kind::Room).await?);
        let nid = self
            .store
            .transact("begin join", |tx| async move {
                if ROOM_NID.get(&tx, (room_id.as_str(),)).await?.is_some() {
                    return Err(RoomError::BadState(format!("{room_id} is known already")));
                }
                if let Some(record) = STAGED_JOIN.get(&tx, (room_id.as_str(),)).await? {
                    if record.version != version.id.as_str() {
                        return Err(RoomError::BadState(format!("{room_id} is of version {}", record.version)));
                    }
                    return Ok(record.room);
                }
                let record =
                    StagedJoin { room: new, version: version.id.to_string(), authorized: 0, written: 0, state: None };
                STAGED_JOIN.set(&tx, (room_id.as_str(),), &record);
                Ok(new)
            })
            .await?;
        Ok(Staging { info: Arc::new(RoomInfo { nid, room_id: room_id.to_owned(), version: version.clone() }) })
    }

    /// Stores verified events. Those that are stored already are passed over.
    pub async fn stage_events(&self, staging: &Staging, events: &[Verified]) -> Result<(), RoomError> {
        for events in events.chunks(EVENTS) {
            let mut numbered = Vec::with_capacity(events.len());
            for event in events.iter().filter(|event| event.pdu.room_id == staging.info.room_id) {
                numbered.push((EventNid(self.ids.next(&self.store, Kind::Event).await?), event));
            }
            let numbered = &numbered;
            self.store
                .transact("stage events", |tx| async move {
                    self.staged(&tx, staging).await?;
                    let mut names = NewNames::default();
                    for (nid, event) in numbered {
                        self.stage_event(&tx, staging.info.nid, &mut names, *nid, event).await?;
                    }
                    names.write(&tx);
                    Ok::<_, RoomError>(())
                })
                .await?;
        }
        Ok(())
    }

    async fn stage_event(
        &self,
        tx: &Transaction,
        room: RoomNid,
        names: &mut NewNames,
        nid: EventNid,
        event: &Verified,
    ) -> Result<(), RoomError> {
        let pdu = &event.pdu;
        let event_id = pdu.event_id.to_string();
        if EVENT_NID.get(tx, (&event_id,)).await?.is_some() {
            return Ok(());
        }
        let event_type = names.type_nid(self, tx, &pdu.event_type.to_string()).await?;
        names.key_nid(self, tx, pdu.sender.as_str()).await?;
        let state = match &pdu.state_key {
            Some(key) => Some((event_type, names.key_nid(self, tx, key).await?)),
            None => None,
        };
        let outcome = if event.rejection.is_some() { Outcome::Rejected } else { Outcome::Outlier };
        let reason = event.rejection.as_ref().map(|refused| refused.0.clone());
        EVENT_NID.set(tx, (&event_id,), &nid);
        let auth = pdu.auth_events.iter().map(ToString::to_string).collect();
        STAGED.set(tx, (room, nid), &StagedEvent { event_id: event_id.clone(), auth, state });
        EVENT.set(
            tx,
            (nid,),
            &EventRecord { room, event_id, json: pdu.json.clone(), outcome, replaces: None, transaction: None, reason },
        );
        Ok(())
    }

    /// Authorizes what was staged, makes the room of it with `state` before `join`, and publishes that. `progress` is told now and
    /// then. After a failure or a crash it can be called again, with the same arguments.
    #[tracing::instrument(skip_all, fields(room_id = %staging.info.room_id, state = state.len()))]
    pub async fn finish_join(
        &self,
        staging: &Staging,
        state: &[OwnedEventId],
        join: &Verified,
        progress: &(dyn Fn(JoinProgress) + Sync),
    ) -> Result<(), RoomError> {
        let (ids, edges) = self.staged_events(staging).await?;
        self.authorize_staged(staging, &edges, progress).await?;
        let wanted: HashSet<EventNid> = state.iter().filter_map(|id| ids.get(id.as_str()).copied()).collect();
        if wanted.len() < state.len() {
            return Err(RoomError::BadState(format!("{} events of the state are missing", state.len() - wanted.len())));
        }
        self.write_staged_state(staging, &edges, &wanted, progress).await?;
        progress(JoinProgress { step: JoinStep::Publishing, done: 0, of: 1 });
        self.publish_join(staging, join).await?;
        progress(JoinProgress { step: JoinStep::Publishing, done: 1, of: 1 });
        Ok(())
    }

    /// The checkpoint, with a conflict.
    async fn staged(&self, tx: &Transaction, staging: &Staging) -> Result<StagedJoin, RoomError> {
        let record = STAGED_JOIN.get(tx, (staging.info.room_id.as_str(),)).await?;
        record
            .filter(|record| record.room == staging.info.nid)
            .ok_or_else(|| RoomError::BadState("the join is over".to_owned()))
    }

    /// All staged events, each after its auth events; the same order at every call.
    async fn staged_events(&self, staging: &Staging) -> Result<(HashMap<String, EventNid>, Vec<Edge>), RoomError> {
        let room = staging.info.nid;
        let mut rows = Vec::new();
        let mut last = None;
        loop {
            let page = self
                .store
                .transact("read staged events", |tx| async move {
                    let scan = STAGED.scan((room,)).limit(2 * ENTRIES);
                    let scan = if let Some(last) = last { scan.after((room, last)) } else { scan };
                    scan.snapshot().all(&tx).await
                })
                .await?;
            let full = page.len() == 2 * ENTRIES;
            rows.extend(page.into_iter().map(|((_, nid), event)| (nid, event)));
            match rows.last() {
                Some((nid, _)) if full => last = Some(*nid),
                _ => break,
            }
        }
        let ids: HashMap<String, EventNid> = rows.iter().map(|(nid, event)| (event.event_id.clone(), *nid)).collect();
        let mut edges: Vec<Edge> = rows
            .into_iter()
            .map(|(nid, event)| {
                let auth: Vec<EventNid> = event.auth.iter().filter_map(|id| ids.get(id).copied()).collect();
                Edge { nid, incomplete: auth.len() < event.auth.len(), auth, state: event.state }
            })
            .collect();
        sort_by_auth(&mut edges);
        Ok((ids, edges))
    }

    async fn authorize_staged(
        &self,
        staging: &Staging,
        edges: &[Edge],
        progress: &(dyn Fn(JoinProgress) + Sync),
    ) -> Result<(), RoomError> {
        let parsed: &Cache<EventNid, Arc<Pdu>> = &Cache::new(PARSED);
        let mut done = 0;
        while done < edges.len() {
            done = self
                .store
                .transact("authorize staged events", |tx| async move {
                    let mut record = self.staged(&tx, staging).await?;
                    let from = record.authorized as usize;
                    let until = (from + EVENTS).min(edges.len());
                    let mut fresh = Fresh::default();
                    for edge in edges.get(from..until).unwrap_or_default() {
                        self.authorize_one(&tx, &staging.info, edge, parsed, &mut fresh).await?;
                    }
                    record.authorized = until.max(from) as u64;
                    STAGED_JOIN.set(&tx, (staging.info.room_id.as_str(),), &record);
                    Ok::<_, RoomError>(until.max(from))
                })
                .await?;
            progress(JoinProgress { step: JoinStep::Authorizing, done, of: edges.len() });
        }
        Ok(())
    }

    async fn authorize_one(
        &self,
        tx: &Transaction,
        info: &RoomInfo,
        edge: &Edge,
        parsed: &Cache<EventNid, Arc<Pdu>>,
        fresh: &mut Fresh,
    ) -> Result<(), RoomError> {
        let (mut record, pdu) = staged_pdu(tx, info, edge.nid).await?;
        let mut known = Vec::with_capacity(edge.auth.len() + 1);
        let create = match pdu.create_event_id().filter(|_| info.version.room_id_is_create_event()) {
            Some(create) if create != pdu.event_id => EVENT_NID.get_snapshot(tx, (create.as_str(),)).await?,
            _ => None,
        };
        for nid in edge.auth.iter().copied().chain(create) {
            if let Some(pdu) = parsed.get(&nid) {
                known.push(pdu);
                continue;
            }
            let (_, pdu) = staged_pdu(tx, info, nid).await?;
            // Judged again, should this transaction not commit, it comes to the same.
            let weight = 1000 + 2 * pdu.json.len();
            let pdu = Arc::new(pdu);
            parsed.insert(nid, pdu.clone(), weight);
            known.push(pdu);
        }
        if record.outcome == Outcome::Outlier {
            let checked = check_auth_events(&info.version, &pdu, |id: &EventId| {
                known.iter().find(|pdu| pdu.event_id == id).map(|pdu| &**pdu)
            });
            let reason = match checked {
                _ if edge.incomplete => Some("an auth event is missing".to_owned()),
                Err(refused) => Some(format!("by its auth events: {refused}")),
                Ok(()) => None,
            };
            if reason.is_some() {
                record.outcome = Outcome::Rejected;
                record.reason = reason;
                EVENT.set(tx, (edge.nid,), &record);
            }
        }
        let place = GraphRecord {
            depth: pdu.depth,
            prev: Vec::new(),
            auth: edge.auth.clone(),
            state: edge.state,
            outcome: record.outcome,
            chain: 0,
            sequence: 0,
        };
        self.write_place(tx, info.nid, edge.nid, place, fresh).await?;
        Ok(())
    }

    /// The state's snapshot and rows. What was rejected is not in it.
    async fn write_staged_state(
        &self,
        staging: &Staging,
        edges: &[Edge],
        wanted: &HashSet<EventNid>,
        progress: &(dyn Fn(JoinProgress) + Sync),
    ) -> Result<(), RoomError> {
        let room = staging.info.nid;
        let mut tuples = Vec::with_capacity(wanted.len());
        for edges in edges.chunks(ENTRIES) {
            let tx = self.store.begin();
            for edge in edges.iter().filter(|edge| wanted.contains(&edge.nid)) {
                if let Some((event_type, state_key)) = self.graph(&tx, room, edge.nid).await?.effect() {
                    tuples.push(StateTuple { event_type, state_key, event: edge.nid });
                }
            }
        }
        tuples.sort_unstable();
        tuples.dedup_by_key(|tuple| (tuple.event_type, tuple.state_key));
        let tuples = &tuples;
        self.store
            .transact("staged state", |tx| async move {
                let mut record = self.staged(&tx, staging).await?;
                record.state = Some(self.snapshots.create(&tx, room, tuples.iter().copied()).await?);
                STAGED_JOIN.set(&tx, (staging.info.room_id.as_str(),), &record);
                Ok::<_, RoomError>(())
            })
            .await?;
        let mut done = 0;
        while done < tuples.len() {
            done = self
                .store
                .transact("write staged state", |tx| async move {
                    let mut record = self.staged(&tx, staging).await?;
                    let from = record.written as usize;
                    let until = (from + ENTRIES).min(tuples.len()).max(from);
                    for (tuple, user_version) in tuples.get(from..until).unwrap_or_default().iter().zip(0..) {
                        self.write_entry(&tx, &staging.info, tuple, user_version).await?;
                    }
                    record.written = until as u64;
                    STAGED_JOIN.set(&tx, (staging.info.room_id.as_str(),), &record);
                    Ok::<_, RoomError>(until)
                })
                .await?;
            progress(JoinProgress { step: JoinStep::State, done, of: tuples.len() });
        }
        Ok(())
    }

    async fn write_entry(
        &self,
        tx: &Transaction,
        info: &RoomInfo,
        tuple: &StateTuple,
        user_version: u16,
    ) -> Result<(), RoomError> {
        let room = info.nid;
        let &StateTuple { event_type, state_key, event } = tuple;
        if event_type == TypeNid::MEMBER {
            let (_, pdu) = staged_pdu(tx, info, event).await?;
            let content: MemberContent = serde_json::from_str(pdu.content.get()).map_err(corrupt)?;
            let membership = Membership::parse(&content.membership).ok_or_else(|| corrupt(&content.membership))?;
            let sender = self.find_state_key(tx, pdu.sender.as_str()).await?;
            let sender = sender.ok_or_else(|| corrupt(format!("{} has no number", pdu.sender)))?;
            let ever_joined = membership == Membership::Join;
            let record = MembershipRecord { membership, event, sender, forgotten: false, ever_joined };
            MEMBER.set(tx, (room, state_key), &record);
            let user = pdu.state_key.as_deref().unwrap_or_default();
            // This server's own users hear of the room when it is there.
            if !UserId::parse(user).is_ok_and(|user| user.server_name() == self.config.server_name) {
                MEMBERSHIP.set(tx, (state_key, room), &record);
            }
        } else {
            STATE.set(tx, (room, event_type, state_key), &event);
        }
        let at = Versionstamp::incomplete(user_version);
        STATE_AT.set_versionstamped_key(tx, (room, event_type, state_key, &at), &event);
        Ok(())
    }

    async fn publish_join(&self, staging: &Staging, join: &Verified) -> Result<(), RoomError> {
        let census = &self.census(staging).await?;
        let placing = self.number(&staging.info, &join.pdu).await?;
        let published = self
            .store
            .transact("publish join", |tx| async move {
                let info = staging.info.clone();
                let room = info.nid;
                let record = self.staged(&tx, staging).await?;
                let before = record.state.ok_or_else(|| corrupt("a staged join without state"))?;
                if ROOM_NID.get(&tx, (info.room_id.as_str(),)).await?.is_some() {
                    return Err(RoomError::BadState(format!("{} is known already", info.room_id)));
                }
                let record = RoomRecord {
                    room_id: info.room_id.to_string(),
                    version: info.version.id.to_string(),
                    revision: 0,
                    depth: join.pdu.depth,
                    last_event_ts: 0,
                    state: Some(before),
                };
                // What is read from here on finds the room.
                ROOM.set(&tx, (room,), &record);
                census.write(self, &tx, room).await?;
                let judged = self.judge(&tx, &info, join, Vec::new(), before, before).await?;
                let judged = judged.ok_or_else(|| RoomError::BadState("an auth event is missing".to_owned()))?;
                if judged.outcome != Outcome::Accepted {
                    return Err(RoomError::Forbidden(judged.reason.unwrap_or_default()));
                }
                let (event_type, state_key) =
                    placing.state.ok_or_else(|| RoomError::BadRequest("a join is a state event".to_owned()))?;
                let own = StateTuple { event_type, state_key, event: placing.nid };
                let replaced = self.snapshots.lookup(&tx, room, before, &[own.key()]).await?.pop().flatten();
                let current = self.snapshots.apply(&tx, room, before, [own]).await?;
                let guard = Guard { revision: 0, extremities: Vec::new(), state: before };
                let ends = vec![(placing.nid, join.pdu.event_id.clone())];
                let own = Difference { event_type, state_key, before: replaced, after: Some(placing.nid) };
                let publication = Publication::new(
                    &info,
                    join,
                    &judged,
                    placing,
                    guard,
                    ends,
                    States::Resolved { before, current },
                    vec![own],
                );
                ROOM_NID.set(&tx, (info.room_id.as_str(),), &room);
                STAGED_JOIN.clear(&tx, (info.room_id.as_str(),));
                STAGED.clear_prefix(&tx, (room,));
                let mut writer = RoomWriter::staged(self, tx, info, record);
                publication.append_alone(&mut writer).await?;
                writer.finish().await
            })
            .await?;
        if let Some(published) = published {
            published.remember(self);
        }
        Ok(())
    }

    /// Counts members, and servers by members.
    async fn census(&self, staging: &Staging) -> Result<Census, RoomError> {
        let room = staging.info.nid;
        let mut census = Census::default();
        let mut last = None;
        loop {
            let tx = self.store.begin();
            let scan = MEMBER.scan((room,)).limit(ENTRIES).snapshot();
            let scan = if let Some(last) = last { scan.after((room, last)) } else { scan };
            let page = scan.all(&tx).await?;
            let full = page.len() == ENTRIES;
            for ((_, user), record) in page {
                last = Some(user);
                let user_id = UserId::parse(&*self.state_key_name(&tx, user).await?).map_err(corrupt)?;
                if user_id.server_name() == self.config.server_name {
                    let (_, pdu) = staged_pdu(&tx, &staging.info, record.event).await?;
                    let content: MemberContent = serde_json::from_str(pdu.content.get()).map_err(corrupt)?;
                    let displayname = content.displayname.and_then(|name| name.as_str().map(str::to_owned));
                    let member = LocalMember { user_id: user_id.to_string(), displayname };
                    census.own.push((user, record.clone(), member));
                }
                match record.membership {
                    Membership::Join => {
                        census.joined += 1;
                        let server = census.servers.entry(user_id.server_name().to_owned());
                        server.or_insert((0, record)).0 += 1;
                    }
                    Membership::Invite => census.invited += 1,
                    _ => {}
                }
            }
            if !full {
                break;
            }
        }
        let names: Vec<&OwnedServerName> = census.servers.keys().collect();
        for names in names.chunks(ENTRIES) {
            self.store
                .transact("number servers", |tx| async move {
                    let mut new = NewNames::default();
                    for name in names {
                        new.key_nid(self, &tx, name.as_str()).await?;
                    }
                    new.write(&tx);
                    Ok::<_, RoomError>(())
                })
                .await?;
        }
        Ok(census)
    }
}

/// Members of a room that is to be published.
#[derive(Default)]
struct Census {
    joined: u64,
    invited: u64,
    /// Joined users, and the membership of one of them.
    servers: HashMap<OwnedServerName, (u64, MembershipRecord)>,
    /// This server's own.
    own: Vec<(StateKeyNid, MembershipRecord, LocalMember)>,
}

impl Census {
    async fn write(&self, rooms: &Rooms, tx: &Transaction, room: RoomNid) -> Result<(), RoomError> {
        for (name, (users, record)) in &self.servers {
            let server = rooms.find_state_key(tx, name.as_str()).await?;
            let server = server.ok_or_else(|| corrupt(format!("{name} has no number")))?;
            SERVER_USERS.set(tx, (room, server), users);
            MEMBERSHIP.set(tx, (server, room), record);
            let change = MembershipChange { room, membership: Membership::Join, previous: None, event: record.event };
            MEMBERSHIP_LOG.set_versionstamped_key(tx, (server, &Versionstamp::incomplete(0)), &change);
        }
        for (user, record, member) in &self.own {
            MEMBERSHIP.set(tx, (*user, room), record);
            if record.membership == Membership::Join {
                LOCAL_MEMBER.set(tx, (room, *user), member);
            }
        }
        for (kind, count) in [(counter::JOINED, self.joined), (counter::INVITED, self.invited)] {
            COUNTER.add(tx, (room, kind), count.cast_signed());
            COUNTER.add(tx, (counter::ALL_ROOMS, kind), count.cast_signed());
        }
        Ok(())
    }
}

/// An event of a room that nothing leads to yet.
async fn staged_pdu(tx: &Transaction, info: &RoomInfo, nid: EventNid) -> Result<(EventRecord, Pdu), RoomError> {
    let record = EVENT.get_snapshot(tx, (nid,)).await?;
    let record = record.ok_or_else(|| RoomError::Corrupt(format!("{nid:?} has no event")))?;
    let id = EventId::parse(&record.event_id).map_err(corrupt)?;
    let mut pdu = Pdu::parse(&record.json, &info.version, Some(id)).map_err(corrupt)?;
    pdu.rejected = record.outcome == Outcome::Rejected;
    Ok((record, pdu))
}

/// Puts each event behind its auth events.
fn sort_by_auth(edges: &mut Vec<Edge>) {
    let places: HashMap<EventNid, usize> = edges.iter().enumerate().map(|(place, edge)| (edge.nid, place)).collect();
    let mut seen = vec![false; edges.len()];
    let mut order = Vec::with_capacity(edges.len());
    for start in 0..edges.len() {
        let mut open = vec![(start, false)];
        while let Some((place, after)) = open.pop() {
            if after {
                order.push(place);
            } else if !std::mem::replace(&mut seen[place], true) {
                open.push((place, true));
                open.extend(edges[place].auth.iter().filter_map(|auth| Some((*places.get(auth)?, false))));
            }
        }
    }
    let mut unsorted: Vec<Option<Edge>> = edges.drain(..).map(Some).collect();
    edges.extend(order.into_iter().filter_map(|place| unsorted[place].take()));
}
