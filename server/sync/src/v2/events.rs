//! Room events in the form that a sync wants them.

use hearth_rooms::{LoadedEvent, Reader, View, audience::TimelineEvent};
use hearth_store::Transaction;
use ruma::serde::Raw;
use serde_json::value::RawValue;

use super::asker::Asker;
use crate::{SyncEngine, SyncError};

impl SyncEngine {
    /// Serializes events of a timeline.
    pub(super) async fn timeline_events<T>(
        &self,
        tx: &Transaction,
        asker: &Asker<'_>,
        view: &View,
        events: &[TimelineEvent],
    ) -> Result<Vec<Raw<T>>, SyncError> {
        if asker.filter.federation_format {
            return Ok(asker.with_fields(events.iter().filter_map(|event| federation_form(&event.event))));
        }
        let reader = Reader::in_sync(asker.user, Some(asker.device)).ignoring(&asker.ignored);
        let events = self.0.rooms.client_events(tx, view, &reader, events).await?;
        Ok(asker.with_fields(events.into_iter().map(Raw::cast_unchecked)))
    }

    /// Serializes events of a state.
    pub(super) async fn state_events<T>(
        &self,
        tx: &Transaction,
        asker: &Asker<'_>,
        events: &[LoadedEvent],
    ) -> Result<Vec<Raw<T>>, SyncError> {
        if asker.filter.federation_format {
            return Ok(asker.with_fields(events.iter().filter_map(federation_form)));
        }
        let reader = Reader::in_sync(asker.user, Some(asker.device)).ignoring(&asker.ignored);
        let events = self.0.rooms.client_state(tx, &reader, events).await?;
        Ok(asker.with_fields(events.into_iter().map(Raw::cast_unchecked)))
    }
}

impl Asker<'_> {
    /// The events with the fields that the filter keeps.
    fn with_fields<T>(&self, events: impl Iterator<Item = Raw<T>>) -> Vec<Raw<T>> {
        match &self.filter.fields {
            Some(fields) => events.map(|event| fields.apply(event)).collect(),
            None => events.collect(),
        }
    }
}

/// The event as other servers see it. Stored events are valid JSON.
fn federation_form<T>(event: &LoadedEvent) -> Option<Raw<T>> {
    RawValue::from_string(event.pdu.json.clone()).ok().map(Raw::from_json)
}
