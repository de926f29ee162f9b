//! The configuration: a TOML file, environment variables on top, checked and with every default filled in.

mod example;
mod raw;
mod source;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use hearth_accounts::{PasswordCost, RegistrationMode};
use hearth_protocol::RoomVersion;
use ruma::{OwnedServerName, RoomVersionId};
use url::Url;

pub(crate) use self::{
    example::example,
    raw::{Engine, Service},
    source::ConfigError,
};
use self::{
    raw::{Mode, Raw, RawBackup, RawListener, RawStore},
    source::Source,
};

const CLIENT_ADDRESS: &str = "127.0.0.1:8008";
const ADMIN_ADDRESS: &str = "127.0.0.1:8010";
/// What all keys begin with in a cluster, where nothing else is said.
pub(crate) const KEY_PREFIX: &str = "hearth";
const BACKUP_INTERVAL_HOURS: u32 = 24;
const BACKUPS_KEPT: u32 = 3;
const EVERY_SERVICE: [Service; 3] = [Service::Client, Service::Federation, Service::Media];

/// A checked configuration.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The file that it was read from.
    pub(crate) file: PathBuf,
    /// This server's name. It never changes.
    pub(crate) server_name: OwnedServerName,
    /// What clients are told to connect to; `None`: derived from the listeners.
    pub(crate) public_base_url: Option<String>,
    /// Where everything is kept.
    pub(crate) data_dir: PathBuf,
    /// Where to listen.
    pub(crate) listeners: Vec<Listener>,
    /// Where the admin API listens: loopback.
    pub(crate) admin: SocketAddr,
    /// Who may register.
    pub(crate) registration: Registration,
    /// Other servers.
    pub(crate) federation: Federation,
    /// Version of new rooms.
    pub(crate) default_room_version: RoomVersionId,
    /// What a password hash costs.
    pub(crate) passwords: PasswordCost,
    /// What keeps the data.
    pub(crate) store: StoreConfig,
    /// Scheduled backups.
    pub(crate) backup: BackupConfig,
    /// Whether too many requests are refused.
    pub(crate) rate_limit: bool,
    /// Environment variables that look like ours and name no key.
    pub(crate) ignored_variables: Vec<String>,
}

/// One `[[listener]]`.
#[derive(Debug, Clone)]
pub(crate) struct Listener {
    /// Address and port; port 0 picks a free one.
    pub(crate) address: SocketAddr,
    /// What it serves.
    pub(crate) serves: Vec<Service>,
    /// TLS; plain HTTP without.
    pub(crate) tls: Option<TlsFiles>,
}

/// PEM files of a TLS listener.
#[derive(Debug, Clone)]
pub(crate) struct TlsFiles {
    /// The certificate and the chain that leads to its authority.
    pub(crate) certificate: PathBuf,
    /// The private key.
    pub(crate) key: PathBuf,
}

/// `[registration]`
#[derive(Debug, Clone)]
pub(crate) struct Registration {
    /// Who may register.
    pub(crate) mode: RegistrationMode,
    /// A registration token that is always valid.
    pub(crate) token: Option<String>,
    /// Key of shared-secret registration.
    pub(crate) shared_secret: Option<String>,
}

/// `[federation]`
#[derive(Debug, Clone)]
pub(crate) struct Federation {
    /// Whether to talk to other servers.
    pub(crate) enabled: bool,
    /// Certificate authorities trusted besides the system's.
    pub(crate) extra_ca: Vec<PathBuf>,
    /// Whether to connect to loopback and private addresses.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for federation, which has yet to come; the key is checked already")
    )]
    pub(crate) allow_private_addresses: bool,
}

/// `[store]`
#[derive(Debug, Clone)]
pub(crate) struct StoreConfig {
    /// What keeps the data.
    pub(crate) engine: Engine,
    /// An existing cluster of the FoundationDB engine; `None`: the local instance that Hearth runs.
    pub(crate) cluster_file: Option<PathBuf>,
    /// FoundationDB's client library; `None`: it is searched.
    pub(crate) client_library: Option<PathBuf>,
    /// What all keys in a cluster begin with, so that several Hearths share one.
    pub(crate) key_prefix: String,
}

