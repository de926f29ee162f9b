//! The supervisor with real processes: small shell scripts that behave as a server would. Conditions are waited for, never slept for.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use hearth_supervisor::{
    CrashReason, Handle, LogSpec, OsLauncher, Readiness, Restart, Spec, State, Status, Stop, supervise,
};
use std::{fs, path::Path, time::Duration};

/// Prints its ready line, then leaves when standard input ends, as `hearth serve --exit-on-stdin-eof` does.
const SERVER: &str = r#"echo "starting" >&2
echo "{\"event\":\"ready\",\"pid\":$$}"
cat > /dev/null
echo "leaving" >&2"#;

fn shell(script: &str) -> Spec {
    let mut spec = Spec::new("script", "/bin/sh")
        .args(["-c", script])
        .readiness(Readiness::ReadyLine { deadline: Duration::from_mins(1) });
    spec.restart.first = Duration::from_millis(1);
    spec.stop = Stop { after_stdin: Duration::from_mins(1), after_terminate: Duration::from_mins(1) };
    spec
}

async fn start(spec: Spec) -> Handle {
    let (handle, supervisor) = supervise(OsLauncher);
    tokio::spawn(supervisor.run());
    handle.configure(spec).await;
    handle.start().await;
    handle
}

async fn until(handle: &Handle, condition: impl Fn(&Status) -> bool) -> Status {
    let mut status = handle.subscribe();
    let found = tokio::time::timeout(Duration::from_mins(1), status.wait_for(condition)).await;
    let Ok(status) = found else { panic!("it stayed {:?}\n{}", handle.status(), handle.tail(20).join("\n")) };
    status.expect("the supervisor should live").clone()
}

fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test]
async fn a_server_starts_logs_and_leaves_at_the_end_of_its_input() {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = shell(SERVER).env("UNUSED", "x").env_remove("UNUSED");
    spec.directory = Some(folder.path().to_owned());
    spec.log = Some(LogSpec::new(folder.path().join("server.log")));
    let handle = start(spec).await;
    let status = until(&handle, |status| status.state == State::Running).await;
    let pid = status.pid.unwrap();
    assert_eq!(status.ready.unwrap()["pid"], pid);
    handle.stop().await;
    assert_eq!(handle.status().state, State::Stopped);
    assert!(!is_alive(pid));
    // It left by itself: a signal would have cut the last line.
    assert_eq!(fs::read_to_string(folder.path().join("server.log")).unwrap(), "starting\nleaving\n");
    handle.shutdown().await;
}

#[tokio::test]
async fn a_killed_server_comes_back() {
    let handle = start(shell(SERVER)).await;
    let first = until(&handle, |status| status.state == State::Running).await.pid.unwrap();
    let killed = std::process::Command::new("kill").args(["-9", &first.to_string()]).status().unwrap();
    assert!(killed.success());
    let status = until(&handle, |status| status.state == State::Running && status.pid != Some(first)).await;
    assert_eq!(status.restarts, 1);
    assert_eq!(status.last_crash.unwrap().reason, CrashReason::Signal(9));
    handle.shutdown().await;
}

#[tokio::test]
async fn a_broken_server_ends_in_a_crash_loop_with_its_words() {
    let mut spec = shell("echo 'cannot open the store' >&2; exit 3");
    spec.restart = Restart { first: Duration::from_millis(1), give_up_after: 3, ..Restart::default() };
    let handle = start(spec).await;
    let status = until(&handle, |status| matches!(status.state, State::Crashed { crash_loop: true, .. })).await;
    let crash = status.last_crash.unwrap();
    assert_eq!((crash.reason, crash.log), (CrashReason::Exit(3), vec!["cannot open the store".to_owned()]));
    assert_eq!(status.restarts, 2);
    handle.shutdown().await;
}

#[tokio::test]
async fn a_server_that_ignores_its_input_gets_sigterm_and_one_that_ignores_that_is_killed() {
    for (script, after_terminate, last_words) in [
        (
            "trap 'echo terminated >&2; exit 0' TERM; echo '{\"event\":\"ready\"}'; while :; do read x || sleep 0.01; done",
            60_000,
            true,
        ),
        ("trap '' TERM; echo '{\"event\":\"ready\"}'; while :; do read x || sleep 0.01; done", 1, false),
    ] {
        let mut spec = shell(script);
        spec.stop =
            Stop { after_stdin: Duration::from_millis(1), after_terminate: Duration::from_millis(after_terminate) };
        let handle = start(spec).await;
        let pid = until(&handle, |status| status.state == State::Running).await.pid.unwrap();
        handle.stop().await;
        assert_eq!(handle.status().state, State::Stopped);
        assert!(!is_alive(pid));
        handle.shutdown().await;
        assert_eq!(handle.tail(5).contains(&"terminated".to_owned()), last_words);
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let handle = start(Spec::new("none", "/nonexistent/program")).await;
    let status = until(&handle, |status| matches!(status.state, State::Crashed { .. })).await;
    let State::Crashed { reason: CrashReason::Spawn(text), .. } = status.state else { panic!("{status:?}") };
    assert!(text.starts_with("/nonexistent/program: "), "{text}");
}

#[tokio::test]
async fn a_grandchild_that_holds_the_output_does_not_hold_the_supervisor() {
    let handle = start(shell("echo '{\"event\":\"ready\"}'; sleep 600 & echo $! >&2; exit 4")).await;
    let status = until(&handle, |status| status.last_crash.is_some()).await;
    let crash = status.last_crash.unwrap();
    assert_eq!(crash.reason, CrashReason::Exit(4));
    handle.shutdown().await;
    // Every life left one; the tests clean up after them.
    for pid in handle.tail(100) {
        std::process::Command::new("kill").arg(pid).status().unwrap();
    }
}
