//! What the commands of the page act on: the supervised server, its folder, and the first run. Knows nothing of Tauri.

use crate::{
    admin::{AdminEvent, Endpoint},
    config::{Config, Setup, choose_admin_port},
    database::Database,
    error::{CommandError, ErrorCode, Field},
    folder::{Folder, Settings},
    server::{self, Ready},
    state::{DesktopState, Parts, TAIL_LINES, summary},
};
use hearth_supervisor::{CrashReason, Handle, Holder, State, Status, lock, port, terminate};
use serde_json::json;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

/// How long another server may take to leave when asked to.
const OTHER_LEAVES: Duration = Duration::from_secs(20);
/// How long after a lost live stream it is tried again.
const RECONNECT: Duration = Duration::from_secs(1);

/// The app behind the window.
pub(crate) struct Desktop {
    folder: Folder,
    server: Handle,
    database: Database,
    settings: Mutex<Settings>,
    /// Told after each change that is not the server's.
    changed: watch::Sender<()>,
    tray: AtomicBool,
    /// One first run at a time.
    setup: tokio::sync::Mutex<()>,
}

impl Desktop {
    pub(crate) fn new(folder: Folder, server: Handle) -> Self {
        let settings = Mutex::new(folder.settings());
        let changed = watch::Sender::new(());
        let (database, tray, setup) = (Database::default(), AtomicBool::new(false), tokio::sync::Mutex::new(()));
        Self { folder, server, database, settings, changed, tray, setup }
    }

    pub(crate) fn server(&self) -> &Handle {
        &self.server
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// The state for the page. Reads the configuration file, which is small, so that it is never stale.
    pub(crate) fn state(&self) -> DesktopState {
        let config = Config::load(&self.folder).unwrap_or_else(|error| {
            tracing::warn!(%error, "the configuration cannot be read");
            None
        });
        let mut status = self.server.status();
        if config.is_none() && status.state.is_settled() && !status.state.is_up() {
            status.state = State::NotSetUp;
        }
        DesktopState::new(Parts {
            status: &status,
            config: config.as_ref(),
            settings: &self.settings(),
            folder: &self.folder,
            log_tail: self.server.tail(TAIL_LINES),
            tray: self.tray.load(Ordering::Relaxed),
            database: self.database.view(config.as_ref()),
        })
    }

    /// Every change of [`Desktop::state`] that does not come from the server.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub(crate) fn settings(&self) -> Settings {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_tray(&self, there: bool) {
        self.tray.store(there, Ordering::Relaxed);
        self.changed.send_replace(());
    }

    /// Whether closing the window leaves the app running. Without a tray nobody would find it again.
    pub(crate) fn stays_in_tray(&self) -> bool {
        self.tray.load(Ordering::Relaxed) && self.settings().keep_running
    }

    pub(crate) fn change_settings(&self, change: impl FnOnce(&mut Settings)) -> Result<(), CommandError> {
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = settings.clone();
        change(&mut changed);
        if changed != *settings {
            self.folder.save_settings(&changed)?;
            *settings = changed;
            self.changed.send_replace(());
        }
        Ok(())
    }

    fn config(&self) -> Result<Config, CommandError> {
        Config::load(&self.folder)?
            .ok_or_else(|| CommandError::new(ErrorCode::NotSetUp, "Your server is not set up yet."))
    }

    /// Starts the database, where there is one, and then the server.
    pub(crate) async fn start(&self) -> Result<(), CommandError> {
        let config = self.config()?;
        self.start_database(&config).await?;
        self.server.configure(server::spec(&self.folder)).await;
        self.server.start().await;
        Ok(())
    }

    /// Stops the server and starts it again; a database that runs goes on.
    pub(crate) async fn restart(&self) -> Result<(), CommandError> {
        let config = self.config()?;
        self.start_database(&config).await?;
        self.server.configure(server::spec(&self.folder)).await;
        self.server.restart().await;
        Ok(())
    }

    /// Stops the server, then its database, which must be there until the last request has been answered.
    pub(crate) async fn stop(&self) {
        self.server.stop().await;
        self.database.stop().await;
    }