/// `[backup]`
#[derive(Debug, Clone)]
pub(crate) struct BackupConfig {
    /// Where backups are kept.
    pub(crate) folder: PathBuf,
    /// Hours between scheduled backups; 0: none are scheduled.
    pub(crate) interval_hours: u32,
    /// How many scheduled backups are kept.
    pub(crate) keep: u32,
    /// A file whose first line encrypts backups; `None`: they are not encrypted.
    pub(crate) passphrase_file: Option<PathBuf>,
}

impl Config {
    /// Reads and checks `file` with the process's environment on top.
    pub(crate) fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file).map_err(|error| ConfigError {
            place: file.display().to_string(),
            key: String::new(),
            message: format!("the file cannot be read: {error}"),
        })?;
        // Variables that are not Unicode cannot be meant for us.
        let environment =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::parse(file, &text, environment)
    }

    /// Reads and checks `text`, the content of `file`. Relative paths are relative to the file's folder.
    pub(crate) fn parse(
        file: &Path,
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let (source, raw) = Source::read(file, text, environment)?;
        Checker { source: &source, folder: file.parent().unwrap_or(Path::new("")) }.check(file, raw)
    }

    /// Where the embedded store keeps its files.
    pub(crate) fn store_dir(&self) -> PathBuf {
        self.data_dir.join("store")
    }

    /// Where the local FoundationDB keeps its files.
    pub(crate) fn foundationdb_dir(&self) -> PathBuf {
        self.data_dir.join("foundationdb")
    }
}

/// The platform's folder for Hearth, such as `~/.local/share/hearth`: the configuration and the data of a server that was
/// started without `--config`.
pub(crate) fn platform_folder() -> Option<PathBuf> {
    directories::ProjectDirs::from("org", "hearth", "hearth").map(|folders| folders.data_dir().to_owned())
}

struct Checker<'a> {
    source: &'a Source,
    folder: &'a Path,
}

