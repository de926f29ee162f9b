//! Loading events: parsed once, cached, redactions applied.

use std::sync::Arc;

use futures_util::future::try_join_all;
use hearth_protocol::Pdu;
use hearth_store::{Transaction, Versionstamp};
use ruma::EventId;

use crate::{
    EventNid, Outcome, RoomError, RoomNid, Rooms,
    error::corrupt,
    keys,
    stored_event::{LoadedEvent, StoredEvent},
};

impl Rooms {
    /// The stored event of a numeric id. Not for transactions that write events (see [`crate::lookup`]).
    pub(crate) async fn stored_event(&self, tx: &Transaction, nid: EventNid) -> Result<Arc<StoredEvent>, RoomError> {
        if let Some(event) = self.caches.events.get(&nid) {
            return Ok(event);
        }
        let record = keys::EVENT
            .get_snapshot(tx, (nid,))
            .await?
            .ok_or_else(|| RoomError::Corrupt(format!("{nid:?} has no event")))?;
        let info = self.room_info(tx, record.room).await?;
        let event_id = EventId::parse(&record.event_id).map_err(corrupt)?;
        let mut pdu = Pdu::parse(&record.json, &info.version, Some(event_id)).map_err(corrupt)?;
        pdu.rejected = record.outcome == Outcome::Rejected;
        let event = Arc::new(StoredEvent {
            nid,
            room: record.room,
            pdu: Arc::new(pdu),
            outcome: record.outcome,
            replaces: record.replaces,
            transaction: record.transaction,
        });
        self.caches.keep(event.clone());
        Ok(event)
    }

    /// The event of a numeric id as readers may see it: redacted if it was.
    pub async fn load_event(&self, tx: &Transaction, nid: EventNid) -> Result<LoadedEvent, RoomError> {
        let stored = self.stored_event(tx, nid).await?;
        let Some(redaction) = keys::REDACTION.get_snapshot(tx, (nid,)).await? else {
            return Ok(LoadedEvent { pdu: stored.pdu.clone(), stored, redaction: None });
        };
        let redaction = self.stored_event(tx, redaction).await?;
        let info = self.room_info(tx, stored.room).await?;
        let mut pdu = stored.pdu.redacted(&info.version).map_err(corrupt)?;
        pdu.rejected = stored.pdu.rejected;
        Ok(LoadedEvent { stored, pdu: Arc::new(pdu), redaction: Some(redaction) })
    }

    /// [`Self::load_event`] where the timeline says that nothing touched the event, so that there is no redaction.
    pub(crate) async fn load_untouched(&self, tx: &Transaction, nid: EventNid) -> Result<LoadedEvent, RoomError> {
        let stored = self.stored_event(tx, nid).await?;
        Ok(LoadedEvent { pdu: stored.pdu.clone(), stored, redaction: None })
    }

    /// [`Self::load_event`] of each, at once.
    pub async fn load_events(&self, tx: &Transaction, nids: &[EventNid]) -> Result<Vec<LoadedEvent>, RoomError> {
        try_join_all(nids.iter().map(|nid| self.load_event(tx, *nid))).await
    }

    /// The event's numeric id and where it stands in the timeline of `room`.
    pub(crate) async fn locate_event(
        &self,
        tx: &Transaction,
        room: RoomNid,
        event_id: &EventId,
    ) -> Result<(Arc<StoredEvent>, Versionstamp), RoomError> {
        let nid = keys::EVENT_NID.get_snapshot(tx, (event_id.as_str(),)).await?.ok_or(RoomError::EventNotFound)?;
        let event = self.stored_event(tx, nid).await?;
        let at = keys::EVENT_AT.get_snapshot(tx, (nid,)).await?.ok_or(RoomError::EventNotFound)?;
        if event.room != room || event.outcome != Outcome::Accepted {
            return Err(RoomError::EventNotFound);
        }
        Ok((event, at))
    }
}
