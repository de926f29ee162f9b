//! A room's timeline.

use hearth_rooms::{
    Position, View,
    audience::{SliceRequest, TimelineSlice},
};
use hearth_store::Transaction;
use ruma::api::client::sync::sync_events::v3;

use super::asker::Asker;
use crate::{RoomBatch, SyncEngine, SyncError};

impl SyncEngine {
    /// The newest events of the room.
    pub(super) async fn slice(
        &self,
        tx: &Transaction,
        asker: &Asker<'_>,
        view: &View,
        room: &RoomBatch,
        until: Position,
    ) -> Result<TimelineSlice, SyncError> {
        let filter = asker.timeline_filter();
        let request = SliceRequest { since: room.since, until, limit: asker.filter.timeline_limit(), filter: &filter };
        Ok(self.0.rooms.timeline_slice(tx, view, request).await?)
    }

    /// The slice as the response's timeline.
    pub(super) async fn timeline(
        &self,
        tx: &Transaction,
        asker: &Asker<'_>,
        view: &View,
        slice: &TimelineSlice,
        everything: bool,
    ) -> Result<v3::Timeline, SyncError> {
        let mut timeline = v3::Timeline::new();
        timeline.limited = slice.limited;
        if everything || slice.limited || !slice.events.is_empty() {
            timeline.prev_batch = Some(slice.start.to_string());
        }
        timeline.events = self.timeline_events(tx, asker, view, &slice.events).await?;
        Ok(timeline)
    }
}
