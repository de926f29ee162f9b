//! Event types and relations that a server looks into before it lets its own users send them.

use std::{collections::HashSet, sync::Arc};

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, OwnedEventId, RoomAliasId, UserId,
    events::{TimelineEventType, room::history_visibility::HistoryVisibility},
    state_res::events::RoomPowerLevelsIntField,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    RoomError,
    error::corrupt,
    keys::{ALIAS, ANNOTATION},
    relating::{RelatesTo, Relation, THREAD},
    stored_event::StoredEvent,
    writer::{NewEvent, RoomWriter},
};

/// The relation of a content that `sender` wants to send, with the refusals that the specification asks of a
/// server. One whose parent is not known here is none.
pub(crate) async fn relation(
    room: &mut RoomWriter<'_>,
    sender: &UserId,
    event_type: &str,
    content: &RawValue,
) -> Result<Option<Relation>, RoomError> {
    let Some(RelatesTo { rel_type, event_id, key }) = RelatesTo::of(content) else { return Ok(None) };
    let Some(parent) = room.find_event(&event_id).await? else { return Ok(None) };
    let relation = Relation { parent, rel_type, key };
    if relation.rel_type == THREAD && RelatesTo::of(&relation.parent.pdu.content).is_some() {
        return Err(RoomError::BadRequest("a thread cannot begin at an event that itself relates to one".into()));
    }
    if let Some(key) = relation.annotation_key() {
        let sender = room.names.find_key(room.rooms, &room.tx, sender.as_str()).await?;
        let type_nid = room.names.find_type(room.rooms, &room.tx, event_type).await?;
        if let (Some(sender), Some(type_nid)) = (sender, type_nid) {
            let parent = relation.parent.nid;
            let fresh = (parent, sender, event_type.to_owned(), key.to_owned());
            if room.fresh_annotations.contains(&fresh)
                || ANNOTATION.get(&room.tx, (parent, sender, type_nid, key)).await?.is_some()
            {
                return Err(RoomError::DuplicateAnnotation);
            }
        }
    }
    Ok(Some(relation))
}

/// Checks the content of a state event that is not a member event.
pub(crate) async fn check_state(
    room: &mut RoomWriter<'_>,
    event_type: &TimelineEventType,
    state_key: Option<&str>,
    content: &RawValue,
) -> Result<(), RoomError> {
    if state_key != Some("") {
        return Ok(());
    }
    match event_type {
        TimelineEventType::RoomPowerLevels => check_power_levels(content),
        TimelineEventType::RoomCanonicalAlias => check_canonical_alias(room, content).await,
        TimelineEventType::RoomJoinRules => {
            #[derive(Deserialize)]
            struct JoinRules {
                #[serde(rename = "join_rule")]
                _join_rule: String,
            }
            parse::<JoinRules>(content).map(|_| ())
        }
        TimelineEventType::RoomHistoryVisibility => {
            #[derive(Deserialize)]
            struct Visibility {
                history_visibility: HistoryVisibility,
            }
            match parse::<Visibility>(content)?.history_visibility {
                HistoryVisibility::Invited
                | HistoryVisibility::Joined
                | HistoryVisibility::Shared
                | HistoryVisibility::WorldReadable => Ok(()),
                other => Err(RoomError::BadRequest(format!("unknown history visibility {other}"))),
            }
        }
        _ => Ok(()),
    }
}

fn parse<'a, T: Deserialize<'a>>(content: &'a RawValue) -> Result<T, RoomError> {
    serde_json::from_str(content.get()).map_err(|error| RoomError::BadRequest(error.to_string()))
}

