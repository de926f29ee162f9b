//! A read of a range that outlives a transaction: one redb read transaction, held for as long as it takes.

use std::sync::{Arc, Mutex};

use super::long_reads::Position;
use super::open::Embedded;
use crate::engine::entry_list::EntryList;
use crate::engine::mutex::lock;
use crate::{KeyValue, SnapshotPart, StoreError, Version};

/// Keys and values of one part, in bytes.
const PART_BYTES: usize = 256 << 10;

/// A consistent read of a range. While it lives, redb keeps the pages of its version.
#[derive(Debug)]
pub(crate) struct EmbeddedSnapshot {
    engine: Arc<Embedded>,
    version: Version,
    position: Arc<Position>,
}

impl EmbeddedSnapshot {
    pub(crate) fn new(engine: Arc<Embedded>, begin: &[u8], end: &[u8]) -> Result<Self, StoreError> {
        if begin > end {
            return Err(StoreError::InvertedRange);
        }
        engine.shared.check()?;
        let published = engine.shared.published();
        // The iterator holds the pages itself, so that the published snapshot may be released.
        let entries = engine.shared.note(published.entries(begin, end, false))?;
        let position = Arc::new(Mutex::new(Some(entries)));
        engine.shared.long_reads.add(&position);
        // A store that closed meanwhile has ended only the reads that it found.
        engine.shared.check().inspect_err(|_| *lock(&position) = None)?;
        Ok(Self { engine, version: published.version, position })
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    pub(crate) async fn next(&mut self) -> Result<Option<SnapshotPart>, StoreError> {
        let (position, shared) = (self.position.clone(), self.engine.shared.clone());
        // Unlike a transaction's reads, these are mostly of pages that nobody has asked for lately.
        let read = tokio::task::spawn_blocking(move || {
            let part = shared.note(read_part(&position));
            // Afterwards: where the store was closed, what looks like the end of the range may not be it.
            shared.check().and(part)
        });
        let entries = read.await.unwrap_or_else(|error| Err(StoreError::Io(error.to_string())))?;
        Ok((!entries.is_empty()).then_some(SnapshotPart::Entries(entries)))
    }
}

fn read_part(position: &Position) -> Result<Vec<KeyValue>, StoreError> {
    let mut position = lock(position);
    let mut found = EntryList::default();
    while let Some(entries) = &mut *position
        && found.bytes() < PART_BYTES
    {
        match entries.next()? {
            Some(entry) => found.push(entry.key(), entry.value()?),
            // Lets go of the pages.
            None => *position = None,
        }
    }
    Ok(found.finish())
}
