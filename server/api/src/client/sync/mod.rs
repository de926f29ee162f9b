//! Sync, typing, receipts, read markers and presence.

mod markers;
mod poll;
mod presence;

use axum::Router;

use super::{ClientState, route};

/// The routes of this part.
pub(super) fn routes() -> Router<ClientState> {
    let router = Router::new();
    let router = route(router, poll::sync);
    let router = route(router, markers::typing);
    let router = route(router, markers::receipt);
    let router = route(router, markers::read_markers);
    let router = route(router, presence::set);
    route(router, presence::get)
}

#[cfg(test)]
mod tests;
