//! Registration, login, devices, profiles, account data, push rules and the user directory.
//!
//! Limits by address or user for what takes a secret or makes an account come from the framework, by path
//! ([`crate::client::rate_limit::Class`]); passwords given to interactive authentication are counted in [`uia`].

mod account_data;
mod devices;
mod directory;
mod filters;
mod login;
mod own_account;
mod parts;
mod profile;
mod push_rules;
mod pushers;
mod register;
mod shared_secret;
mod tags;
pub(crate) mod uia;

#[cfg(test)]
mod tests;

use axum::{Router, routing::MethodRouter};
use hearth_accounts::Session;
use ruma::{OwnedUserId, RoomId, UserId};

use crate::client::{ApiError, ClientState};

/// The routes of this part.
pub(super) fn routes() -> Router<ClientState> {
    Router::new()
        .merge(account_data::routes())
        .merge(devices::routes())
        .merge(directory::routes())
        .merge(filters::routes())
        .merge(login::routes())
        .merge(own_account::routes())
        .merge(profile::routes())
        .merge(push_rules::routes())
        .merge(pushers::routes())
        .merge(register::routes())
        .merge(shared_secret::routes())
        .merge(tags::routes())
}

/// Registers a plain handler under its stable path and the one from before version 1.1.
fn v3(router: Router<ClientState>, path: &str, methods: &MethodRouter<ClientState>) -> Router<ClientState> {
    ["r0", "v3"]
        .into_iter()
        .fold(router, |router, version| router.route(&format!("/_matrix/client/{version}{path}"), methods.clone()))
}

/// The user of a path, who must be the one who asks.
fn own(session: &Session, user: &UserId) -> Result<(), ApiError> {
    if session.user_id == user { Ok(()) } else { Err(ApiError::forbidden("This belongs to another user.")) }
}

/// A user id of a path that no ruma type parses.
fn user_id(text: &str) -> Result<OwnedUserId, ApiError> {
    UserId::parse(text).map_err(|error| ApiError::invalid_param(format!("{text} is not a user id: {error}")))
}

/// A room id of such a path.
fn room_id(text: &str) -> Result<&RoomId, ApiError> {
    let room = text.try_into().map_err(|error| ApiError::invalid_param(format!("{text} is not a room id: {error}")))?;
    named(room)?;
    Ok(room)
}

/// Refuses the room id without a name, which ruma takes for one. For endpoints that do not look for the room.
fn named(room: &RoomId) -> Result<(), ApiError> {
    if room.strip_sigil().is_empty() { Err(ApiError::invalid_param("A room id has a name.")) } else { Ok(()) }
}
