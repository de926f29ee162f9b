//! Sending events: [`PUT /send`, `PUT /state`, `PUT /redact`](https://spec.matrix.org/v1.19/client-server-api/#sending-events-to-a-room).

use std::sync::Arc;

use futures_util::future::BoxFuture;
use hearth_protocol::pdu::MAX_FIELD_BYTES;
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedDeviceId, OwnedEventId, OwnedTransactionId, OwnedUserId, RoomId, UserId,
    events::TimelineEventType,
};
use serde_json::value::RawValue;

use crate::{
    Membership, RoomError, RoomNid, Rooms,
    keys::TRANSACTION,
    lanes::Operation,
    membership::MembershipOperation,
    special,
    writer::{Effects, NewEvent, RoomWriter},
};

/// An event that a local user wants to send.
#[derive(Debug, Clone)]
pub struct Draft {
    /// `type`.
    pub event_type: TimelineEventType,
    /// `state_key`, for a state event.
    pub state_key: Option<String>,
    /// `content`.
    pub content: Box<RawValue>,
    /// What it redacts, for a redaction.
    pub redacts: Option<OwnedEventId>,
    /// Device and transaction id: the same pair never sends twice.
    pub transaction: Option<(OwnedDeviceId, OwnedTransactionId)>,
    /// `origin_server_ts` instead of now (application services).
    pub timestamp: Option<MilliSecondsSinceUnixEpoch>,
}

impl Rooms {
    /// Sends an event: builds, signs, authorizes and publishes it in one transaction. Returns the earlier event
    /// when the transaction id was used before, and the current event when a state event would change nothing.
    /// Concurrent senders to one room share a transaction (each with its own outcome), so that one fsync serves many.
    /// Validates `m.room.member`, power levels, canonical alias and redactions as the specification asks.
    #[tracing::instrument(skip_all, fields(%room_id, %sender))]
    pub async fn send(&self, room_id: &RoomId, sender: &UserId, draft: Draft) -> Result<OwnedEventId, RoomError> {
        check_draft(&draft)?;
        let room = self.room_to_write(room_id).await?.ok_or_else(not_joined)?;
        let operation: Arc<dyn Operation> = match (&draft.event_type, &draft.state_key) {
            (TimelineEventType::RoomMember, Some(target)) => {
                let target = UserId::parse(target)
                    .map_err(|_| RoomError::BadRequest("the state key of a member event is a user id".into()))?;
                let timestamp = draft.timestamp.unwrap_or_else(MilliSecondsSinceUnixEpoch::now);
                Arc::new(MembershipOperation::from_content(sender, target, &draft.content, timestamp)?)
            }
            _ => Arc::new(SendOperation::new(room, sender, draft)),
        };
        self.lanes.run(self, room, operation).await
    }

    /// The numeric id of a room that is to be changed.
    pub(crate) async fn room_to_write(&self, room_id: &RoomId) -> Result<Option<RoomNid>, RoomError> {
        Ok(self.find_room(&self.store.begin(), room_id).await?)
    }
}

/// The refusal for a room that is unknown here, in the words for one that the sender is not in: who is outside
/// learns nothing about which rooms exist.
fn not_joined() -> RoomError {
    RoomError::Forbidden("sender's membership is not `join`".to_owned())
}

/// What can be refused before the room is looked at.
fn check_draft(draft: &Draft) -> Result<(), RoomError> {
    let event_type = draft.event_type.to_string();
    let lengths = [("type", Some(event_type.len())), ("state_key", draft.state_key.as_ref().map(String::len))];
    for (field, length) in lengths {
        if length.is_some_and(|length| length > MAX_FIELD_BYTES) {
            return Err(RoomError::TooLarge(format!("{field} has more than {MAX_FIELD_BYTES} bytes")));
        }
    }
    if let Some((device, id)) = &draft.transaction
        && (device.as_str().len() > MAX_FIELD_BYTES || id.as_str().len() > MAX_FIELD_BYTES)
    {
        return Err(RoomError::InvalidParam(format!("transaction id has more than {MAX_FIELD_BYTES} bytes")));
    }
    if draft.event_type == TimelineEventType::RoomCreate {
        return Err(RoomError::Forbidden("a room has one m.room.create event, from its beginning".to_owned()));
    }
    Ok(())
}

