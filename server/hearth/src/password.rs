//! Passwords from a terminal or from standard input.

use std::io::{BufRead, IsTerminal, Write, stdin};

use crate::failure::Failure;

/// Reads a new password: asks twice on a terminal, otherwise reads one line.
pub(crate) fn read() -> Result<String, Failure> {
    if !stdin().is_terminal() {
        return line();
    }
    let first = ask("Password: ")?;
    if first != ask("Again: ")? {
        return Err(Failure::new("The passwords differ."));
    }
    Ok(first)
}

fn ask(prompt: &str) -> Result<String, Failure> {
    let mut stderr = std::io::stderr();
    // Without the prompt the person still can type.
    let _ = write!(stderr, "{prompt}").and_then(|()| stderr.flush());
    let echo = Silence::begin();
    let line = line();
    drop(echo);
    eprintln!();
    line
}

fn line() -> Result<String, Failure> {
    let mut line = String::new();
    stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| Failure::new(format!("The password cannot be read: {error}.")))?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Failure::new("A password is needed: on standard input, or --generate makes one up."));
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
