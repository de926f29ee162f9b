//! Watches how large the store is and how it is, beside the requests: nothing here makes a request wait for the disk
//! or for a long read.
//!
//! Samples of the size are kept in the store itself, hourly for a week and daily for three years, so that they survive a restart,
//! move along with a copy, and are shared by all processes on a cluster.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use hearth_rooms::Rooms;
use hearth_store::{Health, Store, StoreError, TableInfo};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{clock::unix_millis, known::Known};
pub(super) use disk::DiskSpace;
pub(super) use growth::Growth;
pub(super) use health::{StorageHealth, StorageState};
use records::MeasuredTable;
pub(super) use records::{Measurement, Sample};

mod disk;
mod growth;
mod health;
pub mod keys;
mod records;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// Samples are kept for so long: hours, days.
const HOURS_KEPT: u64 = 7 * 24;
const DAYS_KEPT: u64 = 3 * 365;
/// How often a sample is taken; the newest one of an hour and of a day stays.
const SAMPLE_EVERY: Duration = Duration::from_mins(15);
/// How old the known room on the disk may be.
const DISK_FRESH: Duration = Duration::from_secs(30);
/// How old the known health may be.
const HEALTH_FRESH: Duration = Duration::from_secs(5);
/// How long the engine may take to say how it is before a page goes on without.
const HEALTH_WAIT: Duration = Duration::from_secs(6);
/// A measurement by itself comes no sooner after the last one than this, and than a hundred times what that one took.
const MEASURE_REST: Duration = Duration::from_mins(15);
/// One that a person asks for comes no sooner than this.
const MEASURE_REST_ASKED: Duration = Duration::from_secs(10);
/// A measurement gives up counting after this.
const MEASURE_LIMIT: Duration = Duration::from_mins(2);

/// What the monitor cannot know by itself.
#[derive(Debug, Clone)]
pub struct StorageSettings {
    /// Every table of all databases, for the sizes.
    pub tables: Vec<TableInfo>,
    /// A folder on the disk that the store fills; `None` where that is not on this machine.
    pub folder: Option<PathBuf>,
}

/// Watches the store's size and health. Cheap to clone; [`Self::run`] does the work.
#[derive(Clone)]
pub(super) struct StorageMonitor(Arc<Inner>);

struct Inner {
    store: Store,
    /// For the number of events beside each sample.
    rooms: Rooms,
    settings: StorageSettings,
    measuring: Mutex<Measuring>,
    /// Somebody wants a measurement.
    wanted: Notify,
    disk: Known<Option<DiskSpace>>,
    health: Known<Health>,
}

#[derive(Default)]
struct Measuring {
    /// The newest one; from an earlier process until this one has measured.
    newest: Option<Measurement>,
    /// This process finished one then.
    finished: Option<Instant>,
    under_way: bool,
    failure: Option<String>,
}

/// What is known of the sizes of tables.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownSizes {
    pub(super) newest: Option<Measurement>,
    pub(super) under_way: bool,
    /// Why the last try failed.
    pub(super) failure: Option<String>,
}

impl StorageMonitor {
    /// A monitor that does nothing until it is [run](Self::run).
    pub(super) fn new(store: Store, rooms: Rooms, settings: StorageSettings) -> Self {
        Self(Arc::new(Inner {
            store,
            rooms,
            settings,
            measuring: Mutex::default(),
            wanted: Notify::new(),
            disk: Known::default(),
            health: Known::default(),
        }))
    }

    /// Takes samples and measures where it is asked to, until `stop`.
    pub(super) async fn run(&self, stop: CancellationToken) {
        let work = async {
            match self.remembered().await {
                Ok(newest) => self.measuring().newest = newest,
                Err(error) => tracing::warn!(%error, "the last measurement of the store cannot be read"),
            }
            tokio::join!(self.sample_for_ever(), self.measure_for_ever(), self.watch_disk(), self.watch_health());
        };
        stop.run_until_cancelled(work).await;
    }

    /// Every table.
    pub(super) fn tables(&self) -> &[TableInfo] {
        &self.0.settings.tables
    }

    /// Where the files are, if they are on this machine.
    pub(super) fn folder(&self) -> Option<&Path> {
        self.0.settings.folder.as_deref()
    }

    /// How the engine is, within a few seconds.
    pub(super) async fn health(&self) -> Health {
        let asked = tokio::time::timeout(HEALTH_WAIT, self.0.store.health()).await;
        let health = asked.unwrap_or_else(|_| Health {
            message: "The database did not say how it is within a few seconds.".to_owned(),
            ..Health::default()
        });
        self.0.health.set(health.clone());
        health
    }

    /// How the engine was a moment ago, where that is known; never waits.
    pub(super) fn recent_health(&self) -> Option<Health> {
        self.0.health.get(HEALTH_FRESH)
    }

    /// Room on the disk, where it is known. Asks for it anew where that is old, for the next one who comes.
    pub(super) fn disk(&self) -> Option<DiskSpace> {
        self.0.disk.get(DISK_FRESH).flatten()
    }

    /// What is known of the sizes. Where that is old, they are measured anew in the background.
    pub(super) fn sizes(&self) -> KnownSizes {
        let measuring = self.measuring();
        let took = measuring.newest.as_ref().map_or(0, |newest| newest.took_ms);
        let rest = MEASURE_REST.max(Duration::from_millis(took.saturating_mul(100)));
        let age_ms = measuring.newest.as_ref().map(|newest| unix_millis().saturating_sub(newest.at));
        let rested = measuring.finished.is_none_or(|at| at.elapsed() > rest);
        if rested && age_ms.is_none_or(|age| u128::from(age) > rest.as_millis()) {
            self.0.wanted.notify_one();
        }
        KnownSizes {
            newest: measuring.newest.clone(),
            under_way: measuring.under_way,
            failure: measuring.failure.clone(),
        }
    }

