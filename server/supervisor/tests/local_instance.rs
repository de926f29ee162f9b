//! The rules of a local FoundationDB, on scripts that behave as its programs do: who supervises, what is written, when a new
//! cluster is configured. The real server has its tests in the workspace's `tests/`.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use hearth_supervisor::{
    CrashReason, Restart, State,
    foundationdb::{FindPrograms, InstanceError, LocalInstance, NotInstalled, Programs, Supervision},
};
use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;

/// Longest that anything may take: a bound for failures, never a wait.
const PATIENCE: Duration = Duration::from_mins(1);

/// Notes its arguments and lives until it is told to leave.
const SERVER: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "$@" >> "$here/starts"
if [ -e "$here/broken" ]; then echo "something is wrong" >&2; exit 3; fi
while :; do sleep 0.05; done
"#;

/// Answers while there is a database, which `configure new` makes.
const CLI: &str = r#"#!/bin/sh
here=$(dirname "$0")
for last; do :; done
echo "$last" >> "$here/questions"
data=$(sed -n '$ s/.*--datadir \([^ ]*\).*/\1/p' "$here/starts")
case "$last" in
    "configure new"*) touch "$data/storage-1.sqlite"; echo "Database created" ;;
    get*) if [ -e "$data/storage-1.sqlite" ]; then echo "not found"; else echo "ERROR: no database" >&2; exit 1; fi ;;
    *) echo '{"client":{"database_status":{"available":true}}}' ;;
esac
"#;

