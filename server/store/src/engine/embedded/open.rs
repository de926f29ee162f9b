//! Opening and closing the embedded engine.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use redb::backends::{FileBackend, InMemoryBackend};
use redb::{Builder, Database, ReadableDatabase, StorageBackend, TableError};

use super::committer::{Committer, make_durable, replay};
use super::directory::{Content, Directory};
use super::held::hold;
use super::log::Log;
use super::shared::Shared;
use super::tree::{CHECKPOINT_VERSION, ENTRIES, META, Snapshot, storage_error};
use super::tuning::Tuning;
use crate::engine::mutex::lock;
use crate::options::EmbeddedOptions;
use crate::stats::{Health, StoreStats};
use crate::{OpenError, StoreError, Version};

/// An open embedded store. Dropping the last handle finishes pending commits and releases the directory,
/// which waits for the disk; [`Self::close`] does the same without blocking the caller's thread.
#[derive(Debug)]
pub(crate) struct Embedded {
    pub(super) shared: Arc<Shared>,
    /// Where the files are; `None` in memory.
    path: Option<PathBuf>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Turns true when the committer has ended.
    ended: tokio::sync::watch::Receiver<bool>,
}

impl Embedded {
    /// Opens or creates the store in a directory. Blocks.
    pub(crate) fn open(options: &EmbeddedOptions) -> Result<Self, OpenError> {
        let (directory, content) = Directory::lock(&options.path)?;
        let path = directory.path().to_owned();
        let create = content == Content::Nothing;
        if create {
            directory.begin_creation()?;
        }
        let unreadable = |detail: String| OpenError::Unreadable { path: path.clone(), detail };
        let (tree, log) = directory.files(create)?;
        let backend = |file| FileBackend::new(file).map_err(|error| unreadable(error.to_string()));
        let (tree, log) = (backend(tree)?, backend(log)?);
        let opened = Opened::on_storage(tree, Box::new(log), create, options.cache_bytes).map_err(unreadable)?;
        if create {
            directory.finish_creation()?;
        }
        opened.start(Some(directory), Tuning::default()).map_err(|error| unreadable(error.to_string()))
    }

    /// An empty store in memory.
    pub(crate) fn memory() -> Result<Self, StoreError> {
        let mut builder = Builder::new();
        builder.set_cache_size(32 << 20);
        let database = builder.create_with_backend(InMemoryBackend::new()).map_err(storage_error)?;
        create_tables(&database)?;
        Opened { database, log: None, version: 0 }.start(None, Tuning::default())
    }

