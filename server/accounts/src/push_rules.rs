//! [Push rules](https://spec.matrix.org/v1.19/client-server-api/#push-rules).

use std::sync::Arc;

use ruma::{
    OwnedUserId, UserId,
    push::{Action, NewPushRule, RuleKind, Ruleset},
};

use crate::{AccountError, Accounts};

impl Accounts {
    /// The user's rules (the server's defaults with the user's changes). Cached.
    pub async fn push_rules(&self, user: &UserId) -> Result<Arc<Ruleset>, AccountError> {
        let _ = user;
        todo!()
    }

    /// The rules of each of `users`, in the same order; `None` for who is no active local account. Warm, this is one
    /// point read for all of them.
    pub async fn rulesets(&self, users: &[OwnedUserId]) -> Result<Vec<Option<Arc<Ruleset>>>, AccountError> {
        let _ = users;
        todo!()
    }

    /// Adds or replaces a user's rule, placed relative to others of its kind.
    pub async fn put_push_rule(
        &self,
        user: &UserId,
        rule: NewPushRule,
        after: Option<&str>,
        before: Option<&str>,
    ) -> Result<(), AccountError> {
        let _ = (user, rule, after, before);
        todo!()
    }

    /// Deletes a user's rule.
    pub async fn delete_push_rule(&self, user: &UserId, kind: RuleKind, rule_id: &str) -> Result<(), AccountError> {
        let _ = (user, kind, rule_id);
        todo!()
    }

    /// Switches a rule on or off.
    pub async fn enable_push_rule(
        &self,
        user: &UserId,
        kind: RuleKind,
        rule_id: &str,
        enabled: bool,
    ) -> Result<(), AccountError> {
        let _ = (user, kind, rule_id, enabled);
        todo!()
    }

    /// Sets a rule's actions.
    pub async fn set_push_rule_actions(
        &self,
        user: &UserId,
        kind: RuleKind,
        rule_id: &str,
        actions: Vec<Action>,
    ) -> Result<(), AccountError> {
        let _ = (user, kind, rule_id, actions);
        todo!()
    }
}
