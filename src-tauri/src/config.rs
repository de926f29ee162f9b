//! The server's configuration file, as far as the app must read and write it. The server itself is the judge of the rest.

use crate::{
    error::{CommandError, ErrorCode, Field},
    folder::{Folder, write_private},
};
use serde::Deserialize;
use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// What the app needs to know of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) server_name: String,
    pub(crate) data_dir: PathBuf,
    /// Where clients and servers connect.
    pub(crate) listeners: Vec<SocketAddr>,
    pub(crate) admin: Option<SocketAddr>,
    /// Whether the server's engine is a FoundationDB that is run here.
    pub(crate) local_database: bool,
}

/// What the first run asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) server_name: String,
    pub(crate) owner: String,
    pub(crate) password: String,
    pub(crate) port: u16,
    pub(crate) engine: Engine,
}

/// What keeps the server's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Engine {
    #[default]
    Embedded,
    FoundationDb,
}

/// The admin listener's usual port (design: `[admin] address`).
const ADMIN_PORT: u16 = 8010;

impl Config {
    /// Reads `hearth.toml`; `None` when there is none. A file that cannot be read as TOML gives what it can: the server's own
    /// error message is better than ours.
    pub(crate) fn load(folder: &Folder) -> Result<Option<Self>, CommandError> {
        let path = folder.config();
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(Self::parse(&text, folder))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(CommandError::io("Reading", &path, &error)),
        }
    }

    fn parse(text: &str, folder: &Folder) -> Self {
        let table: toml::Table = text.parse().unwrap_or_default();
        let address = |value: &toml::Value| value.get("address")?.as_str()?.parse().ok();
        let data_dir = table.get("data_dir").and_then(toml::Value::as_str).map(Path::new);
        let store = |key: &str| table.get("store").and_then(|store| store.get(key));
        Self {
            local_database: store("engine").and_then(toml::Value::as_str) == Some("foundationdb")
                && store("cluster_file").is_none(),
            server_name: table.get("server_name").and_then(toml::Value::as_str).unwrap_or_default().to_owned(),
            // A relative path is relative to the file.
            data_dir: data_dir.map_or_else(|| folder.data(), |path| folder.path().join(path)),
            listeners: table
                .get("listener")
                .and_then(toml::Value::as_array)
                .map(|listeners| listeners.iter().filter_map(address).collect())
                .unwrap_or_default(),
            admin: table.get("admin").and_then(address),
        }
    }
}

impl Setup {
    /// Checks what a person typed, by the grammar of the Matrix specification (appendices, "Server name" and "User identifiers").
    pub(crate) fn check(&self) -> Result<(), CommandError> {
        if !is_server_name(&self.server_name) {
            let message = "A server name is a domain such as example.org, with a port only where the domain needs one.";
            return Err(CommandError::invalid(Field::ServerName, message));
        }
        self.check_owner()
    }

    /// The part of the check that still matters when the server name is fixed.
    pub(crate) fn check_owner(&self) -> Result<(), CommandError> {
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'=' | b'-' | b'/' | b'+');
        if self.owner.is_empty() || !self.owner.bytes().all(allowed) {
            let message = "A user name has only the letters a to z, digits and the characters . _ = - / +";
            return Err(CommandError::invalid(Field::Owner, message));
        }
        // "@", ":" and both parts are at most 255 bytes together.
        if self.owner.len() + self.server_name.len() + 2 > 255 {
            return Err(CommandError::invalid(Field::Owner, "This user name is too long."));
        }
        if self.password.chars().count() < 8 {
            return Err(CommandError::invalid(Field::Password, "A password has at least 8 characters."));
        }
        Ok(())
    }

    /// Writes the first configuration. `admin_port` is a free one, or 0.
    pub(crate) fn write(&self, folder: &Folder, admin_port: u16) -> Result<(), CommandError> {
        folder.create()?;
        let path = folder.config();
        if path.exists() {
            return Err(CommandError::new(ErrorCode::AlreadySetUp, "This folder already has a server."));
        }
        write_private(&path, &self.to_toml(admin_port)).map_err(|error| CommandError::io("Writing", &path, &error))
    }

    fn to_toml(&self, admin_port: u16) -> String {
        let name = toml::Value::from(self.server_name.as_str());
        let port = self.port;
        let store = match self.engine {
            Engine::Embedded => "",
            Engine::FoundationDb => "\n[store]\nengine = \"foundationdb\"\n",
        };
        format!(
            "# Written by Hearth's first run. `hearth config example` explains every key.\n\n\
             # The server's name is part of every user's and every room's address. It can never change.\n\
             server_name = {name}\n\
             data_dir = \"data\"\n\n\
             [[listener]]\n\
             address = \"127.0.0.1:{port}\"\n\
             serves = [\"client\", \"federation\", \"media\"]\n\n\
             [admin]\n\
             address = \"127.0.0.1:{admin_port}\"\n\n\
             [registration]\n\
             mode = \"closed\"\n{store}"
        )
    }
}

