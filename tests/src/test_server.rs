//! The real `hearth` binary on free ports in a temporary folder.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use hmac::{Hmac, Mac};
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use sha1::Sha1;
use tempfile::TempDir;
use tokio::sync::oneshot;

/// Longest that a start or a stop may take: a bound for failures, never a wait.
const PATIENCE: Duration = Duration::from_mins(1);
/// Lines of the server's log that a failure shows.
const LOG_LINES: usize = 200;

/// What keeps a test server's data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Engine {
    /// The server itself.
    #[default]
    Embedded,
    /// A FoundationDB that the server runs in its data folder.
    LocalFoundationDb,
    /// An existing cluster.
    FoundationDb {
        /// Where it is.
        cluster_file: PathBuf,
        /// What is the server's in it.
        key_prefix: String,
    },
}

/// What is different from the usual test server.
#[derive(Debug, Clone)]
pub struct Options {
    /// `[store]`
    pub engine: Engine,
    /// `server_name`
    pub server_name: String,
    /// Registration wants this token (mode `token`); without it registration is open.
    pub registration_token: Option<String>,
    /// `registration.shared_secret`, which [`TestServer::register`] uses.
    pub shared_secret: Option<String>,
    /// `limits.rate_limit`
    pub rate_limit: bool,
    /// Keys of `[[listener]]` besides its address.
    pub listener: String,
    /// Sections at the end of the configuration.
    pub more: String,
    /// Environment variables of the server.
    pub environment: Vec<(String, String)>,
    /// An `identity.toml` to begin with: that of a server with which this one shares a cluster.
    pub identity: Option<PathBuf>,
}

impl Default for Options {
    /// Open registration, a shared secret, no rate limit. The engine is the embedded one, unless the environment has
    /// `HEARTH_TEST_ENGINE=foundationdb`, which runs every test on a FoundationDB of its own.
    fn default() -> Self {
        let is_other = std::env::var_os("HEARTH_TEST_ENGINE").is_some_and(|engine| engine == "foundationdb");
        Self {
            engine: if is_other { Engine::LocalFoundationDb } else { Engine::Embedded },
            server_name: "hearth.test".to_owned(),
            registration_token: None,
            shared_secret: Some("a secret among tests".to_owned()),
            rate_limit: false,
            listener: String::new(),
            more: String::new(),
            environment: Vec::new(),
            identity: None,
        }
    }
}

/// A running server. Killed when it is dropped, its folder removed.
pub struct TestServer {
    options: Options,
    folder: TempDir,
    http: reqwest::Client,
    ready: Ready,
    process: Option<Running>,
}

/// The ready line.
#[derive(Debug, Clone, Default, serde::Deserialize)]
pub struct Ready {
    /// Always `ready`.
    pub event: String,
    /// Where it listens for clients and servers.
    pub listeners: Vec<String>,
    /// Where the admin API is.
    pub admin: String,
    /// What opens it.
    pub admin_token_file: PathBuf,
}

/// An account and its access token.
#[derive(Debug, Clone)]
pub struct Account {
    /// User id.
    pub user_id: String,
    /// Device of the access token.
    pub device_id: String,
    /// Access token.
    pub token: String,
}

/// A started binary that printed its ready line. Killed when it is dropped.
pub struct Running {
    /// `None` after it has left.
    child: Option<Child>,
    log: Log,
    readers: Vec<JoinHandle<()>>,
}

/// The newest lines of standard error.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<VecDeque<String>>>);

impl TestServer {
    /// Starts a server and returns when it is ready.
    pub async fn start(options: Options) -> Self {
        let folder = TempDir::with_prefix("hearth-test-").expect("a temporary folder");
        // No connection is kept: a test that kills the server must not meet one of the dead.
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().expect("a client");
        let mut server = Self { options, folder, http, ready: Ready::default(), process: None };
        if let Some(identity) = &server.options.identity {
            std::fs::create_dir(server.data_dir()).expect("the folder is new");
            std::fs::copy(identity, server.data_dir().join("identity.toml")).expect("the identity is copied");
        }
        server.start_again().await;
        server
    }

    /// Starts the server again on the same folder and ports, after [`Self::stop`] or [`Self::kill9`].
    pub async fn start_again(&mut self) {
        assert!(self.process.is_none(), "the server runs");
        let file = self.config_file();
        std::fs::write(&file, self.config()).expect("the configuration is written");
        let mut command = command(["serve", "--config"]);
        command.arg(file).arg("--exit-on-stdin-eof").envs(self.options.environment.iter().cloned());
        let (process, ready) = Running::start(command).await;
        self.ready = ready;
        self.process = Some(process);
    }

