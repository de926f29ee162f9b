//! The API version and the network thread, both once per process.
//!
//! FoundationDB's client does all its work on one thread, which must have ended before the process unloads the library at its
//! exit. A guard that somebody has to drop in time would be unsafe to forget; so [`start`] registers a handler with the C
//! runtime that stops the thread when the process exits, by returning from `main` or by `std::process::exit`. A process
//! that is killed or aborts unloads nothing.

use std::ffi::CStr;
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::functions::{
    fdb_get_client_version, fdb_get_error, fdb_run_network, fdb_select_api_version_impl, fdb_setup_network,
};
use crate::functions::{fdb_stop_network, loaded};
use crate::library::Loaded;
use crate::{FDB_API_VERSION, OLDEST_API_VERSION, fdb_error_t};

/// Why the network could not be started.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StartError {
    /// The library is older than the oldest API version that these declarations fit.
    #[error("the library speaks API version {found}, {needed} is needed")]
    TooOld {
        /// The newest that the library speaks.
        found: i32,
        /// The oldest that works.
        needed: i32,
    },
    /// A function of the library failed.
    #[error("{doing}: {message} ({code})")]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// FoundationDB's error code.
        code: i32,
        /// FoundationDB's words.
        message: String,
    },
    /// The system gave no thread.
    #[error("no thread for the network: {0}")]
    NoThread(String),
}

/// The network, once it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The API version that was selected.
    pub api_version: i32,
    /// The client library's release, such as `7.4.6`.
    pub client_version: String,
}

/// A thread of ours runs the network until the process exits.
static RUNNING: Mutex<bool> = Mutex::new(false);
static ENDED: Condvar = Condvar::new();
/// How long a process that exits waits for the network thread. It ends within milliseconds.
const STOP_TIME: Duration = Duration::from_secs(5);

/// Selects the API version and starts the network thread. Later calls return what the first did: a process can try only
/// once.
pub fn start(library: &Loaded) -> Result<Started, StartError> {
    static STARTED: OnceLock<Result<Started, StartError>> = OnceLock::new();
    STARTED.get_or_init(|| start_once(library)).clone()
}

fn start_once(library: &Loaded) -> Result<Started, StartError> {
    let api_version = library.newest_api_version.min(FDB_API_VERSION.cast_signed());
    if api_version < OLDEST_API_VERSION {
        return Err(StartError::TooOld { found: library.newest_api_version, needed: OLDEST_API_VERSION });
    }
    // Safety: called once, in the documented order, before anything else of the API.
    unsafe {
        check("selecting the API version", fdb_select_api_version_impl(api_version, api_version))?;
        check("setting up the network", fdb_setup_network())?;
    }
    *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) = true;
    let run = || {
        // Safety: the network was set up, and this is the only thread that runs it.
        if let Err(error) = check("running the network", unsafe { fdb_run_network() }) {
            eprintln!("FoundationDB's client stopped: {error}");
        }
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) = false;
        ENDED.notify_all();
    };
    // Safety: the handler only touches statics. The C runtime calls handlers in the reverse order of their registration, so
    // that this one runs before the library's own, which were registered when it was loaded.
    if unsafe { atexit(stop_at_exit) } != 0 {
        return Err(StartError::NoThread("the C runtime takes no more exit handlers".to_owned()));
    }
    let thread = std::thread::Builder::new().name("fdb-network".to_owned()).spawn(run);
    thread.map_err(|error| {
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) = false;
        StartError::NoThread(error.to_string())
    })?;
    // Safety: only before an API version is selected does this fail (it crashes). The text is static.
    let client_version = unsafe { CStr::from_ptr(fdb_get_client_version()) }.to_string_lossy();
    // `release,source,protocol`
    let release = client_version.split(',').next().unwrap_or_default();
    Ok(Started { api_version, client_version: release.to_owned() })
}

fn check(doing: &'static str, code: fdb_error_t) -> Result<(), StartError> {
    if code == 0 {
        return Ok(());
    }
    // Safety: any code may be asked for; the text is static.
    let message = unsafe { CStr::from_ptr(fdb_get_error(code)) };
    Err(StartError::Failed { doing, code, message: message.to_string_lossy().into_owned() })
}

unsafe extern "C" {
    /// Of the C runtime that every supported system's standard library links: calls `handler` when the process exits.
    fn atexit(handler: extern "C" fn()) -> std::ffi::c_int;
}

extern "C" fn stop_at_exit() {
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    if !*running || loaded().is_none() {
        return;
    }
    // Safety: the network is set up. The thread may not have come to run it yet; then it returns as soon as it does.
    if unsafe { fdb_stop_network() } == 0 {
        let waited = ENDED.wait_timeout_while(running, STOP_TIME, |running| *running);
        if !*waited.unwrap_or_else(PoisonError::into_inner).0 {
            return;
        }
    }
    // The library's memory is about to go while its thread runs. Everything acknowledged is with the cluster.
    eprintln!("FoundationDB's network thread does not end");
    std::process::abort();
}
