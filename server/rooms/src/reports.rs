//! [Reports](https://spec.matrix.org/v1.19/client-server-api/#reporting-content) of events, rooms and users to this
//! server's administrator.

use hearth_store::Versionstamp;
use ruma::{EventId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};

use crate::{
    Membership, Position, Reader, RoomError, Rooms,
    error::corrupt,
    keys::{REPORT, REPORTS},
    records::ReportRecord,
};

/// Reports that are kept; the oldest go first.
const KEPT: u64 = 10_000;
/// Longest reason, in bytes.
const REASON: usize = 10_000;
/// Reports of a page at most.
const PAGE: usize = 500;

/// What a user reports.
#[derive(Debug, Clone, Copy)]
pub enum Reported<'a> {
    /// An event of a room that the reporter is in.
    Event(&'a RoomId, &'a EventId),
    /// A room that is known here.
    Room(&'a RoomId),
    /// A user, of whom the caller knows that they exist.
    User(&'a UserId),
}

/// A report as the administrator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Names the report.
    pub id: String,
    /// Who reports.
    pub reporter: OwnedUserId,
    /// The room, for a report of a room or an event.
    pub room_id: Option<OwnedRoomId>,
    /// The event.
    pub event_id: Option<OwnedEventId>,
    /// The user: the reported one, or the sender of the reported event.
    pub user_id: Option<OwnedUserId>,
    /// Why, in the reporter's words; perhaps nothing.
    pub reason: String,
    /// When it came, milliseconds since 1970.
    pub received_ts: u64,
}

impl Rooms {
    /// Keeps a report for the administrator. `now` is in milliseconds since 1970.
    /// [`RoomError::EventNotFound`] and [`RoomError::RoomNotFound`] where there is nothing that the reporter could report.
    pub async fn report(
        &self,
        reporter: &UserId,
        reported: Reported<'_>,
        reason: &str,
        now: u64,
    ) -> Result<(), RoomError> {
        if reason.len() > REASON {
            return Err(RoomError::TooLarge(format!("a reason has at most {REASON} bytes")));
        }
        self.store
            .transact("report", |tx| async move {
                let (room_id, event_id, user_id) = match reported {
                    Reported::Event(room_id, event_id) => {
                        let reader = Reader::new(reporter, None);
                        let (view, event) = self.visible_event(&tx, room_id, &reader, event_id).await?;
                        if view.current_membership() != Some(Membership::Join) {
                            return Err(RoomError::EventNotFound);
                        }
                        (
                            Some(room_id.to_string()),
                            Some(event_id.to_string()),
                            Some(event.event.pdu.sender.to_string()),
                        )
                    }
                    Reported::Room(room_id) => {
                        self.find_room(&tx, room_id).await?.ok_or(RoomError::RoomNotFound)?;
                        (Some(room_id.to_string()), None, None)
                    }
                    Reported::User(user_id) => (None, None, Some(user_id.to_string())),
                };
                let record = ReportRecord {
                    reporter: reporter.to_string(),
                    room_id,
                    event_id,
                    user_id,
                    reason: reason.to_owned(),
                    received_ts: now,
                };
                let kept = REPORTS.get(&tx, (0,)).await?.unwrap_or_default();
                if kept < KEPT {
                    REPORTS.set(&tx, (0,), &(kept + 1));
                } else if let Some(((oldest,), _)) = REPORT.scan(()).first(&tx).await? {
                    REPORT.clear(&tx, (&oldest,));
                }
                REPORT.set_versionstamped_key(&tx, (&Versionstamp::incomplete(0),), &record);
                Ok(())
            })
            .await
    }

    /// Whether any room has seen the user.
    pub async fn knows_user(&self, user: &UserId) -> Result<bool, RoomError> {
        Ok(self.find_state_key(&self.store.begin(), user.as_str()).await?.is_some())
    }

    /// Reports, the newest first, from the one after `from` (its id); at most `limit` of them.
    pub async fn reports(&self, from: Option<&str>, limit: usize) -> Result<Vec<Report>, RoomError> {
        let from: Option<Position> = from.map(str::parse).transpose()?;
        let tx = self.store.begin();
        let scan = REPORT.scan(()).reverse().snapshot().limit(limit.min(PAGE));
        let scan = match &from {
            Some(from) => scan.before((from.stamp(),)),
            None => scan,
        };
        scan.all(&tx).await?.into_iter().map(|((at,), record)| report(&at, record)).collect()
    }

