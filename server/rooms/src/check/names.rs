//! Numeric ids and what they stand for.

use hearth_store::{
    Store, StoreError, Transaction,
    check::{Report, expect},
};

use super::{Found, REMOVE, all};
use crate::{
    ids::{FIRST_ASSIGNED, Kind},
    keys::{EVENT, EVENT_NID, NEXT_ID, ROOM, ROOM_NID, STATE_KEY, STATE_KEY_NID, TYPE, TYPE_NID},
};

const NAME_AGAIN: &str = "write the row for the name anew";
const LEASE_MORE: &str = "begin new ids above the highest one";

pub(super) async fn check(store: &Store, report: &Report) -> Result<(), StoreError> {
    report
        .each(store, &ROOM_NID, |tx, (id,), nid| async move {
            let named = ROOM.get_snapshot(&tx, (nid,)).await?.is_some_and(|room| room.room_id == id);
            all([expect(named, || format!("{id} is number {}, which is no such room", nid.0), REMOVE)])
        })
        .await?;
    report
        .each(store, &ROOM, |tx, (nid,), room| async move {
            let known = ROOM_NID.get_snapshot(&tx, (&room.room_id,)).await? == Some(nid);
            let what = || format!("room {}, {}, cannot be found by its id", nid.0, room.room_id);
            all([expect(known, what, NAME_AGAIN), leased(&tx, Kind::Room, nid.0).await?])
        })
        .await?;
    report
        .each(store, &EVENT_NID, |tx, (id,), nid| async move {
            let named = EVENT.get_snapshot(&tx, (nid,)).await?.is_some_and(|event| event.event_id == id);
            all([expect(named, || format!("{id} is number {}, which is no such event", nid.0), REMOVE)])
        })
        .await?;
    report
        .each(store, &TYPE_NID, |tx, (name,), nid| async move {
            let named = TYPE.get_snapshot(&tx, (nid,)).await?.as_ref() == Some(&name);
            all([expect(named, || format!("the type {name} is number {}, which is another", nid.0), NAME_AGAIN)])
        })
        .await?;
    report
        .each(store, &TYPE, |tx, (nid,), name| async move {
            let known = TYPE_NID.get_snapshot(&tx, (&name,)).await? == Some(nid);
            let what = || format!("type {}, {name}, cannot be found by its name", nid.0);
            all([expect(known, what, NAME_AGAIN), leased(&tx, Kind::Type, nid.0).await?])
        })
        .await?;
    report
        .each(store, &STATE_KEY_NID, |tx, (name,), nid| async move {
            let named = STATE_KEY.get_snapshot(&tx, (nid,)).await?.as_ref() == Some(&name);
            all([expect(named, || format!("the key {name:?} is number {}, which is another", nid.0), NAME_AGAIN)])
        })
        .await?;
    report.each(store, &STATE_KEY, |tx, (nid,), name| async move { key(&tx, nid, &name).await }).await
}

async fn key(tx: &Transaction, nid: crate::StateKeyNid, name: &str) -> Found {
    let known = STATE_KEY_NID.get_snapshot(tx, (name,)).await? == Some(nid);
    let what = || format!("key {}, {name:?}, cannot be found by its name", nid.0);
    all([expect(known, what, NAME_AGAIN), leased(tx, Kind::StateKey, nid.0).await?])
}

/// An id that is in use is not given away again.
pub(super) async fn leased(
    tx: &Transaction,
    kind: Kind,
    nid: u64,
) -> Result<Option<hearth_store::check::Wrong>, StoreError> {
    if (1..FIRST_ASSIGNED).contains(&nid) {
        return Ok(None);
    }
    let next = NEXT_ID.get_snapshot(tx, (kind as u64,)).await?;
    let what = || format!("the {kind:?} number {nid} would be given away again");
    Ok(expect(next.is_some_and(|next| nid < next) && nid != 0, what, LEASE_MORE))
}
