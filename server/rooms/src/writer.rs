//! A room inside the transaction that changes it: reading its current state and appending events.
//!
//! Nothing is written before [`RoomWriter::finish`] (in [`crate::publish`]), so reads see the room as it was plus
//! what this writer appended, an operation that is refused leaves no trace, and no read meets a write whose
//! versionstamp is not known yet.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use hearth_protocol::{
    Pdu,
    auth::{self, PowerLevels},
    build::{Named, Unsigned},
    pdu::PduError,
};
use hearth_store::Transaction;
use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedUserId, UserId,
    events::{StateEventType, TimelineEventType},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    EventNid, Membership, Outcome, RoomError, RoomNid, Rooms, StateKeyNid, TypeNid,
    error::corrupt,
    ids::Kind,
    keys::{EVENT_NID, EXTREMITY, MEMBER, ROOM, STATE},
    names::NewNames,
    receiving::Stored,
    records::{MembershipRecord, RoomRecord},
    relating::Relation,
    room_info::RoomInfo,
    snapshots::SnapshotId,
    stored_event::StoredEvent,
    view::RoomView,
};

/// Most previous events that one event names.
const PREV_EVENTS: usize = 20;

/// An event to append, before the room gives it its place.
#[derive(Debug, Clone)]
pub(crate) struct NewEvent {
    pub(crate) sender: OwnedUserId,
    pub(crate) event_type: TimelineEventType,
    pub(crate) state_key: Option<String>,
    pub(crate) content: Box<RawValue>,
    pub(crate) redacts: Option<OwnedEventId>,
    pub(crate) timestamp: MilliSecondsSinceUnixEpoch,
    /// Device and transaction id that send it, for `unsigned.transaction_id`.
    pub(crate) transaction: Option<(String, String)>,
}

/// What else an appended event changes.
#[derive(Default)]
pub(crate) struct Effects {
    /// The transaction table's key (sender, device, id) that leads to this event from now on.
    pub(crate) transaction: Option<(String, String)>,
    /// The event that relates to another one.
    pub(crate) relation: Option<Relation>,
    /// The event that it redacts.
    pub(crate) redaction: Option<Arc<StoredEvent>>,
}

/// A membership that an appended event changes.
pub(crate) struct MemberChange {
    pub(crate) user_id: OwnedUserId,
    pub(crate) record: MembershipRecord,
    pub(crate) previous: Option<Membership>,
    /// `displayname`.
    pub(crate) displayname: Option<String>,
}

/// An entry of the current state that the publication of an event changes.
pub(crate) struct Change {
    pub(crate) event_type: TypeNid,
    pub(crate) state_key: StateKeyNid,
    /// The entry from now on; `None` where a resolution leaves none.
    pub(crate) event: Option<EventNid>,
    pub(crate) replaces: Option<EventNid>,
    /// For a member event.
    pub(crate) member: Option<MemberChange>,
    pub(crate) user_version: u16,
}

/// The states around an event that is published.
#[derive(Debug, Clone, Copy)]
pub(crate) enum States {
    /// It comes after the current state, and its changes make the next one.
    AtTheEnd,
    /// It came from elsewhere, and this was worked out before.
    Resolved { before: SnapshotId, current: SnapshotId },
}

/// An event that this transaction publishes.
pub(crate) struct Appended {
    pub(crate) event: Arc<StoredEvent>,
    pub(crate) event_type: TypeNid,
    pub(crate) sender: StateKeyNid,
    pub(crate) state_key: Option<StateKeyNid>,
    /// What it changes in the current state: for an event at the end of a room itself, after a resolution any number of
    /// entries. Its own is the last.
    pub(crate) changes: Vec<Change>,
    /// Its place among all stamps of the transaction.
    pub(crate) user_version: u16,
    /// The power levels before it.
    pub(crate) power_levels: Option<Arc<Pdu>>,
    pub(crate) effects: Effects,
    pub(crate) prev: Vec<EventNid>,
    pub(crate) auth: Vec<EventNid>,
    pub(crate) states: States,
}

impl Appended {
    /// The membership that the event itself changes.
    pub(crate) fn member(&self) -> Option<&MemberChange> {
        self.changes.last().filter(|change| change.event == Some(self.event.nid))?.member.as_ref()
    }

    /// All memberships that its publication changes.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&Change, &MemberChange)> {
        self.changes.iter().filter_map(|change| Some((change, change.member.as_ref()?)))
    }
}

