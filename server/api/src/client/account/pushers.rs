//! [Pushers](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushers), kept as clients set them.

use axum::{Router, extract::State, routing::get};
use ruma::api::client::push::{
    PusherKind,
    set_pusher::v3::{PusherAction, Request, Response},
};
use serde_json::{Value, json, value::to_raw_value};

use super::v3;
use crate::client::{ApiError, Args, ClientState, extract::Authenticated, route};

/// The routes of this part.
pub(super) fn routes() -> Router<ClientState> {
    route(v3(Router::new(), "/pushers", &get(list)), set)
}

/// `GET /pushers`
async fn list(
    State(state): State<ClientState>,
    Authenticated(session): Authenticated,
) -> Result<axum::Json<Value>, ApiError> {
    Ok(axum::Json(json!({ "pushers": state.accounts.pushers(&session.user_id).await? })))
}

/// `POST /pushers/set`
async fn set(state: ClientState, args: Args<Request>) -> Result<Response, ApiError> {
    let user = &args.session.user_id;
    match args.request.action {
        PusherAction::Delete(ids) => state.accounts.delete_pusher(user, &ids.app_id, &ids.pushkey).await?,
        PusherAction::Post(post) => {
            match &post.pusher.kind {
                PusherKind::Http(data) if is_gateway(&data.url) => {}
                PusherKind::Http(_) => {
                    return Err(ApiError::invalid_param("data.url is an address ending in /_matrix/push/v1/notify."));
                }
                _ => return Err(ApiError::invalid_param("Only pushers of the kind http are supported.")),
            }
            let json = to_raw_value(&post.pusher).map_err(|error| ApiError::internal(&error))?;
            let name = (&*post.pusher.ids.app_id, &*post.pusher.ids.pushkey);
            state.accounts.set_pusher(user, &args.session.device_id, name, &json, post.append).await?;
        }
        _ => return Err(ApiError::invalid_param("This change of a pusher is not supported.")),
    }
    Ok(Response::new())
}

/// Whether an address can be that of a push gateway.
fn is_gateway(address: &str) -> bool {
    url::Url::parse(address).is_ok_and(|url| {
        matches!(url.scheme(), "https" | "http") && url.has_host() && url.path() == "/_matrix/push/v1/notify"
    })
}
