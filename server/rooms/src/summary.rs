//! What a room looks like from outside, for those who may know of it:
//! [summaries](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1room_summaryroomidoralias) of single
//! rooms, which [hierarchies](crate::hierarchy) are made of.

use hearth_store::Transaction;
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedRoomId, RoomAliasId, RoomId, ServerName, UInt, UserId,
    events::space::child::HierarchySpaceChildEvent,
    room::{JoinRuleSummary, RestrictedSummary, RoomSummary, RoomType},
    serde::Raw,
};
use serde_json::{Map, Value, json};

use crate::{Membership, RoomError, RoomNid, Rooms, StateKeyNid, error::corrupt, keys};

/// Children of a space that are shown at most.
const CHILDREN: usize = 1000;
/// Longest `order` of a child, in characters.
const ORDER: usize = 50;

/// Who wants to know of a room.
#[derive(Debug, Clone, Copy)]
pub enum Onlooker<'a> {
    /// A user of this server.
    User(&'a UserId),
    /// Another server, on behalf of any of its users.
    Server(&'a ServerName),
    /// Somebody without an account.
    Anyone,
}

/// A room from outside, with its children if it is a space.
#[derive(Debug, Clone)]
pub struct RoomOutline {
    /// The summary.
    pub summary: RoomSummary,
    /// The `m.space.child` events that count, in the order of the specification; none for a room that is no space.
    pub children: Vec<SpaceChild>,
    /// The membership of the user who asks.
    pub membership: Option<Membership>,
}

/// A room of a space.
#[derive(Debug, Clone)]
pub struct SpaceChild {
    /// The room.
    pub room_id: OwnedRoomId,
    /// `suggested`
    pub suggested: bool,
    /// The stripped event.
    pub event: Raw<HierarchySpaceChildEvent>,
    order: Option<String>,
    timestamp: MilliSecondsSinceUnixEpoch,
}

impl Rooms {
    /// A room as `onlooker` may see it from outside; [`RoomError::RoomNotFound`] when it is not there or not for them.
    pub async fn outline(&self, room_id: &RoomId, onlooker: Onlooker<'_>) -> Result<RoomOutline, RoomError> {
        self.store
            .transact("room outline", |tx| async move {
                let room = self.find_room(&tx, room_id).await?.ok_or(RoomError::RoomNotFound)?;
                let summary = self.summarize(&tx, room).await?;
                let membership = match onlooker {
                    Onlooker::User(user) => self.membership_in(&tx, room, user.as_str()).await?,
                    Onlooker::Server(server) => self.membership_in(&tx, room, server.as_str()).await?,
                    Onlooker::Anyone => None,
                };
                if !self.may_know(&tx, &summary, onlooker, membership).await? {
                    return Err(RoomError::RoomNotFound);
                }
                let is_space = summary.room_type == Some(RoomType::Space);
                let children = if is_space { self.space_children(&tx, room).await? } else { Vec::new() };
                Ok(RoomOutline { summary, children, membership })
            })
            .await
    }

    async fn membership_in(
        &self,
        tx: &Transaction,
        room: RoomNid,
        audience: &str,
    ) -> Result<Option<Membership>, RoomError> {
        let Some(audience) = self.find_state_key(tx, audience).await? else { return Ok(None) };
        Ok(keys::MEMBERSHIP.get_snapshot(tx, (audience, room)).await?.map(|record| record.membership))
    }

    /// Whether the room is shown: to who is or may be in it, and of rooms that are open to the world to everybody.
    async fn may_know(
        &self,
        tx: &Transaction,
        summary: &RoomSummary,
        onlooker: Onlooker<'_>,
        membership: Option<Membership>,
    ) -> Result<bool, RoomError> {
        if summary.world_readable || matches!(membership, Some(Membership::Join | Membership::Invite)) {
            return Ok(true);
        }
        // Who is banned can neither join nor knock.
        if membership == Some(Membership::Ban) {
            return Ok(false);
        }
        let allowed = match &summary.join_rule {
            JoinRuleSummary::Public | JoinRuleSummary::Knock | JoinRuleSummary::KnockRestricted(_) => return Ok(true),
            JoinRuleSummary::Restricted(restricted) => &restricted.allowed_room_ids,
            _ => return Ok(false),
        };
        let audience = match onlooker {
            Onlooker::User(user) => user.as_str(),
            Onlooker::Server(server) => server.as_str(),
            Onlooker::Anyone => return Ok(false),
        };
        for room_id in allowed {
            if let Some(room) = self.find_room(tx, room_id).await?
                && self.membership_in(tx, room, audience).await? == Some(Membership::Join)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn summarize(&self, tx: &Transaction, room: RoomNid) -> Result<RoomSummary, RoomError> {
        let content = async |event_type: &str| -> Result<Map<String, Value>, RoomError> {
            let event = self.current_state_entry(tx, room, event_type).await?;
            // Members of other servers may have put anything there.
            Ok(event.and_then(|event| serde_json::from_str(event.pdu.content.get()).ok()).unwrap_or_default())
        };
        let text = async |event_type: &str, field: &str| -> Result<Option<String>, RoomError> {
            let text = content(event_type).await?.remove(field);
            Ok(text.as_ref().and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned))
        };
        let info = self.room_info(tx, room).await?;
        let visibility = text("m.room.history_visibility", "history_visibility").await?;
        let guests = text("m.room.guest_access", "guest_access").await?;
        let mut summary = RoomSummary::new(
            info.room_id.clone(),
            join_rule(&content("m.room.join_rules").await?),
            guests.as_deref() == Some("can_join"),
            UInt::new_saturating(self.joined_count(tx, room).await?),
            visibility.as_deref() == Some("world_readable"),
        );
        summary.name = text("m.room.name", "name").await?;
        summary.topic = text("m.room.topic", "topic").await?;
        summary.avatar_url = text("m.room.avatar", "url").await?.map(Into::into);
        let alias = text("m.room.canonical_alias", "alias").await?;
        summary.canonical_alias = alias.and_then(|alias| RoomAliasId::parse(alias).ok());
        summary.room_type = text("m.room.create", "type").await?.map(RoomType::from);
        summary.encryption = text("m.room.encryption", "algorithm").await?.map(Into::into);
        summary.room_version = Some(info.version.id.clone());
        Ok(summary)
    }

    async fn space_children(&self, tx: &Transaction, room: RoomNid) -> Result<Vec<SpaceChild>, RoomError> {
        let Some(event_type) = self.find_type(tx, "m.space.child").await? else { return Ok(Vec::new()) };
        let mut children = Vec::new();
        for ((.., key), event) in keys::STATE.scan((room, event_type)).snapshot().limit(CHILDREN).all(tx).await? {
            let key: StateKeyNid = key;
            let Ok(room_id) = RoomId::parse(&*self.state_key_name(tx, key).await?) else { continue };
            let event = self.load_event(tx, event).await?;
            let content: Map<String, Value> = serde_json::from_str(event.pdu.content.get()).unwrap_or_default();
            if !content.get("via").is_some_and(Value::is_array) {
                continue;
            }
            let order = content.get("order").and_then(Value::as_str).filter(|order| is_order(order));
            let stripped = json!({
                "type": "m.space.child",
                "state_key": room_id,
                "sender": event.pdu.sender,
                "content": event.pdu.content,
                "origin_server_ts": event.pdu.origin_server_ts,
            });
            children.push(SpaceChild {
                suggested: content.get("suggested").and_then(Value::as_bool) == Some(true),
                order: order.map(str::to_owned),
                timestamp: event.pdu.origin_server_ts,
                event: Raw::new(&stripped).map_err(corrupt)?.cast_unchecked(),
                room_id,
            });
        }
        children.sort_by(|a, b| a.rank().cmp(&b.rank()));
        Ok(children)
    }
}

impl SpaceChild {
    /// Children with an order come first, then by age, then by room id.
    fn rank(&self) -> (bool, Option<&str>, MilliSecondsSinceUnixEpoch, &RoomId) {
        (self.order.is_none(), self.order.as_deref(), self.timestamp, &self.room_id)
    }
}

fn is_order(order: &str) -> bool {
    order.chars().count() <= ORDER && order.chars().all(|c| (' '..='~').contains(&c))
}

fn join_rule(content: &Map<String, Value>) -> JoinRuleSummary {
    let allowed = || {
        let allow = content.get("allow").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let rooms = allow
            .iter()
            .filter(|condition| condition.get("type").and_then(Value::as_str) == Some("m.room_membership"))
            .filter_map(|condition| RoomId::parse(condition.get("room_id")?.as_str()?).ok());
        RestrictedSummary::new(rooms.collect())
    };
    match content.get("join_rule").and_then(Value::as_str) {
        Some("public") => JoinRuleSummary::Public,
        Some("knock") => JoinRuleSummary::Knock,
        Some("private") => JoinRuleSummary::Private,
        Some("restricted") => JoinRuleSummary::Restricted(allowed()),
        Some("knock_restricted") => JoinRuleSummary::KnockRestricted(allowed()),
        // What nobody knows lets nobody in.
        _ => JoinRuleSummary::Invite,
    }
}
