//! Runners over a store in memory, with a clock that the tests move.

#![allow(clippy::unwrap_used)] // a test

mod common;

use std::time::Duration;

use common::{Counting, Fixture, Scripted, TALLY_KIND, Tally, WORK_KIND, Work, tally};
use hearth_jobs::{
    Enqueue, Filter, JobError, JobId, JobState, JobsError, Page, Policy, Runner, Schedule, WhileRunning,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const LEASE: Duration = Duration::from_secs(30);
/// After this, what a dead runner had claimed is free.
const LAPSED: Duration = Duration::from_secs(38);

#[tokio::test]
async fn enqueued_twice_runs_once_and_with_the_newest_arguments() {
    let fixture = Fixture::new();
    let first = fixture.enqueue("a", "one").await;
    assert_eq!(fixture.enqueue("a", "two").await, first);
    fixture.advance(Duration::from_millis(1));
    fixture.enqueue("b", "three").await;
    let (handler, mut runs) = Scripted::new(Policy::default());
    let running = fixture.start(|runner| runner.handle(handler));
    let run = runs.next().await;
    assert_eq!((run.key.as_str(), run.arguments.as_str(), run.attempt), ("a", "two", 1));
    let info = fixture.jobs.get(first).await.unwrap();
    assert_eq!(info.state, JobState::Running);
    assert!(info.owner.unwrap().starts_with("hearth-"));
    run.answer(Ok(()));
    let run = runs.next().await;
    assert_eq!(run.key, "b");
    run.answer(Ok(()));
    let info = fixture.jobs.ended(first).await.unwrap();
    assert_eq!((info.state, info.owner, info.last_error), (JobState::Done, None, None));
    running.stop().await;
    assert!(runs.none());
}

#[tokio::test]
async fn asked_for_while_it_runs() {
    let fixture = Fixture::new();
    let first = fixture.enqueue("a", "one").await;
    let (handler, mut runs) = Scripted::new(Policy::default());
    let running = fixture.start(|runner| runner.handle(handler));
    let run = runs.next().await;
    let ignore = Enqueue { while_running: WhileRunning::Ignore, ..Enqueue::default() };
    assert_eq!(fixture.jobs.enqueue::<Work>("a", &"never".to_owned(), ignore).await.unwrap(), first);
    run.answer(Ok(()));
    fixture.jobs.ended(first).await.unwrap();

    let second = fixture.enqueue("a", "two").await;
    let run = runs.next().await;
    assert_eq!(run.arguments, "two");
    assert_eq!(fixture.enqueue("a", "three").await, second);
    assert_eq!(fixture.enqueue("a", "four").await, second);
    run.answer(Ok(()));
    let run = runs.next().await;
    assert_eq!(run.arguments, "four", "once more, and only once");
    run.answer(Ok(()));
    fixture.idle().await;
    // What is asked for while a run fails is satisfied by the next attempt.
    fixture.enqueue("a", "five").await;
    let run = runs.next().await;
    fixture.enqueue("a", "six").await;
    run.answer(Err(JobError::Retry("no".into())));
    let run = runs.next().await;
    assert_eq!((run.arguments.as_str(), run.attempt), ("six", 1));
    run.answer(Ok(()));
    fixture.idle().await;
    running.stop().await;
    assert!(runs.none());
}

#[tokio::test]
async fn a_job_commits_with_its_cause() {
    let fixture = Fixture::new();
    let jobs = &fixture.jobs;
    let refused = fixture
        .store
        .transact("cause", |tx| async move {
            jobs.enqueue_in::<Work>(&tx, "a", &"one".to_owned(), Enqueue::default()).await?;
            Err::<(), _>(JobsError::NotFound)
        })
        .await;
    assert!(matches!(refused, Err(JobsError::NotFound)));
    assert!(jobs.counts().await.unwrap().is_empty());
    let (one, two) = fixture
        .store
        .transact("cause", |tx| async move {
            tx.set(b"cause", b"1");
            let one = jobs.enqueue_in::<Work>(&tx, "a", &"one".to_owned(), Enqueue::default()).await?;
            let two = jobs.enqueue_in::<Work>(&tx, "a", &"two".to_owned(), Enqueue::default()).await?;
            Ok::<_, JobsError>((one, two))
        })
        .await
        .unwrap();
    assert_eq!(one, two, "also within one transaction");
    assert_eq!(jobs.counts().await.unwrap()[0].waiting, 1);
}

#[tokio::test]
async fn attempts_with_growing_pauses_until_it_fails_and_is_retried() {
    let fixture = Fixture::new();
    let policy = Policy { attempts: 3, first_pause: Duration::from_secs(10), ..Policy::default() };
    let (handler, mut runs) = Scripted::new(policy);
    let job = fixture.enqueue("a", "one").await;
    let running = fixture.start(|runner| runner.handle(handler));
    for (attempt, pause) in [(1, 10_000), (2, 20_000)] {
        let run = runs.next().await;
        assert_eq!(run.attempt, attempt);
        run.answer(Err(JobError::Retry(format!("broken {attempt}"))));
        let info = fixture.until(job, |info| info.state == JobState::Waiting).await;
        assert_eq!(info.due_ts.unwrap() - fixture.now(), pause);
        assert_eq!(info.last_error.unwrap(), format!("broken {attempt}"));
        fixture.advance(Duration::from_millis(pause));
    }
    let run = runs.next().await;
    run.answer(Err(JobError::Retry("broken for good".into())));
    let info = fixture.jobs.ended(job).await.unwrap();
    assert_eq!((info.state, info.attempts), (JobState::Failed, 3));
    assert_eq!(info.last_error.as_deref(), Some("broken for good"));

    assert_eq!(fixture.jobs.retry(job).await.unwrap(), job);
    let run = runs.next().await;
    assert_eq!(run.attempt, 1);
    run.answer(Err(JobError::GiveUp("hopeless".into())));
    let info = fixture.jobs.ended(job).await.unwrap();
    assert_eq!((info.state, info.last_error.as_deref()), (JobState::Failed, Some("hopeless")));
    // Asking for it again begins it again.
    assert_eq!(fixture.enqueue("a", "one").await, job);
    runs.next().await.answer(Ok(()));
    assert_eq!(fixture.jobs.ended(job).await.unwrap().state, JobState::Done);
    running.stop().await;
}

#[tokio::test]
async fn panics_are_errors_and_later_is_none() {
    let fixture = Fixture::new();
    let (handler, mut runs) = Scripted::new(Policy { attempts: 1, ..Policy::default() });
    let job = fixture.enqueue("a", "one").await;
    let running = fixture.start(|runner| runner.handle(handler));
    runs.next().await.answer(Err(JobError::Later(Duration::from_mins(1))));
    let info = fixture.until(job, |info| info.state == JobState::Waiting).await;
    assert_eq!((info.attempts, info.due_ts), (0, Some(fixture.now() + 60_000)));
    fixture.advance(Duration::from_mins(1));
    runs.next().await.panic();
    let info = fixture.jobs.ended(job).await.unwrap();
    assert_eq!(info.state, JobState::Failed);
    assert!(info.last_error.unwrap().contains("panicked"));
    running.stop().await;
}

#[tokio::test]
async fn cancelled_while_waiting_and_while_running() {
    let fixture = Fixture::new();
    let (handler, mut runs) = Scripted::new(Policy::default());
    let waiting = fixture.enqueue("a", "one").await;
    fixture.jobs.cancel(waiting).await.unwrap();
    assert_eq!(fixture.jobs.get(waiting).await.unwrap().state, JobState::Cancelled);
    assert!(matches!(fixture.jobs.cancel(waiting).await, Err(JobsError::NotNow(_))));
    let running = fixture.start(|runner| runner.handle(handler));
    let job = fixture.enqueue("b", "one").await;
    let run = runs.next().await;
    assert!(matches!(fixture.jobs.retry(job).await, Err(JobsError::NotNow(_))));
    fixture.jobs.cancel(job).await.unwrap();
    // The handler returns when it sees its token.
    let info = fixture.jobs.ended(job).await.unwrap();
    assert_eq!((info.state, info.last_error), (JobState::Cancelled, None));
    drop(run);
    // One that does not look is cut off.
    let job = fixture.enqueue("c", "stubborn").await;
    let run = runs.next().await;
    fixture.jobs.cancel(job).await.unwrap();
    run.stop.cancelled().await;
    fixture.advance(Duration::from_secs(5));
    assert_eq!(fixture.jobs.ended(job).await.unwrap().state, JobState::Cancelled);
    assert_eq!(fixture.jobs.retry(job).await.unwrap(), job);
    runs.next().await.answer(Ok(()));
    assert_eq!(fixture.jobs.ended(job).await.unwrap().state, JobState::Done);
    running.stop().await;
}

#[tokio::test]
async fn a_stopped_runner_hands_back_what_it_had() {
    let fixture = Fixture::new();
    let (handler, mut runs) = Scripted::new(Policy { attempts: 1, ..Policy::default() });
    let job = fixture.enqueue("a", "one").await;
    let running = fixture.start(|runner| runner.handle(handler.clone()));
    let run = runs.next().await;
    running.stop().await;
    drop(run);
    let info = fixture.jobs.get(job).await.unwrap();
    assert_eq!((info.state, info.attempts), (JobState::Waiting, 0));
    let running = fixture.start(|runner| runner.handle(handler));
    let run = runs.next().await;
    assert_eq!(run.attempt, 1, "without waiting for a lease, and no attempt was used up");
    run.answer(Ok(()));
    fixture.jobs.ended(job).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn as_many_at_once_as_allowed() {
    let fixture = Fixture::new();
    let (handler, mut runs) = Scripted::new(Policy { concurrency: 2, ..Policy::default() });
    for key in ["a", "b", "c"] {
        fixture.enqueue(key, "one").await;
    }
    let running = fixture.start(|runner| runner.handle(handler));
    let (one, two) = (runs.next().await, runs.next().await);
    fixture.counts(|counts| (counts.running, counts.waiting) == (2, 1)).await;
    assert!(runs.none());
    one.answer(Ok(()));
    let three = runs.next().await;
    two.answer(Ok(()));
    three.answer(Ok(()));
    fixture.idle().await;
    running.stop().await;
    // Of all kinds together.
    let (handler, mut runs) = Scripted::new(Policy { concurrency: 9, ..Policy::default() });
    for key in ["a", "b", "c", "d", "e"] {
        fixture.enqueue(key, "one").await;
    }
    let running = fixture.start(|runner| runner.handle(handler));
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(runs.next().await);
    }
    fixture.counts(|counts| (counts.running, counts.waiting) == (4, 1)).await;
    assert!(runs.none());
    for run in held {
        run.answer(Ok(()));
    }
    runs.next().await.answer(Ok(()));
    fixture.idle().await;
    running.stop().await;
}

#[tokio::test]
async fn goes_on_from_its_checkpoint_after_a_crash() {
    let fixture = Fixture::new();
    let counting = Counting::new(0);
    let job = fixture.tally("a", 10).await;
    let crashed = fixture.start(|runner| runner.handle(counting.clone()));
    counting.steps.add_permits(4);
    fixture.tally_reaches("a", 4).await;
    crashed.crash().await;
    let info = fixture.jobs.get(job).await.unwrap();
    assert_eq!(info.state, JobState::Running, "nobody said that it ended");
    // Another process waits for the lease to run out.
    let running = fixture.start(|runner| runner.handle(counting.clone()));
    counting.steps.add_permits(100);
    fixture.advance(LAPSED);
    let info = fixture.jobs.ended(job).await.unwrap();
    assert_eq!((info.state, info.attempts), (JobState::Done, 1), "it came forward, so its attempts begin anew");
    assert_eq!(tally(&fixture.store, "a").await, 10);
    assert_eq!(*counting.begun.lock().unwrap(), [0, 4], "where the second run began");
    running.stop().await;
}

#[tokio::test]
async fn where_nobody_else_can_be_it_goes_on_at_once() {
    let fixture = Fixture::new();
    let counting = Counting::new(0);
    let job = fixture.tally("a", 5).await;
    let crashed = fixture.start(|runner| runner.handle(counting.clone()));
    counting.steps.add_permits(2);
    fixture.tally_reaches("a", 2).await;
    crashed.crash().await;
    counting.steps.add_permits(100);
    let running = fixture.start_sole(|runner| runner.handle(counting.clone()));
    assert_eq!(fixture.jobs.ended(job).await.unwrap().state, JobState::Done);
    assert_eq!(tally(&fixture.store, "a").await, 5);
    running.stop().await;
}

#[tokio::test]
async fn a_job_that_ends_its_process_fails_in_the_end() {
    let fixture = Fixture::new();
    let (handler, mut runs) = Scripted::new(Policy { attempts: 2, ..Policy::default() });
    let job = fixture.enqueue("a", "one").await;
    for attempt in [1, 2] {
        let crashed = fixture.start_sole(|runner| runner.handle(handler.clone()));
        assert_eq!(runs.next().await.attempt, attempt);
        crashed.crash().await;
    }
    let running = fixture.start_sole(|runner| runner.handle(handler.clone()));
    let info = fixture.jobs.ended(job).await.unwrap();
    assert_eq!(info.state, JobState::Failed);
    assert_eq!(info.last_error.unwrap(), "its process ended while it ran, 2 times in a row");
    running.stop().await;
}

#[tokio::test]
async fn what_a_late_owner_writes_does_not_commit() {
    let fixture = Fixture::new();
    let counting = Counting::new(0);
    let job = fixture.tally("a", 3).await;
    // The first runner stands still (a suspended process) while its handler's task lives on.
    let runner = fixture.runner(false).handle(counting.clone());
    let stop = CancellationToken::new();
    let mut stalled = Box::pin(runner.run(stop.clone()));
    counting.steps.add_permits(1);
    tokio::select! {
        () = &mut stalled => unreachable!("it runs until it is stopped"),
        () = fixture.tally_reaches("a", 1) => {}
    }
    let quick = Counting::new(100);
    let running = fixture.start(|runner| runner.handle(quick.clone()));
    fixture.advance(LAPSED);
    assert_eq!(fixture.jobs.ended(job).await.unwrap().state, JobState::Done);
    assert_eq!(tally(&fixture.store, "a").await, 3);
    // The late one tries to go on: nothing comes of it.
    counting.steps.add_permits(100);
    let error = counting.error().await;
    assert!(error.contains("another runner has taken over"), "{error}");
    assert_eq!(tally(&fixture.store, "a").await, 3);
    // It wakes up and finds out; what the other one wrote stands.
    stop.cancel();
    stalled.await;
    assert_eq!(fixture.jobs.get(job).await.unwrap().state, JobState::Done);
    running.stop().await;
}

#[tokio::test]
async fn a_lost_lease_stops_the_handler() {
    let fixture = Fixture::new();
    let (handler, mut runs) = Scripted::new(Policy::default());
    let job = fixture.enqueue("a", "stubborn").await;
    let mut stalled = Box::pin(fixture.runner(false).handle(handler).run(CancellationToken::new()));
    let run = tokio::select! {
        () = &mut stalled => unreachable!("it runs until it is stopped"),
        run = runs.next() => run,
    };
    fixture.advance(LAPSED);
    let (other, mut others) = Scripted::new(Policy::default());
    let running = fixture.start(|runner| runner.handle(other));
    let held = others.next().await;
    tokio::select! {
        () = &mut stalled => unreachable!("it runs until it is stopped"),
        () = run.stop.cancelled() => {}
    }
    held.answer(Ok(()));
    assert_eq!(fixture.jobs.ended(job).await.unwrap().state, JobState::Done);
    running.stop().await;
}

#[tokio::test]
async fn leases_are_renewed_while_a_job_runs() {
    let fixture = Fixture::new();
    let (handler, mut runs) = Scripted::new(Policy::default());
    let job = fixture.enqueue("a", "one").await;
    let first = fixture.start(|runner| runner.handle(handler));
    let run = runs.next().await;
    let (other, mut others) = Scripted::new(Policy::default());
    let second = fixture.start(|runner| runner.handle(other));
    for _ in 0..20 {
        let renewed = fixture.lease_until(job).await;
        fixture.advance(LEASE / 3);
        fixture.lease_reaches(job, renewed + 10_000).await;
    }
    assert!(others.none());
    run.answer(Ok(()));
    fixture.jobs.ended(job).await.unwrap();
    first.stop().await;
    second.stop().await;
    assert!(others.none());
}

#[tokio::test]
async fn progress_is_written_once_a_second_and_at_the_end() {
    let fixture = Fixture::new();
    let (handler, mut runs) = Scripted::new(Policy::default());
    let job = fixture.enqueue("a", "one").await;
    let running = fixture.start(|runner| runner.handle(handler));
    let run = runs.next().await;
    for done in 1..=50 {
        run.progress(done, Some(100), "counting");
    }
    let progress = loop {
        // Its runner needs a moment to hear of it; from then on a second has to pass.
        fixture.advance(Duration::from_millis(100));
        tokio::task::yield_now().await;
        if let Some(progress) = fixture.jobs.get(job).await.unwrap().progress {
            break progress;
        }
    };
    assert_eq!((progress.done, progress.total, progress.message.as_str()), (50, Some(100), "counting"));
    run.progress(100, Some(100), "counted 100");
    run.answer(Ok(()));
    let info = fixture.jobs.ended(job).await.unwrap();
    assert_eq!(info.progress.unwrap().message, "counted 100");
    running.stop().await;
}

#[tokio::test]
async fn a_schedule_comes_back_and_does_not_pile_up() {
    let fixture = Fixture::new();
    let hour = Duration::from_hours(1);
    let (handler, mut runs) = Scripted::new(Policy { attempts: 1, ..Policy::default() });
    let every = |every| Schedule { every, jitter: Duration::from_mins(2), first: Duration::from_mins(5) };
    let begin = |runner: Runner, schedule| {
        runner.handle(handler.clone()).schedule::<Work>("clock", &"tick".to_owned(), schedule).unwrap()
    };
    let running = fixture.start(|runner| begin(runner, every(hour)));
    let first = fixture.waiting("clock").await;
    assert_eq!((first.scheduled, first.due_ts.unwrap() - fixture.now()), (true, 300_000));
    assert!(runs.none());
    fixture.advance(Duration::from_mins(5));
    runs.next().await.answer(Ok(()));
    fixture.jobs.ended(first.id).await.unwrap();
    let second = fixture.waiting("clock").await;
    assert_eq!(second.due_ts.unwrap() - fixture.now(), 3_600_000 + 60_000, "half the jitter");
    // Asleep for three days: one run, and then an hour again. A failure does not end the schedule.
    fixture.advance(Duration::from_hours(72));
    runs.next().await.answer(Err(JobError::Retry("broken".into())));
    assert_eq!(fixture.jobs.ended(second.id).await.unwrap().state, JobState::Failed);
    let third = fixture.waiting("clock").await;
    assert_eq!(third.due_ts.unwrap() - fixture.now(), 3_660_000);
    // Retrying the failed one runs the one that waits already.
    assert_eq!(fixture.jobs.retry(second.id).await.unwrap(), third.id);
    runs.next().await.answer(Ok(()));
    fixture.jobs.ended(third.id).await.unwrap();
    assert_eq!(fixture.jobs.get(second.id).await.unwrap().state, JobState::Cancelled);
    let fourth = fixture.waiting("clock").await;
    fixture.jobs.cancel(fourth.id).await.unwrap();
    let fifth = fixture.waiting("clock").await;
    assert_eq!(fifth.due_ts.unwrap(), fourth.due_ts.unwrap() + 3_660_000, "a cancelled run is left out");
    running.stop().await;
    assert!(runs.none());

    // Another interval counts from the last run; none at all ends it.
    let running = fixture.start(|runner| begin(runner, every(2 * hour)));
    fixture.until(fifth.id, |info| info.due_ts.unwrap() == fourth.due_ts.unwrap() + 7_260_000).await;
    running.stop().await;
    let running = fixture.start(|runner| runner.handle(handler.clone()));
    fixture.gone(fifth.id).await;
    running.stop().await;
    assert!(runs.none());
}

#[tokio::test]
async fn the_history_is_bounded_and_listed_in_pages() {
    let fixture = Fixture::new();
    let (handler, mut runs) = Scripted::new(Policy { history: 5, ..Policy::default() });
    let running = fixture.start(|runner| runner.handle(handler));
    let mut ids = Vec::new();
    for index in 0..12 {
        let job = fixture.enqueue(&format!("{index}"), "one").await;
        runs.next().await.answer(Ok(()));
        fixture.jobs.ended(job).await.unwrap();
        fixture.advance(Duration::from_millis(1));
        ids.push(job);
    }
    let delayed = Enqueue { delay: Duration::from_mins(1), ..Enqueue::default() };
    for key in ["x", "y"] {
        ids.push(fixture.jobs.enqueue::<Work>(key, &"later".to_owned(), delayed).await.unwrap());
    }
    let list = async |filter: Filter, limit: usize| {
        let mut pages: Vec<Vec<String>> = Vec::new();
        let mut after = None;
        loop {
            let list = fixture.jobs.list(&filter, &Page { limit, after }).await.unwrap();
            pages.push(list.jobs.into_iter().map(|job| job.key).collect());
            if list.next.is_none() {
                return pages;
            }
            after = list.next;
        }
    };
    let state = |state| Filter { state: Some(state), kind: None };
    assert_eq!(list(state(JobState::Done), 100).await, [["11", "10", "9", "8", "7"]]);
    assert_eq!(list(state(JobState::Failed), 100).await, [Vec::<String>::new()]);
    let all = list(Filter::default(), 3).await;
    assert_eq!(all.concat()[2..], ["11", "10", "9", "8", "7"]);
    assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 1]);
    let other = Filter { kind: Some(TALLY_KIND.into()), state: None };
    assert_eq!(list(other, 3).await, [Vec::<String>::new()]);
    let wrong = Page { limit: 1, after: Some("nonsense".into()) };
    assert!(matches!(fixture.jobs.list(&Filter::default(), &wrong).await, Err(JobsError::Cursor)));
    let counts = fixture.jobs.counts().await.unwrap();
    assert_eq!(counts.len(), 1);
    assert_eq!((counts[0].kind.as_str(), counts[0].waiting, counts[0].done), (WORK_KIND, 2, 5));
    assert!(matches!(fixture.jobs.get(ids[0]).await, Err(JobsError::NotFound)));
    assert_eq!(ids[13].to_string().parse::<JobId>().unwrap(), ids[13]);
    running.stop().await;
}

