//! The transaction that gives a received event its place, or keeps it aside.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures_util::future::BoxFuture;
use hearth_protocol::{Pdu, auth::PowerLevels, receive::Verified, redaction};
use ruma::{OwnedEventId, UserId, events::TimelineEventType};

use crate::{
    EventNid, Membership, Outcome, RoomError, RoomNid, Rooms, StateKeyNid, TypeNid,
    error::corrupt,
    graph::Fresh,
    ids::Kind,
    keys::{BACKWARD, EVENT, EVENT_NID, STATE_BEFORE},
    lanes::Operation,
    names::NewNames,
    records::{EventRecord, GraphRecord, MembershipRecord},
    relating::{RelatesTo, Relation, THREAD},
    room_info::RoomInfo,
    snapshots::{Difference, SnapshotId},
    stored_event::StoredEvent,
    writer::{Appended, Change, Effects, MemberChange, RoomWriter, States, member_change, refused},
};

/// Most entries of the current state that one publication changes.
const CHANGES: usize = 20_000;

/// What a publication was prepared for: only in a room that is still so it is right.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    pub(super) revision: u64,
    pub(super) extremities: Vec<(EventNid, OwnedEventId)>,
    pub(super) state: SnapshotId,
}

/// The numbers of an event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placing {
    pub(super) nid: EventNid,
    pub(super) event_type: TypeNid,
    pub(super) sender: StateKeyNid,
    pub(super) state: Option<(TypeNid, StateKeyNid)>,
    /// It is here already, as an outlier.
    pub(super) stored: bool,
}

/// What became of an event, with the part of the graph before it.
pub(super) struct Judged {
    pub(super) outcome: Outcome,
    pub(super) reason: Option<String>,
    pub(super) prev: Vec<EventNid>,
    pub(super) auth: Vec<EventNid>,
    /// None for an outlier.
    pub(super) before: Option<SnapshotId>,
    /// The power levels before it.
    pub(super) power_levels: Option<Arc<Pdu>>,
}

/// An event that is kept without being published.
pub(crate) struct Stored {
    pub(crate) event: Arc<StoredEvent>,
    pub(crate) reason: Option<String>,
    pub(crate) place: GraphRecord,
    pub(crate) before: Option<SnapshotId>,
}

/// An event with everything that its publication needs to know.
pub(super) struct Publication {
    pdu: Arc<Pdu>,
    room: RoomNid,
    outcome: Outcome,
    reason: Option<String>,
    prev: Vec<EventNid>,
    auth: Vec<EventNid>,
    before: Option<SnapshotId>,
    power_levels: Option<Arc<Pdu>>,
    placing: Placing,
    /// For an accepted event.
    accepted: Option<Accepted>,
    stale: AtomicBool,
}

struct Accepted {
    guard: Guard,
    ends: Vec<(EventNid, OwnedEventId)>,
    states: States,
    differences: Vec<Difference>,
}

impl Publication {
    #[expect(clippy::too_many_arguments, reason = "private, and each is one field")]
    pub(super) fn new(
        info: &RoomInfo,
        event: &Verified,
        judged: &Judged,
        placing: Placing,
        guard: Guard,
        ends: Vec<(EventNid, OwnedEventId)>,
        states: States,
        differences: Vec<Difference>,
    ) -> Self {
        Self {
            accepted: Some(Accepted { guard, ends, states, differences }),
            ..Self::aside(info, event, judged, placing)
        }
    }

    fn aside(info: &RoomInfo, event: &Verified, judged: &Judged, placing: Placing) -> Self {
        let mut pdu = event.pdu.clone();
        pdu.rejected = judged.outcome == Outcome::Rejected;
        Self {
            pdu: Arc::new(pdu),
            room: info.nid,
            outcome: judged.outcome,
            reason: judged.reason.clone(),
            prev: judged.prev.clone(),
            auth: judged.auth.clone(),
            before: judged.before,
            power_levels: judged.power_levels.clone(),
            placing,
            accepted: None,
            stale: AtomicBool::new(false),
        }
    }

