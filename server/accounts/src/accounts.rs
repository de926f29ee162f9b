use std::{sync::Arc, time::Duration};

use hearth_store::Store;
use ruma::OwnedServerName;

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

/// What one argon2id hash costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordCost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over that memory.
    pub iterations: u32,
}

impl Default for PasswordCost {
    /// The first choice of OWASP for argon2id.
    fn default() -> Self {
        Self { memory_kib: 19_456, iterations: 2 }
    }
}

/// What the Accounts database needs to know.
#[derive(Debug, Clone)]
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
            access_token_lifetime: Duration::from_secs(3600),
            refresh_token_lifetime: Duration::from_secs(180 * 24 * 3600),
        }
    }
}

/// The Accounts database. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    pub(crate) store: Store,
    pub(crate) config: Arc<AccountsConfig>,
}

impl Accounts {
    /// Opens the database on `store`.
    pub fn new(store: Store, config: AccountsConfig) -> Self {
        Self { store, config: Arc::new(config) }
    }

    /// The store, for the sync engine's reading transactions and watches.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What it was opened with.
    pub fn config(&self) -> &AccountsConfig {
        &self.config
    }

    /// Writes down when devices were last seen and removes what has expired, about once a minute, until `stop`.
    /// The binary runs this as one owned task; the last round happens after `stop`.
    pub async fn run_maintenance(&self, stop: tokio_util::sync::CancellationToken) {
        let _ = stop;
        todo!()
    }
}
