//! Room events in the form that a sync wants them.

use hearth_rooms::{Reader, View, loading::LoadedEvent};
use hearth_store::{Transaction, Versionstamp};
use ruma::serde::Raw;
use serde_json::value::RawValue;

use super::Asker;
use crate::{SyncEngine, SyncError};

impl SyncEngine {
    /// Serializes room events. Where an event stands is looked up if it is not given.
    pub(super) async fn room_events<'e, T>(
        &self,
        tx: &Transaction,
        asker: &Asker<'_>,
        view: &View,
        events: impl IntoIterator<Item = (&'e LoadedEvent, Option<&'e Versionstamp>)>,
    ) -> Result<Vec<Raw<T>>, SyncError> {
        let mut written: Vec<Raw<T>> = if asker.filter.federation_format {
            let json = events.into_iter().map(|(event, _)| RawValue::from_string(event.pdu.json.clone()));
            // Stored events are valid JSON; one that is not has been reported when it was loaded.
            json.filter_map(Result::ok).map(Raw::from_json).collect()
        } else {
            let reader = Reader::in_sync(asker.user, Some(asker.device));
            let events = self.0.rooms.client_events(tx, view, &reader, events).await?;
            events.into_iter().map(Raw::cast_unchecked).collect()
        };
        if let Some(fields) = &asker.filter.fields {
            written = written.into_iter().map(|event| fields.apply(event)).collect();
        }
        Ok(written)
    }
}