    /// False: the room is not as it was prepared for, and nothing was done.
    async fn take_place(&self, room: &mut RoomWriter<'_>) -> Result<bool, RoomError> {
        let tx = room.tx.clone();
        if let Some(nid) = EVENT_NID.get(&tx, (self.pdu.event_id.as_str(),)).await? {
            if nid != self.placing.nid {
                // Another receiver numbered it first.
                return Ok(false);
            }
            let stored = EVENT.get(&tx, (nid,)).await?.ok_or_else(|| corrupt(format!("{nid:?} has no event")))?;
            let placed = match stored.outcome {
                Outcome::Accepted | Outcome::SoftFailed => true,
                Outcome::Rejected => STATE_BEFORE.get(&tx, (self.room, nid)).await?.is_some(),
                Outcome::Outlier => self.outcome == Outcome::Outlier,
            };
            if placed {
                return Ok(true);
            }
        }
        let snapshots = room.rooms.snapshots.clone();
        if let Some(Accepted { guard, states, .. }) = &self.accepted {
            if room.record.revision != guard.revision
                || room.record.state != Some(guard.state)
                || room.extremities != guard.extremities
            {
                return Ok(false);
            }
            if let States::Resolved { current, .. } = states
                && *current != guard.state
                && !snapshots.hold(&tx, self.room, *current).await?
            {
                return Ok(false);
            }
        }
        if let Some(before) = self.before
            && room.record.state != Some(before)
            && !snapshots.hold(&tx, self.room, before).await?
        {
            return Ok(false);
        }
        match &self.accepted {
            Some(accepted) => self.append(room, accepted).await?,
            None => room.stored.push(self.stored()),
        }
        Ok(true)
    }

    fn stored(&self) -> Stored {
        Stored {
            event: self.event(None),
            reason: self.reason.clone(),
            place: GraphRecord {
                depth: self.pdu.depth,
                prev: self.prev.clone(),
                auth: self.auth.clone(),
                state: self.placing.state,
                outcome: self.outcome,
                chain: 0,
                sequence: 0,
            },
            before: self.before,
        }
    }

    fn event(&self, replaces: Option<EventNid>) -> Arc<StoredEvent> {
        Arc::new(StoredEvent {
            nid: self.placing.nid,
            room: self.room,
            pdu: self.pdu.clone(),
            outcome: self.outcome,
            replaces,
            transaction: None,
        })
    }

    /// Publishes in a room that nobody else can write to.
    pub(super) async fn append_alone(&self, room: &mut RoomWriter<'_>) -> Result<(), RoomError> {
        match &self.accepted {
            Some(accepted) => self.append(room, accepted).await,
            None => Ok(()),
        }
    }

    async fn append(&self, room: &mut RoomWriter<'_>, accepted: &Accepted) -> Result<(), RoomError> {
        let Placing { nid, event_type, sender, state, .. } = self.placing;
        let mut changes = Vec::new();
        let mut differences = accepted.differences.clone();
        if let (States::AtTheEnd, Some((event_type, state_key))) = (accepted.states, state) {
            let before = room.state_nid(event_type, state_key).await?;
            differences.push(Difference { event_type, state_key, before, after: Some(nid) });
        }
        if differences.len() > CHANGES {
            return Err(RoomError::TooLarge(format!("a resolution changes {} entries", differences.len())));
        }
        // Its own, if it has one, is the last and stands where the event does.
        differences.sort_by_key(|difference| difference.after == Some(nid));
        let others = differences.iter().filter(|difference| difference.after != Some(nid)).count();
        let user_version = room.user_versions + others as u16;
        for (difference, user_version) in differences.iter().zip(room.user_versions..) {
            changes.push(self.change(room, difference, user_version).await?);
        }
        let replaces = match (accepted.states, state) {
            (States::AtTheEnd, _) => changes.last().and_then(|change| change.replaces),
            (States::Resolved { before, .. }, Some(key)) => {
                room.rooms.snapshots.lookup(&room.tx, self.room, before, &[key]).await?.pop().flatten()
            }
            (States::Resolved { .. }, None) => None,
        };
        let effects = self.effects(room).await?;
        let mut beyond = Vec::new();
        for id in &self.pdu.prev_events {
            if !room.is_fresh(id) && !room.rooms.is_placed(&room.tx, &room.info, id).await? {
                beyond.push(id);
            }
        }

        // Nothing fails from here on.
        for id in beyond {
            BACKWARD.set(&room.tx, (self.room, id.as_str()), &nid);
        }
        BACKWARD.clear(&room.tx, (self.room, self.pdu.event_id.as_str()));
        room.take(
            Appended {
                event: self.event(replaces),
                event_type,
                sender,
                state_key: state.map(|(_, key)| key),
                changes,
                user_version,
                power_levels: self.power_levels.clone(),
                effects,
                prev: self.prev.clone(),
                auth: self.auth.clone(),
                states: accepted.states,
            },
            accepted.ends.clone(),
        );
        Ok(())
    }

