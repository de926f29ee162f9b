//! The command line.

use std::path::PathBuf;

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
}
