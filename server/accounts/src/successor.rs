//! What a user has set for a room goes over to the one that replaces it
//! ([room upgrades](https://spec.matrix.org/v1.19/client-server-api/#room-upgrades)).

use ruma::{
    RoomId, UserId,
    push::{NewConditionalPushRule, NewPushRule, NewSimplePushRule, PushCondition, Ruleset},
};
use serde_json::{Map, Value};

use crate::{
    AccountError, Accounts,
    contents::{PUSH_RULES, damaged, read_data, write_data},
    push_rules::stored_rules,
};

const TAG: &str = "m.tag";
const DIRECT: &str = "m.direct";

impl Accounts {
    /// Copies the user's tags, direct chats and push rules for the room `old` to its successor `new`, where nothing is set
    /// yet. The old room keeps them. Doing it again changes nothing.
    pub async fn follow_upgrade(&self, user: &UserId, old: &RoomId, new: &RoomId) -> Result<(), AccountError> {
        let localpart = self.local(user)?;
        // One content per transaction: each has its own place in the log.
        self.store
            .transact("accounts.follow_upgrade.tags", |tx| async move {
                if let Some(tags) = read_data(&tx, localpart, old.as_str(), TAG, false).await?
                    && read_data(&tx, localpart, new.as_str(), TAG, false).await?.is_none()
                {
                    write_data(&tx, localpart, new.as_str(), TAG, &tags).await?;
                }
                Ok::<_, AccountError>(())
            })
            .await?;
        self.store
            .transact("accounts.follow_upgrade.direct", |tx| async move {
                if let Some(direct) = read_data(&tx, localpart, "", DIRECT, false).await?
                    && let Some(direct) = with_successor(&direct, old, new)?
                {
                    write_data(&tx, localpart, "", DIRECT, &direct).await?;
                }
                Ok::<_, AccountError>(())
            })
            .await?;
        self.store
            .transact("accounts.follow_upgrade.rules", |tx| async move {
                if let Some(content) = read_data(&tx, localpart, "", PUSH_RULES, false).await? {
                    let mut rules = stored_rules(user, Some(&content))?;
                    if copy_rules(&mut rules.global, old, new) {
                        let content = serde_json::to_string(&rules).map_err(damaged)?;
                        write_data(&tx, localpart, "", PUSH_RULES, &content).await?;
                    }
                }
                Ok(())
            })
            .await
    }
}

/// `m.direct` with the new room wherever the old one is; `None` where nothing changes.
fn with_successor(direct: &str, old: &RoomId, new: &RoomId) -> Result<Option<String>, AccountError> {
    let mut direct: Map<String, Value> = serde_json::from_str(direct).map_err(damaged)?;
    let mut changed = false;
    for rooms in direct.values_mut().filter_map(Value::as_array_mut) {
        let has = |room: &RoomId| rooms.iter().any(|entry| entry.as_str() == Some(room.as_str()));
        if has(old) && !has(new) {
            rooms.push(new.as_str().into());
            changed = true;
        }
    }
    Ok(changed.then(|| Value::Object(direct).to_string()))
}

/// Copies the rule of the old room, and the user's rules with a condition on its id. Returns whether there was any.
fn copy_rules(rules: &mut Ruleset, old: &RoomId, new: &RoomId) -> bool {
    let mut copies = Vec::new();
    for rule in rules.room.iter().filter(|rule| rule.rule_id == old && rule.enabled) {
        copies.push(NewPushRule::Room(NewSimplePushRule::new(new.to_owned(), rule.actions.clone())));
    }
    for (conditional, wrap) in [
        (&rules.override_, NewPushRule::Override as fn(NewConditionalPushRule) -> NewPushRule),
        (&rules.underride, NewPushRule::Underride),
    ] {
        for rule in conditional.iter().filter(|rule| !rule.default && rule.enabled) {
            let mut found = false;
            let conditions: Vec<PushCondition> = rule
                .conditions
                .iter()
                .cloned()
                .map(|mut condition| {
                    if let PushCondition::EventMatch(data) = &mut condition
                        && data.key == "room_id"
                        && data.pattern == old.as_str()
                    {
                        new.as_str().clone_into(&mut data.pattern);
                        found = true;
                    }
                    condition
                })
                .collect();
            if found {
                let id = if rule.rule_id.contains(old.as_str()) {
                    rule.rule_id.replace(old.as_str(), new.as_str())
                } else {
                    format!("{}-{new}", rule.rule_id)
                };
                copies.push(wrap(NewConditionalPushRule::new(id, conditions, rule.actions.clone())));
            }
        }
    }
    let mut changed = false;
    for copy in copies {
        if copy.rule_id().len() <= 255 && rules.get(copy.kind(), copy.rule_id()).is_none() {
            changed |= rules.insert(copy, None, None).is_ok();
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use ruma::{push::RuleKind, room_id};
    use serde_json::json;

    use super::*;
    use crate::accounts::tests::accounts;

    #[tokio::test]
    async fn settings_follow_once() {
        let accounts = accounts();
        let alice = accounts.test_user("alice").await;
        let (old, new) = (room_id!("!old:example.org"), room_id!("!new:example.org"));
        accounts.set_tag(&alice, old, "m.favourite", Some(Map::new())).await.unwrap();
        let direct =
            serde_json::value::to_raw_value(&json!({ "@bob:x": ["!old:example.org", "!a:x"], "@c:x": ["!b:x"] }));
        accounts.set_account_data(&alice, None, "m.direct", &direct.unwrap()).await.unwrap();
        let mute = NewPushRule::Room(NewSimplePushRule::new(old.to_owned(), Vec::new()));
        accounts.put_push_rule(&alice, mute, None, None).await.unwrap();
        let condition = json!({ "kind": "event_match", "key": "room_id", "pattern": old });
        let condition: PushCondition = serde_json::from_value(condition).unwrap();
        let rule = NewConditionalPushRule::new(old.to_string(), vec![condition], Vec::new());
        accounts.put_push_rule(&alice, NewPushRule::Override(rule), None, None).await.unwrap();

        for _ in 0..2 {
            accounts.follow_upgrade(&alice, old, new).await.unwrap();
            assert!(accounts.tags(&alice, new).await.unwrap().contains_key("m.favourite"));
            let direct = accounts.account_data(&alice, None, "m.direct").await.unwrap().unwrap();
            let direct: Value = serde_json::from_str(direct.get()).unwrap();
            let expected = json!({ "@bob:x": ["!old:example.org", "!a:x", "!new:example.org"], "@c:x": ["!b:x"] });
            assert_eq!(direct, expected);
            let rules = accounts.push_rules(&alice).await.unwrap();
            for kind in [RuleKind::Room, RuleKind::Override] {
                assert!(rules.get(kind.clone(), new).is_some() && rules.get(kind, old).is_some());
            }
        }
        // What the user set there already stays.
        let other = room_id!("!other:example.org");
        accounts.set_tag(&alice, other, "u.mine", Some(Map::new())).await.unwrap();
        accounts.follow_upgrade(&alice, old, other).await.unwrap();
        assert_eq!(accounts.tags(&alice, other).await.unwrap().keys().collect::<Vec<_>>(), ["u.mine"]);
    }
}
