//! [Push rules](https://spec.matrix.org/v1.19/client-server-api/#push-rules).
//!
//! A user's whole ruleset is stored as global account data `m.push_rules` once they change a rule. On reading, the
//! server's default rules are brought up to date around the user's own changes.

use std::sync::Arc;

use ruma::{
    OwnedUserId, UserId,
    push::{Action, InsertPushRuleError, NewPushRule, RemovePushRuleError, RuleKind, Ruleset},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    AccountError, Accounts,
    contents::{IGNORED_USERS, PUSH_RULES, damaged, read_data, write_data},
    ignored::{ignored_in, silence},
    keys::{RULES_HEAD, USER},
};

/// The content of `m.push_rules`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct PushRulesContent {
    #[serde(default)]
    pub(crate) global: Ruleset,
}

impl PushRulesContent {
    /// As clients get it: every kind is there, with rules or without (some clients take that for granted).
    pub(crate) fn to_content(&self) -> Result<Box<RawValue>, AccountError> {
        serde_json::value::to_raw_value(&serde_json::json!({ "global": ruleset_json(&self.global)? })).map_err(damaged)
    }
}

/// A ruleset as JSON with every kind, with rules or without.
pub fn ruleset_json(rules: &Ruleset) -> Result<serde_json::Value, AccountError> {
    let mut json = serde_json::to_value(rules).map_err(damaged)?;
    for kind in ["override", "content", "room", "sender", "underride"] {
        if json.get(kind).is_none() {
            json[kind] = serde_json::json!([]);
        }
    }
    Ok(json)
}

/// The rules in a stored content (`None` where the user never changed one) with the defaults of this server brought up to
/// date.
pub(crate) fn stored_rules(user: &UserId, content: Option<&str>) -> Result<PushRulesContent, AccountError> {
    let defaults = Ruleset::server_default(user);
    let Some(content) = content else { return Ok(PushRulesContent { global: defaults }) };
    let mut content: PushRulesContent = serde_json::from_str(content).map_err(damaged)?;
    content.global.update_with_server_default(defaults);
    Ok(content)
}

/// Adds or replaces a rule. A rule that is moved is taken out first, and is no neighbour of itself: ruma looks positions up
/// with the rule in the list, and panics where its own place counts.
fn insert(
    rules: &mut Ruleset,
    rule: NewPushRule,
    after: Option<&str>,
    before: Option<&str>,
) -> Result<(), InsertPushRuleError> {
    let (kind, id) = (rule.kind(), rule.rule_id().to_owned());
    if after == Some(&*id) || before == Some(&*id) {
        return Err(InsertPushRuleError::UnknownRuleId);
    }
    let mut disabled = false;
    if (after.is_some() || before.is_some())
        && let Some(existing) = rules.get(kind.clone(), &id)
    {
        disabled = !existing.enabled();
        // Fails only for a default rule, which the insertion refuses too.
        let _ = rules.remove(kind.clone(), &id);
    }
    rules.insert(rule, after, before)?;
    if disabled {
        // It was inserted just now.
        let _ = rules.set_enabled(kind, &id, false);
    }
    Ok(())
}

impl Accounts {
    /// The user's rules (the server's defaults with the user's changes), as clients see them.
    pub async fn push_rules(&self, user: &UserId) -> Result<Ruleset, AccountError> {
        let localpart = self.local(user).map_err(|_| AccountError::UserNotFound)?;
        let tx = self.store.begin();
        if USER.get_snapshot(&tx, (localpart,)).await?.is_none_or(|record| record.deactivated) {
            return Err(AccountError::UserNotFound);
        }
        let content = read_data(&tx, localpart, "", PUSH_RULES, true).await?;
        Ok(stored_rules(user, content.as_deref())?.global)
    }