    /// Stops everything for good.
    pub(crate) async fn shut_down(&self) {
        self.server.shutdown().await;
        self.database.stop().await;
    }

    async fn start_database(&self, config: &Config) -> Result<(), CommandError> {
        // With the folder in somebody else's hands the database is, too; the server's start says so.
        if config.local_database
            && holder_of(&server::lock_file(config)).await.is_some_and(|holder| !self.is_own(&holder))
        {
            return Ok(());
        }
        let started = self.database.start(config).await;
        // The first start of it is when there is something to follow.
        self.changed.send_replace(());
        started
    }

    /// Whether that is the server that runs here.
    fn is_own(&self, holder: &Holder) -> bool {
        let own = self.server.status().pid;
        own.is_some() && own == holder.pid
    }

    /// Where the admin API of the running server is: ours, or the other one that holds our folder.
    pub(crate) fn endpoint(&self) -> Result<Endpoint, CommandError> {
        let status = self.server.status();
        let (address, token_file) = match (&status.state, &status.ready) {
            (State::Foreign(_), _) => self.foreign_endpoint()?,
            (state, Some(line)) if state.is_up() => {
                let ready = Ready::parse(line).ok_or_else(|| {
                    CommandError::new(ErrorCode::Unreachable, "The server did not say where its admin API is.")
                })?;
                (ready.admin, ready.token_file)
            }
            _ => return Err(CommandError::new(ErrorCode::NotRunning, summary(&status))),
        };
        let token = std::fs::read_to_string(&token_file)
            .map_err(|error| CommandError::io("Reading", &token_file, &error))?
            .trim()
            .to_owned();
        Ok(Endpoint { address, token })
    }

    /// The server that holds our folder left a note in it.
    fn foreign_endpoint(&self) -> Result<(SocketAddr, PathBuf), CommandError> {
        let config = self.config()?;
        let note = server::admin_url_file(&config);
        let url = std::fs::read_to_string(&note).map_err(|error| CommandError::io("Reading", &note, &error))?;
        let address = server::parse_url(url.trim()).ok_or_else(|| {
            CommandError::new(ErrorCode::Unreachable, "The other server's admin address is not known here.")
        })?;
        Ok((address, server::token_file(&config)))
    }

    /// The first run: configuration, start, owner. May be called again after a failure.
    pub(crate) async fn set_up(&self, setup: Setup) -> Result<(), CommandError> {
        let _one_at_a_time = self.setup.lock().await;
        match Config::load(&self.folder)? {
            None => {
                setup.check()?;
                check_port(setup.port)?;
                self.change_settings(|settings| settings.owner_pending = true)?;
                setup.write(&self.folder, choose_admin_port(setup.port))?;
            }
            Some(config) if config.server_name == setup.server_name && self.settings().owner_pending => {
                setup.check_owner()?;
            }
            Some(config) => {
                let message = format!("This folder already has the server {}.", config.server_name);
                return Err(CommandError::new(ErrorCode::AlreadySetUp, message));
            }
        }
        self.start_and_wait().await?;
        self.create_owner(&setup).await?;
        self.change_settings(|settings| settings.owner_pending = false)
    }

    /// Starts the server and waits until it answers or has failed once: a first run is no time for patient restarts.
    async fn start_and_wait(&self) -> Result<(), CommandError> {
        if let Err(error) = self.start().await {
            self.stop().await;
            self.undo_untouched();
            return Err(error);
        }
        let mut changes = self.server.subscribe();
        let settled = changes.wait_for(|status| !matches!(status.state, State::Starting | State::Stopping)).await;
        let status = settled.map_or_else(|_| self.server.status(), |status| status.clone());
        if status.state.is_up() {
            self.database.started().await;
            return Ok(());
        }
        self.stop().await;
        self.undo_untouched();
        let (code, field) = match &status.state {
            State::Crashed { reason: CrashReason::PortTaken(_), .. } => (ErrorCode::PortTaken, Some(Field::Port)),
            _ => (ErrorCode::StartFailed, None),
        };
        Err(CommandError { field, ..CommandError::new(code, summary(&status)) })
    }

