//! Where a search goes on.

use hearth_store::Version;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};

use crate::RoomError;

/// The group that a token stays in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Group {
    Room(OwnedRoomId),
    Sender(OwnedUserId),
}

/// A place in the results of a search: `f`, the version that the first page read, how many results were shown; in a
/// group also its room or sender. What is said later does not move the pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) version: Version,
    pub(super) shown: usize,
    pub(super) group: Option<Group>,
}

impl Token {
    pub(super) fn parse(token: &str) -> Result<Self, RoomError> {
        let invalid = || RoomError::InvalidToken;
        let mut parts = token.strip_prefix('f').ok_or_else(invalid)?.splitn(3, '_');
        let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok()).ok_or_else(invalid);
        let (version, shown) = (number()?, number()?);
        let group = match parts.next() {
            None => None,
            Some(id) if id.starts_with('!') => Some(Group::Room(RoomId::parse(id).map_err(|_| invalid())?)),
            Some(id) => Some(Group::Sender(UserId::parse(id).map_err(|_| invalid())?)),
        };
        Ok(Self { version, shown: usize::try_from(shown).map_err(|_| invalid())?, group })
    }

    pub(super) fn write(&self) -> String {
        let Self { version, shown, group } = self;
        match group {
            None => format!("f{version}_{shown}"),
            Some(Group::Room(room)) => format!("f{version}_{shown}_{room}"),
            Some(Group::Sender(sender)) => format!("f{version}_{shown}_{sender}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        for text in ["f1_2", "f18446744073709551615_0_!a_b:c", "f3_4_@a_b:c"] {
            assert_eq!(Token::parse(text).unwrap().write(), text);
        }
        for junk in ["", "f", "f1", "1_2", "f1_x", "f-1_2", "f1_2_", "f1_2_a", "f1_2_@a"] {
            assert!(Token::parse(junk).is_err(), "{junk}");
        }
    }
}
