//! HTTP: everything that Hearth answers. [`client`] is for Matrix clients, [`admin`] for the owner's dashboard.
//!
//! Holds no rules: handlers parse, call one function of a database or of the sync engine, and serialize.

pub mod admin;
pub mod client;
mod error_chain;
pub mod metrics;
