//! `hearth store backup`

use std::{
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

use hearth_archive::{Progress, default_file_name};

use super::{display, passphrase, running_server::RunningServer, size};
use crate::{
    admin_settings,
    cli::PassphraseFile,
    config::Config,
    failure::{Failure, OpenFailure, STOP},
    store_opening::open_store,
};

const INTERRUPTED: &str = "Interrupted. Nothing was kept.";

pub(super) async fn run(config: &Config, to: &Path, encrypt: bool, given: &PassphraseFile) -> Result<u8, Failure> {
    let path = target(config, to)?;
    let own = match &given.passphrase_file {
        Some(file) => Some(passphrase::from_file(file)?),
        None if encrypt => passphrase::ask_new()?,
        None => None,
    };
    let begun = Instant::now();
    let opened = match open_store(config).await {
        Ok(opened) => opened,
        Err(OpenFailure::Held(failure)) => {
            let server = RunningServer::of(config, &failure)?;
            let done = server.back_up(&path, own.as_ref(), INTERRUPTED).await?;
            report(&path, done.keys, done.bytes, done.file_bytes, begun);
            return Ok(STOP);
        }
        Err(OpenFailure::Other(failure)) => return Err(failure),
    };
    let maker = admin_settings::backups(config, &opened.folder).maker;
    let words = |message: String| Failure::new(format!("{}.", message.trim_end_matches('.')));
    let folder = opened.folder.clone();
    let opened = super::opening::Opened::OfConfig(Box::new(opened));
    let work = async {
        let passphrase = match own {
            Some(own) => Some(own),
            None => maker.passphrase().map_err(words)?,
        };
        // A store that was never used by a server has no identity yet, and nothing to keep.
        if passphrase.is_some() && !folder.has_identity() {
            return Err(Failure::new("This store was never used by a server: there is nothing to keep."));
        }
        let encrypted = passphrase.is_some();
        let options = maker.options(passphrase).map_err(words)?;
        let progress = Progress::new();
        let work = hearth_archive::backup(opened.store(), &path, options, &progress);
        Ok((display::show(work, &progress, &[&opened], INTERRUPTED).await?, encrypted))
    };
    let done = work.await;
    opened.close().await;
    let (summary, encrypted) = done?;
    report(&path, summary.keys, summary.bytes, summary.file_bytes, begun);
    if !encrypted {
        crate::say(&format!(
            "It is not encrypted, so the signing key is not in it: keep a copy of {} somewhere safe, too.",
            folder.identity_file().display()
        ));
    }
    Ok(STOP)
}

/// An absolute path, of a new file.
fn target(config: &Config, to: &Path) -> Result<PathBuf, Failure> {
    let path = std::path::absolute(to).map_err(|error| Failure::new(format!("{}: {error}.", to.display())))?;
    if !path.is_dir() {
        return Ok(path);
    }
    Ok(path.join(default_file_name(config.server_name.as_str(), SystemTime::now())))
}

fn report(path: &Path, keys: u64, bytes: u64, file_bytes: u64, begun: Instant) {
    let throughput = display::throughput(keys, bytes, begun.elapsed());
    crate::say(&format!("Backed up {throughput} to {} ({}).", path.display(), size(file_bytes)));
}