/// Power levels are integers, users are user ids
/// ([room version 10](https://spec.matrix.org/v1.19/rooms/v10/#values-in-mroompower_levels-events-must-be-integers)).
fn check_power_levels(content: &RawValue) -> Result<(), RoomError> {
    let content: CanonicalJsonObject = parse(content)?;
    let refuse = |field: &str| Err(RoomError::BadRequest(format!("invalid power levels: {field}")));
    for (field, value) in &content {
        match (field.as_str(), value) {
            (
                "users_default" | "events_default" | "state_default" | "ban" | "redact" | "kick" | "invite",
                CanonicalJsonValue::Integer(_),
            ) => {}
            ("users" | "events" | "notifications", CanonicalJsonValue::Object(levels)) => {
                for (key, level) in levels {
                    if !matches!(level, CanonicalJsonValue::Integer(_))
                        || (field == "users" && <&UserId>::try_from(key.as_str()).is_err())
                    {
                        return refuse(&format!("{field}.{key}"));
                    }
                }
            }
            (
                "users_default" | "events_default" | "state_default" | "ban" | "redact" | "kick" | "invite" | "users"
                | "events" | "notifications",
                _,
            ) => return refuse(field),
            _ => {}
        }
    }
    Ok(())
}

#[derive(Deserialize, Default)]
struct CanonicalAlias {
    #[serde(default)]
    alias: Option<String>,
    #[serde(default)]
    alt_aliases: Vec<String>,
}

impl CanonicalAlias {
    fn all(&self) -> impl Iterator<Item = &str> {
        self.alias
            .as_deref()
            .into_iter()
            .filter(|alias| !alias.is_empty())
            .chain(self.alt_aliases.iter().map(String::as_str))
    }
}

/// New aliases must be valid and point to this room; those that were there before may stay
/// ([`PUT /state`](https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey)).
async fn check_canonical_alias(room: &mut RoomWriter<'_>, content: &RawValue) -> Result<(), RoomError> {
    let new: CanonicalAlias = parse(content)?;
    let current = room.state("m.room.canonical_alias", "").await?;
    let old: CanonicalAlias =
        current.and_then(|event| serde_json::from_str(event.pdu.content.get()).ok()).unwrap_or_default();
    let old: HashSet<&str> = old.all().collect();
    for alias in new.all().filter(|alias| !old.contains(alias)) {
        let alias =
            <&RoomAliasId>::try_from(alias).map_err(|error| RoomError::InvalidParam(format!("{alias}: {error}")))?;
        let target = ALIAS.get(&room.tx, (alias.as_str(),)).await?;
        if target.map(|record| record.room) != Some(room.room()) {
            return Err(RoomError::BadAlias(format!("the alias {alias} does not point to this room")));
        }
    }
    Ok(())
}

/// What a redaction redacts, if its sender may: users may redact their own events, and with the power to redact
/// those of others ([`PUT /redact`](https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidredacteventidtxnid)).
pub(crate) async fn redaction(
    room: &mut RoomWriter<'_>,
    new: &NewEvent,
) -> Result<(OwnedEventId, Arc<StoredEvent>), RoomError> {
    #[derive(Deserialize)]
    struct Content {
        redacts: Option<OwnedEventId>,
    }
    let redacts = match &new.redacts {
        Some(redacts) => redacts.clone(),
        None => parse::<Content>(&new.content)?
            .redacts
            .ok_or_else(|| RoomError::BadRequest("a redaction names the event that it redacts".to_owned()))?,
    };
    let target = room.find_event(&redacts).await?.ok_or(RoomError::EventNotFound)?;
    if target.pdu.event_type == TimelineEventType::RoomCreate {
        return Err(RoomError::Forbidden("the event that creates the room cannot be redacted".to_owned()));
    }
    let may = target.pdu.sender == new.sender
        || room.with_power_levels(|levels| levels.may(&new.sender, RoomPowerLevelsIntField::Redact)).await?;
    if !may {
        return Err(RoomError::Forbidden("no power to redact the events of others".to_owned()));
    }
    Ok((redacts, target))
}

/// Content of an event that the server makes.
pub(crate) fn raw(content: &impl serde::Serialize) -> Result<Box<RawValue>, RoomError> {
    serde_json::value::to_raw_value(content).map_err(corrupt)
}
