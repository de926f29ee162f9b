//! Writing entries to a store, in key order, with a note of how far it is in the same transactions.

use hearth_store::{Bytes, Store, StoreError};

use crate::keys::{LOCKED, UNFINISHED};
use crate::lock::{look, start_over};
use crate::own::{ALL, Own};
use crate::records::{Source, Unfinished};
use crate::sums::Sums;
use crate::versions::{self, Passing};
use crate::{ArchiveError, Phase, Progress, SubspaceSum};

/// Bytes and entries of one transaction: well below the limits, also with what FoundationDB counts per entry.
const BATCH_BYTES: usize = 1 << 20;
const BATCH_ENTRIES: usize = 10_000;

/// What the caller allows to be done to the target.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leave {
    /// The cluster may be made to recover at a later version.
    pub(crate) advance_version: bool,
    /// What something else left unfinished may be deleted.
    pub(crate) start_over: bool,
}

/// A target that is being written.
pub(crate) struct Loader<'s> {
    store: &'s Store,
    note: Unfinished,
    batch: Vec<(Bytes, Bytes)>,
    batch_bytes: usize,
    progress: &'s Progress,
}

impl<'s> Loader<'s> {
    /// Begins with an empty store, or goes on with one that holds a part of the same. What is written into it from here on
    /// gets versions above what is passed.
    pub(crate) async fn begin(
        store: &'s Store,
        id: String,
        source: Source,
        passing: Passing,
        leave: Leave,
        progress: &'s Progress,
    ) -> Result<Self, ArchiveError> {
        must_be_unused(store).await?;
        let mut note = Unfinished { id, source, position: None };
        let (empty, found) = look(store).await?;
        let known = found.clone().filter(|found| found.id == note.id);
        match (found, &known) {
            (_, Some(known)) => note.position.clone_from(&known.position),
            (Some(_), None) if leave.start_over => start_over(store).await?,
            (Some(found), None) => return Err(ArchiveError::Incomplete(found.into())),
            (None, None) if !empty => return Err(ArchiveError::NotEmpty),
            (None, None) => {}
        }
        // Before anything is written: it may be refused.
        versions::pass(store, passing, leave.advance_version).await?;
        let loader = Self { store, note, batch: Vec::new(), batch_bytes: 0, progress };
        loader.write(known.as_ref(), &loader.note, &[]).await?;
        Ok(loader)
    }

    /// The last key that is there already.
    pub(crate) fn position(&self) -> Option<&[u8]> {
        self.note.position.as_deref()
    }

    /// Writes the next entries.
    pub(crate) async fn push(&mut self, entries: impl IntoIterator<Item = (Bytes, Bytes)>) -> Result<(), ArchiveError> {
        for (key, value) in entries {
            self.batch_bytes += key.len() + value.len();
            self.batch.push((key, value));
            if self.batch_bytes >= BATCH_BYTES || self.batch.len() >= BATCH_ENTRIES {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Writes what is left.
    pub(crate) async fn flush(&mut self) -> Result<(), ArchiveError> {
        let Some((last, _)) = self.batch.last() else { return Ok(()) };
        let next = Unfinished { position: Some(last.to_vec()), ..self.note.clone() };
        self.write(Some(&self.note), &next, &self.batch).await?;
        self.progress.add(self.batch.len() as u64, self.batch_bytes as u64);
        self.note = next;
        self.batch.clear();
        self.batch_bytes = 0;
        Ok(())
    }

    /// One transaction: from one note to the next. `before` is `None` for the first one.
    async fn write(
        &self,
        before: Option<&Unfinished>,
        next: &Unfinished,
        entries: &[(Bytes, Bytes)],
    ) -> Result<(), ArchiveError> {
        let found = self
            .store
            .transact("archive.load", |tx| async move {
                let found = UNFINISHED.get(&tx, (0,)).await?;
                // There already: an attempt whose answer got lost.
                if found.as_ref() != Some(next) {
                    if found.as_ref() != before {
                        return Ok::<_, StoreError>(found);
                    }
                    for (key, value) in entries {
                        tx.set(key, value);
                    }
                    UNFINISHED.set(&tx, (0,), next);
                }
                Ok(Some(next.clone()))
            })
            .await?;
        match found {
            Some(found) if found == *next => Ok(()),
            // Somebody else writes to the same store, or has finished already.
            Some(other) => Err(ArchiveError::Incomplete(other.into())),
            None => Err(ArchiveError::NotEmpty),
        }
    }

    /// Takes the note away: everything is there.
    pub(crate) async fn finish(self) -> Result<(), ArchiveError> {
        self.store
            .transact("archive.finish", |tx| async move {
                UNFINISHED.clear(&tx, (0,));
                LOCKED.clear(&tx, (0,));
                Ok::<_, StoreError>(())
            })
            .await?;
        Ok(())
    }
}

/// Refuses a store that servers use. Who wants to be sure that none comes has locked it before, or notes that it is unfinished
/// afterwards: a server that starts enters itself first, and then looks for both.
pub(crate) async fn must_be_unused(store: &Store) -> Result<(), ArchiveError> {
    // An embedded store is this process's alone while it is open.
    if store.is_shared() {
        let processes = hearth_store::process::in_use(store).await?.len();
        if processes > 0 {
            return Err(ArchiveError::InUse { processes });
        }
    }
    Ok(())
}

/// Reads a store to which nobody writes, and sums what is there.
pub(crate) async fn sum(store: &Store, progress: &Progress, total: u64) -> Result<Vec<SubspaceSum>, ArchiveError> {
    progress.begin(Phase::Comparing, total);
    let mut sums = Sums::default();
    walk(store, None, async |entries| {
        let mut bytes = 0;
        for (key, value) in &entries {
            sums.add(key, value);
            bytes += (key.len() + value.len()) as u64;
        }
        progress.add(entries.len() as u64, bytes);
        Ok(())
    })
    .await?;
    Ok(sums.finish())
}

/// Reads a store to which nobody writes, in key order, from behind `position`.
pub(crate) async fn walk(
    store: &Store,
    position: Option<&[u8]>,
    mut each: impl AsyncFnMut(Vec<(Bytes, Bytes)>) -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    use hearth_store::SnapshotPart::{Entries, Replace};
    let own = Own::new();
    let begin = position.map_or_else(|| Bytes::from_static(ALL.0), crate::lock::after);
    let mut snapshot = store.snapshot(&begin, ALL.1).await?;
    while let Some(part) = snapshot.next().await? {
        match part {
            Entries(entries) => {
                let entries = entries.into_iter().filter(|entry| !own.holds(&entry.key));
                each(entries.map(|entry| (entry.key, entry.value)).collect()).await?;
            }
            Replace { begin, end, .. } if own.hold_range(&begin, &end) => {}
            Replace { .. } => {
                return Err(ArchiveError::Mismatch { detail: "somebody wrote to the store meanwhile".to_owned() });
            }
        }
    }
    Ok(())
}
