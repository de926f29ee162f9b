//! Asks a cluster through `fdbcli`. It is a program of its own, so the supervisor needs no client library, and a client that
//! hangs is killed with its deadline.

use std::{path::PathBuf, process::Stdio, time::Duration};
use tokio::{process::Command, time::timeout};

/// How long a question may take. A cluster of one process answers within milliseconds, or it is recovering.
const DEADLINE: Duration = Duration::from_secs(10);
/// The same in fdbcli's own words, a little less, so that it ends by itself and says why.
const OWN_DEADLINE: &str = "8";
/// Any key will do: what counts is that a read version is given and a storage server answers.
const PROBE_KEY: &str = "hearth/is-anybody-there";

/// `fdbcli` on a cluster file.
#[derive(Debug, Clone)]
pub(super) struct Cli {
    pub(super) program: PathBuf,
    pub(super) cluster_file: PathBuf,
}

impl Cli {
    /// A real transaction: a read version from the running transaction system and a read from storage. Changes nothing.
    pub(super) async fn read(&self) -> Result<(), String> {
        self.run(&format!("get {PROBE_KEY}")).await.map(drop)
    }

    /// The first configuration of an empty cluster. FoundationDB itself refuses `new` where there is a database.
    pub(super) async fn configure_new(&self) -> Result<(), String> {
        match self.run("configure new single ssd").await {
            Err(error) if !error.contains("already exists") => Err(error),
            _ => Ok(()),
        }
    }

    /// The status document, as JSON.
    pub(super) async fn status(&self) -> Result<String, String> {
        self.run("status json").await
    }

    async fn run(&self, command: &str) -> Result<String, String> {
        let mut process = Command::new(&self.program);
        process
            .arg("-C")
            .arg(&self.cluster_file)
            .args(["--no-status", "--timeout", OWN_DEADLINE, "--exec", command])
            .stdin(Stdio::null())
            .kill_on_drop(true);
        // Ctrl-C in a terminal reaches only the supervisor, which stops things in order.
        #[cfg(unix)]
        process.process_group(0);
        let output = match timeout(DEADLINE, process.output()).await {
            Ok(output) => output.map_err(|error| format!("{} cannot be run: {error}", self.program.display()))?,
            Err(_) => return Err(format!("no answer within {} s", DEADLINE.as_secs())),
        };
        let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        // Some of its errors leave the exit code at 0.
        let complaint = errors.lines().chain(text.lines()).find_map(|line| line.trim().strip_prefix("ERROR: "));
        match complaint {
            Some(complaint) => Err(complaint.trim_end_matches('.').to_owned()),
            None if output.status.success() => Ok(text.into_owned()),
            None => {
                let words = errors.lines().chain(text.lines()).rev().find(|line| !line.trim().is_empty());
                Err(words.map_or_else(|| output.status.to_string(), |line| line.trim().to_owned()))
            }
        }
    }
}
