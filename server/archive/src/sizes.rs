use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hearth_store::keyspace::past;
use hearth_store::{RangeRead, Store, TableInfo, tuple};

use crate::ArchiveError;
use crate::own::ALL;

/// How much is read in one transaction.
const BATCH_BYTES: u64 = 1 << 20;
const MOST_ENTRIES: u64 = 5000;
const FIRST_ENTRIES: u64 = 100;

/// How large a table is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubspaceSize {
    /// First element of the keys; empty for what is none of the tables named by the caller.
    pub database: String,
    /// Second element of the keys.
    pub table: String,
    /// Number of entries.
    pub keys: u64,
    /// Bytes of the keys.
    pub key_bytes: u64,
    /// Bytes of the values.
    pub value_bytes: u64,
    /// Whether all of it was counted. Otherwise the time was up, and there is more.
    pub complete: bool,
}

/// How large everything is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sizes {
    /// Every table that the caller named, empty ones too, in the caller's order; then what else there is, as one.
    pub subspaces: Vec<SubspaceSize>,
    /// Whether everything was counted.
    pub complete: bool,
}

/// A range of keys that is counted for a subspace.
struct Range {
    subspace: usize,
    begin: Vec<u8>,
    end: Vec<u8>,
    /// Entries to read next.
    limit: u64,
}

/// Counts the entries of every table for at most about `limit`. The figures are not of one moment where somebody writes.
///
/// The tables take turns, so that small ones are whole when the time is up.
pub async fn sizes(store: &Store, tables: &[TableInfo], limit: Duration) -> Result<Sizes, ArchiveError> {
    let until = Instant::now() + limit;
    let name = |database: &str, table: &str| SubspaceSize {
        database: database.to_owned(),
        table: table.to_owned(),
        keys: 0,
        key_bytes: 0,
        value_bytes: 0,
        complete: true,
    };
    let mut subspaces: Vec<SubspaceSize> = tables.iter().map(|info| name(info.database, info.table)).collect();
    subspaces.push(name("", ""));
    let mut ranges = ranges(tables);
    while let Some(mut range) = ranges.pop_front() {
        if Instant::now() >= until {
            subspaces[range.subspace].complete = false;
            continue;
        }
        let read = RangeRead {
            begin: range.begin.clone(),
            end: range.end.clone(),
            limit: Some(range.limit as usize),
            reverse: false,
            snapshot: true,
        };
        let read = &read;
        let entries = store.transact("archive.sizes", |tx| async move { tx.range(read).await }).await?;
        let sum = &mut subspaces[range.subspace];
        let (mut keys, mut bytes) = (0, 0);
        for entry in &entries {
            keys += 1;
            sum.key_bytes += entry.key.len() as u64;
            sum.value_bytes += entry.value.len() as u64;
            bytes += (entry.key.len() + entry.value.len()) as u64;
        }
        sum.keys += keys;
        if let Some(last) = entries.last().filter(|_| keys == range.limit) {
            range.begin = crate::lock::after(&last.key).to_vec();
            range.limit = (BATCH_BYTES * keys / bytes.max(1)).clamp(10, MOST_ENTRIES);
            ranges.push_back(range);
        }
    }
    let complete = subspaces.iter().all(|subspace| subspace.complete);
    Ok(Sizes { subspaces, complete })
}

/// The tables' ranges, and those in between for the rest.
fn ranges(tables: &[TableInfo]) -> VecDeque<Range> {
    let range = |subspace, begin, end| Range { subspace, begin, end, limit: FIRST_ENTRIES };
    let packed = |(number, info): (usize, &TableInfo)| {
        let begin = tuple::pack(&(info.database, info.table));
        let end = past(&begin);
        range(number, begin, end)
    };
    let mut named: Vec<Range> = tables.iter().enumerate().map(packed).collect();
    named.sort_by(|a, b| a.begin.cmp(&b.begin));
    let mut all = VecDeque::new();
    let mut from = ALL.0.to_vec();
    for next in named {
        let gap = std::mem::replace(&mut from, next.end.clone());
        all.push_back(range(tables.len(), gap, next.begin.clone()));
        all.push_back(next);
    }
    all.push_back(range(tables.len(), from, ALL.1.to_vec()));
    all
}

#[cfg(test)]
mod tests {
    use hearth_store::StoreError;

    use super::*;

    const fn table(database: &'static str, table: &'static str) -> TableInfo {
        TableInfo { database, table, key: "", value: "", doc: "" }
    }

    async fn filled() -> Store {
        let store = Store::memory();
        let write = |tx: hearth_store::Transaction| async move {
            for number in 0..1000u64 {
                tx.set(&tuple::pack(&("x", "b", number)), &[7; 300]);
            }
            tx.set(&tuple::pack(&("x", "a", "k")), b"value");
            tx.set(&tuple::pack(&("y", "b", 1u64)), b"");
            tx.set(b"\x01", b"low");
            tx.set(b"\xfe", b"high");
            Ok::<_, StoreError>(())
        };
        store.transact("fill", write).await.unwrap();
        store
    }

    #[tokio::test]
    async fn every_entry_is_counted_once() {
        let store = filled().await;
        let tables = [table("x", "b"), table("x", "a"), table("x", "empty")];
        let sizes = sizes(&store, &tables, Duration::from_mins(5)).await.unwrap();
        assert!(sizes.complete);
        let keys: Vec<_> = sizes.subspaces.iter().map(|sum| (sum.table.as_str(), sum.keys)).collect();
        assert_eq!(keys, [("b", 1000), ("a", 1), ("empty", 0), ("", 3)]);
        assert_eq!(sizes.subspaces[0].value_bytes, 300_000);
        assert_eq!((sizes.subspaces[1].key_bytes, sizes.subspaces[1].value_bytes), (9, 5));
    }

    #[tokio::test]
    async fn the_time_is_bounded() {
        let sizes = sizes(&filled().await, &[table("x", "b")], Duration::ZERO).await.unwrap();
        assert!(!sizes.complete && sizes.subspaces.iter().all(|sum| !sum.complete && sum.keys == 0));
    }
}
