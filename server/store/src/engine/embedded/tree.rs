//! The redb tree: how entries are stored, and snapshots of it.

use std::sync::{PoisonError, RwLock};

use redb::{Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, TableDefinition};

use crate::{StoreError, Version};

/// Every key and its value, the value behind its checksum.
pub(super) const ENTRIES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("entries");
/// What the tree knows of itself, by name.
pub(super) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// In [`META`]: the version that the last checkpoint made durable.
pub(super) const CHECKPOINT_VERSION: &str = "version";

const CHECKSUM_BYTES: usize = 4;

/// Turns redb's error into ours.
pub(super) fn storage_error(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Corrupted(detail) => StoreError::Corrupt { table: "tree".to_owned(), detail },
        error => StoreError::Io(error.to_string()),
    }
}

/// redb verifies no checksum on ordinary reads, so each value carries its own. It covers the key too: a
/// value that turns up under another key is noticed.
fn checksum(key: &[u8], value: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(value);
    hasher.finalize().to_le_bytes()
}

/// Writes the stored form of `value` into `stored`.
pub(super) fn encode(key: &[u8], value: &[u8], stored: &mut Vec<u8>) {
    stored.clear();
    stored.extend_from_slice(&checksum(key, value));
    stored.extend_from_slice(value);
}

/// The value in its stored form.
pub(super) fn decode<'s>(key: &[u8], stored: &'s [u8]) -> Result<&'s [u8], StoreError> {
    match stored.split_first_chunk::<CHECKSUM_BYTES>() {
        Some((sum, value)) if *sum == checksum(key, value) => Ok(value),
        _ => Err(StoreError::Corrupt {
            table: "tree".to_owned(),
            detail: format!("value of key {} does not match its checksum", key.escape_ascii()),
        }),
    }
}

/// The store as of one version. Shared by every transaction that reads at this version.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) version: Version,
    /// `None` once released.
    table: RwLock<Option<ReadOnlyTable<&'static [u8], &'static [u8]>>>,
}

impl Snapshot {
    /// The newest committed state, which is that of `version`.
    pub(super) fn take(database: &Database, version: Version) -> Result<Self, StoreError> {
        let transaction: ReadTransaction = database.begin_read().map_err(storage_error)?;
        let table = transaction.open_table(ENTRIES).map_err(storage_error)?;
        Ok(Self { version, table: RwLock::new(Some(table)) })
    }

    /// Lets go of the pages. Reads fail from now on.
    pub(super) fn release(&self) {
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The value of `key`, handed to `use_value` without a copy.
    pub(super) fn get<T>(&self, key: &[u8], use_value: impl FnOnce(Option<&[u8]>) -> T) -> Result<T, StoreError> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let table = table.as_ref().ok_or(StoreError::TransactionTooOld)?;
        match table.get(key).map_err(storage_error)? {
            Some(stored) => Ok(use_value(Some(decode(key, stored.value())?))),
            None => Ok(use_value(None)),
        }
    }

    /// Entries of `begin..end`, in order or backwards.
    pub(super) fn entries(&self, begin: &[u8], end: &[u8], reverse: bool) -> Result<Entries, StoreError> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let table = table.as_ref().ok_or(StoreError::TransactionTooOld)?;
        let range = if begin < end { Some(table.range(begin..end).map_err(storage_error)?) } else { None };
        Ok(Entries { range, reverse })
    }
}

/// An iterator over stored entries.
pub(super) struct Entries {
    range: Option<redb::Range<'static, &'static [u8], &'static [u8]>>,
    reverse: bool,
}

impl std::fmt::Debug for Entries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entries").field("reverse", &self.reverse).finish_non_exhaustive()
    }
}

/// One stored entry.
pub(super) struct Entry {
    key: redb::AccessGuard<'static, &'static [u8]>,
    value: redb::AccessGuard<'static, &'static [u8]>,
}

impl Entries {
    pub(super) fn next(&mut self) -> Result<Option<Entry>, StoreError> {
        let Some(range) = &mut self.range else { return Ok(None) };
        let entry = if self.reverse { range.next_back() } else { range.next() };
        let entry = entry.transpose().map_err(storage_error)?;
        Ok(entry.map(|(key, value)| Entry { key, value }))
    }
}

impl Entry {
    pub(super) fn key(&self) -> &[u8] {
        self.key.value()
    }

    pub(super) fn value(&self) -> Result<&[u8], StoreError> {
        decode(self.key.value(), self.value.value())
    }
}
