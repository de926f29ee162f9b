//! [Reporting content](https://spec.matrix.org/v1.19/client-server-api/#reporting-content) to the administrator.

use axum::Router;
use hearth_rooms::reports::Reported;
use ruma::{
    MilliSecondsSinceUnixEpoch,
    api::client::{
        reporting::report_user,
        room::{report_content, report_room},
    },
};

use crate::client::{ApiError, Args, ClientState, route};

pub(super) fn routes() -> Router<ClientState> {
    let router = route::<report_content::v3::Request, _, _>(Router::new(), event);
    let router = route::<report_room::v3::Request, _, _>(router, room);
    route::<report_user::v3::Request, _, _>(router, user)
}

fn now() -> u64 {
    MilliSecondsSinceUnixEpoch::now().0.into()
}

async fn event(
    state: ClientState,
    Args { request, session, .. }: Args<report_content::v3::Request>,
) -> Result<report_content::v3::Response, ApiError> {
    let reported = Reported::Event(&request.room_id, &request.event_id);
    let reason = request.reason.unwrap_or_default();
    state.rooms.report(&session.user_id, reported, &reason, now()).await?;
    Ok(report_content::v3::Response::new())
}

async fn room(
    state: ClientState,
    Args { request, session, .. }: Args<report_room::v3::Request>,
) -> Result<report_room::v3::Response, ApiError> {
    state.rooms.report(&session.user_id, Reported::Room(&request.room_id), &request.reason, now()).await?;
    Ok(report_room::v3::Response::new())
}

async fn user(
    state: ClientState,
    Args { request, session, .. }: Args<report_user::v3::Request>,
) -> Result<report_user::v3::Response, ApiError> {
    let user = &request.user_id;
    let known = if user.server_name() == state.server_name {
        state.accounts.user(user).await?.is_some()
    } else {
        state.rooms.knows_user(user).await?
    };
    if !known {
        return Err(ApiError::not_found("The user was not found."));
    }
    state.rooms.report(&session.user_id, Reported::User(user), &request.reason, now()).await?;
    Ok(report_user::v3::Response::new())
}
