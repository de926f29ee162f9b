//! [Creating rooms](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3createroom).

use std::{collections::HashMap, sync::Arc};

use hearth_protocol::{
    Pdu, RoomVersion,
    build::{Named, Unsigned},
};
use hearth_store::Transaction;
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomAliasId, RoomId, UInt, UserId,
    api::client::room::{
        Visibility,
        create_room::{self, v3::RoomPreset},
    },
    events::{TimelineEventType, room::topic::RoomTopicEventContent},
};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use crate::{
    Membership, RoomError, RoomNid, Rooms,
    error::corrupt,
    ids::Kind,
    keys::{ALIAS, PUBLISHED, ROOM_ALIAS, ROOM_NID},
    membership::MemberProfile,
    records::AliasRecord,
    room_info::RoomInfo,
    special::{self, raw},
    writer::{Effects, NewEvent, RoomWriter},
};

/// Most events that one request makes.
const EVENTS: usize = 1000;
/// Most bytes of content that one request makes: what fits into one transaction with all indexes.
const BYTES: usize = 2_000_000;

impl Rooms {
    /// Creates a room with every event that the request asks for, in one transaction.
    /// `creator_profile` fills the creator's member event (`displayname`, `avatar_url`).
    pub async fn create(
        &self,
        creator: &UserId,
        creator_profile: &MemberProfile,
        request: create_room::v3::Request,
    ) -> Result<OwnedRoomId, RoomError> {
        let profiles = HashMap::from([(creator.to_owned(), creator_profile.clone())]);
        self.create_with_profiles(creator, &profiles, request).await
    }

    /// Like [`Self::create`], with the profiles of those whom the request invites as well.
    #[tracing::instrument(skip_all, fields(%creator))]
    pub async fn create_with_profiles(
        &self,
        creator: &UserId,
        profiles: &HashMap<OwnedUserId, MemberProfile>,
        request: create_room::v3::Request,
    ) -> Result<OwnedRoomId, RoomError> {
        let plan = Plan::new(self, creator, profiles, &request)?;
        let (room_id, published) = self
            .store
            .transact("create room", |tx| {
                let plan = &plan;
                async move {
                    let mut room = plan.begin(self, tx.clone()).await?;
                    plan.append_events(&mut room).await?;
                    let (nid, room_id) = (room.room(), room.info.room_id.clone());
                    let alias = plan.claim_alias(&tx).await?;
                    let published = room.finish().await?;
                    if let Some((alias, record)) = alias {
                        ALIAS.set(&tx, (alias.as_str(),), &AliasRecord { room: nid, ..record });
                        ROOM_ALIAS.set(&tx, (nid, alias.as_str()), &());
                    }
                    if plan.published {
                        PUBLISHED.set(&tx, (nid,), &());
                    }
                    Ok::<_, RoomError>((room_id, published))
                }
            })
            .await?;
        if let Some(published) = published {
            published.remember(self);
        }
        Ok(room_id)
    }
}

/// A state event that the request implies.
struct Implied {
    event_type: TimelineEventType,
    state_key: String,
    content: Box<RawValue>,
    /// The client gives the content, which is checked like that of `PUT /state`.
    from_client: bool,
}

impl Implied {
    fn new(event_type: TimelineEventType, content: &Value) -> Result<Self, RoomError> {
        Self::keyed(event_type, "", content)
    }

    fn keyed(event_type: TimelineEventType, state_key: &str, content: &Value) -> Result<Self, RoomError> {
        Ok(Self { event_type, state_key: state_key.to_owned(), content: raw(content)?, from_client: false })
    }
}

/// A state event of `initial_state`.
#[derive(Deserialize)]
struct InitialState {
    #[serde(rename = "type")]
    event_type: TimelineEventType,
    #[serde(default)]
    state_key: String,
    content: Box<RawValue>,
}

/// What a request comes to, worked out before the transaction.
struct Plan {
    creator: OwnedUserId,
    version: RoomVersion,
    timestamp: MilliSecondsSinceUnixEpoch,
    create: Box<RawValue>,
    /// Everything behind the create event, in the order of the specification.
    events: Vec<Implied>,
    alias: Option<OwnedRoomAliasId>,
    published: bool,
}

