//! [Room membership](https://spec.matrix.org/v1.19/client-server-api/#room-membership).

use std::sync::Arc;

use futures_util::{
    future::BoxFuture,
    stream::{self, StreamExt},
};
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedMxcUri, OwnedRoomId, OwnedUserId, RoomId, UserId,
    events::TimelineEventType, state_res::events::RoomPowerLevelsIntField,
};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{
    RoomError, RoomNid, Rooms,
    error::corrupt,
    keys::{MEMBER, MEMBERSHIP},
    lanes::Operation,
    records::{Membership, MembershipRecord},
    special::raw,
    writer::{Effects, NewEvent, RoomWriter},
};

/// Rooms in which one change of a user is made at the same time.
const ROOMS_AT_ONCE: usize = 16;

/// The parts of a user's profile that member events carry.
#[derive(Debug, Clone, Default)]
pub struct MemberProfile {
    /// `displayname`
    pub displayname: Option<String>,
    /// `avatar_url`
    pub avatar_url: Option<OwnedMxcUri>,
}

impl MemberProfile {
    /// Puts the profile into a member event's content, in place of what it says there.
    pub(crate) fn write_to(&self, content: &mut serde_json::Map<String, Value>) {
        let fields = [
            ("displayname", self.displayname.clone()),
            ("avatar_url", self.avatar_url.as_ref().map(ToString::to_string)),
        ];
        for (field, value) in fields {
            match value {
                Some(value) => {
                    content.insert(field.to_owned(), value.into());
                }
                None => {
                    content.remove(field);
                }
            }
        }
    }
}

/// A membership change that one user makes for a target (perhaps themselves).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// `POST /join`
    Join,
    /// `POST /knock`
    Knock,
    /// `POST /invite`
    Invite,
    /// `POST /leave` (also rejects an invite or retracts a knock)
    Leave,
    /// `POST /kick`
    Kick,
    /// `POST /ban`
    Ban,
    /// `POST /unban`
    Unban,
}

impl Change {
    /// What the membership becomes.
    fn membership(self) -> Membership {
        match self {
            Self::Join => Membership::Join,
            Self::Knock => Membership::Knock,
            Self::Invite => Membership::Invite,
            Self::Leave | Self::Kick | Self::Unban => Membership::Leave,
            Self::Ban => Membership::Ban,
        }
    }

    /// Whether the member event carries the target's profile.
    fn shows_profile(self) -> bool {
        matches!(self, Self::Join | Self::Knock | Self::Invite)
    }
}

impl Rooms {
    /// Changes a membership, with the checks that the specification gives for each request. `profile` is the target's.
    /// Joining a room where one is joined already changes nothing. Restricted rooms are joined through a local
    /// user who may invite.
    #[tracing::instrument(skip_all, fields(%room_id, %sender, %target, ?change))]
    pub async fn change_membership(
        &self,
        room_id: &RoomId,
        sender: &UserId,
        target: &UserId,
        change: Change,
        profile: &MemberProfile,
        reason: Option<String>,
    ) -> Result<(), RoomError> {
        let room = self.room_to_write(room_id).await?.ok_or(RoomError::RoomNotFound)?;
        let mut content = serde_json::Map::new();
        content.insert("membership".to_owned(), change.membership().as_str().into());
        if change.shows_profile() {
            profile.write_to(&mut content);
        }
        if let Some(reason) = reason {
            content.insert("reason".to_owned(), reason.into());
        }
        let operation = MembershipOperation {
            sender: sender.to_owned(),
            target: target.to_owned(),
            change: Some(change),
            content,
            timestamp: MilliSecondsSinceUnixEpoch::now(),
        };
        self.lanes.run(self, room, Arc::new(operation)).await?;
        Ok(())
    }

    /// Forgets a room that the user has left.
    pub async fn forget(&self, room_id: &RoomId, user: &UserId) -> Result<(), RoomError> {
        self.store
            .transact("forget room", |tx| async move {
                let room = self.find_room(&tx, room_id).await?.ok_or(RoomError::RoomNotFound)?;
                let nid = self.find_state_key(&tx, user.as_str()).await?.ok_or_else(never_there)?;
                let mut record = MEMBERSHIP.get(&tx, (nid, room)).await?.ok_or_else(never_there)?;
                if !matches!(record.membership, Membership::Leave | Membership::Ban) {
                    return Err(RoomError::BadState("a room must be left before it is forgotten".to_owned()));
                }
                if !record.forgotten {
                    record.forgotten = true;
                    MEMBERSHIP.set(&tx, (nid, room), &record);
                }
                Ok(())
            })
            .await
    }

