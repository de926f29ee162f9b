//! Stored [filters](https://spec.matrix.org/v1.19/client-server-api/#filtering).

use ruma::UserId;
use serde_json::{Value, value::RawValue};

use crate::{AccountError, Accounts, canonical::canonical, keys::FILTER, secrets::digest};

/// Largest filter, in bytes.
const FILTER_BYTES: usize = 65_536;
/// Characters of a filter id: 96 bits of its content's digest.
const ID_LENGTH: usize = 16;

impl Accounts {
    /// Stores a filter; equal content (of the same user) has the same id.
    pub async fn create_filter(&self, user: &UserId, filter: &Value) -> Result<String, AccountError> {
        let localpart = self.local(user)?;
        let json = canonical(filter);
        if json.len() > FILTER_BYTES {
            return Err(AccountError::TooLarge(json.len()));
        }
        let mut id = digest(&json);
        id.truncate(ID_LENGTH);
        let (key, json) = (&id, &json);
        self.store
            .transact("accounts.create_filter", |tx| async move {
                if FILTER.get(&tx, (localpart, key)).await?.is_none() {
                    FILTER.set(&tx, (localpart, key), json);
                }
                Ok::<_, AccountError>(())
            })
            .await?;
        Ok(id)
    }

    /// A stored filter; [`AccountError::NotFound`] when there is none.
    pub async fn filter(&self, user: &UserId, filter_id: &str) -> Result<Box<RawValue>, AccountError> {
        let localpart = self.local(user)?;
        if filter_id.len() != ID_LENGTH {
            return Err(AccountError::NotFound("filter"));
        }
        let json = FILTER.get_snapshot(&self.store.begin(), (localpart, filter_id)).await?;
        let json = json.ok_or(AccountError::NotFound("filter"))?;
        RawValue::from_string(json).map_err(|error| AccountError::Internal(format!("stored filter: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::accounts::tests::accounts;

    #[tokio::test]
    async fn ids_are_stable() {
        let accounts = accounts();
        let (alice, bob) = (accounts.test_user("alice").await, accounts.test_user("bob").await);
        let filter = json!({ "room": { "timeline": { "limit": 10 } }, "event_format": "client" });
        let again: Value =
            serde_json::from_str(r#"{"event_format":"client","room":{"timeline":{"limit":10}}}"#).unwrap();
        let id = accounts.create_filter(&alice, &filter).await.unwrap();
        assert_eq!(id, accounts.create_filter(&alice, &again).await.unwrap());
        assert_ne!(id, accounts.create_filter(&alice, &json!({})).await.unwrap());
        assert!(!id.starts_with('{'));
        let stored = accounts.filter(&alice, &id).await.unwrap();
        assert_eq!(serde_json::from_str::<Value>(stored.get()).unwrap(), filter);
        for (user, id) in [(&bob, &*id), (&alice, "unknown"), (&alice, &"x".repeat(20_000))] {
            assert!(matches!(accounts.filter(user, id).await, Err(AccountError::NotFound(_))));
        }
        let huge = json!({ "x": "x".repeat(FILTER_BYTES) });
        assert!(matches!(accounts.create_filter(&alice, &huge).await, Err(AccountError::TooLarge(_))));
    }
}
