//! Small facts about a room that sync responses carry.

use hearth_protocol::client_event::to_stripped;
use hearth_store::Transaction;
use ruma::{OwnedUserId, UserId, events::AnyStrippedStateEvent, serde::Raw};
use serde::Deserialize;

use super::SyncSummary;
use crate::{
    Membership, RoomError, RoomNid, Rooms, StateKeyNid, TypeNid, error::corrupt, keys, records::MembershipRecord,
};

/// Users that name a room at most.
const HEROES: usize = 5;
/// Members that are looked at for heroes: enough for every room that is small enough to be named by its members.
const MAX_MEMBERS: usize = 200;
/// State that an invited user gets to see, besides the member events
/// ([stripped state](https://spec.matrix.org/v1.19/client-server-api/#stripped-state)).
const STRIPPED: &[&str] = &[
    "m.room.create",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.join_rules",
    "m.room.canonical_alias",
    "m.room.encryption",
];

/// Kinds of [`keys::COUNTER`].
const JOINED: u64 = 2;
const INVITED: u64 = 3;

impl Rooms {
    /// `summary` of the room, for `user`, who is never a hero.
    pub async fn sync_summary(
        &self,
        tx: &Transaction,
        room: RoomNid,
        user: StateKeyNid,
    ) -> Result<SyncSummary, RoomError> {
        let joined = self.joined_count(tx, room).await?;
        let invited = keys::COUNTER.get_snapshot(tx, (room, INVITED)).await?.unwrap_or_default();
        let heroes = if self.has_name(tx, room).await? { None } else { Some(self.heroes(tx, room, user).await?) };
        Ok(SyncSummary { heroes, joined, invited })
    }

    /// Number of joined users.
    pub async fn joined_count(&self, tx: &Transaction, room: RoomNid) -> Result<u64, RoomError> {
        Ok(keys::COUNTER.get_snapshot(tx, (room, JOINED)).await?.unwrap_or_default())
    }

    /// The state that an invited or knocking user is shown of the room, as stripped events: the room's recommended
    /// state, the user's own member event and the one of who sent that.
    pub async fn stripped_state(
        &self,
        tx: &Transaction,
        room: RoomNid,
        user: StateKeyNid,
    ) -> Result<Vec<Raw<AnyStrippedStateEvent>>, RoomError> {
        let mut events = Vec::new();
        for name in STRIPPED {
            let Some(event_type) = self.find_type(tx, name).await? else { continue };
            events.extend(keys::STATE.get_snapshot(tx, (room, event_type, StateKeyNid::EMPTY)).await?);
        }
        if let Some(record) = keys::MEMBER.get_snapshot(tx, (room, user)).await? {
            if record.sender != user
                && let Some(sender) = keys::MEMBER.get_snapshot(tx, (room, record.sender)).await?
            {
                events.push(sender.event);
            }
            events.push(record.event);
        }
        let events = self.load_events(tx, &events).await?;
        Ok(events.iter().map(|event| to_stripped(&event.pdu)).collect())
    }

    /// Whether the room has a name or an alias to be shown by.
    async fn has_name(&self, tx: &Transaction, room: RoomNid) -> Result<bool, RoomError> {
        #[derive(Deserialize)]
        struct Name {
            name: Option<String>,
            alias: Option<String>,
        }

        for name in ["m.room.name", "m.room.canonical_alias"] {
            let Some(event_type) = self.find_type(tx, name).await? else { continue };
            let Some(event) = keys::STATE.get_snapshot(tx, (room, event_type, StateKeyNid::EMPTY)).await? else {
                continue;
            };
            let event = self.load_event(tx, event).await?;
            let content: Option<Name> = serde_json::from_str(event.pdu.content.get()).ok();
            if content.and_then(|content| content.name.or(content.alias)).is_some_and(|name| !name.is_empty()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The first joined or invited members besides `user`; where there is none, the first who left or were banned.
    async fn heroes(&self, tx: &Transaction, room: RoomNid, user: StateKeyNid) -> Result<Vec<OwnedUserId>, RoomError> {
        let members = keys::MEMBER.scan((room,)).limit(MAX_MEMBERS).snapshot().all(tx).await?;
        let mut others: Vec<(StateKeyNid, MembershipRecord)> = members
            .into_iter()
            .map(|((_, member), record)| (member, record))
            .filter(|(member, _)| *member != user)
            .collect();
        let is_here = |record: &MembershipRecord| matches!(record.membership, Membership::Join | Membership::Invite);
        if others.iter().any(|(_, record)| is_here(record)) {
            others.retain(|(_, record)| is_here(record));
        } else {
            others.retain(|(_, record)| matches!(record.membership, Membership::Leave | Membership::Ban));
        }
        // In the order in which they came to be what they are.
        others.sort_unstable_by_key(|(_, record)| record.event);
        let mut heroes = Vec::with_capacity(HEROES);
        for (member, _) in others.into_iter().take(HEROES) {
            heroes.push(UserId::parse(&*self.state_key_name(tx, member).await?).map_err(corrupt)?);
        }
        Ok(heroes)
    }

    /// The event of one entry of the current state.
    pub(crate) async fn current_state_entry(
        &self,
        tx: &Transaction,
        room: RoomNid,
        event_type: &str,
    ) -> Result<Option<crate::stored_event::LoadedEvent>, RoomError> {
        let Some(event_type) = self.find_type(tx, event_type).await? else { return Ok(None) };
        debug_assert_ne!(event_type, TypeNid::MEMBER, "members are in a table of their own");
        match keys::STATE.get_snapshot(tx, (room, event_type, StateKeyNid::EMPTY)).await? {
            Some(event) => Ok(Some(self.load_event(tx, event).await?)),
            None => Ok(None),
        }
    }
}
