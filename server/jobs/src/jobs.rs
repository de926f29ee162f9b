//! The queue as everybody sees it.

use std::sync::Arc;

use bytes::Bytes;
use hearth_store::{Store, StoreError, Transaction, Watch};

use crate::{
    Clock, Filter, JobId, JobInfo, JobList, JobState, JobsError, KindCounts, Page, Progress, SystemClock,
    keys::{COUNT, HEAD, INDEX, JOB, LEASE, PROGRESS},
    records::JobRecord,
};

/// Jobs in one page at most.
const LONGEST_PAGE: usize = 500;
/// Largest arguments and checkpoints, in bytes: a MessagePack array of bytes takes up to two for each, and a row 100,000.
pub(crate) const LONGEST_DATA: usize = 45_000;

/// The queue. Cheap to clone.
#[derive(Clone)]
pub struct Jobs {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jobs").finish_non_exhaustive()
    }
}

impl Jobs {
    /// The queue on `store`.
    pub fn new(store: Store) -> Self {
        Self::with_clock(store, Arc::new(SystemClock))
    }

    /// The same with another source of the time.
    pub fn with_clock(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// The store on which it stands.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The job, while it is known: [`JobsError::NotFound`] once it is done and forgotten.
    pub async fn get(&self, id: JobId) -> Result<JobInfo, JobsError> {
        let tx = self.store.begin();
        let record = JOB.get_snapshot(&tx, (id.0,)).await?.ok_or(JobsError::NotFound)?;
        Ok(info(&tx, id.0, record).await?)
    }

    /// A page of jobs.
    pub async fn list(&self, filter: &Filter, page: &Page) -> Result<JobList, JobsError> {
        let limit = page.limit.clamp(1, LONGEST_PAGE);
        let after = page.after.as_deref().map(Cursor::parse).transpose()?;
        let tx = self.store.begin();
        let kinds = match &filter.kind {
            Some(kind) => vec![kind.clone()],
            None => kinds(&tx).await?,
        };
        let states = JobState::ALL.into_iter().filter(|state| filter.state.is_none_or(|wanted| wanted == *state));
        let mut jobs = Vec::new();
        for state in states {
            for kind in &kinds {
                let place = (state.code(), kind.as_str());
                let mut scan = INDEX.scan(place).limit(limit + 1 - jobs.len()).snapshot();
                let newest_first = !matches!(state, JobState::Running | JobState::Waiting);
                match &after {
                    Some(after) if (after.state, after.kind.as_str()) > place => continue,
                    Some(after) if (after.state, after.kind.as_str()) == place => {
                        let key = (after.state, after.kind.as_str(), after.at, after.job);
                        scan = if newest_first { scan.before(key) } else { scan.after(key) };
                    }
                    _ => {}
                }
                if newest_first {
                    scan = scan.reverse();
                }
                for ((state, kind, at, job), ()) in scan.all(&tx).await? {
                    if jobs.len() == limit {
                        let next = jobs.last().map(|(cursor, _): &(Cursor, JobInfo)| cursor.to_string());
                        return Ok(JobList { jobs: jobs.into_iter().map(|(_, job)| job).collect(), next });
                    }
                    // Index and row are written together and read here in one transaction.
                    if let Some(record) = JOB.get_snapshot(&tx, (job,)).await? {
                        jobs.push((Cursor { state, kind, at, job }, info(&tx, job, record).await?));
                    }
                }
            }
        }
        Ok(JobList { jobs: jobs.into_iter().map(|(_, job)| job).collect(), next: None })
    }

    /// How many jobs there are, by kind. Kinds that never had one are left out.
    pub async fn counts(&self) -> Result<Vec<KindCounts>, JobsError> {
        let mut kinds: Vec<KindCounts> = Vec::new();
        for ((kind, state), count) in COUNT.scan(()).snapshot().all(&self.store.begin()).await? {
            if kinds.last().is_none_or(|last| last.kind != kind) {
                kinds.push(KindCounts { kind, running: 0, waiting: 0, failed: 0, done: 0, cancelled: 0 });
            }
            let Some(counts) = kinds.last_mut() else { continue };
            match JobState::from_code(state) {
                Some(JobState::Running) => counts.running = count,
                Some(JobState::Waiting) => counts.waiting = count,
                Some(JobState::Failed) => counts.failed = count,
                Some(JobState::Done) => counts.done = count,
                Some(JobState::Cancelled) => counts.cancelled = count,
                None => {}
            }
        }
        Ok(kinds)
    }

    /// Resolves at the next change of the queue, of any process. Progress alone is no change. To lose none, take the
    /// watch first, then read, then wait.
    pub async fn watch(&self) -> Result<Watch, JobsError> {
        Ok(self.store.transact("jobs.watch", async |tx| HEAD.watch(&tx, (0,)).await).await?)
    }

    /// Waits until the job has ended: [`JobState::Done`], [`JobState::Failed`] or [`JobState::Cancelled`].
    pub async fn ended(&self, id: JobId) -> Result<JobInfo, JobsError> {
        loop {
            let watch = self.watch().await?;
            let job = self.get(id).await?;
            if job.ended_ts.is_some() {
                return Ok(job);
            }
            watch.changed().await?;
        }
    }
}

/// Every kind that ever had a job.
async fn kinds(tx: &Transaction) -> Result<Vec<String>, StoreError> {
    let mut kinds: Vec<String> =
        COUNT.scan(()).snapshot().all(tx).await?.into_iter().map(|((kind, _), _)| kind).collect();
    kinds.dedup();
    Ok(kinds)
}

async fn info(tx: &Transaction, job: u64, record: JobRecord) -> Result<JobInfo, StoreError> {
    let progress = PROGRESS.get_snapshot(tx, (job,)).await?;
    let lease = match record.state {
        JobState::Running => LEASE.get_snapshot(tx, (job,)).await?,
        _ => None,
    };
    let ended = matches!(record.state, JobState::Done | JobState::Failed | JobState::Cancelled);
    Ok(JobInfo {
        id: JobId(job),
        due_ts: (record.state == JobState::Waiting).then_some(record.at),
        ended_ts: ended.then_some(record.at),
        kind: record.kind,
        key: record.key,
        state: record.state,
        created_ts: record.created,
        started_ts: record.started,
        attempts: record.attempts,
        last_error: record.last_error,
        progress: progress.map(|progress| Progress {
            done: progress.done,
            total: progress.total,
            message: progress.message,
            at_ts: progress.at,
        }),
        owner: lease.map(|lease| lease.owner),
        cancelling: record.cancel,
        scheduled: record.scheduled,
    })
}

/// The last entry of a page.
struct Cursor {
    state: u64,
    kind: String,
    at: u64,
    job: u64,
}

impl Cursor {
    fn parse(text: &str) -> Result<Self, JobsError> {
        let parts: Vec<&str> = text.splitn(4, '.').collect();
        let [state, at, job, kind] = parts[..] else { return Err(JobsError::Cursor) };
        let number = |text: &str| text.parse::<u64>().map_err(|_| JobsError::Cursor);
        Ok(Self { state: number(state)?, at: number(at)?, job: number(job)?, kind: kind.to_owned() })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}.{}", self.state, self.at, self.job, self.kind)
    }
}

/// Arguments or a handler's state as it is stored.
pub(crate) fn encode(value: &impl serde::Serialize) -> Result<Bytes, JobsError> {
    let bytes = rmp_serde::to_vec(value).map_err(|error| JobsError::Arguments(error.to_string()))?;
    if bytes.len() > LONGEST_DATA {
        return Err(JobsError::Arguments(format!("{} bytes are too many", bytes.len())));
    }
    Ok(bytes.into())
}
