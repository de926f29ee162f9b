//! Where FoundationDB's programs are, and of which version.

use std::{
    ffi::OsStr,
    fmt,
    path::{Path, PathBuf},
    process::Command,
};

/// Where upstream's packages put the programs, and where people do.
const PLACES: &[&str] = if cfg!(target_os = "macos") {
    &["/usr/local/libexec", "/usr/local/bin", "/opt/homebrew/bin"]
} else if cfg!(windows) {
    &["C:\\Program Files\\foundationdb\\bin", "C:\\Program Files (x86)\\foundationdb\\bin"]
} else {
    &["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin", "/usr/local/libexec", "/opt/foundationdb/bin"]
};

/// FoundationDB's server and its command line, found on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// The server.
    pub fdbserver: PathBuf,
    /// The command line.
    pub fdbcli: PathBuf,
    /// The server's version, such as `7.4.6`.
    pub version: String,
}

/// Why FoundationDB cannot be run here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotInstalled {
    /// A program is nowhere.
    Missing {
        /// `fdbserver` or `fdbcli`.
        program: &'static str,
        /// Where it was looked for.
        looked: Vec<PathBuf>,
    },
    /// A program is there and does not run.
    Broken {
        /// The program.
        path: PathBuf,
        /// What happened.
        why: String,
    },
}

impl fmt::Display for NotInstalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { program, looked } => {
                let variable = variable(program);
                write!(
                    f,
                    "FoundationDB's program {program} is not installed; install the packages foundationdb-clients and \
                     foundationdb-server (https://github.com/apple/foundationdb/releases), or name the program in the \
                     environment variable {variable}. Looked for:"
                )?;
                looked.iter().try_for_each(|place| write!(f, " {}", place.display()))
            }
            Self::Broken { path, why } => write!(
                f,
                "FoundationDB's program {} does not run ({why}); install the packages foundationdb-clients and \
                 foundationdb-server again",
                path.display()
            ),
        }
    }
}

impl std::error::Error for NotInstalled {}

/// The environment variable that names a program.
fn variable(program: &str) -> &'static str {
    if program == "fdbcli" { "FDBCLI" } else { "FDBSERVER" }
}

impl Programs {
    /// Looks for the programs: `FDBSERVER` and `FDBCLI` of the environment, beside this executable, `PATH`, the usual places.
    /// Runs the server once, for its version.
    pub fn find() -> Result<Self, NotInstalled> {
        let search = Search::of_this_process();
        let fdbserver = search.find("fdbserver", None)?;
        let fdbcli = search.find("fdbcli", fdbserver.parent())?;
        let version = version_of(&fdbserver)?;
        Ok(Self { fdbserver, fdbcli, version })
    }
}

fn version_of(fdbserver: &Path) -> Result<String, NotInstalled> {
    let broken = |why: String| NotInstalled::Broken { path: fdbserver.to_owned(), why };
    let output = Command::new(fdbserver).arg("--version").output().map_err(|error| broken(error.to_string()))?;
    if !output.status.success() {
        return Err(broken(output.status.to_string()));
    }
    parse_version(&String::from_utf8_lossy(&output.stdout)).ok_or_else(|| broken("it tells no version".to_owned()))
}

/// Reads `FoundationDB 7.4 (v7.4.6)`.
fn parse_version(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("(v")?;
    let (version, _) = rest.split_once(')')?;
    version.starts_with(|first: char| first.is_ascii_digit()).then(|| version.to_owned())
}

/// Where to look. Apart from the process's environment, for tests.
struct Search {
    named: fn(&str) -> Option<PathBuf>,
    beside: Option<PathBuf>,
    path: Vec<PathBuf>,
    places: Vec<PathBuf>,
}

impl Search {
    fn of_this_process() -> Self {
        let named = |program: &str| std::env::var_os(variable(program)).filter(|path| !path.is_empty()).map(Into::into);
        let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.to_owned()));
        let path = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
        Self { named, beside, path, places: PLACES.iter().map(PathBuf::from).collect() }
    }

    /// Finds a program; `near` is the folder of one that was found already, so that both are of one installation.
    fn find(&self, program: &'static str, near: Option<&Path>) -> Result<PathBuf, NotInstalled> {
        // A name that a person gave is meant: another program in its place would only hide the mistake.
        if let Some(named) = (self.named)(program) {
            return if named.is_file() {
                Ok(named)
            } else {
                Err(NotInstalled::Missing { program, looked: vec![named] })
            };
        }
        let file = format!("{program}{}", std::env::consts::EXE_SUFFIX);
        let folders = self.beside.iter().map(PathBuf::as_path).chain(near);
        let folders = folders.chain(self.path.iter().map(PathBuf::as_path));
        let mut looked: Vec<PathBuf> = Vec::new();
        for folder in folders.chain(self.places.iter().map(PathBuf::as_path)) {
            let candidate = folder.join(&file);
            if candidate.is_file() {
                return Ok(candidate);
            }
            if folder.as_os_str() != OsStr::new("") && !looked.contains(&candidate) {
                looked.push(candidate);
            }
        }
        Err(NotInstalled::Missing { program, looked })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing_named(_: &str) -> Option<PathBuf> {
        None
    }

    #[test]
    fn the_first_place_wins_and_a_failure_names_them_all() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let folder = temporary.path().join(name);
            std::fs::create_dir_all(&folder).unwrap();
            folder
        };
        let [beside, path, place] = ["beside", "path", "place"].map(folder);
        let search = Search {
            named: nothing_named,
            beside: Some(beside.clone()),
            path: vec![path.clone()],
            places: vec![place.clone(), path.clone()],
        };
        let file = format!("fdbserver{}", std::env::consts::EXE_SUFFIX);
        let missing = search.find("fdbserver", None).unwrap_err();
        let expected = [&beside, &path, &place].map(|folder| folder.join(&file)).to_vec();
        assert_eq!(missing, NotInstalled::Missing { program: "fdbserver", looked: expected });
        let text = missing.to_string();
        assert!(text.contains("foundationdb-server") && text.contains("FDBSERVER"), "{text}");
        for found in [&place, &path, &beside] {
            std::fs::write(found.join(&file), "").unwrap();
            assert_eq!(search.find("fdbserver", None).unwrap(), found.join(&file));
        }
        let named = Search { named: |_| Some("/nonexistent/fdbserver".into()), ..search };
        let missing = named.find("fdbserver", None).unwrap_err();
        assert_eq!(
            missing,
            NotInstalled::Missing { program: "fdbserver", looked: vec!["/nonexistent/fdbserver".into()] }
        );
    }

    #[test]
    fn versions_are_read() {
        for (text, version) in [
            ("FoundationDB 7.4 (v7.4.6)\nsource version abc\nprotocol fdb00b074000000\n", Some("7.4.6")),
            ("FoundationDB 7.4 (v7.4.6-PRERELEASE)", Some("7.4.6-PRERELEASE")),
            ("something else", None),
            ("FoundationDB (v)", None),
        ] {
            assert_eq!(parse_version(text).as_deref(), version, "{text}");
        }
    }
}
