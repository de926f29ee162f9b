//! Deleting a room from this server, piece by piece, each piece in a transaction of the caller's.
//!
//! The room is blocked first and its local users leave ([`Rooms::leave_as_local_users`]). Then
//! [`Rooms::purge_piece`] is called until it says that nothing is left. Whatever was deleted already is not found again, so
//! that it goes on after a crash without any note of how far it came. The order is such that at every moment, whoever looks
//! sees a room that is whole or none:
//! 1. the members, each with their whole relation to the room: from then on nobody may read in it, and no sync asks for it;
//! 2. the room itself, with its state, aliases and place in the directory: from then on nobody finds it;
//! 3. the timeline from its beginning, with all that hangs on each event, then events outside of it;
//! 4. what is left below the room's number.
//!
//! Names stay: numeric ids of users, servers and event types are everybody's.

use hearth_store::{Transaction, Versionstamp, keyspace::past, tuple};
use ruma::{RoomId, UserId};
use serde::{Deserialize, Serialize};

use crate::{
    EventNid, Membership, RoomError, RoomNid, Rooms, StateKeyNid, TypeNid,
    error::corrupt,
    keys::{
        ALIAS, COUNTER, EVENT, EVENT_NID, EXTREMITY, GRAPH, LOCAL_MEMBER, MEMBER, MEMBERSHIP, MEMBERSHIP_LOG,
        NOTIFICATION, PUBLISHED, ROOM, ROOM_ALIAS, ROOM_NID, SENT, SERVER_USERS, STAGED_JOIN, STATE, STREAM, TABLES,
        TIMELINE,
    },
    publish::counter,
    records::TimelineEntry,
};

/// A room that is to go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doomed {
    room: RoomNid,
    room_id: String,
    /// Events of its timeline when it was looked up.
    pub events: u64,
}

/// What one piece of a purge deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PurgedPiece {
    /// So many members.
    Members(usize),
    /// The room itself.
    Room,
    /// So many events.
    Events(usize),
    /// The rest: nothing is left.
    Rest,
}

impl Rooms {
    /// Looks a room up that is to be purged; `None`: it is not known here.
    pub async fn doomed(&self, room_id: &RoomId) -> Result<Option<Doomed>, RoomError> {
        let tx = self.store.begin();
        // Not from the cache, which does not hear of purges.
        let Some(room) = ROOM_NID.get_snapshot(&tx, (room_id.as_str(),)).await? else { return Ok(None) };
        let events = COUNTER.get_snapshot(&tx, (room, counter::EVENTS)).await?.unwrap_or_default();
        Ok(Some(Doomed { room, room_id: room_id.to_string(), events }))
    }

    /// Leaves the room as the next `limit` of this server's users who are in it or invited to it, and returns how many there
    /// were; 0: nobody of this server is in it. A user who cannot leave is an error.
    pub async fn leave_as_local_users(&self, doomed: &Doomed, limit: usize) -> Result<usize, RoomError> {
        let mut users = Vec::new();
        let tx = self.store.begin();
        for ((_, nid), record) in MEMBER.scan((doomed.room,)).snapshot().all(&tx).await? {
            if !matches!(record.membership, Membership::Join | Membership::Invite | Membership::Knock) {
                continue;
            }
            let user = UserId::parse(&*self.state_key_name(&tx, nid).await?).map_err(corrupt)?;
            if user.server_name() == self.config.server_name {
                users.push(user);
            }
            if users.len() == limit {
                break;
            }
        }
        drop(tx);
        for user in &users {
            self.leave_these(user, vec![doomed.room]).await?;
            let room_id = <&RoomId>::try_from(doomed.room_id.as_str()).map_err(corrupt)?;
            let now = self.membership_of(room_id, user).await?;
            if matches!(now, Some(Membership::Join | Membership::Invite | Membership::Knock)) {
                return Err(RoomError::BadState(format!("{user} cannot leave")));
            }
        }
        Ok(users.len())
    }

    /// Deletes in `tx` the next `limit` rows that count. [`RoomError::BadState`] when somebody of this server is in the room.
    pub async fn purge_piece(&self, tx: &Transaction, doomed: &Doomed, limit: usize) -> Result<PurgedPiece, RoomError> {
        let room = doomed.room;
        let members = MEMBER.scan((room,)).limit(limit).all(tx).await?;
        if !members.is_empty() {
            for ((_, user), record) in &members {
                let inside = matches!(record.membership, Membership::Join | Membership::Invite | Membership::Knock);
                self.purge_member(tx, room, *user, inside).await?;
            }
            return Ok(PurgedPiece::Members(members.len()));
        }
        if ROOM.get(tx, (room,)).await?.is_some() {
            self.purge_room_itself(tx, doomed).await?;
            return Ok(PurgedPiece::Room);
        }
        let events = TIMELINE.scan((room,)).limit(limit).all(tx).await?;
        for ((_, at), entry) in &events {
            self.purge_event(tx, room, at, entry).await?;
        }
        if !events.is_empty() {
            return Ok(PurgedPiece::Events(events.len()));
        }
        // Those that are in no timeline: outliers, refused ones.
        let others = GRAPH.scan((room,)).limit(limit).all(tx).await?;
        for ((_, event), _) in &others {
            purge_record(tx, room, *event).await?;
        }
        if !others.is_empty() {
            return Ok(PurgedPiece::Events(others.len()));
        }
        self.purge_rest(tx, doomed).await?;
        Ok(PurgedPiece::Rest)
    }

