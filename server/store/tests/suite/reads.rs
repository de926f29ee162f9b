//! Point reads and writes.

use super::{Subject, text};

pub(crate) async fn missing_key_is_none(t: Subject) {
    assert_eq!(t.value("a").await, None);
}

pub(crate) async fn commit_is_visible_to_later_transactions(t: Subject) {
    t.put(&[("a", "1"), ("b", "2")]).await;
    assert_eq!(t.value("a").await.as_deref(), Some("1"));
    assert_eq!(t.value("b").await.as_deref(), Some("2"));
    assert_eq!(t.value("aa").await, None);
}

pub(crate) async fn empty_value_is_not_missing(t: Subject) {
    t.put(&[("a", "")]).await;
    assert_eq!(t.value("a").await.as_deref(), Some(""));
    assert_eq!(t.read(&t.store.begin(), &t.range("", "z")).await.unwrap(), super::pairs(&[("a", "")]));
}

pub(crate) async fn uncommitted_writes_are_invisible(t: Subject) {
    let tx = t.store.begin();
    tx.set(&t.key("a"), b"1");
    assert_eq!(t.value("a").await, None);
    tx.commit().await.unwrap();
    assert_eq!(t.value("a").await.as_deref(), Some("1"));
}

pub(crate) async fn dropped_transaction_never_happened(t: Subject) {
    let tx = t.store.begin();
    tx.get(&t.key("a")).await.unwrap();
    tx.set(&t.key("a"), b"1");
    drop(tx);
    assert_eq!(t.value("a").await, None);
}

pub(crate) async fn reads_see_own_writes(t: Subject) {
    t.put(&[("a", "old"), ("b", "old"), ("c", "old")]).await;
    let tx = t.store.begin();
    let get = async |name: &str| text(tx.get(&t.key(name)).await.unwrap());
    tx.set(&t.key("a"), b"new");
    assert_eq!(get("a").await.as_deref(), Some("new"));
    tx.clear(&t.key("a"));
    assert_eq!(get("a").await, None);
    tx.set(&t.key("a"), b"again");
    assert_eq!(get("a").await.as_deref(), Some("again"));
    tx.clear_range(&t.key("a"), &t.key("c"));
    assert_eq!(get("a").await, None);
    assert_eq!(get("b").await, None);
    assert_eq!(get("c").await.as_deref(), Some("old"));
    tx.set(&t.key("b"), b"new");
    assert_eq!(get("b").await.as_deref(), Some("new"));
    tx.commit().await.unwrap();
    assert_eq!(t.value("a").await, None);
    assert_eq!(t.value("b").await.as_deref(), Some("new"));
    assert_eq!(t.value("c").await.as_deref(), Some("old"));
}

pub(crate) async fn last_write_wins(t: Subject) {
    let tx = t.store.begin();
    for value in ["1", "2", "3"] {
        tx.set(&t.key("a"), value.as_bytes());
        tx.set(&t.key("b"), value.as_bytes());
    }
    tx.clear(&t.key("b"));
    tx.commit().await.unwrap();
    assert_eq!(t.value("a").await.as_deref(), Some("3"));
    assert_eq!(t.value("b").await, None);
}

pub(crate) async fn reads_are_repeatable(t: Subject) {
    t.put(&[("a", "1"), ("b", "1")]).await;
    let tx = t.store.begin();
    assert_eq!(text(tx.get(&t.key("a")).await.unwrap()).as_deref(), Some("1"));
    t.put(&[("a", "2"), ("b", "2"), ("c", "2")]).await;
    for name in ["a", "b"] {
        assert_eq!(text(tx.get(&t.key(name)).await.unwrap()).as_deref(), Some("1"));
        assert_eq!(text(tx.get_snapshot(&t.key(name)).await.unwrap()).as_deref(), Some("1"));
    }
    assert_eq!(tx.get(&t.key("c")).await.unwrap(), None);
    assert_eq!(t.read(&tx, &t.range("a", "z")).await.unwrap(), super::pairs(&[("a", "1"), ("b", "1")]));
}

pub(crate) async fn clones_are_the_same_transaction(t: Subject) {
    let tx = t.store.begin();
    let other = tx.clone();
    tx.set(&t.key("a"), b"1");
    assert_eq!(text(other.get(&t.key("a")).await.unwrap()).as_deref(), Some("1"));
    other.set(&t.key("b"), b"2");
    tx.commit().await.unwrap();
    assert_eq!(t.value("b").await.as_deref(), Some("2"));
}

pub(crate) async fn snapshot_reads_see_own_writes(t: Subject) {
    t.put(&[("a", "old"), ("b", "old")]).await;
    let tx = t.store.begin();
    tx.set(&t.key("a"), b"new");
    tx.clear(&t.key("b"));
    assert_eq!(text(tx.get_snapshot(&t.key("a")).await.unwrap()).as_deref(), Some("new"));
    assert_eq!(tx.get_snapshot(&t.key("b")).await.unwrap(), None);
}

pub(crate) async fn keys_and_values_are_any_bytes(t: Subject) {
    let all: Vec<u8> = (0..=255).chain([0, 0, 255, 255]).collect();
    let keys: Vec<Vec<u8>> = vec![vec![], vec![0], vec![0, 0], vec![0, 255], vec![255], vec![255, 0], all.clone()];
    let tx = t.store.begin();
    for key in &keys {
        tx.set(&t.key(key), &[all.as_slice(), key].concat());
    }
    tx.commit().await.unwrap();
    let tx = t.store.begin();
    for key in &keys {
        assert_eq!(tx.get(&t.key(key)).await.unwrap().unwrap(), [all.as_slice(), key].concat());
    }
}

pub(crate) async fn overlong_keys_are_missing(t: Subject) {
    let tx = t.store.begin();
    assert_eq!(tx.get(&t.key(vec![1; 20_000])).await.unwrap(), None);
    tx.commit().await.unwrap();
}
