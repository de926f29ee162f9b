//! Publication: the writes of the one transaction that makes events visible.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use hearth_store::{Transaction, Versionstamp};
use ruma::{OwnedUserId, UserId};

use crate::{
    EventNid, Membership, RoomError, RoomNid, Rooms, StateKeyNid, TypeNid,
    error::corrupt,
    keys::{
        ANNOTATION, COUNTER, EVENT, EVENT_AT, EVENT_NID, EXTREMITY, LOCAL, LOCAL_MEMBER, MEMBER, MEMBERSHIP,
        MEMBERSHIP_LOG, NOTIFICATION, RELATION, ROOM, ROOM_HEAD, ROOM_NID, SERVER_USERS, STATE, STATE_AT, STATE_LOG,
        STREAM, STREAM_HEAD, TIMELINE, TOUCHED, TRANSACTION,
    },
    notifications::{self, Publishing, Recipient},
    records::{
        EventRecord, GraphRecord, LocalMember, MembershipChange, MembershipRecord, RelationEntry, StateChange,
        StreamEntry, TimelineEntry,
    },
    redacting::Redactions,
    relating::Relation,
    snapshots::ABSENT,
    stored_event::StoredEvent,
    threads::Threads,
    view::{LocalUser, RoomView},
    writer::{Appended, Change, MemberChange, RoomWriter},
};

/// Kinds of counters, see [`COUNTER`].
pub(crate) mod counter {
    pub(crate) const EVENTS: u64 = 1;
    pub(crate) const JOINED: u64 = 2;
    pub(crate) const INVITED: u64 = 3;
    pub(crate) const MESSAGES: u64 = 4;
    /// Stands for all rooms together.
    pub(crate) const ALL_ROOMS: crate::RoomNid = crate::RoomNid(0);
}

/// What a committed transaction published, for the caches.
pub(crate) struct Published {
    room: RoomNid,
    view: Arc<RoomView>,
    events: Vec<Arc<StoredEvent>>,
    graph: Vec<(EventNid, GraphRecord)>,
}

impl Published {
    /// Puts what was published into the caches. Only after the commit.
    pub(crate) fn remember(self, rooms: &Rooms) {
        for event in self.events {
            rooms.caches.keep(event);
        }
        for (event, record) in self.graph {
            rooms.caches.keep_graph(event, Arc::new(record));
        }
        let weight = self.view.weight();
        rooms.views.insert(self.room, self.view, weight);
    }
}

/// How a server's number of joined users changes, with the event that did it last.
struct ServerChange {
    delta: i64,
    event: EventNid,
    sender: StateKeyNid,
    user_version: u16,
}

/// A server whose own membership changes with that: its first user joined, or its last one left.
struct ServerUsers {
    server: StateKeyNid,
    users: u64,
    membership: Option<(MembershipRecord, Option<Membership>, u16)>,
}