    /// The rules by which each of `users` is notified, in the same order: their own, behind those that silence whom they ignore; `None` for who is no active local account. Warm, this is one
    /// point read for all of them.
    pub async fn rulesets(&self, users: &[OwnedUserId]) -> Result<Vec<Option<Arc<Ruleset>>>, AccountError> {
        let tx = self.store.begin();
        let head = RULES_HEAD.get_snapshot(&tx, (0,)).await?;
        let mut found = Vec::with_capacity(users.len());
        for user in users {
            let Ok(localpart) = self.local(user) else {
                found.push(None);
                continue;
            };
            if let Some(rules) = self.rules.get(head.as_ref(), localpart) {
                found.push(Some(rules));
                continue;
            }
            let active = USER.get_snapshot(&tx, (localpart,)).await?.is_some_and(|record| !record.deactivated);
            if !active {
                found.push(None);
                continue;
            }
            let content = read_data(&tx, localpart, "", PUSH_RULES, true).await?;
            let mut rules = stored_rules(user, content.as_deref())?.global;
            let ignored = read_data(&tx, localpart, "", IGNORED_USERS, true).await?;
            silence(&mut rules, &ignored_in(user, ignored.as_deref()))?;
            let rules = Arc::new(rules);
            self.rules.insert(head.as_ref(), localpart, &rules);
            found.push(Some(rules));
        }
        Ok(found)
    }

    /// Changes a user's rules; an error of `change` changes nothing.
    async fn change_rules(
        &self,
        name: &'static str,
        user: &UserId,
        change: impl Fn(&mut Ruleset) -> Result<(), AccountError> + Send + Sync,
    ) -> Result<(), AccountError> {
        let localpart = self.local(user)?;
        let change = &change;
        self.store
            .transact(name, |tx| async move {
                let content = read_data(&tx, localpart, "", PUSH_RULES, false).await?;
                let mut rules = stored_rules(user, content.as_deref())?;
                change(&mut rules.global)?;
                let content = serde_json::to_string(&rules).map_err(damaged)?;
                write_data(&tx, localpart, "", PUSH_RULES, &content).await
            })
            .await
    }

    /// Adds or replaces a user's rule, placed relative to others of its kind.
    pub async fn put_push_rule(
        &self,
        user: &UserId,
        rule: NewPushRule,
        after: Option<&str>,
        before: Option<&str>,
    ) -> Result<(), AccountError> {
        if rule.rule_id().is_empty() || rule.rule_id().len() > 255 {
            return Err(AccountError::InvalidParam("a rule id has 1 to 255 bytes".into()));
        }
        self.change_rules("accounts.put_push_rule", user, |rules| {
            insert(rules, rule.clone(), after, before).map_err(|error| AccountError::InvalidParam(error.to_string()))
        })
        .await
    }

    /// Deletes a user's rule.
    pub async fn delete_push_rule(&self, user: &UserId, kind: RuleKind, rule_id: &str) -> Result<(), AccountError> {
        self.change_rules("accounts.delete_push_rule", user, |rules| {
            rules.remove(kind.clone(), rule_id).map_err(|error| match error {
                RemovePushRuleError::NotFound => AccountError::NotFound("push rule"),
                error => AccountError::InvalidParam(error.to_string()),
            })
        })
        .await
    }

    /// Switches a rule on or off.
    pub async fn enable_push_rule(
        &self,
        user: &UserId,
        kind: RuleKind,
        rule_id: &str,
        enabled: bool,
    ) -> Result<(), AccountError> {
        self.change_rules("accounts.enable_push_rule", user, |rules| {
            rules.set_enabled(kind.clone(), rule_id, enabled).map_err(|_| AccountError::NotFound("push rule"))
        })
        .await
    }

    /// Sets a rule's actions.
    pub async fn set_push_rule_actions(
        &self,
        user: &UserId,
        kind: RuleKind,
        rule_id: &str,
        actions: Vec<Action>,
    ) -> Result<(), AccountError> {
        self.change_rules("accounts.set_push_rule_actions", user, |rules| {
            rules.set_actions(kind.clone(), rule_id, actions.clone()).map_err(|_| AccountError::NotFound("push rule"))
        })
        .await
    }
}

#[cfg(test)]
#[path = "push_rules_tests.rs"]
mod tests;