    /// `embedded`, or `memory`.
    pub(crate) fn name(&self) -> &'static str {
        if self.path.is_some() { "embedded" } else { "memory" }
    }

    pub(crate) fn health(&self) -> Health {
        let failure = self.shared.check().err();
        Health {
            available: failure.is_none(),
            message: failure.map_or_else(String::new, |error| error.to_string()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            disk_bytes: self.path.as_deref().map_or(0, Directory::disk_bytes),
            machines: 1,
            processes: 1,
            ..Health::default()
        }
    }

    pub(crate) fn stats(&self) -> StoreStats {
        let shared = &self.shared;
        StoreStats {
            engine: self.name(),
            disk_bytes: self.path.as_deref().map_or(0, Directory::disk_bytes),
            commits: shared.commits.load(Ordering::Relaxed),
            conflicts: shared.conflicts.load(Ordering::Relaxed),
            reads: shared.reads.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn current_version(&self) -> Result<Version, StoreError> {
        self.shared.check()?;
        Ok(self.shared.published().version)
    }

    /// The next commit and all later ones get versions above `past`.
    pub(crate) fn advance_version(&self, past: Version) {
        self.shared.version_floor.fetch_max(past, Ordering::Release);
    }

    /// Resolves when the store has failed.
    pub(crate) fn failed(&self) -> impl Future<Output = StoreError> + Send + 'static {
        let mut failure = self.shared.failure.subscribe();
        async move {
            let failed = failure.wait_for(Option::is_some).await.ok().and_then(|failure| failure.clone());
            match failed {
                Some(error) => error,
                // Closed without a failure: there will be none.
                None => std::future::pending().await,
            }
        }
    }

    /// Finishes pending commits and releases the directory.
    pub(crate) async fn close(&self) {
        self.shared.stop(&StoreError::Closed);
        let mut ended = self.ended.clone();
        // An error means that the committer's thread is gone, which is as good.
        let _ = ended.wait_for(|ended| *ended).await;
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.shared.stop(&StoreError::Closed);
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

/// A tree and a log that were read and agree.
#[derive(Debug)]
pub(super) struct Opened {
    database: Database,
    log: Option<Log>,
    version: Version,
}

impl Opened {
    /// Opens tree and log, replaying what the log has beyond the tree. The error says what is wrong.
    pub(super) fn on_storage(
        tree: impl StorageBackend,
        log: Box<dyn StorageBackend>,
        create: bool,
        cache_bytes: usize,
    ) -> Result<Self, String> {
        if !create && tree.len().map_err(|error| error.to_string())? == 0 {
            return Err("the tree's file is empty".to_owned());
        }
        let mut builder = Builder::new();
        builder.set_cache_size(cache_bytes);
        let (tree, tree_changes) = hold(tree);
        // redb may panic on a file that something else damaged.
        let open = std::panic::AssertUnwindSafe(|| builder.create_with_backend(tree));
        let database = std::panic::catch_unwind(open)
            .map_err(|_| "the tree is damaged".to_owned())?
            .map_err(|error| format!("tree: {error}"))?;
        if create {
            tree_changes.release().map_err(|error| format!("tree: {error}"))?;
            create_tables(&database).map_err(|error| error.to_string())?;
            let log = Log::create(log).map_err(|error| error.to_string())?;
            return Ok(Self { database, log: Some(log), version: 0 });
        }
        let checkpoint = checkpoint_version(&database)?;
        let (mut log, records) = Log::open(log, checkpoint).map_err(|error| error.to_string())?;
        // Both can be used and fit together: from here on the files may change.
        tree_changes.release().map_err(|error| format!("tree: {error}"))?;
        let version = records.last().map_or(checkpoint, |newest| newest.version);
        replay(&database, &records).map_err(|error| error.to_string())?;
        log.reset(0).map_err(|error| error.to_string())?;
        Ok(Self { database, log: Some(log), version })
    }

    /// Starts the committer. `directory` is released when it ends.
    pub(super) fn start(self, directory: Option<Directory>, tuning: Tuning) -> Result<Embedded, StoreError> {
        let Self { database, log, version } = self;
        let snapshot = Snapshot::take(&database, version)?;
        let shared = Arc::new(Shared::new(snapshot, tuning.lifetime));
        let path = directory.as_ref().map(|directory| directory.path().to_owned());
        let (ended_sender, ended) = tokio::sync::watch::channel(false);
        let committer = Committer::new(shared.clone(), database, log, version, tuning);
        let for_thread = shared.clone();
        let run = move || {
            let run = std::panic::AssertUnwindSafe(|| committer.run());
            if std::panic::catch_unwind(run).is_err() {
                tracing::error!("the committer panicked");
                for_thread.stop(&StoreError::Io("the committer panicked".to_owned()));
                for_thread.queue.abandon();
            }
            drop(directory);
            let _ = ended_sender.send(true);
        };
        let thread = std::thread::Builder::new()
            .name("store-committer".to_owned())
            .spawn(run)
            .map_err(|error| StoreError::Io(format!("no thread for the committer: {error}")))?;
        Ok(Embedded { shared, path, thread: Mutex::new(Some(thread)), ended })
    }
}

fn create_tables(database: &Database) -> Result<(), StoreError> {
    let transaction = database.begin_write().map_err(storage_error)?;
    transaction.open_table(ENTRIES).map_err(storage_error)?;
    make_durable(transaction, 0)
}

fn checkpoint_version(database: &Database) -> Result<Version, String> {
    let read = || -> Result<Option<Version>, redb::Error> {
        let transaction = database.begin_read()?;
        let meta = match transaction.open_table(META) {
            Ok(meta) => meta,
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(meta.get(CHECKPOINT_VERSION)?.map(|version| version.value()))
    };
    read().map_err(|error| format!("tree: {error}"))?.ok_or_else(|| "the tree has no version".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::super::EmbeddedTransaction;
    use super::super::queue::CommitRequest;
    use super::*;
    use crate::engine::buffer::WriteBuffer;
    use crate::limits::TRANSACTION_LIFETIME;

    fn in_memory(lifetime: Duration) -> Arc<Embedded> {
        let database = Builder::new().create_with_backend(InMemoryBackend::new()).unwrap();
        create_tables(&database).unwrap();
        let opened = Opened { database, log: None, version: 0 };
        Arc::new(opened.start(None, Tuning { lifetime, ..Tuning::default() }).unwrap())
    }

    async fn put(engine: &Arc<Embedded>, key: &[u8]) -> Version {
        let tx = EmbeddedTransaction::new(engine.clone());
        tx.set(key, b"value");
        tx.commit().await.unwrap().version
    }

    /// A forgotten transaction pins no pages: the committer takes its snapshot away.
    #[tokio::test]
    async fn replaced_snapshots_are_released_after_the_lifetime() {
        let engine = in_memory(Duration::from_millis(20));
        let snapshot = engine.shared.published();
        put(&engine, b"a").await;
        let released = async {
            while snapshot.get(b"a", |_| ()).is_ok() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), released).await.unwrap();
        assert!(matches!(snapshot.get(b"a", |_| ()), Err(StoreError::TransactionTooOld)));
        // The newest one stays, however old.
        assert!(engine.shared.published().get(b"a", |value| value.is_some()).unwrap());
    }

    #[tokio::test]
    async fn reads_before_the_window_cannot_be_checked() {
        let engine = in_memory(Duration::from_millis(20));
        let first = put(&engine, b"a").await;
        let try_at = async |read_version| {
            let mut writes = WriteBuffer::default();
            writes.set(b"b", b"");
            let (reply, answer) = oneshot::channel();
            let request = CommitRequest {
                read_version: Some(read_version),
                reads: vec![crate::engine::key::KeyRange::Point(b"x".as_slice().into())],
                write_conflicts: Vec::new(),
                writes: writes.into_writes().unwrap(),
                size: 1,
                values_wanted: Vec::new(),
                reply,
            };
            engine.shared.queue.push(request).await.unwrap();
            answer.await.unwrap().map(|reply| reply.version)
        };
        assert!(try_at(first - 1).await.is_ok());
        let refused = async {
            loop {
                match try_at(first - 1).await {
                    Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                    Err(error) => break error,
                }
            }
        };
        let refused = tokio::time::timeout(Duration::from_secs(20), refused).await.unwrap();
        assert!(matches!(refused, StoreError::TransactionTooOld), "{refused:?}");
    }

    #[tokio::test]
    async fn a_dropped_commit_future_leaves_the_store_working() {
        let engine = in_memory(TRANSACTION_LIFETIME);
        for _ in 0..100 {
            let tx = EmbeddedTransaction::new(engine.clone());
            tx.set(b"a", b"");
            let commit = tx.commit();
            drop(tokio::time::timeout(Duration::ZERO, commit).await);
        }
        put(&engine, b"b").await;
        engine.close().await;
    }
}
