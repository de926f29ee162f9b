//! What the contents of a room's state become in the room that replaces it.

use hearth_protocol::{Pdu, RoomVersion};
use ruma::{EventId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use crate::{RoomError, error::corrupt};

/// Power of a creator where it is a number.
const CREATOR: i64 = 100;

/// A content as an object.
pub(crate) fn object(content: &RawValue) -> Result<Map<String, Value>, RoomError> {
    serde_json::from_str(content.get()).map_err(corrupt)
}

fn text(content: &RawValue, path: &[&str]) -> Option<String> {
    let content: Value = serde_json::from_str(content.get()).ok()?;
    let mut value = &content;
    for key in path {
        value = value.get(key)?;
    }
    value.as_str().map(str::to_owned)
}

/// `predecessor.room_id` of a create event.
pub(crate) fn predecessor(content: &RawValue) -> Option<OwnedRoomId> {
    RoomId::parse(text(content, &["predecessor", "room_id"])?).ok()
}

/// `replacement_room` of a tombstone.
pub(crate) fn replacement(content: &RawValue) -> Option<OwnedRoomId> {
    RoomId::parse(text(content, &["replacement_room"])?).ok()
}

/// `type` of a create event.
pub(crate) fn room_type(content: &RawValue) -> Option<String> {
    text(content, &["type"])
}

/// The create event of the replacement: type and federation of the old room, and what the version asks for.
pub(crate) fn create(
    before: &RawValue,
    version: &RoomVersion,
    creator: &UserId,
    additional: &[OwnedUserId],
    old: &RoomId,
    tombstone: Option<&EventId>,
) -> Result<Map<String, Value>, RoomError> {
    let before = object(before)?;
    let mut content = Map::new();
    for field in ["type", "m.federate"] {
        if let Some(value) = before.get(field) {
            content.insert(field.to_owned(), value.clone());
        }
    }
    content.insert("room_version".to_owned(), version.id.as_str().into());
    if !version.rules.authorization.use_room_create_sender {
        content.insert("creator".to_owned(), creator.as_str().into());
    }
    if version.rules.authorization.additional_room_creators {
        let mut distinct: Vec<&str> = Vec::new();
        for user in additional {
            if user != creator && !distinct.contains(&user.as_str()) {
                distinct.push(user.as_str());
            }
        }
        if !distinct.is_empty() {
            content.insert("additional_creators".to_owned(), json!(distinct));
        }
    }
    let mut predecessor = json!({ "room_id": old });
    if let Some(tombstone) = tombstone {
        predecessor["event_id"] = tombstone.as_str().into();
    }
    content.insert("predecessor".to_owned(), predecessor);
    Ok(content)
}

/// Who has a creator's power: in versions with creators above all numbers; nobody in others.
pub(crate) fn creators(create: &Pdu, version: &RoomVersion) -> Result<Vec<String>, RoomError> {
    #[derive(Deserialize)]
    struct Content {
        #[serde(default)]
        additional_creators: Vec<String>,
    }
    if !version.rules.authorization.explicitly_privilege_room_creators {
        return Ok(Vec::new());
    }
    let content: Content = serde_json::from_str(create.content.get()).map_err(corrupt)?;
    Ok(std::iter::once(create.sender.to_string()).chain(content.additional_creators).collect())
}

/// Join rules that the version knows, the nearest one that lets in nobody more.
pub(crate) fn join_rules(mut content: Map<String, Value>, version: &RoomVersion) -> Map<String, Value> {
    let rules = &version.rules.authorization;
    let known = match content.get("join_rule").and_then(Value::as_str) {
        Some("knock") if !rules.knocking => Some("invite"),
        Some("restricted") if !rules.restricted_join_rule => Some("invite"),
        Some("knock_restricted") if !rules.knock_restricted_join_rule => {
            Some(if rules.restricted_join_rule { "restricted" } else { "invite" })
        }
        _ => None,
    };
    if let Some(known) = known {
        content.insert("join_rule".to_owned(), known.into());
    }
    content
}

/// The part of a canonical alias event whose aliases move, and the part that stays.
pub(crate) fn split_aliases(
    content: Map<String, Value>,
    moves: impl Fn(&str) -> bool,
) -> (Map<String, Value>, Map<String, Value>) {
    let (mut moved, mut rest) = (Map::new(), Map::new());
    for (field, value) in content {
        match (field.as_str(), &value) {
            ("alias", Value::String(alias)) => {
                let part = if moves(alias) { &mut moved } else { &mut rest };
                part.insert(field, value);
            }
            ("alt_aliases", Value::Array(aliases)) => {
                let (here, there): (Vec<Value>, Vec<Value>) =
                    aliases.iter().cloned().partition(|alias| alias.as_str().is_some_and(&moves));
                for (part, aliases) in [(&mut moved, here), (&mut rest, there)] {
                    if !aliases.is_empty() {
                        part.insert(field.clone(), aliases.into());
                    }
                }
            }
            _ => {}
        }
    }
    (moved, rest)
}

/// A level as a number: versions before 10 allow text.
fn level(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

const LEVELS: [&str; 7] = ["users_default", "events_default", "state_default", "ban", "redact", "kick", "invite"];

/// The power levels of the replacement: those of the old room as numbers. Creators whose power was above all numbers and no
/// longer is get a creator's number; those whose power is above all numbers now are not listed.
pub(crate) fn power_levels(
    mut content: Map<String, Value>,
    old_creators: &[String],
    new_creators: &[String],
    version: &RoomVersion,
) -> Map<String, Value> {
    for field in LEVELS {
        if let Some(value) = content.get(field) {
            match level(value) {
                Some(number) => content.insert(field.to_owned(), number.into()),
                None => content.remove(field),
            };
        }
    }
    for field in ["users", "events", "notifications"] {
        let levels = match content.remove(field) {
            Some(Value::Object(levels)) => levels,
            _ => Map::new(),
        };
        let levels: Map<String, Value> = levels
            .into_iter()
            .filter(|(key, _)| field != "users" || UserId::parse(key.as_str()).is_ok())
            .filter_map(|(key, value)| Some((key, level(&value)?.into())))
            .collect();
        if !levels.is_empty() || field == "users" {
            content.insert(field.to_owned(), levels.into());
        }
    }
    if let Some(Value::Object(users)) = content.get_mut("users") {
        if version.rules.authorization.explicitly_privilege_room_creators {
            users.retain(|user, _| !new_creators.contains(user));
        } else {
            let highest = users.values().filter_map(Value::as_i64).fold(CREATOR, i64::max);
            for creator in old_creators {
                users.insert(creator.clone(), highest.into());
            }
        }
    }
    content
}

/// Power levels with which nobody without power speaks or invites; `None` if they are so already.
pub(crate) fn silenced(mut content: Map<String, Value>) -> Option<Map<String, Value>> {
    let users_default = content.get("users_default").and_then(level).unwrap_or(0);
    let needed = users_default.saturating_add(1).max(50);
    let mut changed = false;
    for field in ["events_default", "invite"] {
        let now = content.get(field).and_then(level).unwrap_or(0);
        if now < needed {
            content.insert(field.to_owned(), needed.into());
            changed = true;
        }
    }
    changed.then_some(content)
}

#[cfg(test)]
mod tests {
    use ruma::RoomVersionId;

    use super::*;

    fn version(id: &str) -> RoomVersion {
        RoomVersion::get(&RoomVersionId::try_from(id).unwrap()).unwrap()
    }

    fn map(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn join_rules_of_each_version() {
        for (rule, in_6, in_8, in_10) in [
            ("public", "public", "public", "public"),
            ("knock", "invite", "knock", "knock"),
            ("restricted", "invite", "restricted", "restricted"),
            ("knock_restricted", "invite", "restricted", "knock_restricted"),
        ] {
            for (id, expected) in [("6", in_6), ("8", in_8), ("10", in_10)] {
                let found = join_rules(map(json!({ "join_rule": rule, "allow": [] })), &version(id));
                assert_eq!(found["join_rule"], expected, "{rule} in {id}");
            }
        }
    }

    #[test]
    fn power_levels_between_versions() {
        let old = map(json!({
            "users": { "@a:x": "100", "@b:x": 50, "junk": 3 }, "invite": "5", "kick": [], "events": { "m.room.name": " 7 " },
        }));
        let found = power_levels(old.clone(), &[], &[], &version("10"));
        let expected = json!({ "users": { "@a:x": 100, "@b:x": 50 }, "invite": 5, "events": { "m.room.name": 7 } });
        assert_eq!(Value::Object(found), expected);
        let found = power_levels(old.clone(), &[], &["@a:x".to_owned()], &version("12"));
        assert_eq!(found["users"], json!({ "@b:x": 50 }));
        let found = power_levels(old, &["@c:x".to_owned()], &[], &version("11"));
        assert_eq!(found["users"], json!({ "@a:x": 100, "@b:x": 50, "@c:x": 100 }));
    }

    #[test]
    fn silence() {
        for (before, after) in [
            (json!({}), Some(json!({ "events_default": 50, "invite": 50 }))),
            (json!({ "users_default": 60 }), Some(json!({ "users_default": 60, "events_default": 61, "invite": 61 }))),
            (json!({ "events_default": 80, "invite": 10 }), Some(json!({ "events_default": 80, "invite": 50 }))),
            (json!({ "events_default": 80, "invite": 50 }), None),
        ] {
            assert_eq!(silenced(map(before.clone())).map(Value::Object), after, "{before}");
        }
    }

    #[test]
    fn aliases_are_split() {
        let content = map(json!({ "alias": "#a:here", "alt_aliases": ["#b:here", "#c:there"], "x": 1 }));
        let (moved, rest) = split_aliases(content, |alias| alias.ends_with(":here"));
        assert_eq!(Value::Object(moved), json!({ "alias": "#a:here", "alt_aliases": ["#b:here"] }));
        assert_eq!(Value::Object(rest), json!({ "alt_aliases": ["#c:there"] }));
    }
}
