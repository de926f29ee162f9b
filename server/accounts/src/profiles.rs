//! [Profiles](https://spec.matrix.org/v1.19/client-server-api/#profiles) of this server's users.

use ruma::{OwnedMxcUri, UserId};
use serde_json::{Map, Value};

use crate::{AccountError, Accounts};

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

impl Accounts {
    /// The profile of an active local user; [`AccountError::UserNotFound`] otherwise.
    pub async fn profile(&self, user: &UserId) -> Result<Profile, AccountError> {
        let _ = user;
        todo!()
    }

    /// Sets a field (`None` or JSON null deletes it) and returns the new profile with whether anything changed.
    pub async fn set_profile_field(
        &self,
        user: &UserId,
        field: &str,
        value: Option<Value>,
    ) -> Result<(Profile, bool), AccountError> {
        let _ = (user, field, value);
        todo!()
    }
}
