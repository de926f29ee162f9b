//! Typing, receipts and read markers.

use hearth_accounts::Session;
use hearth_sync::markers::Marking;
use hearth_transitory::ReceiptKind;
use ruma::{
    RoomId,
    api::client::{
        read_marker::set_read_marker,
        receipt::create_receipt::{self, v3::ReceiptType},
        typing::create_typing_event::{self, v3::Typing},
    },
    events::receipt::ReceiptThread,
};

use crate::client::{ApiError, Args, ClientState, optional::Optional};

fn marking<'a>(session: &'a Session, room: &'a RoomId) -> Marking<'a> {
    Marking { user: &session.user_id, device: &session.device_id, room }
}

/// [`PUT /rooms/{roomId}/typing/{userId}`](https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidtypinguserid)
pub(super) async fn typing(
    state: ClientState,
    args: Args<Optional<create_typing_event::v3::Request>>,
) -> Result<create_typing_event::v3::Response, ApiError> {
    let Args { request: Optional(request), session, .. } = args;
    if request.user_id != session.user_id {
        return Err(ApiError::forbidden("Nobody types for others."));
    }
    let timeout = match request.state {
        Typing::Yes(info) => Some(info.timeout),
        Typing::No => None,
    };
    state.sync.set_typing(marking(&session, &request.room_id), timeout).await?;
    Ok(create_typing_event::v3::Response::new())
}

/// [`POST /rooms/{roomId}/receipt/{receiptType}/{eventId}`](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidreceiptreceipttypeeventid)
pub(super) async fn receipt(
    state: ClientState,
    args: Args<create_receipt::v3::Request>,
) -> Result<create_receipt::v3::Response, ApiError> {
    let Args { request, session, .. } = args;
    let who = marking(&session, &request.room_id);
    let thread = match &request.thread {
        ReceiptThread::Unthreaded => None,
        ReceiptThread::Main => Some("main"),
        ReceiptThread::Thread(root) => Some(root.as_str()),
        _ => return Err(ApiError::invalid_param("thread_id is neither \"main\" nor an event id")),
    };
    let kind = match request.receipt_type {
        ReceiptType::Read => ReceiptKind::Public,
        ReceiptType::ReadPrivate => ReceiptKind::Private,
        ReceiptType::FullyRead if thread.is_some() => {
            return Err(ApiError::invalid_param("m.fully_read takes no thread_id"));
        }
        ReceiptType::FullyRead => {
            state.sync.set_fully_read(who, &request.event_id).await?;
            return Ok(create_receipt::v3::Response::new());
        }
        other => return Err(ApiError::invalid_param(format!("{other} is no type of receipt"))),
    };
    state.sync.set_receipt(who, kind, &request.event_id, thread).await?;
    Ok(create_receipt::v3::Response::new())
}

/// [`POST /rooms/{roomId}/read_markers`](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidread_markers)
pub(super) async fn read_markers(
    state: ClientState,
    args: Args<set_read_marker::v3::Request>,
) -> Result<set_read_marker::v3::Response, ApiError> {
    let Args { request, session, .. } = args;
    let who = marking(&session, &request.room_id);
    if let Some(event) = &request.fully_read {
        state.sync.set_fully_read(who, event).await?;
    }
    if let Some(event) = &request.private_read_receipt {
        state.sync.set_receipt(who, ReceiptKind::Private, event, None).await?;
    }
    if let Some(event) = &request.read_receipt {
        state.sync.set_receipt(who, ReceiptKind::Public, event, None).await?;
    }
    Ok(set_read_marker::v3::Response::new())
}
