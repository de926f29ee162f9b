//! Relations, threads, redactions, aliases, what is unread.

use hearth_store::{
    Store, StoreError,
    check::{Report, expect},
};

use super::{REMOVE, all, at, event_in, is_event};
use crate::keys::{
    ALIAS, ANNOTATION, NOTIFICATION, PUBLISHED, REDACTION, RELATION, ROOM, ROOM_ALIAS, THREAD, THREAD_AT, THREAD_ORDER,
    TIMELINE, TOUCHED,
};

const REBUILD_THREAD: &str = "rebuild the thread from its relations";

pub(super) async fn check(store: &Store, report: &Report) -> Result<(), StoreError> {
    relations(store, report).await?;
    threads(store, report).await?;
    directory(store, report).await?;
    report
        .each(store, &NOTIFICATION, |tx, (user, room, stamp), unread| async move {
            let there = event_in(&tx, room, unread.event).await?.is_some();
            let (user, room) = (user.0, room.0);
            let what = || {
                format!(
                    "user {user} has event {} unread in room {room} at {}, and it is missing",
                    unread.event.0,
                    at(&stamp)
                )
            };
            all([expect(there, what, REMOVE)])
        })
        .await
}

async fn relations(store: &Store, report: &Report) -> Result<(), StoreError> {
    report
        .each(store, &RELATION, |tx, (parent, kind, _), relation| async move {
            let (child, parent_there) = (is_event(&tx, relation.event).await?, is_event(&tx, parent).await?);
            let name = || format!("the {kind} of event {} to event {}", relation.event.0, parent.0);
            all([
                expect(child, || format!("{}: the former is missing", name()), REMOVE),
                expect(parent_there, || format!("{}: the latter is missing", name()), REMOVE),
            ])
        })
        .await?;
    report
        .each(store, &ANNOTATION, |tx, (parent, ..), event| async move {
            let there = is_event(&tx, event).await? && is_event(&tx, parent).await?;
            let what = || format!("annotation {} of event {}: one of them is missing", event.0, parent.0);
            all([expect(there, what, REMOVE)])
        })
        .await?;
    report
        .each(store, &TOUCHED, |tx, (room, stamp), ()| async move {
            let there = TIMELINE.get_snapshot(&tx, (room, &stamp)).await?.is_some();
            let what = || format!("nothing stands in the timeline of room {} at {}", room.0, at(&stamp));
            all([expect(there, what, REMOVE)])
        })
        .await?;
    report
        .each(store, &REDACTION, |tx, (event,), by| async move {
            let there = is_event(&tx, event).await? && is_event(&tx, by).await?;
            let what = || format!("event {} is redacted by event {}: one of them is missing", event.0, by.0);
            all([expect(there, what, REMOVE)])
        })
        .await
}

async fn threads(store: &Store, report: &Report) -> Result<(), StoreError> {
    report
        .each(store, &THREAD, |tx, (room, root), thread| async move {
            let there = event_in(&tx, room, root).await?.is_some();
            let latest = match thread.latest {
                Some(latest) => is_event(&tx, latest).await?,
                None => true,
            };
            let ordered = match THREAD_AT.get_snapshot(&tx, (root,)).await? {
                Some(stamp) => THREAD_ORDER.get_snapshot(&tx, (room, &stamp)).await? == Some(root),
                None => false,
            };
            let name = || format!("the thread of event {} in room {}", root.0, room.0);
            all([
                expect(there, || format!("{}, which is missing", name()), REMOVE),
                expect(latest, || format!("{} has a newest event that is missing", name()), REBUILD_THREAD),
                expect(ordered, || format!("{} is not in the list of threads", name()), REBUILD_THREAD),
            ])
        })
        .await?;
    report
        .each(store, &THREAD_AT, |tx, (root,), _| async move {
            all([expect(
                is_event(&tx, root).await?,
                || format!("the thread of event {}, which is missing", root.0),
                REMOVE,
            )])
        })
        .await?;
    report
        .each(store, &THREAD_ORDER, |tx, (room, stamp), root| async move {
            let known = THREAD_AT.get_snapshot(&tx, (root,)).await?;
            let there = THREAD.get_snapshot(&tx, (room, root)).await?.is_some();
            let what = || format!("the thread of event {} does not stand at {} in room {}", root.0, at(&stamp), room.0);
            all([expect(there && known.as_ref() == Some(&stamp), what, REMOVE)])
        })
        .await
}

async fn directory(store: &Store, report: &Report) -> Result<(), StoreError> {
    report
        .each(store, &ALIAS, |tx, (alias,), record| async move {
            let room = record.room;
            let there = ROOM.get_snapshot(&tx, (room,)).await?.is_some();
            let listed = ROOM_ALIAS.get_snapshot(&tx, (room, &alias)).await?.is_some();
            all([
                expect(there, || format!("{alias} is of room {}, which is missing", room.0), REMOVE),
                expect(listed, || format!("{alias} is not in the list of room {}", room.0), "list it"),
            ])
        })
        .await?;
    report
        .each(store, &ROOM_ALIAS, |tx, (room, alias), ()| async move {
            let record = ALIAS.get_snapshot(&tx, (&alias,)).await?;
            let what = || format!("{alias} is listed for room {} and is not its alias", room.0);
            all([expect(record.is_some_and(|record| record.room == room), what, REMOVE)])
        })
        .await?;
    report
        .each(store, &PUBLISHED, |tx, (room,), ()| async move {
            let there = ROOM.get_snapshot(&tx, (room,)).await?.is_some();
            all([expect(there, || format!("room {} is published and missing", room.0), REMOVE)])
        })
        .await
}