impl Plan {
    fn new(
        rooms: &Rooms,
        creator: &UserId,
        profiles: &HashMap<OwnedUserId, MemberProfile>,
        request: &create_room::v3::Request,
    ) -> Result<Self, RoomError> {
        let version = request.room_version.as_ref().unwrap_or(&rooms.config.default_version);
        let version =
            RoomVersion::get(version).ok_or_else(|| RoomError::UnsupportedRoomVersion(version.to_string()))?;
        if !request.invite_3pid.is_empty() {
            return Err(RoomError::BadRequest(
                "this server has no identity server, so it invites nobody by e-mail or telephone".to_owned(),
            ));
        }
        if request.initial_state.len() + request.invite.len() + 10 > EVENTS {
            return Err(RoomError::TooLarge(format!("a room begins with at most {EVENTS} events")));
        }
        for user in &request.invite {
            if user.server_name() != rooms.config.server_name {
                return Err(RoomError::BadRequest(format!("{user} is on another server, which this one cannot reach")));
            }
        }
        let published = match &request.visibility {
            Visibility::Public => true,
            Visibility::Private => false,
            other => return Err(RoomError::BadRequest(format!("unknown visibility {other}"))),
        };
        let preset = match &request.preset {
            Some(preset) => preset.clone(),
            None if published => RoomPreset::PublicChat,
            None => RoomPreset::PrivateChat,
        };
        let defaults = Preset::of(&preset)?;
        let alias = match &request.room_alias_name {
            Some(name) => Some(
                RoomAliasId::parse(format!("#{name}:{}", rooms.config.server_name))
                    .map_err(|error| RoomError::InvalidParam(format!("room_alias_name: {error}")))?,
            ),
            None => None,
        };
        alias.as_deref().map(crate::directory::check_length).transpose()?;
        let mut invited: Vec<&OwnedUserId> = Vec::new();
        for user in &request.invite {
            if !invited.contains(&user) {
                invited.push(user);
            }
        }
        let mut initial_state = Vec::with_capacity(request.initial_state.len());
        for event in &request.initial_state {
            let event: InitialState = parse("initial_state", event.json())?;
            initial_state.push(Implied {
                event_type: event.event_type,
                state_key: event.state_key,
                content: event.content,
                from_client: true,
            });
        }
        // What a later step sets anyway would only be noise in the timeline.
        let is_set_later = |event_type: &TimelineEventType| {
            initial_state.iter().any(|event| event.event_type == *event_type && event.state_key.is_empty())
        };

        let member = |membership: Membership, user: &UserId| {
            let mut content = Map::from_iter([("membership".to_owned(), membership.as_str().into())]);
            if let Some(profile) = profiles.get(user) {
                profile.write_to(&mut content);
            }
            content
        };
        let own = Value::Object(member(Membership::Join, creator));
        let mut events = vec![Implied::keyed(TimelineEventType::RoomMember, creator.as_str(), &own)?];
        let trusted = if defaults.trusts_invited { invited.as_slice() } else { &[] };
        let power_levels = power_levels(&version, creator, trusted, &defaults, request)?;
        let power_levels = Implied::new(TimelineEventType::RoomPowerLevels, &power_levels)?;
        events.push(Implied { from_client: true, ..power_levels });
        if let Some(alias) = &alias {
            events.push(Implied::new(TimelineEventType::RoomCanonicalAlias, &json!({ "alias": alias }))?);
        }
        for (event_type, field, value) in [
            (TimelineEventType::RoomJoinRules, "join_rule", defaults.join_rule),
            (TimelineEventType::RoomHistoryVisibility, "history_visibility", "shared"),
            (TimelineEventType::RoomGuestAccess, "guest_access", defaults.guest_access),
        ] {
            if !is_set_later(&event_type) {
                events.push(Implied::new(event_type, &json!({ field: value }))?);
            }
        }
        let (has_name, has_topic) = (request.name.is_some(), request.topic.is_some());
        events.extend(initial_state.into_iter().filter(|event| match event.event_type {
            TimelineEventType::RoomName => !has_name || !event.state_key.is_empty(),
            TimelineEventType::RoomTopic => !has_topic || !event.state_key.is_empty(),
            _ => true,
        }));
        if let Some(name) = &request.name {
            events.push(Implied::new(TimelineEventType::RoomName, &json!({ "name": name }))?);
        }
        if let Some(topic) = &request.topic {
            let content = serde_json::to_value(RoomTopicEventContent::new(topic.clone())).map_err(corrupt)?;
            events.push(Implied::new(TimelineEventType::RoomTopic, &content)?);
        }
        for user in &invited {
            let mut content = member(Membership::Invite, user);
            if request.is_direct {
                content.insert("is_direct".to_owned(), true.into());
            }
            events.push(Implied::keyed(TimelineEventType::RoomMember, user.as_str(), &Value::Object(content))?);
        }
        if events.iter().map(|event| event.content.get().len()).sum::<usize>() > BYTES {
            return Err(RoomError::TooLarge(format!("a room begins with at most {BYTES} bytes of state")));
        }
        Ok(Self {
            creator: creator.to_owned(),
            create: raw(&creation_content(&version, creator, trusted, request)?)?,
            version,
            timestamp: MilliSecondsSinceUnixEpoch::now(),
            events,
            alias,
            published,
        })
    }

