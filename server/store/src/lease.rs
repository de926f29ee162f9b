//! Leases: what only one may do at a time, although several processes could.
//!
//! A lease has a name, a holder and a *fencing token*, a number that grows each time the lease is given away. Time
//! decides only who may ask for it: a lease that was not renewed for its lifetime (and a margin, because clocks differ)
//! may be taken by somebody else. What decides about writes is the token: the holder puts [`Lease::guard`] into each of
//! its transactions, which reads the lease's row. Whoever takes the lease writes that row, so that a transaction of the
//! older holder either committed before or conflicts and then finds that the lease is lost. Clocks that are wrong make
//! leases change hands too early or too late; they never let two holders write side by side.
//!
//! Renewals touch another row than the guard reads, so that they disturb nobody.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    AsStoreError, Store, StoreError, Transaction, Watch,
    keys::{LEASE, LEASE_UNTIL},
    records::LeaseRecord,
};

/// Longest name of a lease or a holder, in bytes.
const NAME_BYTES: usize = 255;
/// Most leases that are listed at once.
const LISTED: usize = 1000;
/// Pause between two looks at a lease that is not free.
const NOTHING: Duration = Duration::from_millis(20);
/// Pause after a failure of the store.
const RETRY: Duration = Duration::from_secs(1);

/// What is asked for, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseOptions {
    /// Name of the lease: 1 to 255 bytes, `crate/purpose` by convention.
    pub name: String,
    /// Who asks: 1 to 255 bytes, different for everyone who may ask. A process's id, for example.
    pub holder: String,
    /// How long the lease lives without a renewal. Renewed every third of it.
    pub lifetime: Duration,
}

/// Why a holder cannot go on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LeaseError {
    /// Somebody else has the lease by now, or it was released.
    #[error("the lease {0} is lost")]
    Lost(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AsStoreError for LeaseError {
    fn as_store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            Self::Lost(_) => None,
        }
    }
}

/// A lease as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseInfo {
    /// Its name.
    pub name: String,
    /// Who has it; `None` while it is free.
    pub holder: Option<String>,
    /// How often it was given away so far: the fencing token of the newest holder.
    pub token: u64,
    /// When it lapses unless it is renewed, milliseconds since the epoch by the holder's clock.
    pub until: u64,
}

/// A lease that is held, as far as its holder knows. Cheap to clone.
///
/// Dropping it does not give it back; see [`Self::release`] and [`hold`].
#[derive(Debug, Clone)]
pub struct Lease {
    store: Store,
    options: Arc<LeaseOptions>,
    token: u64,
}

/// What stands in the way of taking a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    token: u64,
    until: u64,
    lifetime: Duration,
}

