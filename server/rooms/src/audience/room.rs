//! What is in one room between two versions.

use std::collections::{BTreeMap, HashSet};

use hearth_store::{Transaction, Version};
use ruma::api::Direction;

use super::{StateEntry, TimelineSlice};
use crate::{
    EventNid, RoomError, RoomNid, Rooms, StateKeyNid, TypeNid, event_filter::EventFilter, keys, position::Position,
    scan::Stretch, snapshots::ABSENT, visibility::View,
};

/// Which part of a timeline a sync wants.
#[derive(Debug, Clone)]
pub struct SliceRequest<'a> {
    /// Events after this version; `None` from the beginning of the room.
    pub since: Option<Version>,
    /// Events before this position: usually `Position::after_version(now)`, for a room that the user left
    /// `Position::after(left_at)`.
    pub until: Position,
    /// At most so many, the newest ones.
    pub limit: usize,
    /// Only those that pass.
    pub filter: &'a EventFilter,
}

impl Rooms {
    /// The newest visible events of a stretch of the timeline, oldest first.
    pub async fn timeline_slice(
        &self,
        tx: &Transaction,
        view: &View,
        request: SliceRequest<'_>,
    ) -> Result<TimelineSlice, RoomError> {
        let begin = request.since.map_or_else(Position::start, Position::after_version);
        let stretch = Stretch {
            begin: begin.clone(),
            end: request.until.clone(),
            direction: Direction::Backward,
            limit: request.limit,
        };
        let found = self.scan_timeline(tx, view, stretch, request.filter).await?;
        let limited = found.next.is_some();
        let mut events = found.events;
        events.reverse();
        let start = match (found.next, events.first()) {
            (Some(next), _) => next,
            (None, Some(first)) => Position::before(&first.at),
            // Nothing in the stretch: the gap is at its begin, so that nothing older is skipped.
            (None, None) => begin.max(Position::start()),
        };
        Ok(TimelineSlice { events, limited, start })
    }

    /// The room's whole state right before `at` (as of now for [`Position::after_version`] of the read version),
    /// with or without members.
    pub async fn full_state(
        &self,
        tx: &Transaction,
        room: RoomNid,
        at: &Position,
        members: bool,
    ) -> Result<Vec<StateEntry>, RoomError> {
        let mut state = BTreeMap::new();
        for ((_, event_type, state_key), event) in keys::STATE.scan((room,)).snapshot().all(tx).await? {
            state.insert((event_type, state_key), event);
        }
        if members {
            for ((_, user), record) in keys::MEMBER.scan((room,)).snapshot().all(tx).await? {
                state.insert((TypeNid::MEMBER, user), record.event);
            }
        }
        // Back from the current state, change by change: as many as there were since.
        let newer = keys::STATE_LOG.scan((room,)).from((room, at.stamp())).reverse().snapshot();
        for (_, change) in newer.all(tx).await? {
            let key = (change.event_type, change.state_key);
            if !members && key.0 == TypeNid::MEMBER {
                continue;
            }
            match change.replaces {
                Some(event) => state.insert(key, event),
                None => state.remove(&key),
            };
        }
        Ok(entries(state))
    }

    /// What changed in the room's state after `since` and right before `until`: the newest event of each entry that
    /// changed. `until` is [`TimelineSlice::start`] for `state`, the timeline's end for `state_after`.
    pub async fn state_delta(
        &self,
        tx: &Transaction,
        room: RoomNid,
        since: Version,
        until: &Position,
    ) -> Result<Vec<StateEntry>, RoomError> {
        let begin = Position::after_version(since);
        let changes = keys::STATE_LOG.scan((room,)).from((room, begin.stamp())).before((room, until.stamp()));
        let mut state = BTreeMap::new();
        for (_, change) in changes.snapshot().all(tx).await? {
            state.insert((change.event_type, change.state_key), change.event);
        }
        // Clients cannot be told that an entry is gone.
        state.retain(|_, event| *event != ABSENT);
        Ok(entries(state))
    }

    /// One entry of the state right before `at`.
    pub async fn state_entry_at(
        &self,
        tx: &Transaction,
        room: RoomNid,
        event_type: TypeNid,
        state_key: StateKeyNid,
        at: &Position,
    ) -> Result<Option<EventNid>, RoomError> {
        let history =
            keys::STATE_AT.scan((room, event_type, state_key)).before((room, event_type, state_key, at.stamp()));
        Ok(history.reverse().snapshot().first(tx).await?.map(|(_, event)| event).filter(|event| *event != ABSENT))
    }

    /// The member events of `users` right before `at`, for lazy loading; users without one are left out.
    pub async fn members_at(
        &self,
        tx: &Transaction,
        room: RoomNid,
        at: &Position,
        users: impl IntoIterator<Item = StateKeyNid>,
    ) -> Result<Vec<StateEntry>, RoomError> {
        let mut entries = Vec::new();
        let mut seen = HashSet::new();
        for user in users {
            if seen.insert(user)
                && let Some(event) = self.state_entry_at(tx, room, TypeNid::MEMBER, user, at).await?
            {
                entries.push(StateEntry { event_type: TypeNid::MEMBER, state_key: user, event });
            }
        }
        Ok(entries)
    }
}

fn entries(state: BTreeMap<(TypeNid, StateKeyNid), EventNid>) -> Vec<StateEntry> {
    state.into_iter().map(|((event_type, state_key), event)| StateEntry { event_type, state_key, event }).collect()
}
