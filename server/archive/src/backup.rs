use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hearth_store::{SnapshotPart, Store, StoreError, Version};
use tokio::sync::mpsc;

use crate::changes::{Changes, Interval};
use crate::file::{Cost, FileKey, FileWriter, Frame, Origin, new_key};
use crate::lock::after;
use crate::own::{ALL, Own};
use crate::task::{Wanted, finish};
use crate::{ArchiveError, BackupSummary, Passphrase, Phase, Progress};

/// Parts of the snapshot (about a megabyte each) that may wait for the file.
const WAITING_PARTS: usize = 4;

/// A small file that goes into a backup besides the store's data, such as the server's identity.
#[derive(Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Its name, without a folder.
    pub name: String,
    /// What is in it.
    pub content: Vec<u8>,
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attachment({}, {} bytes)", self.name, self.content.len())
    }
}

/// What a backup says of itself, and how it is written.
#[derive(Debug, Clone)]
pub struct BackupOptions {
    /// The server whose data it is.
    pub server_name: String,
    /// The Hearth that makes it.
    pub hearth_version: String,
    /// Encrypts it.
    pub passphrase: Option<Passphrase>,
    /// Made by the schedule, so that [`crate::retain`] may delete it later.
    pub scheduled: bool,
    /// Small files to take along, a megabyte in all. Secrets belong into an encrypted backup only.
    pub attachments: Vec<Attachment>,
}

/// Writes everything that is in `store` at one moment to a new file at `path`, while others go on reading and writing.
///
/// The file stands at `path` only when it is whole and on the disk. Dropping the future gives up and leaves nothing there.
pub async fn backup(
    store: &Store,
    path: &Path,
    options: BackupOptions,
    progress: &Progress,
) -> Result<BackupSummary, ArchiveError> {
    backup_at_cost(store, path, options, progress, Cost::default()).await
}

pub(crate) async fn backup_at_cost(
    store: &Store,
    path: &Path,
    options: BackupOptions,
    progress: &Progress,
    cost: Cost,
) -> Result<BackupSummary, ArchiveError> {
    progress.begin(Phase::BackingUp, 0);
    let mut snapshot = store.snapshot(ALL.0, ALL.1).await?;
    let (parts, received) = mpsc::channel(WAITING_PARTS);
    let (wanted, waiting) = Wanted::new();
    let work =
        Work { path: path.to_owned(), options, cost, engine: store.engine(), wanted, progress: progress.clone() };
    let work = tokio::task::spawn_blocking(move || work.run(received));

    let version = loop {
        match snapshot.next().await? {
            // A closed channel: the file failed, and its error comes below.
            Some(part) => {
                if parts.send(Given::Part(part)).await.is_err() {
                    break None;
                }
            }
            None => break Some(snapshot.version().ok_or_else(|| no_version(store))?),
        }
    };
    drop(snapshot);
    if let Some(version) = version {
        // As above.
        let _ = parts.send(Given::Whole(version)).await;
    }
    drop(parts);
    let summary = finish(work, path).await?;
    drop(waiting);
    progress.begin(Phase::Done, 0);
    Ok(summary)
}

fn no_version(store: &Store) -> StoreError {
    let detail = "a snapshot ended without a version".to_owned();
    StoreError::Corrupt { table: store.engine().to_owned(), detail }
}

/// What the store's side tells the file's side.
pub(crate) enum Given {
    Part(SnapshotPart),
    /// That was all of it, at this version.
    Whole(Version),
}

/// The file's side of a backup.
pub(crate) struct Work {
    pub(crate) path: PathBuf,
    pub(crate) options: BackupOptions,
    pub(crate) cost: Cost,
    pub(crate) engine: &'static str,
    pub(crate) wanted: Wanted,
    pub(crate) progress: Progress,
}