    /// Rewrites the user's member events in every joined room after a profile change.
    pub async fn update_profile(&self, user: &UserId, profile: &MemberProfile) -> Result<(), RoomError> {
        let operation = Arc::new(ProfileOperation {
            user: user.to_owned(),
            profile: profile.clone(),
            timestamp: MilliSecondsSinceUnixEpoch::now(),
        });
        let rooms = self.room_nids_of(user, |membership| membership == Membership::Join).await?;
        self.run_everywhere(rooms, operation).await
    }

    /// Rooms that the user is in, is invited to or knocks at, in the order of their numeric ids.
    pub(crate) async fn rooms_to_leave(&self, user: &UserId) -> Result<Vec<RoomNid>, RoomError> {
        let inside = |membership| matches!(membership, Membership::Join | Membership::Invite | Membership::Knock);
        self.room_nids_of(user, inside).await
    }

    /// Leaves these rooms. One that refuses stays as it is.
    pub(crate) async fn leave_these(&self, user: &UserId, rooms: Vec<RoomNid>) -> Result<(), RoomError> {
        let content = [("membership".to_owned(), Membership::Leave.as_str().into())];
        let operation = Arc::new(MembershipOperation {
            sender: user.to_owned(),
            target: user.to_owned(),
            change: Some(Change::Leave),
            content: content.into_iter().collect(),
            timestamp: MilliSecondsSinceUnixEpoch::now(),
        });
        self.run_everywhere(rooms, operation).await
    }

