//! The processes that use a store.
//!
//! On a cluster several processes serve one domain. Each has a row that it renews; who does not for a while is taken to
//! be gone. That is for people and for tools that want a store for themselves, such as a copy: nothing is decided by it
//! that must not happen twice (see [`crate::lease`] for that). A store that is one process's alone has no such rows.

use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    Store, StoreError,
    keys::PROCESS,
    lease::{self, Lease, LeaseOptions, now},
    records::ProcessRecord,
};

/// Time between two signs of life.
const BEAT: Duration = Duration::from_secs(5);
/// Who gave no sign for so long is gone: three beats, and a margin because clocks differ.
const GONE_AFTER: Duration = Duration::from_secs(20);
/// Time between two looks for signs of life.
const LOOK: Duration = Duration::from_millis(200);
/// Processes that are listed at most.
const LISTED: usize = 1000;
/// Lease of the process that removes the rows of those who are gone.
const CARETAKER: &str = "store/processes";

/// A process as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Its id: sixteen random hexadecimal digits, new at each start.
    pub id: String,
    /// The machine's name.
    pub host: String,
    /// The operating system's id of it.
    pub pid: u32,
    /// Version of the software.
    pub version: String,
    /// When it began to use the store, milliseconds since the epoch by its own clock.
    pub started: u64,
    /// When it last gave a sign of life, likewise.
    pub seen: u64,
}

impl ProcessInfo {
    fn new(id: String, record: ProcessRecord) -> Self {
        let ProcessRecord { host, pid, version, started, seen } = record;
        Self { id, host, pid, version, started, seen }
    }

    fn is_gone(&self, now: u64) -> bool {
        self.seen.saturating_add(GONE_AFTER.as_millis() as u64) <= now
    }
}

/// This process's entry among those that use a store.
#[derive(Debug)]
pub struct Registration {
    store: Store,
    /// There may be others.
    is_shared: bool,
    id: String,
    record: ProcessRecord,
}

impl Registration {
    /// Enters this process. `host` and `version` are for people.
    pub async fn enter(store: &Store, host: &str, version: &str) -> Result<Self, StoreError> {
        Self::enter_as(store, store.is_shared(), host, version).await
    }

    async fn enter_as(store: &Store, is_shared: bool, host: &str, version: &str) -> Result<Self, StoreError> {
        let started = now();
        let record = ProcessRecord {
            host: host.to_owned(),
            pid: std::process::id(),
            version: version.to_owned(),
            started,
            seen: started,
        };
        let id = format!("{:016x}", rand::thread_rng().r#gen::<u64>());
        let registration = Self { store: store.clone(), is_shared, id, record };
        if is_shared {
            registration.beat(started).await?;
        }
        Ok(registration)
    }

    /// The process's id, different at each start.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Gives signs of life until `stop`, and then takes the entry out. While it has the lease for that, also takes out the
    /// entries of processes that are gone.
    pub async fn run(&self, stop: CancellationToken) {
        if !self.is_shared {
            return stop.cancelled().await;
        }
        let options = LeaseOptions { name: CARETAKER.to_owned(), holder: self.id.clone(), lifetime: GONE_AFTER / 2 };
        tokio::join!(
            self.give_signs(&stop),
            lease::hold(&self.store, &options, &stop, |lease, until| self.take_care(lease, until)),
        );
        if let Err(error) = self.leave().await {
            tracing::warn!(%error, "the entry of this process stays until others see that it is gone");
        }
    }

    async fn give_signs(&self, stop: &CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(BEAT)).await.is_some() {
            if let Err(error) = self.beat(now()).await {
                tracing::warn!(%error, "cannot give a sign of life");
            }
        }
    }

    async fn beat(&self, now: u64) -> Result<(), StoreError> {
        let record = &ProcessRecord { seen: now, ..self.record.clone() };
        self.store
            .transact("process.beat", |tx| async move {
                PROCESS.set(&tx, (&self.id,), record);
                Ok(())
            })
            .await
    }

    async fn take_care(&self, lease: Lease, until: CancellationToken) {
        loop {
            if let Err(error) = remove_gone(&self.store, &lease, now()).await {
                tracing::warn!(%error, "cannot look after processes that are gone");
            }
            if until.run_until_cancelled(tokio::time::sleep(BEAT)).await.is_none() {
                return;
            }
        }
    }

    async fn leave(&self) -> Result<(), StoreError> {
        self.store
            .transact("process.leave", |tx| async move {
                PROCESS.clear(&tx, (&self.id,));
                Ok(())
            })
            .await
    }
}

/// Takes the entries of those who are gone out, as the holder of `lease`.
async fn remove_gone(store: &Store, lease: &Lease, now: u64) -> Result<(), lease::LeaseError> {
    let removed = store
        .transact("process.remove_gone", |tx| async move {
            let all = PROCESS.scan(()).limit(LISTED).all(&tx).await?;
            let all = all.into_iter().map(|((id,), record)| ProcessInfo::new(id, record));
            let gone: Vec<ProcessInfo> = all.filter(|process| process.is_gone(now)).collect();
            if !gone.is_empty() {
                lease.guard(&tx).await?;
            }
            for process in &gone {
                PROCESS.clear(&tx, (&process.id,));
            }
            Ok::<_, lease::LeaseError>(gone)
        })
        .await?;
    for process in removed {
        tracing::warn!(
            process = process.id,
            host = process.host,
            pid = process.pid,
            "a process is gone without a word"
        );
    }
    Ok(())
}

