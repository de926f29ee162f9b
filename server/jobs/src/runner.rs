//! Running jobs: what a process is handed to run, and on which terms.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    Handler, Jobs, JobsError, Kind, Policy, Schedule,
    claim::Claimant,
    handler::{AnyHandler, Typed},
    jobs::encode,
    running_jobs::Work,
    schedule::Declared,
};

/// How a process runs jobs.
#[derive(Debug, Clone)]
pub struct RunnerOptions {
    /// The process's name, for people; made unique.
    pub name: String,
    /// Jobs that run at once, of all kinds.
    pub concurrency: usize,
    /// How long after its last sign of life a process's jobs go to others.
    pub lease: Duration,
    /// How long a handler may take to return after [`crate::Running::stop`] has fired, before it is cut off.
    pub grace: Duration,
    /// No other process can have the store open (see `Store::is_shared`): what is claimed at the start was left by a
    /// process that is gone, and goes on at once.
    pub sole: bool,
}

impl Default for RunnerOptions {
    /// Four at once, leases of 30 seconds, 5 seconds to return; others may be there.
    fn default() -> Self {
        let lease = Duration::from_secs(30);
        Self { name: "hearth".to_owned(), concurrency: 4, lease, grace: Duration::from_secs(5), sole: false }
    }
}

/// A handler with its terms.
#[derive(Clone)]
pub(crate) struct Registered {
    pub(crate) handler: Arc<dyn AnyHandler>,
    pub(crate) policy: Policy,
}

/// Does the jobs of some kinds. See [`Self::run`].
pub struct Runner {
    pub(crate) jobs: Jobs,
    pub(crate) options: RunnerOptions,
    pub(crate) claimant: Claimant,
    pub(crate) handlers: BTreeMap<&'static str, Registered>,
    pub(crate) declared: Vec<Declared>,
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner")
            .field("options", &self.options)
            .field("kinds", &self.handlers.keys())
            .finish_non_exhaustive()
    }
}

impl Runner {
    /// Without any kind yet.
    pub fn new(jobs: Jobs, options: RunnerOptions) -> Self {
        let claimant = Claimant {
            owner: format!("{}-{:08x}", options.name, rand::random::<u32>()),
            lease: options.lease.as_millis() as u64,
            sole: options.sole,
        };
        Self { jobs, options, claimant, handlers: BTreeMap::new(), declared: Vec::new() }
    }

    /// Does jobs of the handler's kind. Kinds that have no handler here are left to other processes.
    #[must_use]
    pub fn handle<H: Handler>(mut self, handler: H) -> Self {
        let policy = handler.policy();
        self.handlers.insert(H::Kind::NAME, Registered { handler: Arc::new(Typed(handler)), policy });
        self
    }

    /// Makes a job of a handled kind come back. Schedules of handled kinds that are not declared are forgotten at the
    /// start, so that what the configuration no longer asks for ends.
    pub fn schedule<K: Kind>(
        mut self,
        key: &str,
        arguments: &K::Arguments,
        schedule: Schedule,
    ) -> Result<Self, JobsError> {
        let arguments = encode(arguments)?;
        self.declared.push(Declared { kind: K::NAME, key: key.to_owned(), schedule, arguments });
        Ok(self)
    }

    /// Runs jobs until `stop`. Then handlers are asked to return, get their grace, and what they had goes back to the
    /// queue at once. Dropping the future instead leaves the jobs to others when their leases have run out.
    pub async fn run(self, stop: CancellationToken) {
        Work::new(self, false).run(&stop).await;
    }

    /// Runs jobs until none is due and none runs any more, or until `stop`.
    pub async fn run_due(self, stop: CancellationToken) {
        Work::new(self, true).run(&stop).await;
    }
}
