use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng;
use tracing::Instrument;

use crate::engine::embedded::{Embedded, EmbeddedSnapshot, EmbeddedTransaction};
use crate::engine::foundationdb::{self, FdbSnapshot, FdbTransaction, FoundationDb};
use crate::engine::{SnapshotEngine, StoreEngine, TransactionEngine};
use crate::options::{EmbeddedOptions, FoundationDbOptions};
use crate::stats::{Health, StoreStats};
use crate::{AsStoreError, Committed, OpenError, Snapshot, StoreError, Transaction, Version};

/// An open store. Cheap to clone.
///
/// When the last handle (and the last [`Transaction`]) goes away without [`Self::close`], the embedded engine
/// finishes its commits in that drop, which blocks for a few milliseconds.
#[derive(Clone, Debug)]
pub struct Store {
    engine: StoreEngine,
}

/// The pause before the second attempt; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_micros(200);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// A transaction that outlives its lifetime again and again does too much; waiting longer does not help it.
const TOO_OLD_ATTEMPTS: u32 = 5;
/// A cluster that elects new leaders is back after a second or two. An attempt that gets no answer at all takes longer
/// than this, so that it is the last one.
const UNAVAILABLE_PATIENCE: Duration = Duration::from_secs(4);

// See `Transaction`: a remote engine waits where the embedded one does not.
#[allow(clippy::unused_async)]
impl Store {
    /// Opens (or creates) an embedded store. Takes the operating-system lock on the directory.
    pub async fn open(options: EmbeddedOptions) -> Result<Self, OpenError> {
        let path = options.path.clone();
        let opened = tokio::task::spawn_blocking(move || Embedded::open(&options)).await;
        let engine = opened.map_err(|error| OpenError::Unreadable { path, detail: error.to_string() })??;
        Ok(Self { engine: StoreEngine::Embedded(Arc::new(engine)) })
    }

    /// Opens a store on a FoundationDB cluster. The cluster must answer a transaction within five seconds; nothing is
    /// written unless everything works, and then only the row that tells the format.
    pub async fn open_foundationdb(options: FoundationDbOptions) -> Result<Self, OpenError> {
        Ok(Self { engine: StoreEngine::FoundationDb(FoundationDb::open(options).await?) })
    }

    /// Whether FoundationDB's client library can be used here: loads it as [`Self::open_foundationdb`] does, and gives its
    /// release. For whoever has to start a cluster first, and should not where nobody could connect to it.
    pub async fn foundationdb_client(library: Option<PathBuf>) -> Result<String, OpenError> {
        let path = library.clone().unwrap_or_default();
        let loaded = tokio::task::spawn_blocking(move || foundationdb::load_client(library.as_deref())).await;
        loaded.map_err(|error| OpenError::Unreadable { path, detail: error.to_string() })?
    }

    /// An empty store in memory, for tests.
    ///
    /// # Panics
    ///
    /// Where the system gives no thread.
    pub fn memory() -> Self {
        let engine = Embedded::memory().expect("memory does not fail, and a test can have a thread");
        Self { engine: StoreEngine::Embedded(Arc::new(engine)) }
    }

    /// Begins a transaction by hand.
    pub fn begin(&self) -> Transaction {
        self.begin_labelled(None)
    }

    fn begin_labelled(&self, name: Option<&'static str>) -> Transaction {
        let engine = match &self.engine {
            StoreEngine::Embedded(engine) => {
                TransactionEngine::Embedded(Arc::new(EmbeddedTransaction::new(engine.clone())))
            }
            StoreEngine::FoundationDb(engine) => {
                TransactionEngine::FoundationDb(Arc::new(FdbTransaction::new(engine.clone(), name)))
            }
        };
        Transaction::new(engine)
    }

