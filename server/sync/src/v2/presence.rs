//! Presence of users who share a room with the reader.

use std::collections::BTreeSet;

use hearth_transitory::{Change, Presence, PresenceState, timers};
use ruma::{
    OwnedUserId, UInt, UserId,
    events::presence::{PresenceEvent, PresenceEventContent},
    serde::Raw,
};

use super::asker::Span;
use crate::{Batch, SyncEngine, SyncError, presence::matrix_state};

impl SyncEngine {
    /// The presence events of a response.
    pub(super) async fn presence(
        &self,
        span: &mut Span<'_>,
        batch: &Batch,
    ) -> Result<Vec<Raw<PresenceEvent>>, SyncError> {
        let rooms = &self.0.rooms;
        let asker = span.asker;
        // Whose presence the client must be told, whatever it is, and whose only if there is something to tell.
        let mut changed: BTreeSet<OwnedUserId> = BTreeSet::new();
        let mut present: BTreeSet<OwnedUserId> = BTreeSet::new();
        for user in batch.presence.iter().flatten() {
            if *user == asker.user || self.shares_room(span, user, batch).await? {
                changed.insert(user.clone());
            }
        }
        let mut met = std::mem::take(&mut span.met);
        let tx = span.rooms();
        if batch.presence.is_none() {
            for room in batch.joined.iter() {
                met.extend(rooms.local_members(&tx, *room).await?);
            }
        }
        met.sort_unstable();
        met.dedup();
        for user in met {
            let name = rooms.state_key_name(&tx, user).await?;
            present.extend(UserId::parse(&*name).ok());
        }
        let transitory = span.reading.transitory();
        if let (None, Some(since)) = (&batch.presence, span.since) {
            for user in &present {
                let change = Change::Presence(user.clone());
                if self.0.transitory.changed_since(&transitory, &change, since.transitory).await? {
                    changed.insert(user.clone());
                }
            }
        }
        let now = timers::now();
        let mut events = Vec::new();
        for user in changed.union(&present) {
            if asker.ignores(user.as_str()) || !asker.filter.presence.accepts_sender(user.as_str()) {
                continue;
            }
            let Some(presence) = self.0.transitory.presence(&transitory, user).await? else { continue };
            let says_something = presence.state != PresenceState::Offline || presence.status_msg.is_some();
            if says_something || changed.contains(user) {
                let event = PresenceEvent { content: content(presence, now), sender: user.clone() };
                events.extend(Raw::new(&event).ok());
            }
        }
        Ok(events)
    }

    async fn shares_room(&self, span: &mut Span<'_>, user: &UserId, batch: &Batch) -> Result<bool, SyncError> {
        let Some(user) = self.0.rooms.find_state_key(&span.rooms(), user.as_str()).await? else { return Ok(false) };
        let theirs = self.joined_rooms(&mut span.reading, user).await?;
        Ok(!theirs.is_disjoint(&batch.joined))
    }
}

fn content(presence: Presence, now: u64) -> PresenceEventContent {
    let mut content = PresenceEventContent::new(matrix_state(presence.state));
    content.status_msg = presence.status_msg;
    content.last_active_ago = presence.last_active.map(|active| UInt::new_saturating(now.saturating_sub(active)));
    if presence.state == PresenceState::Online {
        content.currently_active = Some(presence.currently_active);
    }
    content
}
