//! What conflicts with what.

use hearth_store::{AtomicOp, Committed, RangeRead, StoreError, Transaction};

use super::Subject;

fn conflicted(outcome: &Result<Committed, StoreError>) -> bool {
    match outcome {
        Ok(_) => false,
        Err(StoreError::Conflict) => true,
        Err(error) => panic!("neither committed nor conflicted: {error:?}"),
    }
}

/// Runs `read`, then lets another transaction commit `write`, and tells whether the first one conflicts.
async fn conflict(t: &Subject, read: impl AsyncFnOnce(&Transaction), write: impl FnOnce(&Transaction)) -> bool {
    let (reader, writer) = (t.store.begin(), t.store.begin());
    reader.read_version().await.unwrap();
    read(&reader).await;
    reader.set(&t.key("reader's own"), b"");
    write(&writer);
    writer.commit().await.expect("a blind write commits");
    conflicted(&reader.commit().await)
}

pub(crate) async fn read_and_write_of_the_same_key(t: Subject) {
    t.put(&[("a", "1")]).await;
    let get = async |tx: &Transaction| drop(tx.get(&t.key("a")).await.unwrap());
    assert!(conflict(&t, get, |tx| tx.set(&t.key("a"), b"2")).await);
    assert!(!conflict(&t, get, |tx| tx.set(&t.key("aa"), b"2")).await);
    assert!(!conflict(&t, get, |_| {}).await);
    // The same value again is a write all the same.
    assert!(conflict(&t, get, |tx| tx.set(&t.key("a"), b"2")).await);
}

pub(crate) async fn what_conflicts_with_a_point_read(t: Subject) {
    t.put(&[("present", "1")]).await;
    let stamped = [b"1234567890".as_slice(), &0u32.to_le_bytes()].concat();
    for name in ["present", "missing"] {
        let key = t.key(name);
        let get = async |tx: &Transaction| drop(tx.get(&key).await.unwrap());
        assert!(conflict(&t, get, |tx| tx.clear(&key)).await, "clear of {name}");
        assert!(conflict(&t, get, |tx| tx.set(&key, b"1")).await, "set of {name}");
        assert!(conflict(&t, get, |tx| tx.clear_range(&t.key("m"), &t.key("q"))).await, "clear around {name}");
        assert!(conflict(&t, get, |tx| tx.atomic(AtomicOp::Add, &key, &[1])).await, "operation on {name}");
        assert!(conflict(&t, get, |tx| tx.set_versionstamped_value(&key, &stamped)).await, "stamp on {name}");
        assert!(!conflict(&t, get, |tx| tx.clear_range(&t.key("a"), &key)).await, "clear up to {name}");
        let above = [key.as_slice(), b"\0"].concat();
        assert!(!conflict(&t, get, |tx| tx.clear_range(&above, &t.key("z"))).await, "clear above {name}");
        t.put(&[("present", "1")]).await;
    }
}

pub(crate) async fn what_conflicts_with_a_range_read(t: Subject) {
    t.put(&[("a", "1"), ("c", "1"), ("e", "1"), ("g", "1")]).await;
    let range = async |tx: &Transaction| drop(tx.range(&t.range("b", "f")).await.unwrap());
    for (name, expected) in
        [("a", false), ("b", true), ("c", true), ("d", true), ("e", true), ("f", false), ("g", false)]
    {
        assert_eq!(conflict(&t, range, |tx| tx.set(&t.key(name), b"2")).await, expected, "set of {name}");
    }
    for (begin, end, expected) in [
        ("a", "b", false),
        ("a", "bb", true),
        ("bb", "bc", true),
        ("ee", "z", true),
        ("f", "z", false),
        ("a", "z", true),
    ] {
        let clear = |tx: &Transaction| tx.clear_range(&t.key(begin), &t.key(end));
        assert_eq!(conflict(&t, range, clear).await, expected, "clear of {begin}..{end}");
    }
    // A key that appears with a commit's stamp is a phantom like any other.
    let stamped = [&t.key("c"), [0; 10].as_slice(), &(t.prefix.len() as u32 + 1).to_le_bytes()].concat();
    assert!(conflict(&t, range, |tx| tx.set_versionstamped_key(&stamped, b"")).await);
    let empty = async |tx: &Transaction| assert!(tx.range(&t.range("m", "n")).await.unwrap().is_empty());
    assert!(conflict(&t, empty, |tx| tx.set(&t.key("mm"), b"")).await);
}

