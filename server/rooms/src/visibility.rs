//! Who may see what: [history visibility](https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility)
//! and membership decide every read.
//!
//! A [`View`] holds, for one room and one user, the two histories on which the specification's rules depend: the
//! room's history visibility and the user's own memberships. Both are read from `STATE_AT`, cached, and
//! extended by what was added since, so that a view costs two short reads.

use std::sync::Arc;

use hearth_store::{Transaction, Versionstamp, last_stamp};
use ruma::{RoomId, UserId, events::room::history_visibility::HistoryVisibility};
use serde::Deserialize;

use crate::{
    Membership, RoomError, RoomNid, Rooms, StateKeyNid, TypeNid,
    histories::{MemberHistory, VisibilityHistory},
    keys,
    position::Position,
    records::TimelineEntry,
    room_info::RoomInfo,
    snapshots::ABSENT,
};

/// Which state of a room its reader may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateAccess {
    /// The current state.
    Current,
    /// The state at the position where the reader ceased to be a member.
    Until(Position),
    /// None.
    Denied,
}

/// What one user may see of one room.
#[derive(Debug, Clone)]
pub struct View {
    /// The room.
    pub room: Arc<RoomInfo>,
    /// The user's numeric id; `None` for a user whom no room ever saw.
    pub user: Option<StateKeyNid>,
    members: Arc<MemberHistory>,
    visibility: Arc<VisibilityHistory>,
    /// What was published later than this transaction reads does not count.
    until: Versionstamp,
}

impl View {
    /// Whether the user may see the event at `at`. `entry` tells whether it is one of the two kinds of event that count
    /// on both sides of the change that they make.
    pub fn can_see(&self, at: &Versionstamp, entry: &TimelineEntry) -> bool {
        let is_own = entry.event_type == TypeNid::MEMBER && entry.state_key.is_some() && entry.state_key == self.user;
        let is_visibility =
            entry.event_type == TypeNid::HISTORY_VISIBILITY && entry.state_key == Some(StateKeyNid::EMPTY);
        self.can_see_event(at, is_own, is_visibility)
    }

    /// [`Self::can_see`] for an event that is neither of these.
    pub fn can_see_message(&self, at: &Versionstamp) -> bool {
        self.can_see_event(at, false, false)
    }

    /// [`Self::can_see`] with the two facts about the event taken apart: whether it is the user's own member event,
    /// and whether it is the room's history visibility.
    pub(crate) fn can_see_event(&self, at: &Versionstamp, is_own: bool, is_visibility: bool) -> bool {
        let visibility = self.visibility.0.before(at);
        let membership = self.membership_before(at);
        self.allows(at, visibility, membership)
            || is_visibility && self.allows(at, self.visibility.0.after(at), membership)
            || is_own && self.allows(at, visibility, self.membership_after(at))
    }

    /// The specification's rules for one state of the room.
    fn allows(
        &self,
        at: &Versionstamp,
        visibility: Option<&HistoryVisibility>,
        membership: Option<Membership>,
    ) -> bool {
        match (visibility, membership) {
            (Some(HistoryVisibility::WorldReadable), _) | (_, Some(Membership::Join)) => true,
            (Some(HistoryVisibility::Invited), membership) => membership == Some(Membership::Invite),
            (Some(HistoryVisibility::Joined), _) => false,
            // `shared` is the default and what unknown values mean.
            _ => self.joined_after(at),
        }
    }

    /// The user's membership at the event, with what the event itself changes.
    pub fn membership_after(&self, at: &Versionstamp) -> Option<Membership> {
        self.members.0.after(at).copied()
    }

    /// The user's membership right before the event at `at`.
    pub(crate) fn membership_before(&self, at: &Versionstamp) -> Option<Membership> {
        self.members.0.before(at).copied()
    }