/// A room inside a transaction.
pub(crate) struct RoomWriter<'a> {
    pub(crate) rooms: &'a Rooms,
    pub(crate) tx: Transaction,
    pub(crate) info: Arc<RoomInfo>,
    pub(crate) record: RoomRecord,
    pub(crate) is_new: bool,
    /// As they were stored before.
    pub(crate) old_extremities: Vec<EventNid>,
    pub(crate) extremities: Vec<(EventNid, OwnedEventId)>,
    pub(crate) view: Arc<RoomView>,
    pub(crate) names: NewNames,
    pub(crate) appended: Vec<Appended>,
    /// Events from other servers that are kept and not published.
    pub(crate) stored: Vec<Stored>,
    /// Stamps given so far.
    pub(crate) user_versions: u16,
    fresh: HashMap<EventNid, Arc<StoredEvent>>,
    /// Annotations and transaction ids of this transaction, which the tables do not show yet.
    pub(crate) fresh_annotations: HashSet<(EventNid, StateKeyNid, String, String)>,
    fresh_transactions: HashMap<(OwnedUserId, String, String), OwnedEventId>,
}

/// The content of a member event, as far as the database looks at it.
#[derive(Deserialize)]
pub(crate) struct MemberContent {
    pub(crate) membership: String,
    #[serde(default)]
    pub(crate) displayname: Option<serde_json::Value>,
}

impl<'a> RoomWriter<'a> {
    /// Opens an existing room.
    pub(crate) async fn open(rooms: &'a Rooms, tx: Transaction, room: RoomNid) -> Result<Self, RoomError> {
        let record = ROOM.get(&tx, (room,)).await?.ok_or(RoomError::RoomNotFound)?;
        let info = rooms.room_info(&tx, room).await?;
        let mut extremities = Vec::new();
        for ((_, event), ()) in EXTREMITY.scan((room,)).all(&tx).await? {
            extremities.push((event, rooms.stored_event(&tx, event).await?.pdu.event_id.clone()));
        }
        let view = match rooms.views.get(&room) {
            Some(view) if view.revision == record.revision => view,
            _ => Arc::new(RoomView::new(record.revision)),
        };
        let old_extremities = extremities.iter().map(|(event, _)| *event).collect();
        Ok(Self::new(rooms, tx, info, record, old_extremities, extremities, view, false))
    }

    /// Begins a room that does not exist yet, with its create event.
    pub(crate) async fn begin(
        rooms: &'a Rooms,
        tx: Transaction,
        info: Arc<RoomInfo>,
        create: Pdu,
    ) -> Result<Self, RoomError> {
        let record = RoomRecord {
            room_id: info.room_id.to_string(),
            version: info.version.id.to_string(),
            revision: 0,
            depth: 0,
            last_event_ts: 0,
            state: None,
        };
        let view = Arc::new(RoomView::of_new_room());
        let mut writer = Self::new(rooms, tx, info, record, Vec::new(), Vec::new(), view, true);
        auth::check(&writer.info.version, &create, |_, _| None).map_err(refused)?;
        writer.add(Authorized { pdu: create, auth: Vec::new(), power_levels: None }, None, Effects::default()).await?;
        Ok(writer)
    }

    #[expect(clippy::too_many_arguments, reason = "private, and each is one field")]
    fn new(
        rooms: &'a Rooms,
        tx: Transaction,
        info: Arc<RoomInfo>,
        record: RoomRecord,
        old_extremities: Vec<EventNid>,
        extremities: Vec<(EventNid, OwnedEventId)>,
        view: Arc<RoomView>,
        is_new: bool,
    ) -> Self {
        Self {
            rooms,
            tx,
            info,
            record,
            is_new,
            old_extremities,
            extremities,
            view,
            names: NewNames::default(),
            appended: Vec::new(),
            stored: Vec::new(),
            user_versions: 0,
            fresh: HashMap::new(),
            fresh_annotations: HashSet::new(),
            fresh_transactions: HashMap::new(),
        }
    }

    /// Opens a room whose rows are there and that nothing leads to yet.
    pub(crate) fn staged(rooms: &'a Rooms, tx: Transaction, info: Arc<RoomInfo>, record: RoomRecord) -> Self {
        let view = Arc::new(RoomView::new(record.revision));
        Self::new(rooms, tx, info, record, Vec::new(), Vec::new(), view, false)
    }

    /// Whether this transaction appended the event.
    pub(crate) fn is_fresh(&self, event_id: &EventId) -> bool {
        self.fresh.values().any(|event| event.pdu.event_id == event_id)
    }

    /// The room.
    pub(crate) fn room(&self) -> RoomNid {
        self.info.nid
    }

