//! From a store to a file and back.

use std::fs;
use std::time::{Duration, SystemTime};

use hearth_store::{EmbeddedOptions, Store, first_stamp, version_of};
use tokio::sync::oneshot;

use super::*;
use crate::lock::{Incomplete, incomplete};
use crate::versions::Passing;
use crate::{Phase, RestoreOptions, restore, verify};

fn with(passphrase: Option<&str>) -> RestoreOptions {
    RestoreOptions { passphrase: passphrase.and_then(Passphrase::new), ..RestoreOptions::default() }
}

#[tokio::test]
async fn what_comes_back_is_what_was_there() {
    for passphrase in [None, Some("open sesame")] {
        let folder = tempfile::tempdir().unwrap();
        let (source, target) = (Store::memory(), Store::memory());
        filled(&source, 1, 3000, 700).await;
        let before = contents(&source).await;
        let path = folder.path().join("one.hearth-backup");
        let made = back_up(&source, &path, options(passphrase)).await.unwrap();
        assert_eq!(made.keys, before.len() as u64);
        assert_eq!(made.bytes, before.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum::<u64>());
        assert_eq!(made.file_bytes, fs::metadata(&path).unwrap().len());
        assert_eq!(made.version, source.current_version().await.unwrap());
        assert_eq!((made.header.encrypted, made.header.engine.as_str()), (passphrase.is_some(), "memory"));
        assert_eq!(made.attachments, ["identity.toml"]);
        let tables: Vec<_> = made.subspaces.iter().map(|sum| sum.table.as_str()).collect();
        assert_eq!(tables, ["", "b", "head", "stream", "thing", "zero\0byte", ""]);

        let progress = Progress::new();
        let secret = passphrase.and_then(Passphrase::new);
        assert_eq!(verify(&path, secret.as_ref(), &progress).await.unwrap(), made);
        assert_eq!(progress.figures().phase, Phase::Done);
        let restored = restore(&path, &target, with(passphrase), &progress).await.unwrap();
        assert_eq!(restored.summary, made);
        assert_eq!(restored.attachments, options(None).attachments);
        assert_eq!(contents(&target).await, before);
        assert_eq!(incomplete(&target).await.unwrap(), None);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside the backup");

        // And nothing is overwritten, neither file nor store.
        let error = back_up(&source, &path, options(None)).await.unwrap_err();
        assert!(matches!(error, ArchiveError::Exists { .. }), "{error}");
        let error = restore(&path, &target, with(passphrase), &progress).await.unwrap_err();
        assert!(matches!(error, ArchiveError::NotEmpty), "{error}");
    }
}

