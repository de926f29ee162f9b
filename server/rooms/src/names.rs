//! Numeric ids for strings inside a writing transaction: known ones are looked up, new ones assigned.

use std::collections::HashMap;

use hearth_store::Transaction;

use crate::{
    RoomError, Rooms, StateKeyNid, TypeNid,
    ids::Kind,
    keys::{STATE_KEY, STATE_KEY_NID, TYPE, TYPE_NID},
};

/// Ids that one transaction assigns, written with everything else at its end.
#[derive(Clone, Default)]
pub(crate) struct NewNames {
    types: HashMap<String, TypeNid>,
    keys: HashMap<String, StateKeyNid>,
}

impl NewNames {
    /// The id of an event type, if it has one.
    pub(crate) async fn find_type(
        &self,
        rooms: &Rooms,
        tx: &Transaction,
        name: &str,
    ) -> Result<Option<TypeNid>, RoomError> {
        match self.types.get(name) {
            Some(nid) => Ok(Some(*nid)),
            None => Ok(rooms.find_type(tx, name).await?),
        }
    }

    /// The id of a state key, user id or server name, if it has one.
    pub(crate) async fn find_key(
        &self,
        rooms: &Rooms,
        tx: &Transaction,
        name: &str,
    ) -> Result<Option<StateKeyNid>, RoomError> {
        match self.keys.get(name) {
            Some(nid) => Ok(Some(*nid)),
            None => Ok(rooms.find_state_key(tx, name).await?),
        }
    }

    /// The id of an event type, a new one if it has none.
    pub(crate) async fn type_nid(&mut self, rooms: &Rooms, tx: &Transaction, name: &str) -> Result<TypeNid, RoomError> {
        if let Some(nid) = self.find_type(rooms, tx, name).await? {
            return Ok(nid);
        }
        // Again with a read conflict, so that two transactions that number the same name do not both commit.
        if let Some(nid) = TYPE_NID.get(tx, (name,)).await? {
            return Ok(nid);
        }
        let nid = TypeNid(rooms.ids.next(&rooms.store, Kind::Type).await?);
        self.types.insert(name.to_owned(), nid);
        Ok(nid)
    }

    /// The id of a state key, user id or server name, a new one if it has none.
    pub(crate) async fn key_nid(
        &mut self,
        rooms: &Rooms,
        tx: &Transaction,
        name: &str,
    ) -> Result<StateKeyNid, RoomError> {
        if let Some(nid) = self.find_key(rooms, tx, name).await? {
            return Ok(nid);
        }
        if let Some(nid) = STATE_KEY_NID.get(tx, (name,)).await? {
            return Ok(nid);
        }
        let nid = StateKeyNid(rooms.ids.next(&rooms.store, Kind::StateKey).await?);
        self.keys.insert(name.to_owned(), nid);
        Ok(nid)
    }

    /// Writes the assignments.
    pub(crate) fn write(&self, tx: &Transaction) {
        for (name, nid) in &self.types {
            TYPE_NID.set(tx, (name.as_str(),), nid);
            TYPE.set(tx, (*nid,), name);
        }
        for (name, nid) in &self.keys {
            STATE_KEY_NID.set(tx, (name.as_str(),), nid);
            STATE_KEY.set(tx, (*nid,), name);
        }
    }
}
