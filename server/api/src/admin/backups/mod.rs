//! Backups on this machine: the folder that holds them, and what is done to them by hand.
//!
//! Backups by schedule, and those that the dashboard asks for, are jobs (`hearth_jobs::kinds::Backup`). Here is what must
//! happen on this very machine, because it is about one of its files: verifying a backup, and writing one to a path of the
//! owner's.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use futures_util::future::BoxFuture;
use hearth_archive::{ArchiveError, BackupFile, BackupOptions, BackupSummary, EXTENSION, Passphrase, Progress};
use hearth_store::Store;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::work::Works;
pub(super) use self::work::{StartError, What, Work, WorkState, WorkSummary};
use super::{clock::unix_millis, known::Known};

mod restore;
mod work;

/// The list of files is read again after this.
const LIST_FRESH: Duration = Duration::from_mins(1);

/// How this installation makes backups; the binary knows its configuration.
pub trait BackupMaker: Send + Sync {
    /// What encrypts this installation's backups, read anew each time; the error is a sentence for people.
    fn passphrase(&self) -> Result<Option<Passphrase>, String>;
    /// What a backup by hand that is encrypted with `passphrase` says of itself and takes along.
    fn options(&self, passphrase: Option<Passphrase>) -> Result<BackupOptions, String>;
}

/// Where backups are and when they are made.
#[derive(Clone)]
pub struct BackupSettings {
    /// The folder.
    pub folder: PathBuf,
    /// Hours between scheduled ones; 0: none are scheduled.
    pub interval_hours: u32,
    /// How many scheduled ones are kept.
    pub keep: u32,
    /// Whether there is a passphrase that encrypts them.
    pub encrypted: bool,
    /// This installation's configuration file, for the instructions how to restore.
    pub config_file: PathBuf,
    /// The embedded store's folder, for the same; `None`: the store is FoundationDB's.
    pub store_folder: Option<PathBuf>,
    /// Makes them.
    pub maker: Arc<dyn BackupMaker>,
}

/// The backups of this machine. Cheap to clone.
#[derive(Clone)]
pub(super) struct Backups(Arc<Inner>);

struct Inner {
    settings: BackupSettings,
    store: Store,
    works: Arc<Works>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// The newest look at the folder, for the overview.
    listed: Known<Listed>,
}

/// What the overview says of the backups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Listed {
    /// When the newest readable backup of this server was made, Unix milliseconds.
    pub(super) newest: Option<u64>,
    /// How many files there are, readable or not.
    pub(super) files: u64,
}

impl Backups {
    /// Works on what `settings` name until `stop`.
    pub(super) fn new(settings: BackupSettings, store: Store, stop: CancellationToken) -> Self {
        let (works, tasks) = (Arc::default(), TaskTracker::new());
        Self(Arc::new(Inner { settings, store, works, tasks, stop, listed: Known::default() }))
    }

