//! A cache with a bound.

use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::Hash,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use hearth_rooms::CacheStats;

/// Holds at most so many entries. Two generations: what is read in the old one moves to the new one, and when the new
/// one is full the old one is dropped.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    generations: Mutex<(HashMap<K, V>, HashMap<K, V>)>,
    /// Entries of one generation.
    half: usize,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            generations: Mutex::default(),
            half: (capacity / 2).max(1),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    pub(crate) fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let mut guard = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let (young, old) = &mut *guard;
        let found = match young.get(key) {
            Some(value) => Some(value.clone()),
            None => old.remove_entry(key).map(|(key, value)| {
                make_room(young, old, self.half);
                young.insert(key, value.clone());
                value
            }),
        };
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    pub(crate) fn insert(&self, key: K, value: V) {
        let mut guard = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let (young, old) = &mut *guard;
        old.remove(&key);
        if !young.contains_key(&key) {
            make_room(young, old, self.half);
        }
        young.insert(key, value);
    }

    /// How full it is and how well it serves.
    pub(crate) fn stats(&self) -> CacheStats {
        let guard = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = (guard.0.len() + guard.1.len()) as u64;
        CacheStats {
            entries,
            weight: entries,
            capacity: 2 * self.half as u64,
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        }
    }
}

fn make_room<K, V>(young: &mut HashMap<K, V>, old: &mut HashMap<K, V>, half: usize) {
    if young.len() >= half {
        *old = std::mem::take(young);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_is_read_and_stays_in_bounds() {
        let cache = Cache::new(10);
        cache.insert("kept".to_owned(), 0);
        for number in 1..100 {
            cache.insert(number.to_string(), number);
            assert_eq!(cache.get("kept"), Some(0));
            assert!(cache.stats().entries <= 10);
        }
        assert_eq!(cache.get("1"), None);
        cache.insert("kept".to_owned(), 7);
        assert_eq!(cache.get("kept"), Some(7));
    }
}
