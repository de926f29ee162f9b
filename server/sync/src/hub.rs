//! Waking readers that wait for something new.
//!
//! One task per database and process follows that database's stream of changes and wakes the waiting readers whom a change
//! concerns ([`Hub::follow`]). It waits on a store watch, so it does not matter which process wrote.
//!
//! # Why no wake-up is ever lost
//!
//! [`Hub::poll`] is the only way to wait, and it always does three things in this order: it *registers* (interested in
//! everything), it *samples* (reads the databases in new transactions), and only if there was nothing it narrows its
//! interest to what it has just read and *waits*. Let a change be committed at version `C`, and let the sample of the
//! database in question have read at version `V`.
//!
//! 1. `C ≤ V`: the sample saw the change.
//! 2. `C > V`: the change was committed after the sample's transaction began, hence after the registration. The follower
//!    reads the row of `C` from the stream only after its commit, so the reader is in the table by then and stays
//!    there until it is answered. Either its interest is still everything, or it has been narrowed to the rooms that
//!    it had at `V`. A change in one of those rooms wakes it. A change in another room concerns it only if it became
//!    a member after `V`; but then that membership change is itself a change after `V` about this user, of whom every
//!    reader is always told. So the follower marks the reader in each case.
//! 3. A mark is a permit, not an event: it is kept while the reader is still busy with sampling, and its next wait
//!    returns at once. Then it samples again, at a version of at least `C`.
//!
//! The follower itself skips nothing: it reads the head and arms the watch in the same transaction, so a commit after
//! that read fires the watch; and it always goes on from the version that it has read up to. Where it cannot tell what
//! happened (its first look, after a failure, after more changes than it reads at once) it wakes everybody.
//! A wake-up too many only costs a sample.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hearth_rooms::RoomNid;
use hearth_store::{StoreError, Version, Watch};
use ruma::{OwnedUserId, UserId};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::SyncError;

/// Pause of a follower after a failure of its store.
const RETRY: Duration = Duration::from_secs(1);
/// Pause after a look that found nothing: a watch may fire for nothing, and must not do so all the time.
const NOTHING: Duration = Duration::from_millis(10);
/// Longest time between two looks of a follower, should a watch ever be lost on its way.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// Whom a stretch of a stream concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Perhaps anybody.
    Everyone,
    /// The members of these rooms and these users.
    About {
        /// Rooms in which something happened.
        rooms: HashSet<RoomNid>,
        /// Users to whom something happened.
        users: HashSet<OwnedUserId>,
    },
}

impl News {
    fn is_nothing(&self) -> bool {
        matches!(self, Self::About { rooms, users } if rooms.is_empty() && users.is_empty())
    }
}

/// What a follower sees when it looks at its stream.
#[derive(Debug)]
pub struct Look {
    /// The version up to which the stream was read.
    pub head: Version,
    /// What lies between the version asked for and `head`.
    pub news: News,
    /// Fires when something is committed that this look does not contain.
    pub watch: Watch,
}

/// A database's stream of changes.
pub trait Source: Send + Sync {
    /// For the log.
    const NAME: &'static str;

    /// What happened after `since` ([`News::Everyone`] for `None`). The head is read and the watch armed in the same
    /// transaction, before the news are read.
    fn look(&self, since: Option<Version>) -> impl Future<Output = Result<Look, SyncError>> + Send;
}

/// What a sample found.
#[derive(Debug)]
pub enum Sample<T> {
    /// Something to answer with at once.
    Something(T),
    /// Nothing yet.
    Nothing {
        /// What to answer with when the time is over.
        answer: T,
        /// The rooms whose changes concern the reader, as of this sample.
        rooms: Arc<HashSet<RoomNid>>,
    },
}

/// The waiting readers of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Hub(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    table: Mutex<Table>,
    capacity: usize,
    /// Nobody waits any more: the server stops.
    stopped: AtomicBool,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    waiters: HashMap<u64, Waiter>,
}

#[derive(Debug)]
struct Waiter {
    user: OwnedUserId,
    interest: Interest,
    mark: Arc<Notify>,
}

#[derive(Debug, Clone)]
enum Interest {
    Everything,
    Rooms(Arc<HashSet<RoomNid>>),
}

