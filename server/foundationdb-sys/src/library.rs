//! Finds and loads FoundationDB's client library.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::functions::{Functions, fdb_get_max_api_version, set_loaded};

/// The environment variable that names the library's file.
pub const ENVIRONMENT_VARIABLE: &str = "FDB_CLIENT_LIBRARY";

/// The library's file name on this system, under which the loader finds an installed one.
pub const FILE_NAME: &str = if cfg!(windows) {
    "fdb_c.dll"
} else if cfg!(target_os = "macos") {
    "libfdb_c.dylib"
} else {
    "libfdb_c.so"
};

/// Where packages put it, besides where the system's loader looks.
const USUAL_FOLDERS: &[&str] = if cfg!(windows) {
    &[r"C:\Program Files\foundationdb\bin"]
} else if cfg!(target_os = "macos") {
    &["/usr/local/lib", "/opt/homebrew/lib", "/opt/local/lib"]
} else {
    &["/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"]
};

/// The library that this process uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its path, or its name where the system's loader found it.
    pub path: PathBuf,
    /// The newest API version that it speaks.
    pub newest_api_version: i32,
}

/// No library could be loaded.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no FoundationDB client library: {}", self.list())]
pub struct LoadError {
    /// Every place that was tried, and why it failed, in order.
    pub looked: Vec<(PathBuf, String)>,
}

impl LoadError {
    fn list(&self) -> String {
        let places: Vec<_> = self.looked.iter().map(|(path, why)| format!("{}: {why}", path.display())).collect();
        places.join("; ")
    }
}

/// Loads the library, once per process: later calls return what the first successful one loaded, whatever they ask for.
///
/// A file that is named, by `configured` or by [`ENVIRONMENT_VARIABLE`], is the only one that is tried. Otherwise: beside the
/// executable, where the system's loader looks, the usual folders.
pub fn load(configured: Option<&Path>) -> Result<Loaded, LoadError> {
    static DESCRIPTION: OnceLock<Loaded> = OnceLock::new();
    static LOADING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(loaded) = DESCRIPTION.get() {
        return Ok(loaded.clone());
    }
    let mut looked = Vec::new();
    let executable = std::env::current_exe().ok();
    for path in candidates(configured, std::env::var_os(ENVIRONMENT_VARIABLE), executable.as_deref()) {
        match open(&path) {
            Ok(functions) => {
                set_loaded(functions);
                // Safety: no preconditions.
                let newest_api_version = unsafe { fdb_get_max_api_version() };
                return Ok(DESCRIPTION.get_or_init(|| Loaded { path, newest_api_version }).clone());
            }
            Err(why) => looked.push((path, why)),
        }
    }
    Err(LoadError { looked })
}

/// Where to look, in order.
fn candidates(configured: Option<&Path>, environment: Option<OsString>, executable: Option<&Path>) -> Vec<PathBuf> {
    if let Some(path) = configured {
        return vec![path.to_owned()];
    }
    if let Some(path) = environment.filter(|path| !path.is_empty()) {
        return vec![path.into()];
    }
    let beside = executable.and_then(Path::parent).map(|folder| folder.join(FILE_NAME));
    let usual = USUAL_FOLDERS.iter().map(|folder| Path::new(folder).join(FILE_NAME));
    beside.into_iter().chain([PathBuf::from(FILE_NAME)]).chain(usual).collect()
}

/// Loads one file. The error says why not.
fn open(path: &Path) -> Result<Functions, String> {
    if path.components().count() > 1 && !path.exists() {
        return Err("there is no such file".to_owned());
    }
    // Safety: loading runs the library's initializers, which is what whoever installs FoundationDB's client wants.
    let library = unsafe { libloading::Library::new(path) }.map_err(|error| with_sources(&error))?;
    // Never unloaded: pointers into it live in a static, and its network thread runs until the process ends.
    let library = std::mem::ManuallyDrop::new(library);
    // Safety: a library that has all of these names is `libfdb_c`, whose functions have these signatures.
    unsafe { Functions::resolve(&library) }.map_err(|error| with_sources(&error))
}

/// libloading's own text says what failed; the loader's words, which say why, are the error's source.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_file_is_the_only_one_tried() {
        let named = Path::new("/nowhere/libfdb_c.so");
        assert_eq!(candidates(Some(named), Some("/other".into()), None), [named]);
        assert_eq!(candidates(None, Some("/other".into()), Some(Path::new("/bin/hearth"))), [Path::new("/other")]);
        let found = candidates(None, Some("".into()), Some(Path::new("/opt/hearth/hearth")));
        assert_eq!(found[0], Path::new("/opt/hearth").join(FILE_NAME));
        assert_eq!(found[1], Path::new(FILE_NAME));
        assert!(found.len() > 2);
    }

    #[test]
    fn a_failure_says_where_and_why() {
        let folder = std::env::temp_dir().join(format!("foundationdb-sys-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let no_library = folder.join(FILE_NAME);
        std::fs::write(&no_library, "not a library").unwrap();
        for (path, expected) in [(Path::new("/nowhere/libfdb_c.so"), "no such file"), (&no_library, FILE_NAME)] {
            let why = open(path).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
        let error = LoadError { looked: vec![("/nowhere/x".into(), "there is no such file".into())] };
        assert_eq!(error.to_string(), "no FoundationDB client library: /nowhere/x: there is no such file");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
