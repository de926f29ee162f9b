//! Reading a room's state, as the reader may see it
//! ([getting events for a room](https://spec.matrix.org/v1.19/client-server-api/#getting-events-for-a-room)).

use std::collections::BTreeMap;

use hearth_store::Transaction;
use ruma::{
    OwnedUserId, RoomId, UserId, api::client::membership::joined_members::v3::RoomMember, events::AnyStateEvent,
    serde::Raw,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    EventNid, Membership, Position, Reader, RoomError, Rooms, StateKeyNid, TypeNid, View,
    error::corrupt,
    keys,
    stored_event::LoadedEvent,
    visibility::{StateAccess, not_a_member},
};

/// Which members are wanted.
#[derive(Debug, Clone, Default)]
pub struct MembersRequest {
    /// As of this token instead of now.
    pub at: Option<String>,
    /// Only these memberships.
    pub membership: Option<Membership>,
    /// None of these.
    pub not_membership: Option<Membership>,
}

impl Rooms {
    /// The whole state of a room. A user who left sees it as it was then.
    pub async fn state(&self, room_id: &RoomId, reader: &Reader<'_>) -> Result<Vec<Raw<AnyStateEvent>>, RoomError> {
        self.store
            .transact("state", |tx| async move {
                let view = self.view_to_enter(&tx, room_id, reader.user).await?;
                let at = self.readable_state(&tx, &view, None).await?;
                let entries = self.full_state(&tx, view.room.nid, &at, true).await?;
                let events: Vec<EventNid> = entries.into_iter().map(|entry| entry.event).collect();
                self.client_state(&tx, reader, &self.load_events(&tx, &events).await?).await
            })
            .await
    }

    /// One entry of the state: its event.
    async fn state_event_loaded(
        &self,
        tx: &Transaction,
        room_id: &RoomId,
        user: &UserId,
        event_type: &str,
        state_key: &str,
    ) -> Result<LoadedEvent, RoomError> {
        let view = self.view_to_enter(tx, room_id, user).await?;
        let at = self.readable_state(tx, &view, None).await?;
        let event_type = self.find_type(tx, event_type).await?.ok_or(RoomError::EventNotFound)?;
        let state_key = self.find_state_key(tx, state_key).await?.ok_or(RoomError::EventNotFound)?;
        let event = self.state_entry_at(tx, view.room.nid, event_type, state_key, &at).await?;
        self.load_event(tx, event.ok_or(RoomError::EventNotFound)?).await
    }

    /// The content of one entry of the state.
    pub async fn state_content(
        &self,
        room_id: &RoomId,
        user: &UserId,
        event_type: &str,
        state_key: &str,
    ) -> Result<Box<RawValue>, RoomError> {
        self.store
            .transact("state content", |tx| async move {
                let event = self.state_event_loaded(&tx, room_id, user, event_type, state_key).await?;
                Ok(event.pdu.content.clone())
            })
            .await
    }

    /// The event of one entry of the state.
    pub async fn state_event(
        &self,
        room_id: &RoomId,
        reader: &Reader<'_>,
        event_type: &str,
        state_key: &str,
    ) -> Result<Raw<AnyStateEvent>, RoomError> {
        self.store
            .transact("state event", |tx| async move {
                let event = self.state_event_loaded(&tx, room_id, reader.user, event_type, state_key).await?;
                let mut events = self.client_state(&tx, reader, &[event]).await?;
                events.pop().ok_or(RoomError::EventNotFound)
            })
            .await
    }

    /// Member events of a room. A user who left sees those of then.
    pub async fn members(
        &self,
        room_id: &RoomId,
        reader: &Reader<'_>,
        request: &MembersRequest,
    ) -> Result<Vec<Raw<AnyStateEvent>>, RoomError> {
        let at: Option<Position> = request.at.as_deref().map(str::parse).transpose()?;
        let at = at.as_ref();
        self.store
            .transact("members", |tx| async move {
                let view = self.view_to_enter(&tx, room_id, reader.user).await?;
                let newest = self.readable_state(&tx, &view, None).await?;
                let at = match at {
                    // Of the past, only what the reader may see of it.
                    Some(at) if *at < newest && !view.can_see_message(at.stamp()) => return Err(not_a_member()),
                    Some(at) => at.clone().min(newest),
                    None => newest,
                };
                let mut events = Vec::new();
                for (_, event) in self.members_of(&tx, &view, &at).await? {
                    let event = self.load_event(&tx, event).await?;
                    let membership = membership_of(&event)?;
                    if request.membership.is_none_or(|wanted| wanted == membership)
                        && request.not_membership.is_none_or(|unwanted| unwanted != membership)
                    {
                        events.push(event);
                    }
                }
                self.client_state(&tx, reader, &events).await
            })
            .await
    }

