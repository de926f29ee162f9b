//! The databases on one store, and the identity of the server that they belong to.

use std::sync::Arc;

use hearth_accounts::{Accounts, AccountsConfig};
use hearth_protocol::SigningKey;
use hearth_rooms::{Rooms, RoomsConfig};
use hearth_store::Store;
use hearth_sync::SyncEngine;
use hearth_transitory::Transitory;

use crate::{
    config::Config,
    data_folder::DataFolder,
    push_rules::AccountRules,
    store_opening::{OpenFailure, OpenedStore, open_store_alone},
};

/// Everything on one store. End it with [`Self::close`].
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
    opened: OpenedStore,
}

impl Databases {
    /// Opens them as `config` says.
    pub(crate) async fn open(config: &Config) -> Result<Self, OpenFailure> {
        let opened = open_store_alone(config).await?;
        // Under the folder's lock, so that two first starts cannot make two identities.
        match opened.folder.signing_key(&config.server_name) {
            Ok(key) => Ok(Self::on(opened, config, key)),
            Err(failure) => {
                opened.close().await;
                Err(failure.into())
            }
        }
    }

    fn on(opened: OpenedStore, config: &Config, key: SigningKey) -> Self {
        let (store, folder) = (opened.store.clone(), opened.folder.clone());
        let accounts = Accounts::new(store.clone(), accounts_config(config));
        let rooms_config = RoomsConfig {
            server_name: config.server_name.clone(),
            key,
            default_version: config.default_room_version.clone(),
        };
        let rooms = Rooms::new(store.clone(), rooms_config, Arc::new(AccountRules(accounts.clone())));
        let transitory = Transitory::new(store.clone());
        let sync = SyncEngine::new(rooms.clone(), accounts.clone(), transitory.clone());
        Self { folder, store, accounts, rooms, transitory, sync, opened }
    }

    /// Finishes what is under way and closes the store.
    pub(crate) async fn close(self) {
        self.rooms.close().await;
        self.opened.close().await;
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
