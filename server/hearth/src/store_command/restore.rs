//! `hearth store restore` and `hearth store verify`

use std::{path::Path, time::Instant};

use hearth_archive::{ArchiveError, Attachment, BackupSummary, Progress, RestoreOptions, Restored};

use super::{display, failure, opening::Opened, passphrase, size};
use crate::{
    cli::{Leave, PassphraseFile},
    config::{Config, Engine},
    data_folder::DataFolder,
    failure::{Failure, STOP},
    private_file,
};

const INTERRUPTED: &str = "Interrupted. The same command again goes on where it stopped.";
const VERIFY_INTERRUPTED: &str = "Interrupted. The backup is not checked.";

pub(super) async fn verify(from: &Path, given: &PassphraseFile) -> Result<u8, Failure> {
    let passphrase = passphrase::of_backup(from, given.passphrase_file.as_deref(), None)?;
    let progress = Progress::new();
    let begun = Instant::now();
    let work = hearth_archive::verify(from, passphrase.as_ref(), &progress);
    let summary = display::show(work, &progress, &[], VERIFY_INTERRUPTED).await?;
    let throughput = display::throughput(summary.keys, summary.bytes, begun.elapsed());
    crate::say(&format!("{} is whole: {throughput}.", from.display()));
    describe(&summary);
    Ok(STOP)
}

fn describe(summary: &BackupSummary) {
    let BackupSummary { header, file_bytes, attachments, .. } = summary;
    crate::say(&format!(
        "Server {}, made by Hearth {} on the engine {}, {} on disk, {}.",
        header.server_name,
        header.hearth_version,
        header.engine,
        size(*file_bytes),
        if header.encrypted { "encrypted" } else { "not encrypted" }
    ));
    if !attachments.is_empty() {
        crate::say(&format!("It also holds {}.", attachments.join(", ")));
    }
}

pub(super) async fn run(config: &Config, from: &Path, given: &PassphraseFile, leave: Leave) -> Result<u8, Failure> {
    let header = hearth_archive::header(from).map_err(failure)?;
    if header.server_name != config.server_name.as_str() {
        return Err(Failure::configuration(format!(
            "{} is a backup of the server {}, and {} is for {}. Nothing was written.",
            from.display(),
            header.server_name,
            config.file.display(),
            config.server_name
        )));
    }
    let configured = config.backup.passphrase_file.as_deref();
    let passphrase = passphrase::of_backup(from, given.passphrase_file.as_deref(), configured)?;
    // Restoring does it again, but opening the store makes its files, and a file that is no whole backup makes nothing.
    let progress = Progress::new();
    let work = hearth_archive::verify(from, passphrase.as_ref(), &progress);
    display::show(work, &progress, &[], VERIFY_INTERRUPTED).await?;
    let opened = Opened::of_config(config).await?;
    let progress = Progress::new();
    let begun = Instant::now();
    let own_cluster = config.store.engine == Engine::FoundationDb && config.store.cluster_file.is_none();
    let options = RestoreOptions {
        passphrase,
        // On an instance of our own nothing else can be disturbed.
        advance_version: leave.advance_version || own_cluster,
        start_over: leave.start_over,
    };
    let work = hearth_archive::restore(from, opened.store(), options, &progress);
    let done = display::show(work, &progress, &[&opened], INTERRUPTED).await;
    opened.close().await;
    let Restored { summary, attachments } = done.map_err(|failure| hint(failure, config))?;
    let throughput = display::throughput(summary.keys, summary.bytes, begun.elapsed());
    crate::say(&format!("Restored {throughput} from {}, and compared.", from.display()));
    restore_identity(config, &attachments)?;
    crate::say(&format!(
        "Configuration files are in no backup: check {} before you start the server.",
        config.file.display()
    ));
    Ok(STOP)
}

/// What to do about a target that is not empty.
fn hint(failure: Failure, config: &Config) -> Failure {
    if failure.message != format!("{}.", ArchiveError::NotEmpty) {
        return failure;
    }
    let what = match config.store.engine {
        Engine::Embedded => format!("Move {} away, or choose another data_dir", config.store_dir().display()),
        Engine::FoundationDb if config.store.cluster_file.is_none() => {
            format!("Move {} away, or choose another data_dir", config.foundationdb_dir().display())
        }
        Engine::FoundationDb => "Choose another [store] key_prefix or cluster".to_owned(),
    };
    Failure { message: format!("{} {what}.", failure.message), ..failure }
}

/// The signing key is a file beside the store.
fn restore_identity(config: &Config, attachments: &[Attachment]) -> Result<(), Failure> {
    let folder = DataFolder::open(&config.data_dir)?;
    let path = folder.identity_file();
    let kept = attachments.iter().find(|attachment| attachment.name == "identity.toml");
    let kept = kept.and_then(|attachment| std::str::from_utf8(&attachment.content).ok());
    let there = std::fs::read_to_string(&path).ok();
    match (kept, there) {
        (Some(kept), None) => {
            private_file::write(&path, kept)
                .map_err(|error| Failure::new(format!("{} cannot be written: {error}.", path.display())))?;
            crate::say(&format!("Wrote {}, the server's signing key.", path.display()));
        }
        (Some(kept), Some(there)) if kept == there => {}
        (Some(_), Some(_)) => crate::say(&format!(
            "{} was there already, stays, and is not the one in the backup. If the server does not start, move it away and \
             restore again.",
            path.display()
        )),
        (None, Some(_)) => {}
        (None, None) => crate::say(&format!(
            "The signing key is not in this backup. Still needed: copy identity.toml from the old data folder to {}. Without it \
             the server does not start.",
            path.display()
        )),
    }
    Ok(())
}
