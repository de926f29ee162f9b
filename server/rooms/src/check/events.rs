//! Events and where they stand.

use hearth_store::{
    Store, StoreError, Transaction,
    check::{Report, expect},
};

use super::{Found, REMOVE, all, at, event_in, is_event, names::leased, newest};
use crate::{
    EventNid,
    ids::Kind,
    keys::{
        EVENT, EVENT_AT, EVENT_NID, EXTREMITY, LOCAL, ROOM, ROOM_HEAD, STATE_KEY, STREAM, STREAM_HEAD, TIMELINE,
        TRANSACTION, TYPE,
    },
    records::{EventRecord, Outcome},
};

const MOVE_HEAD: &str = "move the head";

pub(super) async fn check(store: &Store, report: &Report) -> Result<(), StoreError> {
    report.each(store, &EVENT, |tx, (nid,), event| async move { one_event(&tx, nid, &event).await }).await?;
    report
        .each(store, &EVENT_AT, |tx, (nid,), _| async move {
            all([expect(
                is_event(&tx, nid).await?,
                || format!("the place of event {}, which is missing", nid.0),
                REMOVE,
            )])
        })
        .await?;
    report
        .each(store, &TIMELINE, |tx, (room, stamp), entry| async move {
            let event = event_in(&tx, room, entry.event).await?;
            let placed = EVENT_AT.get_snapshot(&tx, (entry.event,)).await?;
            let named = TYPE.get_snapshot(&tx, (entry.event_type,)).await?.is_some() || entry.event_type.0 < 65_536;
            let sender = STATE_KEY.get_snapshot(&tx, (entry.sender,)).await?.is_some();
            let name = || format!("the timeline of room {} at {}", room.0, at(&stamp));
            all([
                expect(event.is_some(), || format!("{} has event {}, which is missing", name(), entry.event.0), REMOVE),
                expect(
                    event.is_none() || placed.as_ref() == Some(&stamp),
                    || format!("{} has event {}, which stands elsewhere", name(), entry.event.0),
                    REMOVE,
                ),
                expect(
                    named,
                    || format!("{} has type {}, which has no name", name(), entry.event_type.0),
                    "name it anew",
                ),
                expect(sender, || format!("{} has sender {}, who has no name", name(), entry.sender.0), "name it anew"),
            ])
        })
        .await?;
    report
        .each(store, &LOCAL, |tx, (room, stamp), event| async move {
            let there = event_in(&tx, room, event).await?.is_some();
            let what = || format!("event {} of room {} at {} is missing", event.0, room.0, at(&stamp));
            all([expect(there, what, REMOVE)])
        })
        .await?;
    report
        .each(store, &STREAM, |tx, (stamp,), entry| async move {
            let there = event_in(&tx, entry.room, entry.event).await?.is_some();
            let what = || format!("event {} of room {} at {} is missing", entry.event.0, entry.room.0, at(&stamp));
            all([expect(there, what, REMOVE)])
        })
        .await?;
    report
        .each(store, &STREAM_HEAD, |tx, _, head| async move {
            let newest = newest(&STREAM, (), &tx).await?;
            let fits = newest.is_none_or(|((stamp,), _)| stamp <= head);
            all([expect(fits, || format!("the head at {} is behind the stream", at(&head)), MOVE_HEAD)])
        })
        .await?;
    report
        .each(store, &ROOM_HEAD, |tx, (room,), head| async move {
            let newest = newest(&TIMELINE, (room,), &tx).await?;
            let fits = newest.is_none_or(|((_, stamp), _)| stamp <= head);
            let there = ROOM.get_snapshot(&tx, (room,)).await?.is_some();
            let ends = EXTREMITY.scan((room,)).snapshot().first(&tx).await?.is_some();
            let name = || format!("room {}", room.0);
            all([
                expect(fits, || format!("the head of {} at {} is behind its timeline", name(), at(&head)), MOVE_HEAD),
                expect(there, || format!("{} is missing and has a head", name()), REMOVE),
                expect(
                    ends || !there,
                    || format!("{} has no forward extremity, so that nothing can be sent", name()),
                    "make the newest event one",
                ),
            ])
        })
        .await?;
    report
        .each(store, &EXTREMITY, |tx, (room, event), ()| async move {
            let there = event_in(&tx, room, event).await?.is_some();
            let what = || format!("the forward extremity {} of room {} is missing", event.0, room.0);
            all([expect(there, what, REMOVE)])
        })
        .await?;
    report
        .each(store, &TRANSACTION, |tx, (user, device, _), event| async move {
            let there = is_event(&tx, event).await?;
            let what = || format!("event {} that device {device} of user {} sent is missing", event.0, user.0);
            all([expect(there, what, REMOVE)])
        })
        .await
}

async fn one_event(tx: &Transaction, nid: EventNid, event: &EventRecord) -> Found {
    let name = || format!("event {}, {}", nid.0, event.event_id);
    let known = EVENT_NID.get_snapshot(tx, (&event.event_id,)).await? == Some(nid);
    let room = ROOM.get_snapshot(tx, (event.room,)).await?.is_some();
    let stands = match (event.outcome, EVENT_AT.get_snapshot(tx, (nid,)).await?) {
        (Outcome::Accepted, Some(stamp)) => {
            TIMELINE.get_snapshot(tx, (event.room, &stamp)).await?.is_some_and(|entry| entry.event == nid)
        }
        (Outcome::Accepted, None) => false,
        _ => true,
    };
    let replaced = match event.replaces {
        Some(replaced) => event_in(tx, event.room, replaced).await?.is_some(),
        None => true,
    };
    all([
        expect(known, || format!("{} cannot be found by its id", name()), "write the row for the id anew"),
        expect(room, || format!("{} is of room {}, which is missing", name(), event.room.0), REMOVE),
        expect(stands, || format!("{} does not stand in its room's timeline", name()), "put it at the timeline's end"),
        expect(
            replaced,
            || format!("{} replaces one that is missing", name()),
            "none: it is shown without the one before",
        ),
        leased(tx, Kind::Event, nid.0).await?,
    ])
}
