//! Rooms: list, details, members, state.

use std::sync::Arc;

use axum::{Json, extract::State};
use hearth_rooms::{
    Membership, RoomError,
    admin::{RoomMember, RoomOrder, RoomQuery, RoomSummary, StateEntry},
};
use ruma::{OwnedRoomId, RoomId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Path, Query};
use crate::admin::{error::AdminError, state::Admin};

/// Most rooms on one page.
const MOST_ROOMS: usize = 200;
/// Most members on one page.
const MOST_MEMBERS: usize = 500;

/// Which rooms to list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::admin) struct ListQuery {
    /// Only rooms whose name, alias or id contains this, in any case.
    search: Option<String>,
    /// What to sort by; the newest activity unless told otherwise.
    #[param(inline)]
    order_by: Option<RoomOrderBy>,
    /// `asc` (names from A, numbers from the smallest) or `desc`, the default.
    #[param(inline)]
    direction: Option<Direction>,
    /// Skip so many.
    offset: Option<usize>,
    /// At most so many; 50 unless told otherwise, at most 200.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<usize>,
}

/// What rooms are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::admin) enum RoomOrderBy {
    /// The newest event.
    Activity,
    /// The name.
    Name,
    /// Joined members.
    Members,
    /// Messages.
    Messages,
}

/// A direction of sorting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::admin) enum Direction {
    /// Upwards.
    Asc,
    /// Downwards.
    Desc,
}

/// A page of rooms.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(in crate::admin) struct RoomList {
    /// The rooms.
    rooms: Vec<Room>,
    /// How many there are on all pages.
    total: u64,
}

/// A room.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(in crate::admin) struct Room {
    /// Room id.
    room_id: String,
    /// Its name.
    name: Option<String>,
    /// Its main alias.
    canonical_alias: Option<String>,
    /// Its topic.
    topic: Option<String>,
    /// Who made it.
    creator: Option<String>,
    /// Room version.
    version: String,
    /// What kind of room it is, such as `m.space`; plain rooms have none.
    room_type: Option<String>,
    /// Whether messages are end-to-end encrypted.
    encrypted: bool,
    /// Whether users of other servers may take part.
    federated: bool,
    /// Whether the public directory lists it.
    published: bool,
    /// Who may join: `public`, `invite`, `knock`, `restricted`, …
    join_rule: Option<String>,
    /// Who may read history: `shared`, `joined`, `invited`, `world_readable`.
    history_visibility: Option<String>,
    /// Joined members.
    joined_members: u64,
    /// Invited members.
    invited_members: u64,
    /// Servers with joined members.
    servers: u64,
    /// Messages.
    messages: u64,
    /// Events, messages included.
    events: u64,
    /// Time of the newest event, Unix milliseconds.
    last_activity: u64,
}

impl From<RoomSummary> for Room {
    fn from(room: RoomSummary) -> Self {
        Self {
            room_id: room.room_id,
            name: room.name,
            canonical_alias: room.canonical_alias,
            topic: room.topic,
            creator: room.creator,
            version: room.version,
            room_type: room.room_type,
            encrypted: room.encrypted,
            federated: room.federated,
            published: room.published,
            join_rule: room.join_rule,
            history_visibility: room.history_visibility,
            joined_members: room.joined,
            invited_members: room.invited,
            servers: room.servers,
            messages: room.messages,
            events: room.events,
            last_activity: room.last_event_ts,
        }
    }
}

/// Which members to list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::admin) struct MemberQuery {
    /// Skip so many.
    offset: Option<usize>,
    /// At most so many; 100 unless told otherwise, at most 500.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
}

/// A page of a room's members.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(in crate::admin) struct MemberList {
    /// The members: joined, invited, knocking, banned, left.
    members: Vec<Member>,
    /// How many there are on all pages.
    total: u64,
}

/// A member of a room.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(in crate::admin) struct Member {
    /// User id.
    user_id: String,
    /// Name in this room.
    display_name: Option<String>,
    /// What the membership is.
    membership: MemberState,
    /// Who made it so.
    sender: String,
    /// Since when, Unix milliseconds.
    since: u64,
}

/// What a membership is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::admin) enum MemberState {
    /// In the room.
    Join,
    /// Asked to come in.
    Invite,
    /// Asked to be let in.
    Knock,
    /// Kept out.
    Ban,
    /// Left, or was removed.
    Leave,
}

impl From<RoomMember> for Member {
    fn from(member: RoomMember) -> Self {
        let membership = match member.membership {
            Membership::Join => MemberState::Join,
            Membership::Invite => MemberState::Invite,
            Membership::Knock => MemberState::Knock,
            Membership::Ban => MemberState::Ban,
            Membership::Leave => MemberState::Leave,
        };
        Self {
            user_id: member.user_id,
            display_name: member.displayname,
            membership,
            sender: member.sender,
            since: member.since,
        }
    }
}

