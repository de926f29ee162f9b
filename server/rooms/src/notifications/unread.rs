//! Unread counts, and what makes events read.

use std::collections::{BTreeMap, btree_map::Entry};

use hearth_store::{Transaction, Versionstamp, keyspace::past};
use ruma::{EventId, RoomId, UserId};

use super::{UnreadCounts, rows::NO_THREAD};
use crate::{EventNid, RoomError, RoomNid, Rooms, StateKeyNid, keys, records::Notification};

/// Unread events of one room that are counted at most. Beyond that the count stands still; no client shows more.
const MAX_COUNTED: usize = 1000;
/// Rows that one receipt in a thread looks through at most.
const MAX_CLEARED: usize = 10_000;

impl Rooms {
    /// Unread notifications of a user in a room. With `by_thread` (the client asked for
    /// `unread_thread_notifications`), events in threads count in [`UnreadCounts::threads`] alone. One short
    /// read when nothing is unread.
    pub async fn unread_counts(
        &self,
        tx: &Transaction,
        user: StateKeyNid,
        room: RoomNid,
        by_thread: bool,
    ) -> Result<UnreadCounts, RoomError> {
        let mut counts = UnreadCounts::default();
        let mut threads: BTreeMap<EventNid, (u64, u64)> = BTreeMap::new();
        for (_, row) in unread_rows(tx, user, room).await? {
            let (notifications, highlights) = match row.thread {
                Some(root) if by_thread => {
                    let (notifications, highlights) = threads.entry(root).or_default();
                    (notifications, highlights)
                }
                _ => (&mut counts.notifications, &mut counts.highlights),
            };
            *notifications += u64::from(row.notify);
            *highlights += u64::from(row.highlight);
        }
        for (root, (notifications, highlights)) in threads {
            let root = self.stored_event(tx, root).await?.pdu.event_id.clone();
            counts.threads.push((root, notifications, highlights));
        }
        Ok(counts)
    }

    /// Marks the room read up to `event_id`: removes the notification rows at or before it. `thread` `None` is an
    /// unthreaded receipt (clears all), `main` and thread roots clear their own.
    pub async fn mark_read(
        &self,
        room_id: &RoomId,
        user: &UserId,
        event_id: &EventId,
        thread: Option<&str>,
    ) -> Result<(), RoomError> {
        self.store
            .transact("mark read", |tx| async move {
                let Some(room) = self.find_room(&tx, room_id).await? else { return Err(RoomError::RoomNotFound) };
                let Some(user) = self.find_state_key(&tx, user.as_str()).await? else { return Ok(()) };
                let (_, at) = self.locate_event(&tx, room, event_id).await?;
                let rows = keys::NOTIFICATION.scan((user, room)).until((user, room, &at)).snapshot();
                let Some(thread) = thread else {
                    // Looking first spares the disk a commit when all was read already.
                    if rows.first(&tx).await?.is_some() {
                        let begin = keys::NOTIFICATION.pack(&(user, room));
                        let end = past(&keys::NOTIFICATION.pack(&(user, room, &at)));
                        tx.clear_range(&begin, &end);
                    }
                    return Ok(());
                };
                let thread = match thread {
                    "main" => None,
                    root => match keys::EVENT_NID.get_snapshot(&tx, (root,)).await? {
                        Some(root) => Some(root),
                        None => return Ok(()),
                    },
                };
                for ((.., at), row) in rows.limit(MAX_CLEARED).all(&tx).await? {
                    if row.thread == thread {
                        keys::NOTIFICATION.clear(&tx, (user, room, &at));
                    }
                }
                Ok(())
            })
            .await
    }
}

/// The newest rows of a user in a room, newest first, without those that the user has answered since.
async fn unread_rows(
    tx: &Transaction,
    user: StateKeyNid,
    room: RoomNid,
) -> Result<Vec<(Versionstamp, Notification)>, RoomError> {
    let rows = keys::NOTIFICATION.scan((user, room)).reverse().limit(MAX_COUNTED).snapshot().all(tx).await?;
    let mut sent: BTreeMap<EventNid, Option<Versionstamp>> = BTreeMap::new();
    let mut unread = Vec::with_capacity(rows.len());
    for ((.., at), row) in rows {
        let thread = row.thread.unwrap_or(NO_THREAD);
        if let Entry::Vacant(unknown) = sent.entry(thread) {
            unknown.insert(keys::SENT.get_snapshot(tx, (user, room, thread)).await?);
        }
        if sent[&thread].as_ref().is_none_or(|sent| *sent < at) {
            unread.push((at, row));
        }
    }
    Ok(unread)
}
