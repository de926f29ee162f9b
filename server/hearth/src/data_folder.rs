//! The data folder: whose it is, the server's identity, the admin token.
//!
//! ```text
//! lock            held (by the operating system) while a process uses the folder
//! identity.toml   server name and signing key
//! admin-token     opens the admin API; delete it and start again for a new one
//! admin-url       where the running server's admin API is, for the command line
//! store/          the embedded store
//! foundationdb/   the local FoundationDB instance, where that is the engine: its data, its logs, its cluster file
//! ```
//!
//! The signing key is a file of its own and no row of the store, because it must outlive the store: whoever restores a backup or
//! begins with an empty store stays the same server to others; and a copy of the store can be given away without it.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use hearth_protocol::SigningKey;
use rand::{RngCore, rngs::OsRng};
use ruma::{OwnedServerName, ServerName};
use serde::{Deserialize, Serialize};

use crate::{
    failure::{Failure, OpenFailure},
    private_file,
};

const LOCK_FILE: &str = "lock";
const IDENTITY_FILE: &str = "identity.toml";
/// What only a data folder has, and what one may hold besides before its first server has an identity.
const OURS: [&str; 3] = [IDENTITY_FILE, "store", "foundationdb"];
const HARMLESS: [&str; 3] = ["identity.new", LOCK_FILE, "backups"];

/// A data folder.
#[derive(Debug, Clone)]
pub(crate) struct DataFolder(PathBuf);

/// Held for as long as a process uses a data folder.
#[derive(Debug)]
pub(crate) struct FolderLock {
    _file: File,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    server_name: String,
    /// The part of the key's id behind `ed25519:`.
    key_version: String,
    /// PKCS#8, in Base64.
    key: String,
}

/// Shortest admin token that is kept: the length of one that was made here.
const TOKEN_LENGTH: usize = 43;
const IDENTITY_COMMENT: &str =
    "# The identity of this server. Whoever has the key can speak in its name: keep it secret, and keep a copy.\n";

impl DataFolder {
    /// The folder at `path`, made where it is missing. One with somebody else's files is refused and left alone.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let folder = Self::look(path)?;
        private_file::create_folder(path).map_err(|error| unusable(path, &error))?;
        Ok(folder)
    }

    /// The folder at `path`, which need not be there yet. Refuses what [`Self::open`] refuses, and changes nothing.
    pub(crate) fn look(path: &Path) -> Result<Self, Failure> {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self(path.to_owned())),
            Err(error) => return Err(unusable(path, &error)),
        };
        let mut stranger = None;
        for entry in entries {
            let name = entry.map_err(|error| unusable(path, &error))?.file_name();
            if OURS.iter().any(|ours| name == *ours) {
                return Ok(Self(path.to_owned()));
            }
            stranger = stranger.or(Some(name).filter(|name| !HARMLESS.iter().any(|harmless| name == *harmless)));
        }
        match stranger {
            None => Ok(Self(path.to_owned())),
            Some(name) => Err(Failure::configuration(format!(
                "{} is not a data folder of Hearth: it holds {}. Choose an empty or a new folder as data_dir.",
                path.display(),
                name.display()
            ))),
        }
    }

    /// Takes the folder for this process: no other can use it until the lock is dropped or the process ends. On either
    /// engine, since two servers on one folder would share an identity, an admin token and the admin address.
    pub(crate) fn lock(&self) -> Result<FolderLock, OpenFailure> {
        let path = self.0.join(LOCK_FILE);
        let file = private_file::open_lock(&path).map_err(|error| unusable(&path, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(FolderLock { _file: file }),
            Err(TryLockError::WouldBlock) => {
                let holder = hearth_supervisor::lock::holder(&path).and_then(|holder| holder.pid);
                let who = holder.map_or_else(|| "another process".to_owned(), |pid| format!("another process ({pid})"));
                let message = format!("{} is in use by {who}", self.0.display());
                Err(OpenFailure::Held(Failure::configuration(message)))
            }
            Err(TryLockError::Error(error)) => Err(unusable(&path, &error).into()),
        }
    }

    /// [`Self::lock`] where a process has used the folder before; `None` where none ever has.
    pub(crate) fn lock_if_used(&self) -> Result<Option<FolderLock>, OpenFailure> {
        if self.0.join(LOCK_FILE).exists() { self.lock().map(Some) } else { Ok(None) }
    }

    /// Where the server's identity is.
    pub(crate) fn identity_file(&self) -> PathBuf {
        self.0.join(IDENTITY_FILE)
    }

    /// Whether a server has its identity here.
    pub(crate) fn has_identity(&self) -> bool {
        self.identity_file().exists()
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The server's signing key, made at the first start. A folder of another server is refused. Only who holds the
    /// folder's lock may call this.
    pub(crate) fn signing_key(&self, server_name: &ServerName) -> Result<SigningKey, Failure> {
        let path = self.identity_file();
        let refuse = |what: String| Failure::configuration(format!("{}: {what}", path.display()));
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return create_identity(&path, server_name),
            Err(error) => return Err(refuse(error.to_string())),
        };
        let identity: Identity = toml::from_str(&text).map_err(|error| refuse(error.to_string()))?;
        if identity.server_name != server_name.as_str() {
            return Err(Failure::configuration(format!(
                "{} belongs to the server {}, and a server's name can never be changed. \
                 Set server_name = {:?}, or choose another data_dir for {server_name}.",
                self.0.display(),
                identity.server_name,
                identity.server_name
            )));
        }
        let document = STANDARD.decode(identity.key).map_err(|error| refuse(format!("the key is damaged: {error}")))?;
        SigningKey::from_pkcs8(server_name.to_owned(), identity.key_version, &document)
            .map_err(|error| refuse(format!("the key is damaged: {error}")))
    }

    /// The admin token, made at the first start, and the path of its file. Notes where the admin API is.
    pub(crate) fn write_admin_access(&self, url: &str) -> Result<(String, PathBuf), Failure> {
        let path = self.0.join("admin-token");
        let write = |path: &Path, content: &str| {
            private_file::write(path, &format!("{content}\n"))
                .map_err(|error| Failure::configuration(format!("{} cannot be written: {error}", path.display())))
        };
        let kept = fs::read_to_string(&path).map(|text| text.trim().to_owned());
        let token = kept.ok().filter(|token| token.len() >= TOKEN_LENGTH).unwrap_or_else(|| {
            let mut bytes = [0; 32];
            OsRng.fill_bytes(&mut bytes);
            URL_SAFE_NO_PAD.encode(bytes)
        });
        // Written even when it was kept: whatever happened to the file's permissions, now they are right.
        write(&path, &token)?;
        write(&self.0.join("admin-url"), url)?;
        Ok((token, path))
    }

    /// Address and token of the server that runs on this folder.
    pub(crate) fn admin_access(&self) -> io::Result<(String, String)> {
        let read = |name| fs::read_to_string(self.0.join(name)).map(|text| text.trim().to_owned());
        Ok((read("admin-url")?, read("admin-token")?))
    }
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    Failure::configuration(format!("{} cannot be used: {error}", path.display()))
}