#[tokio::test]
async fn an_encrypted_backup_shows_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::memory();
    let tx = store.begin();
    THING.set(&tx, (1,), &"a very secret message".to_owned());
    tx.commit().await.unwrap();
    let path = folder.path().join("one");
    back_up(&store, &path, options(Some("open sesame"))).await.unwrap();
    let bytes = fs::read(&path).unwrap();
    let holds = |word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
    assert!(holds(b"example.org") && !holds(b"secret") && !holds(b"thing") && !holds(b"identity"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

/// Sync tokens are versionstamps: those from before the restore stay in the past, those given after the backup too.
#[tokio::test]
async fn new_commits_sort_after_everything_restored() {
    let folder = tempfile::tempdir().unwrap();
    let source = Store::memory();
    // As of a cluster that has run for two months.
    source.advance_version(5_000_000_000_000).await.unwrap();
    filled(&source, 2, 10, 10).await;
    let token = happen(&source, 100).await;
    let path = folder.path().join("one");
    let made = back_up(&source, &path, options(None)).await.unwrap();
    let lost = happen(&source, 101).await;

    let disk = folder.path().join("store");
    let open = || Store::open(EmbeddedOptions { path: disk.clone(), cache_bytes: 4 << 20 });
    let target = open().await.unwrap();
    restore(&path, &target, with(None), &Progress::new()).await.unwrap();
    target.close().await;
    drop(target);
    let target = open().await.unwrap();
    let new = happen(&target, 102).await;
    assert!(new > token && new > lost);
    assert!(version_of(&new) > made.version + 6_000_000, "the old server may have gone on for a while");
    let tx = target.begin();
    let since: Vec<u64> =
        STREAM.scan(()).after((&token,)).all(&tx).await.unwrap().into_iter().map(|(_, number)| number).collect();
    assert_eq!(since, [102]);
    let all = STREAM.scan(()).from((&first_stamp(0),)).all(&tx).await.unwrap();
    assert_eq!(all.len(), 12);
    target.close().await;
}

#[test]
fn versions_pass_what_the_old_server_can_have_reached() {
    let taken = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let summary = |engine: &str| BackupSummary {
        header: crate::BackupHeader {
            format: 1,
            server_name: String::new(),
            created: SystemTime::UNIX_EPOCH,
            hearth_version: String::new(),
            engine: engine.to_owned(),
            encrypted: false,
            scheduled: false,
        },
        version: 7,
        taken,
        keys: 0,
        bytes: 0,
        file_bytes: 0,
        subspaces: Vec::new(),
        attachments: Vec::new(),
    };
    let hour = taken + Duration::from_hours(1);
    for (engine, now, version, margin) in [
        ("foundationdb", hour, 7 + 3_600_000_000, 1_000_000_000),
        ("embedded", hour, 7 + 360_000_000, 6_000_000),
        // A clock that is wrong.
        ("embedded", SystemTime::UNIX_EPOCH, 7, 6_000_000),
    ] {
        assert_eq!(Passing::reached(&summary(engine), now), Passing { version, margin });
    }
}

/// Writers keep two entries equal all the time; the backup must see them equal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_is_of_one_moment() {
    let folder = tempfile::tempdir().unwrap();
    let source = Store::memory();
    filled(&source, 3, 5000, 300).await;
    let (stop, mut stopped) = oneshot::channel::<()>();
    let writer = source.clone();
    let writing = tokio::spawn(async move {
        let mut number = 0u64;
        while stopped.try_recv().is_err() {
            number += 1;
            let tx = writer.begin();
            // One sorts before all things, one behind them.
            tx.set(b"\x01count", &number.to_be_bytes());
            tx.set(b"\xfecount", &number.to_be_bytes());
            THING.set(&tx, (number % 5000,), &format!("{number}"));
            tx.commit().await.unwrap();
        }
        number
    });
    let path = folder.path().join("one");
    back_up(&source, &path, options(None)).await.unwrap();
    stop.send(()).unwrap();
    assert!(writing.await.unwrap() > 0);
    let target = Store::memory();
    restore(&path, &target, with(None), &Progress::new()).await.unwrap();
    let restored = contents(&target).await;
    assert_eq!(restored.get(&b"\x01count"[..]), restored.get(&b"\xfecount"[..]));
    assert_eq!(restored.keys().filter(|key| key.starts_with(&THING.pack(&()))).count(), 5000);
}

#[tokio::test]
async fn an_interrupted_restore_goes_on_and_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let source = Store::memory();
    filled(&source, 4, 20_000, 500).await;
    let (path, other) = (folder.path().join("one"), folder.path().join("other"));
    back_up(&source, &path, options(None)).await.unwrap();
    happen(&source, 5).await;
    back_up(&source, &other, options(None)).await.unwrap();
    let before = {
        let whole = Store::memory();
        restore(&path, &whole, with(None), &Progress::new()).await.unwrap();
        contents(&whole).await
    };
    let target = Store::memory();
    let mut interrupted = 0;
    let mut there = 0;
    loop {
        let progress = Progress::new();
        let enough = || progress.figures().phase == Phase::Loading && progress.figures().keys > 0;
        let Some(done) = until(restore(&path, &target, with(None), &progress), enough).await else {
            interrupted += 1;
            let now = contents(&target).await.len();
            assert!(now > there, "it goes on where it stopped");
            there = now;
            let state = incomplete(&target).await.unwrap().expect("it says that it is incomplete");
            assert_eq!(state, Incomplete::Restoring { from: path.display().to_string() });
            let error = restore(&other, &target, with(None), &progress).await.unwrap_err();
            assert!(matches!(error, ArchiveError::Incomplete(_)), "{error}");
            continue;
        };
        done.unwrap();
        break;
    }
    assert!(interrupted >= 2, "{interrupted}");
    assert_eq!(contents(&target).await, before);
    assert_eq!(incomplete(&target).await.unwrap(), None);

    // Something else may take its place if the caller says so.
    let target = Store::memory();
    let progress = Progress::new();
    let enough = || progress.figures().phase == Phase::Loading && progress.figures().keys > 0;
    assert!(until(restore(&path, &target, with(None), &progress), enough).await.is_none());
    let again = RestoreOptions { start_over: true, ..with(None) };
    restore(&other, &target, again.clone(), &progress).await.unwrap();
    assert_eq!(contents(&target).await, contents(&source).await);
    // But not of what is whole.
    let error = restore(&path, &target, again, &progress).await.unwrap_err();
    assert!(matches!(error, ArchiveError::NotEmpty), "{error}");
}

#[tokio::test]
async fn a_backup_that_is_given_up_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let source = Store::memory();
    filled(&source, 5, 20_000, 500).await;
    let path = folder.path().join("one");
    let progress = Progress::new();
    let work = backup_at_cost(&source, &path, options(Some("x")), &progress, CHEAP);
    assert!(until(work, || progress.figures().keys > 0).await.is_none());
    // The thread that writes notices soon.
    while fs::read_dir(folder.path()).unwrap().count() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_damaged_backup_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (Store::memory(), Store::memory());
    filled(&source, 6, 2000, 500).await;
    let path = folder.path().join("one");
    back_up(&source, &path, options(None)).await.unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let near_the_end = bytes.len() - 100;
    bytes[near_the_end] ^= 1;
    fs::write(&path, bytes).unwrap();
    let version = target.current_version().await.unwrap();
    let error = restore(&path, &target, with(None), &Progress::new()).await.unwrap_err();
    assert!(matches!(error, ArchiveError::Damaged { .. }), "{error}");
    assert_eq!(target.current_version().await.unwrap(), version);
}