    /// A member's whole relation to the room. The server's own goes with its member.
    async fn purge_member(
        &self,
        tx: &Transaction,
        room: RoomNid,
        user: StateKeyNid,
        inside: bool,
    ) -> Result<(), RoomError> {
        let user_id = UserId::parse(&*self.state_key_name(tx, user).await?).map_err(corrupt)?;
        if user_id.server_name() == self.config.server_name {
            if inside {
                return Err(RoomError::BadState(format!("{user_id} is in the room")));
            }
            // What a sync reads. Others' changes are found by the timeline later.
            for ((_, at), change) in MEMBERSHIP_LOG.scan((user,)).snapshot().all(tx).await? {
                if change.room == room {
                    MEMBERSHIP_LOG.clear(tx, (user, &at));
                }
            }
        }
        if let Some(server) = self.find_state_key(tx, user_id.server_name().as_str()).await? {
            MEMBERSHIP.clear(tx, (server, room));
        }
        NOTIFICATION.clear_prefix(tx, (user, room));
        SENT.clear_prefix(tx, (user, room));
        MEMBERSHIP.clear(tx, (user, room));
        LOCAL_MEMBER.clear(tx, (room, user));
        MEMBER.clear(tx, (room, user));
        Ok(())
    }

    async fn purge_room_itself(&self, tx: &Transaction, doomed: &Doomed) -> Result<(), RoomError> {
        let room = doomed.room;
        for ((_, alias), ()) in ROOM_ALIAS.scan((room,)).all(tx).await? {
            ALIAS.clear(tx, (&alias,));
        }
        ROOM_ALIAS.clear_prefix(tx, (room,));
        PUBLISHED.clear(tx, (room,));
        for kind in [counter::EVENTS, counter::MESSAGES, counter::JOINED, counter::INVITED] {
            let count = COUNTER.get(tx, (room, kind)).await?.unwrap_or_default();
            COUNTER.add(tx, (counter::ALL_ROOMS, kind), -count.cast_signed());
        }
        COUNTER.clear_prefix(tx, (room,));
        STATE.clear_prefix(tx, (room,));
        SERVER_USERS.clear_prefix(tx, (room,));
        EXTREMITY.clear_prefix(tx, (room,));
        ROOM.clear(tx, (room,));
        Ok(())
    }

    /// An event and what hangs on it. The transaction ids that made events go by their age.
    async fn purge_event(
        &self,
        tx: &Transaction,
        room: RoomNid,
        at: &Versionstamp,
        entry: &TimelineEntry,
    ) -> Result<(), RoomError> {
        let event = entry.event;
        if let (TypeNid::MEMBER, Some(user)) = (entry.event_type, entry.state_key) {
            let user_id = self.state_key_name(tx, user).await?;
            let server = UserId::parse(&*user_id).map(|user| user.server_name().to_owned()).map_err(corrupt)?;
            MEMBERSHIP_LOG.clear(tx, (user, at));
            if let Some(server) = self.find_state_key(tx, server.as_str()).await? {
                MEMBERSHIP_LOG.clear(tx, (server, at));
            }
        }
        purge_record(tx, room, event).await?;
        STREAM.clear(tx, (at,));
        TIMELINE.clear(tx, (room, at));
        Ok(())
    }

    async fn purge_rest(&self, tx: &Transaction, doomed: &Doomed) -> Result<(), RoomError> {
        let room = doomed.room;
        clear_everywhere(tx, "RoomNid", room.0);
        STAGED_JOIN.clear(tx, (&doomed.room_id,));
        // A room of this id that is joined again later is another one to this server.
        if ROOM_NID.get(tx, (&doomed.room_id,)).await? == Some(room) {
            ROOM_NID.clear(tx, (&doomed.room_id,));
        }
        Ok(())
    }
}

/// An event by itself.
async fn purge_record(tx: &Transaction, room: RoomNid, event: EventNid) -> Result<(), RoomError> {
    if let Some(record) = EVENT.get(tx, (event,)).await? {
        EVENT_NID.clear(tx, (&record.event_id,));
    }
    GRAPH.clear(tx, (room, event));
    clear_everywhere(tx, "EventNid", event.0);
    Ok(())
}

/// Deletes everything below `number` in every table whose keys begin with a number of this type, tables included that are
/// added after this was written.
fn clear_everywhere(tx: &Transaction, number_type: &str, number: u64) {
    for table in TABLES {
        let first = table.key.split(',').next().and_then(|part| part.split_once(": "));
        if first.is_some_and(|(_, first)| first == number_type) {
            let begin = tuple::pack(&(table.database, table.table, number));
            tx.clear_range(&begin, &past(&begin));
        }
    }
}

#[cfg(test)]
#[path = "purging_tests.rs"]
mod tests;
