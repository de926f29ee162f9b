//! What an audience gets next: which rooms, from where on, and what else.
//!
//! A batch says *where* there is something; the faces (`/sync` and others) read *what* it is, in the same
//! [`Reading`], and give it their form. Users and servers differ only in that a server has no account data, receipts or
//! presence of its own.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use hearth_accounts::changes::AccountDatum;
use hearth_rooms::{Membership, RoomNid, StateKeyNid, audience::MembershipStep};
use hearth_store::{Store, Transaction, Version, last_stamp, version_of};
use hearth_transitory::Change;
use ruma::{OwnedRoomId, OwnedServerName, OwnedUserId};

use crate::{SyncEngine, SyncError, SyncPosition, memberships::Memberships};

/// A transaction that has read for so long is replaced by a new one, well before it would be too old.
const RENEW_AFTER: Duration = Duration::from_secs(2);
/// Changes of the Transitory database that are gone through one by one; after more, each room is asked.
const MAX_CHANGES: usize = 500;

/// Who reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Audience {
    /// A local user.
    User(OwnedUserId),
    /// Another server.
    Server(OwnedServerName),
}

impl Audience {
    fn name(&self) -> &str {
        match self {
            Self::User(user) => user.as_str(),
            Self::Server(server) => server.as_str(),
        }
    }
}

/// What the reader wants of a batch; what it does not want is not looked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// Rooms that the audience has left and not forgotten, in a batch from the beginning.
    pub left_rooms: bool,
    /// Every joined room, even where nothing happened.
    pub every_joined_room: bool,
}

/// What an audience gets next.
#[derive(Debug)]
pub struct Batch {
    /// Where the next batch begins.
    pub position: SyncPosition,
    /// The audience's numeric id, `None` if no room ever saw it.
    pub audience: Option<StateKeyNid>,
    /// Rooms in which there is something.
    pub rooms: Vec<RoomBatch>,
    /// A user's changed account data.
    pub account_data: Vec<AccountDatum>,
    /// Users whose presence changed, whether or not the audience may see them; `None` from the beginning and after too
    /// many changes: the presence of everybody in the joined rooms counts then.
    pub presence: Option<Vec<OwnedUserId>>,
    /// Rooms whose changes concern the audience from now on.
    pub joined: Arc<HashSet<RoomNid>>,
}

/// What happened in a room.
#[derive(Debug, Clone)]
pub struct RoomBatch {
    /// The room.
    pub room: RoomNid,
    /// How the audience stands to it.
    pub standing: Standing,
    /// Publications after this version count; `None`: the room is new to the audience.
    pub since: Option<Version>,
    /// The audience was in the room at this version, even if it left in between and the room is new to it again.
    pub known: Option<Version>,
    /// There are publications.
    pub events: bool,
    /// Who types changed.
    pub typing: bool,
    /// Receipts changed.
    pub receipts: bool,
}

/// How an audience stands to a room.
#[derive(Debug, Clone)]
pub enum Standing {
    /// Joined.
    Joined,
    /// Left or banned: with the step that led there, if it happened since.
    Left(Option<MembershipStep>),
    /// Invited, by this user.
    Invited(StateKeyNid),
    /// Has knocked.
    Knocked,
}

impl Batch {
    /// Whether nothing happened that could concern the audience.
    pub fn is_empty(&self) -> bool {
        self.rooms.is_empty() && self.account_data.is_empty() && self.presence.as_ref().is_some_and(Vec::is_empty)
    }
}

impl RoomBatch {
    /// A joined room in which nothing was published.
    pub(crate) fn without_events(room: RoomNid, since: Option<Version>) -> Self {
        Self { events: false, ..Self::new(room, Standing::Joined, since) }
    }

    fn new(room: RoomNid, standing: Standing, since: Option<Version>) -> Self {
        let is_new = since.is_none();
        Self { room, standing, since, known: since, events: true, typing: is_new, receipts: is_new }
    }
}

/// A consistent view of the databases, each at the version of the batch's position.
#[derive(Debug)]
pub struct Reading {
    rooms: Mutable,
    transitory: Mutable,
    /// The versions.
    pub position: SyncPosition,
}

#[derive(Debug)]
struct Mutable {
    store: Store,
    tx: Transaction,
    begun: Instant,
}

impl Mutable {
    fn begin(store: &Store) -> Self {
        Self { store: store.clone(), tx: store.begin(), begun: Instant::now() }
    }

