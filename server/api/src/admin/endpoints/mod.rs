//! The admin API's endpoints, one module for each kind of thing, and the extractors that they share.

// utoipa's derive macros repeat a handler's parameter types in their own code, which sets the lint off here.
#![allow(unused_qualifications)]
// Fields are named as the Matrix API names them: `user_id` in a user, `room_id` in a room.
#![allow(clippy::struct_field_names)]

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRequest, FromRequestParts, Request},
};
use http::request::Parts;
use serde::de::DeserializeOwned;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{error::AdminError, state::Admin};

mod backups;
mod jobs;
mod live;
mod logs;
mod overview;
mod registration;
mod registration_tokens;
mod rooms;
mod storage;
mod users;

/// All endpoints, relative to `/_hearth/admin/v1`.
pub(super) fn router() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::default()
        .routes(routes!(overview::overview))
        .routes(routes!(overview::routes))
        .routes(routes!(overview::caches))
        .routes(routes!(live::events))
        .routes(routes!(logs::logs))
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::get))
        .routes(routes!(users::reset_password))
        .routes(routes!(users::deactivate))
        .routes(routes!(users::set_admin))
        .routes(routes!(users::devices))
        .routes(routes!(users::delete_device))
        .routes(routes!(rooms::list))
        .routes(routes!(rooms::get))
        .routes(routes!(rooms::members))
        .routes(routes!(rooms::state))
        .routes(routes!(registration::get, registration::set))
        .routes(routes!(registration_tokens::list, registration_tokens::create))
        .routes(routes!(registration_tokens::delete))
        .routes(routes!(storage::get))
        .routes(routes!(storage::growth))
        .routes(routes!(storage::measure))
        .routes(routes!(backups::list, backups::start))
        .routes(routes!(backups::delete))
        .routes(routes!(backups::verify))
        .routes(routes!(backups::write))
        .routes(routes!(backups::work, backups::cancel_work))
        .routes(routes!(jobs::counts))
        .routes(routes!(jobs::list))
        .routes(routes!(jobs::get))
        .routes(routes!(jobs::retry))
        .routes(routes!(jobs::cancel))
}

/// A JSON body whose faults are answered as [`AdminError`].
pub(super) struct Body<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = AdminError;

    async fn from_request(request: Request, state: &S) -> Result<Self, AdminError> {
        let Json(value) = Json::from_request(request, state).await?;
        Ok(Self(value))
    }
}

/// A query whose faults are answered as [`AdminError`].
pub(super) struct Query<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = AdminError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AdminError> {
        let axum::extract::Query(value) = axum::extract::Query::from_request_parts(parts, state).await?;
        Ok(Self(value))
    }
}

/// Path parameters whose faults are answered as [`AdminError`].
pub(super) struct Path<T>(T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = AdminError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AdminError> {
        let axum::extract::Path(value) = axum::extract::Path::from_request_parts(parts, state).await?;
        Ok(Self(value))
    }
}
