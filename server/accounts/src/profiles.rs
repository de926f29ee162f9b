//! [Profiles](https://spec.matrix.org/v1.19/client-server-api/#profiles) of this server's users.

use ruma::{MxcUri, OwnedMxcUri, UserId};
use serde_json::{Map, Value};

use crate::{
    AccountError, Accounts,
    keys::{PROFILE, USER},
};

/// Largest profile, in bytes of its JSON.
const PROFILE_BYTES: usize = 65_536;
/// Longest name of a field, in bytes.
const FIELD_NAME_BYTES: usize = 255;
/// Longest display name, in bytes: member events repeat it in every room.
const DISPLAYNAME_BYTES: usize = 1024;
/// Longest avatar URL, in bytes, for the same reason.
const AVATAR_URL_BYTES: usize = 1024;

/// A profile: every field by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Profile(pub Map<String, Value>);

impl Profile {
    /// `displayname`
    pub fn displayname(&self) -> Option<String> {
        Some(self.0.get("displayname")?.as_str()?.to_owned())
    }

    /// `avatar_url`
    pub fn avatar_url(&self) -> Option<OwnedMxcUri> {
        Some(self.0.get("avatar_url")?.as_str()?.into())
    }
}

/// A stored profile; a missing one is empty.
pub(crate) fn parse_profile(json: Option<String>) -> Result<Profile, AccountError> {
    let Some(json) = json else { return Ok(Profile::default()) };
    serde_json::from_str(&json).map(Profile).map_err(|error| AccountError::Internal(format!("stored profile: {error}")))
}

