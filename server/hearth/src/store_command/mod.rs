//! `hearth store`: look at the store, keep its data, move it.
//!
//! On the embedded engine a running server has the store, and is asked through its admin API; on FoundationDB a command
//! works beside it.

mod backup;
mod check;
mod copy;
mod display;
mod opening;
mod passphrase;
mod restore;
mod running_server;
mod stats;

use hearth_archive::ArchiveError;
use hearth_store::StoreError;

use crate::{cli::StoreCommand, failure::Failure};

/// Does what the command says.
pub(crate) async fn run(command: StoreCommand) -> Result<u8, Failure> {
    match command {
        StoreCommand::Stats { json, config } => stats::run(&crate::load(&config)?, json).await,
        StoreCommand::Check { json, config } => check::run(&crate::load(&config)?, json).await,
        StoreCommand::Backup { to, encrypt, passphrase, config } => {
            backup::run(&crate::load(&config)?, &to, encrypt, &passphrase).await
        }
        StoreCommand::Verify { from, passphrase } => restore::verify(&from, &passphrase).await,
        StoreCommand::Restore { from, passphrase, leave, config } => {
            restore::run(&crate::load(&config)?, &from, &passphrase, leave).await
        }
        StoreCommand::Copy { from, to, from_key_prefix, to_key_prefix, client_library, leave } => {
            let client_library = client_library.as_deref();
            let from = opening::Named { name: &from, key_prefix: &from_key_prefix, client_library };
            let to = opening::Named { name: &to, key_prefix: &to_key_prefix, client_library };
            copy::run(from, to, leave).await
        }
        StoreCommand::Unlock { store, key_prefix, client_library, config } => match &store {
            Some(name) => {
                let named = opening::Named { name, key_prefix: &key_prefix, client_library: client_library.as_deref() };
                copy::unlock(opening::Opened::existing(named).await?).await
            }
            None => copy::unlock(opening::Opened::of_config(&crate::load(&config)?).await?).await,
        },
    }
}

/// What a command says that could not do its work.
fn failure(error: ArchiveError) -> Failure {
    match error {
        ArchiveError::Store(StoreError::Unavailable(detail)) => {
            Failure::unavailable(format!("the store does not answer: {detail}"))
        }
        ArchiveError::VersionBehind { .. } => Failure::new(format!("{error} with --advance-version.")),
        ArchiveError::Incomplete(_) => Failure::new(format!("{error}; or --start-over deletes what is there.")),
        error => Failure::new(format!("{error}.")),
    }
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    let units = ["kB", "MB", "GB", "TB"];
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    match bytes {
        0..1000 => format!("{bytes} B"),
        _ if value < 9.95 => format!("{value:.1} {}", units[unit]),
        _ => format!("{value:.0} {}", units[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_two_or_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (9_949, "9.9 kB"),
            (9_960, "10 kB"),
            (999_499, "999 kB"),
            (999_501, "1.0 MB"),
            (45_600_000, "46 MB"),
            (7_000_000_000_000, "7.0 TB"),
            (70_000_000_000_000_000, "70000 TB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }
}
