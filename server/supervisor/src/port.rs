//! Is a port free, and if not: who holds it?

use crate::holder::Holder;
use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
};

/// A port that cannot be bound because someone else has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortTaken {
    /// The port.
    pub port: u16,
    /// Who has it, where the system tells.
    pub holder: Option<Holder>,
}

impl fmt::Display for PortTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.holder {
            Some(holder) => write!(f, "Port {} is already used by {holder}", self.port),
            None => write!(f, "Port {} is already used by another process", self.port),
        }
    }
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// Someone else has it.
    #[error("{0}")]
    Taken(PortTaken),
    /// The system refuses for another reason, permissions as a rule.
    #[error("Port {port} cannot be used: {source}")]
    Refused {
        /// The port.
        port: u16,
        /// The system's words.
        source: io::Error,
    },
}

/// Checks by binding, which is the only answer that is always right, and lets go again at once. Reads `/proc` when the port is
/// taken, so call it where blocking is fine.
pub fn check(address: SocketAddr) -> Result<(), PortError> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Err(PortError::Taken(PortTaken { port: address.port(), holder: holder(address.port()) }))
        }
        Err(source) => Err(PortError::Refused { port: address.port(), source }),
    }
}

/// The process that listens on a TCP port of this machine. Other users' processes are only visible to root; then, and on systems
/// without `/proc`, it is `None`.
pub fn holder(port: u16) -> Option<Holder> {
    #[cfg(target_os = "linux")]
    {
        linux::holder(port)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = port;
        None
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use crate::holder::{Holder, process_name};
    use std::{collections::HashSet, fs};

    /// `st` of a listening socket in `/proc/net/tcp`.
    const LISTEN: &str = "0A";

    pub(super) fn holder(port: u16) -> Option<Holder> {
        let inodes: HashSet<u64> = ["/proc/net/tcp", "/proc/net/tcp6"]
            .iter()
            .filter_map(|table| fs::read_to_string(table).ok())
            .flat_map(|table| listening_inodes(&table, port))
            .collect();
        let pid = pid_with_socket(&inodes)?;
        Some(Holder { pid: Some(pid), name: process_name(pid) })
    }

    /// The inodes of the sockets that listen on `port`, from the text of `/proc/net/tcp` or `tcp6`.
    pub(super) fn listening_inodes(table: &str, port: u16) -> Vec<u64> {
        let suffix = format!(":{port:04X}");
        table
            .lines()
            .skip(1)
            .filter_map(|line| {
                let fields: Vec<&str> = line.split_whitespace().collect();
                let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
                (local.ends_with(&suffix) && *state == LISTEN).then(|| inode.parse().ok()).flatten()
            })
            .collect()
    }

    fn pid_with_socket(inodes: &HashSet<u64>) -> Option<u32> {
        if inodes.is_empty() {
            return None;
        }
        let links: HashSet<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
        fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
            let pid: u32 = process.file_name().to_str()?.parse().ok()?;
            let holds = fs::read_dir(process.path().join("fd")).ok()?.flatten().any(|descriptor| {
                fs::read_link(descriptor.path())
                    .is_ok_and(|link| link.to_str().is_some_and(|link| links.contains(link)))
            });
            holds.then_some(pid)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_is_free_and_a_taken_one_names_its_holder() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let Err(PortError::Taken(taken)) = check(address) else { panic!("the port should be taken") };
        assert_eq!(taken.port, address.port());
        if cfg!(target_os = "linux") {
            let holder = taken.holder.clone().unwrap();
            assert_eq!(holder.pid, Some(std::process::id()));
            let text = taken.to_string();
            let expected = format!("Port {} is already used by ", address.port());
            assert!(
                text.starts_with(&expected) && text.contains(&format!("(process {})", std::process::id())),
                "{text}"
            );
        }
        assert!(check(SocketAddr::from(([127, 0, 0, 1], 0))).is_ok());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_socket_table_is_read_by_port_and_state() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:1F48 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0 100 0 0 10 0\n\
             1: 0100007F:1F48 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 222 1 0 100 0 0 10 0\n\
             2: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 333 1 0 100 0 0 10 0\n\
             broken line\n";
        for (port, inodes) in [(8008, vec![111]), (80, vec![333]), (81, vec![])] {
            assert_eq!(linux::listening_inodes(table, port), inodes, "{port}");
        }
    }
}
