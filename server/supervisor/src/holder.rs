//! Who else holds what a process needs.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A process that holds what ours needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id, where the system tells it.
    pub pid: Option<u32>,
    /// Its name, where the system tells it.
    pub name: Option<String>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, self.pid) {
            (Some(name), Some(pid)) => write!(f, "{name} (process {pid})"),
            (None, Some(pid)) => write!(f, "process {pid}"),
            (Some(name), None) => f.write_str(name),
            (None, None) => f.write_str("another process"),
        }
    }
}

/// The name of a running process, where the system tells it.
pub fn process_name(pid: u32) -> Option<String> {
    let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(comm.trim_end().to_owned()).filter(|name| !name.is_empty())
}
