//! What the tests of the runner share.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use hearth_jobs::{
    Clock, Enqueue, Filter, Handler, JobError, JobId, JobInfo, JobState, Jobs, JobsError, Kind, KindCounts,
    ManualClock, Page, Policy, Runner, RunnerOptions, Running,
};
use hearth_store::{Store, StoreError, Table, Transaction};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

pub(crate) const WORK_KIND: &str = "work";
pub(crate) const TALLY_KIND: &str = "tally";

/// Does what the test says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work;

impl Kind for Work {
    const NAME: &'static str = WORK_KIND;
    type Arguments = String;
}

/// Adds to a number in as many transactions as its arguments say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tally;

impl Kind for Tally {
    const NAME: &'static str = TALLY_KIND;
    type Arguments = u64;
}

const TALLY: Table<(String,), u64> = Table::new("test", "tally");
/// The queue's own row, which the tests of renewal look at.
const LEASE_UNTIL: Table<(u64,), u64> = Table::new("jobs", "lease_until");

pub(crate) async fn tally(store: &Store, key: &str) -> u64 {
    TALLY.get_snapshot(&store.begin(), (key,)).await.unwrap().unwrap_or_default()
}

type Say = (u64, Option<u64>, String);

/// A run that waits for the test's word.
pub(crate) struct Run {
    pub(crate) key: String,
    pub(crate) arguments: String,
    pub(crate) attempt: u32,
    pub(crate) stop: CancellationToken,
    answer: oneshot::Sender<Option<Result<(), JobError>>>,
    say: mpsc::UnboundedSender<Say>,
}

impl Run {
    pub(crate) fn answer(self, outcome: Result<(), JobError>) {
        self.answer.send(Some(outcome)).unwrap();
    }

    pub(crate) fn panic(self) {
        self.answer.send(None).unwrap();
    }

    pub(crate) fn progress(&self, done: u64, total: Option<u64>, message: &str) {
        self.say.send((done, total, message.to_owned())).unwrap();
    }
}

#[derive(Clone)]
pub(crate) struct Scripted {
    policy: Policy,
    runs: mpsc::UnboundedSender<Run>,
}

pub(crate) struct Runs(mpsc::UnboundedReceiver<Run>);

impl Scripted {
    pub(crate) fn new(policy: Policy) -> (Self, Runs) {
        let (runs, receiver) = mpsc::unbounded_channel();
        (Self { policy, runs }, Runs(receiver))
    }
}

impl Runs {
    pub(crate) async fn next(&mut self) -> Run {
        self.0.recv().await.unwrap()
    }

    /// Whether no run waits.
    pub(crate) fn none(&mut self) -> bool {
        self.0.try_recv().is_err()
    }
}

impl Handler for Scripted {
    type Kind = Work;

    async fn run(&self, job: &Running<String>) -> Result<(), JobError> {
        let (answer, mut answered) = oneshot::channel();
        let (say, mut said) = mpsc::unbounded_channel::<Say>();
        let run = Run {
            key: job.key().to_owned(),
            arguments: job.arguments.clone(),
            attempt: job.attempt(),
            stop: job.stop().clone(),
            answer,
            say,
        };
        self.runs.send(run).map_err(JobError::retry)?;
        loop {
            tokio::select! {
                biased;
                Some((done, total, message)) = said.recv() => job.progress(done, total, message),
                () = job.stop().cancelled(), if job.arguments != "stubborn" => return Err(JobError::Cancelled),
                answer = &mut answered => match answer {
                    Ok(Some(outcome)) => return outcome,
                    Ok(None) => panic!("the test says so"),
                    // The test has let go of the run: it lasts until it is cut off.
                    Err(_) => std::future::pending().await,
                },
            }
        }
    }

    fn policy(&self) -> Policy {
        self.policy
    }
}

/// Handles [`Tally`], one permit for each step.
#[derive(Clone)]
pub(crate) struct Counting {
    pub(crate) steps: Arc<Semaphore>,
    /// From which step each run began.
    pub(crate) begun: Arc<Mutex<Vec<u64>>>,
    errors: mpsc::UnboundedSender<String>,
    heard: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<String>>>,
}

impl Counting {
    pub(crate) fn new(steps: usize) -> Self {
        let (errors, heard) = mpsc::unbounded_channel();
        Self {
            steps: Arc::new(Semaphore::new(steps)),
            begun: Arc::default(),
            errors,
            heard: Arc::new(tokio::sync::Mutex::new(heard)),
        }
    }

    /// The next error that a run ended with.
    pub(crate) async fn error(&self) -> String {
        self.heard.lock().await.recv().await.unwrap()
    }

    async fn count(&self, job: &Running<u64>) -> Result<(), JobError> {
        let begin = job.state::<u64>().await?.unwrap_or_default();
        self.begun.lock().unwrap().push(begin);
        for step in begin..job.arguments {
            self.steps.acquire().await.unwrap().forget();
            let add = async |tx: Transaction| {
                TALLY.add(&tx, (job.key(),), 1);
                job.checkpoint(&tx, &(step + 1)).await
            };
            job.store().transact("test.step", add).await?;
            job.progress(step + 1, Some(job.arguments), "adding");
            job.check()?;
        }
        Ok(())
    }
}

