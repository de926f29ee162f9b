//! The configuration as it stands in a file: every key is optional, none is checked beyond its type.

use std::path::PathBuf;

use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section")]
pub(super) struct Raw {
    pub(super) server_name: Option<String>,
    pub(super) public_base_url: Option<String>,
    pub(super) data_dir: Option<PathBuf>,
    pub(super) listener: Option<Vec<RawListener>>,
    pub(super) admin: RawAdmin,
    pub(super) registration: RawRegistration,
    pub(super) federation: RawFederation,
    pub(super) rooms: RawRooms,
    pub(super) passwords: RawPasswords,
    pub(super) store: RawStore,
    pub(super) backup: RawBackup,
    pub(super) limits: RawLimits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section")]
pub(super) struct RawListener {
    pub(super) address: Option<String>,
    pub(super) serves: Option<Vec<Service>>,
    pub(super) tls: Option<RawTls>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section")]
pub(super) struct RawTls {
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

/// What a listener can serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Service {
    /// The client-server API, and `/.well-known/matrix`.
    Client,
    /// The server-server API.
    Federation,
    /// The media repository.
    Media,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section")]
pub(super) struct RawAdmin {
    pub(super) address: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section")]
pub(super) struct RawRegistration {
    pub(super) mode: Option<Mode>,
    pub(super) token: Option<String>,
    pub(super) shared_secret: Option<String>,
}

/// Who may register.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    Closed,
    Token,
    Open,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section")]
pub(super) struct RawFederation {
    pub(super) enabled: Option<bool>,
    pub(super) extra_ca: Option<Vec<PathBuf>>,
    pub(super) allow_private_addresses: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section")]
pub(super) struct RawRooms {
    pub(super) default_version: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section")]
pub(super) struct RawPasswords {
    pub(super) memory_kib: Option<u32>,
    pub(super) iterations: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section")]
pub(super) struct RawStore {
    pub(super) engine: Option<Engine>,
    pub(super) cluster_file: Option<PathBuf>,
    pub(super) client_library: Option<PathBuf>,
    pub(super) key_prefix: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section")]
pub(super) struct RawBackup {
    pub(super) folder: Option<PathBuf>,
    pub(super) interval_hours: Option<u32>,
    pub(super) keep: Option<u32>,
    pub(super) passphrase_file: Option<PathBuf>,
}

/// What keeps the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Engine {
    /// In this process, in the data folder.
    Embedded,
    /// A FoundationDB cluster.
    FoundationDb,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section")]
pub(super) struct RawLimits {
    pub(super) rate_limit: Option<bool>,
}
