//! Versions, the end of transactions and of the store.

use hearth_store::{StoreError, first_stamp, last_stamp};

use super::{Subject, soon};

pub(crate) async fn versions_grow(t: Subject) {
    let mut last = t.store.current_version().await.unwrap();
    for turn in 0..10 {
        let before = t.store.begin();
        assert!(before.read_version().await.unwrap() >= last);
        let committed = t.put(&[("a", &turn.to_string())]).await;
        assert!(committed.version > last, "{} after {last}", committed.version);
        let stamp = committed.versionstamp.unwrap();
        assert!(first_stamp(committed.version) <= stamp && stamp <= last_stamp(committed.version));
        assert!(last_stamp(last) < stamp);
        last = committed.version;
        assert!(t.store.current_version().await.unwrap() >= last);
        assert!(t.store.begin().read_version().await.unwrap() >= last);
        assert!(before.read_version().await.unwrap() < last, "a read version stays");
    }
}

pub(crate) async fn read_only_commit_returns_its_read_version(t: Subject) {
    t.put(&[("a", "1")]).await;
    let tx = t.store.begin();
    let version = tx.read_version().await.unwrap();
    t.put(&[("a", "2")]).await;
    let committed = tx.commit().await.unwrap();
    assert_eq!((committed.version, committed.versionstamp), (version, None));
}

pub(crate) async fn use_after_commit_fails(t: Subject) {
    let tx = t.store.begin();
    tx.set(&t.key("a"), b"1");
    tx.commit().await.unwrap();
    tx.set(&t.key("a"), b"2");
    assert!(matches!(tx.get(&t.key("a")).await, Err(StoreError::UsedAfterCommit)));
    assert!(matches!(tx.range(&t.range("", "z")).await, Err(StoreError::UsedAfterCommit)));
    assert!(matches!(tx.watch(&t.key("a")).await, Err(StoreError::UsedAfterCommit)));
    assert!(matches!(tx.commit().await, Err(StoreError::UsedAfterCommit)));
    assert_eq!(t.value("a").await.as_deref(), Some("1"));
}

pub(crate) async fn closed_store_refuses(t: Subject) {
    let (used, fresh) = (t.store.begin(), t.store.begin());
    used.get(&t.key("a")).await.unwrap();
    t.store.close().await;
    t.store.close().await;
    used.set(&t.key("a"), b"1");
    fresh.set(&t.key("a"), b"1");
    assert!(matches!(used.get(&t.key("a")).await, Err(StoreError::Closed)));
    for tx in [used, fresh, t.store.begin()] {
        assert!(matches!(tx.commit().await, Err(StoreError::Closed)));
    }
    assert!(matches!(t.store.current_version().await, Err(StoreError::Closed)));
    let body = async |tx: hearth_store::Transaction| -> Result<(), StoreError> { tx.get(b"a").await.map(|_| ()) };
    assert!(matches!(soon(t.store.transact("late", body)).await, Err(StoreError::Closed)));
}

pub(crate) async fn closing_finishes_commits(t: Subject) {
    let mut commits = Vec::new();
    for number in 0..50 {
        let tx = t.store.begin();
        tx.set(&t.key(format!("{number}")), b"1");
        // Polled once: on its way to the engine.
        let mut commit = Box::pin(async move { tx.commit().await });
        if !super::is_done(&mut commit) {
            commits.push(commit);
        }
    }
    t.store.close().await;
    for commit in commits {
        let outcome = soon(commit).await;
        assert!(matches!(outcome, Ok(_) | Err(StoreError::Closed)), "{outcome:?}");
    }
}

pub(crate) async fn closing_ends_watches(t: Subject) {
    let tx = t.store.begin();
    let watch = tx.watch(&t.key("a")).await.unwrap();
    tx.commit().await.unwrap();
    t.store.close().await;
    assert!(matches!(soon(watch.changed()).await, Err(StoreError::Closed)));
}

pub(crate) async fn statistics_count(t: Subject) {
    let before = t.store.stats();
    t.put(&[("a", "1")]).await;
    t.value("a").await;
    let tx = t.store.begin();
    tx.get(&t.key("a")).await.unwrap();
    tx.set(&t.key("b"), b"");
    t.put(&[("a", "2")]).await;
    assert!(tx.commit().await.is_err());
    let after = t.store.stats();
    assert!(after.commits >= before.commits + 2);
    assert!(after.reads >= before.reads + 2);
    assert!(after.conflicts > before.conflicts);
    assert!(!after.engine.is_empty());
}
