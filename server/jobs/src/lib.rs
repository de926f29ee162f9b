//! One queue for everything that must happen, but not now.
//!
//! A job is of a [`Kind`] and has a key: of each kind and key there is at most one that waits, runs or has given up, so
//! that asking twice does no harm. [`Jobs`] is the queue as everybody sees it: enqueue (also within the caller's own
//! transaction, so that the cause and the job commit together), list, count, retry, cancel. A [`Runner`] does the work with
//! one [`Handler`] per kind; any number of processes may run one over the same store.
//!
//! What a handler may rely on, and what it must do:
//! - **At least once.** A job goes on until its handler succeeded or gave up; a process that is killed leaves its jobs to
//!   whoever comes next, once their lease has run out. So handlers are idempotent, and long ones are resumable: they write
//!   in bounded transactions and note in each how far they came ([`Running::checkpoint`]).
//! - **One owner at a time.** Each claim of a job makes a new fencing token. A transaction that calls
//!   [`Running::guard`] or [`Running::checkpoint`] commits only while the claim holds, whatever the clocks say.
//! - **Backoff.** An error is noted and the job tried again later, exponentially later each time, until its kind's
//!   number of attempts is used up without a checkpoint in between.
//! - **Cancellation.** [`Running::stop`] fires when the job is cancelled or the process ends. The handler then returns
//!   [`JobError::Cancelled`] soon; what it has committed stands, and a job that was only interrupted goes on from there.
//!
//! Nothing polls: a runner sleeps until the next job is due or a watched key changes.

mod claim;
mod clock;
mod enqueue;
mod error;
mod finish;
mod handler;
mod info;
mod jobs;
pub mod keys;
pub mod kinds;
#[cfg(test)]
mod model_tests;
mod records;
mod rows;
mod runner;
mod running;
mod running_jobs;
mod schedule;
mod steer;

pub use clock::{Clock, ManualClock, SystemClock};
pub use enqueue::{Enqueue, WhileRunning};
pub use error::{JobError, JobsError};
pub use handler::{Handler, Kind, Policy};
pub use info::{Filter, JobId, JobInfo, JobList, JobState, KindCounts, Page, Progress};
pub use jobs::Jobs;
pub use runner::{Runner, RunnerOptions};
pub use running::Running;
pub use schedule::Schedule;