impl Handler for Counting {
    type Kind = Tally;

    async fn run(&self, job: &Running<u64>) -> Result<(), JobError> {
        let outcome = self.count(job).await;
        if let Err(error) = &outcome {
            // Where nobody listens any more, nobody asks.
            let _ = self.errors.send(error.to_string());
        }
        outcome
    }

    fn policy(&self) -> Policy {
        Policy { concurrency: 3, ..Policy::default() }
    }
}

pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) jobs: Jobs,
    clock: ManualClock,
}

/// A runner in a task of its own.
pub(crate) struct Started {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Started {
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// Ends it as a killed process ends.
    pub(crate) async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let store = Store::memory();
        let clock = ManualClock::new(1_700_000_000_000);
        let jobs = Jobs::with_clock(store.clone(), Arc::new(clock.clone()));
        Self { store, jobs, clock }
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.now()
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    pub(crate) fn runner(&self, sole: bool) -> Runner {
        Runner::new(self.jobs.clone(), RunnerOptions { sole, ..RunnerOptions::default() })
    }

    pub(crate) fn start(&self, with: impl FnOnce(Runner) -> Runner) -> Started {
        Self::spawn(with(self.runner(false)))
    }

    pub(crate) fn start_sole(&self, with: impl FnOnce(Runner) -> Runner) -> Started {
        Self::spawn(with(self.runner(true)))
    }

    fn spawn(runner: Runner) -> Started {
        let stop = CancellationToken::new();
        Started { task: tokio::spawn(runner.run(stop.clone())), stop }
    }

    pub(crate) async fn enqueue(&self, key: &str, arguments: &str) -> JobId {
        self.jobs.enqueue::<Work>(key, &arguments.to_owned(), Enqueue::default()).await.unwrap()
    }

    pub(crate) async fn tally(&self, key: &str, steps: u64) -> JobId {
        self.jobs.enqueue::<Tally>(key, &steps, Enqueue::default()).await.unwrap()
    }

    /// Waits until the job is so.
    pub(crate) async fn until(&self, job: JobId, so: impl Fn(&JobInfo) -> bool) -> JobInfo {
        loop {
            let watch = self.jobs.watch().await.unwrap();
            let info = self.jobs.get(job).await.unwrap();
            if so(&info) {
                return info;
            }
            watch.changed().await.unwrap();
        }
    }

    /// Waits until the job is forgotten.
    pub(crate) async fn gone(&self, job: JobId) {
        loop {
            let watch = self.jobs.watch().await.unwrap();
            match self.jobs.get(job).await {
                Err(JobsError::NotFound) => return,
                other => other.unwrap(),
            };
            watch.changed().await.unwrap();
        }
    }

    /// Waits for a waiting job with this key.
    pub(crate) async fn waiting(&self, key: &str) -> JobInfo {
        loop {
            let watch = self.jobs.watch().await.unwrap();
            let filter = Filter { state: Some(JobState::Waiting), kind: None };
            let list = self.jobs.list(&filter, &Page::default()).await.unwrap();
            if let Some(job) = list.jobs.into_iter().find(|job| job.key == key) {
                return job;
            }
            watch.changed().await.unwrap();
        }
    }

    /// Waits until the counts of the first kind are so.
    pub(crate) async fn counts(&self, so: impl Fn(&KindCounts) -> bool) {
        loop {
            let watch = self.jobs.watch().await.unwrap();
            if self.jobs.counts().await.unwrap().first().is_some_and(&so) {
                return;
            }
            watch.changed().await.unwrap();
        }
    }

    /// Waits until no job waits or runs.
    pub(crate) async fn idle(&self) {
        self.counts(|counts| counts.waiting + counts.running == 0).await;
    }

    pub(crate) async fn tally_reaches(&self, key: &str, wanted: u64) {
        self.reaches(&TALLY, (key,), wanted).await;
    }

    pub(crate) async fn lease_until(&self, job: JobId) -> u64 {
        LEASE_UNTIL.get_snapshot(&self.store.begin(), (number(job),)).await.unwrap().unwrap()
    }

    pub(crate) async fn lease_reaches(&self, job: JobId, wanted: u64) {
        loop {
            let watch = self.store.transact("test.watch", async |tx| LEASE_UNTIL.watch(&tx, (number(job),)).await);
            let watch = watch.await.unwrap();
            if self.lease_until(job).await >= wanted {
                return;
            }
            watch.changed().await.unwrap();
        }
    }

    async fn reaches(&self, table: &Table<(String,), u64>, key: (&str,), wanted: u64) {
        loop {
            let watch = self.store.transact("test.watch", async |tx| Ok::<_, StoreError>(table.watch(&tx, key).await?));
            let watch = watch.await.unwrap();
            if table.get_snapshot(&self.store.begin(), key).await.unwrap().unwrap_or_default() >= wanted {
                return;
            }
            watch.changed().await.unwrap();
        }
    }
}

fn number(job: JobId) -> u64 {
    u64::from_str_radix(&job.to_string(), 16).unwrap()
}
