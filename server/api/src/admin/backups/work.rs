//! What is being done to backups by hand, and how it ended. In memory: what a crash cuts off has left nothing behind.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use hearth_archive::{BackupSummary, Progress, ProgressFigures};
use tokio_util::sync::CancellationToken;

use crate::admin::clock::unix_millis;

/// What ended is remembered for so many.
const MOST_ENDED: usize = 20;
/// At most so many at the same time: each reads a whole store or a whole file.
const MOST_AT_ONCE: usize = 2;

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::admin) enum What {
    /// A backup in the folder is read and checked.
    Verify {
        /// Its file's name.
        name: String,
    },
    /// A backup is written.
    Write {
        /// To where.
        path: PathBuf,
    },
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::admin) enum WorkState {
    /// Under way.
    Running,
    /// Ended well.
    Done(WorkSummary),
    /// Did not; why, in a sentence.
    Failed(String),
    /// Was cut off, by somebody or because the server stops.
    Cancelled,
}

/// What a backup holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::admin) struct WorkSummary {
    /// Entries of the store.
    pub keys: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
}

impl From<&BackupSummary> for WorkSummary {
    fn from(summary: &BackupSummary) -> Self {
        Self { keys: summary.keys, bytes: summary.bytes, file_bytes: summary.file_bytes }
    }
}

/// Something that is being done to a backup.
#[derive(Debug, Clone)]
pub(in crate::admin) struct Work {
    pub id: u64,
    pub what: What,
    pub state: WorkState,
    pub progress: ProgressFigures,
    /// Unix milliseconds.
    pub started_at: u64,
    /// Unix milliseconds.
    pub ended_at: Option<u64>,
}

/// Why it was not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::admin) enum StartError {
    /// The same is under way.
    UnderWay,
    /// Enough is under way.
    Busy,
}

#[derive(Debug, Default)]
pub(super) struct Works {
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    last_id: u64,
    /// Newest first.
    entries: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    what: What,
    state: WorkState,
    progress: Progress,
    started_at: u64,
    ended_at: Option<u64>,
    cancel: CancellationToken,
}

impl Entry {
    fn work(&self) -> Work {
        Work {
            id: self.id,
            what: self.what.clone(),
            state: self.state.clone(),
            progress: self.progress.figures(),
            started_at: self.started_at,
            ended_at: self.ended_at,
        }
    }
}

pub(super) struct Started {
    pub(super) id: u64,
    pub(super) progress: Progress,
    pub(super) cancel: CancellationToken,
    pub(super) work: Work,
}

impl Works {
    pub(super) fn begin(&self, what: What, cancel: CancellationToken) -> Result<Started, StartError> {
        let mut list = self.lock();
        let running = || list.entries.iter().filter(|entry| entry.state == WorkState::Running);
        if running().any(|entry| entry.what == what) {
            return Err(StartError::UnderWay);
        }
        if running().count() >= MOST_AT_ONCE {
            return Err(StartError::Busy);
        }
        list.last_id += 1;
        let entry = Entry {
            id: list.last_id,
            what,
            state: WorkState::Running,
            progress: Progress::new(),
            started_at: unix_millis(),
            ended_at: None,
            cancel: cancel.clone(),
        };
        let started = Started { id: entry.id, progress: entry.progress.clone(), cancel, work: entry.work() };
        list.entries.push_front(entry);
        Ok(started)
    }

    /// Notes how one ended; `None`: it was cut off.
    pub(super) fn end(&self, id: u64, outcome: Option<Result<WorkSummary, String>>, at: u64) {
        let mut list = self.lock();
        if let Some(entry) = list.entries.iter_mut().find(|entry| entry.id == id) {
            entry.ended_at = Some(at);
            entry.state = match outcome {
                Some(Ok(summary)) => WorkState::Done(summary),
                Some(Err(message)) => WorkState::Failed(message),
                None => WorkState::Cancelled,
            };
            tracing::info!(what = ?entry.what, state = ?entry.state, "ended");
        }
        let mut ended = 0;
        list.entries.retain(|entry| {
            ended += usize::from(entry.state != WorkState::Running);
            entry.state == WorkState::Running || ended <= MOST_ENDED
        });
    }

    pub(super) fn cancel(&self, id: u64) -> bool {
        let list = self.lock();
        let running = list.entries.iter().find(|entry| entry.id == id && entry.state == WorkState::Running);
        running.map(|entry| entry.cancel.cancel()).is_some()
    }

    pub(super) fn list(&self) -> Vec<Work> {
        self.lock().entries.iter().map(Entry::work).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verify(name: &str) -> What {
        What::Verify { name: name.to_owned() }
    }

    #[test]
    fn the_same_is_not_done_twice_and_few_at_once() {
        let works = Works::default();
        let begin = |name| works.begin(verify(name), CancellationToken::new());
        let first = begin("a").unwrap();
        assert_eq!(begin("a").err(), Some(StartError::UnderWay));
        let second = begin("b").unwrap();
        assert_eq!(begin("c").err(), Some(StartError::Busy));
        works.end(first.id, Some(Err("broken".to_owned())), 7);
        let third = begin("a").unwrap();
        assert!(works.cancel(second.id) && second.cancel.is_cancelled());
        works.end(second.id, None, 8);
        assert!(!works.cancel(second.id));
        let states: Vec<_> = works.list().into_iter().map(|work| (work.id, work.state)).collect();
        assert_eq!(
            states,
            [
                (third.id, WorkState::Running),
                (second.id, WorkState::Cancelled),
                (first.id, WorkState::Failed("broken".to_owned())),
            ]
        );
    }

    #[test]
    fn old_ends_are_forgotten() {
        let works = Works::default();
        for number in 0..30 {
            let started = works.begin(verify(&number.to_string()), CancellationToken::new()).unwrap();
            works.end(started.id, None, number);
        }
        let list = works.list();
        assert_eq!((list.len(), list[0].id, list[MOST_ENDED - 1].id), (MOST_ENDED, 30, 11));
    }
}
