//! Drives the desktop app's window: a virtual screen (Xvfb), WebKitWebDriver, and a small WebDriver client
//! (<https://www.w3.org/TR/webdriver2/>). The packages are `xvfb` and `webkit2gtk-driver`.

#![allow(clippy::missing_panics_doc, reason = "a test says what went wrong by panicking")]

use std::{
    ffi::{OsStr, OsString},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

/// Longest that a condition may take: a bound for failures, never a wait.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// Between two looks at a page or a process, which have no event to wait for.
const LOOK: Duration = Duration::from_millis(50);
/// The key under which WebDriver names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A program that lies beside this test's build, such as `hearth-desktop`.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let folder = test.parent().and_then(Path::parent).expect("tests lie in target/PROFILE/deps");
    let path = folder.join(name);
    assert!(path.exists(), "{} is not built: cargo build --workspace --bins", path.display());
    path
}

/// Looks again and again until `condition` gives a value.
pub async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < deadline, "it did not come: {what}");
        sleep(LOOK).await;
    }
}

/// Whether a process lives; a zombie does not.
pub fn is_alive(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains("zombie"))
}

/// The parent of a process.
pub fn parent_of(pid: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("a process has a parent");
    parent.trim().parse().expect("a process id")
}

/// Sends a signal, by `kill`'s name for it.
pub fn signal(pid: u32, name: &str) {
    let status = std::process::Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(status.is_ok_and(|status| status.success()), "process {pid} could not be signalled");
}

/// A virtual screen with an environment of its own: display, home, message bus. Ends when it is dropped, and every window with it.
pub struct Screen {
    _xvfb: Child,
    bus: Option<Child>,
    home: tempfile::TempDir,
    environment: Vec<(OsString, OsString)>,
}

impl Screen {
    /// A screen of 1280 by 900, with or without a session bus.
    pub async fn new(with_bus: bool) -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        let mut xvfb = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", "1280x900x24", "-nolisten", "tcp", "-noreset"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("Xvfb is installed (package xvfb)");
        let display = first_line(&mut xvfb).await;
        let (bus, address) = if with_bus {
            let mut bus = Command::new("dbus-daemon")
                .args(["--session", "--nofork", "--nopidfile", "--nosyslog", "--print-address=1"])
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .expect("dbus-daemon is installed (package dbus-x11 brings it)");
            let address = first_line(&mut bus).await;
            (Some(bus), address)
        } else {
            (None, "disabled:".to_owned())
        };
        let folder = |name: &str| {
            let path = home.path().join(name);
            std::fs::create_dir(&path).expect("a new folder");
            path.into_os_string()
        };
        let environment = vec![
            ("DISPLAY".into(), format!(":{display}").into()),
            ("DBUS_SESSION_BUS_ADDRESS".into(), address.into()),
            ("HOME".into(), home.path().as_os_str().to_owned()),
            ("XDG_RUNTIME_DIR".into(), folder("run")),
            ("XDG_CONFIG_HOME".into(), folder("config")),
            ("XDG_DATA_HOME".into(), folder("share")),
            ("XDG_CACHE_HOME".into(), folder("cache")),
            ("HEARTH_DATA_DIR".into(), home.path().join("server").into_os_string()),
            ("HEARTH_DESKTOP_LOG".into(), "error".into()),
            // The accessibility bus would be started, and outlive the test.
            ("NO_AT_BRIDGE".into(), "1".into()),
            ("GTK_A11Y".into(), "none".into()),
        ];
        Self { _xvfb: xvfb, bus, home, environment }
    }

    /// The data folder of the app on this screen.
    pub fn data_folder(&self) -> PathBuf {
        self.home.path().join("server")
    }

    /// The address of its session bus, where it has one.
    pub fn bus(&self) -> Option<&str> {
        let (_, address) = self.environment.iter().find(|(key, _)| key == "DBUS_SESSION_BUS_ADDRESS")?;
        address.to_str().filter(|_| self.bus.is_some())
    }

    /// A program with this screen as its environment; killed when its handle is dropped.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_remove("WAYLAND_DISPLAY").stdin(Stdio::null()).kill_on_drop(true);
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        command
    }

    /// Opens the app and takes hold of its window.
    pub async fn open(&self, app: &Path) -> Window {
        Window::open(self, app).await
    }
}

async fn first_line(child: &mut Child) -> String {
    let stdout = child.stdout.take().expect("piped");
    let mut line = String::new();
    let read = timeout(PATIENCE, BufReader::new(stdout).read_line(&mut line)).await;
    read.expect("it should say where it is").expect("it should write a line");
    line.trim().to_owned()
}

/// A window of the app, held by a WebDriver session.
pub struct Window {
    _driver: Child,
    http: reqwest::Client,
    session: String,
}

impl Window {
    async fn open(screen: &Screen, app: &Path) -> Self {
        let http = reqwest::Client::builder().timeout(PATIENCE).build().expect("a client");
        let (driver, address) = start_driver(screen).await;
        let capabilities = json!({ "webkitgtk:browserOptions": { "binary": app, "args": [] } });
        let body = json!({ "capabilities": { "alwaysMatch": capabilities } });
        let answer = ask(http.post(format!("{address}/session")).json(&body)).await.expect("a session");
        let id = answer["sessionId"].as_str().expect("a session has an id");
        Self { _driver: driver, http, session: format!("{address}/session/{id}") }
    }

