//! FoundationDB's C API (`libfdb_c`, API version 740), bound at run time instead of by the linker.
//!
//! One executable has to run with and without FoundationDB installed. Upstream's `foundationdb-sys` links the library, so
//! that a program built with it neither builds nor starts where the library is missing. This crate takes its place (the
//! workspace patches it in) with the same names, and looks for the library when [`library::load`] is called:
//!
//! - [`functions`](mod@functions): one line per C function, from which come its entry in the table of pointers, its lookup
//!   and the function that the `foundationdb` crate calls. The cost per call is one atomic load and an indirect jump.
//! - `types` and `options`: the C types and constants.
//! - [`library`]: where the library is looked for.
//! - [`network`]: API version and network thread, started once per process, stopped when the process exits.
//!
//! The declarations are written by hand from FoundationDB's documented C API. A generator would need libclang on the machine
//! of everyone who builds Hearth, for about fifty functions that have not changed since FoundationDB 7.3.
//!
//! All `unsafe` code of the project is in this crate; `library` and `network` offer safe functions, so that the
//! store has none.
#![allow(unsafe_code)] // the purpose of this crate

#[macro_use]
mod versions;
mod functions;
pub mod library;
pub mod network;
mod options;
mod types;

pub use functions::*;
pub use options::*;
pub use types::*;

/// The API version that these declarations are of.
pub const FDB_API_VERSION: u32 = 740;
/// The oldest API version that works with them: 7.3's library has every function, with the same types.
pub const OLDEST_API_VERSION: i32 = 730;
/// What a function that returns an error code answers while no library is loaded. FoundationDB's own codes are smaller.
pub const LIBRARY_NOT_LOADED: fdb_error_t = 20_000;