impl Checker<'_> {
    fn check(&self, file: &Path, raw: Raw) -> Result<Config, ConfigError> {
        let Some(server_name) = raw.server_name else {
            return Err(self.error(
                "server_name",
                "the server needs a name: the part behind the colon in @you:example.org. It can never be changed later",
            ));
        };
        let data_dir = match raw.data_dir {
            Some(path) => self.path("data_dir", &path)?,
            None => platform_folder()
                .map(|folder| folder.join("data"))
                .ok_or_else(|| self.error("data_dir", "this system has no folder for a user's data: name one here"))?,
        };
        let store = self.store(raw.store)?;
        let backup = self.backup(raw.backup, &data_dir)?;
        Ok(Config {
            file: file.to_owned(),
            server_name: self.server_name(&server_name)?,
            public_base_url: raw.public_base_url.map(|url| self.base_url(&url)).transpose()?,
            data_dir,
            listeners: self.listeners(raw.listener)?,
            admin: self.admin(raw.admin.address.as_deref())?,
            registration: self.registration(
                raw.registration.mode,
                raw.registration.token,
                raw.registration.shared_secret,
            )?,
            federation: Federation {
                enabled: raw.federation.enabled.unwrap_or(true),
                extra_ca: self.paths("federation.extra_ca", &raw.federation.extra_ca.unwrap_or_default())?,
                allow_private_addresses: raw.federation.allow_private_addresses.unwrap_or(false),
            },
            default_room_version: self.room_version(raw.rooms.default_version.as_deref())?,
            passwords: self.passwords(raw.passwords.memory_kib, raw.passwords.iterations)?,
            store,
            backup,
            rate_limit: raw.limits.rate_limit.unwrap_or(true),
            ignored_variables: self.source.ignored.clone(),
        })
    }

    fn error(&self, key: &str, message: impl Into<String>) -> ConfigError {
        self.source.error(key, message)
    }

    fn path(&self, key: &str, path: &Path) -> Result<PathBuf, ConfigError> {
        if path.as_os_str().is_empty() {
            return Err(self.error(key, "an empty path"));
        }
        // Absolute, so that error messages and the ready line mean the same to every reader.
        std::path::absolute(self.folder.join(path)).map_err(|error| self.error(key, error.to_string()))
    }

    fn paths(&self, key: &str, paths: &[PathBuf]) -> Result<Vec<PathBuf>, ConfigError> {
        paths.iter().map(|path| self.path(key, path)).collect()
    }

    fn server_name(&self, name: &str) -> Result<OwnedServerName, ConfigError> {
        let refuse = |message: String| Err(self.error("server_name", message));
        if name.contains("://") || name.contains('/') {
            return refuse(format!("{name:?} is an address; a server name is only a domain such as example.org"));
        }
        if name.chars().any(char::is_uppercase) {
            return refuse(format!("{name:?} has capital letters; write {:?}", name.to_lowercase()));
        }
        match OwnedServerName::try_from(name) {
            Ok(name) if name.as_str().len() <= 230 => Ok(name),
            Ok(_) => refuse("longer than 230 characters, so that user ids would be too long".to_owned()),
            Err(_) => refuse(format!(
                "{name:?} is no server name: a domain such as example.org, with a port only where the domain needs one"
            )),
        }
    }

    fn base_url(&self, text: &str) -> Result<String, ConfigError> {
        let refuse = |message: &str| self.error("public_base_url", format!("{text:?} {message}"));
        let url = Url::parse(text).map_err(|_| refuse("is no address such as https://example.org"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(refuse("must begin with https:// or http://"));
        }
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
            return Err(refuse("must be an address alone, without user, query or fragment"));
        }
        Ok(url.as_str().trim_end_matches('/').to_owned())
    }

    fn address(&self, key: &str, text: &str) -> Result<SocketAddr, ConfigError> {
        let text = text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
        text.parse().map_err(|_| {
            self.error(
                key,
                format!("{text:?} is no address: an IP address and a port such as 127.0.0.1:8008, [::1]:8008 or 0.0.0.0:8448"),
            )
        })
    }

    fn listeners(&self, raw: Option<Vec<RawListener>>) -> Result<Vec<Listener>, ConfigError> {
        let raw =
            raw.unwrap_or_else(|| vec![RawListener { address: Some(CLIENT_ADDRESS.into()), ..RawListener::default() }]);
        if raw.is_empty() {
            return Err(self.error("listener", "the server needs one listener at least"));
        }
        let mut listeners: Vec<Listener> = Vec::new();
        for (index, raw) in raw.into_iter().enumerate() {
            let key = |name: &str| format!("listener[{index}].{name}");
            let Some(address) = raw.address else {
                return Err(self.error(&format!("listener[{index}]"), "a listener needs an `address`"));
            };
            let address = self.address(&key("address"), &address)?;
            if address.port() != 0 && listeners.iter().any(|other| other.address == address) {
                return Err(self.error(&key("address"), format!("two listeners on {address}")));
            }
            let serves = raw.serves.unwrap_or_else(|| EVERY_SERVICE.to_vec());
            if serves.is_empty() {
                return Err(self.error(&key("serves"), "a listener that serves nothing"));
            }
            let tls = match raw.tls {
                None => None,
                Some(tls) => {
                    let file = |name: &str, path: Option<PathBuf>| match path {
                        Some(path) => self.path(&key(&format!("tls.{name}")), &path),
                        None => Err(self.error(&key("tls"), format!("TLS needs a `{name}` file"))),
                    };
                    Some(TlsFiles { certificate: file("certificate", tls.certificate)?, key: file("key", tls.key)? })
                }
            };
            listeners.push(Listener { address, serves, tls });
        }
        Ok(listeners)
    }

    fn admin(&self, text: Option<&str>) -> Result<SocketAddr, ConfigError> {
        let address = self.address("admin.address", text.unwrap_or(ADMIN_ADDRESS))?;
        if !address.ip().is_loopback() {
            let message = format!(
                "{address} can be reached by others; the admin API listens on this machine alone, such as on {ADMIN_ADDRESS}"
            );
            return Err(self.error("admin.address", message));
        }
        Ok(address)
    }

    fn registration(
        &self,
        mode: Option<Mode>,
        token: Option<String>,
        shared_secret: Option<String>,
    ) -> Result<Registration, ConfigError> {
        let mode = match mode.unwrap_or(Mode::Closed) {
            Mode::Closed => RegistrationMode::Closed,
            Mode::Token => RegistrationMode::Token,
            Mode::Open => RegistrationMode::Open,
        };
        if let Some(token) = &token {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b'-');
            if token.is_empty() || token.len() > 64 || !token.bytes().all(allowed) {
                return Err(
                    self.error("registration.token", "a token has 1 to 64 of the characters A-Z a-z 0-9 . _ ~ -")
                );
            }
        }
        if shared_secret.as_deref() == Some("") {
            return Err(self.error("registration.shared_secret", "an empty secret would let anybody in"));
        }
        Ok(Registration { mode, token, shared_secret })
    }

    fn room_version(&self, text: Option<&str>) -> Result<RoomVersionId, ConfigError> {
        let Some(text) = text else { return Ok(RoomVersionId::V12) };
        let version = RoomVersion::SUPPORTED.iter().find(|version| version.as_str() == text);
        version.cloned().ok_or_else(|| {
            let known: Vec<_> = RoomVersion::SUPPORTED.iter().map(RoomVersionId::as_str).collect();
            self.error(
                "rooms.default_version",
                format!("there is no room version {text:?} here, only {}", known.join(", ")),
            )
        })
    }

    fn passwords(&self, memory_kib: Option<u32>, iterations: Option<u32>) -> Result<PasswordCost, ConfigError> {
        let default = PasswordCost::default();
        let cost = PasswordCost {
            memory_kib: memory_kib.unwrap_or(default.memory_kib),
            iterations: iterations.unwrap_or(default.iterations),
        };
        // argon2 needs 8 KiB; more than 1 GiB for every login would be a mistake.
        if !(8..=1 << 20).contains(&cost.memory_kib) {
            return Err(self.error("passwords.memory_kib", "between 8 and 1048576"));
        }
        if !(1..=100).contains(&cost.iterations) {
            return Err(self.error("passwords.iterations", "between 1 and 100"));
        }
        Ok(cost)
    }

    fn store(&self, raw: RawStore) -> Result<StoreConfig, ConfigError> {
        let engine = raw.engine.unwrap_or(Engine::Embedded);
        let only_there = [
            ("store.cluster_file", raw.cluster_file.is_some(), "has a cluster file"),
            ("store.client_library", raw.client_library.is_some(), "needs a client library"),
            ("store.key_prefix", raw.key_prefix.is_some(), "has a prefix of keys"),
        ];
        if let Some((key, _, what)) = only_there.iter().find(|(_, set, _)| *set && engine == Engine::Embedded) {
            return Err(self.error(key, format!("only the engine \"foundationdb\" {what}")));
        }
        let key_prefix = raw.key_prefix.unwrap_or_else(|| KEY_PREFIX.to_owned());
        if key_prefix.is_empty() || key_prefix.len() > 100 {
            return Err(self.error("store.key_prefix", "between 1 and 100 bytes"));
        }
        let path = |key: &str, path: Option<PathBuf>| path.map(|path| self.path(key, &path)).transpose();
        Ok(StoreConfig {
            engine,
            cluster_file: path("store.cluster_file", raw.cluster_file)?,
            client_library: path("store.client_library", raw.client_library)?,
            key_prefix,
        })
    }

    fn backup(&self, raw: RawBackup, data_dir: &Path) -> Result<BackupConfig, ConfigError> {
        let folder = match raw.folder {
            Some(folder) => self.path("backup.folder", &folder)?,
            None => data_dir.join("backups"),
        };
        let keep = raw.keep.unwrap_or(BACKUPS_KEPT);
        if keep == 0 {
            return Err(self.error("backup.keep", "at least 1; interval_hours = 0 switches scheduled backups off"));
        }
        Ok(BackupConfig {
            folder,
            interval_hours: raw.interval_hours.unwrap_or(BACKUP_INTERVAL_HOURS),
            keep,
            passphrase_file: raw.passphrase_file.map(|path| self.path("backup.passphrase_file", &path)).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests;
