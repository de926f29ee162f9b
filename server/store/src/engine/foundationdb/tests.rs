//! What only shows inside the engine, against a real server.

use std::sync::Arc;
use std::time::Duration;

use ::foundationdb::Transaction;
use hearth_store_testing::cluster;

use super::capture::{self, LEASE};
use super::idempotency::{self, Receipt};
use super::layout::point;
use super::{FdbSnapshot, FdbTransaction, FoundationDb, client};
use crate::{FoundationDbOptions, StoreError, Version};

async fn open() -> Option<Arc<FoundationDb>> {
    let cluster = cluster()?;
    let options = FoundationDbOptions {
        cluster_file: cluster.cluster_file().to_owned(),
        client_library: cluster.client_library(),
        key_prefix: cluster.new_prefix(),
    };
    Some(FoundationDb::open(options).await.unwrap())
}

/// A transaction with a receipt, ready to be sent.
async fn prepared(engine: &Arc<FoundationDb>, key: &[u8]) -> (Transaction, Receipt) {
    let receipt = engine.receipts.begin().await.unwrap();
    let transaction = client::begin(&engine.database, None).unwrap();
    client::read_version(&transaction).await.unwrap();
    transaction.set(&engine.layout.key(key), b"value");
    receipt.leave(&transaction, &engine.layout).unwrap();
    (Arc::into_inner(transaction).unwrap(), receipt)
}

async fn exists(engine: &Arc<FoundationDb>, key: &[u8]) -> bool {
    FdbTransaction::new(engine.clone(), None).get(key, false).await.unwrap().is_some()
}

