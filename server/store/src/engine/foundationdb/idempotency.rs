//! Whether a commit happened, when the cluster did not say.
//!
//! A client that loses the cluster in the middle of a commit does not know its result (`commit_unknown_result`,
//! `cluster_version_changed`, or no answer in time), and the commit may even be still on its way. Running the transaction
//! again could do everything twice. So each commit leaves a *receipt* by which its result can be found out, at the price of one
//! more small write:
//!
//! - A commit has a number that this process never uses again. It writes `committed, its versionstamp` at the row
//!   `(process, number)`, and makes that row a read conflict.
//! - When the result is unknown, a *resolving* transaction reads the row, with a conflict. A receipt there: the commit
//!   happened, at that versionstamp. Nothing there: it has not happened up to this read; the resolver writes `aborted`
//!   at the row and commits.
//!
//! **Why this is correct.** The original got its read version before it was sent, and so before the resolver began; it reads the
//! row (as a conflict range), and so does the resolver; both write it. FoundationDB puts both in one order. If the
//! original comes first, then either the resolver's read sees the receipt, or it comes between the resolver's read and its commit:
//! then the resolver conflicts and reads again. If the resolver comes first, the original finds the row written after its
//! read version and conflicts, whenever it arrives; after five seconds it is refused for its age as well. The
//! resolver's own commit may have an unknown result too: it reads again, and finds either the receipt or its own mark. So it
//! ends with certainty as soon as the cluster answers, and where the cluster does not answer for long, the caller is told
//! that the result is unknown. A row is nobody else's, so that it never makes two commits conflict.
//!
//! **Rows do not pile up.** Now and then a commit also clears the rows of this process up to the oldest commit whose result is still
//! being found out. (To clear a row is to write it, so a straggler that nobody waits for any more conflicts as well.) A process
//! that closes the store clears the rest. What a crashed one leaves, a few hundred rows at most, is swept when a store is
//! opened and they are older than a day of versions; finding a result out takes seconds.
//!
//! **Why not a fixed pool of rows.** A row that is used again makes every transaction conflict that had its read version before
//! and comes to use it after: long transactions beside short ones would starve.
//!
//! **Why not FoundationDB's own automatic idempotency.** In 7.4 its documentation calls it experimental and not recommended for
//! production, and it does not cover `cluster_version_changed` and timeouts.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ::foundationdb::options::MutationType;
use ::foundationdb::{Database, Transaction};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::client::{self, ANSWER_TIME, ask, conflict_with};
use super::layout::{Layout, point};
use super::range::Stored;
use crate::engine::buffer::STAMP_BYTES;
use crate::engine::mutex::lock;
use crate::{StoreError, Version};

/// Commits of a process that may be on their way at the same time; more wait.
const AT_ONCE: usize = 512;
/// Rows that are worth clearing.
const CLEARED_AT_ONCE: u64 = 128;
/// How long a result is looked for.
const RESOLVE_TIME: Duration = Duration::from_secs(5);
/// Versions that FoundationDB counts in a day.
const DAY: Version = 24 * 60 * 60 * 1_000_000;
/// Rows looked at in one sweep. What is left is swept the next time.
const SWEPT_AT_ONCE: usize = 10_000;

const ABORTED: u8 = 0;
const COMMITTED: u8 = 1;

/// The receipts of this process.
#[derive(Debug)]
pub(super) struct Receipts {
    process: [u8; 16],
    room: Arc<Semaphore>,
    numbers: Mutex<Numbers>,
}

#[derive(Debug, Default)]
struct Numbers {
    next: u64,
    /// Of commits whose results are not known yet.
    open: BTreeSet<u64>,
    /// Rows below are cleared.
    cleared: u64,
}

/// The receipt of one commit, while its result is being found out.
#[derive(Debug)]
pub(super) struct Receipt {
    receipts: Arc<Receipts>,
    number: u64,
    /// Rows up to here are cleared by this commit.
    clears: Option<u64>,
    _room: OwnedSemaphorePermit,
}

impl Drop for Receipt {
    fn drop(&mut self) {
        lock(&self.receipts.numbers).open.remove(&self.number);
    }
}

impl Receipts {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { process: rand::random(), room: Arc::new(Semaphore::new(AT_ONCE)), numbers: Mutex::default() })
    }

    /// A receipt for one commit, once there is room for one more.
    pub(super) async fn begin(self: &Arc<Self>) -> Result<Receipt, StoreError> {
        let room = self.room.clone().acquire_owned();
        let room = match tokio::time::timeout(ANSWER_TIME, room).await {
            Ok(room) => room.map_err(|_| StoreError::Closed)?,
            Err(_) => return Err(client::no_answer("the commits before this one")),
        };
        let mut numbers = lock(&self.numbers);
        let number = numbers.next;
        numbers.next += 1;
        numbers.open.insert(number);
        let oldest = numbers.open.first().copied().unwrap_or(number);
        let clears = (oldest >= numbers.cleared + CLEARED_AT_ONCE).then_some(oldest);
        drop(numbers);
        Ok(Receipt { receipts: self.clone(), number, clears, _room: room })
    }

    /// Takes this process's rows away. Only after every commit has ended: until then one may look its result up here.
    pub(super) async fn clear(&self, database: &Database, layout: &Layout) -> Result<(), StoreError> {
        let transaction = client::begin(database, Some("clear receipts"))?;
        let (begin, end) = layout.receipts(Some(&self.process));
        transaction.clear_range(&begin, &end);
        client::commit(transaction).await
    }
}

