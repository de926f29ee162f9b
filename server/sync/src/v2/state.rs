//! The state section of a room.
//!
//! A client that takes `state` and then applies the timeline in order must end with the state at the end of the
//! timeline; with `state_after` the section alone must get it there. So `state` holds the state before the timeline as
//! far as the client does not have it, and of what changed during the timeline those entries that the timeline does not
//! show (because the filter left them out).

use std::collections::{BTreeMap, HashSet};

use hearth_rooms::{
    EventNid, Position, RoomNid, StateKeyNid, TypeNid,
    audience::{StateEntry, TimelineSlice},
    loading::LoadedEvent,
};
use hearth_store::{Transaction, Version};
use ruma::{api::client::sync::sync_events::v3, events::AnySyncStateEvent, serde::Raw};

use super::Span;
use crate::{SyncEngine, SyncError};

/// Which state is wanted.
pub(super) struct Wanted<'a> {
    /// The room.
    pub(super) room: RoomNid,
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
        let (rooms, filter) = (&self.0.rooms, &span.asker.filter);
        let Wanted { room, since, until, slice, .. } = *wanted;
        let state_after = span.asker.state_after;
        let before = if state_after { until } else { &slice.start };
        let mut entries: Entries = collect(match since {
            None => rooms.full_state(tx, room, before, !filter.is_lazy()).await?,
            Some(since) => rooms.state_delta(tx, room, since, before).await?,
        });
        if !state_after {
            let shown: HashSet<(TypeNid, StateKeyNid)> = slice
                .events
                .iter()
                .filter_map(|event| Some((event.entry.event_type, event.entry.state_key?)))
                .collect();
            // From the start of the version in which the timeline starts: a few entries more, which are in `entries`
            // already unless they change again.
            let member = self.member_type(tx).await?;
            let skips_members = since.is_none() && filter.is_lazy();
            let from = since.unwrap_or(0).max(slice.start.version());
            for (key, event) in collect(rooms.state_delta(tx, room, from, until).await?) {
                if !shown.contains(&key) && !(skips_members && key.0 == member) {
                    entries.insert(key, event);
                }
            }
        }
        if filter.is_lazy() {
            self.add_lazy_members(tx, span, wanted, before, &mut entries).await?;
        }
        Ok(entries
            .into_iter()
            .map(|((event_type, state_key), event)| StateEntry { event_type, state_key, event })
            .collect())
    }

    /// Adds the members without whom the client cannot show the timeline, unless the device has them.
    async fn add_lazy_members(
        &self,
        tx: &Transaction,
        span: &Span<'_>,
        wanted: &Wanted<'_>,
        before: &Position,
        entries: &mut Entries,
    ) -> Result<(), SyncError> {
        let (rooms, asker) = (&self.0.rooms, span.asker);
        let Wanted { room, since, slice, members, .. } = *wanted;
        let member = self.member_type(tx).await?;
        let device = self.0.v2.lazy.device(asker.user, asker.device);
        let has = |user: StateKeyNid| match since {
            Some(since) if !asker.filter.wants_redundant_members() => device.has(room, user, since),
            _ => false,
        };
        let senders = slice.events.iter().map(|event| event.entry.sender);
        let own = since.is_none().then_some(span.nid);
        let needed: Vec<StateKeyNid> = senders
            .chain(members.iter().copied())
            .chain(own)
            .filter(|user| !entries.contains_key(&(member, *user)) && !has(*user))
            .collect();
        for entry in rooms.members_at(tx, room, before, needed).await? {
            entries.insert((member, entry.state_key), entry.event);
        }
        let in_state = entries.keys().filter(|(event_type, _)| *event_type == member).map(|(_, user)| *user);
        let in_timeline = slice.events.iter().filter(|event| event.entry.event_type == member);
        for user in in_state.chain(in_timeline.filter_map(|event| event.entry.state_key)) {
            device.sent(room, user, since, span.reading.position.rooms);
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
