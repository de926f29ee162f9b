//! Where everything is kept: the engine and how it is, room on the disk, sizes, growth.

use std::{collections::HashMap, sync::Arc};

use axum::{Json, extract::State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::admin::{
    error::AdminError,
    state::Admin,
    storage::{Growth, KnownSizes, Sample, StorageHealth},
};

/// The store.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(in crate::admin) struct Storage {
    /// `embedded`, `memory` or `foundationdb`.
    engine: String,
    /// Version of the engine; empty where it is not known.
    version: String,
    /// How it is.
    health: StorageHealth,
    /// Whether other processes may use the same store.
    shared: bool,
    /// Redundancy of a cluster: `single`, `double`, `triple`; empty elsewhere.
    redundancy: String,
    /// Machines of a cluster; 1 elsewhere.
    machines: u32,
    /// Database processes of a cluster; 1 elsewhere.
    database_processes: u32,
    /// Where the files are, on this machine; absent where they are elsewhere.
    folder: Option<String>,
    /// Bytes on disk; of a shared cluster with everything else that is on it.
    disk_bytes: u64,
    /// Bytes of keys and values, as far as the engine counts them.
    stored_bytes: Option<u64>,
    /// Bytes free on the disk, on a cluster on the fullest one.
    free_bytes: Option<u64>,
    /// Bytes of the whole disk, where it is on this machine.
    total_bytes: Option<u64>,
    /// How it grows; absent for the first two days.
    growth: Option<Growth>,
    /// The size of every table.
    sizes: Sizes,
    /// The processes of this server that use the store, as far as they tell.
    processes: Vec<ServerProcess>,
}

/// The sizes of the tables, as far as they are known.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(in crate::admin) struct Sizes {
    /// When they were measured, Unix milliseconds; absent where they never were.
    measured_at: Option<u64>,
    /// How long that took, in milliseconds.
    took_ms: u64,
    /// Whether every entry was counted; otherwise large tables were counted in part only.
    complete: bool,
    /// They are being measured now.
    under_way: bool,
    /// Why the last measurement failed.
    failure: Option<String>,
    /// The tables, the largest first; empty ones are left out.
    tables: Vec<TableSize>,
}

/// The size of a table.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(in crate::admin) struct TableSize {
    /// The database; empty for what belongs to none.
    database: String,
    /// The table.
    table: String,
    /// What is in it, in a sentence or two.
    about: String,
    /// Entries.
    entries: u64,
    /// Bytes of its keys and values.
    bytes: u64,
}

/// A process of the server.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(in crate::admin) struct ServerProcess {
    /// Its name among the processes.
    name: String,
    /// The machine.
    host: String,
    /// Its process id there.
    pid: u32,
    /// Version of the software.
    version: String,
    /// When it started, Unix milliseconds.
    started_at: u64,
    /// Whether it is the one that answers here.
    this: bool,
}

/// How large the store was at a time.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(in crate::admin) struct SizeSample {
    /// When, Unix milliseconds.
    at: u64,
    /// Bytes on disk.
    disk_bytes: u64,
    /// Bytes free on the disk, where known.
    free_bytes: Option<u64>,
    /// Events in all rooms.
    events: u64,
}

impl From<Sample> for SizeSample {
    fn from(sample: Sample) -> Self {
        let Sample { at, disk_bytes, free_bytes, events } = sample;
        Self { at, disk_bytes, free_bytes, events }
    }
}

impl Sizes {
    fn new(known: KnownSizes, about: &HashMap<(&str, &str), &str>) -> Self {
        let KnownSizes { newest, under_way, failure } = known;
        let Some(newest) = newest else {
            return Self { measured_at: None, took_ms: 0, complete: false, under_way, failure, tables: Vec::new() };
        };
        let tables = newest.tables.into_iter().filter(|table| table.entries > 0).map(|table| TableSize {
            about: about.get(&(&*table.database, &*table.table)).copied().unwrap_or_default().to_owned(),
            database: table.database,
            table: table.table,
            entries: table.entries,
            bytes: table.key_bytes + table.value_bytes,
        });
        Self {
            measured_at: Some(newest.at),
            took_ms: newest.took_ms,
            complete: newest.complete,
            under_way,
            failure,
            tables: tables.collect(),
        }
    }
}

/// The store: engine, health, room on the disk, sizes, growth. Sizes are measured in the background; where they are old,
/// asking for them begins that.
#[utoipa::path(get, path = "/storage", operation_id = "get_storage", tag = "storage", responses(
    (status = OK, body = Storage),
    (status = "default", body = AdminError),
))]
pub(super) async fn get(State(admin): State<Arc<Admin>>) -> Result<Json<Storage>, AdminError> {
    let (store, monitor) = (&admin.parts.store, &admin.storage);
    let engine = monitor.health().await;
    let space = monitor.disk();
    let free_bytes = engine.free_disk_bytes.or(space.map(|space| space.free_bytes));
    let about = monitor.tables().iter().map(|info| ((info.database, info.table), info.doc)).collect();
    // A store that does not answer has no samples to show, and says so in its health.
    let (samples, processes) = if engine.available {
        (monitor.samples().await?, hearth_store::process::processes(store).await?)
    } else {
        Default::default()
    };
    let this = admin.parts.process.as_deref();
    let processes = processes.into_iter().map(|process| ServerProcess {
        this: this == Some(&*process.id),
        name: process.id,
        host: process.host,
        pid: process.pid,
        version: process.version,
        started_at: process.started,
    });
    Ok(Json(Storage {
        engine: store.engine().to_owned(),
        health: StorageHealth::judge(store.engine(), &engine, free_bytes),
        version: engine.version,
        shared: store.is_shared(),
        redundancy: engine.redundancy,
        machines: engine.machines,
        database_processes: engine.processes,
        folder: monitor.folder().map(|folder| folder.display().to_string()),
        disk_bytes: engine.disk_bytes,
        stored_bytes: engine.stored_bytes,
        free_bytes,
        total_bytes: space.map(|space| space.total_bytes),
        growth: Growth::judge(&samples),
        sizes: Sizes::new(monitor.sizes(), &about),
        processes: processes.collect(),
    }))
}

/// How large the store was: daily for three years, hourly for the last week; oldest first.
#[utoipa::path(get, path = "/storage/growth", operation_id = "get_storage_growth", tag = "storage", responses(
    (status = OK, body = Vec<SizeSample>),
    (status = "default", body = AdminError),
))]
pub(super) async fn growth(State(admin): State<Arc<Admin>>) -> Result<Json<Vec<SizeSample>>, AdminError> {
    let samples = admin.storage.samples().await?;
    Ok(Json(samples.into_iter().map(SizeSample::from).collect()))
}

/// Measures the sizes of the tables anew, in the background.
#[utoipa::path(post, path = "/storage/measure", operation_id = "measure_storage", tag = "storage", responses(
    (status = ACCEPTED),
    (status = "default", body = AdminError),
))]
pub(super) async fn measure(State(admin): State<Arc<Admin>>) -> Result<StatusCode, AdminError> {
    admin.storage.measure();
    Ok(StatusCode::ACCEPTED)
}