impl Work {
    pub(crate) fn run(self, mut received: mpsc::Receiver<Given>) -> Result<BackupSummary, ArchiveError> {
        let BackupOptions { server_name, hearth_version, passphrase, scheduled, attachments } = &self.options;
        let key: Option<FileKey> =
            passphrase.as_ref().map(|passphrase| new_key(&self.path, passphrase, self.cost)).transpose()?;
        let origin = Origin {
            server_name: server_name.clone(),
            created: SystemTime::now(),
            hearth_version: hearth_version.clone(),
            engine: self.engine.to_owned(),
            scheduled: *scheduled,
        };
        let mut writer = FileWriter::create(&self.path, origin, key)?;
        for attachment in attachments {
            writer.attach(attachment)?;
        }
        let own = Own::new();
        let mut changes: Option<Changes> = None;
        loop {
            self.wanted.check(&self.path)?;
            match received.blocking_recv() {
                Some(Given::Part(SnapshotPart::Entries(entries))) => {
                    // Once something was replaced, what comes later stands over that.
                    if let (Some(changes), Some(first), Some(last)) = (&mut changes, entries.first(), entries.last()) {
                        changes.replace(first.key.clone(), after(&last.key), &entries)?;
                        continue;
                    }
                    let mut bytes = 0;
                    for entry in entries.iter().filter(|entry| !own.holds(&entry.key)) {
                        writer.entry(&entry.key, &entry.value)?;
                        bytes += (entry.key.len() + entry.value.len()) as u64;
                    }
                    self.progress.add(entries.len() as u64, bytes);
                }
                Some(Given::Part(SnapshotPart::Replace { begin, end, entries })) => {
                    if own.hold_range(&begin, &end) {
                        continue;
                    }
                    let changes = match &mut changes {
                        Some(changes) => changes,
                        none => none.insert(Changes::beside(&self.path)?),
                    };
                    changes.replace(begin, end, &entries)?;
                }
                Some(Given::Whole(version)) => {
                    let summary = writer.end(version, SystemTime::now())?;
                    let Some(changes) = changes else {
                        writer.publish()?;
                        return Ok(summary);
                    };
                    return self.merge(&writer, changes, &own, &summary);
                }
                // The store failed, or nobody waits any more.
                None => return Err(ArchiveError::Store(StoreError::Closed)),
            }
        }
    }

    /// Writes the file once more, with what changed in place of what was there.
    fn merge(
        &self,
        base: &FileWriter,
        mut changes: Changes,
        own: &Own,
        before: &BackupSummary,
    ) -> Result<BackupSummary, ArchiveError> {
        self.progress.begin(Phase::Merging, before.bytes);
        let mut reader = base.reader()?;
        let mut writer = base.again()?;
        let mut intervals = changes.read();
        let mut interval: Option<Interval> = intervals.next().transpose()?;
        loop {
            self.wanted.check(&self.path)?;
            match reader.next()? {
                Frame::Attachment(attachment) => writer.attach(&attachment)?,
                Frame::Entries(entries) => {
                    let mut bytes = 0;
                    for (key, value) in &entries {
                        bytes += (key.len() + value.len()) as u64;
                        while let Some(current) = interval.take_if(|interval| interval.end <= *key) {
                            put(&mut writer, &current, own)?;
                            interval = intervals.next().transpose()?;
                        }
                        if interval.as_ref().is_none_or(|interval| *key < interval.begin) {
                            writer.entry(key, value)?;
                        }
                    }
                    self.progress.add(entries.len() as u64, bytes);
                }
                Frame::End(_) => break,
            }
        }
        while let Some(current) = interval {
            put(&mut writer, &current, own)?;
            interval = intervals.next().transpose()?;
        }
        let summary = writer.end(before.version, before.taken)?;
        writer.publish()?;
        Ok(summary)
    }
}

fn put(writer: &mut FileWriter, interval: &Interval, own: &Own) -> Result<(), ArchiveError> {
    for (key, value) in interval.entries.iter().filter(|(key, _)| !own.holds(key)) {
        writer.entry(key, value)?;
    }
    Ok(())
}