    /// Runs `body` in a transaction and commits it, again from the start (with backoff) when it conflicts.
    /// `body` must be idempotent and do no network I/O. `name` labels the tracing span, and on FoundationDB the transaction.
    ///
    /// A conflict means that another transaction succeeded, so conflicts are retried for as long as they come;
    /// a transaction that grows too old is given up after a few attempts, and one that finds the cluster
    /// [unavailable](StoreError::Unavailable) after a few seconds. A commit whose result stays unknown is never run again.
    pub async fn transact<T, E, F, Fut>(&self, name: &'static str, body: F) -> Result<T, E>
    where
        F: Fn(Transaction) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, E>> + Send,
        E: AsStoreError + Send,
        T: Send,
    {
        Ok(self.transact_versioned(name, body).await?.0)
    }

    /// Like [`Self::transact`], and tells what was committed.
    pub async fn transact_versioned<T, E, F, Fut>(&self, name: &'static str, body: F) -> Result<(T, Committed), E>
    where
        F: Fn(Transaction) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, E>> + Send,
        E: AsStoreError + Send,
        T: Send,
    {
        let span = tracing::debug_span!("transaction", name, attempts = tracing::field::Empty);
        let run = async {
            let mut attempts = 0;
            let mut too_old = 0;
            let began = Instant::now();
            loop {
                attempts += 1;
                let transaction = self.begin_labelled(Some(name));
                let error = match body(transaction.clone()).await {
                    Ok(value) => match transaction.commit_or_say().await {
                        Ok(committed) => {
                            tracing::Span::current().record("attempts", attempts);
                            return Ok((value, committed));
                        }
                        Err(failure) if failure.is_unknown => return Err(E::from(failure.error)),
                        Err(failure) => E::from(failure.error),
                    },
                    Err(error) => error,
                };
                match error.as_store_error() {
                    Some(StoreError::TransactionTooOld) if too_old + 1 < TOO_OLD_ATTEMPTS => too_old += 1,
                    Some(StoreError::Conflict) => {}
                    Some(StoreError::Unavailable(_)) if began.elapsed() < UNAVAILABLE_PATIENCE => {}
                    _ => return Err(error),
                }
                drop(transaction);
                tracing::trace!(attempts, "transaction is retried");
                tokio::time::sleep(pause(attempts)).await;
            }
        };
        run.instrument(span).await
    }

    /// The version of the newest commit that is visible to new transactions.
    pub async fn current_version(&self) -> Result<Version, StoreError> {
        match &self.engine {
            StoreEngine::Embedded(engine) => engine.current_version(),
            StoreEngine::FoundationDb(engine) => engine.current_version().await,
        }
    }

    /// A consistent read of `begin..end` that may take longer than a transaction lives.
    pub async fn snapshot(&self, begin: &[u8], end: &[u8]) -> Result<Snapshot, StoreError> {
        let engine = match &self.engine {
            StoreEngine::Embedded(engine) => {
                SnapshotEngine::Embedded(EmbeddedSnapshot::new(engine.clone(), begin, end)?)
            }
            StoreEngine::FoundationDb(engine) => {
                SnapshotEngine::FoundationDb(Box::new(FdbSnapshot::new(engine.clone(), begin, end).await?))
            }
        };
        Ok(Snapshot::new(engine))
    }

    /// The engine's name: `embedded`, `memory` or `foundationdb`.
    pub fn engine(&self) -> &'static str {
        match &self.engine {
            StoreEngine::Embedded(engine) => engine.name(),
            StoreEngine::FoundationDb(_) => foundationdb::NAME,
        }
    }

    /// Whether other processes may write to this store at the same time.
    pub fn is_shared(&self) -> bool {
        match &self.engine {
            StoreEngine::Embedded(_) => false,
            StoreEngine::FoundationDb(_) => true,
        }
    }

    /// How the database is. On FoundationDB this asks the cluster, at most once in a few seconds however often it is
    /// called, and answers within a few seconds also where the cluster does not.
    pub async fn health(&self) -> Health {
        match &self.engine {
            StoreEngine::Embedded(engine) => engine.health(),
            StoreEngine::FoundationDb(engine) => engine.health().await,
        }
    }

    /// Makes the next commit and all later ones get versions above `past`: data that came from another store holds versionstamps,
    /// and what is written next must sort above them. Does nothing where the versions are there already.
    ///
    /// The embedded engine's versions count commits and jump with the next one, which makes the jump durable. On FoundationDB
    /// versions are the cluster's: it is made to recover at the later version, which other data on it survives unharmed, but
    /// which holds transactions up for some seconds (this returns when that is over).
    pub async fn advance_version(&self, past: Version) -> Result<(), StoreError> {
        match &self.engine {
            StoreEngine::Embedded(engine) => {
                engine.advance_version(past);
                Ok(())
            }
            StoreEngine::FoundationDb(engine) => engine.advance_version(past).await,
        }
    }

    /// Figures for the dashboard.
    pub fn stats(&self) -> StoreStats {
        match &self.engine {
            StoreEngine::Embedded(engine) => engine.stats(),
            StoreEngine::FoundationDb(engine) => engine.stats(),
        }
    }

    /// Resolves when the store has failed (the disk broke or is full). From then on every operation fails with the
    /// same error, so the process should say so and end; pending forever otherwise.
    pub fn failed(&self) -> impl Future<Output = StoreError> + Send + 'static {
        let failed = match &self.engine {
            StoreEngine::Embedded(engine) => Some(engine.failed()),
            // A cluster that is gone may come back.
            StoreEngine::FoundationDb(_) => None,
        };
        async move {
            match failed {
                Some(failed) => failed.await,
                None => std::future::pending().await,
            }
        }
    }

    /// Finishes pending commits and releases the directory. Later use fails with [`StoreError::Closed`].
    pub async fn close(&self) {
        match &self.engine {
            StoreEngine::Embedded(engine) => engine.close().await,
            StoreEngine::FoundationDb(engine) => engine.close().await,
        }
    }
}

/// How long to wait after the `attempts`th attempt: random, so that those who conflicted part ways.
fn pause(attempts: u32) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(1 << attempts.min(16)).min(LONGEST_PAUSE);
    longest.mul_f64(rand::thread_rng().gen_range(0.1..1.0))
}
