//! [Receipts](https://spec.matrix.org/v1.19/client-server-api/#receipts), public and private, per thread.

use hearth_store::{StoreError, Transaction, Version, Versionstamp, last_stamp, version_of};
use ruma::{EventId, OwnedEventId, OwnedUserId, RoomId, UserId};

use crate::{
    Change, Transitory, TransitoryError, changes,
    keys::{RECEIPT, RECEIPT_AT, RECEIPT_LOG},
    records::{ReceiptRecord, ReceiptSubject},
};

/// Threads of one room for which a user's receipts are kept; the oldest is dropped for a new one.
const THREADS_PER_USER: usize = 500;

/// Who may see a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReceiptKind {
    /// `m.read`
    Public,
    /// `m.read.private`: its user alone.
    Private,
}

impl ReceiptKind {
    fn code(self) -> u64 {
        match self {
            Self::Public => 1,
            Self::Private => 2,
        }
    }

    fn from_code(code: u64) -> Result<Self, TransitoryError> {
        match code {
            1 => Ok(Self::Public),
            2 => Ok(Self::Private),
            other => Err(TransitoryError::Corrupt(format!("receipt of kind {other}"))),
        }
    }
}

/// A user's receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptEntry {
    /// Whose.
    pub user: OwnedUserId,
    /// Who may see it.
    pub kind: ReceiptKind,
    /// `None` is unthreaded, else `main` or the thread's root.
    pub thread: Option<String>,
    /// What was read.
    pub event_id: OwnedEventId,
    /// When the server took the receipt, milliseconds since the epoch.
    pub ts: u64,
}

impl ReceiptEntry {
    fn new(user: String, kind: u64, thread: String, record: ReceiptRecord) -> Result<Self, TransitoryError> {
        let damaged = |error: ruma::IdParseError| TransitoryError::Corrupt(error.to_string());
        Ok(Self {
            user: user.try_into().map_err(damaged)?,
            kind: ReceiptKind::from_code(kind)?,
            thread: (!thread.is_empty()).then_some(thread),
            event_id: record.event_id.try_into().map_err(damaged)?,
            ts: record.ts,
        })
    }
}

impl Transitory {
    /// Replaces `user`'s receipt of this kind and thread. Returns false when it was there already. `ts` is in
    /// milliseconds since the epoch.
    pub async fn set_receipt(
        &self,
        room: &RoomId,
        user: &UserId,
        kind: ReceiptKind,
        thread: Option<&str>,
        event_id: &EventId,
        ts: u64,
    ) -> Result<bool, TransitoryError> {
        let thread = thread.unwrap_or_default();
        self.store
            .transact("set_receipt", async |tx| {
                let key = (room.as_str(), user.as_str(), kind.code(), thread);
                match RECEIPT.get(&tx, key).await? {
                    Some(before) if before.event_id == event_id.as_str() => return Ok(false),
                    Some(_) => {}
                    None => drop_oldest_thread(&tx, (key.0, key.1, key.2)).await?,
                }
                if let Some(old) = RECEIPT_AT.get(&tx, key).await? {
                    RECEIPT_LOG.clear(&tx, (key.0, &old));
                }
                RECEIPT.set(&tx, key, &ReceiptRecord { event_id: event_id.to_string(), ts });
                RECEIPT_AT.set_to_commit_stamp(&tx, key, 0);
                let subject = ReceiptSubject { user: user.to_string(), kind: kind.code(), thread: thread.to_owned() };
                RECEIPT_LOG.set_versionstamped_key(&tx, (key.0, &Versionstamp::incomplete(0)), &subject);
                changes::record(&tx, &Change::Receipts(room.to_owned()), 0).await?;
                Ok(true)
            })
            .await
    }

    /// The receipts of `room` that `viewer` may see: all, or those since `since`, oldest first.
    pub async fn receipts(
        &self,
        tx: &Transaction,
        room: &RoomId,
        viewer: &UserId,
        since: Option<Version>,
    ) -> Result<Vec<ReceiptEntry>, TransitoryError> {
        let mut entries = Vec::new();
        if let Some(since) = since {
            let log = RECEIPT_LOG.scan((room.as_str(),)).after((room.as_str(), &last_stamp(since)));
            for (_, subject) in log.snapshot().all(tx).await? {
                let key = (room.as_str(), subject.user.as_str(), subject.kind, subject.thread.as_str());
                let Some(record) = RECEIPT.get_snapshot(tx, key).await? else {
                    return Err(TransitoryError::Corrupt("logged receipt is missing".to_owned()));
                };
                entries.push(ReceiptEntry::new(subject.user, subject.kind, subject.thread, record)?);
            }
        } else {
            for ((_, user, kind, thread), record) in RECEIPT.scan((room.as_str(),)).snapshot().all(tx).await? {
                entries.push(ReceiptEntry::new(user, kind, thread, record)?);
            }
        }
        entries.retain(|entry| entry.kind == ReceiptKind::Public || entry.user == viewer);
        Ok(entries)
    }
}

/// Makes room for one more receipt of a user: the number of threads has no limit of its own.
async fn drop_oldest_thread(tx: &Transaction, (room, user, kind): (&str, &str, u64)) -> Result<(), StoreError> {
    let rows = RECEIPT_AT.scan((room, user, kind)).snapshot().limit(THREADS_PER_USER).all(tx).await?;
    if rows.len() < THREADS_PER_USER {
        return Ok(());
    }
    let threads = rows.into_iter().filter(|((_, _, _, thread), _)| !matches!(thread.as_str(), "" | "main"));
    if let Some(((_, _, _, thread), at)) = threads.min_by_key(|(_, at)| (version_of(at), at.user_version())) {
        RECEIPT.clear(tx, (room, user, kind, &thread));
        RECEIPT_AT.clear(tx, (room, user, kind, &thread));
        RECEIPT_LOG.clear(tx, (room, &at));
    }
    Ok(())
}
