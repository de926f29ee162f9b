//! What asks the server to stop.

use std::io::Read;

use tokio::sync::oneshot;

use crate::failure::{Failure, RESTART, STOP};

/// Waits for the first reason to stop, and says with which exit code.
pub(crate) struct StopSignal {
    #[cfg(unix)]
    signals: [(tokio::signal::unix::Signal, &'static str, u8); 3],
    stdin: Option<oneshot::Receiver<()>>,
}

impl StopSignal {
    /// From now on signals are noticed: SIGTERM and SIGINT stop, SIGHUP asks for a restart. With
    /// `exit_on_stdin_eof` the end of standard input stops, too, so that a child never outlives its parent.
    pub(crate) fn install(exit_on_stdin_eof: bool) -> Result<Self, Failure> {
        #[cfg(unix)]
        let signals = {
            use tokio::signal::unix::{SignalKind, signal};
            let signal =
                |kind| signal(kind).map_err(|error| Failure::internal(format!("signals cannot be caught: {error}")));
            [
                (signal(SignalKind::terminate())?, "SIGTERM", STOP),
                (signal(SignalKind::interrupt())?, "SIGINT", STOP),
                (signal(SignalKind::hangup())?, "SIGHUP", RESTART),
            ]
        };
        Ok(Self {
            #[cfg(unix)]
            signals,
            stdin: exit_on_stdin_eof.then(watch_stdin).transpose()?,
        })
    }

    /// The exit code that the first reason asks for.
    pub(crate) async fn wait(&mut self) -> u8 {
        let stdin = async {
            match &mut self.stdin {
                Some(stdin) => _ = stdin.await,
                None => std::future::pending().await,
            }
        };
        #[cfg(unix)]
        {
            let [terminate, interrupt, hangup] = &mut self.signals;
            let (name, code) = tokio::select! {
                () = stdin => ("end of standard input", STOP),
                _ = terminate.0.recv() => (terminate.1, terminate.2),
                _ = interrupt.0.recv() => (interrupt.1, interrupt.2),
                _ = hangup.0.recv() => (hangup.1, hangup.2),
            };
            tracing::info!("stopping: {name}");
            code
        }
        #[cfg(not(unix))]
        {
            tokio::select! {
                () = stdin => tracing::info!("stopping: end of standard input"),
                _ = tokio::signal::ctrl_c() => tracing::info!("stopping: Ctrl+C"),
            }
            STOP
        }
    }
}

/// A thread of its own, since a read of standard input cannot be cancelled: as a task of the runtime it would
/// keep the process from ending after a signal. It ends with the process.
fn watch_stdin() -> Result<oneshot::Receiver<()>, Failure> {
    let (ended, receiver) = oneshot::channel();
    let watch = move || {
        let mut buffer = [0; 256];
        let mut stdin = std::io::stdin().lock();
        loop {
            match stdin.read(&mut buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        // Nobody listens any more when the server stops already.
        let _ = ended.send(());
    };
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(watch)
        .map_err(|error| Failure::internal(format!("a thread cannot be started: {error}")))?;
    Ok(receiver)
}
