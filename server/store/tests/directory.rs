//! Bad data directories are refused with a clear message and left as they are.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use hearth_store::{EmbeddedOptions, OpenError, RangeRead, Store, StoreError, Transaction};

async fn open(path: &Path) -> Result<Store, OpenError> {
    Store::open(EmbeddedOptions { path: path.to_owned(), cache_bytes: 4 << 20 }).await
}

/// Every file below `path` with its bytes.
fn contents(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let Ok(entries) = fs::read_dir(path) else {
        return fs::read(path).map(|bytes| BTreeMap::from([(path.to_owned(), bytes)])).unwrap_or_default();
    };
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(contents(&path));
            found.insert(path, Vec::new());
        } else {
            found.insert(path.clone(), fs::read(path).expect("a readable file"));
        }
    }
    found
}

/// Opens `path`, which must be refused with a message that has `words` and change nothing.
async fn refused(path: &Path, words: &[&str]) -> OpenError {
    let before = contents(path);
    let error = open(path).await.expect_err("it is refused");
    let message = error.to_string();
    for word in words {
        assert!(message.contains(word), "{message:?} says {word:?}");
    }
    assert!(contents(path) == before, "nothing changed after: {message}");
    error
}

/// A store with something in it, closed.
async fn make(path: &Path) {
    let store = open(path).await.expect("a new store opens");
    for number in 0..200u32 {
        let fill = async |tx: Transaction| -> Result<(), StoreError> {
            tx.set(&number.to_be_bytes(), &[7; 1000]);
            Ok(())
        };
        store.transact("fill", fill).await.expect("a write works");
    }
    store.close().await;
}

#[tokio::test]
async fn missing_directories_are_created() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a").join("b");
    open(&path).await.unwrap().close().await;
    assert!(path.join("format").is_file());
}

#[tokio::test]
async fn foreign_directories() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("holiday.jpg"), "not ours").unwrap();
    let error = refused(directory.path(), &["is not a Hearth store", "holiday.jpg"]).await;
    assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");

    let other = directory.path().join("file");
    fs::write(&other, "a file").unwrap();
    let error = refused(&other, &["not a directory"]).await;
    assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");

    // Our files without the format file may be a store that someone took apart: not to be overwritten.
    let store = tempfile::tempdir().unwrap();
    make(store.path()).await;
    fs::remove_file(store.path().join("format")).unwrap();
    let error = refused(store.path(), &["no format file"]).await;
    assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");

    for format in ["", "something else\n", "hearth store, format one, ready\n", "hearth store, format 1, odd\n"] {
        fs::write(store.path().join("format"), format).unwrap();
        let error = refused(store.path(), &["format file is not one of ours"]).await;
        assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn newer_formats() {
    let directory = tempfile::tempdir().unwrap();
    make(directory.path()).await;
    fs::write(directory.path().join("format"), "hearth store, format 2, something new\n").unwrap();
    let error = refused(directory.path(), &["newer Hearth", "format 2", "up to 1"]).await;
    assert!(matches!(error, OpenError::Newer { found: 2, supported: 1, .. }), "{error:?}");
}

#[tokio::test]
async fn a_second_open_is_locked_out() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await.unwrap();
    let error = refused(directory.path(), &["in use by another process"]).await;
    assert!(matches!(error, OpenError::Locked { .. }), "{error:?}");
    let tx = store.begin();
    tx.set(b"a", b"1");
    tx.commit().await.unwrap();
    // Closing releases it, and so does dropping the last handle.
    store.close().await;
    let store = open(directory.path()).await.unwrap();
    let tx = store.begin();
    assert_eq!(tx.get(b"a").await.unwrap().unwrap(), b"1".as_slice());
    drop(store);
    let error = refused(directory.path(), &["in use"]).await;
    assert!(matches!(error, OpenError::Locked { .. }), "a transaction still holds it: {error:?}");
    drop(tx);
    open(directory.path()).await.unwrap();
}

#[tokio::test]
async fn damaged_files() {
    let directory = tempfile::tempdir().unwrap();
    for (file, words) in [("tree.redb", "tree"), ("commits.log", "commit log")] {
        make(directory.path()).await;
        let path = directory.path().join(file);
        let sound = fs::read(&path).unwrap();
        let mut header = sound.clone();
        header[..16].fill(0x55);
        for bad in [Vec::new(), b"garbage".to_vec(), vec![0x55; 100_000], header] {
            fs::write(&path, bad).unwrap();
            let error = refused(directory.path(), &[words]).await;
            assert!(matches!(error, OpenError::Unreadable { .. }), "{error:?}");
        }
        fs::remove_file(&path).unwrap();
        let error = refused(directory.path(), &[file]).await;
        assert!(matches!(error, OpenError::Unreadable { .. }), "{error:?}");
        fs::write(&path, sound).unwrap();
        open(directory.path()).await.unwrap().close().await;
    }
}

#[cfg(unix)]
#[tokio::test]
async fn unreadable_directories() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("closed");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    // Who may read everything (root) cannot be shut out this way.
    if fs::read_dir(&path).is_err() {
        let error = open(&path).await.expect_err("it is refused");
        assert!(matches!(error, OpenError::Unreadable { .. }), "{error:?}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    // A link to nowhere is neither a directory nor a place to make one.
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(directory.path().join("nowhere"), &link).unwrap();
    let error = open(&link).await.expect_err("it is refused");
    assert!(matches!(error, OpenError::Unreadable { .. }), "{error:?}");
    assert!(!directory.path().join("nowhere").exists());
}

#[tokio::test]
async fn an_unfinished_first_start_is_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("format"), "hearth store, format 1, creating\n").unwrap();
    fs::write(directory.path().join("tree.redb"), "half a tree").unwrap();
    fs::write(directory.path().join("lock"), "").unwrap();
    make(directory.path()).await;
    let store = open(directory.path()).await.unwrap();
    assert!(store.begin().get(&7u32.to_be_bytes()).await.unwrap().is_some());
    store.close().await;
    // So is one that did not get as far as its format file.
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("lock"), "").unwrap();
    fs::write(directory.path().join("format.new"), "hearth").unwrap();
    make(directory.path()).await;
}

#[tokio::test]
async fn damaged_values_are_told() {
    let directory = tempfile::tempdir().unwrap();
    make(directory.path()).await;
    let path = directory.path().join("tree.redb");
    let mut bytes = fs::read(&path).unwrap();
    // Flip one byte inside each value: values are runs of sevens.
    let mut run = 0;
    for byte in &mut bytes {
        run = if *byte == 7 { run + 1 } else { 0 };
        if run == 500 {
            *byte = 8;
        }
    }
    fs::write(&path, bytes).unwrap();
    let store = open(directory.path()).await.unwrap();
    let tx = store.begin();
    for number in 0..200u32 {
        let told = tx.get(&number.to_be_bytes()).await;
        assert!(matches!(told, Err(StoreError::Corrupt { .. })), "{told:?}");
    }
    let told = tx.range(&RangeRead { begin: vec![], end: vec![1], limit: None, reverse: false, snapshot: true }).await;
    assert!(matches!(told, Err(StoreError::Corrupt { .. })));
    store.close().await;
}