    /// Looks at the folder when somebody wants to know, until the end; then waits for what is still under way, which is
    /// cut off and leaves nothing half done.
    pub(super) async fn run(&self) {
        let look = async {
            loop {
                self.0.listed.wanted().await;
                if let Err(error) = self.list().await {
                    tracing::debug!(%error, "the folder of backups cannot be read");
                    self.0.listed.set(Listed::default());
                }
            }
        };
        self.0.stop.run_until_cancelled(look).await;
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    pub(super) fn settings(&self) -> &BackupSettings {
        &self.0.settings
    }

    /// The backups in the folder, newest first.
    pub(super) async fn list(&self) -> Result<Vec<BackupFile>, ArchiveError> {
        let folder = self.0.settings.folder.clone();
        let files = blocking(move || hearth_archive::list(&folder)).await?;
        let newest = files.iter().filter_map(made_at).max();
        self.0.listed.set(Listed { newest, files: files.len() as u64 });
        Ok(files)
    }

    /// What was found when the folder was last looked at, about a minute ago at most; never waits.
    pub(super) fn glance(&self) -> Option<Listed> {
        self.0.listed.get(LIST_FRESH)
    }

    /// The folder has changed.
    pub(super) fn changed(&self) {
        self.0.listed.ask();
    }

    /// The file of the backup called `name`; `None` where the folder holds no such one. A name is a file's name alone and
    /// never leads out of the folder, neither by its parts nor by a link.
    pub(super) async fn find(&self, name: &str) -> Option<PathBuf> {
        if !is_name(name) {
            return None;
        }
        let path = self.0.settings.folder.join(name);
        let metadata = tokio::fs::symlink_metadata(&path).await.ok()?;
        metadata.is_file().then_some(path)
    }

    /// Deletes the backup that [`Self::find`] has found.
    pub(super) async fn delete(&self, path: &Path) -> std::io::Result<()> {
        tokio::fs::remove_file(path).await?;
        self.changed();
        Ok(())
    }

    /// Verifies a backup in the background.
    pub(super) fn verify(&self, name: String, path: PathBuf) -> Result<Work, StartError> {
        let maker = self.0.settings.maker.clone();
        self.start(What::Verify { name }, move |progress| async move {
            let passphrase = maker.passphrase()?;
            let summary = hearth_archive::verify(&path, passphrase.as_ref(), &progress).await;
            summary.map(|summary| WorkSummary::from(&summary)).map_err(|error| error.to_string())
        })
    }

    /// Writes a backup to `path` in the background.
    pub(super) fn write(&self, path: PathBuf, passphrase: Option<Passphrase>) -> Result<Work, StartError> {
        let maker = self.0.settings.maker.clone();
        let store = self.0.store.clone();
        let backups = self.clone();
        self.start(What::Write { path: path.clone() }, move |progress| async move {
            let passphrase = match passphrase {
                Some(passphrase) => Some(passphrase),
                None => maker.passphrase()?,
            };
            let options = maker.options(passphrase)?;
            let summary = backup(&store, &path, options, &progress).await;
            backups.changed();
            summary.map(|summary| WorkSummary::from(&summary)).map_err(|error| error.to_string())
        })
    }

    /// What is under way, and the newest of what has ended; newest first.
    pub(super) fn works(&self) -> Vec<Work> {
        self.0.works.list()
    }

    /// One of them.
    pub(super) fn work(&self, id: u64) -> Option<Work> {
        self.0.works.list().into_iter().find(|work| work.id == id)
    }

    /// Ends one that is under way; what it has written of a file goes away. `false` where it has ended already.
    pub(super) fn cancel(&self, id: u64) -> bool {
        self.0.works.cancel(id)
    }

    fn start<F, Fut>(&self, what: What, body: F) -> Result<Work, StartError>
    where
        F: FnOnce(Progress) -> Fut,
        Fut: Future<Output = Result<WorkSummary, String>> + Send + 'static,
    {
        let started = self.0.works.begin(what, self.0.stop.child_token())?;
        let (id, cancel) = (started.id, started.cancel.clone());
        let body = body(started.progress.clone());
        let mut ending = Ending { works: self.0.works.clone(), id, outcome: Some(Err("It broke off.".to_owned())) };
        let span = tracing::info_span!("backup_work", id);
        let task = async move {
            let outcome = cancel.run_until_cancelled(body).await;
            ending.is(outcome);
        };
        self.0.tasks.spawn(tracing::Instrument::instrument(task, span));
        Ok(started.work)
    }
}

/// Notes how something ended, also where it panicked.
struct Ending {
    works: Arc<Works>,
    id: u64,
    outcome: Option<Result<WorkSummary, String>>,
}

impl Ending {
    fn is(&mut self, outcome: Option<Result<WorkSummary, String>>) {
        self.outcome = outcome;
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.works.end(self.id, self.outcome.take(), unix_millis());
    }
}

/// With a name for the lifetimes, without which the compiler does not see that the future is `Send`.
fn backup<'a>(
    store: &'a Store,
    path: &'a Path,
    options: BackupOptions,
    progress: &'a Progress,
) -> BoxFuture<'a, Result<BackupSummary, ArchiveError>> {
    Box::pin(hearth_archive::backup(store, path, options, progress))
}

/// When a backup was begun, Unix milliseconds; `None` for a file that cannot be read.
pub(super) fn made_at(file: &BackupFile) -> Option<u64> {
    let header = file.header.as_ref().ok()?;
    Some(header.created.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64))
}

/// Whether this can be the name of a backup: one plain component with the right ending.
fn is_name(name: &str) -> bool {
    let plain = Path::new(name).file_name().is_some_and(|last| last == name);
    let stem = name.strip_suffix(EXTENSION).and_then(|stem| stem.strip_suffix('.'));
    plain && !name.contains(['/', '\\', '\0']) && stem.is_some_and(|stem| !stem.is_empty())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArchiveError> + Send + 'static,
) -> Result<T, ArchiveError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(ArchiveError::File { path: PathBuf::new(), detail: error.to_string() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_the_folder() {
        for name in ["a.hearth-backup", "hearth-example.org-20260131T120000Z.hearth-backup", "ä b.hearth-backup"] {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "",
            "..",
            ".hearth-backup",
            "a",
            "a.txt",
            "../a.hearth-backup",
            "b/../a.hearth-backup",
            "/etc/a.hearth-backup",
            "..\\a.hearth-backup",
            "a.hearth-backup/",
            "a.hearth-backup\0",
        ] {
            assert!(!is_name(name), "{name}");
        }
    }
}
