use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::file::{read_header, remove_leftovers, sync_folder};
use crate::{ArchiveError, BackupHeader};

/// What the names of backups end in.
pub const EXTENSION: &str = "hearth-backup";

/// A backup in a folder, by its header alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupFile {
    /// Where it is.
    pub path: PathBuf,
    /// What its beginning says; the error's words where that cannot be read.
    pub header: Result<BackupHeader, String>,
    /// Bytes of the file.
    pub bytes: u64,
}

/// The name of a backup of `server_name` made at `created`, such as `example.org-20260131T120000Z.hearth-backup`.
pub fn default_file_name(server_name: &str, created: SystemTime) -> String {
    // A port's colon and an address's brackets are not for file names everywhere.
    let server: String =
        server_name.chars().map(|c| if c.is_ascii_alphanumeric() || ".-".contains(c) { c } else { '_' }).collect();
    let seconds = created.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (year, month, day) = date(seconds / 86400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{server}-{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z.{EXTENSION}")
}

/// Year, month and day of a day since 1970 in the Gregorian calendar.
fn date(days: u64) -> (u64, u64, u64) {
    // Counted in eras of 400 years that begin on 1 March, so that a leap day is the last of its year.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// What the backup at `path` says of itself at its beginning; blocks. The rest of it is not looked at.
pub fn header(path: &Path) -> Result<BackupHeader, ArchiveError> {
    read_header(path)
}

/// The backups in `folder`, newest first; none where the folder is missing. Reads headers alone; blocks.
pub fn list(folder: &Path) -> Result<Vec<BackupFile>, ArchiveError> {
    let fail = |error| ArchiveError::file(folder, &error);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(fail)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(fail)?.path();
        if path.extension().is_none_or(|extension| extension != EXTENSION) {
            continue;
        }
        // One that goes away meanwhile is none.
        let Ok(file) = fs::metadata(&path) else { continue };
        if file.is_file() {
            let header = read_header(&path).map_err(|error| error.to_string());
            found.push(BackupFile { path, header, bytes: file.len() });
        }
    }
    let order =
        |file: &BackupFile| (file.header.as_ref().map_or(UNIX_EPOCH, |header| header.created), file.path.clone());
    found.sort_by_key(|file| std::cmp::Reverse(order(file)));
    Ok(found)
}

/// Deletes all but the `keep` newest scheduled backups of `server_name` in `folder`, and what crashed backups left half done.
/// Others stay. Returns what was deleted; blocks.
pub fn retain(folder: &Path, server_name: &str, keep: usize) -> Result<Vec<PathBuf>, ArchiveError> {
    let mut removed = remove_leftovers(folder, EXTENSION);
    let scheduled = |file: &BackupFile| {
        file.header.as_ref().is_ok_and(|header| header.scheduled && header.server_name == server_name)
    };
    for file in list(folder)?.into_iter().filter(scheduled).skip(keep) {
        fs::remove_file(&file.path).map_err(|error| ArchiveError::file(&file.path, &error))?;
        removed.push(file.path);
    }
    if let Some(one) = removed.first() {
        sync_folder(one)?;
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn names_say_whose_and_when() {
        for (server, seconds, name) in [
            ("example.org", 0, "example.org-19700101T000000Z"),
            ("example.org:8448", 951_827_696, "example.org_8448-20000229T123456Z"),
            ("[::1]:80", 1_709_251_199, "___1__80-20240229T235959Z"),
            ("a-b", 1_769_817_600, "a-b-20260131T000000Z"),
            ("a", 4_107_542_400, "a-21000301T000000Z"),
        ] {
            let created = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(default_file_name(server, created), format!("{name}.{EXTENSION}"));
        }
    }
}
