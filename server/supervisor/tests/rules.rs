//! The supervisor's rules on a child that exists only in memory, under paused time: every deadline and every wait is checked to
//! the millisecond, and nothing sleeps.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use hearth_supervisor::{
    CrashReason, Exit, ExitFuture, Handle, Health, Holder, Launcher, Obstacle, Output, Preflight, Process, Readiness,
    Restart, Spec, State, Status, Stop, probe, supervise,
};
use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{io::AsyncWriteExt, sync::watch, task::JoinHandle, time::Instant};

const READY: &str = "{\"event\":\"ready\",\"admin\":\"http://127.0.0.1:1\"}\n";

/// What a fake child does, in order of its life.
#[derive(Clone, Default)]
struct Life {
    stdout: &'static str,
    stderr: &'static str,
    /// It says nothing before this time.
    silent: Duration,
    /// It exits by itself after this time.
    exits: Option<(Duration, i32)>,
    /// It leaves this long after its standard input was closed.
    heeds_stdin: Option<Duration>,
    /// It leaves this long after SIGTERM.
    heeds_terminate: Option<Duration>,
    spawn_error: bool,
}

/// Gives each launch its life; the last one repeats.
#[derive(Clone, Default)]
struct FakeLauncher {
    lives: Arc<Mutex<VecDeque<Life>>>,
    running: Arc<Mutex<Option<watch::Sender<Option<Exit>>>>>,
}

struct FakeProcess {
    life: Life,
    exit: watch::Sender<Option<Exit>>,
}

fn exit_after(exit: &watch::Sender<Option<Exit>>, time: Duration, how: Exit) {
    let exit = exit.clone();
    tokio::spawn(async move {
        tokio::time::sleep(time).await;
        exit.send_if_modified(|exit| exit.is_none() && exit.replace(how).is_none());
    });
}

impl Launcher for FakeLauncher {
    fn launch(&self, _: &Spec) -> io::Result<Box<dyn Process>> {
        let mut lives = self.lives.lock().unwrap();
        let life = if lives.len() > 1 { lives.pop_front().unwrap() } else { lives[0].clone() };
        if life.spawn_error {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no such file"));
        }
        let exit = watch::Sender::new(None);
        if let Some((time, code)) = life.exits {
            exit_after(&exit, time, Exit::Code(code));
        }
        *self.running.lock().unwrap() = Some(exit.clone());
        Ok(Box::new(FakeProcess { life, exit }))
    }
}

impl Process for FakeProcess {
    fn id(&self) -> Option<u32> {
        Some(42)
    }

    fn outputs(&mut self) -> Option<(Output, Output)> {
        let stream = |text: &'static str| -> Output {
            let (mut write, read) = tokio::io::duplex(64);
            let mut exit = self.exit.subscribe();
            let silent = self.life.silent;
            tokio::spawn(async move {
                tokio::time::sleep(silent).await;
                write.write_all(text.as_bytes()).await.ok();
                exit.wait_for(Option::is_some).await.ok();
            });
            Box::new(read)
        };
        Some((stream(self.life.stdout), stream(self.life.stderr)))
    }

    fn close_stdin(&mut self) {
        if let Some(time) = self.life.heeds_stdin {
            exit_after(&self.exit, time, Exit::Code(0));
        }
    }

    fn terminate(&mut self) -> io::Result<()> {
        if let Some(time) = self.life.heeds_terminate {
            exit_after(&self.exit, time, Exit::Code(0));
        }
        Ok(())
    }

    fn kill(&mut self) -> io::Result<()> {
        exit_after(&self.exit, Duration::ZERO, Exit::Signal(9));
        Ok(())
    }

    fn wait(&mut self) -> ExitFuture<'_> {
        let mut exit = self.exit.subscribe();
        Box::pin(async move {
            let exit = exit.wait_for(Option::is_some).await.map_err(io::Error::other)?;
            Ok(exit.expect("waited for it"))
        })
    }
}

struct Fixture {
    handle: Handle,
    launcher: FakeLauncher,
    task: JoinHandle<()>,
}

impl Fixture {
    async fn new(spec: Spec, lives: impl IntoIterator<Item = Life>) -> Self {
        let launcher = FakeLauncher { lives: Arc::new(Mutex::new(lives.into_iter().collect())), ..Default::default() };
        let (handle, supervisor) = supervise(launcher.clone());
        let task = tokio::spawn(supervisor.run());
        assert_eq!(handle.status().state, State::NotSetUp);
        handle.start().await;
        assert_eq!(handle.status().state, State::NotSetUp, "nothing to start");
        handle.configure(spec).await;
        assert_eq!(handle.status().state, State::Stopped);
        Self { handle, launcher, task }
    }

