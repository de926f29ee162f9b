//! What a writer has read of a room's current state, kept between transactions.
//!
//! The room record's revision grows with every change of the current state, and every writing transaction reads
//! the record first: what was read at a revision is true wherever that revision is read again.

use std::{collections::HashMap, sync::Arc};

use ruma::OwnedUserId;

use crate::{EventNid, StateKeyNid, TypeNid, records::MembershipRecord};

/// Most entries kept for one room; a writer that has read more begins a new view.
const ENTRIES: usize = 4096;

/// A joined user of this server.
#[derive(Debug, Clone)]
pub(crate) struct LocalUser {
    pub(crate) user_id: OwnedUserId,
    /// `displayname` of the member event.
    pub(crate) displayname: Option<String>,
}

/// Parts of the current state at one revision.
#[derive(Debug, Clone, Default)]
pub(crate) struct RoomView {
    /// The revision at which this is true.
    pub(crate) revision: u64,
    /// Entries other than members; `None` for one that is known not to exist.
    state: HashMap<(TypeNid, StateKeyNid), Option<EventNid>>,
    /// Members; `None` for a user who never had a membership.
    members: HashMap<StateKeyNid, Option<MembershipRecord>>,
    /// Joined users of this server.
    local: Option<Arc<HashMap<StateKeyNid, LocalUser>>>,
    /// Number of joined users.
    joined: Option<u64>,
}

impl RoomView {
    /// An empty view.
    pub(crate) fn new(revision: u64) -> Self {
        Self { revision, ..Self::default() }
    }

    /// A view of a room that has no state yet, in which nothing needs to be read.
    pub(crate) fn of_new_room() -> Self {
        Self { local: Some(Arc::default()), joined: Some(0), ..Self::default() }
    }

    /// Entries held, for the bound of the cache.
    pub(crate) fn weight(&self) -> usize {
        1 + self.state.len() + self.members.len() + self.local.as_ref().map_or(0, |local| local.len())
    }

    /// The entry, if it was read.
    pub(crate) fn state(&self, event_type: TypeNid, key: StateKeyNid) -> Option<&Option<EventNid>> {
        self.state.get(&(event_type, key))
    }

    /// Notes an entry.
    pub(crate) fn set_state(&mut self, event_type: TypeNid, key: StateKeyNid, event: Option<EventNid>) {
        if self.state.len() >= ENTRIES {
            self.state.clear();
        }
        self.state.insert((event_type, key), event);
    }

    /// The membership, if it was read.
    pub(crate) fn member(&self, user: StateKeyNid) -> Option<&Option<MembershipRecord>> {
        self.members.get(&user)
    }

    /// Notes a membership.
    pub(crate) fn set_member(&mut self, user: StateKeyNid, record: Option<MembershipRecord>) {
        if self.members.len() >= ENTRIES {
            self.members.clear();
        }
        self.members.insert(user, record);
    }

    /// Joined users of this server, if they were read.
    pub(crate) fn local(&self) -> Option<&Arc<HashMap<StateKeyNid, LocalUser>>> {
        self.local.as_ref()
    }

    /// Notes the joined users of this server.
    pub(crate) fn set_local(&mut self, local: Arc<HashMap<StateKeyNid, LocalUser>>) {
        self.local = Some(local);
    }

    /// Number of joined users, if it was read.
    pub(crate) fn joined(&self) -> Option<u64> {
        self.joined
    }

    /// Notes the number of joined users.
    pub(crate) fn set_joined(&mut self, joined: u64) {
        self.joined = Some(joined);
    }
}
