//! Events from other servers: from their acceptance to the place that they get in their room.
//!
//! [`Rooms::receive`] puts verified events into their room's durable queue and returns; whoever sent them may forget
//! them then. A [`worker`] per room takes them one by one: gets what is [`missing`] before them, [`judging`] says what
//! becomes of each, and [`publishing`] writes that in one transaction that is void if the room has changed meanwhile, and is
//! then prepared again. What is written names what was read ([`Guard`]), so any number of receivers and senders, in any number of
//! processes, end in the same room.

mod joining;
#[cfg(test)]
mod joining_tests;
mod judging;
#[cfg(test)]
mod meeting_tests;
mod missing;
mod publishing;
#[cfg(test)]
mod tests;
mod worker;

use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;
use hearth_protocol::receive::Verified;
use hearth_store::{StoreError, Versionstamp};
use ruma::{EventId, OwnedEventId, RoomId};

use crate::{
    RoomError, Rooms,
    keys::{INBOUND, INBOUND_COUNT},
    records::InboundRecord,
};
pub use joining::{JoinProgress, JoinStep, Staging};
pub(crate) use publishing::Stored;
pub(crate) use worker::Workers;

/// Most events that wait in one room.
const QUEUED: u64 = 10_000;
/// Most events that one transaction queues; they are of at most 64 KiB each.
const AT_ONCE: usize = 50;

/// Where events that other servers have are got. The network is behind it; what it gives is verified.
pub trait Fetch: Send + Sync {
    /// These events of a room, as many of them as can be had, in any order.
    fn events<'a>(&'a self, room: &'a RoomId, wanted: &'a [OwnedEventId]) -> BoxFuture<'a, Vec<Verified>>;

    /// The state before an event, as another server says
    /// ([`/state_ids`](https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1state_idsroomid)).
    fn state_ids<'a>(&'a self, room: &'a RoomId, event: &'a EventId) -> BoxFuture<'a, Option<StateIds>>;
}

/// A state by the ids of its events, with those of their auth chains.
#[derive(Debug, Clone, Default)]
pub struct StateIds {
    /// The state.
    pub state: Vec<OwnedEventId>,
    /// The union of the auth chains of its events.
    pub auth_chain: Vec<OwnedEventId>,
}

/// Why events were not queued.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// So many wait that more are not taken: to be sent again later.
    #[error("{0} events wait in this room")]
    Full(u64),
    /// The room is not known, or the store failed.
    #[error(transparent)]
    Room(#[from] RoomError),
}

impl From<StoreError> for ReceiveError {
    fn from(error: StoreError) -> Self {
        Self::Room(error.into())
    }
}

/// What receiving needs beside the database.
#[derive(Default)]
pub(crate) struct Receiving {
    fetch: OnceLock<Arc<dyn Fetch>>,
    pub(crate) workers: Workers,
}

impl Rooms {
    /// Begins to take in what waits, and what comes from now on. To be called once, after which [`Self::close`] ends it.
    pub async fn start_receiving(&self, fetch: Arc<dyn Fetch>) -> Result<(), StoreError> {
        // A second one changes nothing.
        let _ = self.receiving.fetch.set(fetch);
        let waiting = self
            .store
            .transact("find queues", |tx| async move { INBOUND_COUNT.scan(()).snapshot().all(&tx).await })
            .await?;
        for ((room,), count) in waiting {
            if count > 0 {
                self.wake_worker(room);
            }
        }
        Ok(())
    }

    /// Queues verified events of a room that is known here. When this returns they are durable.
    #[tracing::instrument(skip_all, fields(%room_id, events = events.len()))]
    pub async fn receive(&self, room_id: &RoomId, events: Vec<Verified>) -> Result<(), ReceiveError> {
        let room = self.room_to_write(room_id).await?.ok_or(RoomError::RoomNotFound)?;
        let records: Vec<InboundRecord> =
            events.into_iter().filter(|event| event.pdu.room_id == room_id).map(InboundRecord::from).collect();
        for records in records.chunks(AT_ONCE) {
            let waiting = self
                .store
                .transact("queue events", |tx| async move {
                    // Without a conflict: a few more or less do no harm.
                    let waiting = INBOUND_COUNT.get_snapshot(&tx, (room,)).await?.unwrap_or(0);
                    if waiting >= QUEUED {
                        return Ok(Some(waiting));
                    }
                    for (record, user_version) in records.iter().zip(0..) {
                        INBOUND.set_versionstamped_key(&tx, (room, &Versionstamp::incomplete(user_version)), record);
                    }
                    INBOUND_COUNT.add(&tx, (room,), records.len().cast_signed() as i64);
                    Ok::<_, StoreError>(None)
                })
                .await?;
            self.wake_worker(room);
            if let Some(waiting) = waiting {
                return Err(ReceiveError::Full(waiting));
            }
        }
        Ok(())
    }
}

impl From<Verified> for InboundRecord {
    fn from(event: Verified) -> Self {
        Self {
            event_id: event.pdu.event_id.to_string(),
            json: event.pdu.json,
            rejection: event.rejection.map(|refused| refused.0),
        }
    }
}
