//! Current state, its history, and the snapshots of state before events.

use hearth_store::{
    Store, StoreError, Transaction,
    check::{Report, Wrong, expect},
};
use serde::Deserialize;

use super::{Found, REBUILD_STATE, REMOVE, all, at, event_in, is_event, newest};
use crate::{
    EventNid, RoomNid, StateKeyNid, TypeNid,
    keys::{STATE, STATE_AT, STATE_BEFORE, STATE_BLOCK, STATE_KEY, STATE_LOG, STATE_SNAPSHOT, TYPE},
    snapshots::{ABSENT, Snapshot},
};

const RESOLVE_AGAIN: &str = "compute the state again from the events before it";

/// What an event says that it is.
#[derive(Deserialize)]
struct Described {
    #[serde(rename = "type")]
    event_type: String,
    state_key: Option<String>,
}

pub(super) async fn check(store: &Store, report: &Report) -> Result<(), StoreError> {
    report
        .each(store, &STATE, |tx, (room, event_type, key), event| async move {
            current(&tx, room, event_type, key, event).await
        })
        .await?;
    report
        .each(store, &STATE_AT, |tx, (room, event_type, key, stamp), event| async move {
            // A resolution may leave nothing.
            let there = event == ABSENT || is_event(&tx, event).await?;
            let what = || {
                let (room, stamp) = (room.0, at(&stamp));
                format!(
                    "the state ({}, {}) of room {room} at {stamp} is event {}, which is missing",
                    event_type.0, key.0, event.0
                )
            };
            all([expect(there, what, REMOVE)])
        })
        .await?;
    report
        .each(store, &STATE_LOG, |tx, (room, stamp), change| async move {
            let known = STATE_AT.get_snapshot(&tx, (room, change.event_type, change.state_key, &stamp)).await?;
            let what = || format!("the change of room {} at {} is not in the state's history", room.0, at(&stamp));
            all([expect(known == Some(change.event), what, REBUILD_STATE)])
        })
        .await?;
    report
        .each(store, &STATE_BEFORE, |tx, (room, event), snapshot| async move {
            let there = STATE_SNAPSHOT.get_snapshot(&tx, (room, snapshot)).await?.is_some();
            let known = event_in(&tx, room, event).await?.is_some();
            let name = || format!("the state before event {} of room {}", event.0, room.0);
            all([
                expect(there, || format!("{} is snapshot {}, which is missing", name(), snapshot.0), RESOLVE_AGAIN),
                expect(known, || format!("{}, which is missing", name()), REMOVE),
            ])
        })
        .await?;
    report
        .each(store, &STATE_SNAPSHOT, |tx, (room, id), snapshot| async move {
            let Snapshot { blocks, .. } = snapshot;
            let mut wrong: Vec<Wrong> = Vec::new();
            for block in blocks {
                let there = STATE_BLOCK.get_snapshot(&tx, (room, block.id, 0)).await?.is_some();
                let what =
                    || format!("snapshot {} of room {} needs block {}, which is missing", id.0, room.0, block.id.0);
                wrong.extend(expect(there, what, RESOLVE_AGAIN));
            }
            Ok(wrong)
        })
        .await
}

async fn current(tx: &Transaction, room: RoomNid, event_type: TypeNid, key: StateKeyNid, event: EventNid) -> Found {
    let name = || format!("the state ({}, {}) of room {}", event_type.0, key.0, room.0);
    let Some(record) = event_in(tx, room, event).await? else {
        let what = || format!("{} is event {}, which is missing or in another room", name(), event.0);
        return all([expect(false, what, REBUILD_STATE)]);
    };
    let described: Option<Described> = serde_json::from_str(&record.json).ok();
    let wanted_type = TYPE.get_snapshot(tx, (event_type,)).await?;
    let wanted_key = STATE_KEY.get_snapshot(tx, (key,)).await?;
    let fits = described.is_some_and(|described| {
        // Preassigned ids have no rows.
        wanted_type.is_none_or(|wanted| wanted == described.event_type)
            && described.state_key.is_some_and(|key| wanted_key.is_none_or(|wanted| wanted == key))
    });
    let history = newest(&STATE_AT, (room, event_type, key), tx).await?;
    all([
        expect(fits, || format!("{} is event {}, which is of another type or key", name(), event.0), REBUILD_STATE),
        expect(
            history.is_some_and(|(_, newest)| newest == event),
            || format!("{} is event {}, which is not the newest in its history", name(), event.0),
            REBUILD_STATE,
        ),
    ])
}
