//! Stores as the command line names them.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
};

use hearth_store::{EmbeddedOptions, FoundationDbOptions, Store};

use crate::{
    cli::StoreName,
    config::Config,
    failure::{Failure, OpenFailure},
    store_opening::{OpenedStore, open_store_alone},
};

/// Page cache of an embedded store that is read or written once, in bytes.
const CACHE_BYTES: usize = 64 << 20;

/// A store's name with what else it takes to open it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) name: &'a StoreName,
    pub(super) key_prefix: &'a str,
    pub(super) client_library: Option<&'a Path>,
}

/// An open store. End it with [`Self::close`].
pub(super) enum Opened {
    /// With what the configuration says that it needs.
    OfConfig(Box<OpenedStore>),
    /// By itself.
    Alone(Store),
}

impl Opened {
    /// The store of a configuration, for a command beside which no server runs in the same data folder.
    pub(super) async fn of_config(config: &Config) -> Result<Self, Failure> {
        match open_store_alone(config).await {
            Ok(opened) => Ok(Self::OfConfig(Box::new(opened))),
            Err(OpenFailure::Held(failure)) => {
                Err(Failure::new(format!("{failure}. Stop the server first.", failure = trimmed(&failure))))
            }
            Err(OpenFailure::Other(failure)) => Err(failure),
        }
    }

    /// A store that must be there already.
    pub(super) async fn existing(named: Named<'_>) -> Result<Self, Failure> {
        if let StoreName::Embedded(folder) = named.name {
            let folder = store_folder(folder);
            if !folder.join("format").exists() {
                return Err(Failure::new(format!("{} is not a store of Hearth.", folder.display())));
            }
        }
        Self::named(named).await
    }

    /// A store that may be new.
    pub(super) async fn named(named: Named<'_>) -> Result<Self, Failure> {
        Ok(match named.name {
            StoreName::Embedded(folder) => {
                let options = EmbeddedOptions { path: store_folder(folder), cache_bytes: CACHE_BYTES };
                Self::Alone(Store::open(options).await?)
            }
            StoreName::FoundationDb(cluster_file) => {
                let options = FoundationDbOptions {
                    cluster_file: cluster_file.clone(),
                    client_library: named.client_library.map(Path::to_owned),
                    key_prefix: named.key_prefix.as_bytes().to_vec(),
                };
                Self::Alone(Store::open_foundationdb(options).await?)
            }
            StoreName::Config(file) => Self::of_config(&Config::load(file)?).await?,
        })
    }

    pub(super) fn store(&self) -> &Store {
        match self {
            Self::OfConfig(opened) => &opened.store,
            Self::Alone(store) => store,
        }
    }

    /// Looks after what the store stands on, for as long as it is open.
    pub(super) async fn keep_up(&self) -> Infallible {
        match self {
            Self::OfConfig(opened) => opened.keep_up().await,
            Self::Alone(_) => std::future::pending().await,
        }
    }

    pub(super) async fn close(self) {
        match self {
            Self::OfConfig(opened) => opened.close().await,
            Self::Alone(store) => store.close().await,
        }
    }
}

/// The store's own folder, where the data folder around it is named.
fn store_folder(named: &Path) -> PathBuf {
    let inside = named.join("store");
    let is_data_folder = named.join("identity.toml").exists() || inside.join("format").exists();
    if is_data_folder { inside } else { named.to_owned() }
}

fn trimmed(failure: &Failure) -> &str {
    failure.message.trim_end_matches('.')
}
