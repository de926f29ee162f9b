//! Supervision of child processes: start, readiness, health, crash restart with backoff, graceful stop, logs.
//!
//! The crate knows nothing of Matrix and nothing of the desktop. A [`Spec`] says what to run; [`supervise`] gives a
//! [`Handle`] and a [`Supervisor`] whose [`Supervisor::run`] the owner spawns and awaits. Everyone else watches
//! [`Status`] through [`Handle::subscribe`].
//!
//! ```no_run
//! use hearth_supervisor::{OsLauncher, Spec, supervise};
//!
//! # async fn example() {
//! let (handle, supervisor) = supervise(OsLauncher);
//! let task = tokio::spawn(supervisor.run());
//! handle.configure(Spec::new("server", "hearth").args(["serve", "--exit-on-stdin-eof"])).await;
//! handle.start().await;
//! handle.subscribe().wait_for(|status| status.state.is_up()).await.ok();
//! handle.shutdown().await;
//! task.await.ok();
//! # }
//! ```
//!
//! Rules it follows:
//! - the child's standard input is a pipe that only the supervisor holds, so a child that leaves at its end never
//!   outlives a killed parent;
//! - exit codes mean something ([`exit_code`]): 0 is a stop, 75 asks for a restart, 78 is a configuration error that no
//!   restart can cure;
//! - a few quick exits in a row are a crash loop: it stops and shows the last log lines;
//! - a stop is first a closed standard input, then SIGTERM, then SIGKILL, each with its deadline.

pub mod foundationdb;
pub mod health;
mod holder;
pub mod lock;
mod log;
pub mod port;
mod process;
mod restart;
mod spec;
mod status;
mod supervisor;

pub use holder::{Holder, process_name};
pub use log::{LogFile, Tail};
pub use process::{Exit, ExitFuture, Launcher, OsLauncher, Output, Process, exit_code, terminate};
pub use restart::{Restart, Verdict};
pub use spec::{Context, Health, LogSpec, Obstacle, Preflight, Probe, Readiness, Spec, Stop, probe};
pub use status::{Crash, CrashReason, NextAction, State, Status};
pub use supervisor::{Handle, Supervisor, supervise};
