//! The event closest to a time
//! ([`GET /timestamp_to_event`](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event)).
//!
//! A timeline is in the order in which this server got the events, and that of their timestamps is nearly the same. So
//! halving the timeline finds the neighbourhood, and within that the closest event is exact.

use hearth_store::{Transaction, Versionstamp, first_stamp, version_of};
use ruma::{MilliSecondsSinceUnixEpoch, OwnedEventId, RoomId, api::Direction};

use crate::{
    EventFilter, Position, Reader, RoomError, RoomNid, Rooms,
    audience::TimelineEvent,
    keys::{ROOM_HEAD, TIMELINE},
    scan::Stretch,
};

/// Visible events that are compared on each side.
const NEIGHBOURS: usize = 500;

impl Rooms {
    /// The visible event closest to `time` at or after it (forward), or at or before it (backward).
    pub async fn event_by_time(
        &self,
        room_id: &RoomId,
        reader: &Reader<'_>,
        time: MilliSecondsSinceUnixEpoch,
        direction: Direction,
    ) -> Result<(OwnedEventId, MilliSecondsSinceUnixEpoch), RoomError> {
        self.store
            .transact("event by time", |tx| async move {
                let view = self.view_to_enter(&tx, room_id, reader.user).await?;
                view.enter()?;
                let now = Position::after_version(tx.read_version().await?);
                let middle = self.place_of_time(&tx, view.room.nid, time).await?.min(now.clone());
                let older = Stretch {
                    begin: Position::start(),
                    end: middle.clone(),
                    direction: Direction::Backward,
                    limit: NEIGHBOURS,
                };
                let newer = Stretch { begin: middle, end: now, direction: Direction::Forward, limit: NEIGHBOURS };
                let filter = EventFilter::default();
                let mut found = self.scan_timeline(&tx, &view, older, &filter).await?.events;
                found.reverse();
                found.extend(self.scan_timeline(&tx, &view, newer, &filter).await?.events);
                let ts = |event: &TimelineEvent| event.event.pdu.origin_server_ts;
                // Of several at the same time the first in the direction.
                let closest = match direction {
                    Direction::Forward => found.iter().filter(|event| ts(event) >= time).min_by_key(|event| ts(event)),
                    Direction::Backward => found.iter().filter(|event| ts(event) <= time).max_by_key(|event| ts(event)),
                };
                let closest = closest.ok_or(RoomError::EventNotFound)?;
                Ok((closest.event.pdu.event_id.clone(), ts(closest)))
            })
            .await
    }

    /// A place in the timeline before which events are mostly older than `time`, and behind which they are not.
    async fn place_of_time(
        &self,
        tx: &Transaction,
        room: RoomNid,
        time: MilliSecondsSinceUnixEpoch,
    ) -> Result<Position, RoomError> {
        let first = TIMELINE.scan((room,)).snapshot().first(tx).await?;
        let head: Option<Versionstamp> = ROOM_HEAD.get_snapshot(tx, (room,)).await?;
        let (Some(((_, first), _)), Some(head)) = (first, head) else { return Ok(Position::start()) };
        let (mut low, mut high) = (version_of(&first), version_of(&head) + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let next = TIMELINE.scan((room,)).from((room, &first_stamp(middle))).snapshot().first(tx).await?;
            let Some(((_, at), entry)) = next else {
                high = middle;
                continue;
            };
            if self.stored_event(tx, entry.event).await?.pdu.origin_server_ts < time {
                low = version_of(&at) + 1;
            } else {
                high = middle;
            }
        }
        Ok(Position::before(&first_stamp(low)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        membership::Change,
        testing::{draft, rooms, user},
    };

    fn ms(time: u32) -> MilliSecondsSinceUnixEpoch {
        MilliSecondsSinceUnixEpoch(time.into())
    }

    #[tokio::test]
    async fn the_closest_in_either_direction() {
        let rooms = rooms();
        let room = rooms.create_for_test("alice", json!({ "preset": "private_chat" })).await.unwrap();
        // Far behind the events that made the room.
        let base = u32::MAX - 1_000_000;
        let mut sent = Vec::new();
        for time in [10, 20, 15, 30, 30, 40] {
            let mut message = draft("m.room.message", None, json!({ "body": "x" }));
            message.timestamp =
                Some(MilliSecondsSinceUnixEpoch(ruma::UInt::try_from(u64::from(base) * 1000 + time).unwrap()));
            sent.push((time, rooms.send(&room, &user("alice"), message).await.unwrap()));
        }
        let at = |time: u64| MilliSecondsSinceUnixEpoch(ruma::UInt::try_from(u64::from(base) * 1000 + time).unwrap());
        let alice = user("alice");
        let reader = Reader::new(&alice, None);
        for (time, direction, expected) in [
            (0, Direction::Forward, Some(10)),
            (10, Direction::Forward, Some(10)),
            (11, Direction::Forward, Some(15)),
            (16, Direction::Forward, Some(20)),
            (25, Direction::Forward, Some(30)),
            (41, Direction::Forward, None),
            (99, Direction::Backward, Some(40)),
            (39, Direction::Backward, Some(30)),
            (29, Direction::Backward, Some(20)),
            (19, Direction::Backward, Some(15)),
            (10, Direction::Backward, Some(10)),
        ] {
            let found = rooms.event_by_time(&room, &reader, at(time), direction).await;
            match expected {
                Some(expected) => {
                    let (event_id, ts) = found.unwrap();
                    assert_eq!(ts, at(expected), "{time} {direction:?}");
                    assert!(sent.contains(&(expected, event_id)), "{time} {direction:?}");
                }
                None => assert!(matches!(found, Err(RoomError::EventNotFound)), "{time} {direction:?}"),
            }
        }
        let nothing = rooms.event_by_time(&room, &reader, ms(5), Direction::Backward).await;
        assert!(matches!(nothing, Err(RoomError::EventNotFound)));
        let bob = user("bob");
        let stranger = rooms.event_by_time(&room, &Reader::new(&bob, None), at(10), Direction::Forward).await;
        assert!(matches!(stranger, Err(RoomError::Forbidden(_))));
        // Only what the reader may see.
        let visibility = json!({ "history_visibility": "joined" });
        rooms.state_for_test(&room, "alice", "m.room.history_visibility", "", visibility).await.unwrap();
        rooms.send_for_test(&room, "alice", "m.room.message", json!({ "body": "hidden" })).await.unwrap();
        rooms.change_for_test(&room, "alice", "bob", Change::Invite).await.unwrap();
        rooms.change_for_test(&room, "bob", "bob", Change::Join).await.unwrap();
        let found = rooms.event_by_time(&room, &Reader::new(&bob, None), at(40), Direction::Backward).await;
        assert!(found.is_ok());
    }
}
