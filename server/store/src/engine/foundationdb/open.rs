//! Opening and closing a store on a cluster.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ::foundationdb::options::{DatabaseOption, TransactionOption};
use ::foundationdb::{Database, FdbError};
use foundationdb_sys::library::{self, Loaded};
use foundationdb_sys::network::{self, StartError, Started};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::capture::{self, Capture};
use super::client::{self, ask};
use super::health::HealthCache;
use super::idempotency::{self, Receipts};
use super::layout::{FORMAT, Layout};
use super::range::Stored;
use crate::limits::KEY_PREFIX_BYTES;
use crate::options::FoundationDbOptions;
use crate::stats::{Health, StoreStats};
use crate::{LibraryMissing, OpenError, StoreError, Version};

/// A cluster that does not answer within this time counts as unreachable: soon enough that who waits hears of it within five
/// seconds, all told.
const OPEN_TIME: Duration = Duration::from_secs(4);
/// Watches that may wait at the same time; FoundationDB refuses more.
const WATCHES: i32 = 10_000;
/// How long closing waits for commits that are on their way.
const CLOSE_TIME: Duration = Duration::from_secs(10);

/// A store on a cluster.
pub(crate) struct FoundationDb {
    pub(super) database: Database,
    pub(super) layout: Layout,
    pub(super) receipts: Arc<Receipts>,
    pub(super) capture: Capture,
    health: HealthCache,
    /// The client library's release.
    client_version: String,
    /// Turns true when the store is closed.
    closed: watch::Sender<bool>,
    /// Commits that are on their way, and small clean-ups that nobody waits for.
    pub(super) tasks: TaskTracker,
    pub(super) commits: AtomicU64,
    pub(super) conflicts: AtomicU64,
    pub(super) reads: AtomicU64,
}

impl std::fmt::Debug for FoundationDb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FoundationDb").field("layout", &self.layout).finish_non_exhaustive()
    }
}

impl FoundationDb {
    pub(crate) async fn open(options: FoundationDbOptions) -> Result<Arc<Self>, OpenError> {
        let cluster_file = options.cluster_file.clone();
        let unreadable = |detail: String| OpenError::Unreadable { path: options.cluster_file.clone(), detail };
        if options.key_prefix.len() > KEY_PREFIX_BYTES {
            return Err(unreadable(format!("the key prefix is longer than {KEY_PREFIX_BYTES} bytes")));
        }
        if options.key_prefix.first() == Some(&0xff) {
            return Err(unreadable("a key prefix that begins with the byte 0xff is FoundationDB's own".to_owned()));
        }
        // Loading a large library reads the disk, and starting the network waits for a thread.
        let library = options.client_library.clone();
        let started = tokio::task::spawn_blocking(move || {
            let loaded = load(library.as_deref())?;
            check_cluster_file(&cluster_file)?;
            let started = start(&loaded)?;
            Ok((started, cluster_file))
        });
        let (started, cluster_file) = started.await.map_err(|error| unreadable(error.to_string()))??;
        let database = connect(&cluster_file)?;
        let layout = Layout::new(&options.key_prefix);
        let checked = tokio::time::timeout(OPEN_TIME, check_format(&database, &layout, &cluster_file)).await;
        checked.unwrap_or_else(|_| {
            let detail = format!("no transaction succeeded within {} s", OPEN_TIME.as_secs());
            Err(OpenError::Unreachable { path: cluster_file, detail })
        })?;
        let engine = Arc::new(Self {
            database,
            layout,
            receipts: Receipts::new(),
            capture: Capture::default(),
            health: HealthCache::default(),
            client_version: started.client_version,
            closed: watch::Sender::new(false),
            tasks: TaskTracker::new(),
            commits: AtomicU64::new(0),
            conflicts: AtomicU64::new(0),
            reads: AtomicU64::new(0),
        });
        let sweeping = engine.clone();
        engine.in_background(async move {
            let swept = idempotency::sweep(&sweeping.database, &sweeping.layout).await;
            let _ = swept.inspect_err(|error| tracing::debug!(%error, "old receipts are left for the next time"));
            let ended = capture::end(&sweeping.database, &sweeping.layout, None).await;
            let _ = ended.inspect_err(|error| tracing::debug!(%error, "a lapsed snapshot is left for the next time"));
        });
        tracing::info!(client = %engine.client_version, api = started.api_version, "opened a store on FoundationDB");
        Ok(engine)
    }

