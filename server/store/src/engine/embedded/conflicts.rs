//! The writes of the last seconds, against which reads are checked.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::time::{Duration, Instant};

use crate::Version;
use crate::engine::key::{Key, KeyRange};

/// Below this many writes since a read, looking at each is cheaper than walking the ordered map.
const FEW_WRITES: usize = 64;

/// Recent writes, by key and by version.
#[derive(Debug)]
pub(super) struct ConflictWindow {
    length: Duration,
    /// Reads at versions below this one cannot be checked any more.
    floor: Version,
    /// Newest version that wrote a single key.
    points: BTreeMap<Key, Version>,
    /// Newest version that wrote a range with each key: the version holds from a boundary to the next one.
    ranges: BTreeMap<Key, Version>,
    /// What each version wrote, oldest first.
    recent: VecDeque<VersionWrites>,
}

/// What one version wrote.
#[derive(Debug)]
pub(super) struct VersionWrites {
    version: Version,
    at: Instant,
    pub(super) writes: Vec<KeyRange>,
}

impl ConflictWindow {
    pub(super) fn new(length: Duration, floor: Version) -> Self {
        Self { length, floor, points: BTreeMap::new(), ranges: BTreeMap::new(), recent: VecDeque::new() }
    }

    /// The oldest read version that can still be checked.
    pub(super) fn floor(&self) -> Version {
        self.floor
    }

    /// What the newest version wrote.
    pub(super) fn newest(&self) -> &[KeyRange] {
        self.recent.back().map_or(&[], |newest| &newest.writes)
    }

    /// Whether anything that `read` covers was written after `version`.
    pub(super) fn written_since(&self, read: &KeyRange, version: Version) -> bool {
        if self.recent.back().is_none_or(|newest| newest.version <= version) {
            return false;
        }
        match read {
            KeyRange::Point(key) => {
                self.points.get(key).is_some_and(|&written| written > version)
                    || (!self.ranges.is_empty() && self.range_version(key) > version)
            }
            KeyRange::Range(begin, end) => self.range_written_since(begin, end, version),
        }
    }

    fn range_written_since(&self, begin: &Key, end: &Key, version: Version) -> bool {
        if begin >= end {
            return false;
        }
        let mut seen = 0;
        for batch in self.recent.iter().rev().take_while(|batch| batch.version > version) {
            seen += batch.writes.len();
            if seen > FEW_WRITES {
                break;
            }
            let overlaps = |write: &KeyRange| match write {
                KeyRange::Point(key) => begin <= key && key < end,
                KeyRange::Range(from, to) => from < end && begin < to,
            };
            if batch.writes.iter().any(overlaps) {
                return true;
            }
        }
        if seen <= FEW_WRITES {
            return false;
        }
        let inside = (Bound::Included(begin), Bound::Excluded(end));
        self.range_version(begin) > version
            || self.ranges.range::<Key, _>(inside).any(|(_, &written)| written > version)
            || self.points.range::<Key, _>(inside).any(|(_, &written)| written > version)
    }

    /// The newest version that wrote a range with `key`.
    fn range_version(&self, key: &Key) -> Version {
        self.ranges.range::<Key, _>(..=key).next_back().map_or(0, |(_, &version)| version)
    }

    /// Notes writes of `version`, which is the newest or newer.
    pub(super) fn add(&mut self, version: Version, now: Instant, writes: impl IntoIterator<Item = KeyRange>) {
        if self.recent.back().is_none_or(|newest| newest.version < version) {
            self.recent.push_back(VersionWrites { version, at: now, writes: Vec::new() });
        }
        for write in writes {
            match &write {
                KeyRange::Point(key) => {
                    self.points.insert(key.clone(), version);
                }
                KeyRange::Range(begin, end) if begin < end => {
                    let after = self.range_version(end);
                    let covered: Vec<Key> = self
                        .ranges
                        .range::<Key, _>((Bound::Included(begin), Bound::Excluded(end)))
                        .map(|(key, _)| key.clone())
                        .collect();
                    for key in covered {
                        self.ranges.remove(&key);
                    }
                    self.ranges.insert(begin.clone(), version);
                    self.ranges.insert(end.clone(), after);
                }
                KeyRange::Range(..) => continue,
            }
            if let Some(newest) = self.recent.back_mut() {
                newest.writes.push(write);
            }
        }
    }

    /// Forgets what is older than the window.
    pub(super) fn expire(&mut self, now: Instant) {
        let mut ranges_expired = false;
        while let Some(oldest) = self.recent.pop_front_if(|oldest| now.duration_since(oldest.at) >= self.length) {
            self.floor = oldest.version;
            for write in oldest.writes {
                match write {
                    KeyRange::Point(key) => {
                        if self.points.get(&key) == Some(&oldest.version) {
                            self.points.remove(&key);
                        }
                    }
                    KeyRange::Range(..) => ranges_expired = true,
                }
            }
        }
        if ranges_expired {
            let floor = self.floor;
            let mut before = 0;
            self.ranges.retain(|_, version| {
                let now = if *version > floor { *version } else { 0 };
                let keep = now != before;
                before = now;
                *version = now;
                keep
            });
        }
    }

    /// When [`Self::expire`] empties the window if nothing is added.
    pub(super) fn empty_at(&self) -> Option<Instant> {
        self.recent.back().map(|newest| newest.at + self.length)
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn key(number: u8) -> Key {
        [number].as_slice().into()
    }

    fn random_range(random: &mut StdRng) -> KeyRange {
        let (a, b) = (random.gen_range(0..20), random.gen_range(0..20));
        if random.gen_bool(0.6) { KeyRange::Point(key(a)) } else { KeyRange::Range(key(a.min(b)), key(a.max(b))) }
    }

    fn overlap(a: &KeyRange, b: &KeyRange) -> bool {
        let ends = |range: &KeyRange| match range {
            KeyRange::Point(key) => (key.to_vec(), [key, [0].as_slice()].concat()),
            KeyRange::Range(begin, end) => (begin.to_vec(), end.to_vec()),
        };
        let ((a, a_end), (b, b_end)) = (ends(a), ends(b));
        a < b_end && b < a_end && a < a_end && b < b_end
    }

    #[test]
    fn the_window_agrees_with_a_list_of_all_writes() {
        for seed in 0..200 {
            let random = &mut StdRng::seed_from_u64(seed);
            let began = Instant::now();
            let mut window = ConflictWindow::new(Duration::from_secs(5), 0);
            let mut all: Vec<(Version, Duration, KeyRange)> = Vec::new();
            let busy = random.gen_range(1..30);
            for version in 1..40 {
                let at = Duration::from_millis(version * 250);
                window.expire(began + at);
                let writes: Vec<_> = (0..random.gen_range(0..busy)).map(|_| random_range(random)).collect();
                all.extend(writes.iter().cloned().map(|write| (version, at, write)));
                window.add(version, began + at, writes);
                let forgotten = all.iter().filter(|(_, then, _)| *then + window.length <= at);
                let floor = forgotten.map(|(version, ..)| *version).max().unwrap_or(0);
                assert!(window.floor() >= floor, "seed {seed}");
                for _ in 0..20 {
                    let read = random_range(random);
                    let since = random.gen_range(window.floor()..=version);
                    let expected = all.iter().any(|(version, _, write)| *version > since && overlap(&read, write));
                    assert_eq!(window.written_since(&read, since), expected, "seed {seed}, {read:?} since {since}");
                }
            }
            window.expire(window.empty_at().unwrap());
            assert!(window.points.is_empty() && window.ranges.is_empty() && window.recent.is_empty());
        }
    }
}
