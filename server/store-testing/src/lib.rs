//! A real `fdbserver` for tests, where one is installed.
//!
//! ```no_run
//! let Some(cluster) = hearth_store_testing::cluster() else { return };
//! // FoundationDbOptions {
//! //     cluster_file: cluster.cluster_file().to_owned(),
//! //     client_library: cluster.client_library(),
//! //     key_prefix: cluster.new_prefix(),
//! // }
//! ```
//!
//! [`cluster`] starts one server per test binary, at the first call: one process on a free loopback port with a folder of its
//! own, configured `single ssd`. Each test takes a prefix of its own, so tests can run at the same time. A test that stops or kills
//! its server starts one for itself with [`Cluster::start`].
//!
//! The server is found by `FDBSERVER` (the program's path), in `PATH`, or where packages put it; `fdbcli` beside it or in the same
//! ways. Where there is none, or where `FDBSERVER` is `none`, a line that no test harness hides says on standard error that the
//! test is skipped.
//!
//! A shell stands between the test and its server and waits on a pipe: when the test process ends, however that happens,
//! the pipe closes, and the shell kills the server and removes its folder.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long a server may take to start. A debug build on a busy machine takes its time.
const START_TIME: Duration = Duration::from_mins(2);

/// How a server keeps data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// In files, synced at each commit.
    Ssd,
    /// In memory, with a log on disk.
    Memory,
}

/// A running server.
#[derive(Debug)]
pub struct Cluster {
    /// The shell that ends with the pipe to it.
    shell: Child,
    folder: PathBuf,
    file: PathBuf,
    server: PathBuf,
    address: String,
    /// The server's process.
    process: u32,
    next_prefix: AtomicU64,
}

/// The one server of this test binary; `None`, and a line that says so, where none is installed.
///
/// # Panics
///
/// Where a server is installed but does not start.
pub fn cluster() -> Option<&'static Cluster> {
    static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
    let shared = SHARED.get_or_init(|| Cluster::start(Storage::Ssd)).as_ref();
    if shared.is_none() {
        skipped();
    }
    shared
}

