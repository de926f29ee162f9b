//! The command line.

use std::{fmt, path::PathBuf, str::FromStr};

use clap::{Args, Parser, Subcommand};

/// A Matrix homeserver for one person's machine.
#[derive(Debug, Parser)]
#[command(name = "hearth", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server. When it answers, it prints one line of JSON on standard output
    Serve {
        #[command(flatten)]
        config: ConfigFile,
        /// Stop when standard input ends, so that the server never outlives the program that started it
        #[arg(long)]
        exit_on_stdin_eof: bool,
        /// What to log, such as debug or hearth_rooms=trace,info [default: $RUST_LOG, else info]
        #[arg(long, value_name = "FILTER")]
        log: Option<String>,
    },
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Manage users, whether the server runs or not
    #[command(subcommand)]
    User(UserCommand),
    /// Look at the store, keep its data and move it
    #[command(subcommand)]
    Store(StoreCommand),
}

/// Which configuration.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConfigFile {
    /// The configuration [default: hearth.toml in the platform's folder for Hearth, made by the first `hearth serve`]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// `hearth config`
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check a configuration and the files that it names
    Check {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Print a commented example with every key and its default
    Example,
}

/// `hearth user`
#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Create a user. Asks for the password on a terminal, otherwise reads it from standard input
    Create {
        /// User name (`alice`) or user id (`@alice:example.org`)
        name: String,
        /// Make the user an administrator of the server
        #[arg(long)]
        admin: bool,
        /// Name that others see
        #[arg(long, value_name = "NAME")]
        display_name: Option<String>,
        #[command(flatten)]
        password: PasswordSource,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// List users
    List {
        /// Only users whose name contains this
        #[arg(long)]
        search: Option<String>,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Set a new password and log every device out
    ResetPassword {
        /// User name or user id
        name: String,
        /// Leave the user's devices logged in
        #[arg(long)]
        keep_devices: bool,
        #[command(flatten)]
        password: PasswordSource,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Deactivate a user for ever: devices are logged out, rooms are left, the name stays taken
    Deactivate {
        /// User name or user id
        name: String,
        /// Note the wish that the user's messages be hidden from people who join later
        #[arg(long)]
        erase: bool,
        #[command(flatten)]
        config: ConfigFile,
    },
}

/// `hearth store`
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Show how many entries and bytes every table has, whether the server runs or not
    Stats {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Check that what the store says in several places agrees. Changes nothing
    Check {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Write everything to one file, whether the server runs or not
    Backup {
        /// The file to write; in an existing folder, a new file named after server and time
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        /// Ask for a passphrase that encrypts the backup [default: the one of `backup.passphrase_file`, else no encryption]
        #[arg(long, conflicts_with = "passphrase_file")]
        encrypt: bool,
        #[command(flatten)]
        passphrase: PassphraseFile,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Read a whole backup and check everything in it
    Verify {
        /// The backup
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
        #[command(flatten)]
        passphrase: PassphraseFile,
    },
    /// Check a backup and write it into the configuration's store, which must be empty; the server must not run
    ///
    /// If it is interrupted, the same command goes on where it stopped.
    Restore {
        /// The backup
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
        #[command(flatten)]
        passphrase: PassphraseFile,
        #[command(flatten)]
        leave: Leave,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Copy everything from one store into another, which must be empty; no server must run on either
    ///
    /// A STORE is embedded:FOLDER, foundationdb:CLUSTER_FILE, or config:FILE for the one that a configuration names. The source
    /// is locked until the copy is done. If it is interrupted, the same command goes on where it stopped.
    Copy {
        /// The store to read
        #[arg(long, value_name = "STORE")]
        from: StoreName,
        /// The store to write
        #[arg(long, value_name = "STORE")]
        to: StoreName,
        /// What all keys begin with in the cluster to read
        #[arg(long, value_name = "PREFIX", default_value = crate::config::KEY_PREFIX)]
        from_key_prefix: String,
        /// What all keys begin with in the cluster to write
        #[arg(long, value_name = "PREFIX", default_value = crate::config::KEY_PREFIX)]
        to_key_prefix: String,
        /// FoundationDB's client library [default: it is searched]
        #[arg(long, value_name = "FILE")]
        client_library: Option<PathBuf>,
        #[command(flatten)]
        leave: Leave,
    },
    /// Give up an interrupted copy: let servers use its source again
    Unlock {
        /// The source of the copy [default: the store of the configuration]
        #[arg(long, value_name = "STORE", conflicts_with = "config")]
        store: Option<StoreName>,
        /// What all keys begin with in its cluster
        #[arg(long, value_name = "PREFIX", default_value = crate::config::KEY_PREFIX)]
        key_prefix: String,
        /// FoundationDB's client library [default: it is searched]
        #[arg(long, value_name = "FILE")]
        client_library: Option<PathBuf>,
        #[command(flatten)]
        config: ConfigFile,
    },
}

/// Where a backup's passphrase comes from.
#[derive(Debug, Clone, Args)]
pub(crate) struct PassphraseFile {
    /// A file whose first line is the passphrase
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// What a command may do that it does not do by itself.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Leave {
    /// Let a cluster recover at a later version, if the data needs that: about a second without commits for everything on it
    #[arg(long)]
    pub(crate) advance_version: bool,
    /// Delete what another interrupted restore or copy left in the target
    #[arg(long)]
    pub(crate) start_over: bool,
}

/// A store as the command line names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoreName {
    /// `embedded:FOLDER`
    Embedded(PathBuf),
    /// `foundationdb:CLUSTER_FILE`
    FoundationDb(PathBuf),
    /// `config:FILE`
    Config(PathBuf),
}

impl FromStr for StoreName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((kind, path)) if !path.is_empty() => match kind {
                "embedded" => Ok(Self::Embedded(path.into())),
                "foundationdb" => Ok(Self::FoundationDb(path.into())),
                "config" => Ok(Self::Config(path.into())),
                kind => Err(format!("there is no engine {kind:?}: embedded, foundationdb, or config")),
            },
            _ => Err("a store is embedded:FOLDER, foundationdb:CLUSTER_FILE or config:FILE".to_owned()),
        }
    }
}

impl fmt::Display for StoreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, path) = match self {
            Self::Embedded(path) => ("embedded", path),
            Self::FoundationDb(path) => ("foundationdb", path),
            Self::Config(path) => ("config", path),
        };
        write!(f, "{kind}:{}", path.display())
    }
}

/// Where a password comes from.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct PasswordSource {
    /// Make a password up and print it
    #[arg(long)]
    pub(crate) generate: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn stores_have_names() {
        for (text, store) in [
            ("embedded:data/store", StoreName::Embedded("data/store".into())),
            ("foundationdb:/etc/fdb.cluster", StoreName::FoundationDb("/etc/fdb.cluster".into())),
            (r"embedded:C:\data", StoreName::Embedded(r"C:\data".into())),
            ("config:hearth.toml", StoreName::Config("hearth.toml".into())),
        ] {
            assert_eq!(text.parse::<StoreName>(), Ok(store.clone()));
            assert_eq!(store.to_string(), text);
        }
        for text in ["data/store", "embedded:", "redis:x", ""] {
            assert!(text.parse::<StoreName>().is_err(), "{text}");
        }
    }
}
