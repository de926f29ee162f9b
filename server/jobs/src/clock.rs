//! The time, and how tests move it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::future::BoxFuture;
use rand::Rng;
use tokio::sync::watch;

/// A sleep looks at the clock so often: timers of the system stand still while a machine is suspended.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);

/// Where the queue takes the time from.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970.
    fn now(&self) -> u64;
    /// Resolves when [`Self::now`] is `at` or later.
    fn sleep_until(&self, at: u64) -> BoxFuture<'static, ()>;
    /// How a pause is spread, from 0 to 1: random, so that those who failed together do not come back together.
    fn chance(&self) -> f64 {
        rand::thread_rng().gen_range(0.0..1.0)
    }
}

/// The wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    fn wall() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    }
}

impl Clock for SystemClock {
    fn now(&self) -> u64 {
        Self::wall()
    }

    fn sleep_until(&self, at: u64) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            loop {
                let left = at.saturating_sub(Self::wall());
                if left == 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(left).min(LONGEST_SLEEP)).await;
            }
        })
    }
}

/// A clock that moves when it is told to, for tests. Clones are the same clock.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<watch::Sender<u64>>);

impl ManualClock {
    /// Stands at `now`.
    pub fn new(now: u64) -> Self {
        Self(Arc::new(watch::Sender::new(now)))
    }

    /// Moves it forward.
    pub fn advance(&self, by: Duration) {
        self.0.send_modify(|now| *now += by.as_millis() as u64);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> u64 {
        *self.0.borrow()
    }

    /// Always in the middle.
    fn chance(&self) -> f64 {
        0.5
    }

    fn sleep_until(&self, at: u64) -> BoxFuture<'static, ()> {
        let mut now = self.0.subscribe();
        Box::pin(async move {
            if now.wait_for(|now| *now >= at).await.is_err() {
                // The clock is gone: it never comes to that.
                std::future::pending::<()>().await;
            }
        })
    }
}
