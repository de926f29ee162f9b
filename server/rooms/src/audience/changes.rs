//! Which rooms an audience has, and in which of them something happened.

use std::collections::{HashMap, HashSet};

use hearth_store::{StoreError, Transaction, Version, Versionstamp, Watch, last_stamp, version_of};

use super::{AudienceRoom, ChangedRooms, MembershipStep, StreamEvent};
use crate::{Membership, RoomError, RoomNid, Rooms, StateKeyNid, keys, records::MembershipRecord};

/// Entries of the stream that [`Rooms::changed_rooms`] reads before it gives up.
const MAX_STREAM: usize = 256;

impl AudienceRoom {
    fn new(room: RoomNid, record: &MembershipRecord) -> Self {
        Self {
            room,
            membership: record.membership,
            event: record.event,
            sender: record.sender,
            forgotten: record.forgotten,
        }
    }
}

impl Rooms {
    /// Every room where the audience has or had a membership.
    pub async fn audience_rooms(
        &self,
        tx: &Transaction,
        audience: StateKeyNid,
    ) -> Result<Vec<AudienceRoom>, RoomError> {
        let records = keys::MEMBERSHIP.scan((audience,)).snapshot().all(tx).await?;
        Ok(records.iter().map(|((_, room), record)| AudienceRoom::new(*room, record)).collect())
    }

    /// The audience's membership in one room.
    pub async fn audience_room(
        &self,
        tx: &Transaction,
        audience: StateKeyNid,
        room: RoomNid,
    ) -> Result<Option<AudienceRoom>, RoomError> {
        let record = keys::MEMBERSHIP.get_snapshot(tx, (audience, room)).await?;
        Ok(record.map(|record| AudienceRoom::new(room, &record)))
    }

    /// The rooms where an event was published after `since`, in this whole server. Costs one short read when there
    /// is none; what an audience has in common with them is a point read each ([`Self::audience_room`]).
    pub async fn changed_rooms(&self, tx: &Transaction, since: Version) -> Result<ChangedRooms, RoomError> {
        let entries = keys::STREAM.scan(()).after((&last_stamp(since),)).limit(MAX_STREAM).snapshot().all(tx).await?;
        if entries.len() == MAX_STREAM {
            return Ok(ChangedRooms::TooMany);
        }
        let mut seen = HashSet::new();
        Ok(ChangedRooms::Some(
            entries.into_iter().map(|(_, entry)| entry.room).filter(|room| seen.insert(*room)).collect(),
        ))
    }

    /// Whether an event was published in the room after `since`.
    pub async fn has_changed(&self, tx: &Transaction, room: RoomNid, since: Version) -> Result<bool, RoomError> {
        let head = keys::ROOM_HEAD.get_snapshot(tx, (room,)).await?;
        Ok(head.is_some_and(|head| version_of(&head) > since))
    }

    /// What became of the audience's memberships after `since`, one step for each room that had a change, in the
    /// order of their last changes. Changes of a profile are no change of membership here.
    pub async fn membership_changes(
        &self,
        tx: &Transaction,
        audience: StateKeyNid,
        since: Version,
    ) -> Result<Vec<MembershipStep>, RoomError> {
        let changes =
            keys::MEMBERSHIP_LOG.scan((audience,)).after((audience, &last_stamp(since))).snapshot().all(tx).await?;
        let mut steps: HashMap<RoomNid, MembershipStep> = HashMap::new();
        for ((_, at), change) in changes {
            let was_joined = change.previous == Some(Membership::Join);
            let is_joined = change.membership == Membership::Join;
            let step = steps.entry(change.room).or_insert_with(|| MembershipStep {
                room: change.room,
                before: change.previous,
                now: change.membership,
                event: change.event,
                at: at.clone(),
                joined_at: None,
                left_at: None,
            });
            if is_joined && !was_joined {
                step.joined_at = Some(at.clone());
            } else if was_joined && !is_joined {
                step.left_at = Some(at.clone());
            }
            (step.now, step.event, step.at) = (change.membership, change.event, at);
        }
        let mut steps: Vec<_> = steps.into_values().collect();
        steps.sort_unstable_by(|a, b| a.at.cmp(&b.at));
        Ok(steps)
    }

    /// Joined users of a room that are of this server: whom an event there may wake.
    pub async fn local_members(&self, tx: &Transaction, room: RoomNid) -> Result<Vec<StateKeyNid>, RoomError> {
        let members = keys::LOCAL_MEMBER.scan((room,)).snapshot().all(tx).await?;
        Ok(members.into_iter().map(|((_, user), _)| user).collect())
    }

    /// The stream of everything that was published after `since`, at most `limit` entries.
    pub async fn stream_since(
        &self,
        tx: &Transaction,
        since: &Versionstamp,
        limit: usize,
    ) -> Result<Vec<StreamEvent>, RoomError> {
        let entries = keys::STREAM.scan(()).after((since,)).limit(limit).snapshot().all(tx).await?;
        Ok(entries
            .into_iter()
            .map(|((at,), entry)| StreamEvent { at, room: entry.room, event: entry.event, member: entry.member })
            .collect())
    }

    /// The newest entry of the stream, `None` while it is empty.
    pub async fn stream_head(&self, tx: &Transaction) -> Result<Option<Versionstamp>, StoreError> {
        keys::STREAM_HEAD.get_snapshot(tx, (0,)).await
    }

    /// Resolves when something is published after the point that `tx` reads. Active once `tx` has committed.
    pub async fn watch_stream(&self, tx: &Transaction) -> Result<Watch, StoreError> {
        keys::STREAM_HEAD.watch(tx, (0,)).await
    }
}
