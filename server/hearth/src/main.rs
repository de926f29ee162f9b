//! The Hearth server.

#![warn(missing_docs)]

mod admin_client;
mod admin_settings;
mod backup_making;
mod cli;
mod config;
mod data_folder;
mod databases;
mod development;
mod failure;
mod jobs;
mod listen;
mod logging;
mod password;
mod private_file;
mod push_rules;
mod serve;
mod server_identity;
mod server_keys;
mod stop_signal;
mod store_command;
mod store_opening;
mod tls;
mod user;

use std::{io::Write, process::ExitCode, time::Duration};

use clap::Parser;
use cli::{Cli, Command, ConfigCommand, ConfigFile};
use config::Config;
use failure::Failure;

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => failure.report(),
    }
}

fn run(command: Command) -> Result<u8, Failure> {
    match command {
        Command::Serve { config, exit_on_stdin_eof, log } => {
            let logs = logging::start(log.as_deref())?;
            // Without a configuration it is a person's first look, and they want to know where to go next.
            let greet = config.config.is_none();
            let config = match config.config {
                Some(file) => Config::load(&file)?,
                None => development::load_or_create()?,
            };
            block_on(serve::serve(config, serve::Manner { exit_on_stdin_eof, greet }, logs))
        }
        Command::Config(ConfigCommand::Example) => {
            say(config::example().trim_end());
            Ok(failure::STOP)
        }
        Command::Config(ConfigCommand::Check { config }) => {
            let config = load(&config)?;
            tls::check_authorities(&config.federation.extra_ca)?;
            for listener in &config.listeners {
                listener.tls.as_ref().map(tls::acceptor).transpose()?;
            }
            for variable in &config.ignored_variables {
                eprintln!("hearth: the environment variable {variable} names no key of the configuration");
            }
            say(&format!("{} is valid.", config.file.display()));
            Ok(failure::STOP)
        }
        Command::User(command) => block_on(user::run(command)),
        Command::Store(command) => block_on(store_command::run(command)),
    }
}

/// Prints a line for people. Whoever does not read to the end (`hearth user list | head`) has had enough.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// The configuration that a command other than `serve` works with.
fn load(file: &ConfigFile) -> Result<Config, Failure> {
    let file = match &file.config {
        Some(file) => file.clone(),
        None => development::config_file()?,
    };
    Ok(Config::load(&file)?)
}

fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::internal(format!("the runtime cannot be started: {error}")))?;
    let outcome = runtime.block_on(future);
    // Every task has ended. What may be left is a blocking call, such as a name lookup, that nobody waits for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}
