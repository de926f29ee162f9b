//! The databases on one store, and the identity of the server that they belong to.

use std::{convert::Infallible, sync::Arc};

use hearth_accounts::{Accounts, AccountsConfig};
use hearth_archive::lock;
use hearth_jobs::Jobs;
use hearth_protocol::SigningKey;
use hearth_rooms::{Rooms, RoomsConfig};
use hearth_store::{Store, process::Registration};
use hearth_sync::SyncEngine;
use hearth_transitory::Transitory;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    data_folder::DataFolder,
    failure::{Failure, OpenFailure},
    push_rules::AccountRules,
    server_identity,
    store_opening::{OpenedStore, open_store_alone},
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
    /// Work that must happen, but not now.
    pub(crate) jobs: Jobs,
    /// This process among those that use the store.
    pub(crate) registration: Arc<Registration>,
    opened: OpenedStore,
}

impl Databases {
    /// Opens them as `config` says.
    pub(crate) async fn open(config: &Config) -> Result<Self, OpenFailure> {
        let opened = open_store_alone(config).await?;
        // Under the folder's lock, so that two first starts cannot make two identities.
        match enter(&opened, config).await {
            Ok((key, registration)) => Ok(Self::on(opened, config, key, registration)),
            Err(failure) => {
                opened.close().await;
                Err(failure.into())
            }
        }
    }

    fn on(opened: OpenedStore, config: &Config, key: SigningKey, registration: Registration) -> Self {
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
        let jobs = Jobs::new(store.clone());
        let registration = Arc::new(registration);
        Self { folder, store, accounts, rooms, transitory, sync, jobs, registration, opened }
    }

    /// Looks after what the store stands on: see [`OpenedStore::keep_up`].
    pub(crate) async fn keep_up(&self) -> Infallible {
        self.opened.keep_up().await
    }

    /// Finishes what is under way and closes the store.
    pub(crate) async fn close(self) {
        self.rooms.close().await;
        leave(&self.registration).await;
        self.opened.close().await;
    }
}

/// Enters this process among those that use the store, unless the store is not to be used or belongs to another server.
async fn enter(opened: &OpenedStore, config: &Config) -> Result<(SigningKey, Registration), Failure> {
    let store = &opened.store;
    must_be_complete(store).await?;
    let key = server_identity::establish(store, &opened.folder, &config.server_name).await?;
    let registration =
        Registration::enter(store, &host_name(), env!("CARGO_PKG_VERSION")).await.map_err(Failure::of_store)?;
    // Who wants the store for itself locks it first and looks for other processes then: one of both sees the other.
    if let Err(failure) = must_be_complete(store).await {
        leave(&registration).await;
        return Err(failure);
    }
    Ok((key, registration))
}

async fn must_be_complete(store: &Store) -> Result<(), Failure> {
    match lock::incomplete(store).await.map_err(Failure::of_store)? {
        None => Ok(()),
        Some(incomplete) => Err(Failure::configuration(format!("The store cannot be used now: {incomplete}."))),
    }
}

/// Takes this process's entry out. Where it ran until now, it has done so itself, and this changes nothing.
async fn leave(registration: &Registration) {
    let now = CancellationToken::new();
    now.cancel();
    registration.run(now).await;
}

/// The machine's name, for people.
fn host_name() -> String {
    #[cfg(unix)]
    {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    }
    #[cfg(not(unix))]
    {
        std::env::var("COMPUTERNAME").unwrap_or_else(|_| "this machine".to_owned())
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
