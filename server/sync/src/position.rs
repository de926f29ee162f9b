//! Positions of a sync, and their text form for clients.

use std::{fmt, str::FromStr};

use hearth_store::Version;

use crate::SyncError;

/// How far an audience has read each database. To clients it is opaque:
/// `s`, the version of the Rooms database, `_`, that of Accounts, `_`, that of Transitory, all decimal. The room
/// endpoints take it as a pagination token for its first part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SyncPosition {
    /// Version of the Rooms database.
    pub rooms: Version,
    /// Version of the Accounts database.
    pub accounts: Version,
    /// Version of the Transitory database.
    pub transitory: Version,
}

impl fmt::Display for SyncPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}_{}_{}", self.rooms, self.accounts, self.transitory)
    }
}

impl FromStr for SyncPosition {
    type Err = SyncError;

    fn from_str(token: &str) -> Result<Self, SyncError> {
        let mut versions = token.strip_prefix('s').ok_or(SyncError::UnknownPosition)?.split('_').map(version);
        let mut next = || versions.next().flatten().ok_or(SyncError::UnknownPosition);
        let position = Self { rooms: next()?, accounts: next()?, transitory: next()? };
        if versions.next().is_some() {
            return Err(SyncError::UnknownPosition);
        }
        Ok(position)
    }
}

/// A version as [`fmt::Display`] writes it, and in no other spelling.
fn version(digits: &str) -> Option<Version> {
    let canonical = digits == "0" || !digits.starts_with('0');
    (canonical && digits.bytes().all(|digit| digit.is_ascii_digit())).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_back() {
        for position in [
            SyncPosition { rooms: 0, accounts: 0, transitory: 0 },
            SyncPosition { rooms: 1, accounts: 20, transitory: Version::MAX },
        ] {
            assert_eq!(position.to_string().parse::<SyncPosition>().unwrap(), position);
        }
    }

    #[test]
    fn foreign_tokens_are_refused() {
        for token in [
            "",
            "s",
            "s1",
            "s1_2",
            "s1_2_",
            "s1_2_3_4",
            "1_2_3",
            "t1_2_3",
            "s-1_2_3",
            "s+1_2_3",
            "s01_2_3",
            "s1_2_é",
            "s1_2_99999999999999999999",
            "s1_2_3 ",
        ] {
            assert!(matches!(token.parse::<SyncPosition>(), Err(SyncError::UnknownPosition)), "{token}");
        }
    }
}