    /// Runs an operation in many rooms, several at once so that they share commits.
    async fn run_everywhere(&self, rooms: Vec<RoomNid>, operation: Arc<dyn Operation>) -> Result<(), RoomError> {
        let runs = rooms.into_iter().map(|room| self.lanes.run(self, room, operation.clone()));
        let mut runs = stream::iter(runs).buffer_unordered(ROOMS_AT_ONCE);
        while let Some(outcome) = runs.next().await {
            match outcome {
                // Left or banned in the meantime, or a room that refuses: the others still change.
                Ok(_) | Err(RoomError::Forbidden(_) | RoomError::BadState(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Rooms where the user has `membership`.
    pub async fn rooms_of(&self, user: &UserId, membership: Membership) -> Result<Vec<OwnedRoomId>, RoomError> {
        let nids = self.room_nids_of(user, |current| current == membership).await?;
        let tx = self.store.begin();
        let mut rooms = Vec::with_capacity(nids.len());
        for nid in nids {
            rooms.push(self.room_info(&tx, nid).await?.room_id.clone());
        }
        Ok(rooms)
    }

    /// The user's membership in a room, `None` when they never had one.
    pub async fn membership_of(&self, room_id: &RoomId, user: &UserId) -> Result<Option<Membership>, RoomError> {
        let tx = self.store.begin();
        let Some(room) = self.find_room(&tx, room_id).await? else { return Ok(None) };
        let Some(user) = self.find_state_key(&tx, user.as_str()).await? else { return Ok(None) };
        Ok(MEMBER.get_snapshot(&tx, (room, user)).await?.map(|record| record.membership))
    }

    /// Whether two users share a joined room.
    pub async fn share_room(&self, a: &UserId, b: &UserId) -> Result<bool, RoomError> {
        let joined = |membership| membership == Membership::Join;
        let rooms_of_a = self.room_nids_of(a, joined).await?;
        if rooms_of_a.is_empty() {
            return Ok(false);
        }
        // Both lists are in key order.
        let rooms_of_b = self.room_nids_of(b, joined).await?;
        Ok(rooms_of_a.iter().any(|room| rooms_of_b.binary_search(room).is_ok()))
    }

    /// Rooms of a user by membership, in the order of their numeric ids.
    async fn room_nids_of(
        &self,
        user: &UserId,
        wanted: impl Fn(Membership) -> bool,
    ) -> Result<Vec<RoomNid>, RoomError> {
        let tx = self.store.begin();
        let Some(user) = self.find_state_key(&tx, user.as_str()).await? else { return Ok(Vec::new()) };
        let memberships = MEMBERSHIP.scan((user,)).snapshot().all(&tx).await?;
        let wanted = memberships.into_iter().filter(|(_, record)| wanted(record.membership));
        Ok(wanted.map(|((_, room), _)| room).collect())
    }
}

fn never_there() -> RoomError {
    RoomError::BadState("the user was never in the room".to_owned())
}

/// A membership change, from one of its own endpoints or from `PUT /state/m.room.member`.
pub(crate) struct MembershipOperation {
    sender: OwnedUserId,
    target: OwnedUserId,
    /// `None`: what the content asks for, given what the target's membership is.
    change: Option<Change>,
    content: serde_json::Map<String, Value>,
    timestamp: MilliSecondsSinceUnixEpoch,
}

/// What a change comes to, given the membership before it.
enum Step {
    /// The member event is sent, unless it would be the current one again.
    Send,
    /// There is nothing to change.
    Nothing(MembershipRecord),
}

impl MembershipOperation {
    /// What a user asks for who sends a member event as a state event.
    pub(crate) fn from_content(
        sender: &UserId,
        target: OwnedUserId,
        content: &RawValue,
        timestamp: MilliSecondsSinceUnixEpoch,
    ) -> Result<Self, RoomError> {
        let content: serde_json::Map<String, Value> =
            serde_json::from_str(content.get()).map_err(|error| RoomError::BadRequest(error.to_string()))?;
        let membership = content.get("membership").and_then(Value::as_str).and_then(Membership::parse);
        if membership.is_none() {
            return Err(RoomError::BadRequest("a member event has a membership".to_owned()));
        }
        Ok(Self { sender: sender.to_owned(), target, change: None, content, timestamp })
    }

    fn change(&self, current: Option<Membership>) -> Change {
        if let Some(change) = self.change {
            return change;
        }
        let asked = self.content.get("membership").and_then(Value::as_str).and_then(Membership::parse);
        match asked {
            Some(Membership::Join) => Change::Join,
            Some(Membership::Knock) => Change::Knock,
            Some(Membership::Invite) => Change::Invite,
            Some(Membership::Ban) => Change::Ban,
            Some(Membership::Leave) | None => {
                if self.sender == self.target {
                    Change::Leave
                } else if current == Some(Membership::Ban) {
                    Change::Unban
                } else {
                    Change::Kick
                }
            }
        }
    }

    /// The checks of the endpoints beyond the authorization rules.
    fn step(&self, change: Change, current: Option<MembershipRecord>) -> Result<Step, RoomError> {
        let membership = current.as_ref().map(|record| record.membership);
        let forbidden = |text: &str| Err(RoomError::Forbidden(text.to_owned()));
        match (change, membership, current) {
            // A profile that comes with `PUT /state` may be new; one from an endpoint is no reason for an event.
            (Change::Join, Some(Membership::Join), Some(record)) if self.change.is_some() => Ok(Step::Nothing(record)),
            (Change::Leave, Some(Membership::Leave), Some(record)) => Ok(Step::Nothing(record)),
            (Change::Leave, None, _) => forbidden("not in the room"),
            (Change::Kick, None | Some(Membership::Leave), _) => forbidden("the user is not in the room"),
            (Change::Kick, Some(Membership::Ban), _) => {
                forbidden("the user is banned, and only unbanning changes that")
            }
            (Change::Unban, membership, _) if membership != Some(Membership::Ban) => {
                Err(RoomError::BadState("the user is not banned".to_owned()))
            }
            (Change::Invite, _, _) if self.target.server_name() != self.sender.server_name() => {
                Err(RoomError::BadRequest(format!("{} is on another server, which this one cannot reach", self.target)))
            }
            _ => Ok(Step::Send),
        }
    }

    async fn apply(&self, room: &mut RoomWriter<'_>) -> Result<OwnedEventId, RoomError> {
        let current = room.membership(&self.target).await?;
        let membership = current.as_ref().map(|record| record.membership);
        let change = self.change(membership);
        // Before anything that depends on the target, so that an outsider learns nothing about them.
        if matches!(change, Change::Invite | Change::Kick | Change::Ban | Change::Unban)
            && room.membership_state(&self.sender).await? != Some(Membership::Join)
        {
            return Err(RoomError::Forbidden("sender's membership is not `join`".to_owned()));
        }
        if let Step::Nothing(record) = self.step(change, current)? {
            return Ok(room.event(record.event).await?.pdu.event_id.clone());
        }
        if matches!(change, Change::Join | Change::Knock | Change::Invite) {
            room.rooms.must_not_be_blocked(&room.tx, &room.info.room_id).await?;
        }
        let mut content = self.content.clone();
        if change == Change::Join && !matches!(membership, Some(Membership::Join | Membership::Invite)) {
            // Whoever the client names has not agreed to anything.
            content.remove(AUTHORISED);
            if let Some(user) = room.authorising_user(&self.sender).await? {
                content.insert(AUTHORISED.to_owned(), user.as_str().into());
            }
        }
        let new = NewEvent::state(
            self.sender.clone(),
            TimelineEventType::RoomMember,
            self.target.to_string(),
            raw(&content)?,
            self.timestamp,
        );
        room.append_if_changed(new, Effects::default()).await
    }
}

const AUTHORISED: &str = "join_authorised_via_users_server";

impl Operation for MembershipOperation {
    fn run<'a>(&'a self, room: &'a mut RoomWriter<'_>) -> BoxFuture<'a, Result<OwnedEventId, RoomError>> {
        Box::pin(self.apply(room))
    }

    fn weight(&self) -> usize {
        self.content.values().map(|value| value.as_str().map_or(64, str::len)).sum()
    }
}

/// Writes a changed profile into a joined user's member event.
struct ProfileOperation {
    user: OwnedUserId,
    profile: MemberProfile,
    timestamp: MilliSecondsSinceUnixEpoch,
}

impl ProfileOperation {
    async fn apply(&self, room: &mut RoomWriter<'_>) -> Result<OwnedEventId, RoomError> {
        let current = room.state("m.room.member", self.user.as_str()).await?.ok_or_else(never_there)?;
        if room.membership_state(&self.user).await? != Some(Membership::Join) {
            return Ok(current.pdu.event_id.clone());
        }
        let mut content: serde_json::Map<String, Value> =
            serde_json::from_str(current.pdu.content.get()).map_err(corrupt)?;
        // They belong to the join.
        content.remove("reason");
        content.remove(AUTHORISED);
        self.profile.write_to(&mut content);
        let new = NewEvent::state(
            self.user.clone(),
            TimelineEventType::RoomMember,
            self.user.to_string(),
            raw(&content)?,
            self.timestamp,
        );
        room.append_if_changed(new, Effects::default()).await
    }
}

impl Operation for ProfileOperation {
    fn run<'a>(&'a self, room: &'a mut RoomWriter<'_>) -> BoxFuture<'a, Result<OwnedEventId, RoomError>> {
        Box::pin(self.apply(room))
    }

    fn weight(&self) -> usize {
        512
    }
}

#[derive(Deserialize)]
struct JoinRules {
    join_rule: String,
    #[serde(default)]
    allow: Vec<Value>,
}

impl RoomWriter<'_> {
    /// For a room with restricted joins: the local user on whose authority `user` may join, because they are in one
    /// of the rooms that the join rules name
    /// ([restricted rooms](https://spec.matrix.org/v1.19/client-server-api/#restricted-rooms)).
    /// `None` where joins are not restricted.
    async fn authorising_user(&mut self, user: &UserId) -> Result<Option<OwnedUserId>, RoomError> {
        let Some(rules) = self.state("m.room.join_rules", "").await? else { return Ok(None) };
        let Ok(rules) = serde_json::from_str::<JoinRules>(rules.pdu.content.get()) else { return Ok(None) };
        if !matches!(rules.join_rule.as_str(), "restricted" | "knock_restricted") {
            return Ok(None);
        }
        // The authorization rules say so too, but an event with an authorising user would get past the join rules.
        if self.membership_state(user).await? == Some(Membership::Ban) {
            return Err(RoomError::Forbidden("banned from the room".to_owned()));
        }
        if !self.is_in_one_of(user, &rules.allow).await? {
            return Err(RoomError::Forbidden("in none of the rooms whose members may join this one".to_owned()));
        }
        let mut candidates: Vec<_> =
            self.local_users().await?.iter().map(|(nid, user)| (*nid, user.user_id.clone())).collect();
        candidates.sort_unstable();
        let candidates = self
            .with_power_levels(|levels| {
                let mut able = Vec::new();
                for (_, candidate) in candidates {
                    if levels.may(&candidate, RoomPowerLevelsIntField::Invite)? {
                        able.push(candidate);
                    }
                }
                Ok(able)
            })
            .await?;
        for candidate in candidates {
            // One of them may have left in this very transaction.
            if self.membership_state(&candidate).await? == Some(Membership::Join) {
                return Ok(Some(candidate));
            }
        }
        Err(RoomError::Forbidden("nobody of this server in the room may let others in".to_owned()))
    }

    async fn is_in_one_of(&self, user: &UserId, allow: &[Value]) -> Result<bool, RoomError> {
        let Some(user) = self.rooms.find_state_key(&self.tx, user.as_str()).await? else { return Ok(false) };
        for condition in allow {
            if condition.get("type").and_then(Value::as_str) != Some("m.room_membership") {
                continue;
            }
            let room_id = condition.get("room_id").and_then(Value::as_str);
            let Some(room_id) = room_id.and_then(|id| <&RoomId>::try_from(id).ok()) else { continue };
            let Some(room) = self.rooms.find_room(&self.tx, room_id).await? else { continue };
            let member = MEMBER.get(&self.tx, (room, user)).await?;
            if member.is_some_and(|record| record.membership == Membership::Join) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
