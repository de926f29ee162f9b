//! `transact`: what is retried and what is not.

use std::sync::atomic::{AtomicU32, Ordering};

use hearth_store::{AsStoreError, StoreError, Transaction};

use super::{Subject, soon};

/// A caller's own error.
#[derive(Debug)]
enum Oops {
    Store(StoreError),
    Mine(&'static str),
}

impl From<StoreError> for Oops {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl AsStoreError for Oops {
    fn as_store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            Self::Mine(_) => None,
        }
    }
}

fn number(value: Option<hearth_store::Bytes>) -> u64 {
    value.map_or(0, |value| u64::from_le_bytes(value.as_ref().try_into().unwrap()))
}

pub(crate) async fn conflicts_are_retried(t: Subject) {
    const TASKS: u64 = 6;
    const TURNS: u64 = 20;
    let attempts = std::sync::Arc::new(AtomicU32::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..TASKS {
        let (store, key, attempts) = (t.store.clone(), t.key("counter"), attempts.clone());
        tasks.spawn(async move {
            for _ in 0..TURNS {
                let increment = async |tx: Transaction| -> Result<(), StoreError> {
                    attempts.fetch_add(1, Ordering::Relaxed);
                    let now = number(tx.get(&key).await?);
                    tokio::task::yield_now().await;
                    tx.set(&key, &(now + 1).to_le_bytes());
                    Ok(())
                };
                store.transact("increment", increment).await.unwrap();
            }
        });
    }
    soon(tasks.join_all()).await;
    assert_eq!(number(t.store.begin().get(&t.key("counter")).await.unwrap()), TASKS * TURNS);
    assert!(u64::from(attempts.load(Ordering::Relaxed)) >= TASKS * TURNS);
}

pub(crate) async fn errors_end_the_transaction(t: Subject) {
    let attempts = AtomicU32::new(0);
    let fail = async |tx: Transaction| -> Result<(), StoreError> {
        attempts.fetch_add(1, Ordering::Relaxed);
        tx.set(&t.key("a"), b"never");
        Err(StoreError::InvertedRange)
    };
    assert!(matches!(t.store.transact("fail", fail).await, Err(StoreError::InvertedRange)));
    assert_eq!((attempts.into_inner(), t.value("a").await), (1, None));
}

pub(crate) async fn own_error_types(t: Subject) {
    let mine = async |tx: Transaction| -> Result<(), Oops> {
        tx.set(&t.key("a"), b"never");
        Err(Oops::Mine("changed my mind"))
    };
    assert!(matches!(t.store.transact("mine", mine).await, Err(Oops::Mine("changed my mind"))));
    assert_eq!(t.value("a").await, None);
    let attempts = AtomicU32::new(0);
    let through = async |tx: Transaction| -> Result<u32, Oops> {
        let attempt = attempts.fetch_add(1, Ordering::Relaxed);
        tx.get(&t.key("a")).await?;
        tx.set(&t.key("b"), b"x");
        if attempt == 0 {
            t.put(&[("a", "changed")]).await;
        }
        Ok(attempt)
    };
    assert_eq!(t.store.transact("through", through).await.unwrap(), 1);
}

pub(crate) async fn a_body_may_ask_for_a_retry(t: Subject) {
    let attempts = AtomicU32::new(0);
    let ask = async |tx: Transaction| -> Result<u32, StoreError> {
        let attempt = attempts.fetch_add(1, Ordering::Relaxed);
        tx.set(&t.key(format!("{attempt}")), b"x");
        if attempt < 3 { Err(StoreError::Conflict) } else { Ok(attempt) }
    };
    let (attempt, committed) = soon(t.store.transact_versioned("ask", ask)).await.unwrap();
    assert_eq!(attempt, 3);
    assert!(committed.versionstamp.is_some());
    assert_eq!(t.value("0").await, None);
    assert_eq!(t.value("3").await.as_deref(), Some("x"));
}

pub(crate) async fn too_old_is_given_up(t: Subject) {
    let attempts = AtomicU32::new(0);
    let body = async |_: Transaction| -> Result<(), StoreError> {
        attempts.fetch_add(1, Ordering::Relaxed);
        Err(StoreError::TransactionTooOld)
    };
    assert!(matches!(soon(t.store.transact("old", body)).await, Err(StoreError::TransactionTooOld)));
    assert!(attempts.into_inner() > 1);
}

pub(crate) async fn attempts_leave_nothing_behind(t: Subject) {
    t.put(&[("a", "0")]).await;
    let attempts = AtomicU32::new(0);
    let body = async |tx: Transaction| -> Result<(), StoreError> {
        let attempt = attempts.fetch_add(1, Ordering::Relaxed);
        tx.get(&t.key("a")).await?;
        tx.set(&t.key(format!("attempt {attempt}")), b"x");
        if attempt < 2 {
            t.put(&[("a", "changed")]).await;
        }
        Ok(())
    };
    soon(t.store.transact("attempts", body)).await.unwrap();
    let left = t.read(&t.store.begin(), &t.range("attempt", "b")).await.unwrap();
    assert_eq!(left, super::pairs(&[("attempt 2", "x")]));
}

/// Money moves between accounts while others add it up.
pub(crate) async fn concurrent_transfers_keep_the_sum(t: Subject) {
    const ACCOUNTS: u64 = 5;
    const EACH: u64 = 100;
    let tx = t.store.begin();
    (0..ACCOUNTS).for_each(|account| tx.set(&t.key(format!("{account}")), &EACH.to_le_bytes()));
    tx.commit().await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..4u64 {
        let (store, prefix) = (t.store.clone(), t.prefix.clone());
        let key = move |account: u64| [prefix.as_slice(), account.to_string().as_bytes()].concat();
        tasks.spawn(async move {
            for turn in 0..25u64 {
                let (from, to) = ((task + turn) % ACCOUNTS, (task * 3 + turn * 7 + 1) % ACCOUNTS);
                let transfer = async |tx: Transaction| -> Result<(), StoreError> {
                    let has = number(tx.get(&key(from)).await?);
                    if has > 0 {
                        tx.set(&key(from), &(has - 1).to_le_bytes());
                        let other = number(tx.get(&key(to)).await?);
                        tx.set(&key(to), &(other + 1).to_le_bytes());
                    }
                    Ok(())
                };
                store.transact("transfer", transfer).await.unwrap();
                let mut sum = 0;
                let tx = store.begin();
                for account in 0..ACCOUNTS {
                    sum += number(tx.get(&key(account)).await.unwrap());
                }
                assert_eq!(sum, ACCOUNTS * EACH);
            }
        });
    }
    soon(tasks.join_all()).await;
}
