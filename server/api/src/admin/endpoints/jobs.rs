//! Jobs: what the server does beside answering requests.

use std::sync::Arc;

use axum::{Json, extract::State};
use hearth_jobs::{Filter, JobId, JobsError, KindCounts, Page};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Path, Query};
use crate::admin::{
    error::{AdminError, ErrorCode},
    job::{Job, JobState},
    state::Admin,
};

/// Most jobs on one page.
const MOST_JOBS: usize = 200;

/// Which jobs to list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::admin) struct JobQuery {
    /// Only jobs of this kind.
    kind: Option<String>,
    /// Only jobs in this state.
    #[param(inline)]
    state: Option<JobState>,
    /// Jobs after those of the page before, as its `next` says.
    after: Option<String>,
    /// At most so many; 50 unless told otherwise, at most 200.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<usize>,
}

/// A page of jobs: running ones first, then waiting, failed, done and cancelled ones.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(in crate::admin) struct JobList {
    /// The jobs.
    jobs: Vec<Job>,
    /// Where the next page begins; absent on the last one.
    next: Option<String>,
}

/// How many jobs of a kind there are.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(in crate::admin) struct JobCounts {
    /// The kind.
    kind: String,
    /// Running now.
    running: u64,
    /// Waiting.
    waiting: u64,
    /// Failed.
    failed: u64,
    /// Done, of those that are kept.
    done: u64,
    /// Cancelled, of those that are kept.
    cancelled: u64,
}

impl From<KindCounts> for JobCounts {
    fn from(counts: KindCounts) -> Self {
        let KindCounts { kind, running, waiting, failed, done, cancelled } = counts;
        Self { kind, running, waiting, failed, done, cancelled }
    }
}

impl From<JobsError> for AdminError {
    fn from(error: JobsError) -> Self {
        match error {
            JobsError::Store(error) => error.into(),
            JobsError::NotFound => {
                Self::not_found("There is no such job any more: what has ended is kept for a while only.")
            }
            JobsError::NotNow(_) => {
                Self::new(ErrorCode::Conflict, "The job's state has changed meanwhile and does not allow this.")
            }
            JobsError::Cursor => Self::invalid("after", "This is no place in this list."),
            error @ JobsError::Arguments(_) => Self::internal(&error),
        }
    }
}

fn parse(id: &str) -> Result<JobId, AdminError> {
    Ok(id.parse::<JobId>()?)
}

/// Jobs, with filters and paging.
#[utoipa::path(get, path = "/jobs", operation_id = "list_jobs", tag = "jobs", params(JobQuery), responses(
    (status = OK, body = JobList),
    (status = "default", body = AdminError),
))]
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<JobQuery>,
) -> Result<Json<JobList>, AdminError> {
    let filter = Filter { kind: query.kind, state: query.state.map(Into::into) };
    let page = Page { limit: query.limit.unwrap_or(50).clamp(1, MOST_JOBS), after: query.after };
    let list = admin.parts.jobs.list(&filter, &page).await?;
    Ok(Json(JobList { jobs: list.jobs.into_iter().map(Job::from).collect(), next: list.next }))
}

/// How many jobs there are, by kind and state.
#[utoipa::path(get, path = "/job_counts", operation_id = "count_jobs", tag = "jobs", responses(
    (status = OK, body = Vec<JobCounts>),
    (status = "default", body = AdminError),
))]
pub(super) async fn counts(State(admin): State<Arc<Admin>>) -> Result<Json<Vec<JobCounts>>, AdminError> {
    let counts = admin.parts.jobs.counts().await?;
    Ok(Json(counts.into_iter().map(JobCounts::from).collect()))
}

/// One job.
#[utoipa::path(get, path = "/jobs/{id}", operation_id = "get_job", tag = "jobs", params(("id" = String, Path)), responses(
    (status = OK, body = Job),
    (status = "default", body = AdminError),
))]
pub(super) async fn get(State(admin): State<Arc<Admin>>, Path(id): Path<String>) -> Result<Json<Job>, AdminError> {
    let job = admin.parts.jobs.get(parse(&id)?).await?;
    Ok(Json(job.into()))
}

/// Runs a job now that waits or has ended. Answers with the job that runs: another one, where one of the same kind and
/// key waits already.
#[utoipa::path(post, path = "/jobs/{id}/retry", operation_id = "retry_job", tag = "jobs", params(("id" = String, Path)), responses(
    (status = OK, body = Job),
    (status = "default", body = AdminError),
))]
pub(super) async fn retry(State(admin): State<Arc<Admin>>, Path(id): Path<String>) -> Result<Json<Job>, AdminError> {
    let jobs = &admin.parts.jobs;
    let runs = jobs.retry(parse(&id)?).await?;
    tracing::info!(job = %runs, "job retried");
    Ok(Json(jobs.get(runs).await?.into()))
}

/// Ends a job: one that waits or has failed at once, a running one as soon as it can. A scheduled one comes back at its
/// next time.
#[utoipa::path(post, path = "/jobs/{id}/cancel", operation_id = "cancel_job", tag = "jobs", params(("id" = String, Path)), responses(
    (status = OK, body = Job),
    (status = "default", body = AdminError),
))]
pub(super) async fn cancel(State(admin): State<Arc<Admin>>, Path(id): Path<String>) -> Result<Json<Job>, AdminError> {
    let jobs = &admin.parts.jobs;
    let id = parse(&id)?;
    jobs.cancel(id).await?;
    tracing::info!(job = %id, "job cancelled");
    Ok(Json(jobs.get(id).await?.into()))
}
