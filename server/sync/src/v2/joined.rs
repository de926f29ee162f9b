//! Joined rooms.

use hearth_rooms::{
    Position, RoomInfo, StateKeyNid,
    audience::{StateEntry, TimelineSlice},
    notifications::UnreadCounts,
};
use hearth_store::Transaction;
use ruma::{
    UInt,
    api::client::sync::sync_events::{UnreadNotificationsCount, v3},
};

use super::{asker::Span, state::Wanted};
use crate::{RoomBatch, SyncEngine, SyncError};

impl SyncEngine {
    /// A joined room, without its account data.
    pub(super) async fn joined(
        &self,
        span: &mut Span<'_>,
        info: &RoomInfo,
        room: &RoomBatch,
    ) -> Result<v3::JoinedRoom, SyncError> {
        let tx = span.rooms();
        let asker = span.asker;
        let mut joined = v3::JoinedRoom::new();
        // The client has nothing of the room that it could rely on.
        let everything = room.since.is_none() || asker.full_state;
        let until = Position::after_version(span.reading.position.rooms);
        let view = self.0.rooms.view_of(&tx, room.room, Some(span.nid)).await?;

        let mut slice = if room.events {
            self.slice(&tx, asker, &view, room, until.clone()).await?
        } else {
            TimelineSlice { events: Vec::new(), limited: false, start: until.clone() }
        };
        if room.since.is_none() && span.since.is_some() {
            // The client may have an older stretch of a room that its user had left, which this one does not continue.
            slice.limited = true;
        }

        let mut entries = Vec::new();
        if everything || room.events {
            let since = if everything { None } else { room.since };
            let changed = self.changed_members(&tx, span, room, since, &until).await?;
            let mut heroes = Vec::new();
            if everything || changed.summary {
                let summary = self.0.rooms.sync_summary(&tx, room.room, span.nid).await?;
                for hero in summary.heroes.iter().flatten() {
                    heroes.extend(self.0.rooms.find_state_key(&tx, hero.as_str()).await?);
                }
                joined.summary.heroes = summary.heroes.unwrap_or_default();
                joined.summary.joined_member_count = Some(count(summary.joined));
                joined.summary.invited_member_count = Some(count(summary.invited));
            }
            if room.since.is_none() {
                span.met.extend(self.0.rooms.local_members(&tx, room.room).await?);
            } else {
                span.met.extend(changed.members);
            }
            let wanted = Wanted { room, since, until: &until, slice: &slice, members: &heroes };
            entries = self.state_entries(&tx, span, &wanted).await?;
        }
        joined.state = self.state_section(&tx, span, &entries).await?;
        joined.timeline = self.timeline(&tx, asker, &view, &slice, everything).await?;

        let transitory = span.reading.transitory();
        let ephemeral = self.ephemeral(&transitory, span, info, room, everything).await?;
        joined.ephemeral.events = ephemeral.events;
        if everything || room.events || ephemeral.has_own_receipt {
            let by_thread = asker.filter.by_thread();
            let counts = self.0.rooms.unread_counts(&tx, span.nid, room.room, by_thread).await?;
            set_unread(&mut joined, counts);
        }
        Ok(joined)
    }

    async fn changed_members(
        &self,
        tx: &Transaction,
        span: &Span<'_>,
        room: &RoomBatch,
        since: Option<hearth_store::Version>,
        until: &Position,
    ) -> Result<Changed, SyncError> {
        let Some(since) = since else { return Ok(Changed { summary: true, members: Vec::new() }) };
        let rooms = &self.0.rooms;
        let delta: Vec<StateEntry> = rooms.state_delta(tx, room.room, since, until).await?;
        let member = self.member_type(tx).await?;
        let mut summary = false;
        let mut members = Vec::new();
        for entry in delta {
            if entry.event_type == member {
                summary = true;
                if entry.state_key != span.nid {
                    members.push(entry.state_key);
                }
            } else if !summary {
                // A name that comes or goes decides whether heroes are needed.
                let name = rooms.type_name(tx, entry.event_type).await?;
                summary = matches!(&*name, "m.room.name" | "m.room.canonical_alias");
            }
        }
        Ok(Changed { summary, members })
    }
}

/// What changed about a room's members.
struct Changed {
    /// The summary may be another one.
    summary: bool,
    /// Others with a new member event.
    members: Vec<StateKeyNid>,
}

fn count(number: u64) -> UInt {
    UInt::new_saturating(number)
}

fn unread(notifications: u64, highlights: u64) -> UnreadNotificationsCount {
    let mut unread = UnreadNotificationsCount::new();
    unread.notification_count = Some(count(notifications));
    unread.highlight_count = Some(count(highlights));
    unread
}

fn set_unread(joined: &mut v3::JoinedRoom, counts: UnreadCounts) {
    joined.unread_notifications = unread(counts.notifications, counts.highlights);
    joined.unread_thread_notifications = counts
        .threads
        .into_iter()
        .map(|(root, notifications, highlights)| (root, unread(notifications, highlights)))
        .collect();
}