    async fn until(&self, condition: impl Fn(&Status) -> bool) -> Status {
        let mut status = self.handle.subscribe();
        let found = tokio::time::timeout(Duration::from_hours(1), status.wait_for(condition)).await;
        found.expect("the state should come").expect("the supervisor should live").clone()
    }

    /// Ends the child from outside.
    fn end(&self, exit: Exit) {
        self.launcher.running.lock().unwrap().as_ref().unwrap().send_replace(Some(exit));
    }
}

fn spec() -> Spec {
    let mut spec = Spec::new("fake", "fake").readiness(Readiness::ReadyLine { deadline: Duration::from_mins(1) });
    spec.restart = Restart {
        first: Duration::from_secs(1),
        longest: Duration::from_secs(8),
        jitter: 0.0,
        quick: Duration::from_secs(30),
        give_up_after: 4,
    };
    spec.stop = Stop { after_stdin: Duration::from_secs(10), after_terminate: Duration::from_secs(5) };
    spec
}

fn ready() -> Life {
    Life { stdout: READY, heeds_stdin: Some(Duration::from_secs(1)), ..Life::default() }
}

fn exits(code: i32) -> Life {
    Life { stderr: "what went wrong\n", exits: Some((Duration::from_secs(2), code)), ..Life::default() }
}

fn crashed(status: &Status) -> bool {
    matches!(status.state, State::Crashed { .. })
}

#[tokio::test(start_paused = true)]
async fn the_ready_line_makes_it_running_and_a_stop_is_polite() {
    let life =
        Life { stdout: "hello\n{\"event\":\"ready\",\"n\":1}\nafter\n", silent: Duration::from_millis(10), ..ready() };
    let fixture = Fixture::new(spec(), [life]).await;
    fixture.handle.start().await;
    assert_eq!(fixture.handle.status().state, State::Starting);
    let status = fixture.until(|status| status.state == State::Running).await;
    assert_eq!((status.pid, status.ready.unwrap()["n"].as_i64()), (Some(42), Some(1)));

    let before = Instant::now();
    fixture.handle.stop().await;
    assert_eq!(before.elapsed().as_secs(), 1, "it heeded its standard input");
    let status = fixture.handle.status();
    assert_eq!((status.state, status.pid, status.ready, status.last_crash), (State::Stopped, None, None, None));
    assert_eq!(fixture.handle.tail(10), ["hello", "after"], "the ready line is no log line");
}