/// The processes that gave a sign of life lately, by id. One that was killed stays in the list for 20 seconds.
pub async fn processes(store: &Store) -> Result<Vec<ProcessInfo>, StoreError> {
    processes_at(store, now()).await
}

/// The processes that use the store, for who wants it alone: who seems to be gone is watched for as long as two signs
/// of life would take, since clocks may differ. Answers at once where there is no entry, or one that is in use for sure.
pub async fn in_use(store: &Store) -> Result<Vec<ProcessInfo>, StoreError> {
    in_use_within(store, now(), 2 * BEAT + BEAT / 5).await
}

async fn in_use_within(store: &Store, now: u64, patience: Duration) -> Result<Vec<ProcessInfo>, StoreError> {
    let begun = Instant::now();
    let mut before = entries(store).await?;
    if before.iter().any(|process| !process.is_gone(now)) {
        before.retain(|process| !process.is_gone(now));
        return Ok(before);
    }
    if before.is_empty() {
        return Ok(before);
    }
    loop {
        let mut alive = entries(store).await?;
        alive.retain(|process| !before.contains(process));
        if !alive.is_empty() || begun.elapsed() >= patience {
            return Ok(alive);
        }
        tokio::time::sleep(LOOK.min(patience)).await;
    }
}

async fn processes_at(store: &Store, now: u64) -> Result<Vec<ProcessInfo>, StoreError> {
    let mut all = entries(store).await?;
    all.retain(|process| !process.is_gone(now));
    Ok(all)
}

async fn entries(store: &Store) -> Result<Vec<ProcessInfo>, StoreError> {
    store
        .transact("process.list", |tx| async move {
            let rows = PROCESS.scan(()).limit(LISTED).snapshot().all(&tx).await?;
            Ok(rows.into_iter().map(|((id,), record)| ProcessInfo::new(id, record)).collect())
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::leases;

    async fn ids(store: &Store, now: u64) -> Vec<String> {
        processes_at(store, now).await.unwrap().into_iter().map(|process| process.id).collect()
    }

    #[tokio::test]
    async fn processes_come_and_go() {
        let store = Store::memory();
        let one = Registration::enter_as(&store, true, "here", "1.0").await.unwrap();
        let two = Registration::enter_as(&store, true, "there", "1.1").await.unwrap();
        let begin = one.record.started.max(two.record.started);
        let mut both = vec![one.id.clone(), two.id.clone()];
        both.sort();
        assert_eq!(ids(&store, begin).await, both);
        let listed = processes(&store).await.unwrap();
        let there = listed.iter().find(|process| process.host == "there").unwrap();
        assert_eq!((there.version.as_str(), there.pid), ("1.1", std::process::id()));

        let later = begin + GONE_AFTER.as_millis() as u64;
        one.beat(later).await.unwrap();
        assert_eq!(ids(&store, later).await, std::slice::from_ref(&one.id), "the other gave no sign");

        let options = LeaseOptions { name: CARETAKER.into(), holder: one.id.clone(), lifetime: GONE_AFTER };
        let lease = Lease::try_acquire(&store, &options).await.unwrap().unwrap();
        remove_gone(&store, &lease, later).await.unwrap();
        assert_eq!(ids(&store, begin).await, std::slice::from_ref(&one.id), "its entry is removed");
        two.beat(later).await.unwrap();
        assert_eq!(ids(&store, later).await, both, "it had only slept");
        two.leave().await.unwrap();
        assert_eq!(ids(&store, later).await, std::slice::from_ref(&one.id));
    }

    #[tokio::test]
    async fn who_stops_leaves_and_gives_its_lease_back() {
        let store = Store::memory();
        let process = Registration::enter_as(&store, true, "here", "1.0").await.unwrap();
        let stop = CancellationToken::new();
        let held = async {
            while leases(&store).await.unwrap().iter().all(|lease| lease.holder.as_deref() != Some(process.id())) {
                tokio::task::yield_now().await;
            }
            stop.cancel();
        };
        tokio::join!(process.run(stop.clone()), held);
        assert!(processes(&store).await.unwrap().is_empty());
        let leases = leases(&store).await.unwrap();
        assert_eq!((leases.len(), &leases[0].holder, leases[0].token), (1, &None, 1));
    }

    #[tokio::test]
    async fn a_store_is_in_use_while_somebody_gives_signs_of_life() {
        let (store, long) = (Store::memory(), Duration::from_mins(10));
        assert!(in_use_within(&store, now(), long).await.unwrap().is_empty(), "at once");
        let dead = Registration::enter_as(&store, true, "here", "1.0").await.unwrap();
        let alive = Registration::enter_as(&store, true, "there", "1.0").await.unwrap();
        assert_eq!(in_use_within(&store, dead.record.started, long).await.unwrap().len(), 2, "for all that is known");
        let later = now() + 2 * GONE_AFTER.as_millis() as u64;
        assert!(in_use_within(&store, later, Duration::ZERO).await.unwrap().is_empty());
        // Its clock is far behind; that it moves is what counts.
        let beats = async {
            for beat in 1.. {
                alive.beat(beat).await.unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let found = tokio::select! {
            found = in_use_within(&store, later, long) => found.unwrap(),
            () = beats => unreachable!("it goes on for ever"),
        };
        assert_eq!(found.iter().map(|process| &process.id).collect::<Vec<_>>(), [alive.id()]);
    }

    #[tokio::test]
    async fn who_is_alone_writes_nothing() {
        let store = Store::memory();
        let process = Registration::enter(&store, "here", "1.0").await.unwrap();
        let stop = CancellationToken::new();
        stop.cancel();
        process.run(stop).await;
        assert_eq!(store.stats().commits, 0);
    }
}
