//! Whether the rows of this database agree with each other. Changes nothing; others may write meanwhile.

mod counts;
mod events;
mod members;
mod names;
mod relations;
mod state;
#[cfg(test)]
mod tests;

use hearth_store::{
    Key, Store, StoreError, Table, Transaction, Value, Versionstamp,
    check::{Report, Wrong},
    version_of,
};

use crate::{EventNid, RoomNid, keys::EVENT, records::EventRecord};

const REMOVE: &str = "remove the row";
const REBUILD_STATE: &str = "rebuild the room's current state from its events";
const REBUILD_MEMBERS: &str = "rebuild the room's members from its state";

type Found = Result<Vec<Wrong>, StoreError>;

/// Checks the whole database and reports what does not agree.
pub async fn check(store: &Store, report: &Report) -> Result<(), StoreError> {
    names::check(store, report).await?;
    events::check(store, report).await?;
    state::check(store, report).await?;
    members::check(store, report).await?;
    relations::check(store, report).await?;
    counts::check(store, report).await
}

/// All that is wrong.
#[expect(clippy::unnecessary_wraps, reason = "what a look at a row returns")]
fn all<const N: usize>(wrong: [Option<Wrong>; N]) -> Found {
    Ok(wrong.into_iter().flatten().collect())
}

/// The event, if it is there and in this room.
async fn event_in(tx: &Transaction, room: RoomNid, event: EventNid) -> Result<Option<EventRecord>, StoreError> {
    Ok(EVENT.get_snapshot(tx, (event,)).await?.filter(|record| record.room == room))
}

async fn is_event(tx: &Transaction, event: EventNid) -> Result<bool, StoreError> {
    Ok(EVENT.get_snapshot(tx, (event,)).await?.is_some())
}

/// Where something stands, in words.
fn at(stamp: &Versionstamp) -> String {
    format!("version {}", version_of(stamp))
}

/// The newest entry below a prefix of a table.
async fn newest<K: Key, V: Value>(
    table: &Table<K, V>,
    prefix: impl hearth_store::tuple::TuplePack,
    tx: &Transaction,
) -> Result<Option<(K, V)>, StoreError> {
    table.scan(prefix).snapshot().reverse().first(tx).await
}
