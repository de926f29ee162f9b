//! The client-server API: <https://spec.matrix.org/v1.19/client-server-api/>.
//!
//! A handler is `async fn send(state: ClientState, args: Args<R>) -> Result<R::OutgoingResponse, ApiError>` with ruma's
//! request type `R`; `args.session` is a [`hearth_accounts::Session`], an `Option` of one or `()`, as ruma's scheme for
//! `R` says. [`route`] registers it under every path (`r0`, `v3`, unstable) and the right method. `?` turns the databases'
//! errors into answers. What ruma has no type for is a plain axum handler with [`extract::Json`] and
//! [`extract::Authenticated`].
//!
//! Every request takes the same way: [`observe`] gives it an id, a span and its CORS headers; the router finds
//! the endpoint; [`extract`] checks the limits and the token and parses it into ruma's type; the handler calls one
//! database function; [`error`] turns failures into Matrix codes. Handlers live in the folders below, each with
//! its `routes()`.

mod account;
mod body;
mod discovery;
pub mod error;
pub mod extract;
mod in_flight;
mod observe;
mod optional;
pub mod rate_limit;
mod room_read;
mod room_write;
mod state;
mod sync;

use axum::{Router, middleware};

pub use error::ApiError;
pub use extract::{Args, route};
pub use in_flight::InFlight;
pub use rate_limit::RateLimiter;
pub use state::{ClientParts, ClientState};

/// The whole client API with `/.well-known/matrix` and `/_hearth/health`.
///
/// The listener must add [`axum::extract::ConnectInfo`] with the peer's socket address to every request, so that
/// limits by address work.
pub fn router(state: ClientState) -> Router {
    let routes = Router::new()
        .merge(discovery::routes())
        .merge(account::routes())
        .merge(room_write::routes())
        .merge(room_read::routes())
        .merge(sync::routes());
    assemble(routes, state)
}

/// Puts around `routes` what every endpoint has.
fn assemble(routes: Router<ClientState>, state: ClientState) -> Router {
    routes
        .fallback(async || ApiError::unrecognized())
        .method_not_allowed_fallback(async || ApiError::wrong_method())
        .layer(middleware::from_fn_with_state(state.clone(), observe::observe))
        .with_state(state)
}

#[cfg(test)]
mod test_support;
#[cfg(test)]
mod tests;
