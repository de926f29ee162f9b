//! Who holds an operating-system lock on a file? Never a guess from a pid file, which lies after a power cut.

use crate::holder::{Holder, process_name};
use std::{
    fs::{OpenOptions, TryLockError},
    path::Path,
};

/// The process that holds an exclusive lock on `path`; `None` when nobody does or there is no such file. Takes and releases the
/// lock to find out, so it must not race with a start of one's own.
pub fn holder(path: &Path) -> Option<Holder> {
    let file = OpenOptions::new().read(true).write(true).open(path).ok()?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            let pid = locking_pid(path);
            Some(Holder { pid, name: pid.and_then(process_name) })
        }
        // A file system without locks cannot say; the process itself will.
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

#[cfg(target_os = "linux")]
fn locking_pid(path: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    let inode = std::fs::metadata(path).ok()?.ino();
    std::fs::read_to_string("/proc/locks").ok()?.lines().find_map(|line| locked_by(line, inode))
}

#[cfg(not(target_os = "linux"))]
fn locking_pid(_path: &Path) -> Option<u32> {
    None
}

/// Reads a line of `/proc/locks`: `1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF`. The device is not compared: overlay file
/// systems report another one there than `stat` does.
#[cfg(target_os = "linux")]
fn locked_by(line: &str, inode: u64) -> Option<u32> {
    let mut fields = line.split_whitespace().skip(1).filter(|field| *field != "->");
    let (pid, place) = (fields.nth(3)?, fields.next()?);
    (place.rsplit(':').next()?.parse() == Ok(inode)).then(|| pid.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_names_its_holder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        assert_eq!(holder(&path), None, "no file");
        let file = std::fs::File::create(&path).unwrap();
        assert_eq!(holder(&path), None, "no lock");
        file.lock().unwrap();
        let found = holder(&path).expect("held");
        if cfg!(target_os = "linux") {
            assert_eq!(found.pid, Some(std::process::id()));
        }
        file.unlock().unwrap();
        assert_eq!(holder(&path), None, "released");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn lock_lines_are_read() {
        for (line, inode, pid) in [
            ("1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF", 5678, Some(1234)),
            ("1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF", 567, None),
            ("2: -> POSIX  ADVISORY  WRITE 99 00:2e:42 0 EOF", 42, Some(99)),
            ("nonsense", 1, None),
        ] {
            assert_eq!(locked_by(line, inode), pid, "{line}");
        }
    }
}
