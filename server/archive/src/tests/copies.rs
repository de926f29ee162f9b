//! From one store to another.

use hearth_store::{EmbeddedOptions, Store};

use super::*;
use crate::lock::{Incomplete, incomplete, unlock};
use crate::{CopyOptions, Phase, copy};

fn named(to: &str) -> CopyOptions {
    CopyOptions { from: "embedded:a".to_owned(), to: to.to_owned(), advance_version: false, start_over: false }
}

#[tokio::test]
async fn a_copy_is_the_same_and_goes_on_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let open = |name| Store::open(EmbeddedOptions { path: folder.path().join(name), cache_bytes: 4 << 20 });
    let (source, target) = (open("a").await.unwrap(), open("b").await.unwrap());
    source.advance_version(1 << 42).await.unwrap();
    filled(&source, 1, 3000, 700).await;
    let token = happen(&source, 11).await;
    let summary = copy(&source, &target, named("embedded:b"), &Progress::new()).await.unwrap();
    assert_eq!(contents(&target).await, contents(&source).await);
    assert_eq!(summary.keys, contents(&target).await.len() as u64);
    for store in [&source, &target] {
        assert_eq!(incomplete(store).await.unwrap(), None);
    }
    assert!(happen(&target, 12).await > token);
    let error = copy(&source, &target, named("embedded:b"), &Progress::new()).await.unwrap_err();
    assert!(matches!(error, ArchiveError::NotEmpty), "{error}");
    assert_eq!(incomplete(&source).await.unwrap(), None, "a refused copy leaves no lock");
    source.close().await;
    target.close().await;
}

#[tokio::test]
async fn an_interrupted_copy_goes_on() {
    let (source, target) = (Store::memory(), Store::memory());
    filled(&source, 2, 20_000, 500).await;
    let mut interrupted = 0;
    loop {
        let progress = Progress::new();
        let enough = || progress.figures().phase == Phase::Loading && progress.figures().keys > 0;
        let Some(done) = until(copy(&source, &target, named("b"), &progress), enough).await else {
            interrupted += 1;
            let expected = Incomplete::CopiedTo { to: "b".to_owned() };
            assert_eq!(incomplete(&source).await.unwrap(), Some(expected.clone()));
            let expected_there = Incomplete::Copying { from: "embedded:a".to_owned() };
            assert_eq!(incomplete(&target).await.unwrap(), Some(expected_there));
            let error = copy(&source, &Store::memory(), named("c"), &progress).await.unwrap_err();
            assert!(matches!(&error, ArchiveError::Incomplete(found) if *found == expected), "{error}");
            continue;
        };
        done.unwrap();
        break;
    }
    assert!(interrupted >= 2, "{interrupted}");
    assert_eq!(contents(&target).await, contents(&source).await);
}

/// Where the source may have changed since, what is in the target fits nothing any more.
#[tokio::test]
async fn a_copy_that_was_given_up_must_start_over() {
    let (source, target) = (Store::memory(), Store::memory());
    filled(&source, 3, 20_000, 500).await;
    let progress = Progress::new();
    let enough = || progress.figures().phase == Phase::Loading && progress.figures().keys > 0;
    assert!(until(copy(&source, &target, named("b"), &progress), enough).await.is_none());
    assert!(unlock(&source).await.unwrap());
    assert!(!unlock(&source).await.unwrap());
    happen(&source, 12).await;
    let error = copy(&source, &target, named("b"), &progress).await.unwrap_err();
    assert!(matches!(error, ArchiveError::Incomplete(Incomplete::Copying { .. })), "{error}");
    assert_eq!(incomplete(&source).await.unwrap(), None, "a refused copy leaves no lock");
    copy(&source, &target, CopyOptions { start_over: true, ..named("b") }, &progress).await.unwrap();
    assert_eq!(contents(&target).await, contents(&source).await);
}
