//! Passwords and passphrases from a terminal or from standard input.

use std::io::{BufRead, IsTerminal, Write, stdin};

use crate::failure::Failure;

const NO_PASSWORD: &str = "A password is needed: on standard input, or --generate makes one up.";
const NO_PASSPHRASE: &str = "A passphrase is needed: on standard input, or in a file that --passphrase-file names.";

/// Reads a new password: asks twice on a terminal, otherwise reads one line.
pub(crate) fn read() -> Result<String, Failure> {
    read_new("Password: ", "The passwords differ.", NO_PASSWORD)
}

/// Reads the passphrase of a new backup, likewise.
pub(crate) fn new_passphrase() -> Result<String, Failure> {
    read_new("Passphrase: ", "The passphrases differ.", NO_PASSPHRASE)
}

/// Reads the passphrase of a backup that there is.
pub(crate) fn passphrase() -> Result<String, Failure> {
    if stdin().is_terminal() { ask("Passphrase: ", NO_PASSPHRASE) } else { line(NO_PASSPHRASE) }
}

fn read_new(prompt: &str, differ: &str, nothing: &str) -> Result<String, Failure> {
    if !stdin().is_terminal() {
        return line(nothing);
    }
    let first = ask(prompt, nothing)?;
    if first != ask("Again: ", nothing)? {
        return Err(Failure::new(differ));
    }
    Ok(first)
}

fn ask(prompt: &str, nothing: &str) -> Result<String, Failure> {
    let mut stderr = std::io::stderr();
    // Without the prompt the person still can type.
    let _ = write!(stderr, "{prompt}").and_then(|()| stderr.flush());
    let echo = Silence::begin();
    let line = line(nothing);
    drop(echo);
    eprintln!();
    line
}

fn line(nothing: &str) -> Result<String, Failure> {
    let mut line = String::new();
    stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| Failure::new(format!("Standard input cannot be read: {error}.")))?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Failure::new(nothing));
    }
    Ok(password.to_owned())
}

/// Keeps the terminal from showing what is typed, until it is dropped.
struct Silence {
    #[cfg(unix)]
    before: Option<rustix::termios::Termios>,
}

impl Silence {
    fn begin() -> Self {
        #[cfg(unix)]
        {
            use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
            let before = tcgetattr(stdin()).ok();
            if let Some(before) = &before {
                let mut silent = before.clone();
                silent.local_modes.remove(LocalModes::ECHO);
                // A terminal that cannot be silenced shows the password; the person sees that.
                let _ = tcsetattr(stdin(), OptionalActions::Flush, &silent);
            }
            Self { before }
        }
        #[cfg(not(unix))]
        Self {}
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(before) = &self.before {
            let _ = rustix::termios::tcsetattr(stdin(), rustix::termios::OptionalActions::Now, before);
        }
    }
}