    async fn change(
        &self,
        room: &mut RoomWriter<'_>,
        difference: &Difference,
        user_version: u16,
    ) -> Result<Change, RoomError> {
        let &Difference { event_type, state_key, before, after } = difference;
        let mut member = None;
        if event_type == TypeNid::MEMBER {
            let previous = room.membership_of(state_key).await?;
            member = Some(match (after, before) {
                (Some(after), _) => {
                    let pdu =
                        if after == self.placing.nid { self.pdu.clone() } else { room.event(after).await?.pdu.clone() };
                    let sender = room.names.find_key(room.rooms, &room.tx, pdu.sender.as_str()).await?;
                    let sender = sender.ok_or_else(|| corrupt(format!("{} has no number", pdu.sender)))?;
                    let user = pdu.state_key.clone().unwrap_or_default();
                    member_change(&pdu, &user, after, sender, previous)?
                }
                (None, Some(before)) => gone(&room.event(before).await?.pdu, before, previous)?,
                (None, None) => return Err(corrupt("a change of nothing")),
            });
        }
        Ok(Change { event_type, state_key, event: after, replaces: before, member, user_version })
    }

    /// Relation and redaction.
    async fn effects(&self, room: &mut RoomWriter<'_>) -> Result<Effects, RoomError> {
        let mut effects = Effects::default();
        if let Some(RelatesTo { rel_type, event_id, key }) = RelatesTo::of(&self.pdu.content)
            && let Some(parent) = room.find_event(&event_id).await?
        {
            // A thread does not begin at an event that itself relates to one.
            if rel_type != THREAD || RelatesTo::of(&parent.pdu.content).is_none() {
                effects.relation = Some(Relation { parent, rel_type, key });
            }
        }
        if self.pdu.event_type == TimelineEventType::RoomRedaction
            && let Some(redacts) = &self.pdu.redacts
            && let Some(target) = room.find_event(redacts).await?
        {
            let version = room.info.version.clone();
            let create = room.create_event().await?;
            let levels = PowerLevels::new(&version, &create, self.power_levels.as_deref()).map_err(refused)?;
            if redaction::applies(&version, &self.pdu, &target.pdu, &levels).unwrap_or(false) {
                effects.redaction = Some(target);
            }
        }
        Ok(effects)
    }
}

/// A resolution leaves a user without membership.
fn gone(pdu: &Pdu, event: EventNid, previous: Option<MembershipRecord>) -> Result<MemberChange, RoomError> {
    let user_id = UserId::parse(pdu.state_key.as_deref().unwrap_or_default()).map_err(corrupt)?;
    let previous = previous.ok_or_else(|| corrupt(format!("{user_id} is no member")))?;
    let membership = previous.membership;
    let record = MembershipRecord { membership: Membership::Leave, event, forgotten: false, ..previous };
    Ok(MemberChange { user_id, record, previous: Some(membership), displayname: None })
}

