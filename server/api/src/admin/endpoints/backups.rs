//! Backups: those in the folder, making, verifying and deleting them, and how to restore one.

use std::{path::PathBuf, sync::Arc};

use axum::{Json, extract::State};
use hearth_archive::{BackupFile, Passphrase};
use hearth_jobs::{
    Enqueue, Filter, JobState as State_, Page, WhileRunning,
    kinds::{Backup as BackupJob, BackupArguments},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Body, Path};
use crate::admin::{
    backups::{self, StartError, What, Work, WorkState},
    error::{AdminError, ErrorCode},
    job::Job,
    state::Admin,
};

/// The key of the backup job that somebody asked for.
const BY_HAND: &str = "manual";

/// The backups of this installation.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(in crate::admin) struct Backups {
    /// Where they are.
    folder: String,
    /// Whether new ones are encrypted.
    encrypted: bool,
    /// Hours between scheduled ones; 0: none are scheduled.
    interval_hours: u32,
    /// How many scheduled ones are kept.
    keep: u32,
    /// When the next scheduled one is due, Unix milliseconds.
    next_at: Option<u64>,
    /// The backups, the newest first.
    files: Vec<Backup>,
    /// The newest jobs that make backups: running, waiting, failed, then done.
    jobs: Vec<Job>,
    /// Verifications and backups to other places, as far as they are remembered; newest first.
    works: Vec<BackupWork>,
    /// How to bring one back.
    restore: Vec<RestoreStep>,
}

/// A backup in the folder.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(in crate::admin) struct Backup {
    /// Its file's name.
    name: String,
    /// Bytes of the file.
    bytes: u64,
    /// What its beginning says; absent where that cannot be read.
    header: Option<BackupHeader>,
    /// Why it cannot be read.
    fault: Option<String>,
}

/// What a backup says of itself.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(in crate::admin) struct BackupHeader {
    /// When it was begun, Unix milliseconds.
    made_at: u64,
    /// Whose data it is.
    server_name: String,
    /// Version of the Hearth that made it.
    version: String,
    /// The engine that it was read from.
    engine: String,
    /// Whether restoring it takes a passphrase.
    encrypted: bool,
    /// Whether the schedule made it, which deletes it again when there are newer ones.
    scheduled: bool,
}

/// Something that is being done to a backup on this machine, or was.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(in crate::admin) struct BackupWork {
    /// Names it until the server stops.
    id: u64,
    /// What is done.
    kind: BackupWorkKind,
    /// The name of the backup in the folder, or the path that is written.
    target: String,
    /// How it stands.
    state: BackupWorkState,
    /// What is being done, in a word or two.
    phase: String,
    /// Bytes so far in this phase.
    bytes: u64,
    /// What they will be at the end of the phase, where that is known.
    total_bytes: Option<u64>,
    /// Entries so far in this phase; in the end, those of the whole backup.
    entries: u64,
    /// Bytes of the file, in the end.
    file_bytes: Option<u64>,
    /// When it began, Unix milliseconds.
    started_at: u64,
    /// When it ended, Unix milliseconds.
    ended_at: Option<u64>,
    /// Why it failed, in a sentence.
    error: Option<String>,
}

/// What is done to a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::admin) enum BackupWorkKind {
    /// It is read and checked.
    Verify,
    /// It is written to a path.
    Write,
}

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::admin) enum BackupWorkState {
    /// Under way.
    Running,
    /// Ended well.
    Done,
    /// Did not.
    Failed,
    /// Was cut off.
    Cancelled,
}

/// A step of restoring a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(in crate::admin) struct RestoreStep {
    /// What to do, in a sentence.
    text: String,
    /// The command that does it, for a shell on the server's machine.
    command: Option<String>,
}

/// Where to write a backup.
#[derive(Deserialize, ToSchema)]
pub(in crate::admin) struct WriteBackup {
    /// The file: an absolute path on the server's machine, where there is nothing yet.
    path: String,
    /// Encrypts it; without one, the installation's own passphrase does, where it has one.
    passphrase: Option<String>,
}

