//! From names to numeric ids and back, for reading.
//!
//! These fill caches, so they must not be called in a transaction that assigns ids (which might not commit).

use std::sync::Arc;

use hearth_protocol::RoomVersion;
use hearth_store::{StoreError, Transaction};
use ruma::{RoomId, RoomVersionId};

use crate::{RoomError, RoomNid, Rooms, StateKeyNid, TypeNid, error::corrupt, keys, room_info::RoomInfo};

impl Rooms {
    /// The numeric id of a room, `None` when it is not known here.
    pub async fn find_room(&self, tx: &Transaction, room_id: &RoomId) -> Result<Option<RoomNid>, StoreError> {
        let name = room_id.as_str();
        if let Some(nid) = self.caches.room_nids.get(name) {
            return Ok(Some(nid));
        }
        let nid = keys::ROOM_NID.get_snapshot(tx, (name,)).await?;
        if let Some(nid) = nid {
            self.caches.room_nids.insert(name.to_owned(), nid, 1);
        }
        Ok(nid)
    }

    /// The numeric id of a state key, user id or server name, `None` when no room ever saw it.
    pub async fn find_state_key(&self, tx: &Transaction, key: &str) -> Result<Option<StateKeyNid>, StoreError> {
        if key.is_empty() {
            return Ok(Some(StateKeyNid::EMPTY));
        }
        if let Some(nid) = self.caches.key_nids.get(key) {
            return Ok(Some(nid));
        }
        let nid = keys::STATE_KEY_NID.get_snapshot(tx, (key,)).await?;
        if let Some(nid) = nid {
            self.caches.key_nids.insert(key.to_owned(), nid, 1);
        }
        Ok(nid)
    }

    /// The numeric id of an event type, `None` when no room ever saw it.
    pub async fn find_type(&self, tx: &Transaction, event_type: &str) -> Result<Option<TypeNid>, StoreError> {
        if let Some(nid) = self.caches.type_nids.get(event_type) {
            return Ok(Some(nid));
        }
        let nid = match TypeNid::preassigned(event_type) {
            Some(nid) => Some(nid),
            None => keys::TYPE_NID.get_snapshot(tx, (event_type,)).await?,
        };
        if let Some(nid) = nid {
            self.caches.type_nids.insert(event_type.to_owned(), nid, 1);
        }
        Ok(nid)
    }

    /// The state key, user id or server name of a numeric id.
    pub async fn state_key_name(&self, tx: &Transaction, nid: StateKeyNid) -> Result<Arc<str>, RoomError> {
        if nid == StateKeyNid::EMPTY {
            return Ok(Arc::from(""));
        }
        if let Some(name) = self.caches.keys.get(&nid) {
            return Ok(name);
        }
        let name = keys::STATE_KEY.get_snapshot(tx, (nid,)).await?;
        let name: Arc<str> = name.ok_or_else(|| RoomError::Corrupt(format!("{nid:?} has no name")))?.into();
        self.caches.keys.insert(nid, name.clone(), 1);
        Ok(name)
    }

    /// The event type of a numeric id.
    pub async fn type_name(&self, tx: &Transaction, nid: TypeNid) -> Result<Arc<str>, RoomError> {
        if let Some(name) = self.caches.types.get(&nid) {
            return Ok(name);
        }
        let name: Arc<str> = match nid.preassigned_name() {
            Some(name) => name.into(),
            None => keys::TYPE
                .get_snapshot(tx, (nid,))
                .await?
                .ok_or_else(|| RoomError::Corrupt(format!("{nid:?} has no name")))?
                .into(),
        };
        self.caches.types.insert(nid, name.clone(), 1);
        Ok(name)
    }

    /// What never changes about a room.
    pub async fn room_info(&self, tx: &Transaction, nid: RoomNid) -> Result<Arc<RoomInfo>, RoomError> {
        if let Some(info) = self.caches.rooms.get(&nid) {
            return Ok(info);
        }
        let record = keys::ROOM.get_snapshot(tx, (nid,)).await?.ok_or(RoomError::RoomNotFound)?;
        let room_id = RoomId::parse(&record.room_id).map_err(|error| RoomError::Corrupt(error.to_string()))?;
        let version = RoomVersion::get(&RoomVersionId::try_from(record.version.as_str()).map_err(corrupt)?)
            .ok_or(RoomError::UnsupportedRoomVersion(record.version))?;
        let info = Arc::new(RoomInfo { nid, room_id, version });
        self.caches.rooms.insert(nid, info.clone(), 1);
        Ok(info)
    }
}

const PREASSIGNED: &[(&str, TypeNid)] = &[
    ("m.room.create", TypeNid::CREATE),
    ("m.room.power_levels", TypeNid::POWER_LEVELS),
    ("m.room.join_rules", TypeNid::JOIN_RULES),
    ("m.room.third_party_invite", TypeNid::THIRD_PARTY_INVITE),
    ("m.room.member", TypeNid::MEMBER),
    ("m.room.redaction", TypeNid::REDACTION),
    ("m.room.history_visibility", TypeNid::HISTORY_VISIBILITY),
];

impl TypeNid {
    fn preassigned(event_type: &str) -> Option<Self> {
        PREASSIGNED.iter().find(|(name, _)| *name == event_type).map(|(_, nid)| *nid)
    }

    fn preassigned_name(self) -> Option<&'static str> {
        PREASSIGNED.iter().find(|(_, nid)| *nid == self).map(|(name, _)| *name)
    }
}
