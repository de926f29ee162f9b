//! What a transaction does to threads.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use hearth_store::{Transaction, Versionstamp};

use crate::{
    EventNid, RoomError, RoomNid, StateKeyNid,
    keys::{REDACTION, RELATION, THREAD, THREAD_AT, THREAD_ORDER},
    records::ThreadRecord,
    relating::{self, RelatesTo},
    writer::{Appended, RoomWriter},
};

/// Most participants kept of one thread.
const PARTICIPANTS: usize = 100;
/// How far back the newest event of a thread is looked for when the newest one is redacted.
const LOOK_BACK: usize = 200;

/// Where the newest event of a thread stands.
enum Newest {
    /// Where it stood before.
    Unchanged,
    /// In this transaction.
    New(u16),
    /// At an older event, because the newest one was redacted.
    Older(Versionstamp),
}

struct Thread {
    record: ThreadRecord,
    stored_at: Option<Versionstamp>,
    newest: Newest,
}

/// The threads that a transaction changes, by root.
pub(crate) struct Threads(HashMap<EventNid, Thread>);

impl Threads {
    /// Reads what the appended events change.
    pub(crate) async fn plan(writer: &RoomWriter<'_>, appended: &[Appended]) -> Result<Self, RoomError> {
        let mut threads = Self(HashMap::new());
        let mut redacted = HashSet::new();
        for event in appended {
            if let Some(relation) = &event.effects.relation
                && let Some(root) = relation.thread_root()
            {
                let root_sender =
                    writer.names.find_key(writer.rooms, &writer.tx, relation.parent.pdu.sender.as_str()).await?;
                let thread = threads.thread(writer, root).await?;
                thread.record.count += 1;
                thread.record.latest = Some(event.event.nid);
                thread.newest = Newest::New(event.user_version);
                for participant in root_sender.into_iter().chain([event.sender]) {
                    take_part(&mut thread.record, participant);
                }
            }
            if let Some(target) = &event.effects.redaction
                && redacted.insert(target.nid)
                && REDACTION.get(&writer.tx, (target.nid,)).await?.is_none()
                && let Some(relation) = RelatesTo::of(&target.pdu.content)
                && relation.rel_type == relating::THREAD
                && let Some(root) = writer.find_event(&relation.event_id).await?
            {
                threads.leave(writer, root.nid, target.nid, &redacted).await?;
            }
        }
        Ok(threads)
    }

    async fn thread(&mut self, writer: &RoomWriter<'_>, root: EventNid) -> Result<&mut Thread, RoomError> {
        match self.0.entry(root) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(slot) => {
                let record = THREAD.get(&writer.tx, (writer.room(), root)).await?.unwrap_or_default();
                let stored_at = THREAD_AT.get(&writer.tx, (root,)).await?;
                Ok(slot.insert(Thread { record, stored_at, newest: Newest::Unchanged }))
            }
        }
    }

    /// An event of the thread is redacted.
    async fn leave(
        &mut self,
        writer: &RoomWriter<'_>,
        root: EventNid,
        event: EventNid,
        redacted: &HashSet<EventNid>,
    ) -> Result<(), RoomError> {
        let thread = self.thread(writer, root).await?;
        thread.record.count = thread.record.count.saturating_sub(1);
        if thread.record.latest != Some(event) {
            return Ok(());
        }
        thread.record.latest = None;
        let relations = RELATION.scan((root, relating::THREAD)).snapshot().reverse().limit(LOOK_BACK);
        for ((_, _, at), relation) in relations.all(&writer.tx).await? {
            if !redacted.contains(&relation.event)
                && REDACTION.get_snapshot(&writer.tx, (relation.event,)).await?.is_none()
            {
                thread.record.latest = Some(relation.event);
                thread.newest = Newest::Older(at);
                break;
            }
        }
        Ok(())
    }

    /// Writes the changes.
    pub(crate) fn write(self, tx: &Transaction, room: RoomNid) {
        for (root, thread) in self.0 {
            if thread.record.count == 0 {
                THREAD.clear(tx, (room, root));
                THREAD_AT.clear(tx, (root,));
                if let Some(at) = &thread.stored_at {
                    THREAD_ORDER.clear(tx, (room, at));
                }
                continue;
            }
            THREAD.set(tx, (room, root), &thread.record);
            if let Newest::Unchanged = thread.newest {
                continue;
            }
            if let Some(at) = &thread.stored_at {
                THREAD_ORDER.clear(tx, (room, at));
            }
            match thread.newest {
                Newest::New(user_version) => {
                    THREAD_AT.set_to_commit_stamp(tx, (root,), user_version);
                    THREAD_ORDER.set_versionstamped_key(tx, (room, &Versionstamp::incomplete(user_version)), &root);
                }
                Newest::Older(at) => {
                    THREAD_AT.set(tx, (root,), &at);
                    THREAD_ORDER.set(tx, (room, &at), &root);
                }
                Newest::Unchanged => {}
            }
        }
    }
}

fn take_part(record: &mut ThreadRecord, user: StateKeyNid) {
    if record.participants.len() < PARTICIPANTS && !record.participants.contains(&user) {
        record.participants.push(user);
    }
}
