//! The cluster file of a local instance: which cluster it is, and where its one process listens.

use std::{
    fs::{self, OpenOptions},
    hash::{BuildHasher, Hasher, RandomState},
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
};

/// The name before the id, for people.
const DESCRIPTION: &str = "hearth";

/// `description:id@127.0.0.1:port`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClusterFile {
    /// `description:id`: what tells this cluster from every other. It never changes.
    pub(super) key: String,
    /// Where the one process is.
    pub(super) address: SocketAddr,
}

impl ClusterFile {
    /// A new cluster on a port that is free now.
    pub(super) fn create() -> io::Result<Self> {
        // 192 bits of the standard library's hash seeds, which the system's random numbers are behind: the id has to be unique,
        // and whoever cannot read the file should not guess it.
        let random = || RandomState::new().build_hasher().finish();
        let id = format!("{:016x}{:016x}{:016x}", random(), random(), random());
        Ok(Self { key: format!("{DESCRIPTION}:{id}"), address: free_address()? })
    }

    /// Reads the file at `path`. Comments are skipped, which FoundationDB writes at its top.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(path)?;
        Self::parse(&text).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "it is not the cluster file of a local instance, which has one line such as hearth:0123abcd@127.0.0.1:4500",
            )
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (key, address) = lines.next()?.split_once('@')?;
        let (description, id) = key.split_once(':')?;
        let is_word =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let address: SocketAddr = address.parse().ok()?;
        let is_local = address.ip().is_loopback() && address.port() != 0;
        (is_word(description) && is_word(id) && is_local && lines.next().is_none())
            .then(|| Self { key: key.to_owned(), address })
    }

    /// The same cluster on a port that is free now. With its one process stopped, that is all there is to a change of
    /// coordinators: the coordinator's own state is kept by the cluster's key and not by its address.
    pub(super) fn on_a_free_port(&self) -> io::Result<Self> {
        Ok(Self { key: self.key.clone(), address: free_address()? })
    }

    /// Writes the file whole or not at all, readable by its owner alone: who knows the id can speak to the cluster.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let draft = path.with_extension("new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&draft)?;
        writeln!(file, "{}@{}", self.key, self.address)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    }
}

/// A loopback address with a port that the system found free.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_read_and_moved() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("fdb.cluster");
        let first = ClusterFile::create().unwrap();
        first.write(&path).unwrap();
        assert_eq!(ClusterFile::read(&path).unwrap(), first);
        let taken = TcpListener::bind(first.address);
        let moved = first.on_a_free_port().unwrap();
        assert_eq!(moved.key, first.key);
        assert!(taken.is_err() || moved.address != first.address);
        moved.write(&path).unwrap();
        assert_eq!(ClusterFile::read(&path).unwrap(), moved);
        assert_ne!(ClusterFile::create().unwrap().key, first.key);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn only_a_local_cluster_of_one_is_read() {
        for (text, good) in [
            ("hearth:ab12@127.0.0.1:4500\n", true),
            ("# DO NOT EDIT!\n# comment\nhearth:ab12@127.0.0.1:4500", true),
            ("hearth:ab12@127.0.0.1:0", false),
            ("hearth:ab12@192.0.2.1:4500", false),
            ("hearth:ab12@127.0.0.1:4500,127.0.0.1:4501", false),
            ("hearth@127.0.0.1:4500", false),
            ("hearth:@127.0.0.1:4500", false),
            ("", false),
        ] {
            assert_eq!(ClusterFile::parse(text).is_some(), good, "{text:?}");
        }
    }
}