/// Says that the calling test is skipped, once, and past the harness, which hides what tests print.
fn skipped() {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    if !SAID.lock().unwrap_or_else(PoisonError::into_inner).insert(test.clone()) {
        return;
    }
    let line =
        format!("SKIPPED {test}: no fdbserver found (set FDBSERVER, or install foundationdb-server and -clients)\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// A program's path: from the environment variable, from `PATH`, from where packages put it.
fn find(variable: &str, name: &str) -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(variable).filter(|named| !named.is_empty()) {
        return (named != "none").then(|| named.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual =
        ["/usr/sbin", "/usr/bin", "/usr/local/libexec", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin"];
    std::env::split_paths(&path)
        .chain(usual.iter().map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// `fdbserver`'s path, if there is one.
pub fn find_server() -> Option<PathBuf> {
    find("FDBSERVER", "fdbserver")
}

impl Cluster {
    /// Starts a server; `None` where none is installed. Use [`cluster`] unless the test does something to the server.
    ///
    /// # Panics
    ///
    /// Where one is installed but does not start.
    pub fn start(storage: Storage) -> Option<Self> {
        Self::start_below(&std::env::temp_dir(), storage)
    }

    /// [`Self::start`] with its files in a new folder below `parent`: for benches, where the temporary folder may be memory.
    ///
    /// # Panics
    ///
    /// Where one is installed but does not start.
    pub fn start_below(parent: &Path, storage: Storage) -> Option<Self> {
        let server = find_server()?;
        let beside = server.with_file_name("fdbcli");
        let cli = if beside.is_file() { Some(beside) } else { find("FDBCLI", "fdbcli") };
        let cli = cli.expect("fdbcli is installed with fdbserver, or FDBCLI names it");
        // Another process may take the port between the look and the start.
        for attempt in 0.. {
            match Self::try_to_start(&server, &cli, parent, storage) {
                Ok(cluster) => return Some(cluster),
                Err(error) => assert!(attempt < 2, "{} does not start: {error}", server.display()),
            }
        }
        None
    }

    fn try_to_start(server: &Path, cli: &Path, parent: &Path, storage: Storage) -> Result<Self, String> {
        let folder = tempfile::Builder::new()
            .prefix("hearth-fdb-")
            .tempdir_in(parent)
            .map_err(|error| error.to_string())?
            .keep();
        let address = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let address = address.map_err(|error| error.to_string())?.to_string();
        let file = folder.join("fdb.cluster");
        std::fs::write(&file, format!("test:test@{address}\n")).map_err(|error| error.to_string())?;
        // Standard input is the pipe; the server must not have it.
        let script = r#"
            "$1" -p "$2" -C "$3/fdb.cluster" -d "$3/data" -L "$3" </dev/null >"$3/output" 2>&1 &
            echo $!
            while read -r replaced; do echo "$replaced" >"$3/process"; done
            kill -9 $! $(cat "$3/process" 2>/dev/null) 2>/dev/null
            wait
            rm -rf "$3"
        "#;
        let mut shell = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(server)
            .arg(&address)
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut line = String::new();
        let output = shell.stdout.take().ok_or("the shell has no output")?;
        BufReader::new(output).read_line(&mut line).map_err(|error| error.to_string())?;
        let process = line.trim().parse().map_err(|_| format!("no process id: {line:?}"))?;
        let next_prefix = AtomicU64::new(0);
        let server = server.to_owned();
        let cluster = Self { shell, folder, file, server, address, process, next_prefix };
        let storage = match storage {
            Storage::Ssd => "ssd",
            Storage::Memory => "memory",
        };
        let began = Instant::now();
        loop {
            let configure = format!("configure new single {storage}");
            let output = cluster.cli(cli, &configure)?;
            // A first try may have succeeded without saying so.
            if output.contains("Database created") || output.contains("Database already exists") {
                return Ok(cluster);
            }
            if began.elapsed() > START_TIME {
                return Err(output);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What `fdbcli` says to a command.
    fn cli(&self, cli: &Path, command: &str) -> Result<String, String> {
        let output = Command::new(cli)
            .arg("-C")
            .arg(&self.file)
            .args(["--timeout", "10", "--exec", command])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{}: {error}", cli.display()))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    }

    /// The cluster file.
    pub fn cluster_file(&self) -> &Path {
        &self.file
    }

    /// The client library that belongs to the server, where it lies near; otherwise the client finds one itself.
    pub fn client_library(&self) -> Option<PathBuf> {
        let name = if cfg!(target_os = "macos") { "libfdb_c.dylib" } else { "libfdb_c.so" };
        let folder = self.server.parent()?;
        [folder.join(name), folder.join("../lib").join(name)].into_iter().find(|library| library.is_file())
    }

    /// A key prefix that no other call on this server returns.
    pub fn new_prefix(&self) -> Vec<u8> {
        format!("test {:04}/", self.next_prefix.fetch_add(1, Ordering::Relaxed)).into_bytes()
    }

    /// Where the server listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where the server keeps its data and logs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Sends the server a signal (`STOP`, `CONT`, `KILL`).
    ///
    /// # Panics
    ///
    /// Where that does not work.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args(["-s", signal, &self.process.to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "no SIG{signal} to process {}", self.process);
    }

    /// Starts the server again after it was killed, on the same data.
    ///
    /// # Panics
    ///
    /// Where that does not work.
    pub fn restart(&mut self) {
        let server = Command::new(&self.server)
            .args(["-p", &self.address, "-C"])
            .arg(&self.file)
            .arg("-d")
            .arg(self.folder.join("data"))
            .arg("-L")
            .arg(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.process = server.expect("the server starts again").id();
        let pipe = self.shell.stdin.as_mut().expect("the pipe is there until this is dropped");
        writeln!(pipe, "{}", self.process).expect("the shell reads it");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
