//! [Ignored users](https://spec.matrix.org/v1.19/client-server-api/#ignoring-users): whom a user does not want to hear.

use ruma::{
    UserId,
    push::{ConditionalPushRule, Ruleset},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    AccountError, Accounts,
    contents::{IGNORED_USERS, damaged, read_data},
};

/// Users that are ignored at most; further ones are heard.
const MOST: usize = 1000;

/// The users in the content of `m.ignored_user_list`. Nobody ignores themselves.
pub(crate) fn ignored_in(user: &UserId, content: Option<&str>) -> Vec<String> {
    #[derive(Deserialize)]
    struct Content {
        ignored_users: Map<String, Value>,
    }
    let content = content.and_then(|content| serde_json::from_str::<Content>(content).ok());
    let ignored = content.map(|content| content.ignored_users).unwrap_or_default();
    ignored.into_iter().map(|(ignored, _)| ignored).filter(|ignored| ignored != user.as_str()).take(MOST).collect()
}

/// Puts before all other rules that ignored users notify of nothing.
pub(crate) fn silence(rules: &mut Ruleset, ignored: &[String]) -> Result<(), AccountError> {
    for user in ignored {
        let rule = json!({
            "rule_id": format!(".hearth.ignored.{user}"),
            "default": true,
            "enabled": true,
            "conditions": [{ "kind": "event_match", "key": "sender", "pattern": user }],
            "actions": [],
        });
        let rule: ConditionalPushRule = serde_json::from_value(rule).map_err(damaged)?;
        rules.override_.shift_insert(0, rule);
    }
    Ok(())
}

impl Accounts {
    /// Whom the user ignores, at most 1000 users.
    pub async fn ignored_users(&self, user: &UserId) -> Result<Vec<String>, AccountError> {
        let localpart = self.local(user)?;
        let content = read_data(&self.store.begin(), localpart, "", IGNORED_USERS, true).await?;
        Ok(ignored_in(user, content.as_deref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::tests::accounts;

    #[tokio::test]
    async fn who_is_ignored() {
        let accounts = accounts();
        let alice = accounts.test_user("alice").await;
        assert!(accounts.ignored_users(&alice).await.unwrap().is_empty());
        for (content, expected) in [
            (
                json!({ "ignored_users": { "@bob:x": {}, "@carol:x": 3, alice.as_str(): {} } }),
                vec!["@bob:x", "@carol:x"],
            ),
            (json!({ "ignored_users": ["@bob:x"] }), vec![]),
            (json!({}), vec![]),
        ] {
            let content = serde_json::value::to_raw_value(&content).unwrap();
            accounts.set_account_data(&alice, None, IGNORED_USERS, &content).await.unwrap();
            assert_eq!(accounts.ignored_users(&alice).await.unwrap(), expected);
            // They are silent from now on, and no client sees how.
            let silent = accounts.rulesets(std::slice::from_ref(&alice)).await.unwrap()[0].clone().unwrap();
            let rules = silent.override_.iter().filter(|rule| rule.rule_id.starts_with(".hearth")).count();
            assert_eq!(rules, expected.len());
            let shown = accounts.push_rules(&alice).await.unwrap();
            assert!(!shown.override_.iter().any(|rule| rule.rule_id.starts_with(".hearth")));
        }
    }
}
