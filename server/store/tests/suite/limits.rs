//! FoundationDB's limits.

use std::time::{Duration, Instant};

use hearth_store::limits::{KEY_BYTES, TRANSACTION_LIFETIME, VALUE_BYTES};
use hearth_store::{AtomicOp, StoreError};

use super::Subject;

pub(crate) async fn key_size(t: Subject) {
    let key = |length: usize| t.key(vec![b'k'; length - t.prefix.len()]);
    let tx = t.store.begin();
    tx.set(&key(KEY_BYTES), b"fits");
    tx.commit().await.unwrap();
    assert_eq!(t.store.begin().get(&key(KEY_BYTES)).await.unwrap().unwrap(), b"fits".as_slice());
    let long = key(KEY_BYTES + 1);
    for write in 0..4 {
        let tx = t.store.begin();
        match write {
            0 => tx.set(&long, b""),
            1 => tx.atomic(AtomicOp::Add, &long, &[1]),
            2 => tx.set_versionstamped_value(&long, &[0; 14]),
            _ => tx.set_versionstamped_key(&[long.as_slice(), &0u32.to_le_bytes()].concat(), b""),
        }
        assert!(matches!(tx.commit().await, Err(StoreError::KeyTooLarge { size }) if size == KEY_BYTES + 1), "{write}");
    }
}

pub(crate) async fn value_size(t: Subject) {
    let tx = t.store.begin();
    tx.set(&t.key("a"), &vec![1; VALUE_BYTES]);
    tx.commit().await.unwrap();
    assert_eq!(t.store.begin().get(&t.key("a")).await.unwrap().unwrap().len(), VALUE_BYTES);
    let tx = t.store.begin();
    tx.set(&t.key("b"), b"not stored either");
    tx.set(&t.key("a"), &vec![2; VALUE_BYTES + 1]);
    assert!(matches!(tx.commit().await, Err(StoreError::ValueTooLarge { size }) if size == VALUE_BYTES + 1));
    assert_eq!(t.value("b").await, None);
}

pub(crate) async fn transaction_size(t: Subject) {
    let value = vec![7; VALUE_BYTES];
    let tx = t.store.begin();
    (0..90).for_each(|number| tx.set(&t.key(format!("{number}")), &value));
    tx.commit().await.unwrap();
    let tx = t.store.begin();
    (0..101).for_each(|number| tx.set(&t.key(format!("x{number}")), &value));
    let outcome = tx.commit().await;
    assert!(matches!(outcome, Err(StoreError::TransactionTooLarge { .. })), "{outcome:?}");
    assert!(t.read(&t.store.begin(), &t.range("x", "y")).await.unwrap().is_empty());
}

pub(crate) async fn conflict_ranges_count(t: Subject) {
    let tx = t.store.begin();
    for number in 0..600 {
        let begin = t.key(format!("{number:05}{}", "k".repeat(9000)));
        let end = [begin.as_slice(), b"\0"].concat();
        tx.add_read_conflict_range(&begin, &end);
    }
    tx.set(&t.key("a"), b"");
    let outcome = tx.commit().await;
    assert!(matches!(outcome, Err(StoreError::TransactionTooLarge { .. })), "{outcome:?}");
}

pub(crate) async fn inverted_clear_range(t: Subject) {
    t.put(&[("a", "1"), ("b", "1")]).await;
    let tx = t.store.begin();
    tx.clear_range(&t.key("b"), &t.key("a"));
    assert!(matches!(tx.commit().await, Err(StoreError::InvertedRange)));
    assert_eq!(t.value("a").await.as_deref(), Some("1"));
}

pub(crate) async fn transactions_grow_old(t: Subject) {
    t.put(&[("a", "1")]).await;
    let (reader, writer, blind) = (t.store.begin(), t.store.begin(), t.store.begin());
    blind.set(&t.key("b"), b"blind");
    reader.get(&t.key("a")).await.unwrap();
    writer.get(&t.key("a")).await.unwrap();
    writer.set(&t.key("c"), b"");
    let began = Instant::now();
    let outcome = loop {
        match reader.get(&t.key("a")).await {
            // What is read stays as it was for as long as it is served.
            Ok(value) => assert_eq!(super::text(value).as_deref(), Some("1")),
            Err(error) => break error,
        }
        assert!(began.elapsed() < 4 * TRANSACTION_LIFETIME, "a transaction lives too long");
        t.put(&[("a", "2")]).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(matches!(outcome, StoreError::TransactionTooOld), "{outcome:?}");
    assert!(began.elapsed() + Duration::from_millis(500) > TRANSACTION_LIFETIME, "it lived for its lifetime");
    let again = reader.range(&t.range("", "z")).await;
    assert!(matches!(again, Err(StoreError::TransactionTooOld)), "{again:?}");
    let outcome = writer.commit().await;
    assert!(matches!(outcome, Err(StoreError::TransactionTooOld | StoreError::Conflict)), "{outcome:?}");
    // Nothing was read at any version: nothing is too old.
    blind.commit().await.unwrap();
}

pub(crate) async fn first_error_is_told(t: Subject) {
    let tx = t.store.begin();
    tx.clear_range(&t.key("b"), &t.key("a"));
    tx.set(&t.key("a"), &vec![0; VALUE_BYTES + 1]);
    assert!(matches!(tx.commit().await, Err(StoreError::InvertedRange)));
}