fn version(stamp: [u8; 10]) -> Version {
    Version::from_be_bytes(stamp[..8].try_into().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_happened_is_found_by_its_receipt() {
    let Some(engine) = open().await else { return };
    let (transaction, receipt) = prepared(&engine, b"a").await;
    let committed = transaction.commit().await.unwrap().committed_version().unwrap();
    let stamp = receipt.resolve(&engine.database, &engine.layout).await.unwrap().unwrap();
    assert_eq!(version(stamp), committed.cast_unsigned());
    // And again, should the first answer get lost.
    assert_eq!(receipt.resolve(&engine.database, &engine.layout).await.unwrap(), Some(stamp));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_was_resolved_as_aborted_never_happens() {
    let Some(engine) = open().await else { return };
    let (transaction, receipt) = prepared(&engine, b"a").await;
    for _ in 0..2 {
        assert_eq!(receipt.resolve(&engine.database, &engine.layout).await.unwrap(), None);
    }
    // It was on its way all the time and arrives now.
    assert_eq!(transaction.commit().await.unwrap_err().code(), 1020);
    assert!(!exists(&engine, b"a").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commit_and_question_race_and_agree() {
    let Some(engine) = open().await else { return };
    let (mut happened, mut aborted) = (0, 0);
    for turn in 0..150u64 {
        let key = turn.to_be_bytes();
        let (transaction, receipt) = prepared(&engine, &key).await;
        // Sooner or later by turns, so that either comes first now and then.
        let (early, late) = (Duration::from_micros(turn % 15 * 200), Duration::from_micros((14 - turn % 15) * 200));
        let commit = async {
            tokio::time::sleep(early).await;
            transaction.commit().await.is_ok()
        };
        let question = async {
            tokio::time::sleep(late).await;
            receipt.resolve(&engine.database, &engine.layout).await.unwrap().is_some()
        };
        let (committed, resolved) = tokio::join!(commit, question);
        assert_eq!(committed, resolved, "turn {turn}");
        assert_eq!(committed, exists(&engine, &key).await, "turn {turn}");
        if committed { happened += 1 } else { aborted += 1 }
    }
    println!("{happened} happened, {aborted} were aborted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_receipts_of_others_are_swept_and_young_ones_stay() {
    let Some(engine) = open().await else { return };
    let layout = &engine.layout;
    let transaction = client::begin(&engine.database, None).unwrap();
    let now = client::read_version(&transaction).await.unwrap();
    let row = |version: Version| [[1].as_slice(), &version.to_be_bytes(), &[0, 0]].concat();
    transaction.set(&layout.receipt(b"crashed long ago", 1), &row(now.saturating_sub(90_000_000_000)));
    transaction.set(&layout.receipt(b"crashed just now", 1), &row(now));
    client::commit(transaction).await.unwrap();
    idempotency::sweep(&engine.database, layout).await.unwrap();
    let transaction = client::begin(&engine.database, None).unwrap();
    let left = async |process| transaction.get(&layout.receipt(process, 1), true).await.unwrap().is_some();
    assert!(left(b"crashed just now").await);
    // A cluster that is younger than a day has nothing that old.
    assert_eq!(left(b"crashed long ago").await, now <= 86_400_000_000);
}

/// Puts the capture row into the state of a reader that crashed a while ago.
async fn lapse(engine: &Arc<FoundationDb>, reader: u64) {
    let transaction = client::begin(&engine.database, None).unwrap();
    let now = client::read_version(&transaction).await.unwrap();
    let row = [reader.to_be_bytes(), (now - 1).to_be_bytes()].concat();
    transaction.set(&engine.layout.capture(), &row);
    // Commits of this process look at the row again.
    transaction.update_metadata_version();
    client::commit(transaction).await.unwrap();
}

async fn row_exists(engine: &Arc<FoundationDb>, key: Vec<u8>) -> bool {
    let transaction = client::begin(&engine.database, None).unwrap();
    transaction.get(&key, true).await.unwrap().is_some()
}

async fn put(engine: &Arc<FoundationDb>, key: &[u8]) {
    let transaction = FdbTransaction::new(engine.clone(), None);
    transaction.set(key, b"");
    transaction.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashed_reader_is_forgotten_and_cannot_go_on() {
    let Some(engine) = open().await else { return };
    put(&engine, b"a").await;
    let reader = 7;
    capture::begin(&engine.database, &engine.layout, reader).await.unwrap();
    put(&engine, b"b").await;
    capture::renew(&engine.database, &engine.layout, reader).await.unwrap();
    lapse(&engine, reader).await;
    let lost = capture::renew(&engine.database, &engine.layout, reader).await;
    assert!(matches!(lost, Err(StoreError::SnapshotLost(_))), "{lost:?}");
    // The next commit finds that nobody reads any more, and has the rows removed.
    let gone = async {
        while row_exists(&engine, engine.layout.capture()).await {
            let transaction = FdbTransaction::new(engine.clone(), None);
            transaction.set(b"c", b"");
            // It may meet the removal.
            let outcome = transaction.commit().await.map_err(|failure| failure.error);
            assert!(matches!(outcome, Ok(_) | Err(StoreError::Conflict)), "{outcome:?}");
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
    let (begin, end) = engine.layout.log();
    let range = ::foundationdb::RangeOption::from((begin.as_slice(), end.as_slice()));
    let log = client::begin(&engine.database, None).unwrap().get_range(&range, 1, true).await.unwrap();
    assert!(log.is_empty());
    let transaction = client::begin(&engine.database, None).unwrap();
    let now = client::read_version(&transaction).await.unwrap();
    let late = capture::check(&transaction, &engine.layout, reader, now).await;
    assert!(matches!(late, Err(StoreError::SnapshotLost(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_whose_entry_is_gone_fails_instead_of_being_wrong() {
    let Some(engine) = open().await else { return };
    put(&engine, b"a").await;
    let mut snapshot = FdbSnapshot::new(engine.clone(), b"", b"\xff").await.unwrap();
    assert!(snapshot.next().await.unwrap().is_some());
    let transaction = client::begin(&engine.database, None).unwrap();
    transaction.clear(&engine.layout.capture());
    client::commit(transaction).await.unwrap();
    let outcome = snapshot.next().await;
    assert!(matches!(outcome, Err(StoreError::SnapshotLost(_))), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_most_so_many_read_snapshots_at_once() {
    let Some(engine) = open().await else { return };
    for reader in 0..16 {
        capture::begin(&engine.database, &engine.layout, reader).await.unwrap();
    }
    // One that repeats itself is no new one.
    capture::begin(&engine.database, &engine.layout, 3).await.unwrap();
    let refused = capture::begin(&engine.database, &engine.layout, 99).await;
    assert!(matches!(refused, Err(StoreError::SnapshotLost(_))));
    for reader in 0..16 {
        capture::end(&engine.database, &engine.layout, Some(reader)).await.unwrap();
    }
    assert!(!row_exists(&engine, engine.layout.capture()).await);
}

/// A commit that began before capture was turned on does not slip through.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_straddles_the_beginning_of_capture_conflicts() {
    let Some(engine) = open().await else { return };
    // It knows that nobody reads a snapshot.
    put(&engine, b"a").await;
    let transaction = FdbTransaction::new(engine.clone(), None);
    transaction.read_version().await.unwrap();
    transaction.set(b"b", b"");
    capture::begin(&engine.database, &engine.layout, 1).await.unwrap();
    let failure = transaction.commit().await.unwrap_err();
    assert!(matches!(failure.error, StoreError::Conflict), "{failure:?}");
    put(&engine, b"b").await;
    let (begin, end) = engine.layout.log();
    let range = ::foundationdb::RangeOption::from((begin.as_slice(), end.as_slice()));
    let log = client::begin(&engine.database, None).unwrap().get_range(&range, 1, true).await.unwrap();
    let logged: Vec<_> = log.iter().flat_map(|row| capture::decode(row.value()).unwrap()).collect();
    assert_eq!(logged.len(), 1);
    let (key, _) = engine.layout.range(&logged[0]);
    assert_eq!(key, point(engine.layout.key(b"b")).0);
    const { assert!(LEASE > 2 * capture::MARGIN) };
}
