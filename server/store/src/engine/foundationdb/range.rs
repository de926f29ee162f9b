//! Range reads: entries stream in from the cluster in chunks, the next one on its way while one is used.

use std::pin::Pin;
use std::sync::Arc;

use ::foundationdb::future::FdbValues;
use ::foundationdb::options::StreamingMode;
use ::foundationdb::{FdbResult, KeySelector, RangeOption, Transaction};

use super::client::ask;
use super::layout::Layout;
use crate::StoreError;
use crate::engine::buffer::{Lookup, WriteBuffer, stamp};
use crate::engine::entry_list::EntryList;
use crate::engine::key::Key;

type Chunk = Pin<Box<dyn Future<Output = FdbResult<FdbValues>> + Send>>;

/// The stored entries of a range, one after the other. Reads ahead by one chunk at most.
pub(super) struct Stored<'l> {
    layout: &'l Layout,
    transaction: Arc<Transaction>,
    /// What is not asked for yet.
    begin: Vec<u8>,
    end: Vec<u8>,
    /// Entries that may still be wanted.
    left: Option<usize>,
    reverse: bool,
    requested: Option<Chunk>,
    chunk: Option<FdbValues>,
    position: usize,
}

impl<'l> Stored<'l> {
    /// Entries of the caller's range `begin..end`; at most `limit` will be wanted. Asks for the first chunk.
    pub(super) fn new(
        layout: &'l Layout,
        transaction: Arc<Transaction>,
        (begin, end): (&[u8], &[u8]),
        limit: Option<usize>,
        reverse: bool,
    ) -> Self {
        let (begin, end) = (layout.key(begin), layout.key(end));
        Self::raw(layout, transaction, (begin, end), limit, reverse)
    }

    /// The same for a range as the cluster knows it.
    pub(super) fn raw(
        layout: &'l Layout,
        transaction: Arc<Transaction>,
        (begin, end): (Vec<u8>, Vec<u8>),
        limit: Option<usize>,
        reverse: bool,
    ) -> Self {
        let mut stored =
            Self { layout, transaction, begin, end, left: limit, reverse, requested: None, chunk: None, position: 0 };
        stored.request();
        stored
    }

    fn request(&mut self) {
        if self.begin >= self.end || self.left == Some(0) {
            return;
        }
        let options = RangeOption {
            begin: KeySelector::first_greater_or_equal(self.begin.as_slice()),
            end: KeySelector::first_greater_or_equal(self.end.as_slice()),
            limit: self.left,
            // With a limit it is known how much is wanted; without one, everything is.
            mode: if self.left.is_some() { StreamingMode::Exact } else { StreamingMode::WantAll },
            reverse: self.reverse,
            ..RangeOption::default()
        };
        self.requested = Some(Box::pin(self.transaction.get_range(&options, 1, true)));
    }

    /// Waits until [`Self::current`] is known.
    pub(super) async fn fill(&mut self) -> Result<(), StoreError> {
        while self.chunk.as_ref().is_none_or(|chunk| self.position >= chunk.len()) {
            self.chunk = None;
            let Some(requested) = self.requested.take() else { return Ok(()) };
            let chunk = ask("a range read", requested).await?;
            if let Some(last) = chunk.last().filter(|_| chunk.more()) {
                if self.reverse {
                    self.end = last.key().to_vec();
                } else {
                    self.begin = [last.key(), &[0]].concat();
                }
                self.left = self.left.map(|left| left.saturating_sub(chunk.len()));
                self.request();
            }
            self.chunk = Some(chunk);
            self.position = 0;
        }
        Ok(())
    }

    /// The entry that [`Self::fill`] waited for, its key as the cluster knows it.
    pub(super) fn current_raw(&self) -> Option<(&[u8], &[u8])> {
        let entry = self.chunk.as_ref()?.get(self.position)?;
        Some((entry.key(), entry.value()))
    }

    /// The entry that [`Self::fill`] waited for.
    pub(super) fn current(&self) -> Option<(&[u8], &[u8])> {
        self.current_raw().map(|(key, value)| (self.layout.caller_key(key), value))
    }

    pub(super) fn step(&mut self) {
        self.position += 1;
    }
}

/// Reads `begin..end` over the transaction's own writes, if there are any in it.
pub(super) async fn read(
    layout: &Layout,
    transaction: &Arc<Transaction>,
    own: Option<&WriteBuffer>,
    (begin, end): (&[u8], &[u8]),
    limit: usize,
    reverse: bool,
) -> Result<EntryList, StoreError> {
    let mut found = EntryList::default();
    let Some(own) = own else {
        let wanted = (limit < usize::MAX).then_some(limit);
        let mut stored = Stored::new(layout, transaction.clone(), (begin, end), wanted, reverse);
        while found.len() < limit {
            stored.fill().await?;
            let Some((key, value)) = stored.current() else { break };
            found.push(key, value);
            stored.step();
        }
        return Ok(found);
    };
    let mut segments = own.segments(begin, end);
    if reverse {
        segments.reverse();
    }
    for (begin, end, cleared) in segments {
        merge(layout, transaction, own, (&begin, &end), cleared, limit, reverse, &mut found).await?;
        if found.len() == limit {
            break;
        }
    }
    Ok(found)
}

/// Merges own writes in `begin..end`, which no cleared range's border divides, with what is stored.
#[allow(clippy::too_many_arguments)] // one step of `read`, which owns all of these
async fn merge(
    layout: &Layout,
    transaction: &Arc<Transaction>,
    own: &WriteBuffer,
    (begin, end): (&Key, &Key),
    cleared: bool,
    limit: usize,
    reverse: bool,
    found: &mut EntryList,
) -> Result<(), StoreError> {
    let mut entries = own.entries_in(begin, end);
    // An own write may take the place of a stored entry or delete it.
    let wanted = (limit < usize::MAX).then(|| limit - found.len() + own.entries_in(begin, end).count());
    let empty = (begin.as_ref(), begin.as_ref());
    let range = if cleared { empty } else { (begin.as_ref(), end.as_ref()) };
    let mut stored = Stored::new(layout, transaction.clone(), range, wanted, reverse);
    let mut next_own = || if reverse { entries.next_back() } else { entries.next() };
    let mut own_entry = next_own();
    while found.len() < limit {
        stored.fill().await?;
        let order = match (stored.current(), own_entry) {
            (None, None) => break,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((stored, _)), Some((key, _))) if reverse => (**key).cmp(stored),
            (Some((stored, _)), Some((key, _))) => stored.cmp(key),
        };
        if order.is_lt() {
            if let Some((key, value)) = stored.current() {
                found.push(key, value);
            }
            stored.step();
            continue;
        }
        if let Some((key, pending)) = own_entry {
            if matches!(own.lookup(key), Lookup::Unreadable) {
                return Err(StoreError::AccessedUnreadable);
            }
            let below = stored.current().filter(|_| order.is_eq()).map(|(_, value)| value);
            if let Some(value) = pending.resolve(below, stamp(0, 0)) {
                found.push(key, &value);
            }
        }
        own_entry = next_own();
        if order.is_eq() {
            stored.step();
        }
    }
    Ok(())
}