    /// Runs the body of a function in the page and gives what it returns.
    pub async fn run(&self, script: &str, arguments: Value) -> Value {
        self.post("execute/sync", json!({ "script": script, "args": arguments })).await.expect("the script runs")
    }

    /// Calls a command of the app, as the page does. `Err` is what it rejected with.
    pub async fn invoke(&self, command: &str, arguments: Value) -> Result<Value, Value> {
        let script = "const [command, given, done] = arguments;
            window.__TAURI_INTERNALS__.invoke(command, given).then((ok) => done({ ok }), (error) => done({ error }));";
        let body = json!({ "script": script, "args": [command, arguments] });
        let answer = self.post("execute/async", body).await.expect("the script runs");
        match answer.get("error") {
            Some(error) => Err(error.clone()),
            None => Ok(answer["ok"].clone()),
        }
    }

    /// What the app says of the server: `desktop_state`.
    pub async fn state(&self) -> Value {
        self.invoke("desktop_state", json!({})).await.expect("a state")
    }

    /// Waits for a state of the server.
    pub async fn until_state(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        until(what, async || Some(self.state().await).filter(&condition)).await
    }

    /// Whether an element with this `data-testid` is on the page and visible.
    pub async fn shows(&self, test_id: &str) -> bool {
        // What a closed `details` hides has a size, hence not that.
        let script = "return document.querySelector(`[data-testid=\"${arguments[0]}\"]`)
            ?.checkVisibility({ visibilityProperty: true }) === true";
        self.run(script, json!([test_id])).await == true
    }

    /// Waits until an element is visible, and gives its text.
    pub async fn until_shown(&self, test_id: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        while !self.shows(test_id).await {
            if Instant::now() > deadline {
                let page = self.run("return document.body.innerText", json!([])).await;
                panic!("{test_id} did not come; the page says:\n{}", page.as_str().unwrap_or_default());
            }
            sleep(LOOK).await;
        }
        self.text(test_id).await
    }

    /// The text of an element that is there.
    pub async fn text(&self, test_id: &str) -> String {
        let script = "return document.querySelector(`[data-testid=\"${arguments[0]}\"]`)?.innerText ?? ''";
        self.run(script, json!([test_id])).await.as_str().expect("text").to_owned()
    }

    /// Clicks an element as a person does: in its middle, where nothing may cover it. Waits until it is there and enabled.
    pub async fn click(&self, test_id: &str) {
        let what = format!("a click on {test_id}");
        until(&what, async || {
            let script = "return document.querySelector(`[data-testid=\"${arguments[0]}\"]`)?.disabled === true";
            if !self.shows(test_id).await || self.run(script, json!([test_id])).await == true {
                return None;
            }
            let element = self.find(test_id).await?;
            self.post(&format!("element/{element}/click"), json!({})).await.ok()
        })
        .await;
    }

    /// Replaces the text of an input, key by key.
    pub async fn fill(&self, test_id: &str, text: &str) {
        self.until_shown(test_id).await;
        let element = self.find(test_id).await.expect("it is shown");
        self.post(&format!("element/{element}/clear"), json!({})).await.expect("it can be cleared");
        self.post(&format!("element/{element}/value"), json!({ "text": text })).await.expect("it takes keys");
    }

    async fn find(&self, test_id: &str) -> Option<String> {
        let body = json!({ "using": "css selector", "value": format!("[data-testid=\"{test_id}\"]") });
        self.post("element", body).await.ok()?[ELEMENT].as_str().map(str::to_owned)
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value, String> {
        ask(self.http.post(format!("{}/{path}", self.session)).json(&body)).await
    }
}

/// Starts WebKitWebDriver on a free port; it cannot choose one itself, so somebody may come between.
async fn start_driver(screen: &Screen) -> (Child, String) {
    for _ in 0..10 {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let address = free.expect("a free port");
        let mut driver = screen
            .command("WebKitWebDriver")
            .arg(format!("--port={}", address.port()))
            .env("TAURI_WEBVIEW_AUTOMATION", "true")
            .spawn()
            .expect("WebKitWebDriver is installed (package webkit2gtk-driver)");
        let listens = until("the driver listens or ends", async || {
            if driver.try_wait().expect("a child").is_some() {
                return Some(false);
            }
            TcpStream::connect(address).await.is_ok().then_some(true)
        });
        if listens.await {
            return (driver, format!("http://{address}"));
        }
    }
    panic!("WebKitWebDriver does not start");
}

async fn ask(request: reqwest::RequestBuilder) -> Result<Value, String> {
    let response = request.send().await.map_err(|error| error.to_string())?;
    let good = response.status().is_success();
    let mut body: Value = response.json().await.map_err(|error| error.to_string())?;
    let value = body["value"].take();
    if good { Ok(value) } else { Err(value.to_string()) }
}