    /// An event by its numeric id.
    pub(crate) async fn event(&self, nid: EventNid) -> Result<Arc<StoredEvent>, RoomError> {
        match self.fresh.get(&nid) {
            Some(event) => Ok(event.clone()),
            None => self.rooms.stored_event(&self.tx, nid).await,
        }
    }

    /// An accepted event of this room by its id.
    pub(crate) async fn find_event(&self, event_id: &EventId) -> Result<Option<Arc<StoredEvent>>, RoomError> {
        if let Some(event) = self.fresh.values().find(|event| event.pdu.event_id == event_id) {
            return Ok(Some(event.clone()));
        }
        let Some(nid) = EVENT_NID.get_snapshot(&self.tx, (event_id.as_str(),)).await? else { return Ok(None) };
        let event = self.rooms.stored_event(&self.tx, nid).await?;
        Ok((event.room == self.room() && event.outcome == Outcome::Accepted).then_some(event))
    }

    /// A user's membership.
    pub(crate) async fn membership(&mut self, user: &UserId) -> Result<Option<MembershipRecord>, RoomError> {
        match self.names.find_key(self.rooms, &self.tx, user.as_str()).await? {
            Some(user) => self.membership_of(user).await,
            None => Ok(None),
        }
    }

    /// What a user's membership is, if they ever had one.
    pub(crate) async fn membership_state(&mut self, user: &UserId) -> Result<Option<Membership>, RoomError> {
        Ok(self.membership(user).await?.map(|record| record.membership))
    }

    pub(crate) async fn membership_of(&mut self, user: StateKeyNid) -> Result<Option<MembershipRecord>, RoomError> {
        if let Some(record) = self.view.member(user) {
            return Ok(record.clone());
        }
        let record = if self.is_new { None } else { MEMBER.get(&self.tx, (self.room(), user)).await? };
        Arc::make_mut(&mut self.view).set_member(user, record.clone());
        Ok(record)
    }

    pub(crate) async fn state_nid(
        &mut self,
        event_type: TypeNid,
        key: StateKeyNid,
    ) -> Result<Option<EventNid>, RoomError> {
        if event_type == TypeNid::MEMBER {
            return Ok(self.membership_of(key).await?.map(|record| record.event));
        }
        if let Some(event) = self.view.state(event_type, key) {
            return Ok(*event);
        }
        let event = if self.is_new { None } else { STATE.get(&self.tx, (self.room(), event_type, key)).await? };
        Arc::make_mut(&mut self.view).set_state(event_type, key, event);
        Ok(event)
    }

    /// An entry of the current state.
    pub(crate) async fn state(&mut self, event_type: &str, key: &str) -> Result<Option<Arc<StoredEvent>>, RoomError> {
        let Some(event_type) = self.names.find_type(self.rooms, &self.tx, event_type).await? else { return Ok(None) };
        let Some(key) = self.names.find_key(self.rooms, &self.tx, key).await? else { return Ok(None) };
        match self.state_nid(event_type, key).await? {
            Some(nid) => Ok(Some(self.event(nid).await?)),
            None => Ok(None),
        }
    }

    /// The room's create event.
    pub(crate) async fn create_event(&mut self) -> Result<Arc<Pdu>, RoomError> {
        let create = self.state_nid(TypeNid::CREATE, StateKeyNid::EMPTY).await?;
        let create = create.ok_or_else(|| corrupt("room without create event"))?;
        Ok(self.event(create).await?.pdu.clone())
    }

    /// The room's power levels event.
    pub(crate) async fn power_levels_event(&mut self) -> Result<Option<Arc<Pdu>>, RoomError> {
        match self.state_nid(TypeNid::POWER_LEVELS, StateKeyNid::EMPTY).await? {
            Some(nid) => Ok(Some(self.event(nid).await?.pdu.clone())),
            None => Ok(None),
        }
    }