fn create_identity(path: &Path, server_name: &ServerName) -> Result<SigningKey, Failure> {
    let (key, document) = SigningKey::generate(OwnedServerName::from(server_name));
    let identity = Identity {
        server_name: server_name.to_string(),
        key_version: key.pair.version().to_owned(),
        key: STANDARD.encode(document),
    };
    let text = toml::to_string(&identity).map_err(|error| Failure::internal(error.to_string()))?;
    private_file::write(path, &format!("{IDENTITY_COMMENT}{text}"))
        .map_err(|error| Failure::configuration(format!("{} cannot be written: {error}", path.display())))?;
    tracing::info!(key = %format_args!("ed25519:{}", key.pair.version()), "made this server's signing key");
    Ok(key)
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::*;
    use crate::failure::CONFIGURATION;

    #[test]
    fn the_key_stays_and_the_name_is_fixed() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("data");
        let key = |name| DataFolder::open(&path).unwrap().signing_key(name);
        let first = key(server_name!("example.org")).unwrap();
        let second = key(server_name!("example.org")).unwrap();
        assert_eq!(first.pair.version(), second.pair.version());
        assert_eq!(first.pair.public_key(), second.pair.public_key());
        let error = key(server_name!("other.example")).unwrap_err();
        assert_eq!(error.code, CONFIGURATION);
        assert!(error.message.contains("belongs to the server example.org"), "{error}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(path.join("identity.toml")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        fs::write(path.join("identity.toml"), "server_name = \"example.org\"\nkey_version = \"a\"\nkey = \"AAAA\"")
            .unwrap();
        assert!(key(server_name!("example.org")).unwrap_err().message.contains("damaged"));
    }

    #[test]
    fn a_foreign_folder_is_left_alone() {
        let temporary = tempfile::tempdir().unwrap();
        fs::write(temporary.path().join("diary.txt"), "mine").unwrap();
        let error = DataFolder::open(temporary.path()).unwrap_err();
        assert_eq!(error.code, CONFIGURATION);
        assert!(error.message.contains("diary.txt"), "{error}");
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 1);
        let error = DataFolder::open(&temporary.path().join("diary.txt")).unwrap_err();
        assert_eq!(error.code, CONFIGURATION);
    }

    #[test]
    fn the_admin_token_stays_unless_it_is_deleted() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(temporary.path()).unwrap();
        let (first, path) = folder.write_admin_access("http://127.0.0.1:1").unwrap();
        let (second, _) = folder.write_admin_access("http://127.0.0.1:2").unwrap();
        assert_eq!(first, second);
        assert_eq!(folder.admin_access().unwrap(), ("http://127.0.0.1:2".to_owned(), first.clone()));
        for replace in ["", "short"] {
            fs::write(&path, replace).unwrap();
            let (other, _) = folder.write_admin_access("http://127.0.0.1:1").unwrap();
            assert!(other != first && other.len() == TOKEN_LENGTH);
        }
    }
}
