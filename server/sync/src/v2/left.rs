//! Rooms that the user has left, was removed from, or never came into.

use hearth_rooms::{
    Position,
    audience::{MembershipStep, TimelineSlice},
};
use ruma::api::client::sync::sync_events::v3;

use super::{
    asker::Span,
    state::{Wanted, section},
};
use crate::{RoomBatch, SyncEngine, SyncError};

impl SyncEngine {
    /// A left room, without its account data: what happened until the user left, and the event that says so. `None` for a room that they
    /// have forgotten, unless they left it just now.
    pub(super) async fn left(
        &self,
        span: &mut Span<'_>,
        room: &RoomBatch,
        step: Option<&MembershipStep>,
    ) -> Result<Option<v3::LeftRoom>, SyncError> {
        let tx = span.rooms();
        let asker = span.asker;
        let rooms = &self.0.rooms;
        let view = rooms.view_of(&tx, room.room, Some(span.nid)).await?;
        let now = rooms.audience_room(&tx, span.nid, room.room).await?;
        let forgotten = now.as_ref().is_some_and(|now| now.forgotten);
        if forgotten && step.is_none() {
            return Ok(None);
        }
        // The user's last member event that the response may show.
        let last = step.map(|step| step.event).or(now.map(|now| now.event));
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
            let wanted = Wanted { room, since, until: &until, slice: &slice, members: &[] };
            let entries = self.state_entries(&tx, span, &wanted).await?;
            left.state = self.state_section(&tx, span, &entries).await?;
            left.timeline = self.timeline(&tx, asker, &view, &slice, everything).await?;
            if slice.events.iter().any(|event| Some(event.entry.event) == last) {
                return Ok(Some(left));
            }
        }

        // One's own membership is always one's business, even where the room's history is not.
        if let Some(event) = last {
            let event = rooms.load_event(&tx, event).await?;
            if asker.filter.timeline.accepts(&event.pdu) {
                left.timeline.events.extend(self.state_events(&tx, asker, std::slice::from_ref(&event)).await?);
                if left.timeline.prev_batch.is_none() {
                    left.timeline.prev_batch = step.map(|step| Position::before(&step.at).to_string());
                }
            }
            // With `state_after` it comes last, after the member event with which the stay ended.
            if asker.state_after && asker.filter.state.accepts(&event.pdu) {
                let events = self.state_events(&tx, asker, std::slice::from_ref(&event)).await?;
                if let v3::State::After(state) = &mut left.state {
                    state.events.extend(events);
                }
            }
        }
        Ok(Some(left))
    }
}