    /// The nearest change of the room's visibility or of the user's membership before (`backward`) or after `at`.
    /// Between two changes all events are visible or none is, except those that make the changes.
    pub(crate) fn next_change(&self, at: &Versionstamp, backward: bool) -> Option<&Versionstamp> {
        let nearest = [self.members.0.next_change(at, backward), self.visibility.0.next_change(at, backward)];
        let nearest = nearest.into_iter().flatten();
        if backward { nearest.max() } else { nearest.min() }
    }

    /// The memberships that this transaction can know of.
    fn known_members(&self) -> &[(Versionstamp, Membership)] {
        let entries = &self.members.0.entries;
        &entries[..entries.partition_point(|(from, _)| *from <= self.until)]
    }

    /// The user's current membership.
    pub fn current_membership(&self) -> Option<Membership> {
        self.known_members().last().map(|(_, membership)| *membership)
    }

    /// The room's current history visibility.
    pub fn current_visibility(&self) -> HistoryVisibility {
        self.visibility.0.after(&self.until).cloned().unwrap_or(HistoryVisibility::Shared)
    }

    /// Whether the user became a member at any point after `at`.
    fn joined_after(&self, at: &Versionstamp) -> bool {
        self.known_members()
            .iter()
            .rev()
            .take_while(|(from, _)| from > at)
            .any(|(_, membership)| *membership == Membership::Join)
    }

    /// Where the last time that the user was joined ended; `None` when joined now or never.
    pub fn left_at(&self) -> Option<&Versionstamp> {
        let entries = self.known_members();
        let last_join = entries.iter().rposition(|(_, membership)| *membership == Membership::Join)?;
        entries.get(last_join + 1).map(|(from, _)| from)
    }

    /// Where the user's membership last changed (profile changes not counted).
    pub fn membership_since(&self) -> Option<&Versionstamp> {
        self.known_members().last().map(|(from, _)| from)
    }

    /// Whether the user is joined and has been since before `at`, so that everything from there on is visible.
    pub fn sees_all_from(&self, at: &Versionstamp) -> bool {
        matches!(self.known_members().last(), Some((from, Membership::Join)) if from < at)
    }

    /// Whether nothing of the room's history is hidden from the user: a member, and a room that never was less than shared.
    pub(crate) fn sees_everything(&self) -> bool {
        self.current_membership() == Some(Membership::Join)
            && self
                .visibility
                .0
                .entries
                .iter()
                .all(|(_, visibility)| !matches!(visibility, HistoryVisibility::Invited | HistoryVisibility::Joined))
    }

    /// Whether anything of the room's history can be visible: who never could see anything is told that they are no
    /// member, instead of getting an empty page.
    pub fn may_enter(&self) -> bool {
        if self.known_members().iter().any(|(_, membership)| *membership == Membership::Join) {
            return true;
        }
        // Between two changes the answer is the same as right after the first of them.
        let members = self.members.0.entries.iter().map(|(at, _)| at);
        let visibilities = self.visibility.0.entries.iter().map(|(at, _)| at);
        members
            .chain(visibilities)
            .filter(|at| **at <= self.until)
            .any(|at| self.allows(at, self.visibility.0.after(at), self.membership_after(at)))
    }

    /// [`Self::may_enter`] as a result.
    pub fn enter(&self) -> Result<(), RoomError> {
        if self.may_enter() { Ok(()) } else { Err(not_a_member()) }
    }

    /// Which state the user may read: members the current one, former members that of when they left, others
    /// only that of a room that is world readable.
    pub fn state_access(&self) -> StateAccess {
        if self.current_membership() == Some(Membership::Join) {
            StateAccess::Current
        } else if let Some(left) = self.left_at() {
            StateAccess::Until(Position::after(left))
        } else if self.current_visibility() == HistoryVisibility::WorldReadable {
            StateAccess::Current
        } else {
            StateAccess::Denied
        }
    }
}

/// The refusal that the specification words for readers who are no members.
pub(crate) fn not_a_member() -> RoomError {
    RoomError::Forbidden("You aren't a member of the room and weren't previously a member of the room.".to_owned())
}

#[derive(Deserialize)]
struct MemberContent {
    membership: String,
}