impl From<BackupFile> for Backup {
    fn from(file: BackupFile) -> Self {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let made_at = backups::made_at(&file).unwrap_or_default();
        let (header, fault) = match file.header {
            Ok(header) => (
                Some(BackupHeader {
                    made_at,
                    server_name: header.server_name,
                    version: header.hearth_version,
                    engine: header.engine,
                    encrypted: header.encrypted,
                    scheduled: header.scheduled,
                }),
                None,
            ),
            Err(fault) => (None, Some(fault)),
        };
        Self { name, bytes: file.bytes, header, fault }
    }
}

impl From<Work> for BackupWork {
    fn from(work: Work) -> Self {
        let (kind, target) = match work.what {
            What::Verify { name } => (BackupWorkKind::Verify, name),
            What::Write { path } => (BackupWorkKind::Write, path.display().to_string()),
        };
        let mut answer = Self {
            id: work.id,
            kind,
            target,
            state: BackupWorkState::Running,
            phase: work.progress.phase.name().to_owned(),
            bytes: work.progress.bytes,
            total_bytes: work.progress.total_bytes,
            entries: work.progress.keys,
            file_bytes: None,
            started_at: work.started_at,
            ended_at: work.ended_at,
            error: None,
        };
        match work.state {
            WorkState::Running => {}
            WorkState::Done(summary) => {
                answer.state = BackupWorkState::Done;
                answer.entries = summary.keys;
                answer.bytes = summary.bytes;
                answer.file_bytes = Some(summary.file_bytes);
            }
            WorkState::Failed(message) => {
                answer.state = BackupWorkState::Failed;
                answer.error = Some(message);
            }
            WorkState::Cancelled => answer.state = BackupWorkState::Cancelled,
        }
        answer
    }
}

impl From<StartError> for AdminError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::UnderWay => Self::new(ErrorCode::Conflict, "This is under way already."),
            StartError::Busy => {
                Self::new(ErrorCode::Busy, "Other backups are being written or verified. Try again when they are done.")
            }
        }
    }
}

fn no_such_backup() -> AdminError {
    AdminError::not_found("There is no such backup in the folder.")
}

/// The backups in the folder, what is being done to them, when the next one comes, how to restore one.
#[utoipa::path(get, path = "/backups", operation_id = "list_backups", tag = "backups", responses(
    (status = OK, body = Backups),
    (status = "default", body = AdminError),
))]
pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Result<Json<Backups>, AdminError> {
    let settings = admin.backups.settings();
    let files = admin.backups.list().await.map_err(|error| {
        AdminError::new(ErrorCode::Internal, format!("The folder of backups cannot be read: {error}."))
    })?;
    let filter = Filter { kind: Some(<BackupJob as hearth_jobs::Kind>::NAME.to_owned()), state: None };
    let jobs = admin.parts.jobs.list(&filter, &Page { limit: 20, after: None }).await?.jobs;
    let next_at = jobs.iter().filter(|job| job.scheduled && job.state == State_::Waiting).find_map(|job| job.due_ts);
    let newest = files.iter().find(|file| file.header.is_ok()).or(files.first());
    let restore = admin.backups.restore_steps(newest.map(|file| file.path.clone()));
    Ok(Json(Backups {
        folder: settings.folder.display().to_string(),
        encrypted: settings.encrypted,
        interval_hours: settings.interval_hours,
        keep: settings.keep,
        next_at,
        files: files.into_iter().map(Backup::from).collect(),
        jobs: jobs.into_iter().map(Job::from).collect(),
        works: admin.backups.works().into_iter().map(BackupWork::from).collect(),
        restore: restore.into_iter().map(|(text, command)| RestoreStep { text, command }).collect(),
    }))
}

/// Makes a backup in the folder now, as a job. Answers with the job.
#[utoipa::path(post, path = "/backups", operation_id = "start_backup", tag = "backups", responses(
    (status = ACCEPTED, body = Job),
    (status = "default", body = AdminError),
))]
pub(super) async fn start(State(admin): State<Arc<Admin>>) -> Result<(StatusCode, Json<Job>), AdminError> {
    let jobs = &admin.parts.jobs;
    let how = Enqueue { while_running: WhileRunning::Ignore, ..Enqueue::default() };
    let id = jobs.enqueue::<BackupJob>(BY_HAND, &BackupArguments { manual: true }, how).await?;
    tracing::info!(job = %id, "a backup was asked for");
    Ok((StatusCode::ACCEPTED, Json(jobs.get(id).await?.into())))
}