    /// Makes the create event and with it the room.
    async fn begin<'a>(&self, rooms: &'a Rooms, tx: Transaction) -> Result<RoomWriter<'a>, RoomError> {
        let nid = RoomNid(rooms.ids.next(&rooms.store, Kind::Room).await?);
        let mut timestamp = self.timestamp;
        loop {
            let create = self.create_event(rooms, timestamp)?;
            // From version 12 on the id is a hash of the event, and someone may create two equal rooms in one
            // millisecond.
            if ROOM_NID.get(&tx, (create.room_id.as_str(),)).await?.is_some() {
                timestamp = MilliSecondsSinceUnixEpoch(timestamp.0 + UInt::from(1_u32));
                continue;
            }
            let info = Arc::new(RoomInfo { nid, room_id: create.room_id.clone(), version: self.version.clone() });
            return RoomWriter::begin(rooms, tx, info, create).await.map_err(invalid_state);
        }
    }

    fn create_event(&self, rooms: &Rooms, timestamp: MilliSecondsSinceUnixEpoch) -> Result<Pdu, RoomError> {
        let room_id = (!self.version.room_id_is_create_event()).then(|| RoomId::new_v1(&rooms.config.server_name));
        let create = Unsigned {
            room_id,
            sender: self.creator.clone(),
            event_type: TimelineEventType::RoomCreate,
            state_key: Some(String::new()),
            content: self.create.clone(),
            redacts: None,
            origin_server_ts: timestamp,
            prev_events: Vec::new(),
            auth_events: Vec::new(),
            depth: 1,
            named: Named::default(),
        };
        Ok(create.sign(&self.version, &rooms.config.key)?)
    }

    async fn append_events(&self, room: &mut RoomWriter<'_>) -> Result<(), RoomError> {
        for event in &self.events {
            if event.from_client {
                special::check_state(room, &event.event_type, Some(&event.state_key), &event.content).await?;
            }
            let new = NewEvent::state(
                self.creator.clone(),
                event.event_type.clone(),
                event.state_key.clone(),
                event.content.clone(),
                self.timestamp,
            );
            room.append(new, Effects::default()).await.map_err(invalid_state)?;
        }
        Ok(())
    }

    /// Makes sure that the alias is free. The room is filled in by the caller.
    async fn claim_alias(&self, tx: &Transaction) -> Result<Option<(&RoomAliasId, AliasRecord)>, RoomError> {
        let Some(alias) = &self.alias else { return Ok(None) };
        if ALIAS.get(tx, (alias.as_str(),)).await?.is_some() {
            return Err(RoomError::AliasInUse);
        }
        Ok(Some((alias, AliasRecord { room: RoomNid(0), creator: self.creator.to_string() })))
    }
}

/// What the authorization rules refuse in a new room is a fault of the request.
fn invalid_state(error: RoomError) -> RoomError {
    match error {
        RoomError::Forbidden(text) => RoomError::InvalidRoomState(text),
        other => other,
    }
}