/// An entry of a room's current state.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(in crate::admin) struct StateEvent {
    /// Event type.
    #[serde(rename = "type")]
    event_type: String,
    /// State key.
    state_key: String,
    /// The event that set it.
    event_id: String,
    /// Its sender.
    sender: String,
    /// When, Unix milliseconds.
    at: u64,
    /// Its content.
    #[schema(value_type = Object)]
    content: Box<serde_json::value::RawValue>,
}

impl From<StateEntry> for StateEvent {
    fn from(entry: StateEntry) -> Self {
        Self {
            event_type: entry.event_type,
            state_key: entry.state_key,
            event_id: entry.event_id,
            sender: entry.sender,
            at: entry.origin_server_ts,
            content: entry.content,
        }
    }
}

impl From<RoomError> for AdminError {
    fn from(error: RoomError) -> Self {
        match error {
            RoomError::RoomNotFound => Self::not_found("This server does not know that room."),
            error => Self::internal(&error),
        }
    }
}

fn parse(room_id: &str) -> Result<OwnedRoomId, AdminError> {
    RoomId::parse(room_id).map_err(|_| AdminError::invalid("room_id", "This is not a room id."))
}

/// Rooms, with search and paging.
#[utoipa::path(get, path = "/rooms", operation_id = "list_rooms", tag = "rooms", params(ListQuery), responses(
    (status = OK, body = RoomList),
    (status = "default", body = AdminError),
))]
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<ListQuery>,
) -> Result<Json<RoomList>, AdminError> {
    let query = RoomQuery {
        search: query.search,
        order: match query.order_by.unwrap_or(RoomOrderBy::Activity) {
            RoomOrderBy::Activity => RoomOrder::Activity,
            RoomOrderBy::Name => RoomOrder::Name,
            RoomOrderBy::Members => RoomOrder::Members,
            RoomOrderBy::Messages => RoomOrder::Messages,
        },
        ascending: query.direction == Some(Direction::Asc),
        offset: query.offset.unwrap_or(0),
        limit: query.limit.unwrap_or(50).clamp(1, MOST_ROOMS),
    };
    let page = admin.parts.rooms.list_rooms(&query).await?;
    let rooms = page.rooms.into_iter().map(Room::from).collect();
    Ok(Json(RoomList { rooms, total: page.total as u64 }))
}

/// One room.
#[utoipa::path(get, path = "/rooms/{room_id}", operation_id = "get_room", tag = "rooms", params(("room_id" = String, Path)), responses(
    (status = OK, body = Room),
    (status = "default", body = AdminError),
))]
pub(super) async fn get(
    State(admin): State<Arc<Admin>>,
    Path(room_id): Path<String>,
) -> Result<Json<Room>, AdminError> {
    let summary = admin.parts.rooms.room_summary(&parse(&room_id)?).await?;
    Ok(Json(summary.into()))
}

/// The members of a room, with paging.
#[utoipa::path(
    get,
    path = "/rooms/{room_id}/members",
    operation_id = "list_room_members",
    tag = "rooms",
    params(("room_id" = String, Path), MemberQuery),
    responses((status = OK, body = MemberList), (status = "default", body = AdminError)),
)]
pub(super) async fn members(
    State(admin): State<Arc<Admin>>,
    Path(room_id): Path<String>,
    Query(query): Query<MemberQuery>,
) -> Result<Json<MemberList>, AdminError> {
    let limit = query.limit.unwrap_or(100).clamp(1, MOST_MEMBERS);
    let page = admin.parts.rooms.list_members(&parse(&room_id)?, query.offset.unwrap_or(0), limit).await?;
    let members = page.members.into_iter().map(Member::from).collect();
    Ok(Json(MemberList { members, total: page.total as u64 }))
}

/// The current state of a room, members not included.
#[utoipa::path(get, path = "/rooms/{room_id}/state", operation_id = "list_room_state", tag = "rooms", params(("room_id" = String, Path)), responses(
    (status = OK, body = Vec<StateEvent>),
    (status = "default", body = AdminError),
))]
pub(super) async fn state(
    State(admin): State<Arc<Admin>>,
    Path(room_id): Path<String>,
) -> Result<Json<Vec<StateEvent>>, AdminError> {
    let entries = admin.parts.rooms.list_state(&parse(&room_id)?).await?;
    Ok(Json(entries.into_iter().map(StateEvent::from).collect()))
}
