//! Range reads and range clears.

use std::collections::BTreeMap;

use hearth_store::{RangeRead, StoreError};

use super::{Subject, pairs};

pub(crate) async fn order_is_bytewise(t: Subject) {
    let keys: [&[u8]; 8] = [&[], &[0], &[0, 0], &[0, 1], &[1], &[1, 255], &[2], &[254, 255]];
    let tx = t.store.begin();
    for key in keys.iter().rev() {
        tx.set(&t.key(key), key);
    }
    tx.commit().await.unwrap();
    let read = RangeRead { begin: t.key([]), end: t.key([255]), limit: None, reverse: false, snapshot: false };
    let found = t.store.begin().range(&read).await.unwrap();
    let found: Vec<_> = found.iter().map(|entry| entry.value.to_vec()).collect();
    assert_eq!(found, keys);
}

pub(crate) async fn forward_and_reverse_with_limits(t: Subject) {
    t.put(&[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]).await;
    let tx = t.store.begin();
    for (begin, end, limit, reverse, expected) in [
        ("a", "z", None, false, "abcd"),
        ("a", "z", None, true, "dcba"),
        ("a", "d", None, false, "abc"),
        ("b", "c", None, false, "b"),
        ("bb", "cc", None, false, "c"),
        ("a", "z", Some(2), false, "ab"),
        ("a", "z", Some(2), true, "dc"),
        ("a", "d", Some(1), true, "c"),
        ("a", "z", Some(4), false, "abcd"),
        ("a", "z", Some(9), true, "dcba"),
        ("a", "z", Some(0), false, ""),
        ("e", "z", None, false, ""),
    ] {
        let read = RangeRead { limit, reverse, ..t.range(begin, end) };
        let found: String = t.read(&tx, &read).await.unwrap().into_iter().map(|(key, _)| key).collect();
        assert_eq!(found, expected, "{begin}..{end} {limit:?} {reverse}");
    }
}

pub(crate) async fn empty_ranges(t: Subject) {
    t.put(&[("a", "1")]).await;
    let tx = t.store.begin();
    assert!(t.read(&tx, &t.range("a", "a")).await.unwrap().is_empty());
    tx.clear_range(&t.key("a"), &t.key("a"));
    tx.add_read_conflict_range(&t.key("a"), &t.key("a"));
    tx.add_write_conflict_range(&t.key("a"), &t.key("a"));
    tx.commit().await.unwrap();
    assert_eq!(t.value("a").await.as_deref(), Some("1"));
}

pub(crate) async fn inverted_range_is_an_error(t: Subject) {
    let error = t.store.begin().range(&t.range("b", "a")).await.unwrap_err();
    assert!(matches!(error, StoreError::InvertedRange), "{error:?}");
}

pub(crate) async fn clear_range_is_half_open(t: Subject) {
    t.put(&[("a", "1"), ("b", "2"), ("ba", "3"), ("c", "4"), ("ca", "5")]).await;
    let tx = t.store.begin();
    tx.clear_range(&t.key("b"), &t.key("c"));
    tx.commit().await.unwrap();
    let left = t.read(&t.store.begin(), &t.range("a", "z")).await.unwrap();
    assert_eq!(left, pairs(&[("a", "1"), ("c", "4"), ("ca", "5")]));
}

pub(crate) async fn own_writes_are_merged(t: Subject) {
    t.put(&[("a", "1"), ("c", "3"), ("e", "5"), ("g", "7")]).await;
    let tx = t.store.begin();
    tx.set(&t.key("b"), b"new");
    tx.set(&t.key("c"), b"new");
    tx.clear(&t.key("e"));
    tx.set(&t.key("h"), b"new");
    let expected = [("a", "1"), ("b", "new"), ("c", "new"), ("g", "7"), ("h", "new")];
    assert_eq!(t.read(&tx, &t.range("a", "z")).await.unwrap(), pairs(&expected));
    let reverse = RangeRead { reverse: true, ..t.range("a", "z") };
    let backwards: Vec<_> = expected.iter().rev().copied().collect();
    assert_eq!(t.read(&tx, &reverse).await.unwrap(), pairs(&backwards));
    tx.clear_range(&t.key("b"), &t.key("h"));
    tx.set(&t.key("d"), b"last");
    let expected = pairs(&[("a", "1"), ("d", "last"), ("h", "new")]);
    assert_eq!(t.read(&tx, &t.range("a", "z")).await.unwrap(), expected);
    tx.commit().await.unwrap();
    assert_eq!(t.read(&t.store.begin(), &t.range("a", "z")).await.unwrap(), expected);
}