    /// Number of reports.
    pub async fn report_count(&self) -> Result<u64, RoomError> {
        Ok(REPORTS.get_snapshot(&self.store.begin(), (0,)).await?.unwrap_or_default())
    }

    /// Removes a report that is dealt with; returns whether it was there.
    pub async fn remove_report(&self, id: &str) -> Result<bool, RoomError> {
        let at: Position = id.parse()?;
        let at = &at;
        self.store
            .transact("remove report", |tx| async move {
                if REPORT.get(&tx, (at.stamp(),)).await?.is_none() {
                    return Ok(false);
                }
                REPORT.clear(&tx, (at.stamp(),));
                let kept = REPORTS.get(&tx, (0,)).await?.unwrap_or_default();
                REPORTS.set(&tx, (0,), &kept.saturating_sub(1));
                Ok(true)
            })
            .await
    }
}

fn report(at: &Versionstamp, record: ReportRecord) -> Result<Report, RoomError> {
    Ok(Report {
        id: Position::before(at).to_string(),
        reporter: UserId::parse(record.reporter).map_err(corrupt)?,
        room_id: record.room_id.map(RoomId::parse).transpose().map_err(corrupt)?,
        event_id: record.event_id.map(EventId::parse).transpose().map_err(corrupt)?,
        user_id: record.user_id.map(UserId::parse).transpose().map_err(corrupt)?,
        reason: record.reason,
        received_ts: record.received_ts,
    })
}

#[cfg(test)]
mod tests {
    use ruma::{event_id, room_id};
    use serde_json::json;

    use super::*;
    use crate::{
        membership::Change,
        testing::{rooms, user},
    };

    #[tokio::test]
    async fn reports_are_kept_listed_and_removed() {
        let rooms = rooms();
        let room = rooms.public_room("alice").await;
        let event = rooms.send_for_test(&room, "alice", "m.room.message", json!({ "body": "x" })).await.unwrap();
        rooms.change_for_test(&room, "bob", "bob", Change::Join).await.unwrap();
        rooms.change_for_test(&room, "carol", "carol", Change::Join).await.unwrap();
        rooms.change_for_test(&room, "carol", "carol", Change::Leave).await.unwrap();
        let alice = user("alice");
        let report = async |who: &str, reported| rooms.report(&user(who), reported, "bad", 5).await;
        report("bob", Reported::Event(&room, &event)).await.unwrap();
        report("dora", Reported::Room(&room)).await.unwrap();
        report("bob", Reported::User(&alice)).await.unwrap();
        for (who, reported) in [
            ("carol", Reported::Event(&room, &event)),
            ("dora", Reported::Event(&room, &event)),
            ("bob", Reported::Event(&room, event_id!("$nothing"))),
            ("bob", Reported::Event(room_id!("!no:example.org"), &event)),
        ] {
            assert!(matches!(report(who, reported).await, Err(RoomError::EventNotFound)), "{who} {reported:?}");
        }
        let nowhere = Reported::Room(room_id!("!no:example.org"));
        assert!(matches!(report("bob", nowhere).await, Err(RoomError::RoomNotFound)));
        let long = "x".repeat(REASON + 1);
        let refused = rooms.report(&user("bob"), Reported::Room(&room), &long, 5).await;
        assert!(matches!(refused, Err(RoomError::TooLarge(_))));

        let all = rooms.reports(None, 10).await.unwrap();
        assert_eq!(rooms.report_count().await.unwrap(), 3);
        assert_eq!((all[0].user_id.clone(), all[0].room_id.clone()), (Some(user("alice")), None));
        assert_eq!((all[1].reporter.clone(), all[1].room_id.clone()), (user("dora"), Some(room.clone())));
        assert_eq!((all[2].event_id.clone(), all[2].user_id.clone()), (Some(event), Some(user("alice"))));
        let rest = rooms.reports(Some(&all[0].id), 1).await.unwrap();
        assert_eq!(rest, all[1..2]);
        assert!(rooms.remove_report(&all[1].id).await.unwrap());
        assert!(!rooms.remove_report(&all[1].id).await.unwrap());
        assert_eq!(rooms.reports(None, 10).await.unwrap(), [all[0].clone(), all[2].clone()]);
        assert_eq!(rooms.report_count().await.unwrap(), 2);
        assert!(matches!(rooms.remove_report("junk").await, Err(RoomError::InvalidToken)));
    }
}
