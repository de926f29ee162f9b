//! What is removed because it is old: the transaction ids of what was sent long ago, unread notifications that nobody will
//! count any more. Jobs of the binary call this piece by piece, each piece in a transaction of theirs.
//!
//! What has a versionstamp has no time. So the binary has it noted now and then which version is the newest
//! ([`Rooms::note_time`]), and an age becomes a version ([`Rooms::version_before`]).

use hearth_store::{Transaction, Version, version_of};
use serde::{Deserialize, Serialize};

use crate::{
    RoomError, RoomNid, Rooms, StateKeyNid,
    keys::{EVENT_AT, NOTIFICATION, TRANSACTION, VERSION_AT},
};

/// How far a trimming of transaction ids came: user, device, id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionPlace(StateKeyNid, String, String);

/// One piece of a trimming of transaction ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrimmedTransactions {
    /// Ids that were removed.
    pub removed: usize,
    /// Where to go on; `None`: that was all.
    pub next: Option<TransactionPlace>,
}

impl Rooms {
    /// Notes in `tx` that it is `now` (milliseconds since 1970), and forgets what was noted more than `keep` milliseconds
    /// ago.
    pub async fn note_time(&self, tx: &Transaction, now: u64, keep: u64) -> Result<(), RoomError> {
        let version = tx.read_version().await?;
        VERSION_AT.set(tx, (now,), &version);
        if let Some(((oldest,), _)) = VERSION_AT.scan(()).snapshot().first(tx).await?
            && oldest < now.saturating_sub(keep)
        {
            let (begin, end) = (VERSION_AT.pack(&()), VERSION_AT.pack(&(now.saturating_sub(keep),)));
            tx.clear_range(&begin, &end);
        }
        Ok(())
    }

    /// A version such that everything committed before it was committed before `time` (milliseconds since 1970); `None`
    /// when nothing was noted so long ago.
    pub async fn version_before(&self, time: u64) -> Result<Option<Version>, RoomError> {
        let noted = VERSION_AT.scan(()).until((time,)).reverse().snapshot().first(&self.store.begin()).await?;
        Ok(noted.map(|(_, version)| version))
    }

    /// Removes in `tx` the ids among the next `limit` after `after` whose events were committed before `version`, or are
    /// gone. From then on a client that repeats such a request sends a second event.
    pub async fn trim_transactions(
        &self,
        tx: &Transaction,
        version: Version,
        after: Option<&TransactionPlace>,
        limit: usize,
    ) -> Result<TrimmedTransactions, RoomError> {
        let mut scan = TRANSACTION.scan(()).limit(limit).snapshot();
        if let Some(TransactionPlace(user, device, id)) = after {
            scan = scan.after((*user, device, id));
        }
        let rows = scan.all(tx).await?;
        let full = rows.len() == limit;
        let (mut removed, mut last) = (0, None);
        for ((user, device, id), event) in rows {
            let at = EVENT_AT.get_snapshot(tx, (event,)).await?;
            if at.is_none_or(|at| version_of(&at) < version) {
                TRANSACTION.clear(tx, (user, &device, &id));
                removed += 1;
            }
            last = Some(TransactionPlace(user, device, id));
        }
        Ok(TrimmedTransactions { removed, next: last.filter(|_| full) })
    }

    /// Removes unread notifications of the next user after `after` who has some: all but the newest `in_room` of each room,
    /// fewer where that leaves more than `in_all`. Returns the user and how many were removed; `None`: there is no further
    /// user. Unread counts stand still at [a thousand](crate::notifications) in a room, so with that many or more kept in
    /// each nobody sees a difference.
    pub async fn trim_notifications(
        &self,
        after: Option<StateKeyNid>,
        in_room: usize,
        in_all: usize,
    ) -> Result<Option<(StateKeyNid, usize)>, RoomError> {
        let Some(user) = self.next_notified(after).await? else { return Ok(None) };
        let mut rooms: Vec<(RoomNid, usize)> = Vec::new();
        // A transaction for each room: each reads as much as one may.
        while let Some((room, rows)) = self.next_unread(user, rooms.last().map(|(room, _)| *room), in_room + 1).await? {
            rooms.push((room, rows));
        }
        let left = |keep: usize| rooms.iter().map(|(_, rows)| (*rows).min(keep)).sum::<usize>();
        let mut keep = in_room;
        while keep > 1 && left(keep) > in_all {
            keep /= 2;
        }
        let mut removed = 0;
        for (room, _) in rooms.iter().filter(|(_, rows)| *rows > keep) {
            removed += self.keep_newest(user, *room, keep).await?;
        }
        Ok(Some((user, removed)))
    }

    async fn next_notified(&self, after: Option<StateKeyNid>) -> Result<Option<StateKeyNid>, RoomError> {
        let mut scan = NOTIFICATION.scan(()).snapshot();
        if let Some(after) = after {
            scan = scan.after((after,));
        }
        Ok(scan.first(&self.store.begin()).await?.map(|((user, ..), _)| user))
    }

    /// The user's next room after `after` with unread notifications, and how many there are, counted up to `limit`.
    async fn next_unread(
        &self,
        user: StateKeyNid,
        after: Option<RoomNid>,
        limit: usize,
    ) -> Result<Option<(RoomNid, usize)>, RoomError> {
        let tx = self.store.begin();
        let mut scan = NOTIFICATION.scan((user,)).snapshot();
        if let Some(after) = after {
            scan = scan.after((user, after));
        }
        let Some(((_, room, _), _)) = scan.first(&tx).await? else { return Ok(None) };
        Ok(Some((room, NOTIFICATION.scan((user, room)).limit(limit).snapshot().all(&tx).await?.len())))
    }

    /// Removes all but the newest `keep` notifications of a user in a room.
    async fn keep_newest(&self, user: StateKeyNid, room: RoomNid, keep: usize) -> Result<usize, RoomError> {
        /// Rows removed in one transaction.
        const REMOVED: usize = 1000;
        let mut removed = 0;
        loop {
            let piece = self
                .store
                .transact("trim notifications", |tx| async move {
                    let newest = NOTIFICATION.scan((user, room)).reverse().limit(keep).snapshot().all(&tx).await?;
                    let Some(((.., oldest_kept), _)) = newest.last().filter(|_| newest.len() == keep) else {
                        return Ok(0);
                    };
                    let before = (user, room, oldest_kept);
                    let old = NOTIFICATION.scan((user, room)).before(before).limit(REMOVED).snapshot().all(&tx).await?;
                    for ((.., at), _) in &old {
                        NOTIFICATION.clear(&tx, (user, room, at));
                    }
                    Ok::<_, RoomError>(old.len())
                })
                .await?;
            removed += piece;
            if piece < REMOVED {
                return Ok(removed);
            }
        }
    }
}

#[cfg(test)]
#[path = "trimming_tests.rs"]
mod tests;