    /// Fails once the store was closed.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if *self.closed.borrow() { Err(StoreError::Closed) } else { Ok(()) }
    }

    /// Resolves when the store is closed.
    pub(super) async fn closed(&self) {
        let mut closed = self.closed.subscribe();
        // An error means that the store is gone, which it is not while somebody asks.
        let _ = closed.wait_for(|closed| *closed).await;
    }

    /// Runs a small clean-up that nobody waits for; not at all where there is no runtime or the store is closed.
    pub(super) fn in_background(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current()
            && self.check().is_ok()
        {
            // Bounded, as all that the cluster is asked is.
            self.tasks.spawn_on(work, &runtime);
        }
    }

    /// Has the rows of lapsed snapshots removed, once at a time.
    pub(super) fn sweep_snapshots(self: &Arc<Self>) {
        if self.capture.sweeping.swap(true, Ordering::AcqRel) {
            return;
        }
        let engine = self.clone();
        self.in_background(async move {
            let ended = capture::end(&engine.database, &engine.layout, None).await;
            let _ = ended.inspect_err(|error| tracing::debug!(%error, "a lapsed snapshot is left for the next time"));
            engine.capture.sweeping.store(false, Ordering::Release);
        });
    }

    pub(crate) async fn current_version(&self) -> Result<Version, StoreError> {
        self.check()?;
        client::read_version(&*client::begin(&self.database, None)?).await
    }

    /// Makes the cluster recover at a version above `past`, if it is not there already. This is what `fdbcli`'s
    /// `advanceversion` does. Returns when the cluster works again.
    pub(crate) async fn advance_version(&self, past: Version) -> Result<(), StoreError> {
        const PAUSE: Duration = Duration::from_millis(100);
        /// A cluster that was asked recovers within a few seconds; asking again makes it recover again.
        const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(15);
        const PATIENCE: Duration = Duration::from_mins(1);
        /// For some seconds after the jump some transactions succeed and the next ones hang.
        const SETTLED_AFTER: Duration = Duration::from_secs(5);
        let began = Instant::now();
        let mut asked: Option<Instant> = None;
        let mut works_since: Option<Instant> = None;
        loop {
            self.check()?;
            let error = match self.works_beyond(past).await {
                Ok(true) if asked.is_none() => return Ok(()),
                Ok(true) if works_since.get_or_insert_with(Instant::now).elapsed() > SETTLED_AFTER => return Ok(()),
                Ok(false) if asked.is_none_or(|asked| asked.elapsed() > ASKED_AGAIN_AFTER) => {
                    asked = Some(Instant::now());
                    self.ask_for_version(past + 1).await.err()
                }
                Ok(_) => None,
                Err(error) => {
                    works_since = None;
                    Some(error)
                }
            };
            if began.elapsed() > PATIENCE {
                let never = || StoreError::Unavailable("the cluster's versions do not move on".to_owned());
                return Err(error.unwrap_or_else(never));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whether versions are beyond `past` and transactions succeed there.
    async fn works_beyond(&self, past: Version) -> Result<bool, StoreError> {
        let transaction = client::begin(&self.database, Some("advance version"))?;
        if client::read_version(&transaction).await? < past {
            return Ok(false);
        }
        // Reads and commits follow a moment after versions.
        let format = self.layout.format();
        ask("a read", transaction.get(&format, true)).await?;
        transaction.set(&format, &FORMAT.to_be_bytes());
        client::commit(transaction).await?;
        Ok(true)
    }

    async fn ask_for_version(&self, version: Version) -> Result<(), StoreError> {
        const KEY: &[u8] = b"\xff/minRequiredCommitVersion";
        let transaction = client::begin(&self.database, Some("advance version"))?;
        for option in [TransactionOption::AccessSystemKeys, TransactionOption::LockAware] {
            transaction.set_option(option).map_err(client::store_error)?;
        }
        transaction.set(KEY, &version.to_le_bytes());
        client::commit(transaction).await
    }

    pub(crate) async fn health(&self) -> Health {
        match self.check() {
            Ok(()) => self.health.get(&self.database).await,
            Err(error) => Health { message: error.to_string(), ..Health::default() },
        }
    }

    pub(crate) fn stats(&self) -> StoreStats {
        StoreStats {
            engine: super::NAME,
            disk_bytes: self.health.disk_bytes(),
            commits: self.commits.load(Ordering::Relaxed),
            conflicts: self.conflicts.load(Ordering::Relaxed),
            reads: self.reads.load(Ordering::Relaxed),
        }
    }

    /// Waits for the commits that are on their way; refuses everything else from now on.
    pub(crate) async fn close(&self) {
        if self.closed.send_replace(true) {
            return;
        }
        self.tasks.close();
        if tokio::time::timeout(CLOSE_TIME, self.tasks.wait()).await.is_ok() {
            // Rows that are left are swept by others.
            let _ = self.receipts.clear(&self.database, &self.layout).await;
        }
    }
}

/// Loads the client library and starts its network, once per process, without a cluster. Its release. Blocks.
pub(crate) fn load_client(library: Option<&Path>) -> Result<String, OpenError> {
    Ok(start(&load(library)?)?.client_version)
}

fn load(configured: Option<&Path>) -> Result<Loaded, OpenError> {
    library::load(configured).map_err(|error| OpenError::LibraryMissing(LibraryMissing { looked: error.looked }))
}

fn start(loaded: &Loaded) -> Result<Started, OpenError> {
    network::start(loaded).map_err(|error| match error {
        StartError::TooOld { found, needed } => OpenError::LibraryTooOld { path: loaded.path.clone(), found, needed },
        error => OpenError::Unreadable { path: loaded.path.clone(), detail: error.to_string() },
    })
}

/// Whether there is a file of the form `description:id@address,…`. The client itself would wait for ever on some that are not.
fn check_cluster_file(path: &Path) -> Result<(), OpenError> {
    let wrong = |detail: String| OpenError::ClusterFile { path: path.to_owned(), detail };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Err(wrong("it must hold one line, description:id@address:port".to_owned()));
    };
    let is_address = |address: &str| {
        let address = address.strip_suffix(":tls").unwrap_or(address);
        address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    };
    let parts = line.split_once('@').and_then(|(name, addresses)| Some((name.split_once(':')?, addresses)));
    let is_good = parts.is_some_and(|((description, id), addresses)| {
        !description.is_empty() && !id.is_empty() && addresses.split(',').all(is_address)
    });
    if is_good { Ok(()) } else { Err(wrong("its line is not description:id@address:port".to_owned())) }
}

fn connect(cluster_file: &Path) -> Result<Database, OpenError> {
    let wrong = |detail: String| OpenError::ClusterFile { path: cluster_file.to_owned(), detail };
    let path = cluster_file.to_str().ok_or_else(|| wrong("its path is not UTF-8".to_owned()))?;
    if path.contains('\0') {
        return Err(wrong("its path holds a zero".to_owned()));
    }
    let failed = |error: FdbError| wrong(format!("{} ({})", error.message(), error.code()));
    let database = Database::from_path(path).map_err(failed)?;
    database.set_option(DatabaseOption::MaxWatches(WATCHES)).map_err(failed)?;
    Ok(database)
}

/// Reads the format row; writes it where this store is new. Goes on until the cluster says something.
async fn check_format(database: &Database, layout: &Layout, cluster_file: &Path) -> Result<(), OpenError> {
    const PAUSE: Duration = Duration::from_millis(50);
    loop {
        match try_format(database, layout, cluster_file).await {
            Ok(done) => return done,
            Err(error) => tracing::debug!(%error, "the cluster does not answer yet"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The outer error is worth another try.
async fn try_format(
    database: &Database,
    layout: &Layout,
    cluster_file: &Path,
) -> Result<Result<(), OpenError>, StoreError> {
    let path = || PathBuf::from(cluster_file);
    let transaction = client::begin(database, Some("open"))?;
    let found = ask("a read", transaction.get(&layout.format(), true)).await?;
    if let Some(found) = found {
        return Ok(match <[u8; 8]>::try_from(&*found).map(u64::from_be_bytes) {
            Ok(found) if found <= FORMAT => Ok(()),
            Ok(found) => Err(OpenError::Newer { path: path(), found: found as u32, supported: FORMAT as u32 }),
            Err(_) => Err(OpenError::Foreign { path: path(), detail: "its format row is not a number".to_owned() }),
        });
    }
    let everything = layout.everything();
    let mut stored = Stored::raw(layout, transaction.clone(), everything.clone(), Some(1), false);
    stored.fill().await?;
    if let Some((key, _)) = stored.current_raw() {
        let detail = format!("below the key prefix lies {}, and no format row", key.escape_ascii());
        return Ok(Err(OpenError::Foreign { path: path(), detail }));
    }
    drop(stored);
    // Two that open the same new store at the same time: one of them reads again.
    client::conflict_with(&transaction, everything)?;
    transaction.set(&layout.format(), &FORMAT.to_be_bytes());
    client::commit(transaction).await?;
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_files_are_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fdb.cluster");
        assert!(matches!(check_cluster_file(&path), Err(OpenError::ClusterFile { .. })));
        for (text, good) in [
            ("local:abc@127.0.0.1:4500", true),
            ("# a comment\n\nlocal:abc@127.0.0.1:4500,[::1]:4501:tls\n", true),
            ("", false),
            ("# only a comment\n", false),
            ("127.0.0.1:4500", false),
            ("local@127.0.0.1:4500", false),
            ("local:@127.0.0.1:4500", false),
            ("local:abc@", false),
            ("local:abc@host:port", false),
            ("local:abc@host.example:4500,", false),
            ("local:abc@127.0.0.1:4500\nlocal:abc@127.0.0.1:4501", false),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(check_cluster_file(&path).is_ok(), good, "{text:?}");
        }
    }
}
