//! Random histories of the queue against a model, and what must hold of the rows after each step.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use hearth_store::Store;
use proptest::prelude::*;

use crate::{
    Enqueue, JobError, JobId, JobState, Jobs, JobsError, Kind, ManualClock, Policy, Running, WhileRunning,
    claim::Claimant,
    finish::Outcome,
    keys::{ACTIVE, AGAIN, ARGUMENTS, CHECKPOINT, COUNT, INDEX, JOB, LEASE, LEASE_UNTIL},
    running::{Claim, Said},
};

const START: u64 = 1_700_000_000_000;
const LEASE_MS: u64 = 1000;
const PAUSE_MS: u64 = 100;
const POLICY: Policy = Policy {
    concurrency: 9,
    attempts: 3,
    first_pause: Duration::from_millis(PAUSE_MS),
    longest_pause: Duration::from_secs(10),
    history: 1000,
};

struct Thing;

impl Kind for Thing {
    const NAME: &'static str = "thing";
    type Arguments = u8;
}

/// One step of a history. Jobs and claims are named by their place among all so far.
#[derive(Debug, Clone)]
enum Step {
    Enqueue { key: u8, arguments: u8, delay: u16, ignore: bool },
    Advance(u16),
    Claim { job: usize, owner: u8 },
    Checkpoint { claim: usize },
    Renew { claim: usize },
    Finish { claim: usize, outcome: u8 },
    Retry { job: usize },
    Cancel { job: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3u8, 0..2u8, prop_oneof![Just(0), 0..500u16], any::<bool>())
            .prop_map(|(key, arguments, delay, ignore)| Step::Enqueue { key, arguments, delay, ignore }),
        3 => prop_oneof![0..200u16, 0..2000u16].prop_map(Step::Advance),
        6 => (0..8usize, 0..2u8).prop_map(|(job, owner)| Step::Claim { job, owner }),
        1 => (0..4usize).prop_map(|claim| Step::Checkpoint { claim }),
        1 => (0..4usize).prop_map(|claim| Step::Renew { claim }),
        4 => (0..4usize, 0..6u8).prop_map(|(claim, outcome)| Step::Finish { claim, outcome }),
        1 => (0..8usize).prop_map(|job| Step::Retry { job }),
        1 => (0..8usize).prop_map(|job| Step::Cancel { job }),
    ]
}

/// A job as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Model {
    key: u8,
    state: JobState,
    at: u64,
    arguments: u8,
    attempts: u32,
    token: u64,
    owner: u8,
    until: u64,
    checkpoint: Option<u64>,
    cancel: bool,
    again: Option<(u64, u8)>,
    /// The one of its key to which new requests go.
    active: bool,
}

impl Model {
    fn take_arguments(&mut self, arguments: u8) -> bool {
        let differ = self.arguments != arguments;
        if differ {
            self.arguments = arguments;
            self.checkpoint = None;
        }
        differ
    }

    fn count_attempts(&self) -> u32 {
        if self.checkpoint == Some(self.token) { self.attempts.min(1) } else { self.attempts }
    }
}

struct World {
    store: Store,
    jobs: Jobs,
    clock: ManualClock,
    now: u64,
    /// Real ids in the order of creation, beside the model of each.
    model: Vec<(u64, Model)>,
    /// Every claim that was ever made: job's place and token.
    claims: Vec<(usize, u64)>,
}

impl World {
    fn new() -> Self {
        let (store, clock) = (Store::memory(), ManualClock::new(START));
        let jobs = Jobs::with_clock(store.clone(), Arc::new(clock.clone()));
        Self { store, jobs, clock, now: START, model: Vec::new(), claims: Vec::new() }
    }

    fn claimant(owner: u8) -> Claimant {
        Claimant { owner: owner.to_string(), lease: LEASE_MS, sole: false }
    }

    fn active(&self, key: u8) -> Option<usize> {
        self.model.iter().position(|(_, job)| job.active && job.key == key)
    }

