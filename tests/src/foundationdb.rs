//! FoundationDB for tests: whether it is installed, a cluster of its own, and harm to its server.

use std::path::{Path, PathBuf};

use hearth_supervisor::{
    Restart,
    foundationdb::{LocalInstance, Programs},
};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

/// Whether FoundationDB is installed here. Where it is not, says loudly that the test `name` is skipped.
pub fn is_installed(name: &str) -> bool {
    match Programs::find() {
        Ok(programs) => {
            eprintln!("{name}: on {} {}", programs.fdbserver.display(), programs.version);
            true
        }
        Err(missing) => {
            eprintln!("\n*** SKIPPED: {name} needs FoundationDB. {missing} ***\n");
            false
        }
    }
}

/// A running cluster of one process, beside the servers under test. Killed when it is dropped, its folder removed.
#[derive(Debug)]
pub struct Cluster {
    folder: TempDir,
    instance: LocalInstance,
}

impl Cluster {
    /// Starts one and returns when it answers; `None` (and a loud word about the test `name`) where FoundationDB is not
    /// installed.
    pub async fn start(name: &str) -> Option<Self> {
        if !is_installed(name) {
            return None;
        }
        let folder = TempDir::with_prefix("hearth-fdb-").expect("a temporary folder");
        let instance = LocalInstance::new(folder.path(), Restart::default());
        instance.start().await;
        instance.wait_until_up().await.unwrap_or_else(|error| panic!("{error}"));
        Some(Self { folder, instance })
    }

    /// Where it is.
    pub fn cluster_file(&self) -> PathBuf {
        self.instance.cluster_file()
    }

    /// Stops its server in order.
    pub async fn stop(&self) {
        self.instance.stop().await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        kill(self.folder.path());
    }
}

/// Sends the server of the instance in `folder` a signal. Returns its process id.
pub fn signal(folder: &Path, signal: Signal) -> u32 {
    let servers = LocalInstance::processes(folder);
    assert_eq!(servers.len(), 1, "one server in {}", folder.display());
    send(servers[0], signal);
    servers[0]
}

/// Kills whatever server works on the instance in `folder`, if any, and waits until it is gone.
pub fn kill(folder: &Path) {
    while let Some(server) = LocalInstance::processes(folder).first() {
        send(*server, Signal::KILL);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("no process has the id 0");
    // It may have left meanwhile.
    let _ = rustix::process::kill_process(pid, signal);
}