pub(crate) async fn limited_reads_conflict_up_to_the_last_entry(t: Subject) {
    t.put(&[("a", "1"), ("c", "1"), ("e", "1"), ("g", "1")]).await;
    for (limit, reverse, name, expected) in [
        (2, false, "b", true),
        (2, false, "c", true),
        (2, false, "d", false),
        (2, false, "g", false),
        (2, true, "h", true),
        (2, true, "e", true),
        (2, true, "d", false),
        (2, true, "a", false),
        // Where the limit was not reached, the whole range was read.
        (9, false, "y", true),
        (9, true, "", true),
    ] {
        let read = RangeRead { limit: Some(limit), reverse, ..t.range("", "z") };
        let range = async |tx: &Transaction| drop(tx.range(&read).await.unwrap());
        let write = |tx: &Transaction| tx.atomic(AtomicOp::Max, &t.key(name), b"1");
        assert_eq!(conflict(&t, range, write).await, expected, "{limit} {reverse} {name}");
        // Away with what the writes added.
        let tx = t.store.begin();
        for name in ["b", "d", "h", "y", "", "reader's own"] {
            tx.clear(&t.key(name));
        }
        tx.commit().await.unwrap();
    }
}

pub(crate) async fn snapshot_reads_do_not_conflict(t: Subject) {
    t.put(&[("a", "1")]).await;
    let get = async |tx: &Transaction| drop(tx.get_snapshot(&t.key("a")).await.unwrap());
    assert!(!conflict(&t, get, |tx| tx.set(&t.key("a"), b"2")).await);
    let read = RangeRead { snapshot: true, ..t.range("", "z") };
    let range = async |tx: &Transaction| drop(tx.range(&read).await.unwrap());
    assert!(!conflict(&t, range, |tx| tx.set(&t.key("a"), b"3")).await);
    // An ordinary read of the same key still does.
    let both = async |tx: &Transaction| {
        tx.get_snapshot(&t.key("a")).await.unwrap();
        tx.get(&t.key("a")).await.unwrap();
    };
    assert!(conflict(&t, both, |tx| tx.set(&t.key("a"), b"4")).await);
}

pub(crate) async fn blind_writes_do_not_conflict(t: Subject) {
    let write = async |tx: &Transaction| {
        tx.set(&t.key("a"), b"first");
        tx.clear_range(&t.key("b"), &t.key("c"));
    };
    let other = |tx: &Transaction| {
        tx.set(&t.key("a"), b"second");
        tx.set(&t.key("b"), b"second");
    };
    assert!(!conflict(&t, write, other).await);
    assert_eq!(t.value("a").await.as_deref(), Some("first"));
    assert_eq!(t.value("b").await, None);
}

pub(crate) async fn own_writes_are_no_reads(t: Subject) {
    t.put(&[("a", "1"), ("b", "1")]).await;
    let own = async |tx: &Transaction| {
        tx.set(&t.key("a"), b"own");
        tx.clear_range(&t.key("b"), &t.key("c"));
        tx.get(&t.key("a")).await.unwrap();
        tx.get(&t.key("b")).await.unwrap();
    };
    assert!(!conflict(&t, own, |tx| tx.set(&t.key("a"), b"2")).await);
    assert!(!conflict(&t, own, |tx| tx.set(&t.key("b"), b"2")).await);
    // A read before the write is a read.
    let before = async |tx: &Transaction| {
        tx.get(&t.key("a")).await.unwrap();
        tx.set(&t.key("a"), b"own");
    };
    assert!(conflict(&t, before, |tx| tx.set(&t.key("a"), b"2")).await);
}

pub(crate) async fn own_writes_cut_holes_into_range_reads(t: Subject) {
    t.put(&[("a", "1"), ("c", "1"), ("e", "1"), ("g", "1")]).await;
    let range = async |tx: &Transaction| {
        tx.set(&t.key("c"), b"own");
        tx.clear_range(&t.key("e"), &t.key("f"));
        tx.atomic(AtomicOp::Add, &t.key("g"), &[1]);
        tx.range(&t.range("", "z")).await.unwrap();
    };
    for (name, expected) in
        [("a", true), ("b", true), ("c", false), ("ca", true), ("e", false), ("ee", false), ("f", true), ("g", true)]
    {
        assert_eq!(conflict(&t, range, |tx| tx.set(&t.key(name), b"2")).await, expected, "{name}");
    }
}

pub(crate) async fn read_only_transactions_do_not_conflict(t: Subject) {
    t.put(&[("a", "1")]).await;
    let tx = t.store.begin();
    tx.get(&t.key("a")).await.unwrap();
    t.put(&[("a", "2")]).await;
    assert!(!conflicted(&tx.commit().await));
    // A write conflict range makes it a transaction that writes.
    let tx = t.store.begin();
    tx.get(&t.key("a")).await.unwrap();
    tx.add_write_conflict_range(&t.key("x"), &t.key("y"));
    t.put(&[("a", "3")]).await;
    assert!(conflicted(&tx.commit().await));
}