    fn create(&mut self, id: u64, key: u8, at: u64, arguments: u8) {
        self.model.iter_mut().filter(|(_, job)| job.key == key).for_each(|(_, job)| job.active = false);
        let job = Model {
            key,
            state: JobState::Waiting,
            at,
            arguments,
            attempts: 0,
            token: 0,
            owner: 0,
            until: 0,
            checkpoint: None,
            cancel: false,
            again: None,
            active: true,
        };
        self.model.push((id, job));
    }

    /// The id of the one job of the store that the model does not know yet.
    async fn unknown(&self) -> u64 {
        let rows = JOB.scan(()).all(&self.store.begin()).await.unwrap();
        let mut unknown =
            rows.into_iter().map(|((id,), _)| id).filter(|id| self.model.iter().all(|(known, _)| known != id));
        let id = unknown.next().unwrap();
        assert_eq!(unknown.next(), None);
        id
    }

    /// What becomes of job `place` when it ends in `state`.
    async fn end(&mut self, place: usize, state: JobState) {
        let now = self.now;
        let job = &mut self.model[place].1;
        (job.state, job.at, job.cancel) = (state, now, false);
        if state != JobState::Failed {
            job.checkpoint = None;
        }
        let key = job.key;
        if let Some((at, arguments)) = job.again.take() {
            let id = self.unknown().await;
            self.create(id, key, at, arguments);
        } else if state != JobState::Failed {
            job.active = false;
        }
    }

    async fn step(&mut self, step: &Step) {
        match *step {
            Step::Enqueue { key, arguments, delay, ignore } => {
                let while_running = if ignore { WhileRunning::Ignore } else { WhileRunning::Again };
                let how = Enqueue { delay: Duration::from_millis(delay.into()), while_running };
                let id = self.jobs.enqueue::<Thing>(&key.to_string(), &arguments, how).await.unwrap();
                let due = self.now + u64::from(delay);
                let Some(place) = self.active(key) else { return self.create(id.0, key, due, arguments) };
                assert_eq!(id.0, self.model[place].0);
                let job = &mut self.model[place].1;
                match job.state {
                    JobState::Running if ignore => {}
                    JobState::Running => {
                        job.again = Some((job.again.map_or(due, |(at, _)| at.min(due)), arguments));
                    }
                    JobState::Waiting => {
                        let differ = job.take_arguments(arguments);
                        if differ || job.attempts == 0 {
                            (job.at, job.attempts) = (job.at.min(due), 0);
                        }
                    }
                    _ => {
                        job.take_arguments(arguments);
                        (job.state, job.at, job.attempts) = (JobState::Waiting, due, 0);
                    }
                }
            }
            Step::Advance(by) => {
                self.clock.advance(Duration::from_millis(by.into()));
                self.now += u64::from(by);
            }
            Step::Claim { job, owner } => self.claim(job, owner).await,
            Step::Checkpoint { claim } => {
                let Some((place, token)) = self.pick(claim) else { return };
                let (id, job) = &mut self.model[place];
                let holds = job.state == JobState::Running && job.token == token;
                let running = running(&self.jobs, *id, token);
                let written =
                    self.store.transact("test.checkpoint", async |tx| running.checkpoint(&tx, &token).await).await;
                match written {
                    Ok(()) => assert!(holds),
                    Err(JobError::LeaseLost) => assert!(!holds),
                    Err(error) => panic!("{error}"),
                }
                if holds {
                    job.checkpoint = Some(token);
                }
            }
            Step::Renew { claim } => {
                let Some((place, token)) = self.pick(claim) else { return };
                let (id, job) = &mut self.model[place];
                let lost = self.jobs.renew(&[(*id, token)], &Self::claimant(0)).await.unwrap();
                let holds = job.state == JobState::Running && job.token == token;
                assert_eq!(lost.is_empty(), holds);
                if holds {
                    job.until = self.now + LEASE_MS;
                }
            }
            Step::Finish { claim, outcome } => self.finish(claim, outcome).await,
            Step::Retry { job } => {
                let Some(place) = (!self.model.is_empty()).then(|| job % self.model.len()) else { return };
                let retried = self.jobs.retry(JobId(self.model[place].0)).await;
                if self.model[place].1.state == JobState::Running {
                    assert!(matches!(retried, Err(JobsError::NotNow(_))));
                    return;
                }
                let runs = match self.active(self.model[place].1.key) {
                    Some(active) if active != place => {
                        let job = &mut self.model[place].1;
                        if job.state == JobState::Failed {
                            job.state = JobState::Cancelled;
                        }
                        active
                    }
                    _ => place,
                };
                assert_eq!(retried.unwrap().0, self.model[runs].0);
                let job = &mut self.model[runs].1;
                if job.state != JobState::Running {
                    (job.state, job.at, job.attempts) = (JobState::Waiting, self.now, 0);
                    job.active = true;
                }
            }
            Step::Cancel { job } => {
                let Some(place) = (!self.model.is_empty()).then(|| job % self.model.len()) else { return };
                let cancelled = self.jobs.cancel(JobId(self.model[place].0)).await;
                let job = &mut self.model[place].1;
                match job.state {
                    JobState::Done | JobState::Cancelled => assert!(matches!(cancelled, Err(JobsError::NotNow(_)))),
                    JobState::Running => job.cancel = true,
                    JobState::Waiting | JobState::Failed => self.end(place, JobState::Cancelled).await,
                }
            }
        }
    }

