//! Rooms that the user has left, was removed from, or never came into.

use hearth_rooms::{
    EventNid, Position,
    audience::{MembershipStep, TimelineSlice},
};
use ruma::api::client::sync::sync_events::v3;

use super::{
    Span,
    state::{Wanted, section},
};
use crate::{RoomBatch, SyncEngine, SyncError};

impl SyncEngine {
    /// A left room, without its account data: what happened until the user left, and the event that says so.
    pub(super) async fn left(
        &self,
        span: &mut Span<'_>,
        room: &RoomBatch,
        step: Option<&MembershipStep>,
    ) -> Result<v3::LeftRoom, SyncError> {
        let tx = span.rooms();
        let asker = span.asker;
        let rooms = &self.0.rooms;
        let view = rooms.view_of(&tx, room.room, Some(span.nid)).await?;
        let now = rooms.audience_room(&tx, span.nid, room.room).await?;
        let forgotten = now.as_ref().is_some_and(|now| now.forgotten);
        let mut left = v3::LeftRoom::new();
        left.state = section(asker.state_after, Vec::new());

        // Where the user's stay ended, if the response has to tell of one: who was only invited or banned in between
        // has seen nothing, and who forgot the room sees nothing any more.
        let left_at = match step {
            _ if forgotten => None,
            Some(step) => step.left_at.clone(),
            None => view.left_at().cloned(),
        };
        if let Some(left_at) = left_at {
            let until = Position::after(&left_at);
            let everything = room.since.is_none() || asker.full_state;
            let slice: TimelineSlice = self.slice(&tx, asker, &view, room, until.clone()).await?;
            let since = if everything { None } else { room.since };
            let wanted = Wanted { room: room.room, since, until: &until, slice: &slice, members: &[] };
            let entries = self.state_entries(&tx, span, &wanted).await?;
            left.state = self.state_section(&tx, span, &view, &entries).await?;
            left.timeline = self.timeline(&tx, asker, &view, &slice, everything).await?;
            if slice
                .events
                .iter()
                .any(|event| Some(event.entry.event) == own_event(step, now.as_ref().map(|now| now.event)))
            {
                return Ok(left);
            }
        }

        // One's own membership is always one's business, even where the room's history is not.
        if let Some(event) = own_event(step, now.map(|now| now.event)) {
            let event = rooms.load_event(&tx, event).await?;
            let at = step.map(|step| &step.at);
            if asker.filter.timeline.accepts(&event.pdu) {
                left.timeline.events.extend(self.room_events(&tx, asker, &view, [(&event, at)]).await?);
                if left.timeline.prev_batch.is_none() {
                    left.timeline.prev_batch = at.map(|at| Position::before(at).to_string());
                }
            }
            if asker.state_after && asker.filter.state.accepts(&event.pdu) {
                let events = self.room_events(&tx, asker, &view, [(&event, at)]).await?;
                match &mut left.state {
                    v3::State::After(state) | v3::State::Before(state) => {
                        // In place of the member event with which the stay ended.
                        state.events.extend(events);
                    }
                    _ => {}
                }
            }
        }
        Ok(left)
    }
}

/// The user's last member event that the response may show.
fn own_event(step: Option<&MembershipStep>, now: Option<EventNid>) -> Option<EventNid> {
    step.map(|step| step.event).or(now)
}
