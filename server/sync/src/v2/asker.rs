//! Who asks, and for which stretch.

use std::{borrow::Cow, sync::Arc};

use hearth_rooms::{EventFilter, StateKeyNid};
use hearth_store::Transaction;
use ruma::{DeviceId, UserId};

use crate::{Reading, SyncPosition, filter::SyncFilter};

/// Who asks, and for what.
pub(super) struct Asker<'a> {
    pub(super) user: &'a UserId,
    pub(super) device: &'a DeviceId,
    pub(super) filter: Arc<SyncFilter>,
    pub(super) full_state: bool,
    pub(super) state_after: bool,
    /// Users whom the asker ignores.
    pub(super) ignored: Vec<String>,
}

/// Where one response begins and ends.
pub(super) struct Span<'a> {
    pub(super) asker: &'a Asker<'a>,
    /// `None` for an initial sync.
    pub(super) since: Option<SyncPosition>,
    /// The asker's numeric id.
    pub(super) nid: StateKeyNid,
    pub(super) reading: Reading,
    /// Users whom the asker has just come to share a room with.
    pub(super) met: Vec<StateKeyNid>,
}

impl Span<'_> {
    /// A transaction on the Rooms database.
    pub(super) fn rooms(&mut self) -> Transaction {
        self.reading.rooms()
    }
}

impl Asker<'_> {
    /// Whether the asker ignores this user.
    pub(super) fn ignores(&self, user: &str) -> bool {
        self.ignored.iter().any(|ignored| ignored == user)
    }

    /// The timeline's filter, with the ignored users.
    pub(super) fn timeline_filter(&self) -> Cow<'_, EventFilter> {
        if self.ignored.is_empty() {
            return Cow::Borrowed(&self.filter.timeline);
        }
        let mut filter = self.filter.timeline.clone();
        filter.ignored.clone_from(&self.ignored);
        Cow::Owned(filter)
    }
}
