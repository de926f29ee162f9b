//! The client-server API over HTTP, without a client library. What is expected is what the
//! [specification](https://spec.matrix.org/v1.19/client-server-api/) says.

#![allow(clippy::unwrap_used)] // a test

mod create_room;
mod discovery;
mod errors;
mod junk;
mod rooms;
mod routes;
mod security;
mod support;
mod sync;
mod upgrades;
mod visibility;