/// Deletes a backup in the folder.
#[utoipa::path(
    delete,
    path = "/backups/{name}",
    operation_id = "delete_backup",
    tag = "backups",
    params(("name" = String, Path)),
    responses((status = NO_CONTENT), (status = "default", body = AdminError)),
)]
pub(super) async fn delete(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
) -> Result<StatusCode, AdminError> {
    let path = admin.backups.find(&name).await.ok_or_else(no_such_backup)?;
    match admin.backups.delete(&path).await {
        Ok(()) => {
            tracing::info!(name, "backup deleted");
            Ok(StatusCode::NO_CONTENT)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(no_such_backup()),
        Err(error) => {
            Err(AdminError::new(ErrorCode::Internal, format!("{} cannot be deleted: {error}.", path.display())))
        }
    }
}

/// Verifies a backup in the folder: reads the whole file and checks everything in it. Answers at once; `/backup_works`
/// says how far it is.
#[utoipa::path(
    post,
    path = "/backups/{name}/verify",
    operation_id = "verify_backup",
    tag = "backups",
    params(("name" = String, Path)),
    responses((status = ACCEPTED, body = BackupWork), (status = "default", body = AdminError)),
)]
pub(super) async fn verify(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
) -> Result<(StatusCode, Json<BackupWork>), AdminError> {
    let path = admin.backups.find(&name).await.ok_or_else(no_such_backup)?;
    let work = admin.backups.verify(name, path)?;
    Ok((StatusCode::ACCEPTED, Json(work.into())))
}

/// Writes a backup to a path on the server's machine. Answers at once; `/backup_works/{id}` says how far it is. The file
/// stands at the path only when it is whole.
#[utoipa::path(
    post,
    path = "/backup_works",
    operation_id = "write_backup",
    tag = "backups",
    request_body = WriteBackup,
    responses((status = ACCEPTED, body = BackupWork), (status = "default", body = AdminError)),
)]
pub(super) async fn write(
    State(admin): State<Arc<Admin>>,
    Body(body): Body<WriteBackup>,
) -> Result<(StatusCode, Json<BackupWork>), AdminError> {
    let path = PathBuf::from(&body.path);
    if !path.is_absolute() || path.file_name().is_none() {
        return Err(AdminError::invalid("path", "The path of a file is absolute and ends in the file's name."));
    }
    if tokio::fs::symlink_metadata(&path).await.is_ok() {
        return Err(AdminError::conflict("path", "There is something at this path already; it is not overwritten."));
    }
    let work = admin.backups.write(path, body.passphrase.and_then(Passphrase::new))?;
    Ok((StatusCode::ACCEPTED, Json(work.into())))
}

/// How far a verification, or a backup to a path, is.
#[utoipa::path(
    get,
    path = "/backup_works/{id}",
    operation_id = "get_backup_work",
    tag = "backups",
    params(("id" = u64, Path)),
    responses((status = OK, body = BackupWork), (status = "default", body = AdminError)),
)]
pub(super) async fn work(State(admin): State<Arc<Admin>>, Path(id): Path<u64>) -> Result<Json<BackupWork>, AdminError> {
    let work = admin.backups.work(id).ok_or_else(|| AdminError::not_found("This is not remembered any more."))?;
    Ok(Json(work.into()))
}

/// Cuts off a verification, or a backup to a path, which leaves no file there.
#[utoipa::path(
    delete,
    path = "/backup_works/{id}",
    operation_id = "cancel_backup_work",
    tag = "backups",
    params(("id" = u64, Path)),
    responses((status = NO_CONTENT), (status = "default", body = AdminError)),
)]
pub(super) async fn cancel_work(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<u64>,
) -> Result<StatusCode, AdminError> {
    if admin.backups.cancel(id) {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(AdminError::not_found("This is not under way any more."))
    }
}
