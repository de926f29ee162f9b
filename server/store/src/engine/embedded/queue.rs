//! The bounded queue between transactions and the committer.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};

use crate::engine::buffer::WriteSet;
use crate::engine::key::{Key, KeyRange};
use crate::engine::mutex::lock;
use crate::{StoreError, Version};

/// Transactions that may wait for the committer; more wait before they enter the queue.
const CAPACITY: usize = 4096;

/// A transaction on its way to the committer.
#[derive(Debug)]
pub(super) struct CommitRequest {
    /// `None` where nothing was read, so that nothing can conflict.
    pub(super) read_version: Option<Version>,
    pub(super) reads: Vec<KeyRange>,
    pub(super) write_conflicts: Vec<KeyRange>,
    pub(super) writes: WriteSet,
    /// Bytes as the limits count them.
    pub(super) size: usize,
    /// Keys whose value after this transaction is wanted, for its watches.
    pub(super) values_wanted: Vec<Key>,
    pub(super) reply: oneshot::Sender<Result<CommitReply, StoreError>>,
}

/// What the committer answers.
#[derive(Debug)]
pub(super) struct CommitReply {
    pub(super) version: Version,
    /// Place among the transactions of the version.
    pub(super) order: u16,
    /// In the order of [`CommitRequest::values_wanted`].
    pub(super) values: Vec<Option<Bytes>>,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<CommitRequest>,
    /// Set when nothing may enter any more, with what to answer.
    refused: Option<StoreError>,
}

#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    room: Semaphore,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State { waiting: VecDeque::new(), refused: None }),
            arrived: Condvar::new(),
            room: Semaphore::new(CAPACITY),
        }
    }

    /// Enters the queue, waiting for room.
    pub(super) async fn push(&self, request: CommitRequest) -> Result<(), StoreError> {
        match self.room.acquire().await {
            Ok(permit) => permit.forget(),
            Err(_) => return Err(self.refusal()),
        }
        let mut state = lock(&self.state);
        if let Some(error) = &state.refused {
            return Err(error.clone());
        }
        state.waiting.push_back(request);
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    fn refusal(&self) -> StoreError {
        lock(&self.state).refused.clone().unwrap_or(StoreError::Closed)
    }

    /// Refuses everything from now on with `error`; what is in the queue stays there.
    pub(super) fn refuse(&self, error: StoreError) {
        lock(&self.state).refused.get_or_insert(error);
        self.room.close();
        self.arrived.notify_one();
    }

    /// Drops what waits, so that it learns that nobody will answer.
    pub(super) fn abandon(&self) {
        lock(&self.state).waiting.clear();
    }

    /// Fills `batch` with at most `count` transactions of together about `bytes`, waiting for the first until
    /// `deadline`. Returns whether the queue refuses new ones, so that an empty batch is the end.
    pub(super) fn drain(
        &self,
        batch: &mut Vec<CommitRequest>,
        count: usize,
        bytes: usize,
        deadline: Option<Instant>,
    ) -> bool {
        let mut state = lock(&self.state);
        while state.waiting.is_empty() && state.refused.is_none() {
            match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => break,
                Some(left) => {
                    state = self.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
        let mut size = 0;
        while batch.len() < count && size < bytes {
            let Some(request) = state.waiting.pop_front() else { break };
            size += request.size;
            batch.push(request);
        }
        let refuses = state.refused.is_some();
        drop(state);
        self.room.add_permits(batch.len());
        refuses
    }
}
