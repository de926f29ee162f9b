//! [`/presence/{userId}/status`](https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3presenceuseridstatus).

use hearth_sync::presence::{last_active_ago, matrix_state};
use hearth_transitory::{PresenceState, timers};
use ruma::api::client::presence::{get_presence, set_presence};

use crate::client::{ApiError, Args, ClientState};

/// `PUT`
pub(super) async fn set(
    state: ClientState,
    args: Args<set_presence::v3::Request>,
) -> Result<set_presence::v3::Response, ApiError> {
    let Args { request, session, .. } = args;
    if request.user_id != session.user_id {
        return Err(ApiError::forbidden("Nobody is present for others."));
    }
    state
        .sync
        .set_presence(&session.user_id, &session.device_id, &request.presence, request.status_msg.as_deref())
        .await?;
    Ok(set_presence::v3::Response::new())
}

/// `GET`
pub(super) async fn get(
    state: ClientState,
    args: Args<get_presence::v3::Request>,
) -> Result<get_presence::v3::Response, ApiError> {
    let presence = state.sync.presence_of(&args.session.user_id, &args.request.user_id).await?;
    let mut response = get_presence::v3::Response::new(matrix_state(presence.state));
    response.last_active_ago = last_active_ago(&presence, timers::now());
    response.currently_active = (presence.state == PresenceState::Online).then_some(presence.currently_active);
    response.status_msg = presence.status_msg;
    Ok(response)
}