    /// The configuration. After the first start the ports are those that the system chose then, so that clients find
    /// the server again.
    fn config(&self) -> String {
        let Options { server_name, registration_token, shared_secret, rate_limit, listener, more, .. } = &self.options;
        let port = |url: Option<&str>| url.and_then(|url| url.rsplit(':').next()).unwrap_or("0").to_owned();
        let client_port = port(self.ready.listeners.first().map(String::as_str));
        let admin_port = port(Some(self.ready.admin.as_str()).filter(|url| !url.is_empty()));
        let mode = if registration_token.is_some() { "token" } else { "open" };
        let mut text = format!(
            "server_name = {server_name:?}\n\
             data_dir = \"data\"\n\
             [[listener]]\n\
             address = \"127.0.0.1:{client_port}\"\n\
             {listener}\n\
             [admin]\n\
             address = \"127.0.0.1:{admin_port}\"\n\
             [passwords]\n\
             memory_kib = 64\n\
             iterations = 1\n\
             [limits]\n\
             rate_limit = {rate_limit}\n\
             [registration]\n\
             mode = {mode:?}\n"
        );
        for (key, value) in [("token", registration_token), ("shared_secret", shared_secret)] {
            if let Some(value) = value {
                writeln!(text, "{key} = {value:?}").expect("strings take everything");
            }
        }
        match &self.options.engine {
            Engine::Embedded => {}
            Engine::LocalFoundationDb => text += "[store]\nengine = \"foundationdb\"\n",
            Engine::FoundationDb { cluster_file, key_prefix } => {
                let cluster_file = cluster_file.to_str().expect("tests' folders are UTF-8");
                let place = format!("cluster_file = {cluster_file:?}\nkey_prefix = {key_prefix:?}");
                writeln!(text, "[store]\nengine = \"foundationdb\"\n{place}").expect("strings take everything");
            }
        }
        text + more.as_str()
    }

    /// The folder of the local FoundationDB.
    pub fn foundationdb_dir(&self) -> PathBuf {
        self.data_dir().join("foundationdb")
    }

    /// Stops the server as a supervisor does (SIGTERM) and waits for it. Returns the exit code.
    pub async fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.wait().await.code()
    }

    /// A graceful stop and a new start on the same folder and ports.
    pub async fn restart(&mut self) {
        let log = self.log();
        let code = self.stop().await;
        assert_eq!(code, Some(0), "a graceful stop:\n{log}");
        self.start_again().await;
    }

    /// Kills the server as a power cut does.
    pub async fn kill9(&mut self) {
        self.signal(Signal::KILL);
        self.wait().await;
    }

    /// Sends the server a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("the server runs").signal(signal);
    }

    /// Closes the server's standard input.
    pub fn close_stdin(&mut self) {
        if let Some(process) = &mut self.process {
            process.close_stdin();
        }
    }

    /// Waits until the server has left by itself or after a signal.
    pub async fn wait(&mut self) -> ExitStatus {
        self.process.take().expect("the server runs").wait().await
    }

    /// The operating system's id of the running server.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the server runs").pid()
    }

    /// Where clients connect.
    pub fn base_url(&self) -> &str {
        &self.ready.listeners[0]
    }

    /// The newest ready line.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// The server's name.
    pub fn server_name(&self) -> &str {
        &self.options.server_name
    }

    /// The data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The folder of the configuration, for files beside it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("hearth.toml")
    }

    /// The newest lines of its log.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Running::log).unwrap_or_default()
    }

    /// The token of the admin API.
    pub fn admin_token(&self) -> String {
        let token = std::fs::read_to_string(&self.ready.admin_token_file).expect("the token file is there");
        token.trim().to_owned()
    }

    /// Asks the client API: status and body (null where it is no JSON). `path` begins with `/`.
    pub async fn call(&self, method: &str, path: &str, token: Option<&str>, body: Option<Value>) -> (u16, Value) {
        self.ask(&format!("{}{path}", self.base_url()), method, token, body).await
    }

    /// Asks the admin API; `path` is below `/_hearth/admin/v1`.
    pub async fn admin(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("{}/_hearth/admin/v1{path}", self.ready.admin);
        self.ask(&url, method, Some(&self.admin_token()), body).await
    }

    async fn ask(&self, url: &str, method: &str, token: Option<&str>, body: Option<Value>) -> (u16, Value) {
        let method = method.parse().expect("a method");
        let mut request = self.http.request(method, url).timeout(PATIENCE);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap_or_else(|error| panic!("{url}: {error}:\n{}", self.log()));
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or_default())
    }

    /// Makes an account with the shared secret.
    pub async fn register(&self, name: &str) -> Account {
        self.register_as(name, &format!("{name}-password"), false).await
    }

    /// Makes an account with this password, perhaps an administrator's, with the shared secret.
    pub async fn register_as(&self, name: &str, password: &str, admin: bool) -> Account {
        const PATH: &str = "/_synapse/admin/v1/register";
        let secret = self.options.shared_secret.as_deref().expect("the server has a shared secret");
        let (_, nonce) = self.call("GET", PATH, None, None).await;
        let nonce = nonce["nonce"].as_str().expect("a nonce");
        let mac = shared_secret_mac(secret, nonce, name, password, admin);
        let body = json!({ "nonce": nonce, "username": name, "password": password, "admin": admin, "mac": mac });
        let (status, answer) = self.call("POST", PATH, None, Some(body)).await;
        assert_eq!(status, 200, "{answer}");
        let text = |key: &str| answer[key].as_str().expect("a string").to_owned();
        Account { user_id: text("user_id"), device_id: text("device_id"), token: text("access_token") }
    }
}