#[tokio::test(start_paused = true)]
async fn a_stubborn_child_is_asked_then_killed() {
    for (life, seconds) in [
        (Life { stdout: READY, heeds_terminate: Some(Duration::from_secs(2)), ..Life::default() }, 12),
        (Life { stdout: READY, ..Life::default() }, 15),
    ] {
        let fixture = Fixture::new(spec(), [life]).await;
        fixture.handle.start().await;
        fixture.until(|status| status.state == State::Running).await;
        let before = Instant::now();
        let stopping = fixture.handle.clone();
        let stop = tokio::spawn(async move { stopping.stop().await });
        fixture.until(|status| status.state == State::Stopping).await;
        stop.await.unwrap();
        assert_eq!(before.elapsed().as_secs(), seconds);
        assert_eq!(fixture.handle.status().state, State::Stopped);
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_is_restarted_and_told() {
    let fixture = Fixture::new(spec(), [ready()]).await;
    fixture.handle.start().await;
    fixture.until(|status| status.state == State::Running).await;
    fixture.end(Exit::Signal(9));
    let status = fixture.until(crashed).await;
    let retry_in = Some(Duration::from_secs(1));
    assert_eq!(status.state, State::Crashed { reason: CrashReason::Signal(9), crash_loop: false, retry_in });
    let before = Instant::now();
    let status = fixture.until(|status| status.state == State::Running).await;
    assert_eq!(before.elapsed().as_secs(), 1);
    assert_eq!(status.restarts, 1);
    assert_eq!(status.last_crash.unwrap().reason, CrashReason::Signal(9));

    fixture.handle.dismiss_crash();
    assert_eq!(fixture.handle.status().last_crash, None);
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_backs_off_then_stops_with_its_last_lines() {
    let fixture = Fixture::new(spec(), [exits(1)]).await;
    let before = Instant::now();
    fixture.handle.start().await;
    let status = fixture.until(|status| matches!(status.state, State::Crashed { retry_in: None, .. })).await;
    // Four lives of two seconds, and waits of 1, 2 and 4 seconds between them.
    assert_eq!(before.elapsed().as_secs(), 4 * 2 + 1 + 2 + 4);
    assert_eq!(status.state, State::Crashed { reason: CrashReason::Exit(1), crash_loop: true, retry_in: None });
    assert_eq!(status.restarts, 3);
    assert_eq!(status.last_crash.unwrap().log, ["what went wrong"], "only the lines of its last life");

    // A person may try again, and then counts afresh.
    fixture.handle.start().await;
    let status = fixture.until(crashed).await;
    assert!(matches!(status.state, State::Crashed { crash_loop: false, retry_in: Some(_), .. }));
    assert_eq!(status.restarts, 0);
}

#[tokio::test(start_paused = true)]
async fn a_start_by_hand_does_not_wait_for_the_backoff() {
    let fixture = Fixture::new(spec(), [exits(1), ready()]).await;
    fixture.handle.start().await;
    fixture.until(crashed).await;
    let before = Instant::now();
    fixture.handle.start().await;
    let status = fixture.until(|status| status.state == State::Running).await;
    assert_eq!(before.elapsed().as_millis(), 0);
    assert_eq!(status.last_crash, None);
}

#[tokio::test(start_paused = true)]
async fn a_stop_during_the_backoff_holds() {
    let fixture = Fixture::new(spec(), [exits(1)]).await;
    fixture.handle.start().await;
    fixture.until(crashed).await;
    fixture.handle.stop().await;
    assert_eq!(fixture.handle.status().state, State::Stopped);
    tokio::time::advance(Duration::from_secs(100)).await;
    assert_eq!(fixture.handle.status().state, State::Stopped);
}

#[tokio::test(start_paused = true)]
async fn exit_codes_mean_something() {
    let after_ready = |code| Life { stdout: READY, exits: Some((Duration::from_secs(2), code)), ..Life::default() };
    // A stop that someone else asked for is no crash.
    let fixture = Fixture::new(spec(), [after_ready(0)]).await;
    fixture.handle.start().await;
    fixture.until(|status| status.state == State::Running).await;
    let status = fixture.until(|status| status.state.is_settled() && !status.state.is_up()).await;
    assert_eq!((status.state, status.last_crash), (State::Stopped, None));

    // 75: start again at once, without a crash.
    let fixture = Fixture::new(spec(), [after_ready(75), Life { silent: Duration::from_secs(1), ..ready() }]).await;
    fixture.handle.start().await;
    fixture.until(|status| status.state == State::Running).await;
    fixture.until(|status| status.state == State::Starting).await;
    let before = Instant::now();
    let status = fixture.until(|status| status.state == State::Running).await;
    assert_eq!((before.elapsed().as_secs(), status.last_crash, status.restarts), (1, None, 0));

    // 78: no restart can help.
    let fixture = Fixture::new(spec(), [exits(78)]).await;
    fixture.handle.start().await;
    let status = fixture.until(crashed).await;
    let expected = State::Crashed { reason: CrashReason::Configuration, crash_loop: false, retry_in: None };
    assert_eq!(status.state, expected);

    // 0 or 75 before it was ever ready is a crash, or it would loop.
    for code in [0, 75] {
        let fixture = Fixture::new(spec(), [exits(code)]).await;
        fixture.handle.start().await;
        let status = fixture.until(crashed).await;
        assert_eq!(status.last_crash.unwrap().reason, CrashReason::Exit(code));
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_that_never_gets_ready_is_killed() {
    let fixture = Fixture::new(spec(), [Life { stdout: "{\"event\":\"hello\"}\n", ..Life::default() }]).await;
    let before = Instant::now();
    fixture.handle.start().await;
    let status = fixture.until(crashed).await;
    assert_eq!(status.last_crash.unwrap().reason, CrashReason::NotReady(Duration::from_mins(1)));
    assert_eq!(before.elapsed().as_secs(), 60 + 5, "the deadline, then SIGTERM's time");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_started_says_why() {
    let fixture = Fixture::new(spec(), [Life { spawn_error: true, ..Life::default() }]).await;
    fixture.handle.start().await;
    let status = fixture.until(crashed).await;
    let State::Crashed { reason: CrashReason::Spawn(text), crash_loop: false, retry_in: None } = status.state else {
        panic!("{status:?}")
    };
    assert!(text.contains("no such file"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn an_obstacle_prevents_the_start() {
    let holder = Holder { pid: Some(7), name: Some("hearth".to_owned()) };
    let free = Arc::new(AtomicBool::new(false));
    let (held_by, is_free) = (holder.clone(), Arc::clone(&free));
    let mut spec = spec();
    spec.preflight = Some(Preflight::new(move || {
        if is_free.load(Ordering::SeqCst) { Ok(()) } else { Err(Obstacle::Held(held_by.clone())) }
    }));
    let fixture = Fixture::new(spec, [ready()]).await;
    fixture.handle.start().await;
    let status = fixture.until(|status| status.state != State::Starting).await;
    assert_eq!(status.state, State::Foreign(holder));
    free.store(true, Ordering::SeqCst);
    fixture.handle.start().await;
    fixture.until(|status| status.state == State::Running).await;
}

#[tokio::test(start_paused = true)]
async fn health_degrades_and_recovers_without_a_restart() {
    let well = Arc::new(AtomicBool::new(true));
    let is_well = Arc::clone(&well);
    let mut spec = spec();
    let probe = probe(move |context| {
        assert_eq!((context.pid, context.ready.unwrap()["event"].as_str()), (Some(42), Some("ready")));
        let well = is_well.load(Ordering::SeqCst);
        async move { if well { Ok(()) } else { Err("no answer".to_owned()) } }
    });
    spec.health = Some(Health { probe, interval: Duration::from_secs(5), failures: 3 });
    let fixture = Fixture::new(spec, [ready()]).await;
    fixture.handle.start().await;
    fixture.until(|status| status.state == State::Running).await;
    well.store(false, Ordering::SeqCst);
    let before = Instant::now();
    fixture.until(|status| status.state == State::Degraded("no answer".to_owned())).await;
    assert_eq!(before.elapsed().as_secs(), 15, "three failures in a row");
    well.store(true, Ordering::SeqCst);
    let status = fixture.until(|status| status.state == State::Running).await;
    assert_eq!((status.restarts, status.pid), (0, Some(42)));
}

#[tokio::test(start_paused = true)]
async fn readiness_by_probe_is_for_programs_without_a_ready_line() {
    let from = Instant::now();
    let open_after_7s = probe(move |_| async move {
        if from.elapsed() >= Duration::from_secs(7) { Ok(()) } else { Err("closed".to_owned()) }
    });
    let readiness =
        Readiness::Probe { probe: open_after_7s, interval: Duration::from_secs(2), deadline: Duration::from_secs(30) };
    let fixture = Fixture::new(spec().readiness(readiness), [Life { stdout: READY, ..Life::default() }]).await;
    fixture.handle.start().await;
    let status = fixture.until(|status| status.state == State::Running).await;
    assert_eq!((from.elapsed().as_secs(), status.ready), (8, None));
    assert_eq!(fixture.handle.tail(9), [READY.trim()], "its output is only log");

    let never = probe(|_| async { Err("closed".to_owned()) });
    let readiness =
        Readiness::Probe { probe: never, interval: Duration::from_secs(2), deadline: Duration::from_secs(30) };
    let fixture = Fixture::new(spec().readiness(readiness), [Life::default()]).await;
    fixture.handle.start().await;
    let status = fixture.until(crashed).await;
    assert_eq!(status.last_crash.unwrap().reason, CrashReason::NotReady(Duration::from_secs(30)));
}

#[tokio::test(start_paused = true)]
async fn restart_and_shutdown_stop_the_child_first() {
    let fixture = Fixture::new(spec(), [ready()]).await;
    fixture.handle.start().await;
    fixture.until(|status| status.state == State::Running).await;
    let before = Instant::now();
    fixture.handle.restart().await;
    assert_eq!(before.elapsed().as_secs(), 1);
    fixture.until(|status| status.state == State::Running).await;
    fixture.handle.shutdown().await;
    assert_eq!(before.elapsed().as_secs(), 2);
    assert_eq!(fixture.handle.status().state, State::Stopped);
    fixture.task.await.unwrap();
    fixture.handle.start().await;
}

#[tokio::test(start_paused = true)]
async fn dropping_every_handle_stops_the_child() {
    let fixture = Fixture::new(spec(), [ready()]).await;
    fixture.handle.start().await;
    fixture.until(|status| status.state == State::Running).await;
    let mut status = fixture.handle.subscribe();
    drop(fixture.handle);
    fixture.task.await.unwrap();
    assert_eq!(status.borrow_and_update().state, State::Stopped);
}