fn parse<'a, T: Deserialize<'a>>(parameter: &str, json: &'a RawValue) -> Result<T, RoomError> {
    serde_json::from_str(json.get()).map_err(|error| RoomError::BadRequest(format!("{parameter}: {error}")))
}

/// What a preset sets.
struct Preset {
    join_rule: &'static str,
    guest_access: &'static str,
    /// Power that inviting needs.
    invite: i64,
    /// Invited users get the creator's power.
    trusts_invited: bool,
}

impl Preset {
    fn of(preset: &RoomPreset) -> Result<Self, RoomError> {
        let private = Self { join_rule: "invite", guest_access: "can_join", invite: 0, trusts_invited: false };
        match preset {
            RoomPreset::PrivateChat => Ok(private),
            RoomPreset::TrustedPrivateChat => Ok(Self { trusts_invited: true, ..private }),
            RoomPreset::PublicChat => {
                Ok(Self { join_rule: "public", guest_access: "forbidden", invite: 50, trusts_invited: false })
            }
            other => Err(RoomError::BadRequest(format!("unknown preset {other}"))),
        }
    }
}

/// `content` of the create event: what the client gives, with what only the server says.
fn creation_content(
    version: &RoomVersion,
    creator: &UserId,
    trusted: &[&OwnedUserId],
    request: &create_room::v3::Request,
) -> Result<Map<String, Value>, RoomError> {
    let mut content: Map<String, Value> = match &request.creation_content {
        Some(content) => parse("creation_content", content.json())?,
        None => Map::new(),
    };
    content.insert("room_version".to_owned(), version.id.as_str().into());
    if version.rules.authorization.use_room_create_sender {
        content.remove("creator");
    } else {
        content.insert("creator".to_owned(), creator.as_str().into());
    }
    if version.rules.authorization.additional_room_creators {
        let mut creators: Vec<OwnedUserId> = match content.remove("additional_creators") {
            Some(creators) => serde_json::from_value(creators)
                .map_err(|error| RoomError::BadRequest(format!("additional_creators: {error}")))?,
            None => Vec::new(),
        };
        creators.extend(trusted.iter().map(|user| (*user).clone()));
        let mut distinct: Vec<&str> = Vec::with_capacity(creators.len());
        for user in &creators {
            if user != creator && !distinct.contains(&user.as_str()) {
                distinct.push(user.as_str());
            }
        }
        if !distinct.is_empty() {
            content.insert("additional_creators".to_owned(), json!(distinct));
        }
    }
    if content.get("m.federate").is_some_and(|federate| !federate.is_boolean()) {
        return Err(RoomError::BadRequest("creation_content: m.federate is true or false".to_owned()));
    }
    Ok(content)
}

/// `content` of the first power levels event: this server's defaults under the client's override.
fn power_levels(
    version: &RoomVersion,
    creator: &UserId,
    trusted: &[&OwnedUserId],
    preset: &Preset,
    request: &create_room::v3::Request,
) -> Result<Value, RoomError> {
    let creators_are_infinite = version.rules.authorization.explicitly_privilege_room_creators;
    let mut users = Map::new();
    if !creators_are_infinite {
        for user in std::iter::once(creator).chain(trusted.iter().map(|user| &***user)) {
            users.insert(user.to_string(), 100.into());
        }
    }
    let mut content = json!({
        "users": users,
        "users_default": 0,
        "events": {
            "m.room.name": 50,
            "m.room.avatar": 50,
            "m.room.canonical_alias": 50,
            "m.room.power_levels": 100,
            "m.room.history_visibility": 100,
            "m.room.encryption": 100,
            "m.room.server_acl": 100,
            // From version 12 on it has to be above what an administrator has.
            "m.room.tombstone": if creators_are_infinite { 150 } else { 100 },
        },
        "events_default": 0,
        "state_default": 50,
        "ban": 50,
        "kick": 50,
        "redact": 50,
        "invite": preset.invite,
        "notifications": { "room": 50 },
    });
    if let Some(levels) = &request.power_level_content_override {
        let levels: Map<String, Value> = parse("power_level_content_override", levels.json())?;
        for (key, value) in levels {
            content[key] = value;
        }
    }
    Ok(content)
}
