//! The instance: who supervises it, how its server is run, when it is ready and how it is.

use super::{
    cli::Cli,
    cluster_file::ClusterFile,
    leftover,
    programs::{NotInstalled, Programs},
    status::InstanceHealth,
};
use crate::{
    CrashReason, Handle, Health, Holder, LogSpec, Obstacle, OsLauncher, Preflight, Readiness, Restart, Spec, State,
    Status, Stop, lock, port, probe, supervise,
};
use std::{
    ffi::OsString,
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, task::JoinSet, time::sleep};

/// How long a start may take: the server replays what was not yet in its tree, and the first one formats its files.
const READY_DEADLINE: Duration = Duration::from_mins(2);
const READY_INTERVAL: Duration = Duration::from_millis(200);
/// Each look starts a process; once in a while is enough, since clients notice a silent database by themselves.
const HEALTH_INTERVAL: Duration = Duration::from_secs(30);
const HEALTH_FAILURES: u32 = 2;
/// How long the server may take to leave after SIGTERM. It needs no goodbye: what it acknowledged is on disk.
const LEAVES: Duration = Duration::from_secs(20);
/// Between two looks whether whoever supervises the instance has gone.
const TAKE_OVER: Duration = Duration::from_secs(1);
/// After a crash loop or an obstacle, when nobody is there to press a button.
const TRY_AGAIN: Duration = Duration::from_mins(1);
/// Automatic restarts of a first start before it counts as failed.
const START_TRIES: u32 = 2;
/// Log lines in an error message.
const SHOWN_LINES: usize = 5;

/// The server ends itself above this. FoundationDB's own advice is not to go below 4 GiB; what it uses is far less.
const MEMORY_LIMIT: &str = "4GiB";
/// Cache of disk pages. The usual 2 GiB are meant for a machine that does nothing else.
const CACHE: &str = "128MiB";
/// Its trace files: the size of one, and of all together.
const TRACE_FILE: &str = "2MiB";
const TRACE_FILES: &str = "16MiB";
const LOG_BYTES: u64 = 1024 * 1024;

/// A local instance, seen by one who may supervise it. It supervises from [`Self::start`] to [`Self::stop`] if nobody else does;
/// otherwise its state is [`State::Foreign`], and its cluster file is there to connect to.
#[derive(Debug)]
pub struct LocalInstance {
    shared: Arc<Shared>,
    handle: Handle,
    /// The supervisor; ends with [`Self::stop`].
    task: JoinSet<()>,
}

/// Why the instance is not there.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// Something is missing or wrong, such as FoundationDB not being installed; a sentence that says what to do.
    #[error("{0}")]
    Unfit(String),
    /// It did not start.
    #[error("the local FoundationDB does not start: {reason}{}", lines(.log))]
    NotStarted {
        /// Why, in words.
        reason: String,
        /// The last lines of its log.
        log: Vec<String>,
    },
}

fn lines(log: &[String]) -> String {
    log.iter().fold(String::new(), |text, line| text + "\n  " + line)
}

/// Who supervises a running instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Supervision {
    /// We do.
    Ours,
    /// Another process does: the desktop app, or another `hearth` on the same data folder.
    Other(Holder),
}

/// How the programs are found.
pub type FindPrograms = Arc<dyn Fn() -> Result<Programs, NotInstalled> + Send + Sync>;

struct Shared {
    folder: PathBuf,
    restart: Restart,
    find: FindPrograms,
    /// Held while we supervise.
    lock: Mutex<Option<File>>,
    /// Where the programs are, since the last start.
    programs: Mutex<Option<Programs>>,
    health: watch::Sender<InstanceHealth>,
    /// Why the server is not ready yet.
    unready: Mutex<Option<String>>,
}

impl LocalInstance {
    /// Where the cluster file of the instance in `folder` is.
    pub fn cluster_file_in(folder: &Path) -> PathBuf {
        folder.join("fdb.cluster")
    }

    /// Whether somebody supervises the instance in `folder` now.
    pub fn is_supervised(folder: &Path) -> bool {
        lock::holder(&lock_file_in(folder)).is_some()
    }

    /// The process ids of the servers that work on the data of the instance in `folder`: one, or none. Looks through all
    /// processes.
    pub fn processes(folder: &Path) -> Vec<u32> {
        leftover::find(&data_folder_in(folder)).iter().map(|pid| pid.as_u32()).collect()
    }

    /// The instance in `folder`, which is made at its first start. Needs a running tokio runtime; starts nothing yet.
    pub fn new(folder: &Path, restart: Restart) -> Self {
        Self::with_programs(folder, restart, Arc::new(Programs::find))
    }

