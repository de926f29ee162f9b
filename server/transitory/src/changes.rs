//! The log of changes: what the sync engine reads since a position, and what it watches.

use hearth_store::{StoreError, Transaction, Version, Versionstamp, Watch, last_stamp, version_of};
use ruma::{OwnedRoomId, OwnedUserId};

use crate::{
    Transitory, TransitoryError,
    keys::{CHANGE, CHANGED_AT, HEAD},
    records::ChangeRecord,
};

/// Something that readers may have to be told of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Change {
    /// The set of users who type in a room.
    Typing(OwnedRoomId),
    /// Receipts in a room, public or private.
    Receipts(OwnedRoomId),
    /// The presence of a user.
    Presence(OwnedUserId),
}

const TYPING: u64 = 1;
const RECEIPTS: u64 = 2;
const PRESENCE: u64 = 3;

impl Change {
    fn record(&self) -> ChangeRecord {
        match self {
            Self::Typing(room) => ChangeRecord { kind: TYPING, subject: room.to_string() },
            Self::Receipts(room) => ChangeRecord { kind: RECEIPTS, subject: room.to_string() },
            Self::Presence(user) => ChangeRecord { kind: PRESENCE, subject: user.to_string() },
        }
    }

    fn from_record(record: ChangeRecord) -> Result<Self, TransitoryError> {
        let damaged = |error: ruma::IdParseError| TransitoryError::Corrupt(error.to_string());
        Ok(match record.kind {
            TYPING => Self::Typing(record.subject.try_into().map_err(damaged)?),
            RECEIPTS => Self::Receipts(record.subject.try_into().map_err(damaged)?),
            PRESENCE => Self::Presence(record.subject.try_into().map_err(damaged)?),
            kind => return Err(TransitoryError::Corrupt(format!("change of kind {kind}"))),
        })
    }
}

/// Appends `change` to the log in place of the subject's older row. `index` tells the changes of one transaction
/// apart; each needs another one.
pub(crate) async fn record(tx: &Transaction, change: &Change, index: u16) -> Result<(), StoreError> {
    let record = change.record();
    if let Some(old) = CHANGED_AT.get(tx, (record.kind, &record.subject)).await? {
        CHANGE.clear(tx, (&old,));
    }
    CHANGE.set_versionstamped_key(tx, (&Versionstamp::incomplete(index),), &record);
    CHANGED_AT.set_to_commit_stamp(tx, (record.kind, &record.subject), index);
    // The largest index wins, so that the head is the newest row.
    HEAD.set_to_commit_stamp(tx, (0,), index);
    Ok(())
}

/// Takes the subject's row out of the log.
pub(crate) async fn forget(tx: &Transaction, change: &Change) -> Result<(), StoreError> {
    let record = change.record();
    if let Some(old) = CHANGED_AT.get(tx, (record.kind, &record.subject)).await? {
        CHANGE.clear(tx, (&old,));
        CHANGED_AT.clear(tx, (record.kind, &record.subject));
    }
    Ok(())
}

impl Transitory {
    /// The version of the newest change; 0 before the first one.
    pub async fn head(&self, tx: &Transaction) -> Result<Version, TransitoryError> {
        Ok(HEAD.get_snapshot(tx, (0,)).await?.map_or(0, |stamp| version_of(&stamp)))
    }

    /// Fires when there is a change that `tx` does not see.
    pub async fn watch(&self, tx: &Transaction) -> Result<Watch, TransitoryError> {
        Ok(HEAD.watch(tx, (0,)).await?)
    }

    /// The newest change of each subject since `since`, oldest first; `None` when there are more than `limit`.
    pub async fn changes(
        &self,
        tx: &Transaction,
        since: Version,
        limit: usize,
    ) -> Result<Option<Vec<Change>>, TransitoryError> {
        let rows = CHANGE.scan(()).after((&last_stamp(since),)).limit(limit + 1).snapshot().all(tx).await?;
        if rows.len() > limit {
            return Ok(None);
        }
        let mut changes = Vec::with_capacity(rows.len());
        for ((at,), record) in rows {
            let change = Change::from_record(record)?;
            if let Change::Presence(user) = &change {
                // Perhaps through another process.
                self.throttle.changed(user, version_of(&at));
            }
            changes.push(change);
        }
        Ok(Some(changes))
    }

    /// Whether `change`'s subject changed after `since`. For a reader with too many changes to go through.
    pub async fn changed_since(
        &self,
        tx: &Transaction,
        change: &Change,
        since: Version,
    ) -> Result<bool, TransitoryError> {
        let record = change.record();
        let at = CHANGED_AT.get_snapshot(tx, (record.kind, &record.subject)).await?;
        Ok(at.is_some_and(|at| version_of(&at) > since))
    }
}
