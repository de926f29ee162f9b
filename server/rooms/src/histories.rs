//! What a user's membership and a room's history visibility were over time.

use hearth_store::Versionstamp;
use ruma::events::room::history_visibility::HistoryVisibility;

use crate::Membership;

/// The user's memberships: from each stamp on, this one. Consecutive equal ones are one entry.
#[derive(Debug, Default, Clone)]
pub(crate) struct MemberHistory(pub(crate) History<Membership>);

/// The room's history visibility, likewise.
#[derive(Debug, Default, Clone)]
pub(crate) struct VisibilityHistory(pub(crate) History<HistoryVisibility>);

#[derive(Debug, Clone)]
pub(crate) struct History<T> {
    /// Up to where `STATE_AT` was read.
    pub(crate) read: Option<Versionstamp>,
    pub(crate) entries: Vec<(Versionstamp, T)>,
}

impl<T> Default for History<T> {
    fn default() -> Self {
        Self { read: None, entries: Vec::new() }
    }
}

impl<T: PartialEq> History<T> {
    pub(crate) fn push(&mut self, at: Versionstamp, value: T) {
        self.read = Some(at.clone());
        if self.entries.last().is_none_or(|(_, last)| *last != value) {
            self.entries.push((at, value));
        }
    }

    /// The value right before the event at `at`.
    pub(crate) fn before(&self, at: &Versionstamp) -> Option<&T> {
        self.value(self.entries.partition_point(|(from, _)| from < at))
    }

    /// The value right after the event at `at`.
    pub(crate) fn after(&self, at: &Versionstamp) -> Option<&T> {
        self.value(self.entries.partition_point(|(from, _)| from <= at))
    }

    pub(crate) fn next_change(&self, at: &Versionstamp, backward: bool) -> Option<&Versionstamp> {
        let index = if backward {
            self.entries.partition_point(|(from, _)| from < at).checked_sub(1)?
        } else {
            self.entries.partition_point(|(from, _)| from <= at)
        };
        self.entries.get(index).map(|(from, _)| from)
    }

    fn value(&self, entries: usize) -> Option<&T> {
        Some(&self.entries[entries.checked_sub(1)?].1)
    }
}
