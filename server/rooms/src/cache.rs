//! Bounded caches of what never changes once it is committed.

use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// Shards, so that readers on several threads seldom meet at one lock. A power of two.
const SHARDS: usize = 8;

/// A cache bounded by weight. Each shard keeps two generations; what is read in the old one moves to the new one,
/// and when the new one is full the old one is dropped: close to least-recently-used, without a list to maintain.
pub(crate) struct Cache<K, V> {
    shards: [Mutex<Generations<K, V>>; SHARDS],
    hasher: RandomState,
    /// Largest weight of one generation of one shard.
    generation_weight: usize,
    hits: AtomicU64,
    misses: AtomicU64,
}

struct Generations<K, V> {
    young: HashMap<K, (V, usize)>,
    old: HashMap<K, (V, usize)>,
    young_weight: usize,
    old_weight: usize,
}

/// How full a cache is and how well it serves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Entries held.
    pub entries: u64,
    /// Their weight (bytes for events, entries for the others).
    pub weight: u64,
    /// The bound of the weight.
    pub capacity: u64,
    /// Lookups that found their entry, since the start.
    pub hits: u64,
    /// Lookups that did not.
    pub misses: u64,
}

impl<K: Hash + Eq + Clone, V: Clone> Cache<K, V> {
    /// An empty cache that holds at most `capacity` of weight.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| {
                Mutex::new(Generations { young: HashMap::new(), old: HashMap::new(), young_weight: 0, old_weight: 0 })
            }),
            hasher: RandomState::new(),
            generation_weight: (capacity / SHARDS / 2).max(1),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> &Mutex<Generations<K, V>> {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }

    /// The entry of `key`.
    pub(crate) fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let mut shard = self.shard(key).lock().unwrap_or_else(PoisonError::into_inner);
        let found = match shard.young.get(key) {
            Some((value, _)) => Some(value.clone()),
            None => match shard.old.remove_entry(key) {
                Some((key, (value, weight))) => {
                    shard.old_weight -= weight;
                    shard.put(key, value.clone(), weight, self.generation_weight);
                    Some(value)
                }
                None => None,
            },
        };
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Keeps `value` for `key`. What alone outweighs a generation is not kept.
    pub(crate) fn insert(&self, key: K, value: V, weight: usize) {
        if weight > self.generation_weight {
            return;
        }
        let mut shard = self.shard(&key).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, weight)) = shard.old.remove(&key) {
            shard.old_weight -= weight;
        }
        shard.put(key, value, weight, self.generation_weight);
    }

    /// How full it is and how well it serves.
    pub(crate) fn stats(&self) -> CacheStats {
        let mut stats = CacheStats {
            capacity: (self.generation_weight * SHARDS * 2) as u64,
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            ..CacheStats::default()
        };
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            stats.entries += (shard.young.len() + shard.old.len()) as u64;
            stats.weight += (shard.young_weight + shard.old_weight) as u64;
        }
        stats
    }
}

impl<K: Hash + Eq, V> Generations<K, V> {
    fn put(&mut self, key: K, value: V, weight: usize, generation_weight: usize) {
        if self.young_weight + weight > generation_weight {
            self.old = std::mem::take(&mut self.young);
            self.old_weight = std::mem::take(&mut self.young_weight);
        }
        self.young_weight += weight;
        if let Some((_, weight)) = self.young.insert(key, (value, weight)) {
            self.young_weight -= weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_within_its_bound_and_keeps_what_is_read() {
        let cache = Cache::new(160);
        for key in 0..10_000_u64 {
            cache.insert(key, key, 1);
            // Read all along, so never dropped.
            if key > 0 {
                assert_eq!(cache.get(&0), Some(0), "at {key}");
            }
        }
        let stats = cache.stats();
        assert_eq!(stats.capacity, 160);
        assert!(stats.weight <= stats.capacity, "{stats:?}");
        assert_eq!(stats.weight, stats.entries);
        assert_eq!(cache.get(&1), None, "the oldest that nobody read is gone");
    }

    #[test]
    fn replaces_and_weighs() {
        let cache = Cache::new(1600);
        cache.insert("a", 1, 40);
        cache.insert("a", 2, 10);
        assert_eq!(cache.get("a"), Some(2));
        assert_eq!(cache.stats().weight, 10);
        cache.insert("huge", 3, 101);
        assert_eq!(cache.get("huge"), None, "too heavy to keep");
        assert_eq!(cache.stats().hits, 1);
        assert_eq!(cache.stats().misses, 1);
    }
}
