//! Registration tokens: invitations to make an account on this server.

use std::sync::Arc;

use axum::{Json, extract::State};
use hearth_accounts::RegistrationToken as Token;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Body, Path};
use crate::admin::{clock::unix_millis, error::AdminError, state::Admin};

/// A registration token.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(in crate::admin) struct RegistrationToken {
    /// The token, as people type it.
    token: String,
    /// How many accounts it is good for; absent for any number.
    uses_allowed: Option<u64>,
    /// Registrations that have begun.
    pending: u64,
    /// Accounts made with it.
    completed: u64,
    /// When it expires, Unix milliseconds; absent for never.
    expires_at: Option<u64>,
    /// When it was made, Unix milliseconds.
    created_at: u64,
}

impl From<Token> for RegistrationToken {
    fn from(token: Token) -> Self {
        Self {
            token: token.token,
            uses_allowed: token.uses_allowed,
            pending: token.pending,
            completed: token.completed,
            expires_at: token.expires_ts,
            created_at: token.created_ts,
        }
    }
}

/// A registration token to be made.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(in crate::admin) struct CreateRegistrationToken {
    /// The token; made up where it is missing. Letters, digits and `.`, `_`, `~`, `-`, at most 64.
    token: Option<String>,
    /// How many accounts it is good for; any number where it is missing.
    #[schema(minimum = 1)]
    uses_allowed: Option<u64>,
    /// When it expires, Unix milliseconds; never where it is missing.
    expires_at: Option<u64>,
}

/// The specification's grammar of a registration token.
fn is_token(token: &str) -> bool {
    (1..=64).contains(&token.len())
        && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b'-'))
}

/// All registration tokens, the newest first.
#[utoipa::path(get, path = "/registration_tokens", operation_id = "list_registration_tokens", tag = "registration tokens", responses(
    (status = OK, body = Vec<RegistrationToken>),
    (status = "default", body = AdminError),
))]
pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Result<Json<Vec<RegistrationToken>>, AdminError> {
    let mut tokens = admin.parts.accounts.registration_tokens().await?;
    tokens.sort_by(|a, b| b.created_ts.cmp(&a.created_ts).then_with(|| a.token.cmp(&b.token)));
    Ok(Json(tokens.into_iter().map(RegistrationToken::from).collect()))
}

/// Makes a registration token.
#[utoipa::path(
    post,
    path = "/registration_tokens",
    operation_id = "create_registration_token",
    tag = "registration tokens",
    request_body = CreateRegistrationToken,
    responses((status = CREATED, body = RegistrationToken), (status = "default", body = AdminError)),
)]
pub(super) async fn create(
    State(admin): State<Arc<Admin>>,
    Body(body): Body<CreateRegistrationToken>,
) -> Result<(StatusCode, Json<RegistrationToken>), AdminError> {
    let accounts = &admin.parts.accounts;
    if body.uses_allowed == Some(0) {
        return Err(AdminError::invalid("uses_allowed", "A token is good for at least one account."));
    }
    if body.expires_at.is_some_and(|at| at <= unix_millis()) {
        return Err(AdminError::invalid("expires_at", "This time has passed."));
    }
    if let Some(token) = &body.token {
        if !is_token(token) {
            let message = "A token has 1 to 64 letters, digits and the signs . _ ~ -";
            return Err(AdminError::invalid("token", message));
        }
        if accounts.registration_tokens().await?.iter().any(|known| known.token == *token) {
            return Err(AdminError::conflict("token", "There is such a token already."));
        }
    }
    let token = accounts.create_registration_token(body.token.as_deref(), body.uses_allowed, body.expires_at).await?;
    tracing::info!(uses_allowed = body.uses_allowed, "registration token created");
    Ok((StatusCode::CREATED, Json(token.into())))
}

/// Deletes a registration token. Accounts that were made with it stay.
#[utoipa::path(
    delete,
    path = "/registration_tokens/{token}",
    operation_id = "delete_registration_token",
    tag = "registration tokens",
    params(("token" = String, Path)),
    responses((status = NO_CONTENT), (status = "default", body = AdminError)),
)]
pub(super) async fn delete(
    State(admin): State<Arc<Admin>>,
    Path(token): Path<String>,
) -> Result<StatusCode, AdminError> {
    admin.parts.accounts.delete_registration_token(&token).await?;
    tracing::info!("registration token deleted");
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_follow_the_grammar() {
        for token in ["a", "Abc-1_~.", &"x".repeat(64)] {
            assert!(is_token(token), "{token}");
        }
        for token in ["", "a b", "a/b", "ä", &"x".repeat(65)] {
            assert!(!is_token(token), "{token}");
        }
    }
}
