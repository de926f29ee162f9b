//! Starting, signalling and reaping an operating-system process, behind a trait so that the supervisor's rules are tested
//! without one.

use crate::spec::Spec;
use std::{future::Future, io, pin::Pin, process::Stdio};
use tokio::{
    io::AsyncRead,
    process::{Child, ChildStdin, Command},
};

/// What a supervised process says with its exit code (sysexits.h where it has a name for it).
pub mod exit_code {
    /// It stopped as it should.
    pub const STOP: i32 = 0;
    /// It wants to be started again (`EX_TEMPFAIL`).
    pub const RESTART: i32 = 75;
    /// Its configuration is wrong, and no restart can help (`EX_CONFIG`).
    pub const CONFIGURATION: i32 = 78;
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It left with this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

/// A stream of the child's output.
pub type Output = Box<dyn AsyncRead + Send + Unpin>;

/// A future that borrows a process.
pub type ExitFuture<'a> = Pin<Box<dyn Future<Output = io::Result<Exit>> + Send + 'a>>;

/// Starts processes.
pub trait Launcher: Send + Sync + 'static {
    /// Starts the program of `spec` with piped standard input and outputs.
    fn launch(&self, spec: &Spec) -> io::Result<Box<dyn Process>>;
}

/// A running process. Dropping it kills it.
pub trait Process: Send {
    /// Its process id, while it has one.
    fn id(&self) -> Option<u32>;
    /// Its standard output and standard error; only the first call gives them.
    fn outputs(&mut self) -> Option<(Output, Output)>;
    /// Closes its standard input: the polite request to leave.
    fn close_stdin(&mut self);
    /// Asks it to leave (SIGTERM; elsewhere than on Unix as [`Process::kill`]).
    fn terminate(&mut self) -> io::Result<()>;
    /// Ends it at once.
    fn kill(&mut self) -> io::Result<()>;
    /// Waits for its end. Cancel-safe; may be called again.
    fn wait(&mut self) -> ExitFuture<'_>;
}

/// Starts real processes. On Unix each gets a process group of its own, so that Ctrl-C in a terminal reaches only the parent, which
/// then stops its children in order.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsLauncher;

impl Launcher for OsLauncher {
    fn launch(&self, spec: &Spec) -> io::Result<Box<dyn Process>> {
        let mut command = Command::new(&spec.program);
        command.args(&spec.args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        for (key, value) in &spec.env {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        if let Some(directory) = &spec.directory {
            command.current_dir(directory);
        }
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn()?;
        let stdin = child.stdin.take();
        Ok(Box::new(OsProcess { child, stdin }))
    }
}

/// Asks a process that is not our child to leave (SIGTERM). Make sure just before that the number is still the one meant.
pub fn terminate(pid: u32) -> io::Result<()> {
    #[cfg(unix)]
    {
        use rustix::process::{Pid, Signal, kill_process};
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(kill_process(pid, Signal::TERM)?)
    }
    #[cfg(not(unix))]
    {
        let _ = pid;
        Err(io::ErrorKind::Unsupported.into())
    }
}

struct OsProcess {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Process for OsProcess {
    fn id(&self) -> Option<u32> {
        self.child.id()
    }

    fn outputs(&mut self) -> Option<(Output, Output)> {
        Some((Box::new(self.child.stdout.take()?), Box::new(self.child.stderr.take()?)))
    }

    fn close_stdin(&mut self) {
        self.stdin = None;
    }

    fn terminate(&mut self) -> io::Result<()> {
        if cfg!(not(unix)) {
            return self.kill();
        }
        // No id means that it was reaped: there is nobody to ask, and no risk of hitting a stranger with the same number.
        self.child.id().map_or(Ok(()), terminate)
    }

    fn kill(&mut self) -> io::Result<()> {
        match self.child.id() {
            Some(_) => self.child.start_kill(),
            None => Ok(()),
        }
    }

    fn wait(&mut self) -> ExitFuture<'_> {
        Box::pin(async {
            // tokio's `wait` would close standard input first; it was taken out, so it stays open until `close_stdin`.
            let status = self.child.wait().await?;
            #[cfg(unix)]
            if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
                return Ok(Exit::Signal(signal));
            }
            Ok(Exit::Code(status.code().unwrap_or(-1)))
        })
    }
}
