//! What every engine must do: the same cases, unchanged, for each.
//!
//! An engine runs the suite with [`conformance!`], which makes each case a test of its own. A case gets a
//! [`Subject`]: a store that it may fill below its own prefix. A case says nothing about what an engine may do
//! either way (spurious conflicts under load, batching of commits into versions).

pub(crate) mod atomics;
pub(crate) mod conflicts;
pub(crate) mod lifecycle;
pub(crate) mod limits;
pub(crate) mod ranges;
pub(crate) mod reads;
pub(crate) mod retry;
pub(crate) mod versionstamps;
pub(crate) mod watches;

use std::any::Any;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hearth_store::{Bytes, Committed, RangeRead, Store, StoreError, Transaction};

/// A store under test.
pub(crate) struct Subject {
    pub(crate) store: Store,
    /// Everything of the case lies below it, so that cases can share a cluster.
    pub(crate) prefix: Vec<u8>,
    /// What must live as long as the store.
    pub(crate) _keep: Box<dyn Any + Send + Sync>,
}

impl Subject {
    /// A key of the case.
    pub(crate) fn key(&self, name: impl AsRef<[u8]>) -> Vec<u8> {
        [&self.prefix, name.as_ref()].concat()
    }

    /// The range `begin..end` of the case's keys.
    pub(crate) fn range(&self, begin: &str, end: &str) -> RangeRead {
        RangeRead { begin: self.key(begin), end: self.key(end), limit: None, reverse: false, snapshot: false }
    }

    /// Writes entries in a transaction of their own.
    pub(crate) async fn put(&self, entries: &[(&str, &str)]) -> Committed {
        let tx = self.store.begin();
        for (key, value) in entries {
            tx.set(&self.key(key), value.as_bytes());
        }
        tx.commit().await.expect("a blind write commits")
    }

    /// The value of a key now.
    pub(crate) async fn value(&self, name: &str) -> Option<String> {
        text(self.store.begin().get(&self.key(name)).await.expect("a read works"))
    }

    /// What a range read sees, as text, without the case's prefix.
    pub(crate) async fn read(&self, tx: &Transaction, read: &RangeRead) -> Result<Vec<(String, String)>, StoreError> {
        let entries = tx.range(read).await?;
        let entry = |entry: &hearth_store::KeyValue| {
            let key = entry.key.strip_prefix(self.prefix.as_slice()).expect("inside the case's keys");
            (String::from_utf8_lossy(key).into_owned(), String::from_utf8_lossy(&entry.value).into_owned())
        };
        Ok(entries.iter().map(entry).collect())
    }
}

/// A value as text.
pub(crate) fn text(value: Option<Bytes>) -> Option<String> {
    value.map(|value| String::from_utf8(value.to_vec()).expect("the case writes text"))
}

/// Pairs as [`Subject::read`] returns them.
pub(crate) fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// What `future` yields, which must be soon.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("this comes to an end")
}

/// Whether `future` is done, looked at once.
pub(crate) fn is_done<F: Future + Unpin>(future: &mut F) -> bool {
    matches!(pin!(future).poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(_))
}

/// Makes a test of each case, on the subject that `$make().await` gives.
#[macro_export]
macro_rules! conformance {
    ($make:ident) => {
        $crate::conformance! { @cases $make;
            reads {
                missing_key_is_none, commit_is_visible_to_later_transactions, empty_value_is_not_missing,
                uncommitted_writes_are_invisible, dropped_transaction_never_happened, reads_see_own_writes,
                last_write_wins, reads_are_repeatable, clones_are_the_same_transaction, snapshot_reads_see_own_writes,
                keys_and_values_are_any_bytes, overlong_keys_are_missing,
            }
            ranges {
                order_is_bytewise, forward_and_reverse_with_limits, empty_ranges, inverted_range_is_an_error,
                clear_range_is_half_open, own_writes_are_merged, limit_counts_what_is_left, many_entries,
                own_writes_and_limits_agree_with_a_map,
            }
            atomics {
                operations_on_stored_values, operations_on_own_writes, operations_chain, operations_after_clear,
                blind_operations_do_not_conflict, concurrent_additions_add_up, reads_of_operations_conflict,
            }
            versionstamps {
                key_and_value_hold_the_commits_stamp, later_commits_have_larger_stamps, many_stamps_in_one_transaction,
                user_version_is_kept, stamped_value_is_unreadable, stamped_key_range_is_unreadable,
                older_stamps_stay_readable, cleared_stamps_are_gone, room_is_checked, typed_table_stamps,
            }
            conflicts {
                read_and_write_of_the_same_key, what_conflicts_with_a_point_read, what_conflicts_with_a_range_read,
                limited_reads_conflict_up_to_the_last_entry, snapshot_reads_do_not_conflict, blind_writes_do_not_conflict,
                own_writes_are_no_reads, own_writes_cut_holes_into_range_reads, read_only_transactions_do_not_conflict,
                writes_before_the_read_do_not_conflict, failed_transactions_do_not_conflict, write_skew_is_prevented,
                added_read_conflict_ranges, added_write_conflict_ranges, conflict_ranges_are_half_open,
                many_reads_and_many_writes,
            }
            limits {
                key_size, value_size, transaction_size, conflict_ranges_count, inverted_clear_range,
                transactions_grow_old, first_error_is_told,
            }
            retry {
                conflicts_are_retried, errors_end_the_transaction, own_error_types, a_body_may_ask_for_a_retry,
                too_old_is_given_up, attempts_leave_nothing_behind, concurrent_transfers_keep_the_sum,
            }
            watches {
                change_fires, only_the_key_fires, same_value_does_not_fire, change_before_the_commit_fires,
                own_writes_are_the_baseline, own_operations_are_the_baseline, insertion_and_deletion_fire,
                clear_range_fires, uncommitted_watch_fails, many_watchers, watch_adds_no_conflict, no_lost_wake_up,
            }
            lifecycle {
                versions_grow, read_only_commit_returns_its_read_version, use_after_commit_fails, closed_store_refuses,
                closing_finishes_commits, closing_ends_watches, statistics_count,
            }
        }
    };
    (@cases $make:ident; $($module:ident { $($case:ident),+ $(,)? })+) => {$(
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    // An engine that is not installed gives none, and says so.
                    let subject: Option<$crate::suite::Subject> = super::$make().await.into();
                    if let Some(subject) = subject {
                        $crate::suite::$module::$case(subject).await;
                    }
                }
            )+
        }
    )+};
}
