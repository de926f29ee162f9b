//! Opens the store that a configuration names, and what has to run for it.

use hearth_store::{EmbeddedOptions, OpenError, Store};

use crate::{
    config::{Config, Engine},
    data_folder::{DataFolder, FolderLock},
    failure::Failure,
};

/// Page cache of the embedded store, in bytes. The idle server's memory is budgeted at 60 MB, and it fills only with use.
const CACHE_BYTES: usize = 32 << 20;

/// Why a store did not open.
#[derive(Debug)]
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

/// An open store with what it stands on. End it with [`Self::close`].
#[derive(Debug)]
pub(crate) struct OpenedStore {
    /// The store.
    pub(crate) store: Store,
    /// The data folder.
    pub(crate) folder: DataFolder,
    /// Held so that no second server uses the folder; `None` beside a running server.
    lock: Option<FolderLock>,
}

impl OpenedStore {
    /// Whether a server that runs on the same data folder has this store open, too.
    pub(crate) fn is_beside_a_server(&self) -> bool {
        self.lock.is_none()
    }

    /// Closes the store, then stops what was started for it.
    pub(crate) async fn close(self) {
        self.store.close().await;
    }
}

/// Opens the store of `config` for a command. Where the engine allows it, that is beside a running server; otherwise a running
/// server is [`OpenFailure::Held`].
pub(crate) async fn open_store(config: &Config) -> Result<OpenedStore, OpenFailure> {
    open(config, true).await
}

/// Opens the store of `config` for a server, or for a command that must not run beside one.
pub(crate) async fn open_store_alone(config: &Config) -> Result<OpenedStore, OpenFailure> {
    open(config, false).await
}

async fn open(config: &Config, _beside: bool) -> Result<OpenedStore, OpenFailure> {
    match config.store.engine {
        Engine::Embedded => open_embedded(config).await,
        Engine::FoundationDb => {
            let message = format!(
                "{}: `store.engine`: this Hearth has no FoundationDB engine yet. Set engine = \"embedded\".",
                config.file.display()
            );
            Err(OpenFailure::Other(Failure::configuration(message)))
        }
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
    Ok(OpenedStore { store, folder, lock: Some(lock) })
}