/// Sending any event but `m.room.member`.
struct SendOperation {
    new: NewEvent,
    /// Key in the transaction table: device, and the request's path with the transaction id.
    transaction: Option<(String, String)>,
}

impl SendOperation {
    fn new(room: RoomNid, sender: &UserId, draft: Draft) -> Self {
        let transaction = draft.transaction.as_ref().map(|(device, id)| {
            // A transaction id is the same request again only on the same path.
            let path = match &draft.redacts {
                Some(target) => format!("{}/redact/{target}/{id}", room.0),
                None => format!("{}/send/{}/{id}", room.0, draft.event_type),
            };
            (device.to_string(), path)
        });
        let new = NewEvent {
            sender: sender.to_owned(),
            event_type: draft.event_type,
            state_key: draft.state_key,
            content: draft.content,
            redacts: draft.redacts,
            timestamp: draft.timestamp.unwrap_or_else(MilliSecondsSinceUnixEpoch::now),
            transaction: draft.transaction.map(|(device, id)| (device.to_string(), id.to_string())),
        };
        Self { new, transaction }
    }

    async fn earlier(&self, room: &RoomWriter<'_>) -> Result<Option<OwnedEventId>, RoomError> {
        let Some(key) = &self.transaction else { return Ok(None) };
        if let Some(event_id) = room.fresh_transaction(&self.new.sender, key) {
            return Ok(Some(event_id));
        }
        let sender = room.names.find_key(room.rooms, &room.tx, self.new.sender.as_str()).await?;
        let Some(sender) = sender else { return Ok(None) };
        match TRANSACTION.get(&room.tx, (sender, &key.0, &key.1)).await? {
            Some(event) => Ok(Some(room.event(event).await?.pdu.event_id.clone())),
            None => Ok(None),
        }
    }

    async fn append(&self, room: &mut RoomWriter<'_>) -> Result<OwnedEventId, RoomError> {
        if let Some(event_id) = self.earlier(room).await? {
            return Ok(event_id);
        }
        // The rules say so as well, but only after what follows has looked at events that an outsider may not know.
        if room.membership_state(&self.new.sender).await? != Some(Membership::Join) {
            return Err(not_joined());
        }
        let mut new = self.new.clone();
        let mut effects = Effects { transaction: self.transaction.clone(), ..Effects::default() };
        if new.event_type == TimelineEventType::RoomRedaction && new.state_key.is_none() {
            let (redacts, target) = special::redaction(room, &new).await?;
            new.redacts = Some(redacts);
            effects.redaction = Some(target);
        }
        effects.relation = special::relation(room, &new.sender, &new.event_type.to_string(), &new.content).await?;
        if new.state_key.is_some() {
            special::check_state(room, &new.event_type, new.state_key.as_deref(), &new.content).await?;
            return room.append_if_changed(new, effects).await;
        }
        room.append(new, effects).await
    }
}

impl Operation for SendOperation {
    fn run<'a>(&'a self, room: &'a mut RoomWriter<'_>) -> BoxFuture<'a, Result<OwnedEventId, RoomError>> {
        Box::pin(self.append(room))
    }

    fn weight(&self) -> usize {
        self.new.content.get().len()
    }
}

impl NewEvent {
    /// An event without the extras, for what the server sends on a user's behalf.
    pub(crate) fn state(
        sender: OwnedUserId,
        event_type: TimelineEventType,
        state_key: String,
        content: Box<RawValue>,
        timestamp: MilliSecondsSinceUnixEpoch,
    ) -> Self {
        Self { sender, event_type, state_key: Some(state_key), content, redacts: None, timestamp, transaction: None }
    }
}
