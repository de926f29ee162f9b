//! What the whole-system tests share.

// A helper of a test that finds something wrong fails the test: every one of them panics.
#![allow(clippy::missing_panics_doc)]

pub mod foundationdb;
pub mod person;
mod test_server;
pub mod webdriver;

pub use test_server::{Account, Engine, Options, Ready, Running, TestServer, binary, command, run, shared_secret_mac};