struct Machine {
    temporary: TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { temporary: TempDir::new().unwrap() };
        for (name, text) in [("fdbserver", SERVER), ("fdbcli", CLI)] {
            let path = machine.path(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temporary.path().join(name)
    }

    fn folder(&self) -> PathBuf {
        self.path("data/foundationdb")
    }

    fn programs(&self) -> FindPrograms {
        let (fdbserver, fdbcli) = (self.path("fdbserver"), self.path("fdbcli"));
        let programs = Programs { fdbserver, fdbcli, version: "7.4.6".to_owned() };
        Arc::new(move || Ok(programs.clone()))
    }

    fn instance(&self) -> LocalInstance {
        let restart = Restart { first: Duration::from_millis(1), give_up_after: 10, ..Restart::default() };
        LocalInstance::with_programs(&self.folder(), restart, self.programs())
    }

    async fn started(&self) -> LocalInstance {
        let instance = self.instance();
        instance.start().await;
        assert_eq!(up(&instance).await.unwrap(), Supervision::Ours);
        instance
    }

    fn lines(&self, name: &str) -> Vec<String> {
        fs::read_to_string(self.path(name)).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    fn address(&self) -> SocketAddr {
        let text = fs::read_to_string(self.folder().join("fdb.cluster")).unwrap();
        text.trim().rsplit('@').next().unwrap().parse().unwrap()
    }
}

async fn up(instance: &LocalInstance) -> Result<Supervision, InstanceError> {
    tokio::time::timeout(PATIENCE, instance.wait_until_up()).await.expect("it takes too long")
}

fn is_locked(folder: &Path) -> bool {
    File::open(folder.join("lock")).unwrap().try_lock().is_err()
}

#[tokio::test]
async fn a_new_cluster_is_configured_once() {
    let machine = Machine::new();
    let instance = machine.started().await;
    assert_eq!(instance.version().as_deref(), Some("7.4.6"));
    let address = machine.address();
    let starts = machine.lines("starts");
    assert!(starts[0].contains(&format!("--public-address {address} ")), "{starts:?}");
    assert!(starts[0].contains(&format!("--parentpid {}", std::process::id())), "{starts:?}");
    assert!(is_locked(&machine.folder()));
    let mode = |name: &str| fs::metadata(machine.folder().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("fdb.cluster"), mode("lock"), mode("data")), (0o600, 0o600, 0o700));

    instance.stop().await;
    assert!(!is_locked(&machine.folder()));
    instance.start().await;
    assert_eq!(up(&instance).await.unwrap(), Supervision::Ours);
    instance.shut_down().await;
    assert!(!is_locked(&machine.folder()));
    assert_eq!(machine.address(), address, "the port stays");
    let configured = machine.lines("questions").iter().filter(|line| line.starts_with("configure")).count();
    assert_eq!((configured, machine.lines("starts").len()), (1, 2));
}

#[tokio::test]
async fn a_taken_port_is_exchanged() {
    let machine = Machine::new();
    machine.started().await.shut_down().await;
    let cluster = |machine: &Machine| fs::read_to_string(machine.folder().join("fdb.cluster")).unwrap();
    let (first, before) = (machine.address(), cluster(&machine));
    let stranger = TcpListener::bind(first).unwrap();
    let instance = machine.started().await;
    assert_ne!(machine.address(), first);
    let key = |text: &str| text.split('@').next().unwrap().to_owned();
    assert_eq!(key(&cluster(&machine)), key(&before), "it stays the same cluster");
    assert!(machine.lines("starts")[1].contains(&machine.address().to_string()));
    instance.shut_down().await;
    drop(stranger);
}

#[tokio::test]
async fn one_supervises_and_the_next_takes_over() {
    let machine = Machine::new();
    let first = machine.started().await;
    let second = machine.instance();
    second.start().await;
    let Supervision::Other(holder) = up(&second).await.unwrap() else { panic!("the first one has it") };
    if cfg!(target_os = "linux") {
        assert_eq!(holder.pid, Some(std::process::id()));
    }
    assert_eq!(second.cluster_file(), first.cluster_file());
    assert_eq!(machine.lines("starts").len(), 1, "one server for both");
    let taken_over = async {
        let mut changes = second.handle().subscribe();
        changes.wait_for(|status| status.state.is_up()).await.unwrap();
    };
    tokio::select! {
        () = second.keep() => panic!("it keeps on"),
        result = tokio::time::timeout(PATIENCE, async { tokio::join!(first.shut_down(), taken_over) }) => drop(result.unwrap()),
    }
    assert_eq!(machine.lines("starts").len(), 2);
    second.shut_down().await;
}

#[tokio::test]
async fn where_it_is_not_installed_nothing_is_written() {
    let machine = Machine::new();
    let missing = || NotInstalled::Missing { program: "fdbserver", looked: vec!["/usr/sbin/fdbserver".into()] };
    let instance =
        LocalInstance::with_programs(&machine.folder(), Restart::default(), Arc::new(move || Err(missing())));
    instance.start().await;
    let error = up(&instance).await.unwrap_err().to_string();
    assert!(error.contains("foundationdb-server") && error.contains("/usr/sbin/fdbserver"), "{error}");
    let state = instance.handle().status().state;
    assert!(matches!(state, State::Crashed { reason: CrashReason::Unfit(_), retry_in: None, .. }), "{state:?}");
    instance.shut_down().await;
    assert!(!machine.path("data").exists());
}

#[tokio::test]
async fn data_without_its_cluster_file_is_left_alone() {
    let machine = Machine::new();
    machine.started().await.shut_down().await;
    fs::remove_file(machine.folder().join("fdb.cluster")).unwrap();
    let instance = machine.instance();
    instance.start().await;
    let error = up(&instance).await.unwrap_err().to_string();
    assert!(error.contains("restore it from a copy"), "{error}");
    instance.shut_down().await;
    assert!(!machine.folder().join("fdb.cluster").exists());
    assert_eq!(machine.lines("starts").len(), 1, "it was not started");
}

#[tokio::test]
async fn a_server_that_leaves_at_once_is_tried_again_and_then_reported() {
    let machine = Machine::new();
    fs::write(machine.path("broken"), "").unwrap();
    let instance = machine.instance();
    instance.start().await;
    let error = up(&instance).await.unwrap_err().to_string();
    assert!(error.contains("exit code 3") && error.contains("something is wrong"), "{error}");
    assert!(machine.lines("starts").len() >= 3);
    instance.shut_down().await;
}