impl Drop for TestServer {
    /// Kills what runs before the folder goes.
    fn drop(&mut self) {
        self.process = None;
        if self.options.engine == Engine::LocalFoundationDb {
            // It leaves by itself a second after the server, and would write into the folder until then.
            crate::foundationdb::kill(&self.foundationdb_dir());
        }
    }
}

/// The proof of shared-secret registration: HMAC-SHA1 over nonce, name, password and role, separated by zeros.
pub fn shared_secret_mac(secret: &str, nonce: &str, name: &str, password: &str, admin: bool) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("every key length");
    let role = if admin { "admin" } else { "notadmin" };
    mac.update([nonce, name, password, role].join("\0").as_bytes());
    mac.finalize().into_bytes().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("strings take everything");
        hex
    })
}

impl Running {
    /// Starts a command and returns when it printed its ready line.
    pub async fn start(mut command: Command) -> (Self, Ready) {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary can be started");
        let log = Log::default();
        let stderr = child.stderr.take().expect("it was asked for");
        let own_log = log.clone();
        let follow_log = std::thread::spawn(move || own_log.follow(stderr));
        let mut stdout = BufReader::new(child.stdout.take().expect("it was asked for"));
        let (send_line, line) = oneshot::channel();
        let follow_stdout = std::thread::spawn(move || {
            let mut line = String::new();
            // The end of the output gives an empty line, an error too.
            let _ = stdout.read_line(&mut line);
            let _ = send_line.send(line);
            // Read on, so that the server never waits for us.
            let _ = std::io::copy(&mut stdout, &mut std::io::sink());
        });
        let mut running = Self { child: Some(child), log, readers: vec![follow_log, follow_stdout] };
        match tokio::time::timeout(PATIENCE, line).await {
            Ok(Ok(line)) if !line.is_empty() => {
                let ready = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                (running, ready)
            }
            Ok(_) => {
                let status = running.wait().await;
                panic!("hearth left with {status} before it was ready:\n{}", running.log())
            }
            Err(late) => panic!("hearth did not get ready ({late}):\n{}", running.log()),
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().expect("it runs").id();
        let pid = Pid::from_raw(pid.cast_signed()).expect("no process has the id 0");
        rustix::process::kill_process(pid, signal).expect("the process is our child");
    }

    /// The operating system's id of it.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Asks it to stop (SIGTERM).
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Closes its standard input.
    pub fn close_stdin(&mut self) {
        if let Some(child) = &mut self.child {
            child.stdin = None;
        }
    }

    /// Waits until it has left.
    pub async fn wait(&mut self) -> ExitStatus {
        // Not `Child::wait`, which closes standard input first and so would be a stop of its own.
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let child = self.child.as_mut().expect("it runs");
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                self.child = None;
                self.join_readers();
                return status;
            }
            assert!(tokio::time::Instant::now() < deadline, "hearth did not stop:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The newest lines of its standard error.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Waits for the readers, which end with the process.
    fn join_readers(&mut self) {
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have left already.
            let _ = child.kill();
            let _ = child.wait();
        }
        self.join_readers();
    }
}

impl Log {
    fn follow(&self, stderr: impl Read) {
        let show = std::env::var_os("HEARTH_LOG").is_some();
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if show {
                eprintln!("{line}");
            }
            let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() == LOG_LINES {
                lines.pop_front();
            }
            lines.push_back(line);
        }
    }

    fn text(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().fold(String::new(), |text, line| text + line.as_str() + "\n")
    }
}

/// The binary under test: `HEARTH_BIN`, or the one beside this test's executable.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("HEARTH_BIN") {
        return path.into();
    }
    let own = std::env::current_exe().expect("a test has an executable");
    let folder = own.parent().and_then(Path::parent).expect("it is in target/*/deps");
    let path = folder.join(format!("hearth{}", std::env::consts::EXE_SUFFIX));
    assert!(path.exists(), "{} is missing: run `cargo build -p hearth` first", path.display());
    path
}

/// The binary with arguments, and nothing of this process's own configuration.
pub fn command<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HEARTH_") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG").args(arguments);
    command
}

/// Runs a command of the binary to its end, with `input` on standard input.
pub async fn run(mut command: Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary can be started");
    let pid = Pid::from_raw(child.id().cast_signed()).expect("no process has the id 0");
    let mut stdin = child.stdin.take().expect("it was asked for");
    let input = input.to_owned();
    let wait = tokio::task::spawn_blocking(move || {
        // A command that does not read it closes the pipe.
        let _ = std::io::Write::write_all(&mut stdin, input.as_bytes());
        drop(stdin);
        child.wait_with_output()
    });
    let Ok(output) = tokio::time::timeout(PATIENCE, wait).await else {
        // It has not been waited for, so the id is still its own.
        let _ = rustix::process::kill_process(pid, Signal::KILL);
        panic!("{command:?} did not end")
    };
    output.expect("no panic").expect("a child can be waited for")
}
