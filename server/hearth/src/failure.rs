//! How the process ends.

use std::process::ExitCode;

/// It stopped as it should.
pub(crate) const STOP: u8 = 0;
/// A command could not do what it was asked.
pub(crate) const FAILED: u8 = 1;
/// What the server needs does not answer, and may later (`EX_UNAVAILABLE`).
pub(crate) const UNAVAILABLE: u8 = 69;
/// Something of the server itself failed, such as its disk (`EX_SOFTWARE`).
pub(crate) const INTERNAL: u8 = 70;
/// It wants to be started again (`EX_TEMPFAIL`).
pub(crate) const RESTART: u8 = 75;
/// Configuration or data folder are wrong, and no restart can help (`EX_CONFIG`).
pub(crate) const CONFIGURATION: u8 = 78;

/// Why a command ends without success: what to tell, and the exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    /// The process's exit code.
    pub(crate) code: u8,
    /// For people, on standard error.
    pub(crate) message: String,
}

impl Failure {
    /// The command failed.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { code: FAILED, message: message.into() }
    }

    /// The configuration or the data folder is at fault.
    pub(crate) fn configuration(message: impl Into<String>) -> Self {
        Self { code: CONFIGURATION, message: message.into() }
    }

    /// What the server needs does not answer now.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self { code: UNAVAILABLE, message: message.into() }
    }

    /// The server itself is at fault.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self { code: INTERNAL, message: message.into() }
    }

    /// The store failed under the server.
    pub(crate) fn of_store(error: hearth_store::StoreError) -> Self {
        match error {
            hearth_store::StoreError::Unavailable(_) => Self::unavailable(format!("{error}.")),
            error => Self::internal(format!("The store cannot be read: {error}.")),
        }
    }

    /// Prints the message and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        eprintln!("hearth: {}", self.message);
        ExitCode::from(self.code)
    }
}

impl From<crate::config::ConfigError> for Failure {
    fn from(error: crate::config::ConfigError) -> Self {
        Self::configuration(error.to_string())
    }
}

impl From<hearth_store::OpenError> for Failure {
    fn from(error: hearth_store::OpenError) -> Self {
        match error {
            // A machine that is just starting may have its database later: a restart can help.
            hearth_store::OpenError::Unreachable { .. } => Self::unavailable(error.to_string()),
            error => Self::configuration(error.to_string()),
        }
    }
}

/// Why a store did not open.
#[derive(Debug)]
pub(crate) enum OpenFailure {
    /// Another process, probably the running server, has the data folder.
    Held(Failure),
    /// Anything else.
    Other(Failure),
}

impl From<Failure> for OpenFailure {
    fn from(failure: Failure) -> Self {
        Self::Other(failure)
    }
}

impl From<OpenFailure> for Failure {
    fn from(failure: OpenFailure) -> Self {
        match failure {
            OpenFailure::Held(failure) | OpenFailure::Other(failure) => failure,
        }
    }
}