/// How much longer than a lease lives others wait: clocks may differ by so much without a lease changing hands early.
fn margin(lifetime: Duration) -> Duration {
    lifetime / 4
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since the epoch.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

impl Lease {
    /// Takes the lease if nobody has it, or if it has lapsed; `None` while somebody has it.
    pub async fn try_acquire(store: &Store, options: &LeaseOptions) -> Result<Option<Self>, StoreError> {
        Ok(Self::acquire_at(store, options, now(), None).await?.ok())
    }

    /// [`Self::try_acquire`] at `now`. `lapsed` is a holding that is known to be over although its time is not.
    async fn acquire_at(
        store: &Store,
        options: &LeaseOptions,
        now: u64,
        lapsed: Option<&Held>,
    ) -> Result<Result<Self, Held>, StoreError> {
        let LeaseOptions { name, holder, lifetime } = options;
        debug_assert!((1..=NAME_BYTES).contains(&name.len()) && (1..=NAME_BYTES).contains(&holder.len()));
        let taken = store
            .transact("lease.acquire", |tx| async move {
                let old = LEASE.get(&tx, (name,)).await?.unwrap_or_default();
                if !old.holder.is_empty() {
                    // Read with a conflict: a renewal at the same time keeps the lease.
                    let until = LEASE_UNTIL.get(&tx, (name,)).await?.unwrap_or_default();
                    let held = Held { token: old.token, until, lifetime: Duration::from_millis(old.lifetime) };
                    let is_over = until.saturating_add(millis(margin(held.lifetime))) <= now;
                    if !is_over && lapsed != Some(&held) {
                        return Ok::<_, StoreError>(Err(held));
                    }
                }
                let token = old.token + 1;
                LEASE.set(&tx, (name,), &LeaseRecord { token, holder: holder.clone(), lifetime: millis(*lifetime) });
                LEASE_UNTIL.set(&tx, (name,), &now.saturating_add(millis(*lifetime)));
                Ok(Ok(token))
            })
            .await?;
        Ok(taken.map(|token| Self { store: store.clone(), options: Arc::new(options.clone()), token }))
    }

    /// The fencing token: larger than that of every earlier holder.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// The lease's name.
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// Makes `tx` commit only while the lease is held: to be called in every transaction that writes as its holder.
    /// One point read; [`LeaseError::Lost`] where somebody else was given the lease.
    pub async fn guard(&self, tx: &Transaction) -> Result<(), LeaseError> {
        let record = LEASE.get(tx, (self.name(),)).await?.unwrap_or_default();
        if record.token == self.token && record.holder == self.options.holder {
            Ok(())
        } else {
            Err(LeaseError::Lost(self.name().to_owned()))
        }
    }

    /// Prolongs the lease by its lifetime from now on.
    pub async fn renew(&self) -> Result<(), LeaseError> {
        self.renew_at(now()).await
    }

    async fn renew_at(&self, now: u64) -> Result<(), LeaseError> {
        self.store
            .transact("lease.renew", |tx| async move {
                self.guard(&tx).await?;
                LEASE_UNTIL.set(&tx, (self.name(),), &now.saturating_add(millis(self.options.lifetime)));
                Ok(())
            })
            .await
    }

    /// Gives the lease back, so that the next one need not wait. Nothing happens if it is lost already.
    pub async fn release(self) -> Result<(), StoreError> {
        let free = LeaseRecord { token: self.token, holder: String::new(), lifetime: 0 };
        let (lease, free) = (&self, &free);
        let released = self
            .store
            .transact("lease.release", |tx| async move {
                lease.guard(&tx).await?;
                LEASE.set(&tx, (lease.name(),), free);
                LEASE_UNTIL.clear(&tx, (lease.name(),));
                Ok::<_, LeaseError>(())
            })
            .await;
        match released {
            Ok(()) | Err(LeaseError::Lost(_)) => Ok(()),
            Err(LeaseError::Store(error)) => Err(error),
        }
    }

    /// Renews the lease until `stop`; returns early when it is lost, or could not be renewed for as long as it lives.
    pub async fn keep(&self, stop: &CancellationToken) -> Result<(), LeaseError> {
        let lifetime = self.options.lifetime;
        let mut renewed = Instant::now();
        let mut pause = lifetime / 3;
        loop {
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return Ok(());
            }
            // From before the renewal: what others see as the beginning is not earlier.
            let begun = Instant::now();
            match tokio::time::timeout_at(renewed + lifetime, self.renew()).await {
                Ok(Ok(())) => {
                    renewed = begun;
                    pause = lifetime / 3;
                }
                Ok(Err(error @ LeaseError::Lost(_))) => return Err(error),
                Ok(Err(error)) if renewed.elapsed() < lifetime => {
                    tracing::warn!(lease = self.name(), %error, "cannot renew the lease");
                    pause = RETRY.min(lifetime / 10);
                }
                Ok(Err(_)) | Err(_) => return Err(LeaseError::Lost(self.name().to_owned())),
            }
        }
    }
}