/// Checks a field's name: `displayname`, `avatar_url`, or the common namespaced identifier grammar.
fn check_name(field: &str) -> Result<(), AccountError> {
    if field.len() > FIELD_NAME_BYTES {
        return Err(AccountError::KeyTooLarge);
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    let namespaced = field.starts_with(|c: char| c.is_ascii_lowercase())
        && field.contains('.')
        && field.split('.').all(|part| !part.is_empty())
        && field.chars().all(allowed);
    if namespaced || matches!(field, "displayname" | "avatar_url") {
        Ok(())
    } else {
        Err(AccountError::InvalidParam("invalid name of a profile field".into()))
    }
}

/// The value to store under a well-formed name; `None` deletes. Clients unset the two old fields with `""` or null.
fn check_value(field: &str, value: Option<Value>) -> Result<Option<Value>, AccountError> {
    let invalid = |message: &str| Err(AccountError::InvalidParam(message.into()));
    match (field, value) {
        (_, None) | ("displayname" | "avatar_url", Some(Value::Null)) => Ok(None),
        ("displayname" | "avatar_url", Some(Value::String(text))) if text.is_empty() => Ok(None),
        ("displayname", Some(Value::String(name))) if name.len() > DISPLAYNAME_BYTES => {
            invalid("a display name has at most 1024 bytes")
        }
        ("avatar_url", Some(Value::String(url)))
            if url.len() > AVATAR_URL_BYTES || <&MxcUri>::from(&*url).validate().is_err() =>
        {
            invalid("an avatar is an mxc:// URI")
        }
        ("m.tz", Some(Value::String(zone))) if !is_time_zone(&zone) => invalid("m.tz is a name of a time zone"),
        ("displayname" | "avatar_url" | "m.tz", Some(value)) if !value.is_string() => {
            invalid("the value must be a string")
        }
        (_, Some(value)) => Ok(Some(value)),
    }
}

/// Whether a text looks like a name of the IANA time zone database. The database itself changes too often to be part
/// of a server; clients must expect unknown names.
fn is_time_zone(zone: &str) -> bool {
    !zone.is_empty() && zone.len() <= 64 && zone.chars().all(|c| c.is_ascii_alphanumeric() || "/_+-".contains(c))
}

impl Accounts {
    /// The profile of an active local user; [`AccountError::UserNotFound`] otherwise.
    pub async fn profile(&self, user: &UserId) -> Result<Profile, AccountError> {
        let localpart = self.local(user)?;
        let tx = self.store.begin();
        if let Some(json) = PROFILE.get_snapshot(&tx, (localpart,)).await? {
            return parse_profile(Some(json));
        }
        match USER.get_snapshot(&tx, (localpart,)).await? {
            Some(record) if !record.deactivated => Ok(Profile::default()),
            _ => Err(AccountError::UserNotFound),
        }
    }

    /// Sets a field (`None` deletes it) and returns the new profile with whether anything changed.
    pub async fn set_profile_field(
        &self,
        user: &UserId,
        field: &str,
        value: Option<Value>,
    ) -> Result<(Profile, bool), AccountError> {
        let localpart = self.local(user)?;
        check_name(field)?;
        let value = &check_value(field, value)?;
        self.store
            .transact("accounts.set_profile_field", |tx| async move {
                match USER.get(&tx, (localpart,)).await? {
                    Some(record) if !record.deactivated => {}
                    _ => return Err(AccountError::UserNotFound),
                }
                let mut profile = parse_profile(PROFILE.get(&tx, (localpart,)).await?)?;
                if profile.0.get(field) == value.as_ref() {
                    return Ok((profile, false));
                }
                match value {
                    Some(value) => profile.0.insert(field.to_owned(), value.clone()),
                    None => profile.0.remove(field),
                };
                let json = Value::Object(profile.0.clone()).to_string();
                // A profile that was allowed once may always shrink.
                if value.is_some() && json.len() > PROFILE_BYTES {
                    return Err(AccountError::ProfileTooLarge);
                }
                PROFILE.set(&tx, (localpart,), &json);
                Ok((profile, true))
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::accounts::tests::accounts;

    #[test]
    fn names() {
        let long = format!("a.{}", "b".repeat(300));
        for (name, good) in [
            ("displayname", true),
            ("avatar_url", true),
            ("m.tz", true),
            ("com.example.job-title_2", true),
            ("custom", false),
            ("", false),
            (".a", false),
            ("a.", false),
            ("a..b", false),
            ("1.a", false),
            ("m.TZ", false),
            ("m.ä", false),
            ("a/b.c", false),
            (&long, false),
        ] {
            assert_eq!(check_name(name).is_ok(), good, "{name}");
        }
        assert!(matches!(check_name(&long), Err(AccountError::KeyTooLarge)));
    }

    #[test]
    fn values() {
        let long = json!("x".repeat(1025));
        for (field, value, expected) in [
            ("displayname", json!("Alice"), Some(Some(json!("Alice")))),
            ("displayname", json!(""), Some(None)),
            ("displayname", json!(null), Some(None)),
            ("displayname", json!(3), None),
            ("displayname", long.clone(), None),
            ("avatar_url", json!("mxc://example.org/abc"), Some(Some(json!("mxc://example.org/abc")))),
            ("avatar_url", json!("https://example.org/a.png"), None),
            ("avatar_url", json!(""), Some(None)),
            ("m.tz", json!("Europe/Berlin"), Some(Some(json!("Europe/Berlin")))),
            ("m.tz", json!("not a zone"), None),
            ("m.tz", json!({}), None),
            ("com.example.a", json!(null), Some(Some(json!(null)))),
            ("com.example.a", json!({ "b": [1] }), Some(Some(json!({ "b": [1] })))),
            ("com.example.a", long.clone(), Some(Some(long))),
        ] {
            assert_eq!(check_value(field, Some(value.clone())).ok(), expected, "{field} {value}");
        }
    }

    #[tokio::test]
    async fn set_get_delete() {
        let accounts = accounts();
        let alice = accounts.test_user("alice").await;
        assert_eq!(accounts.profile(&alice).await.unwrap().displayname().as_deref(), Some("alice"));
        let (profile, changed) = accounts.set_profile_field(&alice, "displayname", Some(json!("Alice"))).await.unwrap();
        assert!(changed);
        assert_eq!(profile.displayname().as_deref(), Some("Alice"));
        let (_, changed) = accounts.set_profile_field(&alice, "displayname", Some(json!("Alice"))).await.unwrap();
        assert!(!changed);
        accounts.set_profile_field(&alice, "m.tz", Some(json!("Europe/London"))).await.unwrap();
        accounts.set_profile_field(&alice, "displayname", None).await.unwrap();
        let profile = accounts.profile(&alice).await.unwrap();
        assert_eq!(Value::Object(profile.0), json!({ "m.tz": "Europe/London" }));
        for stranger in ["@nobody:example.org", "@alice:elsewhere.org"] {
            let stranger = UserId::parse(stranger).unwrap();
            assert!(matches!(accounts.profile(&stranger).await, Err(AccountError::UserNotFound)));
            assert!(accounts.set_profile_field(&stranger, "m.tz", None).await.is_err());
        }
    }

    #[tokio::test]
    async fn size_limit() {
        let accounts = accounts();
        let alice = accounts.test_user("alice").await;
        let half = Some(json!("x".repeat(40_000)));
        accounts.set_profile_field(&alice, "org.example.a", half.clone()).await.unwrap();
        assert!(matches!(
            accounts.set_profile_field(&alice, "org.example.b", half.clone()).await,
            Err(AccountError::ProfileTooLarge)
        ));
        accounts.set_profile_field(&alice, "org.example.a", None).await.unwrap();
        accounts.set_profile_field(&alice, "org.example.b", half).await.unwrap();
    }
}
