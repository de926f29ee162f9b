//! Opens the store that a configuration names, and runs what it needs.
//!
//! With the embedded engine the data folder has everything. With FoundationDB there is an external cluster, or a local instance
//! in the data folder, which is supervised by whoever is outermost: the desktop app if it runs, otherwise this process.

use std::{convert::Infallible, path::PathBuf, time::Duration};

use hearth_store::{EmbeddedOptions, FoundationDbOptions, OpenError, Store};
use hearth_supervisor::{
    Restart,
    foundationdb::{InstanceError, LocalInstance, Programs, Supervision},
};
use tokio::time::{Instant, sleep};

use crate::{
    config::{Config, Engine},
    data_folder::{DataFolder, FolderLock},
    failure::{Failure, OpenFailure},
};

/// Page cache of the embedded store, in bytes. The idle server's memory is budgeted at 60 MB, and it fills only with use.
const CACHE_BYTES: usize = 32 << 20;
/// How long an instance that somebody else supervises may take to get ready.
const OTHERS_START: Duration = Duration::from_mins(2);
const OTHERS_PAUSE: Duration = Duration::from_millis(200);

/// An open store with what it stands on. End it with [`Self::close`].
#[derive(Debug)]
pub(crate) struct OpenedStore {
    /// The store.
    pub(crate) store: Store,
    /// The data folder.
    pub(crate) folder: DataFolder,
    /// Held so that no second server uses the folder; `None` beside a running server.
    _lock: Option<FolderLock>,
    /// The local FoundationDB, where that is the engine.
    instance: Option<LocalInstance>,
}

impl OpenedStore {
    /// Looks after the database server, where there is a local one, for as long as the store is open: see
    /// [`LocalInstance::keep`].
    pub(crate) async fn keep_up(&self) -> Infallible {
        if let Some(instance) = &self.instance {
            instance.keep().await;
        }
        std::future::pending().await
    }

    /// Closes the store, then stops what was started for it.
    pub(crate) async fn close(self) {
        self.store.close().await;
        if let Some(instance) = self.instance {
            instance.shut_down().await;
        }
    }
}

/// Opens the store of `config` for a command. Where the engine allows it, that is beside a running server; otherwise a running
/// server is [`OpenFailure::Held`].
pub(crate) async fn open_store(config: &Config) -> Result<OpenedStore, OpenFailure> {
    match config.store.engine {
        Engine::Embedded => open_embedded(config).await,
        Engine::FoundationDb => open_foundationdb(config, true).await,
    }
}

/// Opens the store of `config` for a server, or for a command that must not run beside one.
pub(crate) async fn open_store_alone(config: &Config) -> Result<OpenedStore, OpenFailure> {
    match config.store.engine {
        Engine::Embedded => open_embedded(config).await,
        Engine::FoundationDb => open_foundationdb(config, false).await,
    }
}

async fn open_embedded(config: &Config) -> Result<OpenedStore, OpenFailure> {
    let folder = DataFolder::open(&config.data_dir)?;
    let lock = folder.lock()?;
    let options = EmbeddedOptions { path: config.store_dir(), cache_bytes: CACHE_BYTES };
    let store = Store::open(options).await.map_err(|error| match error {
        OpenError::Locked { .. } => OpenFailure::Held(error.into()),
        error => OpenFailure::Other(error.into()),
    })?;
    Ok(OpenedStore { store, folder, _lock: Some(lock), instance: None })
}

async fn open_foundationdb(config: &Config, may_be_beside: bool) -> Result<OpenedStore, OpenFailure> {
    let folder = DataFolder::look(&config.data_dir)?;
    // A running server is seen before anything else is tried. In a new folder there is nothing to lock yet, and nothing is
    // written there before it is known that the engine can work.
    let mut lock = match folder.lock_if_used() {
        Err(OpenFailure::Held(_)) if may_be_beside => {
            return connect_beside(config, folder).await;
        }
        lock => lock?,
    };
    let mut take = |folder: &DataFolder| -> Result<(), OpenFailure> {
        if lock.is_none() {
            DataFolder::open(folder.path())?;
            lock = Some(folder.lock()?);
        }
        Ok(())
    };
    if let Some(cluster_file) = config.store.cluster_file.clone() {
        let store = Store::open_foundationdb(options(config, cluster_file)).await.map_err(Failure::from)?;
        if let Err(failure) = take(&folder) {
            store.close().await;
            return Err(failure);
        }
        return Ok(OpenedStore { store, folder, _lock: lock, instance: None });
    }
    Store::foundationdb_client(config.store.client_library.clone()).await.map_err(Failure::from)?;
    let instance_folder = config.foundationdb_dir();
    if !LocalInstance::is_supervised(&instance_folder) {
        Programs::find().map_err(|missing| Failure::configuration(missing.to_string()))?;
    }
    take(&folder)?;
    let instance = LocalInstance::new(&instance_folder, Restart::default());
    instance.start().await;
    let opened = match instance.wait_until_up().await {
        Ok(Supervision::Ours) => {
            Store::open_foundationdb(options(config, instance.cluster_file())).await.map_err(Failure::from)
        }
        Ok(Supervision::Other(holder)) => {
            tracing::info!(%holder, "the local FoundationDB is supervised by another process");
            connect_to_others(config, instance.cluster_file()).await
        }
        Err(error) => Err(not_up(&error)),
    };
    match opened {
        Ok(store) => {
            let version = instance.version();
            tracing::info!(version, cluster_file = %instance.cluster_file().display(), "FoundationDB answers");
            Ok(OpenedStore { store, folder, _lock: lock, instance: Some(instance) })
        }
        Err(failure) => {
            instance.shut_down().await;
            Err(failure.into())
        }
    }
}

/// A server runs on this folder, and what it needs runs with it.
async fn connect_beside(config: &Config, folder: DataFolder) -> Result<OpenedStore, OpenFailure> {
    let local = || LocalInstance::cluster_file_in(&config.foundationdb_dir());
    let cluster_file = config.store.cluster_file.clone().unwrap_or_else(local);
    let store = Store::open_foundationdb(options(config, cluster_file)).await.map_err(Failure::from)?;
    Ok(OpenedStore { store, folder, _lock: None, instance: None })
}

/// Connects to an instance that another process may be just starting.
async fn connect_to_others(config: &Config, cluster_file: PathBuf) -> Result<Store, Failure> {
    let deadline = Instant::now() + OTHERS_START;
    loop {
        match Store::open_foundationdb(options(config, cluster_file.clone())).await {
            Ok(store) => return Ok(store),
            Err(OpenError::Unreachable { .. } | OpenError::ClusterFile { .. }) if Instant::now() < deadline => {
                sleep(OTHERS_PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn options(config: &Config, cluster_file: PathBuf) -> FoundationDbOptions {
    FoundationDbOptions {
        cluster_file,
        client_library: config.store.client_library.clone(),
        key_prefix: config.store.key_prefix.clone().into_bytes(),
    }
}

fn not_up(error: &InstanceError) -> Failure {
    let message = error.to_string();
    match error {
        InstanceError::Unfit(_) => Failure::configuration(message),
        InstanceError::NotStarted { .. } => Failure::unavailable(message),
    }
}
