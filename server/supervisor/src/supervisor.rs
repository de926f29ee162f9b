//! The supervisor itself: one task that owns the child and obeys commands.

use crate::{
    log::{LineSplitter, LogFile, Tail},
    process::{Exit, Launcher, Output, Process, exit_code},
    restart::{Backoff, Verdict, random_unit},
    spec::{Context, Probe, Readiness, Spec, Stop},
    status::{Crash, CrashReason, State, Status},
};
use std::{
    future::pending,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::{
    io::AsyncReadExt,
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

/// Log lines kept in memory.
const TAIL_LINES: usize = 2000;
/// Log lines kept with a crash.
const CRASH_LINES: usize = 20;
/// How long the last output of a dead child is waited for; a grandchild may hold the pipe open for ever.
const DRAIN: Duration = Duration::from_secs(1);

/// Makes a supervisor. Spawn or await [`Supervisor::run`]; steer it with the handle.
pub fn supervise(launcher: impl Launcher) -> (Handle, Supervisor) {
    let (sender, commands) = mpsc::channel(16);
    let shared = Arc::new(Shared {
        status: watch::Sender::new(Status::new()),
        log: Mutex::new(Log { tail: Tail::new(TAIL_LINES), file: None, pushed: 0 }),
    });
    let handle = Handle { commands: sender, shared: Arc::clone(&shared) };
    (handle, Supervisor { launcher: Box::new(launcher), commands, shared, spec: None, backoff: Backoff::default() })
}

/// Steers a [`Supervisor`] and reads its status. Cheap to clone. Every method does nothing once the supervisor has ended.
#[derive(Debug, Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

impl Handle {
    /// Sets what to run. A running child keeps its old one until it is started again.
    pub async fn configure(&self, spec: Spec) {
        self.send(|ack| Command::Configure(Box::new(spec), ack)).await;
    }

    /// Starts the child, or tries again now after a crash. Returns once it is starting.
    pub async fn start(&self) {
        self.send(Command::Start).await;
    }

    /// Stops the child gracefully. Returns once it has stopped.
    pub async fn stop(&self) {
        self.send(Command::Stop).await;
    }

    /// Stops the child and starts it again. Returns once it is starting.
    pub async fn restart(&self) {
        self.send(Command::Restart).await;
    }

    /// Stops the child gracefully and ends the supervisor.
    pub async fn shutdown(&self) {
        self.send(Command::Shutdown).await;
    }

    /// Forgets the last crash: someone has seen it.
    pub fn dismiss_crash(&self) {
        self.shared.status.send_if_modified(|status| status.last_crash.take().is_some());
    }

    /// The status now.
    pub fn status(&self) -> Status {
        self.shared.status.borrow().clone()
    }

    /// Every change of the status.
    pub fn subscribe(&self) -> watch::Receiver<Status> {
        self.shared.status.subscribe()
    }

    /// The last `count` log lines, oldest first; at most 2000 are kept.
    pub fn tail(&self, count: usize) -> Vec<String> {
        self.shared.log().tail.last(count)
    }

    async fn send(&self, command: impl FnOnce(Ack) -> Command) {
        let (ack, done) = oneshot::channel();
        if self.commands.send(command(ack)).await.is_ok() {
            // An error means that the supervisor ended meanwhile, and the child with it.
            done.await.ok();
        }
    }
}

type Ack = oneshot::Sender<()>;

#[derive(Debug)]
enum Command {
    Configure(Box<Spec>, Ack),
    Start(Ack),
    Stop(Ack),
    Restart(Ack),
    Shutdown(Ack),
}

#[derive(Debug)]
struct Shared {
    status: watch::Sender<Status>,
    log: Mutex<Log>,
}

#[derive(Debug)]
struct Log {
    tail: Tail,
    file: Option<LogFile>,
    /// Lines ever written, to tell a run's own lines.
    pushed: usize,
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, line: String) {
        let mut log = self.log();
        if let Some(file) = &mut log.file
            && let Err(error) = file.write_line(&line)
        {
            tracing::warn!(%error, "the log file cannot be written; logging goes on in memory only");
            log.file = None;
        }
        log.pushed += 1;
        log.tail.push(line);
    }
}

/// Owns the child. See [`supervise`].
pub struct Supervisor {
    launcher: Box<dyn Launcher>,
    commands: mpsc::Receiver<Command>,
    shared: Arc<Shared>,
    spec: Option<Spec>,
    backoff: Backoff,
}

/// What the supervisor's task does next.
enum Phase {
    Idle,
    Start,
    Wait(Duration),
    End,
}

/// How a child's life ended.
enum Ended {
    Exited(Exit),
    NotReady(Duration),
    Asked(Phase),
}

type CheckFuture = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

impl Supervisor {
    /// Runs until [`Handle::shutdown`] or until every handle is dropped; the child is stopped first in both cases.
    pub async fn run(mut self) {
        let mut phase = Phase::Idle;
        loop {
            phase = match phase {
                Phase::Idle => self.idle().await,
                Phase::Start => self.attempt().await,
                Phase::Wait(time) => self.wait(time).await,
                Phase::End => break,
            };
        }
    }

    fn update(&self, change: impl FnOnce(&mut Status)) {
        self.shared.status.send_modify(change);
    }

    fn set_state(&self, state: State) {
        tracing::debug!(?state, "state of the child changed");
        self.update(|status| status.state = state);
    }

    fn configure(&mut self, spec: Spec) {
        self.spec = Some(spec);
        self.shared.status.send_if_modified(|status| {
            let fresh = status.state == State::NotSetUp;
            if fresh {
                status.state = State::Stopped;
            }
            fresh
        });
    }

    /// Not before the preflight has agreed: a start that cannot be leaves nothing behind.
    fn open_log(&self, spec: &Spec) {
        self.shared.log().file = spec.log.as_ref().and_then(|log| {
            LogFile::open(&log.path, log.max_bytes, log.keep)
                .inspect_err(|error| tracing::warn!(%error, "no log file; logging in memory only"))
                .ok()
        });
    }

    /// A person asked for a start: forget the past, and say so before the answer.
    fn started_by_hand(&mut self, ack: Ack) -> Phase {
        if self.spec.is_none() {
            ack.send(()).ok();
            return Phase::Idle;
        }
        self.backoff.forget();
        self.update(|status| {
            *status = Status { state: State::Starting, pid: None, ready: None, restarts: 0, last_crash: None };
        });
        ack.send(()).ok();
        Phase::Start
    }

    async fn idle(&mut self) -> Phase {
        loop {
            match self.commands.recv().await {
                Some(Command::Configure(spec, ack)) => {
                    self.configure(*spec);
                    ack.send(()).ok();
                }
                Some(Command::Start(ack) | Command::Restart(ack)) => match self.started_by_hand(ack) {
                    Phase::Idle => {}
                    phase => return phase,
                },
                Some(Command::Stop(ack)) => {
                    if self.spec.is_some() {
                        self.set_state(State::Stopped);
                    }
                    ack.send(()).ok();
                }
                Some(Command::Shutdown(ack)) => {
                    ack.send(()).ok();
                    return Phase::End;
                }
                None => return Phase::End,
            }
        }
    }

    /// Waits before an automatic restart.
    async fn wait(&mut self, time: Duration) -> Phase {
        let until = Instant::now() + time;
        loop {
            let command = tokio::select! {
                () = sleep_until(until) => {
                    self.update(|status| status.restarts += 1);
                    return Phase::Start;
                }
                command = self.commands.recv() => command,
            };
            match command {
                Some(Command::Configure(spec, ack)) => {
                    self.configure(*spec);
                    ack.send(()).ok();
                }
                Some(Command::Start(ack) | Command::Restart(ack)) => return self.started_by_hand(ack),
                Some(Command::Stop(ack)) => {
                    self.set_state(State::Stopped);
                    ack.send(()).ok();
                    return Phase::Idle;
                }
                Some(Command::Shutdown(ack)) => {
                    self.set_state(State::Stopped);
                    ack.send(()).ok();
                    return Phase::End;
                }
                None => return Phase::End,
            }
        }
    }

    /// One life of the child, from preflight to exit.
    async fn attempt(&mut self) -> Phase {
        let Some(mut spec) = self.spec.clone() else { return Phase::Idle };
        self.update(|status| {
            status.state = State::Starting;
            status.ready = None;
        });
        if let Some(preflight) = &spec.preflight {
            match preflight.prepare(&spec).await {
                Ok(prepared) => spec = prepared,
                Err(obstacle) => {
                    self.set_state(obstacle.into());
                    return Phase::Idle;
                }
            }
        }
        self.open_log(&spec);
        let own_lines = self.shared.log().pushed;
        let mut process = match self.launcher.launch(&spec) {
            Ok(process) => process,
            Err(error) => {
                let reason = CrashReason::Spawn(format!("{}: {error}", spec.program.display()));
                return self.crashed(&spec, reason, Duration::ZERO, own_lines);
            }
        };
        let started = Instant::now();
        let pid = process.id();
        tracing::info!(name = spec.name, pid, "child started");
        self.update(|status| status.pid = pid);

        let (ready_line, mut ready) = oneshot::channel();
        let mut readers = JoinSet::new();
        if let Some((stdout, stderr)) = process.outputs() {
            let expects_line = matches!(spec.readiness, Readiness::ReadyLine { .. });
            readers.spawn(read_lines(stdout, Arc::clone(&self.shared), expects_line.then_some(ready_line)));
            readers.spawn(read_lines(stderr, Arc::clone(&self.shared), None));
        }
        let ended = self.live(&spec, process.as_mut(), &mut ready).await;
        let lived = started.elapsed();
        // The last lines tell why it left: have them before anyone is told.
        timeout(DRAIN, async { while readers.join_next().await.is_some() {} }).await.ok();
        readers.shutdown().await;
        // A very short life may end before its ready line was seen.
        let was_ready = self.shared.status.borrow().state.is_up() || ready.try_recv().is_ok();
        self.update(|status| {
            status.pid = None;
            status.ready = None;
        });
        tracing::info!(name = spec.name, pid, lived_ms = lived.as_millis(), "child ended");
        match ended {
            Ended::Asked(phase) => phase,
            Ended::Exited(Exit::Code(exit_code::STOP)) if was_ready => {
                self.set_state(State::Stopped);
                Phase::Idle
            }
            Ended::Exited(Exit::Code(exit_code::RESTART)) if was_ready => Phase::Start,
            Ended::Exited(Exit::Code(exit_code::CONFIGURATION)) => {
                self.crashed(&spec, CrashReason::Configuration, lived, own_lines)
            }
            Ended::Exited(Exit::Code(code)) => self.crashed(&spec, CrashReason::Exit(code), lived, own_lines),
            Ended::Exited(Exit::Signal(signal)) => self.crashed(&spec, CrashReason::Signal(signal), lived, own_lines),
            Ended::NotReady(after) => self.crashed(&spec, CrashReason::NotReady(after), lived, own_lines),
        }
    }

    /// Records a crash and decides what follows. `own_lines`: how many log lines there were before this life.
    fn crashed(&mut self, spec: &Spec, reason: CrashReason, lived: Duration, own_lines: usize) -> Phase {
        tracing::warn!(name = spec.name, %reason, "child crashed");
        let lines = {
            let log = self.shared.log();
            log.tail.last((log.pushed - own_lines).min(CRASH_LINES))
        };
        let verdict = if reason.is_retryable() {
            Some(self.backoff.after_crash(&spec.restart, lived, random_unit()))
        } else {
            None
        };
        let retry_in = match verdict {
            Some(Verdict::RetryIn(time)) => Some(time),
            Some(Verdict::GiveUp) | None => None,
        };
        let crash_loop = verdict == Some(Verdict::GiveUp);
        self.update(|status| {
            status.state = State::Crashed { reason: reason.clone(), crash_loop, retry_in };
            status.last_crash = Some(Crash { at: SystemTime::now(), reason, log: lines });
        });
        retry_in.map_or(Phase::Idle, Phase::Wait)
    }

    /// From the start of the process to its end, which has been reaped when this returns.
    async fn live(
        &mut self,
        spec: &Spec,
        process: &mut dyn Process,
        ready: &mut oneshot::Receiver<serde_json::Value>,
    ) -> Ended {
        let started = Instant::now();
        let mut context = Context { pid: process.id(), ready: None };
        let mut failures = 0;
        let mut is_ready = false;
        let mut check: Option<CheckFuture> = None;
        let mut expects_line = false;
        let mut deadline = None;
        match &spec.readiness {
            Readiness::Started => {
                is_ready = true;
                check = self.became_ready(spec, &context);
            }
            Readiness::ReadyLine { deadline: time } => {
                expects_line = true;
                deadline = Some(*time);
            }
            Readiness::Probe { probe, deadline: time, .. } => {
                check = Some(check_after(Duration::ZERO, probe, &context));
                deadline = Some(*time);
            }
        }
        loop {
            let late = async {
                match deadline {
                    Some(time) if !is_ready => {
                        sleep_until(started + time).await;
                        time
                    }
                    _ => pending().await,
                }
            };
            let checked = async {
                match &mut check {
                    Some(check) => check.await,
                    None => pending().await,
                }
            };
            tokio::select! {
                // In this order, so that a ready line is seen before the exit that follows it at once.
                biased;
                line = &mut *ready, if expects_line => {
                    expects_line = false;
                    // An error: standard output closed without the line. The deadline or the exit settles it.
                    if let Ok(line) = line {
                        context.ready = Some(line);
                        is_ready = true;
                        check = self.became_ready(spec, &context);
                    }
                }
                result = checked => {
                    check = match (&spec.readiness, &spec.health, result) {
                        (Readiness::Probe { .. }, _, Ok(())) if !is_ready => {
                            is_ready = true;
                            self.became_ready(spec, &context)
                        }
                        (Readiness::Probe { probe, interval, .. }, _, Err(_)) if !is_ready => {
                            Some(check_after(*interval, probe, &context))
                        }
                        (_, Some(health), result) => {
                            failures = if result.is_ok() { 0 } else { failures + 1 };
                            self.health_changed(result, failures >= health.failures);
                            Some(check_after(health.interval, &health.probe, &context))
                        }
                        _ => None,
                    };
                }
                exit = process.wait() => return ended(exit),
                time = late => {
                    stop(process, &Stop { after_stdin: Duration::ZERO, ..spec.stop.clone() }).await;
                    return Ended::NotReady(time);
                }
                command = self.commands.recv() => {
                    if let Some(phase) = self.obey(command, spec, process).await {
                        return Ended::Asked(phase);
                    }
                }
            }
        }
    }

    /// Publishes readiness and gives the first health check, if there is one.
    fn became_ready(&self, spec: &Spec, context: &Context) -> Option<CheckFuture> {
        self.update(|status| {
            status.state = State::Running;
            status.ready.clone_from(&context.ready);
        });
        spec.health.as_ref().map(|health| check_after(health.interval, &health.probe, context))
    }

    fn health_changed(&self, result: Result<(), String>, failed: bool) {
        let state = match result {
            Ok(()) => State::Running,
            Err(reason) if failed => State::Degraded(reason),
            Err(_) => return,
        };
        self.shared.status.send_if_modified(|status| {
            let changed = status.state != state;
            status.state = state;
            changed
        });
    }

    /// Obeys a command while the child lives; gives the next phase when that ended the child.
    async fn obey(&mut self, command: Option<Command>, spec: &Spec, process: &mut dyn Process) -> Option<Phase> {
        match command {
            Some(Command::Configure(spec, ack)) => {
                self.configure(*spec);
                ack.send(()).ok();
                None
            }
            Some(Command::Start(ack)) => {
                ack.send(()).ok();
                None
            }
            Some(Command::Stop(ack)) => {
                self.stop_child(spec, process).await;
                self.stopped();
                ack.send(()).ok();
                Some(Phase::Idle)
            }
            Some(Command::Restart(ack)) => {
                self.stop_child(spec, process).await;
                Some(self.started_by_hand(ack))
            }
            Some(Command::Shutdown(ack)) => {
                self.stop_child(spec, process).await;
                self.stopped();
                ack.send(()).ok();
                Some(Phase::End)
            }
            None => {
                self.stop_child(spec, process).await;
                self.stopped();
                Some(Phase::End)
            }
        }
    }

    async fn stop_child(&self, spec: &Spec, process: &mut dyn Process) {
        self.set_state(State::Stopping);
        stop(process, &spec.stop).await;
    }

    fn stopped(&self) {
        self.update(|status| {
            status.state = State::Stopped;
            status.pid = None;
            status.ready = None;
        });
    }
}

/// Closes standard input, then asks, then kills; returns when the process has been reaped.
async fn stop(process: &mut dyn Process, rules: &Stop) {
    process.close_stdin();
    if timeout(rules.after_stdin, process.wait()).await.is_ok() {
        return;
    }
    if let Err(error) = process.terminate() {
        tracing::warn!(%error, "the child could not be asked to leave");
    }
    if timeout(rules.after_terminate, process.wait()).await.is_ok() {
        return;
    }
    tracing::warn!("the child did not leave in time and is killed");
    if let Err(error) = process.kill() {
        tracing::warn!(%error, "the child could not be killed");
        return;
    }
    process.wait().await.ok();
}

fn ended(exit: io::Result<Exit>) -> Ended {
    // Waiting fails only when someone else reaped the child; it is gone in any case.
    Ended::Exited(exit.unwrap_or(Exit::Code(-1)))
}

fn check_after(interval: Duration, probe: &Probe, context: &Context) -> CheckFuture {
    let (probe, context) = (probe.clone(), context.clone());
    Box::pin(async move {
        sleep(interval).await;
        probe.check(context).await
    })
}

/// Copies lines to the log until the stream ends; the first ready line goes to `ready` instead.
async fn read_lines(mut stream: Output, shared: Arc<Shared>, mut ready: Option<oneshot::Sender<serde_json::Value>>) {
    let mut splitter = LineSplitter::default();
    let mut buffer = vec![0; 8 * 1024];
    let mut sink = |line: String| match ready_line(&line).filter(|_| ready.is_some()) {
        Some(value) => {
            ready.take().map(|ready| ready.send(value));
        }
        None => shared.write(line),
    };
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        splitter.feed(&buffer[..read], &mut sink);
    }
    splitter.flush(&mut sink);
}

fn ready_line(line: &str) -> Option<serde_json::Value> {
    let value: serde_json::Value = serde_json::from_str(line.trim()).ok()?;
    (value.get("event")? == "ready").then_some(value)
}
