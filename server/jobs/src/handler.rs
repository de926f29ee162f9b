//! Kinds of jobs and who does them.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};

use crate::{JobError, Running, running::Claim};

/// A kind of job: what who enqueues it and who does it must agree on.
pub trait Kind: Send + Sync + 'static {
    /// Its name, for keys and for people: lower-case letters and `_`.
    const NAME: &'static str;
    /// What to do. Stored as a MessagePack array: it grows by appending fields marked `#[serde(default)]`, like every row.
    type Arguments: Serialize + DeserializeOwned + Send + Sync + 'static;
}

/// Does the jobs of a kind. See the crate's documentation for what it may rely on.
pub trait Handler: Send + Sync + 'static {
    /// Which ones.
    type Kind: Kind;

    /// Does one, from its beginning or from its last checkpoint, or what is left of it after a run that was cut off
    /// anywhere.
    fn run(&self, job: &Running<<Self::Kind as Kind>::Arguments>) -> impl Future<Output = Result<(), JobError>> + Send;

    /// How patiently, and how many at once.
    fn policy(&self) -> Policy {
        Policy::default()
    }
}

/// How jobs of a kind are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Jobs of this kind that one process runs at once.
    pub concurrency: usize,
    /// Attempts without a checkpoint in between after which a job fails; 0 never.
    pub attempts: u32,
    /// Pause after the first attempt that did not succeed. It doubles with each further one.
    pub first_pause: Duration,
    /// The pause never becomes longer than this.
    pub longest_pause: Duration,
    /// How many ended jobs of the kind are kept to be looked at.
    pub history: usize,
}

impl Default for Policy {
    /// One at a time, 10 attempts (the last about half a day after the first), the last 20 are kept.
    fn default() -> Self {
        Self {
            concurrency: 1,
            attempts: 10,
            first_pause: Duration::from_secs(10),
            longest_pause: Duration::from_hours(6),
            history: 20,
        }
    }
}

impl Policy {
    /// Pause after the `attempts`th attempt in milliseconds, with `dice` (0 to 1) deciding how much of a fifth more or less.
    pub(crate) fn pause(&self, attempts: u32, dice: f64) -> u64 {
        let doubled = self.first_pause.saturating_mul(1 << attempts.saturating_sub(1).min(30)).min(self.longest_pause);
        doubled.mul_f64(0.8 + 0.4 * dice).as_millis() as u64
    }
}

/// A handler whose kind the runner does not need to know.
pub(crate) trait AnyHandler: Send + Sync {
    fn run(self: Arc<Self>, claim: Claim) -> BoxFuture<'static, Result<(), JobError>>;
}

pub(crate) struct Typed<H>(pub(crate) H);

impl<H: Handler> AnyHandler for Typed<H> {
    fn run(self: Arc<Self>, claim: Claim) -> BoxFuture<'static, Result<(), JobError>> {
        Box::pin(async move {
            let running = Running::new(claim)?;
            self.0.run(&running).await
        })
    }
}
