//! The workers that empty the rooms' queues, one per room that has something waiting.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hearth_protocol::{Pdu, auth::Refused, receive::Verified};
use hearth_store::{StoreError, Versionstamp};
use ruma::{EventId, RoomId};
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    RoomError, RoomNid, Rooms,
    error::corrupt,
    keys::{INBOUND, INBOUND_COUNT},
    records::InboundRecord,
    room_info::RoomInfo,
};

/// Events that are taken from the queue together.
const BATCH: usize = 32;
/// Time until the next try when the store does not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// The workers of all rooms.
#[derive(Default)]
pub(crate) struct Workers {
    /// Rooms that have one, and whether something came since it last looked.
    running: Mutex<HashMap<RoomNid, bool>>,
    ended: Notify,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Workers {
    fn lock(&self) -> MutexGuard<'_, HashMap<RoomNid, bool>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether to go on: not if nothing came since the last look.
    fn again(&self, room: RoomNid) -> bool {
        let mut running = self.lock();
        let again = running.get_mut(&room).is_some_and(std::mem::take) && !self.stop.is_cancelled();
        if !again {
            running.remove(&room);
        }
        again
    }

    /// Ends all workers after the event that each is at. What waits stays queued.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Should a worker panic, another one can begin, and nobody waits for this one.
struct EndOfWork<'a>(&'a Workers, RoomNid);

impl Drop for EndOfWork<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().remove(&self.1);
        }
        self.0.ended.notify_waiters();
    }
}

impl Rooms {
    /// Has a worker look at the room's queue.
    pub(super) fn wake_worker(&self, room: RoomNid) {
        let workers = &self.receiving.workers;
        if self.receiving.fetch.get().is_none() || workers.stop.is_cancelled() {
            return;
        }
        let starts = {
            let mut running = workers.lock();
            if let Some(again) = running.get_mut(&room) {
                *again = true;
                false
            } else {
                running.insert(room, false);
                true
            }
        };
        if starts {
            let rooms = self.clone();
            workers.tasks.spawn(async move { rooms.work(room).await });
        }
    }

    /// Waits until nothing is left to do for what was received so far.
    pub async fn received(&self, room_id: &RoomId) -> Result<(), RoomError> {
        let room = self.room_to_write(room_id).await?.ok_or(RoomError::RoomNotFound)?;
        let workers = &self.receiving.workers;
        loop {
            let ended = workers.ended.notified();
            tokio::pin!(ended);
            // Registered before looking, so that no end is missed.
            ended.as_mut().enable();
            if !workers.lock().contains_key(&room) {
                return Ok(());
            }
            ended.await;
        }
    }

    async fn work(&self, room: RoomNid) {
        let workers = &self.receiving.workers;
        let _end = EndOfWork(workers, room);
        loop {
            match self.empty_queue(room).await {
                Ok(()) if workers.again(room) => {}
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(room = room.0, %error, "receiving events failed and is tried again");
                    tokio::select! {
                        () = tokio::time::sleep(PAUSE) => {}
                        () = workers.stop.cancelled() => {
                            workers.lock().remove(&room);
                            return;
                        }
                    }
                }
            }
        }
    }

    async fn empty_queue(&self, room: RoomNid) -> Result<(), RoomError> {
        let stop = &self.receiving.workers.stop;
        loop {
            let tx = self.store.begin();
            let info = match self.room_info(&tx, room).await {
                // Purged meanwhile, with its queue.
                Err(RoomError::RoomNotFound) => return Ok(()),
                info => info?,
            };
            let waiting = INBOUND.scan((room,)).limit(BATCH).snapshot().all(&tx).await?;
            drop(tx);
            if waiting.is_empty() {
                return Ok(());
            }
            let mut done = Vec::with_capacity(waiting.len());
            for ((_, at), record) in waiting {
                if stop.is_cancelled() {
                    break;
                }
                match self.take_from_queue(&info, record).await {
                    Ok(()) => {}
                    Err(RoomError::Store(error)) if is_passing(&error) => {
                        self.dequeue(room, &done).await?;
                        return Err(error.into());
                    }
                    // What cannot be done now can never be done; others may do without it, or fetch it again.
                    Err(error) => tracing::error!(room = room.0, %error, "an event is dropped"),
                }
                done.push(at);
            }
            self.dequeue(room, &done).await?;
            if stop.is_cancelled() {
                return Ok(());
            }
        }
    }

    async fn take_from_queue(&self, info: &RoomInfo, record: InboundRecord) -> Result<(), RoomError> {
        let event_id = EventId::parse(&record.event_id).map_err(corrupt)?;
        let pdu = Pdu::parse(&record.json, &info.version, Some(event_id)).map_err(corrupt)?;
        self.take_in(info, Verified { pdu, redacted: false, rejection: record.rejection.map(Refused) }).await
    }

    /// Deletes entries that are done, each counted once whoever else deletes it too.
    async fn dequeue(&self, room: RoomNid, done: &[Versionstamp]) -> Result<(), StoreError> {
        if done.is_empty() {
            return Ok(());
        }
        self.store
            .transact("dequeue events", |tx| async move {
                let mut count = 0;
                for at in done {
                    if INBOUND.get(&tx, (room, at)).await?.is_some() {
                        INBOUND.clear(&tx, (room, at));
                        count += 1;
                    }
                }
                INBOUND_COUNT.add(&tx, (room,), -count);
                Ok(())
            })
            .await
    }
}

/// Whether the store may do later what it did not do now.
fn is_passing(error: &StoreError) -> bool {
    !matches!(
        error,
        StoreError::Corrupt { .. } | StoreError::TransactionTooLarge { .. } | StoreError::ValueTooLarge { .. }
    )
}
