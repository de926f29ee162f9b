//! What the checks of the databases share: findings, and reading whole tables in bounded transactions.
//!
//! A check reads each row together with what it refers to in one transaction, so that it can run while others write: each look
//! is of one moment. It changes nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use foundationdb_tuple::TuplePack;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{Key, Store, StoreError, Table, Transaction, Value};

/// Rows of a table that one transaction looks at, and how many of them at once.
const ROWS: usize = 200;
const AT_ONCE: usize = 32;
/// Findings that are kept with all their words.
const KEPT: usize = 1000;

/// Something that does not agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The table with the row that is wrong, as `database/table`.
    pub table: String,
    /// What is wrong, and which row it is.
    pub what: String,
    /// What a repair would do.
    pub repair: &'static str,
}

/// What checks have found so far, and how far they are.
#[derive(Debug, Default)]
pub struct Report {
    kept: Mutex<Vec<Finding>>,
    findings: AtomicU64,
    rows: AtomicU64,
}

impl Report {
    /// Nothing looked at yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of rows that were looked at.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Number of findings.
    pub fn findings(&self) -> u64 {
        self.findings.load(Ordering::Relaxed)
    }

    /// The first thousand findings.
    pub fn kept(&self) -> Vec<Finding> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes findings in.
    pub fn add(&self, found: impl IntoIterator<Item = Finding>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for finding in found {
            self.findings.fetch_add(1, Ordering::Relaxed);
            if kept.len() < KEPT {
                kept.push(finding);
            }
        }
    }

    /// Takes in what is wrong with a table as a whole.
    pub fn add_wrong(&self, table: &str, wrong: impl IntoIterator<Item = Wrong>) {
        let finding = |Wrong { what, repair }| Finding { table: table.to_owned(), what, repair };
        self.add(wrong.into_iter().map(finding));
    }

    /// Takes in all that another report has.
    pub fn absorb(&self, other: &Self) {
        let kept = other.kept();
        let more = other.findings() - kept.len() as u64;
        self.add(kept);
        self.findings.fetch_add(more, Ordering::Relaxed);
        self.rows.fetch_add(other.rows(), Ordering::Relaxed);
    }

    /// Looks at every row of `table` with `look`, which reads with the transaction that it is given and returns what is wrong,
    /// with what would repair it.
    ///
    /// A row that does not decode is a finding, and ends the look at its table.
    pub async fn each<K, V, F, Fut>(&self, store: &Store, table: &Table<K, V>, look: F) -> Result<(), StoreError>
    where
        K: Key + TuplePack + Clone + Send + Sync,
        V: Value + Send,
        F: Fn(Transaction, K, V) -> Fut + Send + Sync,
        Fut: Future<Output = Result<Vec<Wrong>, StoreError>> + Send,
    {
        let look = &look;
        let mut after: Option<K> = None;
        loop {
            let from = &after;
            let page = store
                .transact("check", |tx| async move {
                    let scan = table.scan(()).snapshot().limit(ROWS);
                    let rows = match from {
                        Some(key) => scan.after(key).all(&tx).await?,
                        None => scan.all(&tx).await?,
                    };
                    let (count, last) = (rows.len(), rows.last().map(|(key, _)| key.clone()));
                    let looks = rows.into_iter().map(|(key, value)| look(tx.clone(), key, value));
                    let looks: Vec<_> = looks.collect();
                    let wrong: Vec<Vec<Wrong>> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
                    Ok::<_, StoreError>((count, last, wrong))
                })
                .await;
            let name = table.name();
            match page {
                Ok((count, last, wrong)) => {
                    self.rows.fetch_add(count as u64, Ordering::Relaxed);
                    self.add_wrong(&name, wrong.into_iter().flatten());
                    if count < ROWS {
                        return Ok(());
                    }
                    after = last;
                }
                Err(StoreError::Corrupt { table, detail }) => {
                    let what = format!("a row does not decode: {detail}");
                    self.add([Finding { table, what, repair: "none: restore a backup" }]);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// What is wrong with the row that is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    what: String,
    repair: &'static str,
}

/// What is wrong if `right` does not hold.
pub fn expect(right: bool, what: impl FnOnce() -> String, repair: &'static str) -> Option<Wrong> {
    (!right).then(|| Wrong { what: what(), repair })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: Table<(u64,), u64> = Table::new("test", "number");
    const OTHER: Table<(u64,), u64> = Table::new("test", "other");

    #[tokio::test]
    async fn every_row_is_looked_at_once() {
        let store = Store::memory();
        let tx = store.begin();
        for number in 0..1001 {
            NUMBER.set(&tx, (number,), &(number % 500));
        }
        OTHER.set(&tx, (1,), &1);
        tx.commit().await.unwrap();
        let report = Report::new();
        let look = async |tx: Transaction, (number,): (u64,), value: u64| {
            let other = OTHER.get_snapshot(&tx, (value,)).await?;
            let wrong = expect(other.is_none(), || format!("{number} has another"), "nothing");
            Ok(wrong.into_iter().collect())
        };
        report.each(&store, &NUMBER, look).await.unwrap();
        assert_eq!((report.rows(), report.findings()), (1001, 2));
        let words: Vec<_> = report.kept().into_iter().map(|finding| (finding.table, finding.what)).collect();
        let expected = |number: u64| ("test/number".to_owned(), format!("{number} has another"));
        assert_eq!(words, [expected(1), expected(501)]);
    }

    #[tokio::test]
    async fn a_row_that_does_not_decode_is_a_finding() {
        let store = Store::memory();
        let tx = store.begin();
        tx.set(&NUMBER.pack(&(3u64,)), b"?");
        tx.commit().await.unwrap();
        let report = Report::new();
        report.each(&store, &NUMBER, |_, _, _| async { Ok(Vec::new()) }).await.unwrap();
        let kept = report.kept();
        assert_eq!((kept.len(), kept[0].table.as_str()), (1, "test/number"));
    }
}