    /// A first start that failed before the server wrote anything leaves every answer open again.
    fn undo_untouched(&self) {
        let Ok(Some(config)) = Config::load(&self.folder) else { return };
        if is_absent(&config.data_dir) && std::fs::remove_file(self.folder.config()).is_ok() {
            self.change_settings(|settings| settings.owner_pending = false)
                .unwrap_or_else(|error| tracing::warn!(%error, "the first run's mark stays"));
        }
    }

    async fn create_owner(&self, setup: &Setup) -> Result<(), CommandError> {
        let body = json!({ "localpart": setup.owner, "password": setup.password, "admin": true });
        let answer = self.endpoint()?.request("POST", "/_hearth/admin/v1/users", Some(&body)).await?;
        if (200..300).contains(&answer.status) {
            return Ok(());
        }
        let text = |key: &str| answer.body.get(key).and_then(|value| value.as_str());
        let field = match text("field") {
            Some("password") => Some(Field::Password),
            _ if answer.status < 500 => Some(Field::Owner),
            _ => None,
        };
        let message = text("message").map_or_else(
            || format!("The account could not be created (HTTP status {}).", answer.status),
            str::to_owned,
        );
        Err(CommandError { field, status: Some(answer.status), ..CommandError::new(ErrorCode::Refused, message) })
    }

    /// Asks the process that holds the folder to leave, waits until it has, and starts ours.
    pub(crate) async fn stop_other(&self) -> Result<(), CommandError> {
        let lock_file = server::lock_file(&self.config()?);
        if let Some(holder) = holder_of(&lock_file).await {
            let unknown = || {
                CommandError::new(
                    ErrorCode::StartFailed,
                    "The system does not say which process it is; stop it by hand.",
                )
            };
            let pid = holder.pid.ok_or_else(unknown)?;
            terminate(pid).map_err(|error| {
                CommandError::new(ErrorCode::StartFailed, format!("{holder} could not be asked to stop: {error}."))
            })?;
            // The system has no event for a lock that somebody else lets go.
            let gone = timeout(OTHER_LEAVES, async {
                while holder_of(&lock_file).await.is_some() {
                    sleep(Duration::from_millis(100)).await;
                }
            });
            gone.await.map_err(|_| {
                CommandError::new(ErrorCode::StartFailed, format!("{holder} was asked to stop and has not."))
            })?;
        }
        self.start().await
    }

    /// Holds a live stream open, across restarts of the server, for as long as `sink` gives `true`.
    pub(crate) async fn follow(&self, path: &str, mut sink: impl FnMut(AdminEvent) -> bool + Send) {
        let mut status = self.server.subscribe();
        let reachable = |status: &Status| status.state.is_up() || matches!(status.state, State::Foreign(_));
        // A sender that is gone: the app is leaving.
        while status.wait_for(reachable).await.is_ok() {
            let lost = match self.endpoint() {
                Ok(endpoint) => endpoint.follow(path, &mut sink).await,
                Err(error) => error,
            };
            if !sink(AdminEvent::Lost { message: lost.message }) {
                return;
            }
            sleep(RECONNECT).await;
        }
    }
}

/// Whether the system lets us listen there.
pub(crate) fn check_port(number: u16) -> Result<(), CommandError> {
    port::check(SocketAddr::from(([127, 0, 0, 1], number))).map_err(|error| {
        let code = match error {
            port::PortError::Taken(_) => ErrorCode::PortTaken,
            port::PortError::Refused { .. } => ErrorCode::Invalid,
        };
        CommandError { field: Some(Field::Port), ..CommandError::new(code, format!("{error}.")) }
    })
}

fn is_absent(path: &Path) -> bool {
    path.symlink_metadata().is_err()
}

async fn holder_of(lock_file: &Path) -> Option<Holder> {
    let path = lock_file.to_owned();
    // A look that failed knows of no holder.
    tokio::task::spawn_blocking(move || lock::holder(&path)).await.unwrap_or(None)
}