    /// The same with programs that are found in another way than [`Programs::find`].
    pub fn with_programs(folder: &Path, restart: Restart, find: FindPrograms) -> Self {
        let shared = Arc::new(Shared {
            // Absolute, as a left-over server's command line names it.
            folder: std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()),
            restart,
            find,
            lock: Mutex::new(None),
            programs: Mutex::new(None),
            health: watch::Sender::new(InstanceHealth::default()),
            unready: Mutex::new(None),
        });
        let (handle, supervisor) = supervise(OsLauncher);
        let mut task = JoinSet::new();
        task.spawn(supervisor.run());
        Self { shared, handle, task }
    }

    /// Where to connect, for clients.
    pub fn cluster_file(&self) -> PathBuf {
        Self::cluster_file_in(&self.shared.folder)
    }

    /// Its supervision: state, log, every change. Start and stop through [`LocalInstance`] itself, which minds the lock.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The server's version, once it was started.
    pub fn version(&self) -> Option<String> {
        guard(&self.shared.programs).as_ref().map(|programs| programs.version.clone())
    }

    /// What its status document said last.
    pub fn health(&self) -> InstanceHealth {
        self.shared.health.borrow().clone()
    }

    /// Starts the server, or tries again now after a crash. Returns once it is starting.
    pub async fn start(&self) {
        self.handle.configure(self.shared.spec()).await;
        self.handle.start().await;
    }

    /// Waits until the server that was started is up, here or under another supervisor. A server that leaves at once is
    /// given another try or two.
    pub async fn wait_until_up(&self) -> Result<Supervision, InstanceError> {
        let mut changes = self.handle.subscribe();
        let decided = changes.wait_for(is_decided).await.map(|status| status.clone());
        let status = decided.unwrap_or_else(|_| self.handle.status());
        match status.state {
            State::Foreign(holder) => Ok(Supervision::Other(holder)),
            state if state.is_up() => Ok(Supervision::Ours),
            State::Crashed { reason: CrashReason::Unfit(reason), .. } => Err(InstanceError::Unfit(reason)),
            State::Crashed { reason, .. } => {
                let unready = guard(&self.shared.unready).take().map(|why| format!(" ({why})")).unwrap_or_default();
                let reason = format!("{reason}{unready}");
                Err(InstanceError::NotStarted { reason, log: self.handle.tail(SHOWN_LINES) })
            }
            state => Err(InstanceError::NotStarted { reason: format!("it is {state:?}"), log: Vec::new() }),
        }
    }

    /// Goes on where nobody presses a button, for ever: takes the supervision over when whoever has it goes away, and tries
    /// again after a crash loop or an obstacle. Cancel it before [`Self::stop`].
    pub async fn keep(&self) {
        let needs_us =
            |status: &Status| matches!(status.state, State::Foreign(_) | State::Crashed { retry_in: None, .. });
        let mut changes = self.handle.subscribe();
        loop {
            let Ok(state) = changes.wait_for(needs_us).await.map(|status| status.state.clone()) else { return };
            if let State::Foreign(holder) = state {
                // By taking it: to look only would be a race with others who do the same.
                while !matches!(self.shared.take_lock(), Ok(true)) {
                    sleep(TAKE_OVER).await;
                }
                tracing::warn!(%holder, "who supervised the local FoundationDB has gone; it is supervised here now");
            } else {
                tracing::error!(?state, retry_s = TRY_AGAIN.as_secs(), "the local FoundationDB is down");
                sleep(TRY_AGAIN).await;
            }
            self.start().await;
        }
    }

    /// Stops the server, if it is ours, and lets the instance go. Clients first: what they have not been answered is lost to
    /// them. It can be started again.
    pub async fn stop(&self) {
        self.handle.stop().await;
        *guard(&self.shared.lock) = None;
    }

    /// [`Self::stop`], and the end of the supervision.
    pub async fn shut_down(mut self) {
        self.handle.shutdown().await;
        self.task.join_next().await;
        *guard(&self.shared.lock) = None;
    }
}

/// Whether a start has come to an end, good or bad.
fn is_decided(status: &Status) -> bool {
    match &status.state {
        State::NotSetUp | State::Starting | State::Stopping => false,
        State::Crashed { reason: CrashReason::NotReady(_), .. } => true,
        State::Crashed { retry_in: Some(_), .. } => status.restarts >= START_TRIES,
        _ => true,
    }
}

impl Shared {
    fn spec(self: &Arc<Self>) -> Spec {
        // The preflight knows where it is.
        let mut spec = Spec::new("fdbserver", "fdbserver");
        let shared = Arc::clone(self);
        spec.preflight = Some(Preflight::preparing(move |spec| shared.prepare(spec)));
        let shared = Arc::clone(self);
        spec.readiness = Readiness::Probe {
            probe: probe(move |_| Arc::clone(&shared).is_ready()),
            interval: READY_INTERVAL,
            deadline: READY_DEADLINE,
        };
        let shared = Arc::clone(self);
        let probe = probe(move |_| Arc::clone(&shared).is_well());
        spec.health = Some(Health { probe, interval: HEALTH_INTERVAL, failures: HEALTH_FAILURES });
        spec.restart = self.restart.clone();
        spec.stop = Stop { after_stdin: Duration::ZERO, after_terminate: LEAVES };
        let path = self.log_folder().join("fdbserver.log");
        spec.log = Some(LogSpec { path, max_bytes: LOG_BYTES, keep: 2 });
        spec
    }

    fn data_folder(&self) -> PathBuf {
        data_folder_in(&self.folder)
    }

