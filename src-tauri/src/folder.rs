//! The server's folder on this machine, and where things are in it.

use crate::error::CommandError;
use directories::ProjectDirs;
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Overrides the platform's folder, for tests and for a second server.
pub(crate) const OVERRIDE: &str = "HEARTH_DATA_DIR";

/// The data folder. Made on demand, readable by its owner only.
#[derive(Debug, Clone)]
pub(crate) struct Folder(PathBuf);

/// What the app itself remembers, in `desktop.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    /// Closing the window leaves the server running.
    pub(crate) keep_running: bool,
    /// The first run wrote the configuration and has not created the owner yet.
    pub(crate) owner_pending: bool,
}

impl Folder {
    /// The platform's folder for Hearth, the same that `hearth serve` uses without `--config`.
    pub(crate) fn find() -> Option<Self> {
        match std::env::var_os(OVERRIDE).filter(|value| !value.is_empty()) {
            Some(path) => std::path::absolute(path).ok().map(Self),
            None => ProjectDirs::from("org", "hearth", "hearth").map(|folders| Self(folders.data_dir().to_owned())),
        }
    }

    #[cfg(test)]
    pub(crate) fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Whether it is another one than the platform's.
    pub(crate) fn is_overridden() -> bool {
        std::env::var_os(OVERRIDE).is_some_and(|value| !value.is_empty())
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.0.join("hearth.toml")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("logs").join("server.log")
    }

    pub(crate) fn instance_lock(&self) -> PathBuf {
        self.0.join("desktop.lock")
    }

    #[cfg(unix)]
    pub(crate) fn instance_socket(&self) -> PathBuf {
        self.0.join("desktop.sock")
    }

    fn settings_file(&self) -> PathBuf {
        self.0.join("desktop.json")
    }

    /// Makes the folder, closed to others.
    pub(crate) fn create(&self) -> Result<(), CommandError> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.0).map_err(|error| CommandError::io("Making the folder", &self.0, &error))
    }

    /// What was remembered; nothing when the file is absent or damaged, since none of it is precious.
    pub(crate) fn settings(&self) -> Settings {
        let text = fs::read_to_string(self.settings_file()).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    pub(crate) fn save_settings(&self, settings: &Settings) -> Result<(), CommandError> {
        self.create()?;
        let path = self.settings_file();
        let text = serde_json::to_string_pretty(settings).expect("settings are two booleans");
        write_private(&path, &text).map_err(|error| CommandError::io("Writing", &path, &error))
    }
}

/// Writes a file that only its owner can read, whole or not at all.
pub(crate) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let draft = path.with_extension("new");
    // What an interrupted write left; a fresh file gets fresh permissions.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = options.open(&draft)?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_kept_and_private() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::at(&temporary.path().join("a/b"));
        assert_eq!(folder.settings(), Settings::default());
        let settings = Settings { keep_running: true, owner_pending: true };
        folder.save_settings(&settings).unwrap();
        folder.save_settings(&settings).unwrap();
        assert_eq!(folder.settings(), settings);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!((mode(folder.path()), mode(&folder.settings_file())), (0o700, 0o600));
        }
        fs::write(folder.settings_file(), "{").unwrap();
        assert_eq!(folder.settings(), Settings::default());
    }
}
