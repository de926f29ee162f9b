//! What changed, for the sync engine.
//!
//! Every stored account datum has exactly one entry in its user's log, at the versionstamp of its newest write: the
//! log is as long as the data, and reading it from 0 reads all data.

use hearth_store::{Version, Watch, last_stamp, version_of};
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde_json::value::RawValue;

use crate::{
    AccountError, Accounts,
    contents::{PUSH_RULES, damaged, read_data},
    keys::{DATA_LOG, HEAD, STREAM, USER_HEAD},
    push_rules::stored_rules,
};

/// One account datum as it is now.
#[derive(Debug, Clone)]
pub struct AccountDatum {
    /// `None` for global data.
    pub room: Option<OwnedRoomId>,
    /// Event type.
    pub event_type: String,
    /// Event content.
    pub content: Box<RawValue>,
}

/// What changed for a user.
#[derive(Debug, Clone)]
pub struct Changes {
    /// The version that was read: where the next reading continues.
    pub version: Version,
    /// Account data written after the given version, oldest write first. Push rules are there as `m.push_rules`.
    pub account_data: Vec<AccountDatum>,
}

impl Accounts {
    /// The account data that was written after `since` (0 gives all, the default push rules included).
    pub async fn changes_since(&self, user: &UserId, since: Version) -> Result<Changes, AccountError> {
        let localpart = self.local(user)?;
        let tx = self.store.begin();
        let version = tx.read_version().await?;
        let log = DATA_LOG.scan((localpart,)).after((localpart, &last_stamp(since))).snapshot().all(&tx).await?;
        let mut account_data = Vec::with_capacity(log.len() + 1);
        // Who never changed a rule has nothing stored, but has rules.
        if since == 0 && !log.iter().any(|(_, change)| change.room.is_empty() && change.event_type == PUSH_RULES) {
            let content = stored_rules(user, None)?.to_content()?;
            account_data.push(AccountDatum { room: None, event_type: PUSH_RULES.to_owned(), content });
        }
        for (_, change) in log {
            let content = read_data(&tx, localpart, &change.room, &change.event_type, true).await?;
            let content = content.ok_or_else(|| damaged("an entry of the log has no content"))?;
            let room = match &*change.room {
                "" => None,
                room => Some(RoomId::parse(room).map_err(damaged)?),
            };
            let content = if room.is_none() && change.event_type == PUSH_RULES {
                stored_rules(user, Some(&content))?.to_content()?
            } else {
                RawValue::from_string(content).map_err(damaged)?
            };
            account_data.push(AccountDatum { room, event_type: change.event_type, content });
        }
        Ok(Changes { version, account_data })
    }

    /// The version of the user's newest change; 0 before the first. One point read.
    pub async fn last_change(&self, user: &UserId) -> Result<Version, AccountError> {
        let localpart = self.local(user)?;
        let head = USER_HEAD.get_snapshot(&self.store.begin(), (localpart,)).await?;
        Ok(head.as_ref().map_or(0, version_of))
    }

    /// Resolves when the user's account data changes after this call returned.
    pub async fn watch_user(&self, user: &UserId) -> Result<Watch, AccountError> {
        let localpart = self.local(user)?;
        let tx = self.store.begin();
        let watch = USER_HEAD.watch(&tx, (localpart,)).await?;
        tx.commit().await?;
        Ok(watch)
    }

    /// Resolves when any user's account data changes after this call returned. Sample
    /// [`Self::changed_users`] between taking the watch and waiting.
    pub async fn watch_all(&self) -> Result<Watch, AccountError> {
        let tx = self.store.begin();
        let watch = HEAD.watch(&tx, (0,)).await?;
        tx.commit().await?;
        Ok(watch)
    }

    /// Users with a change after `since` (each once), and the version that was read; `None` instead of the users when
    /// there are `limit` changes or more.
    pub async fn changed_users(
        &self,
        since: Version,
        limit: usize,
    ) -> Result<(Option<Vec<OwnedUserId>>, Version), AccountError> {
        let tx = self.store.begin();
        let version = tx.read_version().await?;
        let entries = STREAM.scan(()).after((&last_stamp(since),)).limit(limit).snapshot().all(&tx).await?;
        if entries.len() == limit {
            return Ok((None, version));
        }
        let mut users: Vec<String> = entries.into_iter().map(|(_, user)| user).collect();
        users.sort_unstable();
        users.dedup();
        Ok((Some(users.iter().map(|user| self.user_id(user)).collect::<Result<_, _>>()?), version))
    }
}