    /// Measures the sizes anew, in the background; not again where it just has.
    pub(super) fn measure(&self) {
        if self.measuring().finished.is_none_or(|at| at.elapsed() > MEASURE_REST_ASKED) {
            self.0.wanted.notify_one();
        }
    }

    /// The samples, oldest first: daily ones, and hourly ones for the last week.
    pub(super) async fn samples(&self) -> Result<Vec<Sample>, StoreError> {
        self.0
            .store
            .transact("storage_samples", |tx| async move {
                let hourly = keys::HOURLY.scan(()).snapshot().all(&tx).await?;
                let daily = keys::DAILY.scan(()).snapshot().all(&tx).await?;
                let week = hourly.first().map_or(u64::MAX, |(_, sample)| sample.at);
                let older = daily.into_iter().map(|(_, sample)| sample).filter(|sample| sample.at < week);
                Ok(older.chain(hourly.into_iter().map(|(_, sample)| sample)).collect())
            })
            .await
    }

    async fn remembered(&self) -> Result<Option<Measurement>, StoreError> {
        let read = |tx| async move { keys::MEASURED.get_snapshot(&tx, (0,)).await };
        self.0.store.transact("storage_measured", read).await
    }

    async fn sample_for_ever(&self) {
        let mut tick = tokio::time::interval(SAMPLE_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.look_at_disk().await;
            if let Err(error) = self.sample(unix_millis()).await {
                tracing::warn!(%error, "the store's size was not noted");
            }
        }
    }

    /// Notes the size now and forgets old samples.
    pub(super) async fn sample(&self, at: u64) -> Result<Sample, StoreError> {
        let inner = &self.0;
        let health = self.health().await;
        let sample = Sample {
            at,
            disk_bytes: if health.available { health.disk_bytes } else { inner.store.stats().disk_bytes },
            free_bytes: health.free_disk_bytes.or(self.disk().map(|space| space.free_bytes)),
            events: inner.rooms.totals().await.map_or(0, |totals| totals.events),
        };
        inner
            .store
            .transact("storage_sample", |tx| async move {
                let (hour, day) = (at / HOUR_MS, at / DAY_MS);
                keys::HOURLY.set(&tx, (hour,), &sample);
                keys::DAILY.set(&tx, (day,), &sample);
                let past = |table: Vec<u8>, first: Vec<u8>| tx.clear_range(&table, &first);
                past(keys::HOURLY.pack(&(0,)), keys::HOURLY.pack(&(hour.saturating_sub(HOURS_KEPT),)));
                past(keys::DAILY.pack(&(0,)), keys::DAILY.pack(&(day.saturating_sub(DAYS_KEPT),)));
                Ok::<_, StoreError>(())
            })
            .await?;
        Ok(sample)
    }

    async fn measure_for_ever(&self) {
        loop {
            self.0.wanted.notified().await;
            self.measuring().under_way = true;
            let outcome = self.measure_now().await;
            let mut measuring = self.measuring();
            measuring.under_way = false;
            measuring.finished = Some(Instant::now());
            match outcome {
                Ok(measurement) => {
                    measuring.newest = Some(measurement);
                    measuring.failure = None;
                }
                Err(error) => {
                    tracing::warn!(%error, "the store's tables were not measured");
                    measuring.failure = Some(error.to_string());
                }
            }
        }
    }

    async fn measure_now(&self) -> Result<Measurement, hearth_archive::ArchiveError> {
        let inner = &self.0;
        let begun = Instant::now();
        let sizes = hearth_archive::sizes(&inner.store, &inner.settings.tables, MEASURE_LIMIT).await?;
        let mut tables: Vec<_> = sizes
            .subspaces
            .into_iter()
            .map(|size| MeasuredTable {
                database: size.database,
                table: size.table,
                entries: size.keys,
                key_bytes: size.key_bytes,
                value_bytes: size.value_bytes,
            })
            .collect();
        tables.sort_by_key(|table| std::cmp::Reverse(table.key_bytes + table.value_bytes));
        let took_ms = begun.elapsed().as_millis() as u64;
        let measurement = Measurement { at: unix_millis(), took_ms, complete: sizes.complete, tables };
        let keep = |tx| {
            let measurement = &measurement;
            async move {
                keys::MEASURED.set(&tx, (0,), measurement);
                Ok::<_, StoreError>(())
            }
        };
        inner.store.transact("storage_measured", keep).await?;
        Ok(measurement)
    }

    async fn watch_disk(&self) {
        loop {
            self.0.disk.wanted().await;
            self.look_at_disk().await;
        }
    }

    async fn watch_health(&self) {
        loop {
            self.0.health.wanted().await;
            self.health().await;
        }
    }

    async fn look_at_disk(&self) {
        let folder = self.0.settings.folder.clone();
        let space = match folder {
            // A disk may hang for long, and this future waits for it; nobody who asks does.
            Some(folder) => tokio::task::spawn_blocking(move || disk::space(&folder)).await.ok().flatten(),
            None => None,
        };
        self.0.disk.set(space);
    }

    fn measuring(&self) -> std::sync::MutexGuard<'_, Measuring> {
        self.0.measuring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