pub(crate) async fn writes_before_the_read_do_not_conflict(t: Subject) {
    let tx = t.store.begin();
    t.put(&[("a", "1")]).await;
    tx.get(&t.key("a")).await.unwrap();
    tx.set(&t.key("a"), b"2");
    assert!(!conflicted(&tx.commit().await));
}

pub(crate) async fn failed_transactions_do_not_conflict(t: Subject) {
    let (reader, failing) = (t.store.begin(), t.store.begin());
    reader.get(&t.key("a")).await.unwrap();
    failing.get(&t.key("b")).await.unwrap();
    failing.set(&t.key("a"), b"never");
    t.put(&[("b", "1")]).await;
    assert!(conflicted(&failing.commit().await));
    reader.set(&t.key("c"), b"1");
    assert!(!conflicted(&reader.commit().await));
    assert_eq!(t.value("a").await, None);
}

pub(crate) async fn write_skew_is_prevented(t: Subject) {
    t.put(&[("a", "1"), ("b", "1")]).await;
    let (one, two) = (t.store.begin(), t.store.begin());
    for tx in [&one, &two] {
        tx.get(&t.key("a")).await.unwrap();
        tx.get(&t.key("b")).await.unwrap();
    }
    one.clear(&t.key("a"));
    two.clear(&t.key("b"));
    let (one, two) = tokio::join!(one.commit(), two.commit());
    assert!(conflicted(&one) != conflicted(&two), "exactly one of them commits");
}

pub(crate) async fn added_read_conflict_ranges(t: Subject) {
    let add = async |tx: &Transaction| tx.add_read_conflict_range(&t.key("b"), &t.key("d"));
    assert!(conflict(&t, add, |tx| tx.set(&t.key("c"), b"")).await);
    assert!(!conflict(&t, add, |tx| tx.set(&t.key("d"), b"")).await);
    // Without a read the range holds from the commit on.
    let tx = t.store.begin();
    tx.add_read_conflict_range(&t.key("b"), &t.key("d"));
    tx.set(&t.key("x"), b"");
    t.put(&[("c", "1")]).await;
    assert!(!conflicted(&tx.commit().await));
}

pub(crate) async fn added_write_conflict_ranges(t: Subject) {
    let range = async |tx: &Transaction| drop(tx.range(&t.range("b", "d")).await.unwrap());
    let get = async |tx: &Transaction| drop(tx.get(&t.key("c")).await.unwrap());
    let write = |tx: &Transaction| tx.add_write_conflict_range(&t.key("c"), &t.key("cc"));
    assert!(conflict(&t, range, write).await);
    assert!(conflict(&t, get, write).await);
    assert!(!conflict(&t, get, |tx| tx.add_write_conflict_range(&t.key("d"), &t.key("e"))).await);
    assert_eq!(t.value("c").await, None);
}

pub(crate) async fn conflict_ranges_are_half_open(t: Subject) {
    let add = async |tx: &Transaction| tx.add_read_conflict_range(&t.key("b"), &t.key("d"));
    for (begin, end, expected) in [
        ("a", "b", false),
        ("a", "ba", true),
        ("cz", "e", true),
        ("d", "e", false),
        ("bb", "bc", true),
        ("a", "z", true),
    ] {
        let write = |tx: &Transaction| tx.add_write_conflict_range(&t.key(begin), &t.key(end));
        assert_eq!(conflict(&t, add, write).await, expected, "{begin}..{end}");
    }
}

/// Enough of both that no shortcut for few of them applies.
pub(crate) async fn many_reads_and_many_writes(t: Subject) {
    let key = |number: usize| t.key(format!("{number:05}"));
    let (clean, point, wide, outside) = (t.store.begin(), t.store.begin(), t.store.begin(), t.store.begin());
    for number in 0..300 {
        clean.get(&key(number * 10 + 1)).await.unwrap();
        point.get(&key(number * 10 + 1)).await.unwrap();
    }
    point.get(&key(1770)).await.unwrap();
    wide.range(&RangeRead { begin: key(1501), end: key(1611), ..t.range("", "") }).await.unwrap();
    outside.range(&RangeRead { begin: key(1501), end: key(1510), ..t.range("", "") }).await.unwrap();
    for first in 0..10 {
        let tx = t.store.begin();
        for number in 0..30 {
            tx.set(&key((first * 30 + number) * 10), b"");
        }
        tx.commit().await.unwrap();
    }
    for (tx, expected, name) in
        [(clean, false, "clean"), (point, true, "point"), (wide, true, "wide"), (outside, false, "outside")]
    {
        tx.set(&t.key("own"), b"");
        assert_eq!(conflicted(&tx.commit().await), expected, "{name}");
    }
}
