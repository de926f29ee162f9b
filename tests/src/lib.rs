//! What the whole-system tests share.

pub mod person;
mod test_server;
pub mod webdriver;

pub use test_server::{Account, Options, Ready, Running, TestServer, binary, command, run, shared_secret_mac};
