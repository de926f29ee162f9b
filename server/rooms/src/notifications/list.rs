//! The list of unread notifications
//! ([`GET /notifications`](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3notifications)).

use hearth_store::Versionstamp;
use ruma::{OwnedRoomId, UserId, events::AnyTimelineEvent, serde::Raw};
use serde_json::value::RawValue;

use crate::{Position, Reader, RoomError, Rooms, error::corrupt, keys};

/// Rows that are looked at for one page: they are kept by room, and a page wants them by time.
const MAX_ROWS: usize = 5000;

/// An event that the user has not read.
#[derive(Debug, Clone)]
pub struct UnreadNotification {
    /// The room.
    pub room_id: OwnedRoomId,
    /// The push actions, a JSON array.
    pub actions: Box<RawValue>,
    /// The event.
    pub event: Raw<AnyTimelineEvent>,
    /// When it was sent, milliseconds since the epoch.
    pub ts: u64,
}

/// A page of them.
#[derive(Debug, Clone, Default)]
pub struct NotificationPage {
    /// Newest first.
    pub notifications: Vec<UnreadNotification>,
    /// Where to go on.
    pub next_token: Option<String>,
}

impl Rooms {
    /// Unread events that notify the user, newest first; with `only_highlights` those that highlight. `from` is a token of
    /// the page before.
    pub async fn notifications(
        &self,
        user: &UserId,
        from: Option<&str>,
        limit: usize,
        only_highlights: bool,
    ) -> Result<NotificationPage, RoomError> {
        let from: Option<Position> = from.map(str::parse).transpose()?;
        let from = from.as_ref();
        self.store
            .transact("notifications", |tx| async move {
                let mut page = NotificationPage::default();
                let Some(nid) = self.find_state_key(&tx, user.as_str()).await? else { return Ok(page) };
                let rows = keys::NOTIFICATION.scan((nid,)).reverse().limit(MAX_ROWS).snapshot().all(&tx).await?;
                let mut rows: Vec<(Versionstamp, _, _)> = rows
                    .into_iter()
                    .map(|((_, room, at), row)| (at, room, row))
                    .filter(|(at, _, row)| {
                        (row.highlight || !only_highlights) && from.is_none_or(|from| at < from.stamp())
                    })
                    .collect();
                rows.sort_unstable_by(|a, b| b.0.cmp(&a.0));
                if rows.len() > limit {
                    rows.truncate(limit);
                    page.next_token = rows.last().map(|(at, ..)| Position::before(at).to_string());
                }
                for (at, room, row) in rows {
                    let view = self.view_of(&tx, room, Some(nid)).await?;
                    let event = self.placed_event(&tx, row.event, at).await?;
                    if !view.can_see(&event.at, &event.entry) {
                        continue;
                    }
                    let ts = event.event.pdu.origin_server_ts.0.into();
                    let events = self.client_events(&tx, &view, &Reader::in_sync(user, None), &[event]).await?;
                    for event in events {
                        page.notifications.push(UnreadNotification {
                            room_id: view.room.room_id.clone(),
                            actions: RawValue::from_string(row.actions.clone()).map_err(corrupt)?,
                            event,
                            ts,
                        });
                    }
                }
                Ok(page)
            })
            .await
    }
}