    fn log_folder(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn cluster_file(&self) -> PathBuf {
        LocalInstance::cluster_file_in(&self.folder)
    }

    /// Before each start. Blocks.
    fn prepare(&self, spec: &mut Spec) -> Result<(), Obstacle> {
        // First: where FoundationDB is not installed, nothing is written.
        let programs = (self.find)().map_err(|missing| Obstacle::Unfit(missing.to_string()))?;
        let unusable =
            |path: &Path, error: &io::Error| Obstacle::Unfit(format!("{} cannot be used: {error}", path.display()));
        for folder in [&self.folder, &self.data_folder(), &self.log_folder()] {
            create_folder(folder).map_err(|error| unusable(folder, &error))?;
        }
        if !self.take_lock().map_err(|error| unusable(&self.lock_file(), &error))? {
            let nobody = Holder { pid: None, name: None };
            return Err(Obstacle::Held(lock::holder(&self.lock_file()).unwrap_or(nobody)));
        }
        leftover::stop(&self.data_folder()).map_err(|pid| {
            Obstacle::Unfit(format!("fdbserver (process {pid}) works on {} and does not leave", self.folder.display()))
        })?;
        let file = self.cluster_file();
        let cluster = self.place().map_err(|error| unusable(&file, &error))?;
        spec.program.clone_from(&programs.fdbserver);
        spec.args = self.arguments(cluster.address);
        *guard(&self.programs) = Some(programs);
        Ok(())
    }

    /// Which cluster, on a port that is free now.
    fn place(&self) -> io::Result<ClusterFile> {
        let path = self.cluster_file();
        let cluster = match ClusterFile::read(&path) {
            Ok(cluster) => cluster,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !self.is_new()? {
                    let message = "it is missing, and the data cannot be opened without it; restore it from a copy";
                    return Err(io::Error::new(io::ErrorKind::NotFound, message));
                }
                let cluster = ClusterFile::create()?;
                cluster.write(&path)?;
                return Ok(cluster);
            }
            Err(error) => return Err(error),
        };
        let Err(taken) = port::check(cluster.address) else { return Ok(cluster) };
        let moved = cluster.on_a_free_port()?;
        moved.write(&path)?;
        tracing::warn!(%taken, port = moved.address.port(), "the local FoundationDB moves to another port");
        Ok(moved)
    }

    fn arguments(&self, address: SocketAddr) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        let mut option = |name: &str, value: OsString| arguments.extend([name.into(), value]);
        option("--cluster-file", self.cluster_file().into());
        option(leftover::DATA_OPTION, self.data_folder().into());
        option("--logdir", self.log_folder().into());
        option("--public-address", address.to_string().into());
        option("--listen-address", "public".into());
        option("--memory", MEMORY_LIMIT.into());
        option("--cache-memory", CACHE.into());
        option("--logsize", TRACE_FILE.into());
        option("--maxlogssize", TRACE_FILES.into());
        // Otherwise it makes one up and keeps it in the machine's shared memory, for all servers of all users.
        option("--locality-machineid", "local".into());
        option("--locality-zoneid", "local".into());
        // It leaves by itself within a second when we are gone.
        option("--parentpid", std::process::id().to_string().into());
        arguments
    }

    /// Whether the server never had a database: then its folder has neither storage nor logs.
    fn is_new(&self) -> io::Result<bool> {
        for entry in fs::read_dir(self.data_folder())? {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("storage") || name.starts_with("log") {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes the instance for this process; `false` when another has it.
    fn take_lock(&self) -> io::Result<bool> {
        let mut held = guard(&self.lock);
        if held.is_some() {
            return Ok(true);
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(self.lock_file())?;
        match file.try_lock() {
            Ok(()) => {
                *held = Some(file);
                Ok(true)
            }
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn lock_file(&self) -> PathBuf {
        lock_file_in(&self.folder)
    }

    fn cli(&self) -> Result<Cli, String> {
        let programs = guard(&self.programs);
        let programs = programs.as_ref().ok_or("it was not started")?;
        Ok(Cli { program: programs.fdbcli.clone(), cluster_file: self.cluster_file() })
    }

    /// A transaction is answered. An empty folder gets its first configuration on the way.
    async fn is_ready(self: Arc<Self>) -> Result<(), String> {
        let ready = async {
            let cli = self.cli()?;
            if self.is_new().map_err(|error| error.to_string())? {
                cli.configure_new().await?;
            }
            cli.read().await
        };
        let outcome = ready.await;
        *guard(&self.unready) = outcome.clone().err();
        outcome
    }

    async fn is_well(self: Arc<Self>) -> Result<(), String> {
        let document = self.cli()?.status().await?;
        let health = InstanceHealth::parse(&document).ok_or("its status cannot be read")?;
        let problems = health.problems.join("; ");
        self.health.send_replace(health);
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalInstance").field("folder", &self.folder).finish_non_exhaustive()
    }
}

fn data_folder_in(folder: &Path) -> PathBuf {
    folder.join("data")
}

fn lock_file_in(folder: &Path) -> PathBuf {
    folder.join("lock")
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn create_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}