#[cfg(test)]
mod tests {
    use ruma::room_id;

    use super::*;
    use crate::accounts::tests::accounts;

    async fn set(accounts: &Accounts, user: &UserId, room: Option<&RoomId>, event_type: &str, n: u32) {
        let content = RawValue::from_string(format!("{{\"n\":{n}}}")).unwrap();
        accounts.set_account_data(user, room, event_type, &content).await.unwrap();
    }

    fn seen(changes: &Changes) -> Vec<(&str, &str, &str)> {
        let room = |datum: &AccountDatum| datum.room.is_some();
        let data = changes.account_data.iter().filter(|datum| datum.event_type != PUSH_RULES);
        data.map(|datum| (if room(datum) { "room" } else { "" }, &*datum.event_type, datum.content.get())).collect()
    }

    #[tokio::test]
    async fn each_datum_is_in_the_log_once() {
        let accounts = accounts();
        let (alice, bob) = (accounts.test_user("alice").await, accounts.test_user("bob").await);
        let room = room_id!("!room:example.org");
        assert_eq!(accounts.last_change(&alice).await.unwrap(), 0);
        let start = accounts.changes_since(&alice, 0).await.unwrap();
        assert_eq!(start.account_data.len(), 1, "the default push rules");
        assert_eq!(start.account_data[0].event_type, PUSH_RULES);

        set(&accounts, &alice, None, "a", 1).await;
        set(&accounts, &alice, Some(room), "a", 2).await;
        let middle = accounts.changes_since(&alice, start.version).await.unwrap();
        assert_eq!(seen(&middle), [("", "a", r#"{"n":1}"#), ("room", "a", r#"{"n":2}"#)]);
        set(&accounts, &bob, None, "b", 1).await;
        for n in 3..20 {
            set(&accounts, &alice, None, "a", n).await;
        }
        let end = accounts.changes_since(&alice, middle.version).await.unwrap();
        assert_eq!(seen(&end), [("", "a", r#"{"n":19}"#)]);
        assert_eq!(accounts.last_change(&alice).await.unwrap(), end.version);
        assert!(seen(&accounts.changes_since(&alice, end.version).await.unwrap()).is_empty());
        let all = accounts.changes_since(&alice, 0).await.unwrap();
        assert_eq!(seen(&all), [("room", "a", r#"{"n":2}"#), ("", "a", r#"{"n":19}"#)]);

        // Superseded entries are gone: the logs are as long as the data.
        let tx = accounts.store.begin();
        assert_eq!(DATA_LOG.scan(()).all(&tx).await.unwrap().len(), 3);
        assert_eq!(STREAM.scan(()).all(&tx).await.unwrap().len(), 3);

        let users = async |since, limit| accounts.changed_users(since, limit).await.unwrap().0;
        assert_eq!(users(start.version, 4).await, Some(vec![alice.clone(), bob]));
        assert_eq!(users(start.version, 3).await, None, "as many changes as the limit, perhaps more");
        assert_eq!(users(middle.version, 100).await.unwrap().len(), 2);
        let (_, version) = accounts.changed_users(middle.version, 100).await.unwrap();
        assert_eq!(users(version, 100).await, Some(Vec::new()));

        accounts.deactivate(&alice, false).await.unwrap();
        assert_eq!(users(0, 100).await.unwrap().len(), 1);
        assert!(seen(&accounts.changes_since(&alice, 0).await.unwrap()).is_empty());
    }

    #[tokio::test]
    async fn watches_fire() {
        let accounts = accounts();
        let (alice, bob) = (accounts.test_user("alice").await, accounts.test_user("bob").await);
        let mine = accounts.watch_user(&alice).await.unwrap();
        let all = accounts.watch_all().await.unwrap();
        set(&accounts, &bob, None, "a", 1).await;
        all.changed().await.unwrap();
        set(&accounts, &alice, None, "a", 1).await;
        mine.changed().await.unwrap();
    }
}
