//! Where the passphrase of a backup comes from.

use std::{fs::File, io::Read, path::Path};

use hearth_archive::Passphrase;

use crate::{failure::Failure, password};

/// Longest file that is read.
const MOST_BYTES: u64 = 4096;

/// The first line of a file.
pub(super) fn from_file(path: &Path) -> Result<Passphrase, Failure> {
    let fail = |detail: String| Failure::new(format!("The passphrase file {}: {detail}.", path.display()));
    let mut text = String::new();
    let file = File::open(path).map_err(|error| fail(error.to_string()))?;
    file.take(MOST_BYTES).read_to_string(&mut text).map_err(|error| fail(error.to_string()))?;
    let line = text.lines().next().unwrap_or_default().trim_end();
    // Never a backup that is not encrypted where one was meant to be.
    Passphrase::new(line).ok_or_else(|| fail("its first line is empty".to_owned()))
}

/// Of a backup that there is, if it needs one: from the file, from the configuration's file, or asked for.
pub(super) fn of_backup(
    backup: &Path,
    file: Option<&Path>,
    configured: Option<&Path>,
) -> Result<Option<Passphrase>, Failure> {
    let header = hearth_archive::header(backup).map_err(super::failure)?;
    if !header.encrypted {
        return Ok(None);
    }
    match file.or(configured) {
        Some(file) => from_file(file).map(Some),
        None => Ok(Passphrase::new(password::passphrase()?)),
    }
}

/// Asks for that of a new backup.
pub(super) fn ask_new() -> Result<Option<Passphrase>, Failure> {
    Ok(Passphrase::new(password::new_passphrase()?))
}
