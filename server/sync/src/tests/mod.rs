//! The engine over real databases in memory, seen as a client sees it: through `/sync`'s JSON.

mod audience;
mod filters;
mod hammer;
mod history;
mod long_poll;
mod rooms;
mod tokens;
mod two_processes;
mod world;