    /// Joined members of a room with their profiles. Only members are told.
    pub async fn joined_members(
        &self,
        room_id: &RoomId,
        user: &UserId,
    ) -> Result<BTreeMap<OwnedUserId, RoomMember>, RoomError> {
        #[derive(Deserialize)]
        struct Profile {
            #[serde(default)]
            displayname: Option<serde_json::Value>,
            #[serde(default)]
            avatar_url: Option<serde_json::Value>,
        }

        self.store
            .transact("joined members", |tx| async move {
                let view = self.view_to_enter(&tx, room_id, user).await?;
                if view.current_membership() != Some(Membership::Join) {
                    return Err(not_a_member());
                }
                let mut joined = BTreeMap::new();
                for (_, record) in keys::MEMBER.scan((view.room.nid,)).snapshot().all(&tx).await? {
                    if record.membership != Membership::Join {
                        continue;
                    }
                    let event = self.load_event(&tx, record.event).await?;
                    let user = UserId::parse(event.pdu.state_key.as_deref().unwrap_or_default()).map_err(corrupt)?;
                    // Members of other servers may have put anything there.
                    let profile: Profile = serde_json::from_str(event.pdu.content.get()).map_err(corrupt)?;
                    let text = |value: Option<serde_json::Value>| value?.as_str().map(str::to_owned);
                    let mut member = RoomMember::new();
                    member.display_name = text(profile.displayname);
                    member.avatar_url = text(profile.avatar_url).map(Into::into);
                    joined.insert(user, member);
                }
                Ok(joined)
            })
            .await
    }

    /// A view of a room by someone who asks for it by name: to strangers a room that does not exist looks like one
    /// that they may not enter.
    pub(crate) async fn view_to_enter(
        &self,
        tx: &Transaction,
        room_id: &RoomId,
        user: &UserId,
    ) -> Result<View, RoomError> {
        match self.view(tx, room_id, user).await {
            Err(RoomError::RoomNotFound) => Err(not_a_member()),
            other => other,
        }
    }

    /// The position of the state that the viewer may read: at `wanted` (default now), or where the viewer left if
    /// that was earlier.
    pub(crate) async fn readable_state(
        &self,
        tx: &Transaction,
        view: &View,
        wanted: Option<&Position>,
    ) -> Result<Position, RoomError> {
        let now = Position::after_version(tx.read_version().await?);
        let wanted = match wanted {
            Some(wanted) => wanted.clone().min(now),
            None => now,
        };
        match view.state_access() {
            StateAccess::Current => Ok(wanted),
            StateAccess::Until(left) => Ok(wanted.min(left)),
            StateAccess::Denied => Err(not_a_member()),
        }
    }

    /// The member events right before `at`, by user.
    async fn members_of(
        &self,
        tx: &Transaction,
        view: &View,
        at: &Position,
    ) -> Result<BTreeMap<StateKeyNid, EventNid>, RoomError> {
        let room = view.room.nid;
        let mut members: BTreeMap<StateKeyNid, EventNid> = keys::MEMBER
            .scan((room,))
            .snapshot()
            .all(tx)
            .await?
            .into_iter()
            .map(|((_, user), record)| (user, record.event))
            .collect();
        let newer = keys::STATE_LOG.scan((room,)).from((room, at.stamp())).reverse().snapshot();
        for (_, change) in newer.all(tx).await? {
            if change.event_type == TypeNid::MEMBER {
                match change.replaces {
                    Some(event) => members.insert(change.state_key, event),
                    None => members.remove(&change.state_key),
                };
            }
        }
        Ok(members)
    }
}

fn membership_of(event: &LoadedEvent) -> Result<Membership, RoomError> {
    #[derive(Deserialize)]
    struct Content {
        membership: String,
    }

    let content: Content = serde_json::from_str(event.pdu.content.get()).map_err(corrupt)?;
    Membership::parse(&content.membership).ok_or_else(|| corrupt(content.membership))
}