    /// Asks the room's power levels.
    pub(crate) async fn with_power_levels<T>(
        &mut self,
        ask: impl FnOnce(&PowerLevels<'_>) -> Result<T, auth::Refused>,
    ) -> Result<T, RoomError> {
        let create = self.create_event().await?;
        let event = self.power_levels_event().await?;
        let levels = PowerLevels::new(&self.info.version, &create, event.as_deref()).map_err(refused)?;
        ask(&levels).map_err(refused)
    }

    /// The event that an earlier request with this transaction id made, within this transaction.
    pub(crate) fn fresh_transaction(&self, sender: &UserId, key: &(String, String)) -> Option<OwnedEventId> {
        let key = (sender.to_owned(), key.0.clone(), key.1.clone());
        self.fresh_transactions.get(&key).cloned()
    }

    /// Builds, signs and authorizes an event at the end of the room. On an error the room is as before.
    pub(crate) async fn append(&mut self, new: NewEvent, effects: Effects) -> Result<OwnedEventId, RoomError> {
        let transaction = new.transaction.clone();
        let event = self.authorize(new).await?;
        self.add(event, transaction, effects).await
    }

    /// Like [`Self::append`], except that a state event with the sender and content of the current one is not
    /// sent: the current one's id is returned.
    pub(crate) async fn append_if_changed(
        &mut self,
        new: NewEvent,
        effects: Effects,
    ) -> Result<OwnedEventId, RoomError> {
        let transaction = new.transaction.clone();
        let event = self.authorize(new).await?;
        let pdu = &event.pdu;
        if let Some(key) = &pdu.state_key
            && let Some(current) = self.state(&pdu.event_type.to_string(), key).await?
            && current.pdu.sender == pdu.sender
            && current.pdu.content.get() == pdu.content.get()
        {
            return Ok(current.pdu.event_id.clone());
        }
        self.add(event, transaction, effects).await
    }

    async fn authorize(&mut self, new: NewEvent) -> Result<Authorized, RoomError> {
        let info = self.info.clone();
        let version = &info.version;
        let types = auth::auth_types(version, &new.event_type, &new.sender, new.state_key.as_deref(), &new.content)
            .map_err(|error| RoomError::BadRequest(error.0))?;
        let mut state: Vec<(StateEventType, String, Arc<Pdu>)> = Vec::with_capacity(types.len() + 1);
        let mut auth = Vec::with_capacity(types.len());
        for (event_type, key) in types {
            if let Some(event) = self.state(&event_type.to_string(), &key).await? {
                auth.push(event.nid);
                state.push((event_type, key, event.pdu.clone()));
            }
        }
        let auth_events = state.iter().map(|(_, _, event)| event.event_id.clone()).collect();
        if version.room_id_is_create_event() {
            state.push((StateEventType::RoomCreate, String::new(), self.create_event().await?));
        }
        let mut prev_events: Vec<OwnedEventId> = self.extremities.iter().map(|(_, id)| id.clone()).collect();
        prev_events.truncate(PREV_EVENTS);
        let mut named = Named::default();
        if version.references_have_hashes() {
            for (nid, id) in self.extremities.iter().take(PREV_EVENTS) {
                let hash = self.event(*nid).await?.pdu.reference_hash(version).map_err(corrupt)?;
                named.hashes.insert(id.clone(), hash);
            }
            for (_, _, event) in &state {
                named.hashes.insert(event.event_id.clone(), event.reference_hash(version).map_err(corrupt)?);
            }
        }
        let pdu = Unsigned {
            room_id: Some(self.info.room_id.clone()),
            sender: new.sender,
            event_type: new.event_type,
            state_key: new.state_key,
            content: new.content,
            redacts: new.redacts,
            origin_server_ts: new.timestamp,
            prev_events,
            auth_events,
            depth: self.record.depth + 1,
            named,
        }
        .sign(version, &self.rooms.config.key)?;
        let find = |event_type: &StateEventType, key: &str| {
            let found = state.iter().find(|(kind, state_key, _)| kind == event_type && state_key == key);
            found.map(|(_, _, event)| &**event)
        };
        auth::check(version, &pdu, find).map_err(refused)?;
        let power_levels = state.into_iter().find(|(kind, _, _)| *kind == StateEventType::RoomPowerLevels);
        Ok(Authorized { pdu, auth, power_levels: power_levels.map(|(_, _, event)| event) })
    }

    /// Takes an authorized event into the room. The store is only read.
    async fn add(
        &mut self,
        event: Authorized,
        transaction: Option<(String, String)>,
        effects: Effects,
    ) -> Result<OwnedEventId, RoomError> {
        let Authorized { pdu, auth, power_levels } = event;
        let type_name = pdu.event_type.to_string();
        let event_type = self.names.type_nid(self.rooms, &self.tx, &type_name).await?;
        let sender = self.names.key_nid(self.rooms, &self.tx, pdu.sender.as_str()).await?;
        let nid = EventNid(self.rooms.ids.next(&self.rooms.store, Kind::Event).await?);
        let user_version = self.user_versions;
        let mut state_key = None;
        let mut changes = Vec::new();
        if let Some(key) = &pdu.state_key {
            let key_nid = self.names.key_nid(self.rooms, &self.tx, key).await?;
            state_key = Some(key_nid);
            let replaces = self.state_nid(event_type, key_nid).await?;
            let mut member = None;
            if event_type == TypeNid::MEMBER {
                let previous = self.membership_of(key_nid).await?;
                member = Some(member_change(&pdu, key, nid, sender, previous)?);
            }
            changes.push(Change { event_type, state_key: key_nid, event: Some(nid), replaces, member, user_version });
        }

        // Nothing fails from here on.
        let event_id = pdu.event_id.clone();
        self.note_changes(&changes);
        self.note_effects(&pdu, &type_name, sender, &effects);
        self.user_versions = user_version + 1;
        self.record.depth = self.record.depth.max(pdu.depth);
        self.record.last_event_ts = pdu.origin_server_ts.0.into();
        let named = self.extremities.len().min(PREV_EVENTS);
        let prev = self.extremities.drain(..named).map(|(nid, _)| nid).collect();
        self.extremities.push((nid, event_id.clone()));
        let event = Arc::new(StoredEvent {
            nid,
            room: self.room(),
            pdu: Arc::new(pdu),
            outcome: Outcome::Accepted,
            replaces: changes.last().and_then(|change| change.replaces),
            transaction,
        });
        self.fresh.insert(nid, event.clone());
        self.appended.push(Appended {
            event,
            event_type,
            sender,
            state_key,
            changes,
            user_version,
            power_levels,
            effects,
            prev,
            auth,
            states: States::AtTheEnd,
        });
        Ok(event_id)
    }

    /// Takes an event that came from another server into the room, which has these ends from then on.
    pub(crate) fn take(&mut self, appended: Appended, ends: Vec<(EventNid, OwnedEventId)>) {
        let pdu = appended.event.pdu.clone();
        self.note_changes(&appended.changes);
        self.note_effects(&pdu, &pdu.event_type.to_string(), appended.sender, &appended.effects);
        self.user_versions = appended.user_version + 1;
        self.record.depth = self.record.depth.max(pdu.depth);
        self.record.last_event_ts = pdu.origin_server_ts.0.into();
        self.extremities = ends;
        self.fresh.insert(appended.event.nid, appended.event.clone());
        self.appended.push(appended);
    }

    /// The current state is another one from here on.
    fn note_changes(&mut self, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        let view = Arc::make_mut(&mut self.view);
        for change in changes {
            match &change.member {
                Some(member) => {
                    let record = change.event.map(|_| member.record.clone());
                    view.set_member(change.state_key, record);
                }
                None => view.set_state(change.event_type, change.state_key, change.event),
            }
        }
        self.record.revision += changes.len() as u64;
        view.revision = self.record.revision;
    }

    fn note_effects(&mut self, pdu: &Pdu, type_name: &str, sender: StateKeyNid, effects: &Effects) {
        if let Some((device, id)) = &effects.transaction {
            self.fresh_transactions.insert((pdu.sender.clone(), device.clone(), id.clone()), pdu.event_id.clone());
        }
        if let Some(relation) = &effects.relation
            && let Some(key) = relation.annotation_key()
        {
            self.fresh_annotations.insert((relation.parent.nid, sender, type_name.to_owned(), key.to_owned()));
        }
    }
}

/// An event that the current state allows.
struct Authorized {
    pdu: Pdu,
    auth: Vec<EventNid>,
    /// The power levels before it.
    power_levels: Option<Arc<Pdu>>,
}

/// What a member event makes of a membership.
pub(crate) fn member_change(
    pdu: &Pdu,
    state_key: &str,
    event: EventNid,
    sender: StateKeyNid,
    previous: Option<MembershipRecord>,
) -> Result<MemberChange, RoomError> {
    let content: MemberContent = serde_json::from_str(pdu.content.get()).map_err(corrupt)?;
    let membership = Membership::parse(&content.membership).ok_or_else(|| corrupt(&content.membership))?;
    let user_id = UserId::parse(state_key).map_err(corrupt)?;
    let ever_joined = previous.as_ref().is_some_and(|record| record.ever_joined);
    let record = MembershipRecord {
        membership,
        event,
        sender,
        forgotten: false,
        ever_joined: ever_joined || membership == Membership::Join,
    };
    let displayname = content.displayname.and_then(|name| name.as_str().map(str::to_owned));
    Ok(MemberChange { user_id, record, previous: previous.map(|record| record.membership), displayname })
}

/// The authorization rules refuse the request.
pub(crate) fn refused(error: auth::Refused) -> RoomError {
    RoomError::Forbidden(error.0)
}

impl From<PduError> for RoomError {
    fn from(error: PduError) -> Self {
        match error {
            PduError::Malformed(_) => Self::BadRequest(error.to_string()),
            PduError::TooLarge(_) => Self::TooLarge(error.to_string()),
        }
    }
}
