//! Lanes: concurrent writes to one room share a transaction.
//!
//! A room's events form a chain, so two transactions that append to the same room always conflict. Each room that
//! is being written to has a lane: whoever finds no lane starts a task that drains it, and whoever comes while
//! that task waits for its commit joins the next batch. So one fsync serves as many senders as there are, and
//! there is nothing to retry. Each operation has its own outcome. Other processes have lanes of their own; see
//! [`crate::turns`].
//!
//! The task belongs to [`Lanes`] and not to a caller: a caller that goes away (a closed connection) neither stops
//! the others nor its own operation.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hearth_store::StoreError;
use ruma::OwnedEventId;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::task::TaskTracker;

use crate::{RoomError, RoomNid, Rooms, publish::Published, writer::RoomWriter};

/// Most operations in one transaction.
const BATCH: usize = 64;
/// Roughly the most bytes that one transaction writes: well under the store's limit, which also counts conflicts.
const BATCH_BYTES: usize = 4_000_000;
/// Roughly the bytes that the notification row of one user takes.
const ROW_BYTES: usize = 200;
/// Most operations that wait or run, over all rooms; beyond, callers wait before they queue.
const QUEUED: usize = 4096;

/// A change of one room, run inside a batch's transaction. It may run several times.
pub(crate) trait Operation: Send + Sync {
    /// Runs the operation. On an error it must have appended nothing.
    fn run<'a>(
        &'a self,
        room: &'a mut RoomWriter<'_>,
    ) -> futures_util::future::BoxFuture<'a, Result<OwnedEventId, RoomError>>;

    /// Roughly the bytes that it will write.
    fn weight(&self) -> usize;
}

/// How often a lane lets other tasks run before it takes a batch that is smaller than the last one.
const YIELDS: usize = 16;
/// Where a commit takes at least this long, a lane also waits this long: a commit saved is worth more.
const PATIENCE: Duration = Duration::from_millis(1);

struct Job {
    operation: Arc<dyn Operation>,
    answer: oneshot::Sender<Result<OwnedEventId, RoomError>>,
    _permit: OwnedSemaphorePermit,
}

/// What waits for a room's next batch.
#[derive(Default)]
struct Lane {
    jobs: VecDeque<Job>,
    arrived: Arc<Notify>,
}

/// The lanes of all rooms.
pub(crate) struct Lanes {
    /// Rooms with a running task.
    waiting: Mutex<HashMap<RoomNid, Lane>>,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Default for Lanes {
    fn default() -> Self {
        Self { waiting: Mutex::default(), permits: Arc::new(Semaphore::new(QUEUED)), tasks: TaskTracker::new() }
    }
}

impl Lanes {
    /// Runs `operation` on the room, with whatever else waits for it, and returns its own outcome.
    pub(crate) async fn run(
        &self,
        rooms: &Rooms,
        room: RoomNid,
        operation: Arc<dyn Operation>,
    ) -> Result<OwnedEventId, RoomError> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let (answer, outcome) = oneshot::channel();
        let job = Job { operation, answer, _permit: permit };
        let start = match self.lock().entry(room) {
            Entry::Occupied(mut lane) => {
                lane.get_mut().jobs.push_back(job);
                lane.get().arrived.notify_one();
                false
            }
            Entry::Vacant(lane) => {
                lane.insert(Lane { jobs: VecDeque::from([job]), ..Lane::default() });
                true
            }
        };
        if start {
            self.tasks.spawn(drain(rooms.clone(), room));
        }
        outcome.await.unwrap_or(Err(RoomError::Store(StoreError::Closed)))
    }

