//! FoundationDB's answers, in the store's words and in bounded time.

use std::sync::Arc;
use std::time::Duration;

use ::foundationdb::options::{ConflictRangeType, TransactionOption};
use ::foundationdb::{Database, FdbError, FdbResult, Transaction};

use crate::StoreError;

/// How long anything that the cluster is asked may take. A healthy one takes milliseconds and one that elects new leaders
/// a second or two; the client itself would wait for ever.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(4);

/// FoundationDB's error codes that are told apart.
mod code {
    pub(super) const TRANSACTION_TOO_OLD: i32 = 1007;
    pub(super) const NOT_COMMITTED: i32 = 1020;
    pub(super) const ACCESSED_UNREADABLE: i32 = 1036;
    pub(super) const DATABASE_LOCKED: i32 = 1038;
    pub(super) const INVERTED_RANGE: i32 = 2005;
    pub(super) const USED_DURING_COMMIT: i32 = 2017;
    pub(super) const TRANSACTION_TOO_LARGE: i32 = 2101;
    /// From here on: misuse of the client, found before anything is sent.
    pub(super) const FIRST_OF_CLIENT: i32 = 2000;
    pub(super) const LAST_OF_CLIENT: i32 = 2999;
}

/// FoundationDB's error in the store's words.
pub(super) fn store_error(error: FdbError) -> StoreError {
    match error.code() {
        code::TRANSACTION_TOO_OLD => StoreError::TransactionTooOld,
        code::NOT_COMMITTED => StoreError::Conflict,
        code::ACCESSED_UNREADABLE => StoreError::AccessedUnreadable,
        code::INVERTED_RANGE => StoreError::InvertedRange,
        code::USED_DURING_COMMIT => StoreError::UsedAfterCommit,
        code::TRANSACTION_TOO_LARGE => StoreError::TransactionTooLarge { size: 0 },
        code::DATABASE_LOCKED => StoreError::Unavailable("the FoundationDB database is locked".to_owned()),
        number @ code::FIRST_OF_CLIENT..=code::LAST_OF_CLIENT => {
            StoreError::Io(format!("FoundationDB: {} ({number})", error.message()))
        }
        number => StoreError::Unavailable(format!("FoundationDB: {} ({number})", error.message())),
    }
}

/// Whether a commit that failed with `error` is certain not to have happened and not to happen later.
pub(super) fn is_certainly_not_committed(error: FdbError) -> bool {
    matches!(
        error.code(),
        code::TRANSACTION_TOO_OLD | code::NOT_COMMITTED | code::FIRST_OF_CLIENT..=code::LAST_OF_CLIENT
    ) || error.is_retryable_not_committed()
}

/// Waits for an answer, but not for ever.
pub(super) async fn ask<T>(
    what: &'static str,
    answer: impl Future<Output = FdbResult<T>> + Send,
) -> Result<T, StoreError> {
    match tokio::time::timeout(ANSWER_TIME, answer).await {
        Ok(answer) => answer.map_err(store_error),
        Err(_) => Err(no_answer(what)),
    }
}

pub(super) fn no_answer(what: &str) -> StoreError {
    StoreError::Unavailable(format!("the FoundationDB cluster gave no answer to {what} in {} s", ANSWER_TIME.as_secs()))
}

/// A new transaction of the cluster's. `name` labels it for FoundationDB's tracing and throttling.
///
/// The client's own read-your-writes layer is off: the store's buffer, which both engines share, does that work.
pub(super) fn begin(database: &Database, name: Option<&'static str>) -> Result<Arc<Transaction>, StoreError> {
    /// What FoundationDB takes.
    const LONGEST_IDENTIFIER: usize = 100;
    const LONGEST_TAG: usize = 16;
    let transaction = database.create_trx().map_err(store_error)?;
    transaction.set_option(TransactionOption::ReadYourWritesDisable).map_err(store_error)?;
    if let Some(name) = name {
        let cut = |length: usize| name.chars().filter(char::is_ascii).take(length).collect::<String>();
        let identifier = TransactionOption::DebugTransactionIdentifier(cut(LONGEST_IDENTIFIER));
        transaction.set_option(identifier).map_err(store_error)?;
        transaction.set_option(TransactionOption::Tag(cut(LONGEST_TAG))).map_err(store_error)?;
    }
    Ok(Arc::new(transaction))
}

/// The version at which `transaction` reads.
pub(super) async fn read_version(transaction: &Transaction) -> Result<u64, StoreError> {
    Ok(ask("a read version", transaction.get_read_version()).await?.cast_unsigned())
}

/// Makes `transaction` conflict with writes to `begin..end`.
pub(super) fn conflict_with(transaction: &Transaction, (begin, end): (Vec<u8>, Vec<u8>)) -> Result<(), StoreError> {
    transaction.add_conflict_range(&begin, &end, ConflictRangeType::Read).map_err(store_error)
}

/// Commits a transaction of the engine's own. A result that is unknown is an error like any other: all of them can be
/// repeated.
pub(super) async fn commit(transaction: Arc<Transaction>) -> Result<(), StoreError> {
    // Nobody else has it: the engine's own transactions are not shared.
    let transaction = Arc::into_inner(transaction).ok_or(StoreError::UsedAfterCommit)?;
    let commit = async { transaction.commit().await.map(|_| ()).map_err(FdbError::from) };
    ask("a commit", commit).await
}
