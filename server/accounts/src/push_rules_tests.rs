use ruma::{
    owned_user_id,
    push::{NewConditionalPushRule, NewPatternedPushRule, NewSimplePushRule},
};
use serde_json::Value;

use super::*;
use crate::{NewUser, accounts::tests::accounts};

fn word(id: &str) -> NewPushRule {
    NewPushRule::Content(NewPatternedPushRule::new(id.into(), "word".into(), vec![Action::Notify]))
}

fn over(id: &str) -> NewPushRule {
    NewPushRule::Override(NewConditionalPushRule::new(id.into(), vec![], vec![]))
}

async fn content_order(accounts: &Accounts, user: &UserId) -> String {
    let rules = accounts.push_rules(user).await.unwrap();
    rules.content.iter().map(|rule| rule.rule_id.as_str()).collect::<Vec<_>>().join(" ")
}

/// Rule, after, before, and the order that results (or the error that leaves it as it was).
type Step = (&'static str, Option<&'static str>, Option<&'static str>, Result<&'static str, &'static str>);

#[tokio::test]
async fn order_of_rules() {
    let steps: &[Step] = &[
        ("a", None, None, Ok("a")),
        ("b", None, None, Ok("b a")),
        ("c", Some("b"), None, Ok("b c a")),
        ("d", None, Some("a"), Ok("b c d a")),
        ("e", Some("a"), None, Ok("b c d a e")),
        ("a", None, None, Ok("b c d a e")),
        // Moves, also past the end and to a neighbour.
        ("b", Some("e"), None, Ok("c d a e b")),
        ("c", Some("d"), None, Ok("d c a e b")),
        ("b", None, Some("d"), Ok("b d c a e")),
        ("b", None, Some("e"), Ok("d c a b e")),
        ("f", Some("d"), Some("b"), Ok("d c a f b e")),
        ("g", Some("e"), Some("d"), Err("higher priority")),
        ("g", Some("unknown"), None, Err("could not be found")),
        ("a", Some("a"), None, Err("could not be found")),
        ("g", Some(".m.rule.master"), None, Err("relative to server-default")),
        (".mine", None, None, Err("starting with a dot")),
        ("a/b", None, None, Err("invalid rule ID")),
        ("a\\b", None, None, Err("invalid rule ID")),
        ("", None, None, Err("1 to 255")),
    ];
    let accounts = accounts();
    let alice = accounts.test_user("alice").await;
    let mut order = String::new();
    for (id, after, before, expected) in steps {
        let result = accounts.put_push_rule(&alice, word(id), *after, *before).await;
        match expected {
            Ok(expected) => {
                result.unwrap_or_else(|error| panic!("{id} {after:?} {before:?}: {error}"));
                order = (*expected).to_owned();
            }
            Err(part) => match result {
                Err(AccountError::InvalidParam(message)) => assert!(message.contains(part), "{id}: {message}"),
                other => panic!("{id}: {other:?}"),
            },
        }
        assert_eq!(content_order(&accounts, &alice).await, order, "after {id} {after:?} {before:?}");
    }
}

#[tokio::test]
async fn users_override_rules_stand_between_master_and_the_defaults() {
    let accounts = accounts();
    let alice = accounts.test_user("alice").await;
    for id in ["one", "two"] {
        accounts.put_push_rule(&alice, over(id), None, None).await.unwrap();
    }
    accounts.put_push_rule(&alice, over("one"), None, Some("two")).await.unwrap();
    accounts.put_push_rule(&alice, over("three"), Some("two"), None).await.unwrap();
    let rules = accounts.push_rules(&alice).await.unwrap();
    let ids: Vec<&str> = rules.override_.iter().map(|rule| rule.rule_id.as_str()).collect();
    assert_eq!(ids[..5], [".m.rule.master", "one", "two", "three", ".m.rule.suppress_notices"]);
}

#[tokio::test]
async fn enabled_and_actions() {
    let accounts = accounts();
    let alice = accounts.test_user("alice").await;
    accounts.put_push_rule(&alice, word("w"), None, None).await.unwrap();
    for (kind, id) in [(RuleKind::Content, "w"), (RuleKind::Underride, ".m.rule.message")] {
        accounts.enable_push_rule(&alice, kind.clone(), id, false).await.unwrap();
        accounts.set_push_rule_actions(&alice, kind.clone(), id, vec![]).await.unwrap();
        let rules = accounts.push_rules(&alice).await.unwrap();
        let rule = rules.get(kind, id).unwrap();
        assert!(!rule.enabled() && rule.actions().is_empty(), "{id}");
    }
    // Replacing or moving a rule keeps it switched off.
    accounts.put_push_rule(&alice, word("v"), None, None).await.unwrap();
    for after in [None, Some("v")] {
        accounts.put_push_rule(&alice, word("w"), after, None).await.unwrap();
        let rules = accounts.push_rules(&alice).await.unwrap();
        let rule = rules.get(RuleKind::Content, "w").unwrap();
        assert!(!rule.enabled() && !rule.actions().is_empty());
    }
    for (kind, id) in [(RuleKind::Content, "unknown"), (RuleKind::Override, "w"), (RuleKind::from("custom"), "w")] {
        let results = [
            accounts.enable_push_rule(&alice, kind.clone(), id, true).await,
            accounts.set_push_rule_actions(&alice, kind.clone(), id, vec![]).await,
            accounts.delete_push_rule(&alice, kind.clone(), id).await,
        ];
        assert!(results.iter().all(|result| matches!(result, Err(AccountError::NotFound(_)))), "{kind} {id}");
    }
    accounts.delete_push_rule(&alice, RuleKind::Content, "w").await.unwrap();
    assert_eq!(content_order(&accounts, &alice).await, "v");
    assert!(matches!(
        accounts.delete_push_rule(&alice, RuleKind::Underride, ".m.rule.message").await,
        Err(AccountError::InvalidParam(_))
    ));
}

#[tokio::test]
async fn rulesets_are_cached_and_follow_changes() {
    let accounts = accounts();
    let alice = accounts.test_user("alice").await;
    let users = [alice.clone(), owned_user_id!("@nobody:example.org"), owned_user_id!("@alice:elsewhere.org")];
    let first = accounts.rulesets(&users).await.unwrap();
    assert!(first[0].is_some() && first[1].is_none() && first[2].is_none());
    let reads = accounts.store.stats().reads;
    let second = accounts.rulesets(&users[..1]).await.unwrap();
    assert_eq!(accounts.store.stats().reads, reads + 1, "warm: one read");
    assert!(Arc::ptr_eq(first[0].as_ref().unwrap(), second[0].as_ref().unwrap()));

    // Another process on the same store sees the change too.
    let other = Accounts::new(accounts.store.clone(), accounts.config().clone());
    other.rulesets(&users[..1]).await.unwrap();
    accounts.put_push_rule(&alice, word("w"), None, None).await.unwrap();
    for accounts in [&accounts, &other] {
        let rules = accounts.push_rules(&alice).await.unwrap();
        assert!(rules.get(RuleKind::Content, "w").is_some());
    }
    // One who is new is found although it was asked for before.
    accounts.create_user(NewUser { localpart: Some("nobody"), ..NewUser::default() }).await.unwrap();
    assert!(accounts.rulesets(&users).await.unwrap()[1].is_some());
}

#[tokio::test]
async fn as_account_data() {
    let accounts = accounts();
    let alice = accounts.test_user("alice").await;
    let read = async || -> Value {
        let content = accounts.account_data(&alice, None, PUSH_RULES).await.unwrap().unwrap();
        serde_json::from_str(content.get()).unwrap()
    };
    let defaults = read().await;
    for kind in ["override", "content", "room", "sender", "underride"] {
        assert!(defaults["global"][kind].is_array(), "{kind}");
    }
    let sender = owned_user_id!("@bob:example.org");
    let rule = NewPushRule::Sender(NewSimplePushRule::new(sender, vec![]));
    let since = accounts.changes_since(&alice, 0).await.unwrap().version;
    accounts.put_push_rule(&alice, rule, None, None).await.unwrap();
    let changes = accounts.changes_since(&alice, since).await.unwrap().account_data;
    assert_eq!((changes.len(), changes[0].event_type.as_str()), (1, PUSH_RULES));
    assert_eq!(serde_json::from_str::<Value>(changes[0].content.get()).unwrap(), read().await);
    assert_eq!(read().await["global"]["sender"][0]["rule_id"], "@bob:example.org");
}

#[test]
fn new_defaults_reach_stored_rules() {
    let user = owned_user_id!("@alice:example.org");
    let mut old = Ruleset::server_default(&user);
    insert(&mut old, over("mine"), None, None).unwrap();
    old.set_enabled(RuleKind::Underride, ".m.rule.message", false).unwrap();
    // As an older server stored it: without a rule that is a default now.
    old.override_.shift_remove(".m.rule.suppress_edits");
    let stored = serde_json::to_string(&PushRulesContent { global: old }).unwrap();
    let rules = stored_rules(&user, Some(&stored)).unwrap().global;
    assert!(rules.get(RuleKind::Override, ".m.rule.suppress_edits").is_some());
    assert!(rules.get(RuleKind::Override, "mine").is_some());
    assert!(!rules.get(RuleKind::Underride, ".m.rule.message").unwrap().enabled());
}
