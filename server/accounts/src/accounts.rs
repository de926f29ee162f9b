use std::{sync::Arc, time::Duration};

use hearth_store::Store;
use ruma::{OwnedServerName, OwnedUserId, UserId};

use crate::{
    AccountError,
    clock::Clock,
    passwords::{PasswordCost, Passwords},
    rules_cache::RulesCache,
    seen_buffer::SeenBuffer,
};

/// Who may register an account through the client-server API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RegistrationMode {
    /// Nobody.
    #[default]
    Closed,
    /// Who has a registration token.
    Token,
    /// Everybody.
    Open,
}

/// What the Accounts database needs to know.
#[derive(Clone)]
pub struct AccountsConfig {
    /// This server.
    pub server_name: OwnedServerName,
    /// Cost of passwords. A password that was hashed at another cost is hashed anew at its next login.
    pub passwords: PasswordCost,
    /// Who may register.
    pub registration: RegistrationMode,
    /// A registration token that is always valid in mode [`RegistrationMode::Token`], besides the stored ones.
    pub registration_token: Option<String>,
    /// Key of shared-secret registration; `None` switches it off.
    pub shared_secret: Option<String>,
    /// How long an access token is valid for a client that refreshes.
    pub access_token_lifetime: Duration,
    /// How long a refresh token is valid.
    pub refresh_token_lifetime: Duration,
}

impl AccountsConfig {
    /// The defaults for `server_name`: closed registration, access tokens of one hour, refresh tokens of 180 days.
    pub fn new(server_name: OwnedServerName) -> Self {
        Self {
            server_name,
            passwords: PasswordCost::default(),
            registration: RegistrationMode::Closed,
            registration_token: None,
            shared_secret: None,
            access_token_lifetime: Duration::from_hours(1),
            refresh_token_lifetime: Duration::from_hours(180 * 24),
        }
    }
}

impl std::fmt::Debug for AccountsConfig {
    /// Without the secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountsConfig")
            .field("server_name", &self.server_name)
            .field("passwords", &self.passwords)
            .field("registration", &self.registration)
            .field("access_token_lifetime", &self.access_token_lifetime)
            .field("refresh_token_lifetime", &self.refresh_token_lifetime)
            .finish_non_exhaustive()
    }
}

/// The Accounts database. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    pub(crate) store: Store,
    pub(crate) config: Arc<AccountsConfig>,
    pub(crate) passwords: Passwords,
    pub(crate) rules: Arc<RulesCache>,
    pub(crate) seen: Arc<SeenBuffer>,
    pub(crate) clock: Clock,
}

impl Accounts {
    /// Opens the database on `store`.
    pub fn new(store: Store, config: AccountsConfig) -> Self {
        Self {
            store,
            passwords: Passwords::new(config.passwords),
            config: Arc::new(config),
            rules: Arc::default(),
            seen: Arc::default(),
            clock: Clock::default(),
        }
    }

    /// The store, for the sync engine's reading transactions and watches.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What it was opened with.
    pub fn config(&self) -> &AccountsConfig {
        &self.config
    }

    /// The localpart under which a local user is stored.
    pub(crate) fn local<'a>(&self, user: &'a UserId) -> Result<&'a str, AccountError> {
        if user.server_name() == self.config.server_name {
            Ok(user.localpart())
        } else {
            Err(AccountError::UserNotFound)
        }
    }

    /// The user id of a stored localpart.
    pub(crate) fn user_id(&self, localpart: &str) -> Result<OwnedUserId, AccountError> {
        UserId::parse(format!("@{localpart}:{}", self.config.server_name))
            .map_err(|error| AccountError::Internal(format!("stored localpart {localpart}: {error}")))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::NewUser;

    /// Cheap passwords on an empty store in memory.
    pub(crate) fn accounts() -> Accounts {
        accounts_with(|_| ())
    }

    pub(crate) fn accounts_with(change: impl FnOnce(&mut AccountsConfig)) -> Accounts {
        let mut config = AccountsConfig::new(ruma::owned_server_name!("example.org"));
        config.passwords = PasswordCost { memory_kib: 8, iterations: 1 };
        change(&mut config);
        Accounts::new(Store::memory(), config)
    }

    pub(crate) const PASSWORD: &str = "correct horse";

    impl Accounts {
        /// A user with [`PASSWORD`].
        pub(crate) async fn test_user(&self, localpart: &str) -> OwnedUserId {
            self.create_user(NewUser { localpart: Some(localpart), password: Some(PASSWORD), ..NewUser::default() })
                .await
                .unwrap()
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let mut config = AccountsConfig::new(ruma::owned_server_name!("example.org"));
        config.shared_secret = Some("hunter2".into());
        config.registration_token = Some("hunter2".into());
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