pub(crate) async fn limit_counts_what_is_left(t: Subject) {
    t.put(&[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("e", "5")]).await;
    let tx = t.store.begin();
    tx.clear_range(&t.key("a"), &t.key("c"));
    tx.clear(&t.key("e"));
    let first = RangeRead { limit: Some(1), ..t.range("a", "z") };
    assert_eq!(t.read(&tx, &first).await.unwrap(), pairs(&[("c", "3")]));
    let last = RangeRead { reverse: true, ..first };
    assert_eq!(t.read(&tx, &last).await.unwrap(), pairs(&[("d", "4")]));
}

pub(crate) async fn many_entries(t: Subject) {
    const COUNT: usize = 5000;
    for first in (0..COUNT).step_by(1000) {
        let tx = t.store.begin();
        (first..first + 1000).for_each(|number| tx.set(&t.key(format!("{number:06}")), &[7; 50]));
        tx.commit().await.unwrap();
    }
    let found = t.store.begin().range(&t.range("", "z")).await.unwrap();
    assert_eq!(found.len(), COUNT);
    assert!(found.iter().enumerate().all(|(number, entry)| entry.key == t.key(format!("{number:06}"))));
    // Page by page, the way long reads go.
    let mut pages = 0;
    let mut next = t.range("", "z");
    next.limit = Some(700);
    let mut seen = 0;
    loop {
        let page = t.store.begin().range(&next).await.unwrap();
        let Some(last) = page.last() else { break };
        next.begin = last.key.iter().copied().chain([0]).collect();
        seen += page.len();
        pages += 1;
    }
    assert_eq!((seen, pages), (COUNT, COUNT.div_ceil(700)));
}

/// Every range, direction and limit over a fixed mixture of stored entries, own writes and own clears.
pub(crate) async fn own_writes_and_limits_agree_with_a_map(t: Subject) {
    let names: Vec<String> = ('a'..='l').map(String::from).collect();
    let mut model: BTreeMap<&str, &str> = BTreeMap::new();
    let stored: Vec<(&str, &str)> = names.iter().step_by(2).map(|name| (name.as_str(), "stored")).collect();
    t.put(&stored).await;
    model.extend(stored);
    let tx = t.store.begin();
    for (begin, end) in [("b", "d"), ("d", "dd"), ("g", "i"), ("k", "kk")] {
        tx.clear_range(&t.key(begin), &t.key(end));
        model.retain(|key, _| !(begin <= *key && *key < end));
    }
    for name in ["c", "d", "h", "j"] {
        tx.set(&t.key(name), b"own");
        model.insert(name, "own");
    }
    tx.clear(&t.key("e"));
    model.remove("e");
    for begin in &names {
        for end in names.iter().filter(|end| *end >= begin) {
            for limit in [None, Some(1), Some(2), Some(5)] {
                for reverse in [false, true] {
                    let read = RangeRead { limit, reverse, ..t.range(begin, end) };
                    let mut expected: Vec<(&str, &str)> =
                        model.range(begin.as_str()..end.as_str()).map(|(key, value)| (*key, *value)).collect();
                    if reverse {
                        expected.reverse();
                    }
                    expected.truncate(limit.unwrap_or(usize::MAX));
                    let found = t.read(&tx, &read).await.unwrap();
                    assert_eq!(found, pairs(&expected), "{begin}..{end} {limit:?} {reverse}");
                }
            }
        }
    }
}