#[tokio::test]
async fn runs_what_is_due_and_ends() {
    let fixture = Fixture::new();
    fixture.tally("a", 3).await;
    fixture.tally("b", 3).await;
    let delayed = Enqueue { delay: Duration::from_mins(1), ..Enqueue::default() };
    fixture.jobs.enqueue::<Tally>("later", &3, delayed).await.unwrap();
    fixture.runner(true).handle(Counting::new(100)).run_due(CancellationToken::new()).await;
    assert_eq!((tally(&fixture.store, "a").await, tally(&fixture.store, "b").await), (3, 3));
    assert_eq!(tally(&fixture.store, "later").await, 0);
}

/// Processes come and are killed at any time; every job's steps are done once each in the end.
#[tokio::test]
async fn killed_again_and_again() {
    const JOBS: u64 = 12;
    const STEPS: u64 = 8;
    for seed in 0..10_u64 {
        let fixture = Fixture::new();
        for job in 0..JOBS {
            fixture.tally(&format!("{job}"), STEPS).await;
        }
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let mut processes = JoinSet::new();
        let mut handles = std::collections::VecDeque::new();
        loop {
            while handles.len() < 2 {
                let runner = fixture.runner(false).handle(Counting::new(1_000_000));
                handles.push_back(processes.spawn(runner.run(CancellationToken::new())));
            }
            for _ in 0..next() % 40 {
                tokio::task::yield_now().await;
            }
            if next() % 3 == 0 {
                handles.pop_front().unwrap().abort();
            }
            fixture.advance(Duration::from_secs(5));
            let counts = fixture.jobs.counts().await.unwrap();
            assert_eq!(counts[0].failed, 0);
            if counts[0].waiting + counts[0].running == 0 {
                break;
            }
        }
        for job in 0..JOBS {
            assert_eq!(tally(&fixture.store, &format!("{job}")).await, STEPS, "job {job} of seed {seed}");
        }
        processes.abort_all();
        while processes.join_next().await.is_some() {}
    }
}
