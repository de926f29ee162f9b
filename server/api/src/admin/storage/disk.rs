//! Room on the disk.

use std::path::Path;

/// Room on the disk that holds a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::admin) struct DiskSpace {
    /// Bytes that this user may still write.
    pub free_bytes: u64,
    /// Bytes of the whole disk.
    pub total_bytes: u64,
}

/// Asks the operating system; `None` where it does not tell. Blocks, on a network's disk perhaps for long.
pub(super) fn space(folder: &Path) -> Option<DiskSpace> {
    #[cfg(unix)]
    {
        let found = rustix::fs::statvfs(folder).ok()?;
        Some(DiskSpace {
            free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
            total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
        })
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}

#[cfg(test)]
mod tests {
    #[cfg(unix)]
    #[test]
    fn a_disk_has_a_size() {
        let space = super::space(&std::env::temp_dir()).unwrap();
        assert!(space.total_bytes >= space.free_bytes && space.total_bytes > 0, "{space:?}");
        assert_eq!(super::space(std::path::Path::new("/no/such/folder")), None);
    }
}
