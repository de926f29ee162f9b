//! Hearth's desktop app: a window that runs `hearth serve` on this machine and shows its dashboard.
//!
//! The server is a child process under `hearth-supervisor`; the window shows the same page as a browser does. `COMMANDS.md` is the
//! contract between the page and this program.

// A program with a window has no console on Windows.
#![cfg_attr(not(debug_assertions), windows_subsystem = "windows")]

mod admin;
mod app;
mod commands;
mod config;
mod database;
mod desktop;
mod display;
mod error;
mod folder;
mod instance;
mod server;
mod sse;
mod state;
mod tray;
mod window;
mod words;

use tracing_subscriber::EnvFilter;

const HELP: &str = "Hearth's window: runs the Matrix homeserver on this machine and shows its dashboard.

Usage: hearth-desktop

HEARTH_DATA_DIR    another folder than the platform's for the server's data and settings
HEARTH_DESKTOP_LOG what to log on standard error, such as debug (default: warn)

Without a display it leaves with exit code 69; run `hearth serve` there.";

fn main() {
    std::process::exit(run());
}

fn run() -> i32 {
    match std::env::args().nth(1).as_deref() {
        Some("--help" | "-h") => {
            println!("{HELP}");
            return 0;
        }
        Some("--version" | "-V") => {
            println!("hearth-desktop {}", env!("CARGO_PKG_VERSION"));
            return 0;
        }
        _ => {}
    }
    let filter = EnvFilter::try_from_env("HEARTH_DESKTOP_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    display::choose_renderer();
    if let Err(reason) = display::open() {
        eprintln!("Hearth's window needs a display, and there is none here: {reason}.");
        eprintln!("On a machine without a screen run the server alone: hearth serve");
        return display::NO_DISPLAY;
    }
    let Some(folder) = folder::Folder::find() else {
        eprintln!("There is no home folder to keep the server's data in. Name one with {}.", folder::OVERRIDE);
        return 1;
    };
    app::run(folder)
}
