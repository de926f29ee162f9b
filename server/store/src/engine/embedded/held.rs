//! A file whose changes are held back until it is certain that they are wanted.
//!
//! redb writes to a file that it opens (it marks it as in use, and may repair it). When the store turns out to be
//! unusable a moment later, the directory must be as it was.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use crate::engine::mutex::lock;

#[derive(Debug)]
enum Change {
    Write(u64, Vec<u8>),
    SetLength(u64),
    Sync,
}

/// The handle for redb; [`Release`] is the one that decides.
#[derive(Debug)]
pub(super) struct HeldFile<B>(Arc<Shared<B>>);

/// Lets the changes through.
#[derive(Debug)]
pub(super) struct Release<B>(Arc<Shared<B>>);

#[derive(Debug)]
struct Shared<B> {
    file: B,
    released: AtomicBool,
    held: Mutex<Vec<Change>>,
}

/// Wraps `file`; nothing changes in it before [`Release::release`].
pub(super) fn hold<B: StorageBackend>(file: B) -> (HeldFile<B>, Release<B>) {
    let shared = Arc::new(Shared { file, released: AtomicBool::new(false), held: Mutex::default() });
    (HeldFile(shared.clone()), Release(shared))
}

impl<B: StorageBackend> Release<B> {
    /// Does everything that was held back, in order and with its syncs; later changes go straight through.
    pub(super) fn release(self) -> io::Result<()> {
        let mut held = lock(&self.0.held);
        for change in held.drain(..) {
            match change {
                Change::Write(offset, data) => self.0.file.write(offset, &data)?,
                Change::SetLength(length) => self.0.file.set_len(length)?,
                Change::Sync => self.0.file.sync_data()?,
            }
        }
        self.0.released.store(true, Ordering::Release);
        Ok(())
    }
}

impl<B: StorageBackend> HeldFile<B> {
    /// Holds `change` back; gives it to be done where it was released meanwhile.
    fn hold(&self, change: Change) -> Option<Change> {
        let mut held = lock(&self.0.held);
        if self.0.released.load(Ordering::Acquire) {
            return Some(change);
        }
        held.push(change);
        None
    }

    fn is_released(&self) -> bool {
        self.0.released.load(Ordering::Acquire)
    }
}

impl<B: StorageBackend> StorageBackend for HeldFile<B> {
    fn len(&self) -> io::Result<u64> {
        let held = lock(&self.0.held);
        let mut length = self.0.file.len()?;
        for change in held.iter() {
            match change {
                Change::Write(offset, data) => length = length.max(offset + data.len() as u64),
                Change::SetLength(set) => length = *set,
                Change::Sync => {}
            }
        }
        Ok(length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.is_released() {
            return self.0.file.read(offset, out);
        }
        let held = lock(&self.0.held);
        // The file first, then what was changed since, in order; what lies beyond the file reads as zeros.
        let mut length = self.0.file.len()?;
        let within = length.saturating_sub(offset).min(out.len() as u64) as usize;
        self.0.file.read(offset, &mut out[..within])?;
        out[within..].fill(0);
        let end = offset + out.len() as u64;
        for change in held.iter() {
            match change {
                Change::Write(at, data) => {
                    let (from, to) = ((*at).max(offset), (at + data.len() as u64).min(end));
                    if from < to {
                        let source = &data[(from - at) as usize..(to - at) as usize];
                        out[(from - offset) as usize..(to - offset) as usize].copy_from_slice(source);
                    }
                    length = length.max(at + data.len() as u64);
                }
                Change::SetLength(set) => {
                    if *set < end {
                        out[set.saturating_sub(offset) as usize..].fill(0);
                    }
                    length = *set;
                }
                Change::Sync => {}
            }
        }
        if end > length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        if self.is_released() || self.hold(Change::SetLength(length)).is_some() {
            return self.0.file.set_len(length);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.is_released() || self.hold(Change::Sync).is_some() {
            return self.0.file.sync_data();
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.is_released() || self.hold(Change::Write(offset, data.to_vec())).is_some() {
            return self.0.file.write(offset, data);
        }
        Ok(())
    }

    // No lock on ranges: the data directory's lock covers the file.
    fn close(&self) -> io::Result<()> {
        self.0.file.close()
    }
}

#[cfg(test)]
mod tests {
    use redb::backends::InMemoryBackend;

    use super::*;

    fn bytes(file: &impl StorageBackend) -> Vec<u8> {
        let mut bytes = vec![9; file.len().unwrap() as usize];
        file.read(0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn changes_are_seen_at_once_and_done_on_release() {
        let below = InMemoryBackend::new();
        below.set_len(4).unwrap();
        below.write(0, b"abcd").unwrap();
        let (file, release) = hold(below);
        assert_eq!(bytes(&file), b"abcd");
        file.write(1, b"XY").unwrap();
        file.set_len(6).unwrap();
        file.sync_data().unwrap();
        file.write(5, b"Z").unwrap();
        assert_eq!(bytes(&file), b"aXYd\0Z");
        file.set_len(3).unwrap();
        file.set_len(5).unwrap();
        assert_eq!(bytes(&file), b"aXY\0\0");
        let mut part = [9; 2];
        file.read(2, &mut part).unwrap();
        assert_eq!(&part, b"Y\0");
        assert!(file.read(4, &mut part).is_err());
        assert_eq!(bytes(&release.0.file), b"abcd");
        let shared = release.0.clone();
        release.release().unwrap();
        assert_eq!(bytes(&shared.file), b"aXY\0\0");
        file.write(0, b"!").unwrap();
        assert_eq!(bytes(&shared.file), b"!XY\0\0");
        assert_eq!(bytes(&file), b"!XY\0\0");
    }
}
