//! The `fdbserver` of a supervisor that died.
//!
//! Found by what runs and not by a note of a process id: a server of ours is known by its command line, which names our data
//! folder. A note may be missing (the supervisor died before it wrote one) or speak of a process id that a stranger has by now.

use std::{
    ffi::OsString,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};
use sysinfo::{Pid, ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, Signal, System, UpdateKind};

/// How long it may take to leave when it was asked to.
const LEAVES: Duration = Duration::from_secs(20);
/// How long the system may take to end it by force.
const DIES: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

/// The option by which a server of ours names its data folder.
pub(super) const DATA_OPTION: &str = "--datadir";

/// Ends every server that works on `data`, politely first. Only who holds the instance's lock may call this: then every such
/// server's supervisor is gone. Gives its process id where one does not leave. Blocks.
pub(super) fn stop(data: &Path) -> Result<(), u32> {
    if find(data).is_empty() {
        return Ok(());
    }
    tracing::info!(folder = %data.display(), "a database server without a supervisor is still there; it is stopped first");
    send(data, Signal::Term);
    if wait(data, LEAVES).is_ok() {
        return Ok(());
    }
    send(data, Signal::Kill);
    wait(data, DIES)
}

/// Waits until there is none; the system has no event for the end of a process that is not a child.
fn wait(data: &Path, time: Duration) -> Result<(), u32> {
    let deadline = Instant::now() + time;
    loop {
        let Some(first) = find(data).first().copied() else { return Ok(()) };
        if Instant::now() >= deadline {
            return Err(first.as_u32());
        }
        sleep(PAUSE);
    }
}

/// The servers that work on `data` now.
pub(super) fn find(data: &Path) -> Vec<Pid> {
    let Some(system) = processes() else { return Vec::new() };
    let servers = system.processes().iter().filter(|(_, process)| is_server(process, data));
    servers.map(|(pid, _)| *pid).collect()
}

fn send(data: &Path, signal: Signal) {
    // Looked at a moment ago: the process that gets the signal is the one whose command line was read.
    let Some(system) = processes() else { return };
    for (pid, process) in system.processes().iter().filter(|(_, process)| is_server(process, data)) {
        tracing::warn!(%pid, %signal, "the left-over database server is sent a signal");
        // A system without this signal has only the hard end.
        process.kill_with(signal).unwrap_or_else(|| process.kill());
    }
}

/// `None` on a system that does not tell. There the server's own lock on its folder is what keeps two from it.
fn processes() -> Option<System> {
    let mut system = System::new().ok()?;
    let kind = ProcessRefreshKind::nothing().with_cmd(UpdateKind::Always).without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
    Some(system)
}

fn is_server(process: &sysinfo::Process, data: &Path) -> bool {
    !matches!(process.status(), ProcessStatus::Zombie | ProcessStatus::Dead) && names_folder(process.cmd(), data)
}

/// Whether a command line is that of an `fdbserver` on the data folder `data`.
fn names_folder(command: &[OsString], data: &Path) -> bool {
    // The second one: a script's name stands behind its interpreter's.
    let is_fdbserver =
        command.iter().take(2).any(|word| Path::new(word).file_stem().is_some_and(|stem| stem == "fdbserver"));
    let mut words = command.iter();
    is_fdbserver
        && words.any(|word| word == DATA_OPTION)
        && words.next().is_some_and(|folder| Path::new(folder) == data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_on_this_very_folder_is_ours() {
        let data = Path::new("/srv/data/foundationdb/data");
        for (line, ours) in [
            ("/usr/sbin/fdbserver --cluster-file x --datadir /srv/data/foundationdb/data --logdir y", true),
            ("/bin/sh /tmp/fdbserver --datadir /srv/data/foundationdb/data", true),
            ("fdbserver.exe --datadir /srv/data/foundationdb/data", true),
            ("/usr/sbin/fdbserver --datadir /srv/other/foundationdb/data", false),
            ("/usr/sbin/fdbserver --datadir /srv/data/foundationdb/data2", false),
            ("/usr/sbin/fdbserver --datadir", false),
            ("/usr/sbin/fdbserver --logdir /srv/data/foundationdb/data", false),
            ("vim --datadir /srv/data/foundationdb/data", false),
            ("", false),
        ] {
            let command: Vec<OsString> = line.split_whitespace().map(Into::into).collect();
            assert_eq!(names_folder(&command, data), ours, "{line}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_left_over_server_is_stopped_and_others_are_not() {
        let temporary = tempfile::tempdir().unwrap();
        let program = temporary.path().join("fdbserver");
        std::fs::write(&program, "read line\n").unwrap();
        let run = |data: &Path| {
            std::process::Command::new("/bin/sh")
                .arg(&program)
                .arg(DATA_OPTION)
                .arg(data)
                .stdin(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        };
        let (ours, theirs) = (temporary.path().join("ours"), temporary.path().join("theirs"));
        let (mut left_over, mut other) = (run(&ours), run(&theirs));
        assert_eq!(find(&ours), [Pid::from_u32(left_over.id())]);
        // A zombie, since its parent is this test and has not waited for it: that counts as gone.
        stop(&ours).unwrap();
        assert_eq!(find(&ours), []);
        left_over.wait().unwrap();
        assert_eq!(find(&theirs), [Pid::from_u32(other.id())]);
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
