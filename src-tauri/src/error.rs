//! The error that every command of the page rejects with.

use serde::Serialize;
use std::{fmt, io, path::Path};

/// What kind of failure it is, for the page to branch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ErrorCode {
    Invalid,
    PortTaken,
    NotRunning,
    Unreachable,
    Refused,
    NotSetUp,
    AlreadySetUp,
    StartFailed,
    Io,
}

/// The argument of `desktop_setup` that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Field {
    ServerName,
    Owner,
    Password,
    Port,
}

/// See `COMMANDS.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct CommandError {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
    pub(crate) field: Option<Field>,
    pub(crate) status: Option<u16>,
}

impl CommandError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), field: None, status: None }
    }

    pub(crate) fn invalid(field: Field, message: impl Into<String>) -> Self {
        Self { field: Some(field), ..Self::new(ErrorCode::Invalid, message) }
    }

    pub(crate) fn io(what: &str, path: &Path, error: &io::Error) -> Self {
        Self::new(ErrorCode::Io, format!("{what} {} failed: {error}.", path.display()))
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CommandError {}