    fn pick(&self, claim: usize) -> Option<(usize, u64)> {
        // The newest ones, so that most still hold and some do not.
        self.claims.iter().rev().nth(claim).copied()
    }

    async fn claim(&mut self, job: usize, owner: u8) {
        let Some(place) = (!self.model.is_empty()).then(|| job % self.model.len()) else { return };
        let claimed = self.jobs.claim(self.model[place].0, &Self::claimant(owner), &POLICY).await.unwrap();
        let now = self.now;
        let job = &mut self.model[place].1;
        let tried = job.count_attempts();
        let free = match job.state {
            JobState::Waiting => job.at <= now,
            JobState::Running => job.until + LEASE_MS / 4 <= now,
            _ => false,
        };
        if !free {
            assert!(claimed.is_none());
        } else if job.state == JobState::Running && job.cancel {
            assert!(claimed.is_none());
            self.end(place, JobState::Cancelled).await;
        } else if job.state == JobState::Running && tried >= POLICY.attempts {
            assert!(claimed.is_none());
            self.end(place, JobState::Failed).await;
        } else {
            let claimed = claimed.unwrap();
            job.attempts = tried + 1;
            job.token += 1;
            (job.state, job.at, job.owner, job.until) = (JobState::Running, now, owner, now + LEASE_MS);
            assert_eq!((claimed.token, claimed.attempt), (job.token, job.attempts));
            assert_eq!(claimed.arguments, rmp_serde::to_vec(&job.arguments).unwrap());
            self.claims.push((place, job.token));
        }
    }

