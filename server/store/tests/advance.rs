//! Versions can be made to jump, for data that came from another store.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where

use std::path::Path;

use hearth_store::{EmbeddedOptions, Store, StoreError};

async fn open(path: &Path) -> Store {
    Store::open(EmbeddedOptions { path: path.to_owned(), cache_bytes: 4 << 20 }).await.unwrap()
}

async fn put(store: &Store, key: &[u8]) -> u64 {
    let tx = store.begin();
    tx.set(key, b"value");
    tx.commit().await.unwrap().version
}

#[tokio::test]
async fn versions_jump_and_stay_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path).await;
    assert_eq!(put(&store, b"a").await, 1);
    store.advance_version(5_000_000).await.unwrap();
    assert_eq!(put(&store, b"b").await, 5_000_001);
    assert_eq!(put(&store, b"c").await, 5_000_002);
    // Already there.
    store.advance_version(10).await.unwrap();
    assert_eq!(put(&store, b"d").await, 5_000_003);
    store.close().await;
    drop(store);

    let store = open(&path).await;
    assert_eq!(store.current_version().await.unwrap(), 5_000_003);
    let tx = store.begin();
    for key in [b"a", b"b", b"c", b"d"] {
        assert!(tx.get(key).await.unwrap().is_some());
    }
    drop(tx);
    assert_eq!(put(&store, b"e").await, 5_000_004);
    store.close().await;
}

#[tokio::test]
async fn conflicts_are_found_over_a_jump() {
    let store = Store::memory();
    put(&store, b"a").await;
    let tx = store.begin();
    tx.get(b"a").await.unwrap();
    tx.set(b"x", b"");
    let free = store.begin();
    free.get(b"other").await.unwrap();
    free.set(b"y", b"");
    store.advance_version(1 << 40).await.unwrap();
    put(&store, b"a").await;
    assert!(matches!(tx.commit().await, Err(StoreError::Conflict)));
    assert_eq!(free.commit().await.unwrap().version, (1 << 40) + 2);
}
