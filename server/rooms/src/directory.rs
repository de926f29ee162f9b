//! [Room aliases](https://spec.matrix.org/v1.19/client-server-api/#room-aliases) and a room's place in the public directory.

use hearth_protocol::pdu::MAX_FIELD_BYTES;
use hearth_store::Transaction;
use ruma::{OwnedRoomAliasId, OwnedRoomId, RoomAliasId, RoomId, UserId, events::TimelineEventType};
use serde::Deserialize;

use crate::{
    Membership, RoomError, RoomNid, Rooms,
    error::corrupt,
    keys::{ALIAS, PUBLISHED, ROOM_ALIAS},
    records::AliasRecord,
    writer::RoomWriter,
};

impl Rooms {
    /// Makes an alias for an existing room.
    pub async fn create_alias(&self, alias: &RoomAliasId, room_id: &RoomId, creator: &UserId) -> Result<(), RoomError> {
        if alias.server_name() != self.config.server_name {
            return Err(RoomError::InvalidParam(format!("{alias} is not an alias of this server")));
        }
        check_length(alias)?;
        self.store
            .transact("create alias", |tx| async move {
                let mut room = self.open_to_manage(&tx, room_id).await?;
                if room.membership_state(creator).await? != Some(Membership::Join) {
                    return Err(RoomError::Forbidden("only members give a room an alias".to_owned()));
                }
                if ALIAS.get(&tx, (alias.as_str(),)).await?.is_some() {
                    return Err(RoomError::AliasInUse);
                }
                ALIAS.set(&tx, (alias.as_str(),), &AliasRecord { room: room.room(), creator: creator.to_string() });
                ROOM_ALIAS.set(&tx, (room.room(), alias.as_str()), &());
                Ok(())
            })
            .await
    }

    /// Deletes an alias: its creator, or who may send `m.room.canonical_alias` in the room. `server_admin` may always.
    pub async fn delete_alias(&self, alias: &RoomAliasId, user: &UserId, server_admin: bool) -> Result<(), RoomError> {
        self.store
            .transact("delete alias", |tx| async move {
                let record = ALIAS.get(&tx, (alias.as_str(),)).await?.ok_or(RoomError::AliasNotFound)?;
                if !server_admin && record.creator != user.as_str() {
                    self.require_alias_power(&tx, record.room, user).await?;
                }
                ALIAS.clear(&tx, (alias.as_str(),));
                ROOM_ALIAS.clear(&tx, (record.room, alias.as_str()));
                Ok(())
            })
            .await
    }

    /// The room of an alias.
    pub async fn resolve_alias(&self, alias: &RoomAliasId) -> Result<OwnedRoomId, RoomError> {
        let tx = self.store.begin();
        let record = ALIAS.get_snapshot(&tx, (alias.as_str(),)).await?.ok_or(RoomError::AliasNotFound)?;
        Ok(self.room_info(&tx, record.room).await?.room_id.clone())
    }

    /// A room's aliases, for its members (or anyone if it is world readable).
    pub async fn aliases(&self, room_id: &RoomId, viewer: &UserId) -> Result<Vec<OwnedRoomAliasId>, RoomError> {
        let tx = self.store.begin();
        let mut room = self.open_to_manage(&tx, room_id).await.map_err(|error| match error {
            RoomError::RoomNotFound => not_for_you(),
            other => other,
        })?;
        if room.membership_state(viewer).await? != Some(Membership::Join) && !is_world_readable(&mut room).await? {
            return Err(not_for_you());
        }
        let aliases = ROOM_ALIAS.scan((room.room(),)).snapshot().all(&tx).await?;
        aliases.into_iter().map(|((_, alias), ())| RoomAliasId::parse(alias).map_err(corrupt)).collect()
    }

    /// Whether the public directory lists the room.
    pub async fn is_published(&self, room_id: &RoomId) -> Result<bool, RoomError> {
        let tx = self.store.begin();
        let room = self.find_room(&tx, room_id).await?.ok_or(RoomError::RoomNotFound)?;
        Ok(PUBLISHED.get_snapshot(&tx, (room,)).await?.is_some())
    }

    /// Lists or unlists the room: who may send `m.room.canonical_alias` there.
    pub async fn set_published(
        &self,
        room_id: &RoomId,
        user: &UserId,
        published: bool,
        server_admin: bool,
    ) -> Result<(), RoomError> {
        self.store
            .transact("set room visibility", |tx| async move {
                let room = self.find_room(&tx, room_id).await?.ok_or(RoomError::RoomNotFound)?;
                if !server_admin {
                    self.require_alias_power(&tx, room, user).await?;
                }
                if published {
                    PUBLISHED.set(&tx, (room,), &());
                } else {
                    PUBLISHED.clear(&tx, (room,));
                }
                Ok(())
            })
            .await
    }

    /// Opens a room to look at its state inside a transaction that changes the directory.
    async fn open_to_manage(&self, tx: &Transaction, room_id: &RoomId) -> Result<RoomWriter<'_>, RoomError> {
        let room = self.find_room(tx, room_id).await?.ok_or(RoomError::RoomNotFound)?;
        RoomWriter::open(self, tx.clone(), room).await
    }

    async fn require_alias_power(&self, tx: &Transaction, room: RoomNid, user: &UserId) -> Result<(), RoomError> {
        let mut room = RoomWriter::open(self, tx.clone(), room).await?;
        let may = room.membership_state(user).await? == Some(Membership::Join)
            && room
                .with_power_levels(|levels| levels.may_send(user, &TimelineEventType::RoomCanonicalAlias, true))
                .await?;
        if may { Ok(()) } else { Err(RoomError::Forbidden("no power over the room's aliases".to_owned())) }
    }
}

/// An alias has 255 bytes at most. ruma does not check that when a feature of it, which other crates may turn on, allows
/// ids of any length.
pub(crate) fn check_length(alias: &RoomAliasId) -> Result<(), RoomError> {
    if alias.as_str().len() > MAX_FIELD_BYTES {
        return Err(RoomError::InvalidParam(format!("an alias has at most {MAX_FIELD_BYTES} bytes")));
    }
    Ok(())
}

fn not_for_you() -> RoomError {
    RoomError::Forbidden("only members see the aliases of this room".to_owned())
}

async fn is_world_readable(room: &mut RoomWriter<'_>) -> Result<bool, RoomError> {
    #[derive(Deserialize)]
    struct Visibility {
        history_visibility: String,
    }
    let Some(event) = room.state("m.room.history_visibility", "").await? else { return Ok(false) };
    let visibility = serde_json::from_str::<Visibility>(event.pdu.content.get());
    Ok(visibility.is_ok_and(|visibility| visibility.history_visibility == "world_readable"))
}
