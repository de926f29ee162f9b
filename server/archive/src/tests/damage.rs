//! A file that is not exactly what was written is refused, and says why.

use std::fs;
use std::path::{Path, PathBuf};

use hearth_store::Store;

use super::*;
use crate::file::{FileReader, read_header};

/// A small backup of several frames and its bytes.
async fn small(folder: &Path, passphrase: Option<&str>) -> (PathBuf, Vec<u8>) {
    let store = Store::memory();
    let tx = store.begin();
    for number in 0..5 {
        THING.set(&tx, (number,), &format!("thing {number}"));
    }
    tx.commit().await.unwrap();
    let path = folder.join("small.hearth-backup");
    let mut options = options(passphrase);
    options.attachments.push(Attachment { name: "second".to_owned(), content: vec![1, 2, 3] });
    back_up(&store, &path, options).await.unwrap();
    let bytes = fs::read(&path).unwrap();
    (path, bytes)
}

fn read(path: &Path, passphrase: Option<&str>) -> Result<BackupSummary, ArchiveError> {
    let reader = FileReader::open(path, passphrase.and_then(Passphrase::new).as_ref())?;
    Ok(reader.check(|_, _| Ok(()))?.summary)
}

#[tokio::test]
async fn any_changed_byte_and_any_cut_is_refused() {
    for passphrase in [None, Some("open sesame")] {
        let folder = tempfile::tempdir().unwrap();
        let (path, bytes) = small(folder.path(), passphrase).await;
        assert_eq!(read(&path, passphrase).unwrap().keys, 5);
        for at in 0..bytes.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut altered = bytes.clone();
                altered[at] ^= change;
                fs::write(&path, &altered).unwrap();
                let error = read(&path, passphrase).expect_err("a changed byte is seen");
                assert!(!matches!(error, ArchiveError::File { .. } | ArchiveError::Store(_)), "byte {at}: {error}");
            }
            fs::write(&path, &bytes[..at]).unwrap();
            let error = read(&path, passphrase).expect_err("a cut is seen");
            let expected = if at < 8 {
                matches!(error, ArchiveError::Foreign { .. })
            } else {
                matches!(error, ArchiveError::Truncated { .. })
            };
            assert!(expected, "cut at {at} of {}: {error}", bytes.len());
        }
        fs::write(&path, [&bytes[..], b"x"].concat()).unwrap();
        assert!(matches!(read(&path, passphrase), Err(ArchiveError::Damaged { .. })));
    }
}

/// Where the frames of a file lie.
fn frames(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let mut at = 16 + number(12) + 4;
    let mut found = Vec::new();
    while at < bytes.len() - 32 {
        let end = at + 12 + number(at);
        found.push(at..end);
        at = end;
    }
    found
}

/// Repairs every checksum after frames were moved, as somebody would who means it.
fn repaired(header: &[u8], bodies: &[&[u8]]) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    let mut file = header.to_vec();
    for (number, body) in (0u64..).zip(bodies) {
        let mut head = [(body.len() as u32).to_le_bytes(), crc32fast::hash(body).to_le_bytes()].concat();
        let crc = crc32fast::hash(&[&number.to_le_bytes()[..], &head].concat());
        head.extend_from_slice(&crc.to_le_bytes());
        file.extend_from_slice(&head);
        file.extend_from_slice(body);
    }
    let digest = Sha256::digest(&file);
    file.extend_from_slice(&digest);
    file
}

#[tokio::test]
async fn moved_dropped_and_repeated_frames_are_refused() {
    for passphrase in [None, Some("open sesame")] {
        let folder = tempfile::tempdir().unwrap();
        let (path, bytes) = small(folder.path(), passphrase).await;
        let frames = frames(&bytes);
        assert_eq!(frames.len(), 4);
        let header = &bytes[..frames[0].start];
        let bodies: Vec<&[u8]> = frames.iter().map(|frame| &bytes[frame.start + 12..frame.end]).collect();
        fs::write(&path, repaired(header, &bodies)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes, "the test knows the format");
        for order in
            [&[1, 0, 2, 3][..], &[0, 1, 3], &[0, 2, 3], &[0, 1, 1, 2, 3], &[0, 1, 2, 2, 3], &[3], &[0, 2, 1, 3]]
        {
            let moved: Vec<&[u8]> = order.iter().map(|frame| bodies[*frame]).collect();
            fs::write(&path, repaired(header, &moved)).unwrap();
            let error = read(&path, passphrase).expect_err("frames in another order are seen");
            assert!(matches!(error, ArchiveError::Damaged { .. }), "{order:?}: {error}");
        }
        // The end alone is missing, all checksums fit.
        fs::write(&path, repaired(header, &bodies[..3])).unwrap();
        assert!(read(&path, passphrase).is_err());
    }
}

#[tokio::test]
async fn what_is_no_backup_of_ours_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (path, bytes) = small(folder.path(), Some("open sesame")).await;
    let says = |error: ArchiveError, words: &str| assert!(error.to_string().contains(words), "{error}");
    says(read(&path, None).unwrap_err(), "is encrypted: it needs its passphrase");
    says(read(&path, Some("Open sesame")).unwrap_err(), "this is not the passphrase of");
    assert_eq!(read_header(&path).unwrap().server_name, "example.org");

    let mut newer = bytes.clone();
    newer[8] = 2;
    fs::write(&path, &newer).unwrap();
    says(
        read(&path, Some("open sesame")).unwrap_err(),
        "was made by a newer Hearth (format 2, this one reads up to 1)",
    );
    says(read_header(&path).unwrap_err(), "newer");
    fs::write(&path, b"PK\x03\x04 some other archive").unwrap();
    says(read(&path, None).unwrap_err(), "is not a backup of Hearth");
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    says(read(&path, Some("open sesame")).unwrap_err(), "is cut off");
    says(read(folder.path(), None).unwrap_err(), folder.path().to_str().unwrap());
    says(read(&folder.path().join("missing"), None).unwrap_err(), "missing cannot be used");
}

/// Whoever wrote the file may want our memory.
#[tokio::test]
async fn absurd_costs_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, bytes) = small(folder.path(), Some("open sesame")).await;
    let length = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&bytes[16..16 + length]).unwrap();
    let header = header.replace("\"memory_kib\":8", "\"memory_kib\":2000000000");
    let mut altered = bytes[..12].to_vec();
    altered.extend_from_slice(&(header.len() as u32).to_le_bytes());
    altered.extend_from_slice(header.as_bytes());
    let crc = crc32fast::hash(&altered);
    altered.extend_from_slice(&crc.to_le_bytes());
    altered.extend_from_slice(&bytes[16 + length + 4..]);
    fs::write(&path, altered).unwrap();
    let error = read(&path, Some("open sesame")).unwrap_err();
    assert!(error.to_string().contains("impossible parameters"), "{error}");
}