    fn tx(&mut self) -> &Transaction {
        if self.begun.elapsed() > RENEW_AFTER {
            *self = Self::begin(&self.store.clone());
        }
        &self.tx
    }
}

impl Reading {
    /// A transaction on the Rooms database. In a long reading it may see more than the position says, which the next
    /// batch then repeats; callers bound timelines and state by the position.
    pub fn rooms(&mut self) -> Transaction {
        self.rooms.tx().clone()
    }

    /// A transaction on the Transitory database, likewise.
    pub fn transitory(&mut self) -> Transaction {
        self.transitory.tx().clone()
    }
}

impl SyncEngine {
    /// What `audience` gets after `since`, or from the beginning.
    pub async fn next_batch(
        &self,
        audience: &Audience,
        since: Option<SyncPosition>,
        limits: Limits,
    ) -> Result<(Batch, Reading), SyncError> {
        let parts = &*self.0;
        // Rooms last: whatever a receipt or account data refers to has been published by then, and is in the batch.
        let mut transitory = Mutable::begin(parts.transitory.store());
        let transitory_version = transitory.tx().read_version().await?;
        let (account_data, accounts_version) = self.account_data(audience, since).await?;
        let mut rooms = Mutable::begin(parts.rooms.store());
        let rooms_version = rooms.tx().read_version().await?;

        let position =
            SyncPosition { rooms: rooms_version, accounts: accounts_version, transitory: transitory_version };
        if since.is_some_and(|since| {
            since.rooms > position.rooms || since.accounts > position.accounts || since.transitory > position.transitory
        }) {
            return Err(SyncError::UnknownPosition);
        }

        let tx = rooms.tx().clone();
        let nid = parts.rooms.find_state_key(&tx, audience.name()).await?;
        let head = parts.rooms.stream_head(&tx).await?.map_or(0, |stamp| version_of(&stamp));
        let memberships = match nid {
            Some(nid) => Some(parts.memberships.get(&parts.rooms, &tx, nid, head).await?),
            None => None,
        };
        let mut batch = Batch {
            position,
            audience: nid,
            rooms: Vec::new(),
            account_data,
            presence: since.map(|_| Vec::new()),
            joined: memberships.as_ref().map(|memberships| memberships.joined.clone()).unwrap_or_default(),
        };
        let mut reading = Reading { rooms, transitory, position };
        if let (Some(memberships), Some(nid)) = (memberships, nid) {
            batch.rooms = match since {
                None => Self::all_rooms(&memberships, limits),
                Some(since) => self.changed_rooms(&mut reading, nid, &memberships, since.rooms, head, limits).await?,
            };
        }
        if let (Some(since), Audience::User(_)) = (since, audience) {
            self.add_transitory(&mut reading, &mut batch, since).await?;
        }
        Ok((batch, reading))
    }

    /// A user's account data since the position, and the version up to which that is all.
    async fn account_data(
        &self,
        audience: &Audience,
        since: Option<SyncPosition>,
    ) -> Result<(Vec<AccountDatum>, Version), SyncError> {
        let accounts = &self.0.accounts;
        let Audience::User(user) = audience else { return Ok((Vec::new(), 0)) };
        let version = accounts.store().current_version().await?;
        match since {
            Some(since) if since.accounts > version => Err(SyncError::UnknownPosition),
            // The version was read first: a change after it is seen by the next batch at the latest.
            Some(since) if accounts.last_change(user).await? <= since.accounts => Ok((Vec::new(), version)),
            since => {
                let changes = accounts.changes_since(user, since.map_or(0, |since| since.accounts)).await?;
                Ok((changes.account_data, changes.version))
            }
        }
    }

    fn all_rooms(memberships: &Memberships, limits: Limits) -> Vec<RoomBatch> {
        let rooms = memberships.rooms.iter().filter_map(|room| {
            let standing = match room.membership {
                Membership::Join => Standing::Joined,
                Membership::Invite => Standing::Invited(room.sender),
                Membership::Knock => Standing::Knocked,
                Membership::Leave | Membership::Ban if limits.left_rooms => Standing::Left(None),
                Membership::Leave | Membership::Ban => return None,
            };
            Some(RoomBatch::new(room.room, standing, None))
        });
        rooms.collect()
    }

