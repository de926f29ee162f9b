//! [Reading events](https://spec.matrix.org/v1.19/client-server-api/#getting-events-for-a-room) and notifications.

use axum::Router;
use hearth_rooms::{notifications::UnreadNotification, timeline::MessagesRequest};
use ruma::{
    MilliSecondsSinceUnixEpoch, UInt,
    api::client::{
        context::get_context::v3 as get_context, message::get_message_events::v3 as get_messages,
        push::get_notifications::v3 as get_notifications, room::get_room_event::v3 as get_event,
    },
};

use super::{filtered::Filtered, ignored, reader};
use crate::client::{ApiError, Args, ClientState, route};

/// Notifications of a page when the client does not say, and at most.
const NOTIFICATIONS: (u64, u64) = (20, 200);

pub(super) fn routes() -> Router<ClientState> {
    let router = route(Router::new(), event);
    let router = route(router, context);
    let router = route(router, messages);
    route(router, notifications)
}

/// `GET /rooms/{roomId}/event/{eventId}`
async fn event(state: ClientState, args: Args<get_event::Request>) -> Result<get_event::Response, ApiError> {
    let ignored = ignored(&state, &args.session).await?;
    let reader = reader(&args.session).ignoring(&ignored);
    let event = state.rooms.event(&args.request.room_id, &reader, &args.request.event_id).await?;
    Ok(get_event::Response::new(event))
}

/// `GET /rooms/{roomId}/context/{eventId}`
async fn context(
    state: ClientState,
    args: Args<Filtered<get_context::Request>>,
) -> Result<get_context::Response, ApiError> {
    let Filtered { request, mut filter } = args.request;
    let limit = Some(request.limit.into());
    filter.ignored = ignored(&state, &args.session).await?;
    let ignored = filter.ignored.clone();
    let reader = reader(&args.session).ignoring(&ignored);
    let context = state.rooms.context(&request.room_id, &reader, &request.event_id, limit, &filter).await?;
    let mut response = get_context::Response::new();
    response.start = Some(context.start);
    response.end = Some(context.end);
    response.events_before = context.events_before;
    response.event = Some(context.event);
    response.events_after = context.events_after;
    response.state = context.state;
    Ok(response)
}

/// `GET /rooms/{roomId}/messages`
async fn messages(
    state: ClientState,
    args: Args<Filtered<get_messages::Request>>,
) -> Result<get_messages::Response, ApiError> {
    let Filtered { request, mut filter } = args.request;
    let ignored = ignored(&state, &args.session).await?;
    filter.ignored.clone_from(&ignored);
    let wanted = MessagesRequest {
        from: request.from,
        to: request.to,
        direction: request.dir,
        limit: Some(request.limit.into()),
        filter,
    };
    let page = state.rooms.messages(&request.room_id, &reader(&args.session).ignoring(&ignored), &wanted).await?;
    let mut response = get_messages::Response::new();
    response.start = page.start;
    response.end = page.end;
    response.chunk = page.chunk;
    response.state = page.state;
    Ok(response)
}

/// `GET /notifications`
async fn notifications(
    state: ClientState,
    args: Args<get_notifications::Request>,
) -> Result<get_notifications::Response, ApiError> {
    let get_notifications::Request { from, limit, only, .. } = args.request;
    let (default, most) = NOTIFICATIONS;
    let limit = limit.map_or(default, u64::from).clamp(1, most) as usize;
    let highlights = only.as_deref() == Some("highlight");
    let page = state.rooms.notifications(&args.session.user_id, from.as_deref(), limit, highlights).await?;
    // Whom the user ignores notifies of nothing; what came before is left out here.
    let ignored = ignored(&state, &args.session).await?;
    let is_heard = |notification: &UnreadNotification| {
        let sender = notification.event.get_field::<String>("sender").ok().flatten();
        !sender.is_some_and(|sender| ignored.contains(&sender))
    };
    let notifications = page.notifications.into_iter().filter(is_heard).map(|notification| {
        let actions = serde_json::from_str(notification.actions.get()).map_err(|error| ApiError::internal(&error))?;
        let ts = MilliSecondsSinceUnixEpoch(UInt::new_saturating(notification.ts));
        let event = notification.event.cast_unchecked();
        Ok(get_notifications::Notification::new(actions, event, false, notification.room_id, ts))
    });
    let mut response = get_notifications::Response::new(notifications.collect::<Result<_, ApiError>>()?);
    response.next_token = page.next_token;
    Ok(response)
}
