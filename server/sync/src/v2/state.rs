//! The state section of a room.
//!
//! A client that takes `state` and then applies the timeline in order must end with the state at the end of the
//! timeline; with `state_after` the section alone must get it there. So `state` holds the state before the timeline as
//! far as the client does not have it, and of what changed during the timeline those entries that the timeline does not
//! show (because the filter left them out).

use std::collections::{BTreeMap, HashSet};

use hearth_rooms::{
    EventNid, LoadedEvent, Position, StateKeyNid, TypeNid,
    audience::{StateEntry, TimelineSlice},
};
use hearth_store::{Transaction, Version};
use ruma::{api::client::sync::sync_events::v3, events::AnySyncStateEvent, serde::Raw};

use super::asker::Span;
use crate::{RoomBatch, SyncEngine, SyncError};

/// Which state is wanted.
pub(super) struct Wanted<'a> {
    /// The room.
    pub(super) room: &'a RoomBatch,
    /// What changed after this version; `None` for all.
    pub(super) since: Option<Version>,
    /// Where the timeline ends.
    pub(super) until: &'a Position,
    /// The timeline.
    pub(super) slice: &'a TimelineSlice,
    /// Users whose member events the client needs besides the senders'.
    pub(super) members: &'a [StateKeyNid],
}

type Entries = BTreeMap<(TypeNid, StateKeyNid), EventNid>;

impl SyncEngine {
    /// The entries of the state section.
    pub(super) async fn state_entries(
        &self,
        tx: &Transaction,
        span: &Span<'_>,
        wanted: &Wanted<'_>,
    ) -> Result<Vec<StateEntry>, SyncError> {
        let (rooms, is_lazy) = (&self.0.rooms, span.asker.filter.is_lazy());
        let Wanted { room, since, until, slice, .. } = *wanted;
        let before = if span.asker.state_after { until } else { &slice.start };
        let mut entries: Entries = collect(match since {
            None => rooms.full_state(tx, room.room, before, !is_lazy).await?,
            Some(since) => rooms.state_delta(tx, room.room, since, before).await?,
        });
        let mut hidden = Entries::new();
        if !span.asker.state_after {
            let shown: HashSet<(TypeNid, StateKeyNid)> = slice
                .events
                .iter()
                .filter_map(|event| Some((event.entry.event_type, event.entry.state_key?)))
                .collect();
            // From the start of the version in which the timeline starts: a few entries more, which are in `entries`
            // already unless they change again.
            let from = since.unwrap_or(0).max(slice.start.version());
            hidden = collect(rooms.state_delta(tx, room.room, from, until).await?);
            hidden.retain(|key, _| !shown.contains(key));
        }
        if is_lazy {
            self.add_lazy_members(tx, span, wanted, before, &mut entries, &mut hidden).await?;
        }
        entries.extend(hidden);
        Ok(entries
            .into_iter()
            .map(|((event_type, state_key), event)| StateEntry { event_type, state_key, event })
            .collect())
    }

    /// Adds the members without whom the client cannot show the timeline, unless the device has them. Of a whole state,
    /// lets the others out of `hidden`, which replaces what is in `entries`.
    async fn add_lazy_members(
        &self,
        tx: &Transaction,
        span: &Span<'_>,
        wanted: &Wanted<'_>,
        before: &Position,
        entries: &mut Entries,
        hidden: &mut Entries,
    ) -> Result<(), SyncError> {
        let (rooms, asker) = (&self.0.rooms, span.asker);
        let Wanted { room, since, slice, members, .. } = *wanted;
        let member = self.member_type(tx).await?;
        if let (None, Some(known)) = (since, room.known) {
            // What the client has of the members is not replaced by the whole state: changes come on top.
            let mut missed = collect(rooms.state_delta(tx, room.room, known, before).await?);
            missed.retain(|(event_type, _), _| *event_type == member);
            entries.extend(missed);
        }
        let device = self.0.members_sent.device(asker.user, asker.device);
        if since.is_none() {
            device.begin(room.room);
        }
        let has = |user: StateKeyNid| match since {
            Some(since) if !asker.filter.wants_redundant_members() => device.has(room.room, user, since),
            _ => false,
        };
        let senders = slice.events.iter().map(|event| event.entry.sender);
        let own = since.is_none().then_some(span.nid);
        let needed: HashSet<StateKeyNid> = senders
            .chain(members.iter().copied())
            .chain(own)
            .filter(|user| !entries.contains_key(&(member, *user)) && !has(*user))
            .collect();
        if room.known.is_none() {
            hidden.retain(|(event_type, user), _| *event_type != member || needed.contains(user));
        }
        for entry in rooms.members_at(tx, room.room, before, needed).await? {
            entries.insert((member, entry.state_key), entry.event);
        }
        let in_state = entries.keys().chain(hidden.keys()).filter(|(event_type, _)| *event_type == member);
        let in_timeline = slice.events.iter().filter(|event| event.entry.event_type == member);
        let sent = in_state.map(|(_, user)| *user).chain(in_timeline.filter_map(|event| event.entry.state_key));
        for user in sent {
            device.sent(room.room, user, span.reading.position.rooms);
        }
        Ok(())
    }

    /// The entries as the response's state section.
    pub(super) async fn state_section(
        &self,
        tx: &Transaction,
        span: &Span<'_>,
        entries: &[StateEntry],
    ) -> Result<v3::State, SyncError> {
        let nids: Vec<EventNid> = entries.iter().map(|entry| entry.event).collect();
        let mut events: Vec<LoadedEvent> = self.0.rooms.load_events(tx, &nids).await?;
        events.retain(|event| span.asker.filter.state.accepts(&event.pdu));
        let events = self.state_events(tx, span.asker, &events).await?;
        Ok(section(span.asker.state_after, events))
    }

    pub(super) async fn member_type(&self, tx: &Transaction) -> Result<TypeNid, SyncError> {
        // Preassigned, so it is always known.
        Ok(self.0.rooms.find_type(tx, "m.room.member").await?.unwrap_or(TypeNid(0)))
    }
}

/// The section under the name that the client asked for.
pub(super) fn section(state_after: bool, events: Vec<Raw<AnySyncStateEvent>>) -> v3::State {
    if state_after { v3::State::After(events.into()) } else { v3::State::Before(events.into()) }
}

fn collect(entries: Vec<StateEntry>) -> Entries {
    entries.into_iter().map(|entry| ((entry.event_type, entry.state_key), entry.event)).collect()
}
