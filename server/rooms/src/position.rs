//! Positions in a room's timeline, and their text form for clients.

use std::{fmt, str::FromStr};

use hearth_store::{Version, Versionstamp, first_stamp, version_of};

use crate::RoomError;

/// A gap between two events of a timeline: right before the event that stands at the stamp, if there is one.
/// Positions mean the same in every room, so a sync position is a position in each of them.
///
/// Clients see them as opaque tokens. There are two forms and either is taken wherever a token is wanted:
/// - `t` and 24 hexadecimal digits (the stamp): made by `/messages`, `/context`, `prev_batch`;
/// - `s` and the decimal store version up to which a sync read, optionally followed by `_` and anything: made by the
///   sync engine. It stands for the gap after everything in that version.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Position(Versionstamp);

impl Position {
    /// Before everything.
    pub fn start() -> Self {
        Self(first_stamp(0))
    }

    /// Right before the event at `stamp`.
    pub fn before(stamp: &Versionstamp) -> Self {
        Self(stamp.clone())
    }

    /// Right after the event at `stamp`.
    pub fn after(stamp: &Versionstamp) -> Self {
        let mut bytes = *stamp.as_bytes();
        // Stamps are dense big-endian numbers, so the next number is the next possible stamp.
        for byte in bytes.iter_mut().rev() {
            let (next, carry) = byte.overflowing_add(1);
            *byte = next;
            if !carry {
                break;
            }
        }
        Self(Versionstamp::from(bytes))
    }

    /// After everything that was committed up to and in `version`.
    pub fn after_version(version: Version) -> Self {
        Self(first_stamp(version.saturating_add(1)))
    }

    /// The stamp that this position stands before.
    pub fn stamp(&self) -> &Versionstamp {
        &self.0
    }

    /// The last version that lies wholly before this position.
    pub fn version(&self) -> Version {
        version_of(&self.0).saturating_sub(1)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("t")?;
        for byte in self.0.as_bytes() {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for Position {
    type Err = RoomError;

    fn from_str(token: &str) -> Result<Self, RoomError> {
        match token.split_at_checked(1) {
            Some(("t", digits)) => {
                if digits.len() != 24 || !digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
                    return Err(RoomError::InvalidToken);
                }
                let mut bytes = [0; 12];
                for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
                    let pair = str::from_utf8(pair).map_err(|_| RoomError::InvalidToken)?;
                    *byte = u8::from_str_radix(pair, 16).map_err(|_| RoomError::InvalidToken)?;
                }
                Ok(Self(Versionstamp::from(bytes)))
            }
            Some(("s", rest)) => {
                let version = rest.split('_').next().unwrap_or_default();
                if version.is_empty() || !version.bytes().all(|digit| digit.is_ascii_digit()) {
                    return Err(RoomError::InvalidToken);
                }
                Ok(Self::after_version(version.parse().map_err(|_| RoomError::InvalidToken)?))
            }
            _ => Err(RoomError::InvalidToken),
        }
    }
}

#[cfg(test)]
mod tests {
    use hearth_store::last_stamp;

    use super::*;

    #[test]
    fn tokens_are_read_back() {
        for position in [Position::start(), Position::after_version(77), Position::after(&last_stamp(77))] {
            assert_eq!(position.to_string().parse::<Position>().unwrap(), position);
        }
        assert_eq!("s77".parse::<Position>().unwrap(), Position::after_version(77));
        assert_eq!("s77_3_x".parse::<Position>().unwrap(), Position::after_version(77));
        assert_eq!(Position::after_version(77).version(), 77);
    }

    #[test]
    fn foreign_tokens_are_refused() {
        for token in
            ["", "t", "s", "s-1", "s+1", "sx", "t00", "x12", "é", "t+0000000000000000000000f", "s99999999999999999999"]
        {
            assert!(matches!(token.parse::<Position>(), Err(RoomError::InvalidToken)), "{token}");
        }
        assert!("tzz0000000000000000000000".parse::<Position>().is_err());
        assert!("t00000000000000000000000A".parse::<Position>().is_err(), "one spelling only");
    }

    #[test]
    fn order_is_that_of_events() {
        let stamp = Versionstamp::complete([0, 0, 0, 0, 0, 0, 0, 5, 0, 1], 0xffff);
        assert!(Position::before(&stamp) < Position::after(&stamp));
        assert_eq!(Position::after(&stamp).stamp().as_bytes(), &[0, 0, 0, 0, 0, 0, 0, 5, 0, 2, 0, 0]);
        assert!(Position::after(&stamp) <= Position::after_version(5));
        assert!(Position::after_version(4) <= Position::before(&stamp));
    }
}
