//! [Upgrading a room](https://spec.matrix.org/v1.19/client-server-api/#room-upgrades): a replacement room of another
//! version, and the end of the old one, in one transaction.
//!
//! Two rooms are written at once. Up to version 11 the new create event names the tombstone, and the tombstone names a
//! room id that is chosen freely: the old room is written first. From version 12 on the room id is a hash of the create
//! event: the new room comes first, and its `predecessor` names no event.
//!
//! Bans are transferred; other memberships are not, because a server cannot speak for users elsewhere, and those here
//! follow the tombstone themselves.

use std::{collections::HashSet, sync::Arc};

use hearth_protocol::{
    RoomVersion,
    build::{Named, Unsigned},
};
use hearth_store::Transaction;
use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, RoomAliasId, RoomId, RoomVersionId,
    UInt, UserId, events::TimelineEventType,
};
use serde_json::{Map, Value, json};

use crate::{
    Membership, RoomError, RoomNid, Rooms, StateKeyNid,
    error::corrupt,
    ids::Kind,
    keys::{ALIAS, MEMBER, PUBLISHED, ROOM_ALIAS, ROOM_NID, STATE},
    membership::{Change, MemberProfile},
    records::AliasRecord,
    room_info::RoomInfo,
    special::raw,
    stored_event::LoadedEvent,
    upgrade_contents as contents,
    writer::{Effects, NewEvent, RoomWriter},
};

/// Stamps of the old room's events: behind all of the new room's, and none the same. The order of the two rooms in the
/// stream does not matter.
const STAMPS_OF_OLD_ROOM: u16 = 0x8000;
/// Events that the new room begins with at most; bans beyond follow in transactions of their own.
const EVENTS: usize = 1000;
/// Bytes of their contents at most.
const BYTES: usize = 2_000_000;

/// What is transferred, in the order in which the new room gets it; power levels and bans come last. The specification's list,
/// with what decides who speaks for the room (`m.room.policy`).
const TRANSFERRED: &[(&str, &str)] = &[
    ("m.room.join_rules", ""),
    ("m.room.history_visibility", ""),
    ("m.room.guest_access", ""),
    ("m.room.encryption", ""),
    ("m.room.server_acl", ""),
    ("m.room.policy", ""),
    ("m.room.name", ""),
    ("m.room.avatar", ""),
    ("m.room.topic", ""),
];

/// A request to upgrade a room.
#[derive(Debug, Clone)]
pub struct UpgradeRequest {
    /// Version of the replacement.
    pub version: RoomVersionId,
    /// Creators beside the user, where the version knows them.
    pub additional_creators: Vec<OwnedUserId>,
}

/// What became of the transaction.
struct Upgraded {
    room_id: OwnedRoomId,
    /// Bans that did not fit.
    bans: Vec<(OwnedUserId, Option<String>)>,
    published: Vec<crate::publish::Published>,
}

impl Rooms {
    /// Upgrades a room on behalf of a user who may send its tombstone, and returns the replacement. `profile` is the
    /// user's. The same request again has the same answer.
    #[tracing::instrument(skip_all, fields(%room_id, %user, version = %request.version))]
    pub async fn upgrade(
        &self,
        room_id: &RoomId,
        user: &UserId,
        profile: &MemberProfile,
        request: &UpgradeRequest,
    ) -> Result<OwnedRoomId, RoomError> {
        let version = RoomVersion::get(&request.version)
            .ok_or_else(|| RoomError::UnsupportedRoomVersion(request.version.to_string()))?;
        let upgrade = &Upgrade {
            rooms: self,
            user,
            profile,
            version,
            additional_creators: &request.additional_creators,
            timestamp: MilliSecondsSinceUnixEpoch::now(),
        };
        let upgraded = self.store.transact("upgrade room", |tx| async move { upgrade.run(&tx, room_id).await }).await?;
        for published in upgraded.published {
            published.remember(self);
        }
        for (banned, reason) in upgraded.bans {
            let profile = MemberProfile::default();
            let ban = self.change_membership(&upgraded.room_id, user, &banned, Change::Ban, &profile, reason).await;
            if let Err(error) = ban {
                // The room is there, and whoever may ban can still do it.
                tracing::warn!(%error, %banned, "a ban was not transferred");
            }
        }
        Ok(upgraded.room_id)
    }

    /// The room that a room replaces, if its create event says so.
    pub async fn predecessor(&self, room_id: &RoomId) -> Result<Option<OwnedRoomId>, RoomError> {
        let tx = self.store.begin();
        let Some(room) = self.find_room(&tx, room_id).await? else { return Ok(None) };
        self.predecessor_of(&tx, room).await
    }

