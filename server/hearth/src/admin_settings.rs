//! What the admin API is told of this installation: every table, where the files are, where backups are.

use std::sync::Arc;

use hearth_api::admin::{
    backups::BackupSettings,
    storage::{self, StorageSettings},
};
use hearth_store::TableInfo;

use crate::{
    backup_making::ConfiguredBackups,
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
        hearth_archive::keys::TABLES,
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
        maker: Arc::new(ConfiguredBackups::new(config, folder.clone())),
    }
}
