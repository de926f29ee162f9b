//! What to run and by which rules.

use crate::{
    holder::Holder,
    port::PortTaken,
    restart::Restart,
    status::{CrashReason, State},
};
use std::{ffi::OsString, fmt, future::Future, path::PathBuf, pin::Pin, sync::Arc, time::Duration};

/// A child process and the rules of its supervision.
#[derive(Debug, Clone)]
pub struct Spec {
    /// A short name for logs.
    pub name: String,
    /// The program: a path, or a name that is looked up in `PATH`.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Environment variables to set, or with `None` to remove. All others are inherited.
    pub env: Vec<(OsString, Option<OsString>)>,
    /// Its working directory; `None`: the supervisor's own.
    pub directory: Option<PathBuf>,
    /// How it shows that it is ready.
    pub readiness: Readiness,
    /// How to see that it is still well; `None`: while it lives it is well.
    pub health: Option<Health>,
    /// What must hold before each start.
    pub preflight: Option<Preflight>,
    /// What to do after a crash.
    pub restart: Restart,
    /// How to stop it.
    pub stop: Stop,
    /// Where its log goes besides the tail in memory.
    pub log: Option<LogSpec>,
}

impl Spec {
    /// A child without arguments that is ready as soon as it has started.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            directory: None,
            readiness: Readiness::Started,
            health: None,
            preflight: None,
            restart: Restart::default(),
            stop: Stop::default(),
            log: None,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable of the child.
    #[must_use]
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((key.into(), Some(value.into())));
        self
    }

    /// Removes an inherited environment variable.
    #[must_use]
    pub fn env_remove(mut self, key: impl Into<OsString>) -> Self {
        self.env.push((key.into(), None));
        self
    }

    /// Sets how the child shows that it is ready.
    #[must_use]
    pub fn readiness(mut self, readiness: Readiness) -> Self {
        self.readiness = readiness;
        self
    }
}

/// How a child shows that it is ready.
#[derive(Debug, Clone)]
pub enum Readiness {
    /// It is ready once it has started.
    Started,
    /// It prints one line of JSON on standard output: an object whose `event` is `"ready"`.
    ReadyLine {
        /// It is killed if the line has not come by then.
        deadline: Duration,
    },
    /// It says nothing; it is ready when a probe succeeds. For programs that are not ours.
    Probe {
        /// The probe.
        probe: Probe,
        /// The time between two tries.
        interval: Duration,
        /// It is killed if no try has succeeded by then.
        deadline: Duration,
    },
}

/// A repeated health check while the child is ready.
#[derive(Debug, Clone)]
pub struct Health {
    /// The check.
    pub probe: Probe,
    /// The time between two checks.
    pub interval: Duration,
    /// This many failures in a row make it [`State::Degraded`]; one success makes it [`State::Running`] again.
    pub failures: u32,
}

/// How to stop the child: its standard input is closed, then SIGTERM is sent, then SIGKILL.
#[derive(Debug, Clone)]
pub struct Stop {
    /// How long it may take to leave after its standard input was closed. Zero for programs that do not heed it.
    pub after_stdin: Duration,
    /// How long it may take to leave after SIGTERM.
    pub after_terminate: Duration,
}

impl Default for Stop {
    fn default() -> Self {
        Self { after_stdin: Duration::from_secs(10), after_terminate: Duration::from_secs(5) }
    }
}

/// The child's log file.
#[derive(Debug, Clone)]
pub struct LogSpec {
    /// Its path.
    pub path: PathBuf,
    /// It rotates at this size, in bytes.
    pub max_bytes: u64,
    /// This many older files are kept.
    pub keep: u32,
}

impl LogSpec {
    /// 4 MiB a file, three older ones kept.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), max_bytes: 4 * 1024 * 1024, keep: 3 }
    }
}

/// What a probe knows of the child.
#[derive(Debug, Clone)]
pub struct Context {
    /// Its process id.
    pub pid: Option<u32>,
    /// Its ready line, if it printed one.
    pub ready: Option<serde_json::Value>,
}

type ProbeFuture = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// An asynchronous check of a child; the error is one sentence for people. Make one with [`probe`].
#[derive(Clone)]
pub struct Probe(Arc<dyn Fn(Context) -> ProbeFuture + Send + Sync>);

impl Probe {
    pub(crate) async fn check(&self, context: Context) -> Result<(), String> {
        (self.0)(context).await
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Probe")
    }
}

/// Makes a [`Probe`] of an asynchronous function, which should bound its own time.
pub fn probe<F, R>(check: F) -> Probe
where
    F: Fn(Context) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), String>> + Send + 'static,
{
    Probe(Arc::new(move |context| Box::pin(check(context))))
}

/// What stands in the way of a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// A port that the child needs is taken.
    PortTaken(PortTaken),
    /// Someone else holds what the child needs.
    Held(Holder),
    /// Something else that a person has to see to; a sentence that says what.
    Unfit(String),
}

impl From<Obstacle> for State {
    fn from(obstacle: Obstacle) -> Self {
        match obstacle {
            Obstacle::PortTaken(taken) => {
                Self::Crashed { reason: CrashReason::PortTaken(taken), crash_loop: false, retry_in: None }
            }
            Obstacle::Held(holder) => Self::Foreign(holder),
            Obstacle::Unfit(why) => {
                Self::Crashed { reason: CrashReason::Unfit(why), crash_loop: false, retry_in: None }
            }
        }
    }
}

type PreflightFn = dyn Fn(&mut Spec) -> Result<(), Obstacle> + Send + Sync;

/// A check before each start; it may block.
#[derive(Clone)]
pub struct Preflight(Arc<PreflightFn>);

impl Preflight {
    /// Wraps a function that only looks.
    pub fn new(check: impl Fn() -> Result<(), Obstacle> + Send + Sync + 'static) -> Self {
        Self::preparing(move |_| check())
    }

    /// Wraps a function that also decides what this start needs: program, arguments, a free port. What it changes holds for
    /// this start alone.
    pub fn preparing(prepare: impl Fn(&mut Spec) -> Result<(), Obstacle> + Send + Sync + 'static) -> Self {
        Self(Arc::new(prepare))
    }

    pub(crate) async fn prepare(&self, spec: &Spec) -> Result<Spec, Obstacle> {
        let (prepare, mut prepared) = (Arc::clone(&self.0), spec.clone());
        let done = tokio::task::spawn_blocking(move || prepare(&mut prepared).map(|()| prepared)).await;
        // A check that panicked found no obstacle; the child's own start will tell.
        done.unwrap_or_else(|_| Ok(spec.clone()))
    }
}

impl fmt::Debug for Preflight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Preflight")
    }
}
