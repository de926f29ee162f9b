//! Backups, by schedule and on demand.

use std::time::{Duration, SystemTime};

use hearth_api::admin::backups::BackupSettings;
use hearth_archive::{ArchiveError, Phase, Progress, default_file_name};
use hearth_jobs::{
    Handler, JobError, Policy, Running,
    kinds::{Backup, BackupArguments},
};
use hearth_store::Store;

/// How often people are told how far it is.
const TOLD_EVERY: Duration = Duration::from_millis(500);

/// Makes backups into the configured folder, and deletes the oldest of those that the schedule made.
pub(super) struct Backups {
    pub(super) store: Store,
    pub(super) settings: BackupSettings,
}

impl Handler for Backups {
    type Kind = Backup;

    // Nothing is resumed: a backup is of one moment. What a killed one left in the folder goes with the next retention.
    async fn run(&self, job: &Running<BackupArguments>) -> Result<(), JobError> {
        let scheduled = !job.arguments.manual;
        let maker = self.settings.maker.clone();
        let mut options = blocking(move || maker.options(maker.passphrase()?)).await?;
        options.scheduled = scheduled;
        let server_name = options.server_name.clone();
        let folder = self.settings.folder.clone();
        let path = folder.join(default_file_name(&server_name, SystemTime::now()));
        let file = path.clone();
        let taken = blocking(move || {
            std::fs::create_dir_all(&folder)
                .map_err(|error| format!("The folder {} cannot be created: {error}.", folder.display()))?;
            Ok(file.exists())
        });
        if taken.await? {
            // One of this very second.
            return Err(JobError::Later(Duration::from_secs(1)));
        }

        let progress = Progress::new();
        let summary = {
            let work = hearth_archive::backup(&self.store, &path, options, &progress);
            tokio::pin!(work);
            loop {
                tokio::select! {
                    done = &mut work => break done.map_err(failed)?,
                    // Dropping the work leaves nothing behind.
                    () = job.stop().cancelled() => return Err(JobError::Cancelled),
                    () = tokio::time::sleep(TOLD_EVERY) => tell(job, &progress),
                }
            }
        };
        tracing::info!(file = %path.display(), keys = summary.keys, bytes = summary.file_bytes, "backup made");
        let message = format!("{} keys in {}", summary.keys, path.display());
        job.progress(summary.bytes, Some(summary.bytes), message);
        if scheduled {
            let (folder, keep) = (self.settings.folder.clone(), self.settings.keep as usize);
            let retained = blocking(move || {
                hearth_archive::retain(&folder, &server_name, keep).map_err(|error| error.to_string())
            });
            for file in retained.await? {
                tracing::info!(file = %file.display(), "old backup deleted");
            }
        }
        Ok(())
    }

    fn policy(&self) -> Policy {
        Policy {
            attempts: 5,
            first_pause: Duration::from_mins(1),
            longest_pause: Duration::from_hours(1),
            ..Policy::default()
        }
    }
}

fn tell(job: &Running<BackupArguments>, progress: &Progress) {
    let figures = progress.figures();
    let message = match figures.phase {
        Phase::Starting => "starting".to_owned(),
        phase => format!("{}: {} keys", phase.name(), figures.keys),
    };
    job.progress(figures.bytes, figures.total_bytes, message);
}

fn failed(error: ArchiveError) -> JobError {
    match error {
        ArchiveError::Store(error) => JobError::Store(error),
        error => JobError::retry(error),
    }
}

/// Runs what waits for files. The error is a sentence for people.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, JobError> {
    tokio::task::spawn_blocking(work).await.map_err(JobError::retry)?.map_err(JobError::Retry)
}