    /// Rooms with publications or changes of the audience's membership. `head` is the newest publication at all.
    async fn changed_rooms(
        &self,
        reading: &mut Reading,
        audience: StateKeyNid,
        memberships: &Memberships,
        since: Version,
        head: Version,
        limits: Limits,
    ) -> Result<Vec<RoomBatch>, SyncError> {
        let rooms = &self.0.rooms;
        let tx = reading.rooms();
        let mut batches = Vec::new();
        let mut stepped = HashSet::new();
        let mut changed = Some(HashSet::new());
        if head > since {
            for step in rooms.membership_changes(&tx, audience, since).await? {
                stepped.insert(step.room);
                let standing = match step.now {
                    Membership::Join => Standing::Joined,
                    Membership::Knock => Standing::Knocked,
                    Membership::Invite => {
                        let room = rooms.audience_room(&tx, audience, step.room).await?;
                        Standing::Invited(room.map_or(audience, |room| room.sender))
                    }
                    Membership::Leave | Membership::Ban => Standing::Left(Some(step.clone())),
                };
                // Only who was there all along goes on from where they were.
                let is_new = match step.now {
                    Membership::Join => step.joined_at.is_some(),
                    _ => step.before != Some(Membership::Join),
                };
                let mut batch = RoomBatch::new(step.room, standing, (!is_new).then_some(since));
                batch.known = (step.before == Some(Membership::Join)).then_some(since);
                batches.push(batch);
            }
            // No longer than the audience has rooms: after more, comparing the rooms' heads is cheaper.
            let limit = memberships.joined.len() + 1;
            let stream = rooms.stream_since(&tx, &last_stamp(since), limit).await?;
            changed = (stream.len() < limit).then(|| stream.into_iter().map(|event| event.room).collect());
        }
        for room in memberships.joined.iter().copied().filter(|room| !stepped.contains(room)) {
            let events = match &changed {
                Some(changed) => changed.contains(&room),
                None => rooms.has_changed(&tx, room, since).await?,
            };
            if events || limits.every_joined_room {
                let mut batch = RoomBatch::new(room, Standing::Joined, Some(since));
                batch.events = events;
                batches.push(batch);
            }
        }
        Ok(batches)
    }

    /// Adds typing, receipts and presence.
    async fn add_transitory(
        &self,
        reading: &mut Reading,
        batch: &mut Batch,
        since: SyncPosition,
    ) -> Result<(), SyncError> {
        let (rooms, transitory) = (&self.0.rooms, &self.0.transitory);
        let (tx, rooms_tx) = (reading.transitory(), reading.rooms());
        if transitory.head(&tx).await? <= since.transitory {
            return Ok(());
        }
        let mut places: HashMap<RoomNid, usize> =
            batch.rooms.iter().enumerate().map(|(place, room)| (room.room, place)).collect();
        let mut add = |batch: &mut Batch, room: RoomNid, change: &Change| {
            if !batch.joined.contains(&room) {
                return;
            }
            let place = *places.entry(room).or_insert_with(|| {
                batch.rooms.push(RoomBatch::without_events(room, Some(since.rooms)));
                batch.rooms.len() - 1
            });
            match change {
                Change::Typing(_) => batch.rooms[place].typing = true,
                Change::Receipts(_) => batch.rooms[place].receipts = true,
                Change::Presence(_) => {}
            }
        };
        if let Some(changes) = transitory.changes(&tx, since.transitory, MAX_CHANGES).await? {
            let mut present = Vec::new();
            for change in changes {
                match &change {
                    Change::Typing(room) | Change::Receipts(room) => {
                        if let Some(room) = rooms.find_room(&rooms_tx, room).await? {
                            add(batch, room, &change);
                        }
                    }
                    Change::Presence(user) => present.push(user.clone()),
                }
            }
            batch.presence = Some(present);
        } else {
            for room in batch.joined.clone().iter().copied() {
                let room_id: OwnedRoomId = rooms.room_info(&rooms_tx, room).await?.room_id.clone();
                for change in [Change::Typing(room_id.clone()), Change::Receipts(room_id)] {
                    if transitory.changed_since(&tx, &change, since.transitory).await? {
                        add(batch, room, &change);
                    }
                }
            }
            batch.presence = None;
        }
        Ok(())
    }

    /// The rooms where `user` is joined, as the reading sees them.
    pub(crate) async fn joined_rooms(
        &self,
        reading: &mut Reading,
        user: StateKeyNid,
    ) -> Result<Arc<HashSet<RoomNid>>, SyncError> {
        let tx = reading.rooms();
        let head = self.0.rooms.stream_head(&tx).await?.map_or(0, |stamp| version_of(&stamp));
        Ok(self.0.memberships.get(&self.0.rooms, &tx, user, head).await?.joined.clone())
    }
}