    /// [`Self::predecessor`] by numeric id.
    pub(crate) async fn predecessor_of(
        &self,
        tx: &Transaction,
        room: RoomNid,
    ) -> Result<Option<OwnedRoomId>, RoomError> {
        let create = self.current_state_entry(tx, room, "m.room.create").await?;
        Ok(create.and_then(|create| contents::predecessor(&create.pdu.content)))
    }
}

struct Upgrade<'a> {
    rooms: &'a Rooms,
    user: &'a UserId,
    profile: &'a MemberProfile,
    version: RoomVersion,
    additional_creators: &'a [OwnedUserId],
    timestamp: MilliSecondsSinceUnixEpoch,
}

impl Upgrade<'_> {
    async fn run(&self, tx: &Transaction, room_id: &RoomId) -> Result<Upgraded, RoomError> {
        // Who is outside learns nothing about which rooms exist.
        let outside = || RoomError::Forbidden("only a member can upgrade a room".to_owned());
        let nid = self.rooms.find_room(tx, room_id).await?.ok_or_else(outside)?;
        let mut old = RoomWriter::open(self.rooms, tx.clone(), nid).await?;
        old.user_versions = STAMPS_OF_OLD_ROOM;
        if old.membership_state(self.user).await? != Some(Membership::Join) {
            return Err(outside());
        }
        self.rooms.must_not_be_blocked(tx, room_id).await?;
        let may =
            old.with_power_levels(|levels| levels.may_send(self.user, &TimelineEventType::RoomTombstone, true)).await?;
        if !may {
            return Err(RoomError::Forbidden("no power to upgrade this room".to_owned()));
        }
        if let Some(room_id) = self.done_before(tx, &mut old).await? {
            return Ok(Upgraded { room_id, bans: Vec::new(), published: Vec::new() });
        }

        let mut new = if self.version.room_id_is_create_event() {
            let new = self.begin(tx, &mut old, None, None).await?;
            let id = new.info.room_id.clone();
            self.tombstone(&mut old, &id).await?;
            new
        } else {
            let id = RoomId::new_v1(&self.rooms.config.server_name);
            let tombstone = self.tombstone(&mut old, &id).await?;
            self.begin(tx, &mut old, Some(id), Some(&tombstone)).await?
        };
        // Both rooms may be the first to see a name.
        new.names = old.names.clone();
        let aliases = self.aliases(tx, nid).await?;
        let bans = self.fill(tx, &mut old, &mut new, &aliases).await?;
        old.names = new.names.clone();
        self.retire(&mut old, &aliases).await?;
        new.names = old.names.clone();

        let (new_nid, room_id) = (new.room(), new.info.room_id.clone());
        let published = [new.finish().await?, old.finish().await?].into_iter().flatten().collect();
        for (alias, record) in aliases {
            ROOM_ALIAS.clear(tx, (nid, alias.as_str()));
            ROOM_ALIAS.set(tx, (new_nid, alias.as_str()), &());
            ALIAS.set(tx, (alias.as_str(),), &AliasRecord { room: new_nid, ..record });
        }
        if PUBLISHED.get(tx, (nid,)).await?.is_some() {
            PUBLISHED.clear(tx, (nid,));
            PUBLISHED.set(tx, (new_nid,), &());
        }
        Ok(Upgraded { room_id, bans, published })
    }

    /// The replacement that this user made with this very request, perhaps without getting the answer.
    async fn done_before(&self, tx: &Transaction, old: &mut RoomWriter<'_>) -> Result<Option<OwnedRoomId>, RoomError> {
        let Some(tombstone) = old.state("m.room.tombstone", "").await? else { return Ok(None) };
        let Some(replacement) = contents::replacement(&tombstone.pdu.content) else { return Ok(None) };
        if tombstone.pdu.sender != self.user {
            return Ok(None);
        }
        let Some(nid) = self.rooms.find_room(tx, &replacement).await? else { return Ok(None) };
        let mut new = RoomWriter::open(self.rooms, tx.clone(), nid).await?;
        let same = new.info.version.id == self.version.id
            && new.create_event().await?.sender == self.user
            && new.membership_state(self.user).await? == Some(Membership::Join)
            && self.rooms.predecessor_of(tx, nid).await?.as_ref() == Some(&old.info.room_id);
        Ok(same.then_some(replacement))
    }

    /// Makes the create event and with it the new room.
    async fn begin<'a>(
        &'a self,
        tx: &Transaction,
        old: &mut RoomWriter<'_>,
        room_id: Option<OwnedRoomId>,
        tombstone: Option<&EventId>,
    ) -> Result<RoomWriter<'a>, RoomError> {
        let before = old.create_event().await?;
        let content = contents::create(
            &before.content,
            &self.version,
            self.user,
            self.additional_creators,
            &old.info.room_id,
            tombstone,
        )?;
        let content = raw(&content)?;
        let nid = RoomNid(self.rooms.ids.next(&self.rooms.store, Kind::Room).await?);
        let mut timestamp = self.timestamp;
        loop {
            let create = Unsigned {
                room_id: room_id.clone(),
                sender: self.user.to_owned(),
                event_type: TimelineEventType::RoomCreate,
                state_key: Some(String::new()),
                content: content.clone(),
                redacts: None,
                origin_server_ts: timestamp,
                prev_events: Vec::new(),
                auth_events: Vec::new(),
                depth: 1,
                named: Named::default(),
            }
            .sign(&self.version, &self.rooms.config.key)?;
            // A hash of the content may be that of a room made in the same millisecond.
            if ROOM_NID.get(tx, (create.room_id.as_str(),)).await?.is_some() {
                timestamp = MilliSecondsSinceUnixEpoch(timestamp.0 + UInt::from(1_u32));
                continue;
            }
            let info = RoomInfo { nid, room_id: create.room_id.clone(), version: self.version.clone() };
            return RoomWriter::begin(self.rooms, tx.clone(), Arc::new(info), create).await;
        }
    }

    async fn tombstone(&self, old: &mut RoomWriter<'_>, replacement: &RoomId) -> Result<OwnedEventId, RoomError> {
        let content = json!({ "body": "This room has been replaced", "replacement_room": replacement });
        self.append(old, "m.room.tombstone", "", &content).await
    }

    async fn append(
        &self,
        room: &mut RoomWriter<'_>,
        event_type: &str,
        state_key: &str,
        content: &Value,
    ) -> Result<OwnedEventId, RoomError> {
        let new = NewEvent::state(
            self.user.to_owned(),
            event_type.into(),
            state_key.to_owned(),
            raw(content)?,
            self.timestamp,
        );
        room.append(new, Effects::default()).await
    }

    /// Like [`Self::append`] for what is better left out than a reason to fail: what was good in a version or under a server
    /// of old may be refused in a new one.
    async fn append_if_allowed(
        &self,
        room: &mut RoomWriter<'_>,
        event_type: &str,
        state_key: &str,
        content: &Value,
    ) -> Result<(), RoomError> {
        match self.append(room, event_type, state_key, content).await {
            Ok(_) => Ok(()),
            Err(RoomError::Forbidden(error) | RoomError::BadRequest(error) | RoomError::TooLarge(error)) => {
                tracing::info!(%event_type, %state_key, %error, "left out of an upgrade");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Everything behind the create event. Returns the bans that are left.
    ///
    /// Power levels come last, so that who has less power than a creator can still transfer all the rest.
    async fn fill(
        &self,
        tx: &Transaction,
        old: &mut RoomWriter<'_>,
        new: &mut RoomWriter<'_>,
        aliases: &[(ruma::OwnedRoomAliasId, AliasRecord)],
    ) -> Result<Vec<(OwnedUserId, Option<String>)>, RoomError> {
        let mut own = Map::from_iter([("membership".to_owned(), Membership::Join.as_str().into())]);
        self.profile.write_to(&mut own);
        self.append(new, "m.room.member", self.user.as_str(), &Value::Object(own)).await?;

        let mut bytes = 0;
        for (event_type, key) in TRANSFERRED {
            let Some(event) = self.current(tx, old, event_type, key).await? else { continue };
            let content = contents::object(&event.pdu.content)?;
            let content = match *event_type {
                "m.room.join_rules" => contents::join_rules(content, &self.version),
                _ => content,
            };
            self.append_if_allowed(new, event_type, key, &Value::Object(content)).await?;
        }
        for (key, event) in self.children(tx, old).await? {
            bytes += event.pdu.content.get().len();
            if new.appended.len() >= EVENTS || bytes > BYTES {
                break;
            }
            let content = contents::object(&event.pdu.content)?;
            // Without servers it is a child no more.
            if content.contains_key("via") {
                self.append_if_allowed(new, "m.space.child", &key, &Value::Object(content)).await?;
            }
        }
        if let Some(event) = self.current(tx, old, "m.room.canonical_alias", "").await? {
            let (moved, _) = contents::split_aliases(contents::object(&event.pdu.content)?, |alias| {
                aliases.iter().any(|(own, _)| own.as_str() == alias)
            });
            if !moved.is_empty() {
                self.append_if_allowed(new, "m.room.canonical_alias", "", &Value::Object(moved)).await?;
            }
        }
        let mut left = Vec::new();
        for (user, reason) in self.bans(tx, old).await? {
            bytes += reason.as_ref().map_or(0, String::len) + user.as_str().len();
            if new.appended.len() >= EVENTS || bytes > BYTES {
                left.push((user, reason));
                continue;
            }
            let mut content = json!({ "membership": "ban" });
            if let Some(reason) = reason {
                content["reason"] = reason.into();
            }
            self.append_if_allowed(new, "m.room.member", user.as_str(), &content).await?;
        }
        let levels = self.current(tx, old, "m.room.power_levels", "").await?;
        let levels = levels.map(|event| contents::object(&event.pdu.content)).transpose()?.unwrap_or_default();
        let old_creators = contents::creators(&*old.create_event().await?, &old.info.version)?;
        let new_creators = contents::creators(&*new.create_event().await?, &self.version)?;
        let levels = contents::power_levels(levels, &old_creators, &new_creators, &self.version);
        self.append(new, "m.room.power_levels", "", &Value::Object(levels)).await?;
        Ok(left)
    }

    /// Says in the old room that it is over: its aliases are gone, and nobody without power speaks or invites.
    async fn retire(
        &self,
        old: &mut RoomWriter<'_>,
        aliases: &[(ruma::OwnedRoomAliasId, AliasRecord)],
    ) -> Result<(), RoomError> {
        let tx = old.tx.clone();
        if let Some(event) = self.current(&tx, old, "m.room.canonical_alias", "").await? {
            let (moved, rest) = contents::split_aliases(contents::object(&event.pdu.content)?, |alias| {
                aliases.iter().any(|(own, _)| own.as_str() == alias)
            });
            if !moved.is_empty() {
                self.append_if_allowed(old, "m.room.canonical_alias", "", &Value::Object(rest)).await?;
            }
        }
        if let Some(event) = self.current(&tx, old, "m.room.power_levels", "").await?
            && let Some(levels) = contents::silenced(contents::object(&event.pdu.content)?)
        {
            self.append_if_allowed(old, "m.room.power_levels", "", &Value::Object(levels)).await?;
        }
        Ok(())
    }

    /// An entry of the old room's state, redacted if there is a redaction.
    async fn current(
        &self,
        tx: &Transaction,
        room: &mut RoomWriter<'_>,
        event_type: &str,
        key: &str,
    ) -> Result<Option<LoadedEvent>, RoomError> {
        match room.state(event_type, key).await? {
            Some(event) => Ok(Some(self.rooms.load_event(tx, event.nid).await?)),
            None => Ok(None),
        }
    }

    /// The rooms of a space.
    async fn children(
        &self,
        tx: &Transaction,
        old: &mut RoomWriter<'_>,
    ) -> Result<Vec<(String, LoadedEvent)>, RoomError> {
        let Some(child) = self.rooms.find_type(tx, "m.space.child").await? else { return Ok(Vec::new()) };
        if contents::room_type(&old.create_event().await?.content).as_deref() != Some("m.space") {
            return Ok(Vec::new());
        }
        let mut children = Vec::new();
        for ((.., key), event) in STATE.scan((old.room(), child)).all(tx).await? {
            let key: StateKeyNid = key;
            let key = self.rooms.state_key_name(tx, key).await?.to_string();
            children.push((key, self.rooms.load_event(tx, event).await?));
        }
        Ok(children)
    }

    /// Who is banned, and why.
    async fn bans(
        &self,
        tx: &Transaction,
        old: &mut RoomWriter<'_>,
    ) -> Result<Vec<(OwnedUserId, Option<String>)>, RoomError> {
        let creators: HashSet<&OwnedUserId> = self.additional_creators.iter().collect();
        let mut bans = Vec::new();
        for (_, record) in MEMBER.scan((old.room(),)).snapshot().all(tx).await? {
            if record.membership != Membership::Ban {
                continue;
            }
            let event = self.rooms.load_event(tx, record.event).await?;
            let user = UserId::parse(event.pdu.state_key.as_deref().unwrap_or_default()).map_err(corrupt)?;
            if user != self.user && !creators.contains(&user) {
                let reason =
                    contents::object(&event.pdu.content)?.get("reason").and_then(Value::as_str).map(str::to_owned);
                bans.push((user, reason));
            }
        }
        Ok(bans)
    }

    /// The local aliases, all of which move.
    async fn aliases(
        &self,
        tx: &Transaction,
        room: RoomNid,
    ) -> Result<Vec<(ruma::OwnedRoomAliasId, AliasRecord)>, RoomError> {
        let mut aliases = Vec::new();
        for ((_, alias), ()) in ROOM_ALIAS.scan((room,)).all(tx).await? {
            if let Some(record) = ALIAS.get(tx, (alias.as_str(),)).await? {
                aliases.push((RoomAliasId::parse(alias).map_err(corrupt)?, record));
            }
        }
        Ok(aliases)
    }
}
