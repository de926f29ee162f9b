//! Requests that change rooms: create, join and leave, send, state, redact, aliases, upgrade;
//! and reports.

mod create;
mod directory;
mod events;
mod membership;
mod reports;
#[cfg(test)]
mod tests;
mod upgrade;

use axum::Router;
use hearth_accounts::AccountError;
use hearth_rooms::membership::MemberProfile;
use ruma::UserId;

use crate::client::{ApiError, ClientState};

/// The routes of this part.
pub(super) fn routes() -> Router<ClientState> {
    Router::new()
        .merge(create::routes())
        .merge(events::routes())
        .merge(membership::routes())
        .merge(directory::routes())
        .merge(reports::routes())
        .merge(upgrade::routes())
}

/// The profile that a user's member events show.
async fn member_profile(state: &ClientState, user: &UserId) -> Result<MemberProfile, AccountError> {
    let profile = state.accounts.profile(user).await?;
    Ok(MemberProfile { displayname: profile.displayname(), avatar_url: profile.avatar_url() })
}

/// The profile of a user who is invited. `None` for a user of another server; one of this server must exist.
async fn invited_profile(state: &ClientState, user: &UserId) -> Result<Option<MemberProfile>, ApiError> {
    if user.server_name() != state.server_name {
        return Ok(None);
    }
    match member_profile(state, user).await {
        Ok(profile) => Ok(Some(profile)),
        Err(AccountError::UserNotFound) => Err(ApiError::not_found(format!("{user} is not a user of this server."))),
        Err(error) => Err(error.into()),
    }
}
