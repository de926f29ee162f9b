//! Related events and threads.

use axum::Router;
use hearth_accounts::Session;
use hearth_rooms::relations::{RelationsPage, RelationsRequest};
use ruma::{
    EventId, RoomId, UInt,
    api::client::{
        relations::{
            get_relating_events::v1 as of_event, get_relating_events_with_rel_type::v1 as of_rel_type,
            get_relating_events_with_rel_type_and_event_type::v1 as of_type,
        },
        threads::get_threads::v1::{self as get_threads, IncludeThreads},
    },
    serde::Raw,
};

use super::{ignored, reader};
use crate::client::{ApiError, Args, ClientState, optional::Optional, route};

pub(super) fn routes() -> Router<ClientState> {
    let router = route(Router::new(), relations);
    let router = route(router, relations_of_rel_type);
    let router = route(router, relations_of_type);
    route(router, threads)
}

/// The three forms have the same response, which ruma has as three types.
macro_rules! respond {
    ($form:ident, $page:expr) => {{
        let page: RelationsPage = $page;
        let mut response = $form::Response::new(page.chunk.into_iter().map(Raw::cast_unchecked).collect());
        response.next_batch = page.next_batch;
        response.prev_batch = page.prev_batch;
        response.recursion_depth = page.recursion_depth.map(UInt::new_saturating);
        Ok(response)
    }};
}

/// `GET /rooms/{roomId}/relations/{eventId}`
async fn relations(state: ClientState, args: Args<of_event::Request>) -> Result<of_event::Response, ApiError> {
    let request = args.request;
    let wanted = RelationsRequest {
        rel_type: None,
        event_type: None,
        from: request.from,
        to: request.to,
        direction: request.dir,
        limit: request.limit.map(Into::into),
        recurse: request.recurse,
    };
    respond!(of_event, read(&state, &args.session, &request.room_id, &request.event_id, &wanted).await?)
}

/// `GET /rooms/{roomId}/relations/{eventId}/{relType}`
async fn relations_of_rel_type(
    state: ClientState,
    args: Args<of_rel_type::Request>,
) -> Result<of_rel_type::Response, ApiError> {
    let request = args.request;
    let wanted = RelationsRequest {
        rel_type: Some(request.rel_type.to_string()),
        event_type: None,
        from: request.from,
        to: request.to,
        direction: request.dir,
        limit: request.limit.map(Into::into),
        recurse: request.recurse,
    };
    respond!(of_rel_type, read(&state, &args.session, &request.room_id, &request.event_id, &wanted).await?)
}

/// `GET /rooms/{roomId}/relations/{eventId}/{relType}/{eventType}`
async fn relations_of_type(state: ClientState, args: Args<of_type::Request>) -> Result<of_type::Response, ApiError> {
    let request = args.request;
    let wanted = RelationsRequest {
        rel_type: Some(request.rel_type.to_string()),
        event_type: Some(request.event_type.to_string()),
        from: request.from,
        to: request.to,
        direction: request.dir,
        limit: request.limit.map(Into::into),
        recurse: request.recurse,
    };
    respond!(of_type, read(&state, &args.session, &request.room_id, &request.event_id, &wanted).await?)
}

async fn read(
    state: &ClientState,
    session: &Session,
    room_id: &RoomId,
    event_id: &EventId,
    wanted: &RelationsRequest,
) -> Result<RelationsPage, ApiError> {
    let ignored = ignored(state, session).await?;
    Ok(state.rooms.relations(room_id, &reader(session).ignoring(&ignored), event_id, wanted).await?)
}

/// `GET /rooms/{roomId}/threads`
async fn threads(
    state: ClientState,
    args: Args<Optional<get_threads::Request>>,
) -> Result<get_threads::Response, ApiError> {
    let get_threads::Request { room_id, from, include, limit, .. } = args.request.0;
    let limit = limit.map(Into::into);
    let participated = match include {
        IncludeThreads::All => false,
        IncludeThreads::Participated => true,
        other => return Err(ApiError::invalid_param(format!("include is all or participated, not {other:?}."))),
    };
    let ignored = ignored(&state, &args.session).await?;
    let reader = reader(&args.session).ignoring(&ignored);
    let page = state.rooms.threads(&room_id, &reader, from.as_deref(), limit, participated).await?;
    let mut response = get_threads::Response::new(page.chunk);
    response.next_batch = page.next_batch;
    Ok(response)
}