impl RoomWriter<'_> {
    /// Writes everything that was appended; `None` if nothing was.
    pub(crate) async fn finish(mut self) -> Result<Option<Published>, RoomError> {
        if self.appended.is_empty() && self.stored.is_empty() {
            return Ok(None);
        }
        let kept = self.write_stored().await?;
        if self.appended.is_empty() {
            let (events, graph) = kept.into_iter().map(|(event, place)| (event.clone(), (event.nid, place))).unzip();
            return Ok(Some(Published { room: self.room(), view: self.view, events, graph }));
        }
        let tx = self.tx.clone();
        let appended = std::mem::take(&mut self.appended);

        // Reads first.
        let servers = self.server_changes(&appended).await?;
        let threads = Threads::plan(&self, &appended).await?;
        let redactions = Redactions::plan(&self, &appended).await?;
        let parents = parents(&tx, &appended).await?;
        self.write_notifications(&appended).await?;
        redactions.clear_notifications(&tx, self.room(), self.view.local().map(|local| local.keys().copied()));
        let mut graph = self.write_graph(&appended).await?;

        self.names.write(&tx);
        for event in &appended {
            self.write_event(&tx, event);
        }
        for at in &parents {
            if at.is_complete() {
                TOUCHED.set(&tx, (self.room(), at), &());
            } else {
                TOUCHED.set_versionstamped_key(&tx, (self.room(), at), &());
            }
        }
        redactions.write(&tx);
        threads.write(&tx, self.room());
        self.write_servers(&tx, servers);
        self.write_room(&tx, &appended);
        let mut events: Vec<_> = appended.into_iter().map(|appended| appended.event).collect();
        for (event, place) in kept {
            graph.push((event.nid, place));
            events.push(event);
        }
        Ok(Some(Published { room: self.room(), view: self.view, events, graph }))
    }

    /// The event itself, its places and what it changes.
    fn write_event(&self, tx: &Transaction, appended: &Appended) {
        let room = self.room();
        let event = &appended.event;
        let nid = event.nid;
        let user_version = appended.user_version;
        let at = Versionstamp::incomplete(user_version);
        EVENT.set(
            tx,
            (nid,),
            &EventRecord {
                room,
                event_id: event.pdu.event_id.to_string(),
                json: event.pdu.json.clone(),
                outcome: event.outcome,
                replaces: event.replaces,
                transaction: event.transaction.clone(),
                reason: None,
            },
        );
        EVENT_NID.set(tx, (event.pdu.event_id.as_str(),), &nid);
        EVENT_AT.set_to_commit_stamp(tx, (nid,), user_version);
        TIMELINE.set_versionstamped_key(
            tx,
            (room, &at),
            &TimelineEntry {
                event: nid,
                event_type: appended.event_type,
                sender: appended.sender,
                state_key: appended.state_key,
            },
        );
        if event.pdu.sender.server_name() == self.rooms.config.server_name {
            LOCAL.set_versionstamped_key(tx, (room, &at), &nid);
        }
        // Its own before others.
        let member = appended.members().last().map(|(change, _)| change.state_key);
        STREAM.set_versionstamped_key(tx, (&at,), &StreamEntry { room, event: nid, member });
        for change in &appended.changes {
            self.write_change(tx, change);
        }
        if let Some((device, id)) = &appended.effects.transaction {
            TRANSACTION.set(tx, (appended.sender, device, id), &nid);
        }
        if let Some(relation) = &appended.effects.relation {
            let parent = relation.parent.nid;
            RELATION.set_versionstamped_key(
                tx,
                (parent, &relation.rel_type, &at),
                &RelationEntry {
                    event: nid,
                    rel_type: relation.rel_type.clone(),
                    event_type: appended.event_type,
                    sender: appended.sender,
                    key: relation.key.clone(),
                },
            );
            if let Some(key) = relation.annotation_key() {
                ANNOTATION.set(tx, (parent, appended.sender, appended.event_type, key), &nid);
            }
        }
    }

    /// A change of the current state, with its history.
    fn write_change(&self, tx: &Transaction, change: &Change) {
        let room = self.room();
        let at = Versionstamp::incomplete(change.user_version);
        let &Change { event_type, state_key, event, replaces, .. } = change;
        let entry = event.unwrap_or(ABSENT);
        match (&change.member, event) {
            (Some(member), _) => self.write_member(tx, change, member, &at),
            (None, Some(event)) => STATE.set(tx, (room, event_type, state_key), &event),
            (None, None) => STATE.clear(tx, (room, event_type, state_key)),
        }
        STATE_AT.set_versionstamped_key(tx, (room, event_type, state_key, &at), &entry);
        STATE_LOG.set_versionstamped_key(
            tx,
            (room, &at),
            &StateChange { event_type, state_key, event: entry, replaces },
        );
    }

    /// A membership that changes.
    fn write_member(&self, tx: &Transaction, entry: &Change, change: &MemberChange, at: &Versionstamp) {
        let room = self.room();
        let user = entry.state_key;
        if entry.event.is_some() {
            MEMBER.set(tx, (room, user), &change.record);
        } else {
            MEMBER.clear(tx, (room, user));
        }
        MEMBERSHIP.set(tx, (user, room), &change.record);
        let membership = change.record.membership;
        // An invite that is repeated is told again: it has another inviter or reason.
        if change.previous != Some(membership) || membership == Membership::Invite {
            MEMBERSHIP_LOG.set_versionstamped_key(
                tx,
                (user, at),
                &MembershipChange { room, membership, previous: change.previous, event: change.record.event },
            );
        }
        if !self.is_local(&change.user_id) {
            return;
        }
        if membership == Membership::Join {
            let member = LocalMember { user_id: change.user_id.to_string(), displayname: change.displayname.clone() };
            LOCAL_MEMBER.set(tx, (room, user), &member);
        } else {
            LOCAL_MEMBER.clear(tx, (room, user));
        }
        if matches!(membership, Membership::Leave | Membership::Ban) {
            NOTIFICATION.clear_prefix(tx, (user, room));
        }
    }

    /// Reads what the membership changes of users make of their servers.
    async fn server_changes(&mut self, appended: &[Appended]) -> Result<Vec<ServerUsers>, RoomError> {
        let mut changes: HashMap<&ruma::ServerName, ServerChange> = HashMap::new();
        for (entry, change) in appended.iter().flat_map(Appended::members) {
            let delta = i64::from(change.record.membership == Membership::Join)
                - i64::from(change.previous == Some(Membership::Join));
            if delta != 0 {
                let (event, sender) = (change.record.event, change.record.sender);
                let server = changes.entry(change.user_id.server_name()).or_insert(ServerChange {
                    delta: 0,
                    event,
                    sender,
                    user_version: 0,
                });
                *server = ServerChange { delta: server.delta + delta, event, sender, user_version: entry.user_version };
            }
        }
        let room = self.room();
        let mut servers = Vec::with_capacity(changes.len());
        for (name, change) in changes {
            let server = self.names.key_nid(self.rooms, &self.tx, name.as_str()).await?;
            let before = SERVER_USERS.get(&self.tx, (room, server)).await?.unwrap_or(0);
            let users = before.saturating_add_signed(change.delta);
            let mut membership = None;
            if (before == 0) != (users == 0) {
                let previous = MEMBERSHIP.get(&self.tx, (server, room)).await?;
                let record = MembershipRecord {
                    membership: if users == 0 { Membership::Leave } else { Membership::Join },
                    event: change.event,
                    sender: change.sender,
                    forgotten: false,
                    ever_joined: true,
                };
                membership = Some((record, previous.map(|record| record.membership), change.user_version));
            }
            servers.push(ServerUsers { server, users, membership });
        }
        Ok(servers)
    }

    fn write_servers(&self, tx: &Transaction, servers: Vec<ServerUsers>) {
        let room = self.room();
        for ServerUsers { server, users, membership } in servers {
            if users == 0 {
                SERVER_USERS.clear(tx, (room, server));
            } else {
                SERVER_USERS.set(tx, (room, server), &users);
            }
            if let Some((record, previous, user_version)) = membership {
                MEMBERSHIP.set(tx, (server, room), &record);
                MEMBERSHIP_LOG.set_versionstamped_key(
                    tx,
                    (server, &Versionstamp::incomplete(user_version)),
                    &MembershipChange { room, membership: record.membership, previous, event: record.event },
                );
            }
        }
    }

    /// The room record, its ends and its counters.
    fn write_room(&self, tx: &Transaction, appended: &[Appended]) {
        let room = self.room();
        if self.is_new {
            ROOM_NID.set(tx, (self.record.room_id.as_str(),), &room);
        }
        ROOM.set(tx, (room,), &self.record);
        let kept: HashSet<EventNid> = self.extremities.iter().map(|(event, _)| *event).collect();
        for event in self.old_extremities.iter().filter(|event| !kept.contains(event)) {
            EXTREMITY.clear(tx, (room, *event));
        }
        for event in kept.iter().filter(|event| !self.old_extremities.contains(event)) {
            EXTREMITY.set(tx, (room, *event), &());
        }
        let last = appended.last().map_or(0, |event| event.user_version);
        STREAM_HEAD.set_to_commit_stamp(tx, (0,), last);
        ROOM_HEAD.set_to_commit_stamp(tx, (room,), last);

        let mut counters = HashMap::from([(counter::EVENTS, appended.len().cast_signed() as i64)]);
        for event in appended {
            if is_message(event) {
                *counters.entry(counter::MESSAGES).or_default() += 1;
            }
            for (_, change) in event.members() {
                for (kind, membership) in [(counter::JOINED, Membership::Join), (counter::INVITED, Membership::Invite)]
                {
                    *counters.entry(kind).or_default() += i64::from(change.record.membership == membership)
                        - i64::from(change.previous == Some(membership));
                }
            }
        }
        for (kind, delta) in counters.into_iter().filter(|(_, delta)| *delta != 0) {
            COUNTER.add(tx, (room, kind), delta);
            COUNTER.add(tx, (counter::ALL_ROOMS, kind), delta);
        }
    }

    /// Notification rows of every appended event, for the local users who were joined before it or are invited by
    /// it; and the view's part that this needs.
    async fn write_notifications(&mut self, appended: &[Appended]) -> Result<(), RoomError> {
        let mut local = self.local_users().await?;
        let mut joined = self.joined_users().await?;
        let invited = appended.iter().filter_map(|event| self.invited_local_user(event));
        let mut users: HashMap<StateKeyNid, OwnedUserId> =
            local.iter().map(|(nid, user)| (*nid, user.user_id.clone())).collect();
        users.extend(invited);
        for event in appended {
            // Joins within this transaction make recipients of what follows.
            for (entry, change) in event.members().filter(|(_, change)| self.is_local(&change.user_id)) {
                users.insert(entry.state_key, change.user_id.clone());
            }
        }
        // With nobody but the sender there is nobody to notify.
        let alone = appended.iter().all(|event| users.keys().all(|user| *user == event.sender));
        let mut rules = HashMap::new();
        if !alone {
            let (nids, ids): (Vec<StateKeyNid>, Vec<OwnedUserId>) = users.into_iter().unzip();
            let rulesets = self.rooms.push_rules.rulesets(&ids).await;
            rules = nids.into_iter().zip(rulesets).filter_map(|(nid, rules)| Some((nid, rules?))).collect();
        }
        let create = self.create_event().await?;
        for event in appended {
            let recipient = |nid: StateKeyNid, user_id: &OwnedUserId, displayname: Option<String>| {
                let rules = rules.get(&nid).cloned()?;
                Some(Recipient { user: nid, user_id: user_id.clone(), displayname, rules })
            };
            let mut recipients: Vec<Recipient> = Vec::new();
            if !rules.is_empty() {
                let others = local.iter().filter(|(nid, _)| **nid != event.sender);
                recipients
                    .extend(others.filter_map(|(nid, user)| recipient(*nid, &user.user_id, user.displayname.clone())));
                if let Some((nid, user_id)) = self.invited_local_user(event)
                    && !local.contains_key(&nid)
                {
                    recipients.extend(recipient(nid, &user_id, None));
                }
            }
            let thread = event.effects.relation.as_ref().and_then(Relation::thread_root);
            if self.is_local(&event.event.pdu.sender) && has_read(event) {
                notifications::note_sent(&self.tx, self.room(), event.sender, thread, event.user_version);
            }
            let publishing = Publishing {
                pdu: &event.event.pdu,
                event: event.event.nid,
                sender: event.sender,
                user_version: event.user_version,
                thread,
                joined,
                version: &self.info.version,
                create: &create,
                power_levels: event.power_levels.as_deref(),
            };
            notifications::write_rows(&self.tx, self.room(), &publishing, &recipients).await?;
            for (entry, change) in event.members() {
                let nid = entry.state_key;
                let is_joined = change.record.membership == Membership::Join;
                joined = (joined + u64::from(is_joined))
                    .saturating_sub(u64::from(change.previous == Some(Membership::Join)));
                if self.is_local(&change.user_id) {
                    let local = Arc::make_mut(&mut local);
                    if is_joined {
                        let user =
                            LocalUser { user_id: change.user_id.clone(), displayname: change.displayname.clone() };
                        local.insert(nid, user);
                    } else {
                        local.remove(&nid);
                    }
                }
            }
        }
        if self.view.joined() != Some(joined) || !self.view.local().is_some_and(|known| Arc::ptr_eq(known, &local)) {
            let view = Arc::make_mut(&mut self.view);
            view.set_local(local);
            view.set_joined(joined);
        }
        Ok(())
    }

    /// The local user whom an event invites.
    fn invited_local_user(&self, event: &Appended) -> Option<(StateKeyNid, OwnedUserId)> {
        let change = event.member()?;
        let invites = change.record.membership == Membership::Invite && self.is_local(&change.user_id);
        Some((event.state_key.filter(|_| invites)?, change.user_id.clone()))
    }

    /// Joined users of this server before this transaction.
    pub(crate) async fn local_users(&self) -> Result<Arc<HashMap<StateKeyNid, LocalUser>>, RoomError> {
        if let Some(local) = self.view.local() {
            return Ok(local.clone());
        }
        let mut local = HashMap::new();
        for ((_, nid), member) in LOCAL_MEMBER.scan((self.room(),)).snapshot().all(&self.tx).await? {
            let user_id = UserId::parse(&member.user_id).map_err(corrupt)?;
            local.insert(nid, LocalUser { user_id, displayname: member.displayname });
        }
        Ok(Arc::new(local))
    }

    /// Number of joined users before this transaction.
    async fn joined_users(&self) -> Result<u64, RoomError> {
        match self.view.joined() {
            Some(joined) => Ok(joined),
            None => Ok(COUNTER.get_snapshot(&self.tx, (self.room(), counter::JOINED)).await?.unwrap_or(0)),
        }
    }

    /// Whether a user is one of this server's.
    pub(crate) fn is_local(&self, user: &UserId) -> bool {
        user.server_name() == self.rooms.config.server_name
    }
}

/// Where the events stand to which the appended ones relate.
async fn parents(tx: &Transaction, appended: &[Appended]) -> Result<Vec<Versionstamp>, RoomError> {
    let mut parents = Vec::new();
    for relation in appended.iter().filter_map(|event| event.effects.relation.as_ref()) {
        let parent = relation.parent.nid;
        match appended.iter().position(|event| event.event.nid == parent) {
            Some(index) => parents.push(Versionstamp::incomplete(appended[index].user_version)),
            None => parents.extend(EVENT_AT.get_snapshot(tx, (parent,)).await?),
        }
    }
    Ok(parents)
}

/// Whether who sends this has seen the room: not so for a profile change, which goes to all rooms at once.
fn has_read(event: &Appended) -> bool {
    match event.member() {
        Some(change) => change.previous != Some(change.record.membership),
        None => true,
    }
}

fn is_message(event: &Appended) -> bool {
    event.event_type != TypeNid::MEMBER
        && event.state_key.is_none()
        && matches!(event.event.pdu.event_type.to_string().as_str(), "m.room.message" | "m.room.encrypted")
}
