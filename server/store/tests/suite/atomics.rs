//! Atomic operations.

use hearth_store::AtomicOp::{self, Add, Max, Min};
use hearth_store::StoreError;

use super::Subject;

/// Operation, value before, operand, value after.
type Case = (AtomicOp, Option<&'static [u8]>, &'static [u8], &'static [u8]);

const CASES: [Case; 9] = [
    (Add, None, &[5, 0], &[5, 0]),
    (Add, Some(&[250, 1]), &[10, 0], &[4, 2]),
    (Add, Some(&[7, 0, 0, 0, 0, 0, 0, 0]), &[255; 8], &[6, 0, 0, 0, 0, 0, 0, 0]),
    (Add, Some(&[1]), &[1, 1], &[2, 1]),
    (Min, None, &[9], &[9]),
    (Min, Some(&[0, 2]), &[255, 1], &[255, 1]),
    (Min, Some(&[1, 1]), &[255, 1], &[1, 1]),
    (Max, None, &[9], &[9]),
    (Max, Some(&[0, 2]), &[255, 1], &[0, 2]),
];

pub(crate) async fn operations_on_stored_values(t: Subject) {
    for (op, before, operand, after) in CASES {
        let key = t.key("a");
        let tx = t.store.begin();
        match before {
            Some(value) => tx.set(&key, value),
            None => tx.clear(&key),
        }
        tx.commit().await.unwrap();

        let tx = t.store.begin();
        tx.atomic(op, &key, operand);
        assert_eq!(tx.get(&key).await.unwrap().unwrap(), after, "{op:?} {before:?} {operand:?}, before the commit");
        tx.commit().await.unwrap();
        let stored = t.store.begin().get(&key).await.unwrap().unwrap();
        assert_eq!(stored, after, "{op:?} {before:?} {operand:?}, stored");
    }
}

pub(crate) async fn operations_on_own_writes(t: Subject) {
    for (op, before, operand, after) in CASES {
        let key = t.key("a");
        let tx = t.store.begin();
        match before {
            Some(value) => tx.set(&key, value),
            None => tx.clear(&key),
        }
        tx.atomic(op, &key, operand);
        assert_eq!(tx.get(&key).await.unwrap().unwrap(), after, "{op:?} {before:?} {operand:?}, before the commit");
        tx.commit().await.unwrap();
        let stored = t.store.begin().get(&key).await.unwrap().unwrap();
        assert_eq!(stored, after, "{op:?} {before:?} {operand:?}, stored");
    }
}

pub(crate) async fn operations_chain(t: Subject) {
    let key = t.key("a");
    t.put(&[("a", "\u{5}")]).await;
    let tx = t.store.begin();
    tx.atomic(Add, &key, &[10]);
    tx.atomic(Max, &key, &[12]);
    tx.atomic(Add, &key, &[1]);
    tx.atomic(Min, &key, &[200]);
    assert_eq!(tx.get(&key).await.unwrap().unwrap(), &[16][..]);
    assert_eq!(tx.range(&t.range("", "z")).await.unwrap()[0].value, &[16][..]);
    tx.commit().await.unwrap();
    assert_eq!(t.store.begin().get(&key).await.unwrap().unwrap(), &[16][..]);
}

pub(crate) async fn operations_after_clear(t: Subject) {
    t.put(&[("a", "x"), ("b", "x")]).await;
    let tx = t.store.begin();
    tx.clear(&t.key("a"));
    tx.atomic(Add, &t.key("a"), &[1]);
    tx.clear_range(&t.key("b"), &t.key("c"));
    tx.atomic(Add, &t.key("b"), &[2]);
    tx.commit().await.unwrap();
    assert_eq!(t.value("a").await.as_deref(), Some("\u{1}"));
    assert_eq!(t.value("b").await.as_deref(), Some("\u{2}"));
}

pub(crate) async fn blind_operations_do_not_conflict(t: Subject) {
    let (one, two) = (t.store.begin(), t.store.begin());
    for tx in [&one, &two] {
        tx.get(&t.key("unrelated")).await.unwrap();
        tx.atomic(Add, &t.key("a"), &[1]);
    }
    one.commit().await.unwrap();
    two.commit().await.unwrap();
    assert_eq!(t.value("a").await.as_deref(), Some("\u{2}"));
}

pub(crate) async fn concurrent_additions_add_up(t: Subject) {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (store, key) = (t.store.clone(), t.key("a"));
        tasks.spawn(async move {
            for _ in 0..25 {
                let tx = store.begin();
                tx.atomic(Add, &key, &1u64.to_le_bytes());
                tx.commit().await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(t.store.begin().get(&t.key("a")).await.unwrap().unwrap(), 200u64.to_le_bytes().as_slice());
}

pub(crate) async fn reads_of_operations_conflict(t: Subject) {
    let tx = t.store.begin();
    tx.atomic(Add, &t.key("a"), &[1]);
    tx.get(&t.key("a")).await.unwrap();
    t.put(&[("a", "x")]).await;
    assert!(matches!(tx.commit().await, Err(StoreError::Conflict)));
}
