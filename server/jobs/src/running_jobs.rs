//! The work of a runner: one task that claims, renews, writes progress and outcomes, and owns the tasks of the handlers.
//!
//! Each round looks at the queue and does what is to be done, then waits for whatever comes first: a change of the queue,
//! the next time that something is due, a handler's end or word. It watches before it looks, so that no change is lost.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use hearth_store::{StoreError, Watch};
use tokio::{
    sync::Notify,
    task::{AbortHandle, Id, JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    JobError, JobId, JobState, JobsError, Runner,
    finish::Outcome,
    keys::{HEAD, INDEX, JOB, LEASE, LEASE_UNTIL, PROGRESS},
    running::{Claim, Said},
};

/// Pause after a failure of the store.
const RETRY: Duration = Duration::from_secs(1);
/// Progress is written so often at most, in milliseconds.
const PROGRESS_EVERY: u64 = 1000;

/// A job whose handler runs here.
struct Active {
    kind: &'static str,
    token: u64,
    stop: CancellationToken,
    said: Arc<Said>,
    abort: AbortHandle,
    /// When its handler is cut off, once it was asked to end.
    abort_at: Option<u64>,
    /// The claim does not hold any more.
    lost: bool,
    /// How the handler ended, until that is written.
    outcome: Option<Outcome>,
}

/// What a look at the queue found.
struct Sight {
    watch: Watch,
    /// Jobs that could be claimed, the longest due first.
    due: Vec<(u64, &'static str, u64)>,
    /// Jobs of ours that were asked to end, and that are no longer ours.
    cancelled: Vec<u64>,
    lost: Vec<u64>,
    /// When there will be something to claim.
    next: Option<u64>,
}

pub(crate) struct Work {
    runner: Runner,
    /// Ends when nothing is due.
    due_only: bool,
    arranged: bool,
    tasks: JoinSet<Result<(), JobError>>,
    jobs_of_tasks: HashMap<Id, u64>,
    active: BTreeMap<u64, Active>,
    renew_at: u64,
    told: Arc<Notify>,
    write_progress_at: Option<u64>,
    stopping: bool,
}

impl Work {
    pub(crate) fn new(runner: Runner, due_only: bool) -> Self {
        Self {
            runner,
            due_only,
            arranged: false,
            tasks: JoinSet::new(),
            jobs_of_tasks: HashMap::new(),
            active: BTreeMap::new(),
            renew_at: 0,
            told: Arc::default(),
            write_progress_at: None,
            stopping: false,
        }
    }

    pub(crate) async fn run(mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            match self.round().await {
                Ok(None) => {}
                Ok(Some(_)) if self.due_only && self.active.is_empty() => break,
                Ok(Some((watch, until))) => self.wait(stop, watch, until).await,
                Err(JobsError::Store(StoreError::Closed)) => break,
                Err(error) => {
                    tracing::warn!(%error, "jobs are paused");
                    stop.run_until_cancelled(tokio::time::sleep(RETRY)).await;
                }
            }
        }
        self.shut_down().await;
    }

    fn now(&self) -> u64 {
        self.runner.jobs.clock.now()
    }

    /// Does what is to be done now. Returns what to wait for when there is nothing more.
    async fn round(&mut self) -> Result<Option<(Watch, Option<u64>)>, JobsError> {
        if !self.arranged {
            let kinds: Vec<_> = self.runner.handlers.keys().copied().collect();
            self.runner.jobs.arrange(&kinds, &self.runner.declared).await?;
            self.arranged = true;
        }
        while let Some(joined) = self.tasks.try_join_next_with_id() {
            self.note_end(joined);
        }
        self.write_outcomes().await?;
        self.renew().await?;
        self.write_progress().await?;
        let sight = self.look().await?;
        for job in &sight.lost {
            self.lose(*job);
        }
        let cut_off = self.now().saturating_add(self.runner.options.grace.as_millis() as u64);
        for job in &sight.cancelled {
            if let Some(active) = self.active.get_mut(job) {
                active.stop.cancel();
                active.abort_at.get_or_insert(cut_off);
            }
        }
        let now = self.now();
        for active in self.active.values() {
            if active.abort_at.is_some_and(|at| at <= now) {
                active.abort.abort();
            }
        }
        if !sight.due.is_empty() {
            self.claim(&sight.due).await?;
            return Ok(None);
        }
        let cut_off =
            self.active.values().filter(|active| active.outcome.is_none()).filter_map(|active| active.abort_at);
        let until = sight
            .next
            .into_iter()
            .chain(self.write_progress_at)
            .chain((!self.active.is_empty()).then_some(self.renew_at))
            .chain(cut_off.filter(|at| *at > now))
            .min();
        Ok(Some((sight.watch, until)))
    }

    /// Waits for a reason for another round.
    async fn wait(&mut self, stop: &CancellationToken, watch: Watch, until: Option<u64>) {
        let clock = self.runner.jobs.clock.clone();
        let due = async {
            match until {
                Some(until) => clock.sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = due => {}
            changed = watch.changed() => if changed.is_err() {
                // The next round says what it is.
                stop.run_until_cancelled(tokio::time::sleep(RETRY)).await;
            },
            Some(joined) = self.tasks.join_next_with_id() => self.note_end(joined),
            () = self.told.notified(), if self.write_progress_at.is_none() => {
                self.write_progress_at = Some(clock.now().saturating_add(PROGRESS_EVERY));
            }
        }
    }

    /// Notes how a handler ended.
    fn note_end(&mut self, joined: Result<(Id, Result<(), JobError>), JoinError>) {
        let (task, outcome) = match joined {
            Ok((task, Ok(()))) => (task, Outcome::Done),
            Ok((task, Err(JobError::GiveUp(error)))) => (task, Outcome::GaveUp(error)),
            Ok((task, Err(JobError::Later(pause)))) if !self.stopping => (task, Outcome::Later(pause)),
            // Whatever fails while the process ends may fail because it ends.
            Ok((task, Err(_))) if self.stopping => (task, Outcome::Released),
            Ok((task, Err(JobError::Cancelled))) => (task, Outcome::Cancelled),
            Ok((task, Err(error))) => (task, Outcome::Retry(error.to_string())),
            Err(error) if error.is_panic() => (error.id(), Outcome::Retry(format!("the handler panicked: {error}"))),
            Err(error) if self.stopping => (error.id(), Outcome::Released),
            Err(error) => (error.id(), Outcome::Cancelled),
        };
        if let Some(active) = self.jobs_of_tasks.remove(&task).and_then(|job| self.active.get_mut(&job)) {
            active.outcome = Some(outcome);
        }
    }

    /// Writes how handlers ended. A job leaves `active` once that is written, so that its lease is renewed until then.
    async fn write_outcomes(&mut self) -> Result<(), JobsError> {
        let ended: Vec<u64> =
            self.active.iter().filter(|(_, active)| active.outcome.is_some()).map(|(job, _)| *job).collect();
        for job in ended {
            let Some(active) = self.active.get(&job) else { continue };
            let (Some(outcome), Some(registered)) = (&active.outcome, self.runner.handlers.get(active.kind)) else {
                continue;
            };
            let id = JobId(job);
            let progress = active.said.take();
            let jobs = &self.runner.jobs;
            let written = if active.lost {
                Ok(false)
            } else {
                jobs.finish(job, active.token, outcome, &registered.policy, progress.as_ref()).await
            };
            match written {
                Ok(true) => match outcome {
                    Outcome::Done => tracing::debug!(kind = active.kind, %id, "job done"),
                    Outcome::GaveUp(error) | Outcome::Retry(error) => {
                        tracing::warn!(kind = active.kind, %id, error, "job did not succeed");
                    }
                    outcome => tracing::debug!(kind = active.kind, %id, ?outcome, "job ended"),
                },
                Ok(false) => tracing::warn!(kind = active.kind, %id, "another runner has taken the job"),
                Err(error) => {
                    if let Some(progress) = progress {
                        active.said.put_back(progress);
                    }
                    return Err(error);
                }
            }
            self.active.remove(&job);
        }
        Ok(())
    }

    /// The claim does not hold any more: the handler ends, and nothing is written of it.
    fn lose(&mut self, job: u64) {
        if let Some(active) = self.active.get_mut(&job) {
            active.lost = true;
            active.stop.cancel();
            active.abort.abort();
        }
    }

    async fn renew(&mut self) -> Result<(), JobsError> {
        if self.active.is_empty() || self.now() < self.renew_at {
            return Ok(());
        }
        let claims: Vec<(u64, u64)> =
            self.active.iter().filter(|(_, active)| !active.lost).map(|(job, active)| (*job, active.token)).collect();
        // From before the transaction: it may take its time.
        let begun = self.now();
        let lost = self.runner.jobs.renew(&claims, &self.runner.claimant).await?;
        self.renew_at = begun.saturating_add(self.runner.claimant.lease / 3);
        for job in lost {
            self.lose(job);
        }
        Ok(())
    }

    async fn write_progress(&mut self) -> Result<(), JobsError> {
        if self.write_progress_at.is_none_or(|at| self.now() < at) {
            return Ok(());
        }
        let said: Vec<_> =
            self.active.iter().filter_map(|(job, active)| Some((*job, active.token, active.said.take()?))).collect();
        let written = self.runner.jobs.store.transact("jobs.progress", async |tx| {
            for (job, token, progress) in &said {
                if LEASE.get(&tx, (*job,)).await?.is_some_and(|lease| lease.token == *token) {
                    PROGRESS.set(&tx, (*job,), progress);
                }
            }
            Ok::<_, JobsError>(())
        });
        if let Err(error) = written.await {
            for (job, _, progress) in said {
                if let Some(active) = self.active.get(&job) {
                    active.said.put_back(progress);
                }
            }
            return Err(error);
        }
        self.write_progress_at = None;
        Ok(())
    }

    /// How many more jobs of a kind may run here.
    fn room(&self, kind: &str) -> usize {
        let policy = self.runner.handlers.get(kind).map_or(0, |registered| registered.policy.concurrency);
        let of_kind = self.active.values().filter(|active| active.kind == kind).count();
        let of_all = self.runner.options.concurrency.saturating_sub(self.active.len());
        policy.saturating_sub(of_kind).min(of_all)
    }

    /// Looks at the queue without changing it.
    async fn look(&self) -> Result<Sight, JobsError> {
        let room: Vec<(&'static str, usize)> =
            self.runner.handlers.keys().map(|kind| (*kind, self.room(kind))).filter(|(_, room)| *room > 0).collect();
        let own: Vec<(u64, u64)> =
            self.active.iter().filter(|(_, active)| !active.lost).map(|(job, active)| (*job, active.token)).collect();
        let taken: HashSet<u64> = self.active.keys().copied().collect();
        let (room, own, taken) = (&room, &own, &taken);
        let claimant = &self.runner.claimant;
        let clock = &self.runner.jobs.clock;
        let look = self.runner.jobs.store.transact("jobs.look", |tx| async move {
            let watch = HEAD.watch(&tx, (0,)).await?;
            let now = clock.now();
            let mut sight = Sight { watch, due: Vec::new(), cancelled: Vec::new(), lost: Vec::new(), next: None };
            for (job, token) in own {
                if LEASE.get_snapshot(&tx, (*job,)).await?.is_none_or(|lease| lease.token != *token) {
                    sight.lost.push(*job);
                } else if JOB.get_snapshot(&tx, (*job,)).await?.is_some_and(|record| record.cancel) {
                    sight.cancelled.push(*job);
                }
            }
            let mut later = |at: u64| sight.next = Some(sight.next.map_or(at, |next: u64| next.min(at)));
            for (kind, room) in room {
                let waiting = INDEX.scan((JobState::Waiting.code(), kind)).limit(room + 1).snapshot().all(&tx).await?;
                for ((_, _, at, job), ()) in waiting {
                    if at <= now { sight.due.push((at, *kind, job)) } else { later(at) }
                }
                for ((_, _, since, job), ()) in INDEX.scan((JobState::Running.code(), kind)).snapshot().all(&tx).await?
                {
                    if taken.contains(&job) {
                        continue;
                    }
                    let lease = LEASE.get_snapshot(&tx, (job,)).await?;
                    let until = LEASE_UNTIL.get_snapshot(&tx, (job,)).await?.map_or(0, |until| claimant.lapses(until));
                    let void = claimant.sole && lease.is_none_or(|lease| lease.owner != claimant.owner);
                    if void || until <= now { sight.due.push((since, *kind, job)) } else { later(until) }
                }
            }
            Ok::<_, JobsError>(sight)
        });
        let mut sight = look.await?;
        sight.due.sort_unstable();
        Ok(sight)
    }

    /// Claims as much of what is due as there is room for, and sets handlers to work.
    async fn claim(&mut self, due: &[(u64, &'static str, u64)]) -> Result<(), JobsError> {
        for (_, kind, job) in due {
            let Some(registered) = self.runner.handlers.get(kind).cloned() else { continue };
            if self.room(kind) == 0 {
                continue;
            }
            let jobs = self.runner.jobs.clone();
            let begun = self.now();
            let claimed = jobs.claim(*job, &self.runner.claimant, &registered.policy).await?;
            let Some(claimed) = claimed else { continue };
            let stop = CancellationToken::new();
            let said = Arc::new(Said::new(self.told.clone()));
            let span =
                tracing::info_span!("job", kind, key = claimed.key, id = %JobId(*job), attempt = claimed.attempt);
            let claim = Claim {
                jobs,
                job: *job,
                kind,
                key: claimed.key,
                token: claimed.token,
                attempt: claimed.attempt,
                arguments: claimed.arguments,
                stop: stop.clone(),
                said: said.clone(),
            };
            if self.active.is_empty() {
                self.renew_at = begun.saturating_add(self.runner.claimant.lease / 3);
            }
            let abort = self.tasks.spawn(registered.handler.run(claim).instrument(span));
            self.jobs_of_tasks.insert(abort.id(), *job);
            let token = claimed.token;
            let active = Active { kind, token, stop, said, abort, abort_at: None, lost: false, outcome: None };
            self.active.insert(*job, active);
        }
        Ok(())
    }

    /// Asks the handlers to return and gives back what they had.
    async fn shut_down(mut self) {
        self.stopping = true;
        for active in self.active.values() {
            active.stop.cancel();
        }
        let grace = tokio::time::sleep(self.runner.options.grace);
        tokio::pin!(grace);
        loop {
            tokio::select! {
                joined = self.tasks.join_next_with_id() => match joined {
                    Some(joined) => self.note_end(joined),
                    None => break,
                },
                () = &mut grace, if !grace.is_elapsed() => self.tasks.abort_all(),
            }
        }
        if let Err(error) = self.write_outcomes().await {
            tracing::warn!(%error, "jobs are left until their leases run out");
        }
    }
}
