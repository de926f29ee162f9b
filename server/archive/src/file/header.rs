//! The beginning of a backup's file: who, when, how.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::cipher::Encryption;
use super::layout::{FORMAT, MAGIC, MOST_HEADER, PREAMBLE};
use crate::{ArchiveError, BackupHeader};

/// The header as it stands in the file: JSON, so that anybody can look at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RawHeader {
    pub(super) server_name: String,
    /// Milliseconds since the epoch.
    pub(super) created: u64,
    pub(super) hearth_version: String,
    pub(super) engine: String,
    pub(super) scheduled: bool,
    /// `lz4`: every frame's content is one block of LZ4.
    pub(super) compression: String,
    pub(super) encryption: Option<Encryption>,
}

pub(super) const COMPRESSION: &str = "lz4";

impl RawHeader {
    /// All bytes before the first frame.
    pub(super) fn encode(&self) -> Vec<u8> {
        let json = serde_json::to_vec(self).expect("strings and numbers always encode");
        let mut bytes = Vec::with_capacity(PREAMBLE + json.len() + 4);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&(json.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&json);
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header and returns it with all of its bytes.
    pub(super) fn read(input: &mut impl Read, path: &Path) -> Result<(Self, Vec<u8>), ArchiveError> {
        let foreign = || ArchiveError::Foreign { path: path.to_owned() };
        let damaged =
            |detail: &str| ArchiveError::Damaged { path: path.to_owned(), detail: format!("its header {detail}") };
        let mut bytes = vec![0; PREAMBLE];
        match read_whole(input, &mut bytes[..MAGIC.len()], path) {
            Err(ArchiveError::Truncated { .. }) => return Err(foreign()),
            read => read?,
        }
        if bytes[..MAGIC.len()] != MAGIC {
            return Err(foreign());
        }
        read_whole(input, &mut bytes[MAGIC.len()..], path)?;
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let (found, length) = (number(8), number(12) as usize);
        if found > FORMAT {
            return Err(ArchiveError::Newer { path: path.to_owned(), found, supported: FORMAT });
        }
        if found == 0 || length > MOST_HEADER {
            return Err(damaged("is none"));
        }
        bytes.resize(PREAMBLE + length + 4, 0);
        read_whole(input, &mut bytes[PREAMBLE..], path)?;
        let (checked, crc) = bytes.split_at(PREAMBLE + length);
        if crc != crc32fast::hash(checked).to_le_bytes() {
            return Err(damaged("does not match its checksum"));
        }
        let header: Self = serde_json::from_slice(&checked[PREAMBLE..])
            .map_err(|error| damaged(&format!("cannot be read: {error}")))?;
        if header.compression != COMPRESSION {
            return Err(damaged("names a compression that is not known here"));
        }
        Ok((header, bytes))
    }

    pub(super) fn public(&self) -> BackupHeader {
        BackupHeader {
            format: FORMAT,
            server_name: self.server_name.clone(),
            created: time(self.created),
            hearth_version: self.hearth_version.clone(),
            engine: self.engine.clone(),
            encrypted: self.encryption.is_some(),
            scheduled: self.scheduled,
        }
    }
}

/// Milliseconds since the epoch.
pub(super) fn milliseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The time of so many milliseconds since the epoch.
pub(super) fn time(milliseconds: u64) -> SystemTime {
    // What no clock of this system can show is no time that a backup was made.
    UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds)).unwrap_or(UNIX_EPOCH)
}

/// Fills `out`; an early end is a backup that was cut off.
pub(super) fn read_whole(input: &mut impl Read, out: &mut [u8], path: &Path) -> Result<(), ArchiveError> {
    input.read_exact(out).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => ArchiveError::Truncated { path: path.to_owned() },
        _ => ArchiveError::file(path, &error),
    })
}

/// The header of the backup at `path`.
pub(crate) fn read_header(path: &Path) -> Result<BackupHeader, ArchiveError> {
    let mut file = File::open(path).map_err(|error| ArchiveError::file(path, &error))?;
    Ok(RawHeader::read(&mut file, path)?.0.public())
}
