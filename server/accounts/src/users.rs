//! Users of this server: creating, finding, changing and deactivating them.

use ruma::{OwnedMxcUri, OwnedUserId, UserId};

use crate::{AccountError, Accounts};

/// A user to be created.
#[derive(Debug, Clone)]
pub struct NewUser<'a> {
    /// Localpart; its grammar is checked. `None` makes one up.
    pub localpart: Option<&'a str>,
    /// Password; `None` makes an account that cannot log in until its password is reset.
    pub password: Option<&'a str>,
    /// Administrator of this server.
    pub admin: bool,
    /// Display name to begin with; `None` takes the localpart.
    pub displayname: Option<&'a str>,
}

/// A user as the administrator sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub user_id: OwnedUserId,
    /// Display name.
    pub displayname: Option<String>,
    /// Avatar.
    pub avatar_url: Option<OwnedMxcUri>,
    /// Administrator of this server.
    pub admin: bool,
    /// Deactivated for ever.
    pub deactivated: bool,
    /// Deactivated with the wish to be erased.
    pub erased: bool,
    /// Milliseconds since 1970.
    pub created_ts: u64,
    /// When any device was last seen, milliseconds since 1970.
    pub last_seen_ts: Option<u64>,
    /// Number of devices.
    pub devices: usize,
}

impl Accounts {
    /// Creates a user.
    pub async fn create_user(&self, new: NewUser<'_>) -> Result<OwnedUserId, AccountError> {
        let _ = new;
        todo!()
    }

    /// The user, `None` when there is none (deactivated ones are there).
    pub async fn user(&self, user: &UserId) -> Result<Option<User>, AccountError> {
        let _ = user;
        todo!()
    }

    /// Whether `user` is an account of this server that is not deactivated.
    pub async fn is_active(&self, user: &UserId) -> Result<bool, AccountError> {
        let _ = user;
        todo!()
    }

    /// Users by localpart, those after `after`, at most `limit`, where localpart or display name contain `search`
    /// (ignoring case).
    pub async fn list_users(
        &self,
        search: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<User>, AccountError> {
        let _ = (search, after, limit);
        todo!()
    }

    /// Number of accounts that are not deactivated.
    pub async fn user_count(&self) -> Result<u64, AccountError> {
        todo!()
    }

    /// Gives or takes the administrator's flag.
    pub async fn set_admin(&self, user: &UserId, admin: bool) -> Result<(), AccountError> {
        let _ = (user, admin);
        todo!()
    }

    /// Sets a new password. With `logout_devices`, every device but `keep` is deleted with its tokens.
    pub async fn set_password(
        &self,
        user: &UserId,
        password: &str,
        logout_devices: bool,
        keep: Option<&ruma::DeviceId>,
    ) -> Result<(), AccountError> {
        let _ = (user, password, logout_devices, keep);
        todo!()
    }

    /// Deactivates the account for ever: sessions, devices, tokens, password, profile, account data, filters, push
    /// rules and pushers are removed, the user id stays taken. The caller then leaves the rooms and calls
    /// [`Self::finish_deactivation`]; until then the user is in [`Self::unfinished_deactivations`].
    pub async fn deactivate(&self, user: &UserId, erase: bool) -> Result<(), AccountError> {
        let _ = (user, erase);
        todo!()
    }

    /// Deactivated users whose rooms have not been left yet: to be taken up again at the start.
    pub async fn unfinished_deactivations(&self) -> Result<Vec<OwnedUserId>, AccountError> {
        todo!()
    }

    /// The deactivated user has left all rooms.
    pub async fn finish_deactivation(&self, user: &UserId) -> Result<(), AccountError> {
        let _ = user;
        todo!()
    }

    /// Users for the directory search, `(user, displayname, avatar)`, in order of relevance: active ones whose localpart
    /// or display name contain `term` (ignoring case). Visibility is the caller's to decide.
    pub async fn search_directory(&self, term: &str) -> Result<Vec<User>, AccountError> {
        let _ = term;
        todo!()
    }
}