    async fn finish(&mut self, claim: usize, outcome: u8) {
        let Some((place, token)) = self.pick(claim) else { return };
        let outcome = match outcome {
            0 => Outcome::Done,
            1 => Outcome::GaveUp("no".into()),
            2 => Outcome::Retry("no".into()),
            3 => Outcome::Later(Duration::from_millis(70)),
            4 => Outcome::Cancelled,
            _ => Outcome::Released,
        };
        let written = self.jobs.finish(self.model[place].0, token, &outcome, &POLICY, None).await.unwrap();
        let now = self.now;
        let job = &mut self.model[place].1;
        assert_eq!(written, job.state == JobState::Running && job.token == token);
        if !written {
            return;
        }
        job.attempts = job.count_attempts();
        let at = match outcome {
            Outcome::Done => return self.end(place, JobState::Done).await,
            Outcome::GaveUp(_) => return self.end(place, JobState::Failed).await,
            _ if job.cancel => return self.end(place, JobState::Cancelled).await,
            Outcome::Retry(_) | Outcome::Cancelled if job.attempts >= POLICY.attempts => {
                return self.end(place, JobState::Failed).await;
            }
            Outcome::Retry(_) | Outcome::Cancelled => now + PAUSE_MS * (1 << (job.attempts - 1)),
            Outcome::Later(_) => {
                job.attempts = 0;
                now + 70
            }
            Outcome::Released => {
                job.attempts -= 1;
                now
            }
        };
        (job.state, job.at) = (JobState::Waiting, at);
        if let Some((at, arguments)) = job.again.take()
            && job.take_arguments(arguments)
        {
            (job.at, job.attempts) = (at, 0);
        }
    }

    /// The rows are what the model says, and agree with each other.
    async fn check(&self) {
        let tx = self.store.begin();
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        let rows = JOB.scan(()).all(&tx).await.unwrap();
        assert_eq!(rows.len(), self.model.len());
        for (id, model) in &self.model {
            let record = JOB.get(&tx, (*id,)).await.unwrap().unwrap();
            let arguments = ARGUMENTS.get(&tx, (*id,)).await.unwrap().unwrap();
            let lease = LEASE.get(&tx, (*id,)).await.unwrap();
            let until = LEASE_UNTIL.get(&tx, (*id,)).await.unwrap();
            let again = AGAIN.get(&tx, (*id,)).await.unwrap();
            let active = ACTIVE.get(&tx, ("thing", &record.key)).await.unwrap() == Some(*id);
            let running = record.state == JobState::Running;
            assert_eq!((lease.is_some(), until.is_some()), (running, running));
            assert_eq!(again.is_some(), record.again.is_some());
            let found = Model {
                key: record.key.parse().unwrap(),
                state: record.state,
                at: record.at,
                arguments: rmp_serde::from_slice(&arguments).unwrap(),
                attempts: record.attempts,
                token: record.claims,
                owner: lease.map_or(model.owner, |lease| lease.owner.parse().unwrap()),
                until: until.unwrap_or(model.until),
                checkpoint: CHECKPOINT.get(&tx, (*id,)).await.unwrap().map(|checkpoint| checkpoint.token),
                cancel: record.cancel,
                again: again.map(|again| (record.again.unwrap(), rmp_serde::from_slice(&again).unwrap())),
                active,
            };
            assert_eq!(&found, model);
            *counts.entry(record.state.code()).or_default() += 1;
            assert!(INDEX.get(&tx, (record.state.code(), "thing", record.at, *id)).await.unwrap().is_some());
        }
        assert_eq!(INDEX.scan(()).all(&tx).await.unwrap().len(), rows.len());
        let stored = COUNT.scan(()).all(&tx).await.unwrap();
        let stored: BTreeMap<u64, u64> =
            stored.into_iter().map(|((_, state), count)| (state, count)).filter(|(_, count)| *count != 0).collect();
        assert_eq!(stored, counts);
    }
}

/// What a handler would have in its hands.
fn running(jobs: &Jobs, job: u64, token: u64) -> Running<u8> {
    let claim = Claim {
        jobs: jobs.clone(),
        job,
        kind: Thing::NAME,
        key: String::new(),
        token,
        attempt: 1,
        arguments: rmp_serde::to_vec(&0u8).unwrap().into(),
        stop: tokio_util::sync::CancellationToken::new(),
        said: Arc::new(Said::new(Arc::default())),
    };
    Running::new(claim).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_queue_does_what_the_model_says(steps in proptest::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for step in &steps {
                world.step(step).await;
                world.check().await;
            }
        });
    }
}