    /// Takes no more operations and waits for those that run.
    pub(crate) async fn close(&self) {
        self.permits.close();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Gives those whom the last batch served the time to come back with their next request, so that they share a
    /// commit again instead of splitting into one that leads and the others that come a moment too late.
    async fn gather(&self, room: RoomNid, expected: usize, last_commit: Duration) {
        let arrived = || match self.lock().get(&room) {
            Some(lane) if lane.jobs.len() < expected => Some(lane.arrived.clone()),
            _ => None,
        };
        for _ in 0..YIELDS {
            if arrived().is_none() {
                return;
            }
            tokio::task::yield_now().await;
        }
        if last_commit < PATIENCE {
            return;
        }
        let all = async {
            while let Some(arrived) = arrived() {
                arrived.notified().await;
            }
        };
        // Whoever has not come by now is not waited for.
        let _ = tokio::time::timeout(PATIENCE, all).await;
    }

    /// The next batch of a room with `members` local users; ends the lane when there is none.
    fn next(&self, room: RoomNid, members: usize) -> Vec<Job> {
        let mut waiting = self.lock();
        let Some(lane) = waiting.get_mut(&room) else { return Vec::new() };
        let mut bytes = 0;
        let mut count = 0;
        while let Some(job) = lane.jobs.get(count) {
            bytes += job.operation.weight() + members * ROW_BYTES;
            if count > 0 && (count == BATCH || bytes > BATCH_BYTES) {
                break;
            }
            count += 1;
        }
        if count == 0 {
            waiting.remove(&room);
            return Vec::new();
        }
        lane.jobs.drain(..count).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RoomNid, Lane>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Should a batch panic, ends the lane, so that those who wait get an error and those who come later a new lane.
struct EndOfLane<'a>(&'a Lanes, RoomNid);

impl Drop for EndOfLane<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().remove(&self.1);
        }
    }
}

async fn drain(rooms: Rooms, room: RoomNid) {
    let _end = EndOfLane(&rooms.lanes, room);
    let (mut last_batch, mut last_commit) = (0, Duration::ZERO);
    loop {
        if last_batch > 1 {
            rooms.lanes.gather(room, last_batch, last_commit).await;
        }
        let members = rooms.views.get(&room).and_then(|view| view.local().map(|local| local.len()));
        let jobs = rooms.lanes.next(room, members.unwrap_or(0));
        if jobs.is_empty() {
            return;
        }
        let begin = Instant::now();
        let operations: Vec<_> = jobs.iter().map(|job| job.operation.clone()).collect();
        let outcomes = run_batch(&rooms, room, &operations).await;
        (last_batch, last_commit) = (jobs.len(), begin.elapsed());
        for (job, outcome) in jobs.into_iter().zip(outcomes) {
            // The caller may have gone away; the operation is done all the same.
            let _ = job.answer.send(outcome);
        }
    }
}

/// Runs operations in one transaction. One that makes the transaction too large for the store does not take the
/// others with it: they run again one by one.
async fn run_batch(
    rooms: &Rooms,
    room: RoomNid,
    operations: &[Arc<dyn Operation>],
) -> Vec<Result<OwnedEventId, RoomError>> {
    match transact(rooms, room, operations).await {
        Ok(outcomes) => outcomes,
        Err(RoomError::Store(error)) if operations.len() > 1 && is_too_large(&error) => {
            let mut outcomes = Vec::with_capacity(operations.len());
            for operation in operations {
                outcomes.push(match transact(rooms, room, std::slice::from_ref(operation)).await {
                    Ok(mut outcome) => outcome.pop().unwrap_or(Err(RoomError::RoomNotFound)),
                    Err(error) => Err(error),
                });
            }
            outcomes
        }
        Err(error) => operations.iter().map(|_| Err(error.clone())).collect(),
    }
}

async fn transact(
    rooms: &Rooms,
    room: RoomNid,
    operations: &[Arc<dyn Operation>],
) -> Result<Vec<Result<OwnedEventId, RoomError>>, RoomError> {
    let tries = &rooms.turns.tries(&rooms.store, room);
    let (outcomes, published): (_, Option<Published>) = rooms
        .store
        .transact("publish", |tx| async move {
            tries.begin(&tx).await?;
            let mut writer = RoomWriter::open(rooms, tx, room).await?;
            let mut outcomes = Vec::with_capacity(operations.len());
            for operation in operations {
                match operation.run(&mut writer).await {
                    // The transaction itself failed: nothing that was read in it counts.
                    Err(RoomError::Store(error)) => return Err(RoomError::Store(error)),
                    outcome => outcomes.push(outcome),
                }
            }
            Ok::<_, RoomError>((outcomes, writer.finish().await?))
        })
        .await?;
    if let Some(published) = published {
        published.remember(rooms);
    }
    Ok(outcomes)
}

fn is_too_large(error: &StoreError) -> bool {
    matches!(error, StoreError::TransactionTooLarge { .. } | StoreError::ValueTooLarge { .. })
}
