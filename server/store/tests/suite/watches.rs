//! Watches.

use hearth_store::{AtomicOp, StoreError, Watch};

use super::{Subject, is_done, soon, text};

/// A watch of `name` from a read-only transaction.
async fn watch(t: &Subject, name: &str) -> Watch {
    let tx = t.store.begin();
    let watch = tx.watch(&t.key(name)).await.unwrap();
    tx.commit().await.unwrap();
    watch
}

pub(crate) async fn change_fires(t: Subject) {
    t.put(&[("a", "1")]).await;
    let mut changed = Box::pin(watch(&t, "a").await.changed());
    assert!(!is_done(&mut changed));
    t.put(&[("a", "2")]).await;
    soon(changed).await.unwrap();
}

pub(crate) async fn only_the_key_fires(t: Subject) {
    let mut changed = Box::pin(watch(&t, "b").await.changed());
    t.put(&[("a", "1"), ("ba", "1"), ("", "1")]).await;
    assert!(!is_done(&mut changed));
    t.put(&[("b", "1")]).await;
    soon(changed).await.unwrap();
}

pub(crate) async fn same_value_does_not_fire(t: Subject) {
    t.put(&[("a", "1")]).await;
    let mut changed = Box::pin(watch(&t, "a").await.changed());
    t.put(&[("a", "1")]).await;
    assert!(!is_done(&mut changed));
    t.put(&[("a", "2")]).await;
    soon(changed).await.unwrap();
}

pub(crate) async fn change_before_the_commit_fires(t: Subject) {
    let tx = t.store.begin();
    let watch = tx.watch(&t.key("a")).await.unwrap();
    t.put(&[("a", "1")]).await;
    tx.commit().await.unwrap();
    soon(watch.changed()).await.unwrap();
}

pub(crate) async fn own_writes_are_the_baseline(t: Subject) {
    t.put(&[("a", "old"), ("b", "old")]).await;
    let tx = t.store.begin();
    tx.set(&t.key("a"), b"new");
    let a = tx.watch(&t.key("a")).await.unwrap();
    let b = tx.watch(&t.key("b")).await.unwrap();
    tx.clear_range(&t.key("b"), &t.key("c"));
    tx.commit().await.unwrap();
    let (mut a, mut b) = (Box::pin(a.changed()), Box::pin(b.changed()));
    assert!(!is_done(&mut a) && !is_done(&mut b));
    t.put(&[("a", "new")]).await;
    assert!(!is_done(&mut a));
    t.put(&[("a", "old"), ("b", "old")]).await;
    soon(a).await.unwrap();
    soon(b).await.unwrap();
}

pub(crate) async fn own_operations_are_the_baseline(t: Subject) {
    t.put(&[("a", "\u{1}")]).await;
    let tx = t.store.begin();
    let watch = tx.watch(&t.key("a")).await.unwrap();
    tx.atomic(AtomicOp::Add, &t.key("a"), &[1]);
    tx.commit().await.unwrap();
    let mut changed = Box::pin(watch.changed());
    t.put(&[("a", "\u{2}")]).await;
    assert!(!is_done(&mut changed));
    t.put(&[("a", "\u{3}")]).await;
    soon(changed).await.unwrap();
}

pub(crate) async fn insertion_and_deletion_fire(t: Subject) {
    let inserted = watch(&t, "a").await;
    t.put(&[("a", "")]).await;
    soon(inserted.changed()).await.unwrap();
    let deleted = watch(&t, "a").await;
    let tx = t.store.begin();
    tx.clear(&t.key("a"));
    tx.commit().await.unwrap();
    soon(deleted.changed()).await.unwrap();
}

pub(crate) async fn clear_range_fires(t: Subject) {
    t.put(&[("b", "1")]).await;
    let (missing, present) = (watch(&t, "a").await, watch(&t, "b").await);
    let tx = t.store.begin();
    tx.clear_range(&t.key(""), &t.key("z"));
    tx.commit().await.unwrap();
    soon(present.changed()).await.unwrap();
    assert!(!is_done(&mut Box::pin(missing.changed())));
}

pub(crate) async fn uncommitted_watch_fails(t: Subject) {
    let tx = t.store.begin();
    let dropped = tx.watch(&t.key("a")).await.unwrap();
    drop(tx);
    assert!(soon(dropped.changed()).await.is_err());

    let tx = t.store.begin();
    let conflicted = tx.watch(&t.key("a")).await.unwrap();
    tx.get(&t.key("b")).await.unwrap();
    tx.set(&t.key("c"), b"");
    t.put(&[("b", "1")]).await;
    assert!(matches!(tx.commit().await, Err(StoreError::Conflict)));
    assert!(soon(conflicted.changed()).await.is_err());
}

pub(crate) async fn many_watchers(t: Subject) {
    let mut waiting = Vec::new();
    for _ in 0..50 {
        waiting.push(watch(&t, "a").await);
    }
    // Some lose interest.
    waiting.truncate(40);
    t.put(&[("a", "1")]).await;
    for watch in waiting {
        soon(watch.changed()).await.unwrap();
    }
}

pub(crate) async fn watch_adds_no_conflict(t: Subject) {
    let tx = t.store.begin();
    let watch = tx.watch(&t.key("a")).await.unwrap();
    tx.set(&t.key("b"), b"");
    t.put(&[("a", "1")]).await;
    tx.commit().await.unwrap();
    soon(watch.changed()).await.unwrap();
}

/// A consumer that registers, samples and then waits sees every number, however the producer is timed.
pub(crate) async fn no_lost_wake_up(t: Subject) {
    const COUNT: u32 = 300;
    let (store, key) = (t.store.clone(), t.key("a"));
    let producer = tokio::spawn(async move {
        for number in 1..=COUNT {
            let tx = store.begin();
            tx.set(&key, number.to_string().as_bytes());
            tx.commit().await.unwrap();
        }
    });
    let mut seen = 0;
    while seen < COUNT {
        let tx = t.store.begin();
        let now = text(tx.get_snapshot(&t.key("a")).await.unwrap()).map_or(0, |text| text.parse().unwrap());
        assert!(now >= seen, "{now} after {seen}");
        if now > seen {
            seen = now;
            continue;
        }
        let watch = tx.watch(&t.key("a")).await.unwrap();
        tx.commit().await.unwrap();
        soon(watch.changed()).await.unwrap();
    }
    producer.await.unwrap();
}