impl Operation for Publication {
    fn run<'a>(&'a self, room: &'a mut RoomWriter<'_>) -> BoxFuture<'a, Result<OwnedEventId, RoomError>> {
        Box::pin(async move {
            let taken = self.take_place(room).await?;
            self.stale.store(!taken, Ordering::Relaxed);
            Ok(self.pdu.event_id.clone())
        })
    }

    fn weight(&self) -> usize {
        let changes = self.accepted.as_ref().map_or(0, |accepted| accepted.differences.len());
        self.pdu.json.len() + changes * 500
    }
}

impl Rooms {
    /// Numbers an event and its names.
    pub(super) async fn number(&self, info: &RoomInfo, pdu: &Pdu) -> Result<Placing, RoomError> {
        let stored = self.stored_nid(&self.store.begin(), &pdu.event_id).await?;
        let nid = match stored {
            Some(nid) => nid,
            None => EventNid(self.ids.next(&self.store, Kind::Event).await?),
        };
        let type_name = &pdu.event_type.to_string();
        let (event_type, sender, state_key) = self
            .store
            .transact("number names", |tx| async move {
                let mut names = NewNames::default();
                let event_type = names.type_nid(self, &tx, type_name).await?;
                let sender = names.key_nid(self, &tx, pdu.sender.as_str()).await?;
                let state_key = match &pdu.state_key {
                    Some(key) => Some(names.key_nid(self, &tx, key).await?),
                    None => None,
                };
                names.write(&tx);
                Ok::<_, RoomError>((event_type, sender, state_key))
            })
            .await?;
        let state = state_key.map(|key| (event_type, key));
        tracing::trace!(room = info.nid.0, event = nid.0, "numbered");
        Ok(Placing { nid, event_type, sender, state, stored: stored.is_some() })
    }

    /// Keeps an event that is not to be published; false when another receiver was at it.
    pub(super) async fn keep_aside(
        &self,
        info: &RoomInfo,
        event: &Verified,
        judged: Judged,
    ) -> Result<bool, RoomError> {
        let placing = self.number(info, &event.pdu).await?;
        self.keep_numbered(info, event, &judged, &placing).await
    }

    pub(super) async fn keep_numbered(
        &self,
        info: &RoomInfo,
        event: &Verified,
        judged: &Judged,
        placing: &Placing,
    ) -> Result<bool, RoomError> {
        self.run_publication(info, Publication::aside(info, event, judged, *placing)).await
    }

    /// Runs a publication in the room's lane; false when it was void.
    pub(super) async fn run_publication(&self, info: &RoomInfo, publication: Publication) -> Result<bool, RoomError> {
        let publication = Arc::new(publication);
        self.lanes.run(self, info.nid, publication.clone()).await?;
        Ok(!publication.stale.load(Ordering::Relaxed))
    }
}

impl RoomWriter<'_> {
    /// What is kept without being published.
    pub(crate) async fn write_stored(&mut self) -> Result<Vec<(Arc<StoredEvent>, GraphRecord)>, RoomError> {
        let (tx, room) = (self.tx.clone(), self.room());
        let mut written = Vec::new();
        let mut fresh = Fresh::default();
        for Stored { event, reason, place, before } in std::mem::take(&mut self.stored) {
            let nid = event.nid;
            EVENT.set(
                &tx,
                (nid,),
                &EventRecord {
                    room,
                    event_id: event.pdu.event_id.to_string(),
                    json: event.pdu.json.clone(),
                    outcome: event.outcome,
                    replaces: None,
                    transaction: None,
                    reason,
                },
            );
            EVENT_NID.set(&tx, (event.pdu.event_id.as_str(),), &nid);
            if let Some(before) = before {
                STATE_BEFORE.set(&tx, (room, nid), &before);
            }
            let place = self.rooms.write_place(&tx, room, nid, place, &mut fresh).await?;
            written.push((event, place));
        }
        Ok(written)
    }
}
