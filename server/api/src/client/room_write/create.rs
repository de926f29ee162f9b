//! [`POST /createRoom`](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3createroom).

use std::collections::HashMap;

use axum::Router;
use hearth_rooms::RoomError;
use ruma::api::{client::room::create_room, error::ErrorKind};

use super::{invited_profile, member_profile};
use crate::client::{ApiError, Args, ClientState, route};

pub(super) fn routes() -> Router<ClientState> {
    route::<create_room::v3::Request, _, _>(Router::new(), create)
}

async fn create(
    state: ClientState,
    args: Args<create_room::v3::Request>,
) -> Result<create_room::v3::Response, ApiError> {
    let creator = &args.session.user_id;
    let mut profiles = HashMap::from([(creator.clone(), member_profile(&state, creator).await?)]);
    for user in &args.request.invite {
        if let Some(profile) = invited_profile(&state, user).await? {
            profiles.insert(user.clone(), profile);
        }
    }
    match state.rooms.create_with_profiles(creator, &profiles, args.request).await {
        Ok(room_id) => Ok(create_room::v3::Response::new(room_id)),
        Err(error @ RoomError::AliasInUse) => Err(ApiError::bad_request(ErrorKind::RoomInUse, error.to_string())),
        Err(error) => Err(error.into()),
    }
}