impl Waiter {
    fn is_concerned(&self, news: &News) -> bool {
        let News::About { rooms, users } = news else { return true };
        if users.contains(&self.user) {
            return true;
        }
        match &self.interest {
            Interest::Everything => !rooms.is_empty(),
            Interest::Rooms(mine) if mine.len() < rooms.len() => mine.iter().any(|room| rooms.contains(room)),
            Interest::Rooms(mine) => rooms.iter().any(|room| mine.contains(room)),
        }
    }
}

/// A place in the table; leaves it when dropped.
struct Registration<'a> {
    hub: &'a Inner,
    id: u64,
    mark: Arc<Notify>,
}

impl Registration<'_> {
    fn interest(&self, interest: Interest) {
        if let Some(waiter) = self.hub.table().waiters.get_mut(&self.id) {
            waiter.interest = interest;
        }
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        self.hub.table().waiters.remove(&self.id);
    }
}

impl Inner {
    fn table(&self) -> MutexGuard<'_, Table> {
        // A panic while the lock is held leaves at worst a waiter too many.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, user: &UserId) -> Option<Registration<'_>> {
        let mut table = self.table();
        if table.waiters.len() >= self.capacity {
            return None;
        }
        let id = table.next;
        table.next += 1;
        let mark = Arc::new(Notify::new());
        let waiter = Waiter { user: user.to_owned(), interest: Interest::Everything, mark: mark.clone() };
        table.waiters.insert(id, waiter);
        Some(Registration { hub: self, id, mark })
    }
}

impl Hub {
    /// A hub for at most `capacity` waiting readers.
    pub fn new(capacity: usize) -> Self {
        Self(Arc::new(Inner { table: Mutex::default(), capacity, stopped: AtomicBool::new(false) }))
    }

    /// How many readers are registered now.
    pub fn waiting(&self) -> usize {
        self.0.table().waiters.len()
    }

    /// Samples until there is something, or `until`. A sample gets the answer of the one before it, which had nothing,
    /// and may go on from there. See the module's text for why nothing is missed.
    pub async fn poll<T, E, F, Fut>(&self, user: &UserId, until: Instant, mut sample: F) -> Result<T, E>
    where
        F: FnMut(Option<T>) -> Fut,
        Fut: Future<Output = Result<Sample<T>, E>>,
        E: From<SyncError>,
    {
        let registration = self.0.register(user).ok_or(SyncError::TooManyWaiting)?;
        let mut previous = None;
        loop {
            registration.interest(Interest::Everything);
            let (answer, rooms) = match sample(previous.take()).await? {
                Sample::Something(answer) => return Ok(answer),
                Sample::Nothing { answer, rooms } => (answer, rooms),
            };
            // Checked each time: marks may come faster than the time runs out.
            if Instant::now() >= until {
                return Ok(answer);
            }
            registration.interest(Interest::Rooms(rooms));
            if self.0.stopped.load(Ordering::SeqCst)
                || tokio::time::timeout_at(until, registration.mark.notified()).await.is_err()
            {
                return Ok(answer);
            }
            previous = Some(answer);
        }
    }

    /// Marks the readers whom `news` concern.
    pub fn wake(&self, news: &News) {
        for waiter in self.0.table().waiters.values().filter(|waiter| waiter.is_concerned(news)) {
            waiter.mark.notify_one();
        }
    }

    /// Lets every reader go: from now on nobody waits.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::SeqCst);
        self.wake(&News::Everyone);
    }

    /// Follows a database's stream until `stop`, waking readers.
    pub async fn follow<S: Source>(&self, source: S, stop: CancellationToken) {
        let mut read_up_to = None;
        loop {
            let failure = match source.look(read_up_to).await {
                Ok(look) => {
                    self.wake(&look.news);
                    read_up_to = Some(look.head);
                    if look.news.is_nothing() {
                        tokio::time::sleep(NOTHING).await;
                    }
                    tokio::select! {
                        () = stop.cancelled() => break,
                        changed = look.watch.changed() => changed.err().map(SyncError::from),
                        () = tokio::time::sleep(LONGEST_WAIT) => None,
                    }
                }
                Err(SyncError::Store(StoreError::Closed)) => break,
                Err(error) => Some(error),
            };
            if let Some(error) = failure {
                tracing::warn!(database = S::NAME, %error, "cannot follow the stream");
                // What happens meanwhile is unknown: everybody looks for themselves afterwards.
                read_up_to = None;
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(RETRY) => {}
                }
            }
        }
        self.stop();
    }
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
