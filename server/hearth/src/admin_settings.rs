//! What the admin API is told of this installation: every table, where the files are, how backups are made.

use std::{fs, path::PathBuf, sync::Arc};

use hearth_api::admin::{
    backups::{BackupMaker, BackupSettings},
    storage::{self, StorageSettings},
};
use hearth_archive::{Attachment, BackupOptions, Passphrase};
use hearth_store::TableInfo;

use crate::{
    config::{Config, Engine},
    data_folder::DataFolder,
    server_keys,
};

/// Every table that anything in this process declares.
pub(crate) fn tables() -> Vec<TableInfo> {
    [
        hearth_rooms::keys::TABLES,
        hearth_accounts::keys::TABLES,
        hearth_transitory::keys::TABLES,
        hearth_jobs::keys::TABLES,
        hearth_store::keys::TABLES,
        storage::keys::TABLES,
        server_keys::TABLES,
    ]
    .concat()
}

/// What is measured of the store, and where its files are.
pub(crate) fn storage(config: &Config) -> StorageSettings {
    let folder = match config.store.engine {
        Engine::Embedded => Some(config.store_dir()),
        Engine::FoundationDb => config.store.cluster_file.is_none().then(|| config.foundationdb_dir()),
    };
    StorageSettings { tables: tables(), folder }
}

/// Where backups are, when and how they are made.
pub(crate) fn backups(config: &Config, folder: &DataFolder) -> BackupSettings {
    BackupSettings {
        folder: config.backup.folder.clone(),
        interval_hours: config.backup.interval_hours,
        keep: config.backup.keep,
        encrypted: config.backup.passphrase_file.is_some(),
        config_file: config.file.clone(),
        store_folder: (config.store.engine == Engine::Embedded).then(|| config.store_dir()),
        maker: Arc::new(Maker {
            server_name: config.server_name.to_string(),
            passphrase_file: config.backup.passphrase_file.clone(),
            identity_file: folder.identity_file(),
        }),
    }
}

struct Maker {
    server_name: String,
    passphrase_file: Option<PathBuf>,
    identity_file: PathBuf,
}

impl BackupMaker for Maker {
    fn passphrase(&self) -> Result<Option<Passphrase>, String> {
        let Some(file) = &self.passphrase_file else { return Ok(None) };
        let text = fs::read_to_string(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
        let passphrase = Passphrase::new(text.lines().next().unwrap_or_default().trim());
        passphrase.map(Some).ok_or_else(|| format!("{} has no passphrase in its first line", file.display()))
    }

    fn options(&self, passphrase: Option<Passphrase>) -> Result<BackupOptions, String> {
        let mut attachments = Vec::new();
        // The identity has the signing key: whoever reads it can speak in the server's name.
        if passphrase.is_some() {
            let content = fs::read(&self.identity_file)
                .map_err(|error| format!("{} cannot be read: {error}", self.identity_file.display()))?;
            attachments.push(Attachment { name: "identity.toml".to_owned(), content });
        }
        Ok(BackupOptions {
            server_name: self.server_name.clone(),
            hearth_version: env!("CARGO_PKG_VERSION").to_owned(),
            passphrase,
            scheduled: false,
            attachments,
        })
    }
}