/// Waits for the lease until `stop`; `None` then.
///
/// A lease whose time lies far ahead because a clock was wrong is taken as well, once nobody renewed it for as long as
/// it lives by this process's own count.
pub async fn acquire(store: &Store, options: &LeaseOptions, stop: &CancellationToken) -> Option<Lease> {
    let mut seen: Option<(Held, Instant)> = None;
    while !stop.is_cancelled() {
        let lapsed = seen.as_ref().and_then(|(held, since)| {
            let patience = held.lifetime + margin(held.lifetime);
            (since.elapsed() >= patience).then_some(held)
        });
        let failure = match attempt(store, options, lapsed).await {
            Ok(Attempt::Taken(lease)) => {
                tracing::info!(lease = lease.name(), token = lease.token(), "holds the lease");
                return Some(lease);
            }
            Ok(Attempt::Waits { held, watch }) => {
                let since = match &seen {
                    Some((before, since)) if *before == held => *since,
                    _ => Instant::now(),
                };
                let margin = margin(held.lifetime);
                let lapses = Duration::from_millis(held.until.saturating_add(millis(margin)).saturating_sub(now()));
                let pause = lapses.min((held.lifetime + margin).saturating_sub(since.elapsed()));
                // A watch may fire for nothing, and must not do so all the time.
                if seen.replace((held, since)).is_some() {
                    stop.run_until_cancelled(tokio::time::sleep(NOTHING.min(pause))).await?;
                }
                tokio::select! {
                    () = stop.cancelled() => return None,
                    () = tokio::time::sleep(pause) => None,
                    changed = watch.changed() => changed.err(),
                }
            }
            Err(error) => Some(error),
        };
        if let Some(error) = failure {
            tracing::warn!(lease = options.name, %error, "cannot wait for the lease");
            stop.run_until_cancelled(tokio::time::sleep(RETRY)).await?;
        }
    }
    None
}

enum Attempt {
    Taken(Lease),
    Waits { held: Held, watch: Watch },
}

async fn attempt(store: &Store, options: &LeaseOptions, lapsed: Option<&Held>) -> Result<Attempt, StoreError> {
    loop {
        let held = match Lease::acquire_at(store, options, now(), lapsed).await? {
            Ok(lease) => return Ok(Attempt::Taken(lease)),
            Err(held) => held,
        };
        // Armed in a transaction that still sees the same holder: a release in between is not slept through.
        let tx = store.begin();
        let watch = LEASE.watch(&tx, (&options.name,)).await?;
        let record = LEASE.get_snapshot(&tx, (&options.name,)).await?.unwrap_or_default();
        tx.commit().await?;
        if record.token == held.token && !record.holder.is_empty() {
            return Ok(Attempt::Waits { held, watch });
        }
    }
}

/// Runs `work` whenever this process has the lease, until `stop`: waits for the lease, renews it beside the work, and
/// gives it back afterwards. The token that `work` is given is cancelled when the lease is lost and when the process
/// stops; work that ends by itself begins again under a new lease after a pause of the lease's lifetime.
pub async fn hold<F, Fut>(store: &Store, options: &LeaseOptions, stop: &CancellationToken, work: F)
where
    F: Fn(Lease, CancellationToken) -> Fut,
    Fut: Future<Output = ()>,
{
    while let Some(lease) = acquire(store, options, stop).await {
        let until = stop.child_token();
        let ended = CancellationToken::new();
        let worker = async {
            work(lease.clone(), until.clone()).await;
            ended.cancel();
        };
        let keeper = async {
            let kept = lease.keep(&ended).await;
            until.cancel();
            kept
        };
        let ((), kept) = tokio::join!(worker, keeper);
        if let Err(error) = &kept {
            tracing::warn!(%error, "has to stop");
        }
        if let Err(error) = lease.release().await {
            tracing::warn!(%error, "cannot give the lease back");
        }
        if kept.is_ok() && !stop.is_cancelled() {
            stop.run_until_cancelled(tokio::time::sleep(options.lifetime)).await;
        }
    }
}

/// The leases, by name.
pub async fn leases(store: &Store) -> Result<Vec<LeaseInfo>, StoreError> {
    store
        .transact("lease.list", |tx| async move {
            let mut leases = Vec::new();
            for ((name,), LeaseRecord { token, holder, .. }) in LEASE.scan(()).limit(LISTED).snapshot().all(&tx).await?
            {
                let until = LEASE_UNTIL.get_snapshot(&tx, (&name,)).await?.unwrap_or_default();
                leases.push(LeaseInfo { name, holder: Some(holder).filter(|holder| !holder.is_empty()), token, until });
            }
            Ok(leases)
        })
        .await
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
