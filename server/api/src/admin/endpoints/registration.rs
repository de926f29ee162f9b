//! Who may register.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Body;
use crate::admin::{error::AdminError, figures::RegistrationMode, state::Admin};

/// Who may register, and what says so.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(in crate::admin) struct Registration {
    /// Who may register now.
    mode: RegistrationMode,
    /// What the configuration says.
    configured: RegistrationMode,
    /// Whether it was chosen here and not in the configuration.
    chosen: bool,
}

/// Who is to be let in.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(in crate::admin) struct SetRegistration {
    /// Who may register; absent: as the configuration says.
    mode: Option<RegistrationMode>,
}

async fn read(admin: &Admin) -> Result<Json<Registration>, AdminError> {
    let accounts = &admin.parts.accounts;
    let configured = accounts.config().registration.into();
    let chosen = accounts.chosen_registration_mode().await?.map(RegistrationMode::from);
    Ok(Json(Registration { mode: chosen.unwrap_or(configured), configured, chosen: chosen.is_some() }))
}

/// Who may register.
#[utoipa::path(get, path = "/registration", operation_id = "get_registration", tag = "registration", responses(
    (status = OK, body = Registration),
    (status = "default", body = AdminError),
))]
pub(super) async fn get(State(admin): State<Arc<Admin>>) -> Result<Json<Registration>, AdminError> {
    read(&admin).await
}

/// Chooses who may register, at once and until something else is chosen, whatever the configuration says.
#[utoipa::path(
    put,
    path = "/registration",
    operation_id = "set_registration",
    tag = "registration",
    request_body = SetRegistration,
    responses((status = OK, body = Registration), (status = "default", body = AdminError)),
)]
pub(super) async fn set(
    State(admin): State<Arc<Admin>>,
    Body(body): Body<SetRegistration>,
) -> Result<Json<Registration>, AdminError> {
    admin.parts.accounts.choose_registration_mode(body.mode.map(Into::into)).await?;
    tracing::info!(mode = ?body.mode, "registration mode chosen");
    read(&admin).await
}