impl Receipt {
    fn row(&self, layout: &Layout) -> Vec<u8> {
        layout.receipt(&self.receipts.process, self.number)
    }

    /// Makes `transaction`, which has its read version, leave the receipt.
    pub(super) fn leave(&self, transaction: &Transaction, layout: &Layout) -> Result<(), StoreError> {
        if let Some(end) = self.clears {
            let begin = lock(&self.receipts.numbers).cleared;
            let row = |number| layout.receipt(&self.receipts.process, number);
            transaction.clear_range(&row(begin), &row(end));
        }
        self.write(transaction, layout, COMMITTED)
    }

    /// To be called when the transaction is known to have committed.
    pub(super) fn committed(&self) {
        if let Some(end) = self.clears {
            let mut numbers = lock(&self.receipts.numbers);
            numbers.cleared = numbers.cleared.max(end);
        }
    }

    fn write(&self, transaction: &Transaction, layout: &Layout, what: u8) -> Result<(), StoreError> {
        let template = [&[what], [0; STAMP_BYTES].as_slice(), &1u32.to_le_bytes()].concat();
        let row = self.row(layout);
        transaction.atomic_op(&row, &template, MutationType::SetVersionstampedValue);
        conflict_with(transaction, point(row))
    }

    /// The versionstamp of the commit if it happened; `None` if it did not and never will. An error where the cluster does
    /// not tell in time.
    pub(super) async fn resolve(
        &self,
        database: &Database,
        layout: &Layout,
    ) -> Result<Option<[u8; STAMP_BYTES]>, StoreError> {
        const PAUSE: Duration = Duration::from_millis(50);
        let began = Instant::now();
        loop {
            let left = RESOLVE_TIME.saturating_sub(began.elapsed());
            let unanswered = match tokio::time::timeout(left, self.try_to_resolve(database, layout)).await {
                Ok(Ok(result)) => return Ok(result),
                Ok(Err(error)) => error,
                Err(_) => client::no_answer("a question for a commit's result"),
            };
            if began.elapsed() + PAUSE > RESOLVE_TIME {
                return Err(unanswered);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn try_to_resolve(
        &self,
        database: &Database,
        layout: &Layout,
    ) -> Result<Option<[u8; STAMP_BYTES]>, StoreError> {
        let transaction = client::begin(database, Some("resolve commit"))?;
        let found = ask("a read", transaction.get(&self.row(layout), true)).await?;
        match found.as_deref().and_then(decode) {
            Some((COMMITTED, stamp)) => Ok(Some(stamp)),
            Some(_) => Ok(None),
            None => {
                self.write(&transaction, layout, ABORTED)?;
                client::commit(transaction).await?;
                Ok(None)
            }
        }
    }
}

/// What a row holds: what happened, and the versionstamp of who wrote it.
fn decode(row: &[u8]) -> Option<(u8, [u8; STAMP_BYTES])> {
    let (&what, stamp) = row.split_first()?;
    Some((what, stamp.try_into().ok()?))
}

/// Takes away receipts that are older than a day.
pub(super) async fn sweep(database: &Database, layout: &Layout) -> Result<(), StoreError> {
    let transaction = client::begin(database, Some("sweep receipts"))?;
    let now = client::read_version(&transaction).await?;
    let mut rows = Stored::raw(layout, transaction.clone(), layout.receipts(None), Some(SWEPT_AT_ONCE), false);
    let mut swept = false;
    loop {
        rows.fill().await?;
        let Some((key, value)) = rows.current_raw() else { break };
        let version = decode(value).and_then(|(_, stamp)| stamp.first_chunk().copied()).map(Version::from_be_bytes);
        if version.is_none_or(|version| version.saturating_add(DAY) < now) {
            transaction.clear(key);
            swept = true;
        }
        rows.step();
    }
    drop(rows);
    if swept { client::commit(transaction).await } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn rows_are_cleared_up_to_the_oldest_open_commit() {
        let receipts = Receipts::new();
        let slow = receipts.begin().await.unwrap();
        for _ in 0..2 * CLEARED_AT_ONCE {
            assert_eq!(receipts.begin().await.unwrap().clears, None, "the first one is still open");
        }
        drop(slow);
        let clearing = receipts.begin().await.unwrap();
        assert_eq!(clearing.clears, Some(clearing.number));
        // Another one clears the same until one of them has committed.
        assert_eq!(receipts.begin().await.unwrap().clears, Some(clearing.number));
        clearing.committed();
        assert_eq!(receipts.begin().await.unwrap().clears, None);
    }

    #[test]
    fn rows_decode() {
        let stamp = [0, 0, 0, 0, 0, 0, 1, 0, 0, 9];
        assert_eq!(decode(&[&[COMMITTED], stamp.as_slice()].concat()), Some((COMMITTED, stamp)));
        assert_eq!(decode(&stamp), None);
        assert_eq!(decode(&[]), None);
    }
}
