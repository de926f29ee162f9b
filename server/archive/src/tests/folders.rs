//! Folders of backups.

use std::fs;
use std::path::PathBuf;

use hearth_store::Store;

use super::*;
use crate::{EXTENSION, list, retain};

#[tokio::test]
async fn the_newest_scheduled_ones_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::memory();
    filled(&store, 1, 5, 5).await;
    let path = |name: &str| folder.path().join(format!("{name}.{EXTENSION}"));
    assert_eq!(list(&folder.path().join("missing")).unwrap(), []);
    for (name, server, scheduled) in [
        ("a", "example.org", true),
        ("b", "example.org", true),
        ("by-hand", "example.org", false),
        ("other", "other.example", true),
        ("c", "example.org", true),
    ] {
        let options = BackupOptions { server_name: server.to_owned(), scheduled, ..options(Some("x")) };
        let made = back_up(&store, &path(name), options).await.unwrap();
        // The next one has another time.
        while std::time::SystemTime::now().duration_since(made.header.created).unwrap().as_millis() < 2 {
            tokio::task::yield_now().await;
        }
    }
    fs::write(path("damaged"), b"?").unwrap();
    fs::write(folder.path().join("notes.txt"), b"mine").unwrap();
    fs::write(folder.path().join(format!("crashed.{EXTENSION}.part")), b"half").unwrap();
    fs::write(folder.path().join("somebody.part"), b"mine too").unwrap();
    let names = || -> Vec<String> {
        let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        list(folder.path()).unwrap().into_iter().map(|file| stem(file.path)).collect()
    };
    assert_eq!(names(), ["c", "other", "by-hand", "b", "a", "damaged"]);
    let all = list(folder.path()).unwrap();
    assert!(all[5].header.as_ref().unwrap_err().contains("is not a backup of Hearth"));
    assert!(all[0].header.as_ref().unwrap().scheduled && all[0].bytes > 100);

    let removed = retain(folder.path(), "example.org", 2).unwrap();
    assert_eq!(removed, [folder.path().join(format!("crashed.{EXTENSION}.part")), path("a")]);
    assert_eq!(names(), ["c", "other", "by-hand", "b", "damaged"]);
    assert_eq!(retain(folder.path(), "example.org", 2).unwrap(), Vec::<PathBuf>::new());
    assert!(folder.path().join("somebody.part").exists() && folder.path().join("notes.txt").exists());
}

/// A clean-up while a backup is written leaves it alone.
#[tokio::test]
async fn what_is_being_written_is_no_leftover() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("x.{EXTENSION}"));
    let (temporary, file) = crate::file::Temporary::create(&path, "").unwrap();
    assert_eq!(retain(folder.path(), "example.org", 1).unwrap(), Vec::<PathBuf>::new());
    let error = crate::file::Temporary::create(&path, "").unwrap_err();
    assert!(matches!(error, ArchiveError::Exists { .. }), "{error}");
    temporary.finish(&file, &path).unwrap();
    assert!(path.exists());
}