#[derive(Deserialize)]
struct VisibilityContent {
    history_visibility: HistoryVisibility,
}

impl Rooms {
    /// What `user` may see of a room; [`RoomError::RoomNotFound`] for a room that is not known here.
    pub async fn view(&self, tx: &Transaction, room_id: &RoomId, user: &UserId) -> Result<View, RoomError> {
        let room = self.find_room(tx, room_id).await?.ok_or(RoomError::RoomNotFound)?;
        let user = self.find_state_key(tx, user.as_str()).await?;
        self.view_of(tx, room, user).await
    }

    /// [`Self::view`] by numeric ids.
    pub async fn view_of(&self, tx: &Transaction, room: RoomNid, user: Option<StateKeyNid>) -> Result<View, RoomError> {
        let until = last_stamp(tx.read_version().await?);
        let info = self.room_info(tx, room).await?;
        let visibility = self.visibility_history(tx, room).await?;
        let members = match user {
            Some(user) => {
                // Who forgot a room is a stranger to it from then on.
                let record = keys::MEMBERSHIP.get_snapshot(tx, (user, room)).await?;
                match record {
                    Some(record) if !record.forgotten => self.member_history(tx, room, user).await?,
                    _ => Arc::default(),
                }
            }
            None => Arc::default(),
        };
        Ok(View { room: info, user, members, visibility, until })
    }

    async fn member_history(
        &self,
        tx: &Transaction,
        room: RoomNid,
        user: StateKeyNid,
    ) -> Result<Arc<MemberHistory>, RoomError> {
        let known = self.caches.members.get(&(room, user)).unwrap_or_default();
        let added = self.state_history(tx, room, TypeNid::MEMBER, user, known.0.read.as_ref()).await?;
        if added.is_empty() {
            return Ok(known);
        }
        let mut history = (*known).clone();
        for (at, content) in added {
            let content: Option<MemberContent> = serde_json::from_str(&content).ok();
            let membership = content.and_then(|content| Membership::parse(&content.membership));
            history.0.push(at, membership.unwrap_or(Membership::Leave));
        }
        let history = Arc::new(history);
        self.caches.members.insert((room, user), history.clone(), 1 + history.0.entries.len() / 8);
        Ok(history)
    }

    async fn visibility_history(&self, tx: &Transaction, room: RoomNid) -> Result<Arc<VisibilityHistory>, RoomError> {
        let known = self.caches.visibilities.get(&room).unwrap_or_default();
        let added = self
            .state_history(tx, room, TypeNid::HISTORY_VISIBILITY, StateKeyNid::EMPTY, known.0.read.as_ref())
            .await?;
        if added.is_empty() {
            return Ok(known);
        }
        let mut history = (*known).clone();
        for (at, content) in added {
            let content: Option<VisibilityContent> = serde_json::from_str(&content).ok();
            history.0.push(at, content.map_or(HistoryVisibility::Shared, |content| content.history_visibility));
        }
        let history = Arc::new(history);
        self.caches.visibilities.insert(room, history.clone(), 1 + history.0.entries.len() / 8);
        Ok(history)
    }

    /// The contents of a state entry that were set after `after`, oldest first.
    async fn state_history(
        &self,
        tx: &Transaction,
        room: RoomNid,
        event_type: TypeNid,
        state_key: StateKeyNid,
        after: Option<&Versionstamp>,
    ) -> Result<Vec<(Versionstamp, String)>, RoomError> {
        let mut scan = keys::STATE_AT.scan((room, event_type, state_key)).snapshot();
        if let Some(after) = after {
            scan = scan.after((room, event_type, state_key, after));
        }
        let mut history = Vec::new();
        for ((.., at), event) in scan.all(tx).await? {
            if event == ABSENT {
                // As if it had never been set.
                history.push((at, String::new()));
                continue;
            }
            // Redaction keeps both `membership` and `history_visibility`, so the stored event serves.
            let event = self.stored_event(tx, event).await?;
            history.push((at, event.pdu.content.get().to_owned()));
        }
        Ok(history)
    }
}
