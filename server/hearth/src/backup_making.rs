//! How this installation makes backups: what encrypts them, and what they take along besides the store.

use std::{fs, io::Read, path::PathBuf};

use hearth_api::admin::backups::BackupMaker;
use hearth_archive::{Attachment, BackupOptions, Passphrase};

use crate::{config::Config, data_folder::DataFolder};

/// Longest passphrase file that is read, in bytes.
const PASSPHRASE_BYTES: u64 = 4096;

/// The configuration's way of making backups.
#[derive(Debug, Clone)]
pub(crate) struct ConfiguredBackups {
    server_name: String,
    passphrase_file: Option<PathBuf>,
    data_folder: DataFolder,
}

impl ConfiguredBackups {
    /// As `config` says; `data_folder` has the identity.
    pub(crate) fn new(config: &Config, data_folder: DataFolder) -> Self {
        Self {
            server_name: config.server_name.to_string(),
            passphrase_file: config.backup.passphrase_file.clone(),
            data_folder,
        }
    }
}

impl BackupMaker for ConfiguredBackups {
    fn passphrase(&self) -> Result<Option<Passphrase>, String> {
        let Some(file) = &self.passphrase_file else { return Ok(None) };
        let unreadable =
            |error: std::io::Error| format!("The passphrase in {} cannot be read: {error}.", file.display());
        let mut text = String::new();
        let opened = fs::File::open(file).map_err(unreadable)?;
        opened.take(PASSPHRASE_BYTES).read_to_string(&mut text).map_err(unreadable)?;
        let line = text.lines().next().unwrap_or_default().trim_end();
        // Never a backup that is not encrypted where one was meant to be.
        Passphrase::new(line).map(Some).ok_or_else(|| format!("The first line of {} is empty.", file.display()))
    }

    fn options(&self, passphrase: Option<Passphrase>) -> Result<BackupOptions, String> {
        let mut attachments = Vec::new();
        // The signing key is a secret: it goes along only where it is encrypted.
        if passphrase.is_some() {
            let file = self.data_folder.identity_file();
            let content = fs::read(&file).map_err(|error| format!("{} cannot be read: {error}.", file.display()))?;
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

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::*;

    #[test]
    fn the_key_goes_along_only_where_it_is_encrypted() {
        let temporary = tempfile::tempdir().unwrap();
        let data_folder = DataFolder::open(&temporary.path().join("data")).unwrap();
        data_folder.signing_key(server_name!("example.org")).unwrap();
        let file = temporary.path().join("passphrase");
        let text = "server_name = \"example.org\"\n[backup]\npassphrase_file = \"passphrase\"";
        let config = Config::parse(&temporary.path().join("hearth.toml"), text, []).unwrap();
        let backups = ConfiguredBackups::new(&config, data_folder.clone());
        assert!(backups.passphrase().unwrap_err().contains("cannot be read"));
        fs::write(&file, "\nsecret").unwrap();
        assert!(backups.passphrase().unwrap_err().contains("is empty"));
        fs::write(&file, "correct horse \nsecond line").unwrap();
        let passphrase = backups.passphrase().unwrap();
        assert!(passphrase.is_some());
        let attached = backups.options(passphrase).unwrap().attachments;
        assert_eq!(attached[0].content, fs::read(data_folder.identity_file()).unwrap());
        assert!(backups.options(None).unwrap().attachments.is_empty());

        let config = Config::parse(&temporary.path().join("hearth.toml"), "server_name = \"example.org\"", []).unwrap();
        assert!(ConfiguredBackups::new(&config, data_folder).passphrase().unwrap().is_none());
    }
}