/// The usual admin port for the usual server where it is free, otherwise one that the system chooses at each start.
pub(crate) fn choose_admin_port(client_port: u16) -> u16 {
    let address = SocketAddr::from(([127, 0, 0, 1], ADMIN_PORT));
    let is_free = || hearth_supervisor::port::check(address).is_ok();
    if !Folder::is_overridden() && client_port != ADMIN_PORT && is_free() { ADMIN_PORT } else { 0 }
}

fn is_server_name(name: &str) -> bool {
    let (host, port) = match name.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => return is_ipv6_literal(address) && (port.is_empty() || is_port_suffix(port)),
            None => return false,
        },
        None => match name.find(':') {
            Some(colon) => name.split_at(colon),
            None => (name, ""),
        },
    };
    let labels_are_good = host.split('.').all(|label| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    });
    labels_are_good && name.len() <= 230 && (port.is_empty() || is_port_suffix(port))
}

fn is_ipv6_literal(text: &str) -> bool {
    text.parse::<std::net::Ipv6Addr>().is_ok()
}

fn is_port_suffix(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|port| {
        !port.is_empty()
            && port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup() -> Setup {
        Setup {
            server_name: "example.org".to_owned(),
            owner: "ada".to_owned(),
            password: "correct horse".to_owned(),
            port: 8008,
            engine: Engine::Embedded,
        }
    }

    #[test]
    fn server_names_follow_the_grammar() {
        for (name, good) in [
            ("example.org", true),
            ("localhost", true),
            ("xn--bcher-kva.example", true),
            ("example.org:8448", true),
            ("192.0.2.1", true),
            ("[2001:db8::1]:8448", true),
            ("[2001:db8::1]", true),
            ("", false),
            ("Example.org", false),
            ("exa mple.org", false),
            ("https://example.org", false),
            ("example.org/", false),
            ("example..org", false),
            ("-example.org", false),
            ("example.org:", false),
            ("example.org:0", false),
            ("example.org:65536", false),
            ("example.org:80:80", false),
            ("bücher.example", false),
            ("[example.org]", false),
            ("[::1", false),
            ("@ada:example.org", false),
        ] {
            assert_eq!(is_server_name(name), good, "{name:?}");
        }
        assert!(!is_server_name(&"a.".repeat(200)));
    }

    #[test]
    fn what_is_wrong_names_its_field() {
        let field = |change: fn(&mut Setup)| {
            let mut setup = setup();
            change(&mut setup);
            setup.check().err().and_then(|error| error.field)
        };
        assert_eq!(field(|_| {}), None);
        assert_eq!(field(|setup| setup.server_name.clear()), Some(Field::ServerName));
        assert_eq!(field(|setup| setup.owner = "Ada".to_owned()), Some(Field::Owner));
        assert_eq!(field(|setup| setup.owner = "@ada:example.org".to_owned()), Some(Field::Owner));
        assert_eq!(field(|setup| setup.owner = "a".repeat(250)), Some(Field::Owner));
        assert_eq!(field(|setup| setup.password = "1234567".to_owned()), Some(Field::Password));
    }

    #[test]
    fn what_is_written_is_read_back_and_private() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::at(&temporary.path().join("hearth"));
        assert_eq!(Config::load(&folder).unwrap(), None);
        setup().write(&folder, 0).unwrap();
        let config = Config::load(&folder).unwrap().unwrap();
        assert_eq!(config.server_name, "example.org");
        assert_eq!(config.data_dir, folder.path().join("data"));
        assert_eq!(config.listeners, ["127.0.0.1:8008".parse().unwrap()]);
        assert_eq!(config.admin, Some("127.0.0.1:0".parse().unwrap()));
        let text = fs::read_to_string(folder.config()).unwrap();
        assert!(!text.contains("correct horse"), "the password is nowhere: {text}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(folder.config()).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert!(!config.local_database);
        let again = setup().write(&folder, 0).unwrap_err();
        assert_eq!(again.code, ErrorCode::AlreadySetUp);
    }

    #[test]
    fn the_engine_is_the_first_runs_choice() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::at(temporary.path());
        Setup { engine: Engine::FoundationDb, ..setup() }.write(&folder, 0).unwrap();
        assert!(Config::load(&folder).unwrap().unwrap().local_database);
        let text = fs::read_to_string(folder.config()).unwrap() + "cluster_file = \"fdb.cluster\"\n";
        assert!(!Config::parse(&text, &folder).local_database, "that one is run by others");
    }

    #[test]
    fn a_strange_file_is_the_servers_to_judge() {
        let folder = Folder::at(Path::new("/srv/hearth"));
        let config = Config::parse("server_name = [broken", &folder);
        assert_eq!((config.server_name.as_str(), config.listeners.len(), config.admin), ("", 0, None));
        let config = Config::parse("data_dir = \"/elsewhere\"\n[[listener]]\naddress = \"unix:x\"", &folder);
        assert_eq!((config.data_dir, config.listeners.len()), (PathBuf::from("/elsewhere"), 0));
    }
}
