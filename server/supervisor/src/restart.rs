//! When to start a crashed process again, and when to stop trying. Pure: it reads no clock and starts nothing.

use std::{
    hash::{BuildHasher, Hasher},
    time::Duration,
};

/// The rules for restarting after a crash.
#[derive(Debug, Clone, PartialEq)]
pub struct Restart {
    /// The wait before the first restart; it doubles with each quick exit that follows.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
    /// How much of each wait is random, 0.0 to 1.0, so that several children do not restart in step.
    pub jitter: f64,
    /// An exit within this time of its start is a quick one; a longer life forgets the quick exits before it.
    pub quick: Duration,
    /// This many quick exits in a row are a crash loop.
    pub give_up_after: u32,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            longest: Duration::from_mins(1),
            jitter: 0.2,
            quick: Duration::from_secs(30),
            give_up_after: 5,
        }
    }
}

/// What to do after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Start again after this time.
    RetryIn(Duration),
    /// A crash loop: wait for a person.
    GiveUp,
}

/// Counts quick exits.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    quick_exits: u32,
}

impl Backoff {
    /// Judges a crash after a life of `lived`. `random` is in 0.0..1.0.
    pub(crate) fn after_crash(&mut self, rules: &Restart, lived: Duration, random: f64) -> Verdict {
        self.quick_exits = if lived < rules.quick { self.quick_exits + 1 } else { 1 };
        if self.quick_exits >= rules.give_up_after {
            return Verdict::GiveUp;
        }
        let doublings = (self.quick_exits - 1).min(20);
        let wait = rules.first.saturating_mul(1 << doublings).min(rules.longest);
        let spread = rules.jitter.clamp(0.0, 1.0) * random;
        Verdict::RetryIn(wait.mul_f64(1.0 - spread))
    }

    /// A person started it: count afresh.
    pub(crate) fn forget(&mut self) {
        self.quick_exits = 0;
    }
}

/// A random number in 0.0..1.0 from the standard library's hash seed: jitter needs no better one, and no crate.
pub(crate) fn random_unit() -> f64 {
    let bits = std::collections::hash_map::RandomState::new().build_hasher().finish() >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Restart {
        Restart {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(5),
            jitter: 0.5,
            quick: Duration::from_secs(30),
            give_up_after: 6,
        }
    }

    #[test]
    fn waits_double_up_to_the_longest_then_it_gives_up() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..7).map(|_| backoff.after_crash(&rules(), Duration::ZERO, 0.0)).collect();
        let secs = |s| Verdict::RetryIn(Duration::from_secs(s));
        assert_eq!(waits, [secs(1), secs(2), secs(4), secs(5), secs(5), Verdict::GiveUp, Verdict::GiveUp]);
    }

    #[test]
    fn a_long_life_forgets_the_quick_exits() {
        let mut backoff = Backoff::default();
        for _ in 0..4 {
            backoff.after_crash(&rules(), Duration::from_secs(1), 0.0);
        }
        let after_long_life = backoff.after_crash(&rules(), Duration::from_secs(31), 0.0);
        assert_eq!(after_long_life, Verdict::RetryIn(Duration::from_secs(1)));
        backoff.after_crash(&rules(), Duration::ZERO, 0.0);
        backoff.forget();
        let after_manual_start = backoff.after_crash(&rules(), Duration::ZERO, 0.0);
        assert_eq!(after_manual_start, Verdict::RetryIn(Duration::from_secs(1)));
    }

    #[test]
    fn jitter_only_shortens_and_stays_in_its_share() {
        for (random, millis) in [(0.0, 1000), (0.5, 750), (0.999_999, 500)] {
            let Verdict::RetryIn(wait) = Backoff::default().after_crash(&rules(), Duration::ZERO, random) else {
                panic!("gave up at once")
            };
            assert_eq!(wait.as_millis(), millis, "{random}");
        }
        for _ in 0..1000 {
            assert!((0.0..1.0).contains(&random_unit()));
        }
    }

    #[test]
    fn huge_counts_do_not_overflow() {
        let patient = Restart { give_up_after: u32::MAX, ..rules() };
        let mut backoff = Backoff { quick_exits: 1_000_000 };
        assert_eq!(backoff.after_crash(&patient, Duration::ZERO, 0.0), Verdict::RetryIn(patient.longest));
    }
}
