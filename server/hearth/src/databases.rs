//! Opens the data folder, the store and the databases on it.

use std::sync::Arc;

use hearth_accounts::{Accounts, AccountsConfig};
use hearth_rooms::{Rooms, RoomsConfig};
use hearth_store::{EmbeddedOptions, OpenError, Store};
use hearth_sync::SyncEngine;
use hearth_transitory::Transitory;

use crate::{
    config::{Config, Engine},
    data_folder::DataFolder,
    failure::Failure,
    push_rules::AccountRules,
};

/// Page cache of the embedded store, in bytes. The idle server's memory is budgeted at 60 MB, and it fills only with use.
const CACHE_BYTES: usize = 32 << 20;

/// Everything on one store.
pub(crate) struct Databases {
    /// Where the store and the server's identity are.
    pub(crate) folder: DataFolder,
    /// What all of them stand on.
    pub(crate) store: Store,
    /// Users.
    pub(crate) accounts: Accounts,
    /// Rooms.
    pub(crate) rooms: Rooms,
    /// What is true only for a while.
    pub(crate) transitory: Transitory,
    /// What users get next, over all of them.
    pub(crate) sync: SyncEngine,
}

/// Why the databases did not open.
pub(crate) enum OpenFailure {
    /// Another process, probably the running server, has the data folder.
    Held(Failure),
    /// Anything else.
    Other(Failure),
}

impl From<Failure> for OpenFailure {
    fn from(failure: Failure) -> Self {
        Self::Other(failure)
    }
}

impl From<OpenFailure> for Failure {
    fn from(failure: OpenFailure) -> Self {
        match failure {
            OpenFailure::Held(failure) | OpenFailure::Other(failure) => failure,
        }
    }
}

impl Databases {
    /// Opens them as `config` says.
    pub(crate) async fn open(config: &Config) -> Result<Self, OpenFailure> {
        if config.store.engine == Engine::FoundationDb {
            let message = format!(
                "{}: `store.engine`: this Hearth has no FoundationDB engine yet. Set engine = \"embedded\".",
                config.file.display()
            );
            return Err(OpenFailure::Other(Failure::configuration(message)));
        }
        let folder = DataFolder::open(&config.data_dir)?;
        let options = EmbeddedOptions { path: config.store_dir(), cache_bytes: CACHE_BYTES };
        let store = Store::open(options).await.map_err(|error| match error {
            OpenError::Locked { .. } => OpenFailure::Held(error.into()),
            error => OpenFailure::Other(error.into()),
        })?;
        // Under the store's lock, so that two first starts cannot make two identities.
        let key = folder.signing_key(&config.server_name)?;
        let accounts = Accounts::new(store.clone(), accounts_config(config));
        let rooms_config = RoomsConfig {
            server_name: config.server_name.clone(),
            key,
            default_version: config.default_room_version.clone(),
        };
        let rooms = Rooms::new(store.clone(), rooms_config, Arc::new(AccountRules(accounts.clone())));
        let transitory = Transitory::new(store.clone());
        let sync = SyncEngine::new(rooms.clone(), accounts.clone(), transitory.clone());
        Ok(Self { folder, store, accounts, rooms, transitory, sync })
    }
}

fn accounts_config(config: &Config) -> AccountsConfig {
    let mut accounts = AccountsConfig::new(config.server_name.clone());
    accounts.passwords = config.passwords;
    accounts.registration = config.registration.mode;
    accounts.registration_token.clone_from(&config.registration.token);
    accounts.shared_secret.clone_from(&config.registration.shared_secret);
    accounts
}
