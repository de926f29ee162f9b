//! Rulesets in memory.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use hearth_store::Versionstamp;
use ruma::push::Ruleset;

/// Rulesets in one generation of the cache; it holds at most two (some 4 kB each for who changed nothing).
const GENERATION: usize = 1024;

/// Rulesets by localpart, valid for one version of [`RULES_HEAD`]. Bounded by two generations: a full young one takes the
/// place of the old one.
#[derive(Default)]
pub(crate) struct RulesCache(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    head: Option<Versionstamp>,
    young: HashMap<String, Arc<Ruleset>>,
    old: HashMap<String, Arc<Ruleset>>,
}

impl RulesCache {
    fn with<T>(&self, head: Option<&Versionstamp>, f: impl FnOnce(&mut Generations) -> T) -> Option<T> {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.head.as_ref() < head {
            *cache = Generations { head: head.cloned(), ..Generations::default() };
        }
        // An older head belongs to a transaction that began before a change: it must neither read nor fill this cache.
        (cache.head.as_ref() == head).then(|| f(&mut cache))
    }

    pub(crate) fn get(&self, head: Option<&Versionstamp>, user: &str) -> Option<Arc<Ruleset>> {
        self.with(head, |cache| {
            if let Some(rules) = cache.young.get(user) {
                return Some(Arc::clone(rules));
            }
            let (user, rules) = cache.old.remove_entry(user)?;
            cache.insert(user, Arc::clone(&rules));
            Some(rules)
        })
        .flatten()
    }

    pub(crate) fn insert(&self, head: Option<&Versionstamp>, user: &str, rules: &Arc<Ruleset>) {
        self.with(head, |cache| cache.insert(user.to_owned(), Arc::clone(rules)));
    }
}

impl Generations {
    fn insert(&mut self, user: String, rules: Arc<Ruleset>) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(user, rules);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_bounded() {
        let cache = RulesCache::default();
        let rules = Arc::new(Ruleset::new());
        for number in 0..10 * GENERATION {
            cache.insert(None, &format!("u{number}"), &rules);
            // Who is asked for all the time stays.
            if number > 0 {
                assert!(cache.get(None, "u0").is_some());
            }
        }
        let kept = cache.0.lock().unwrap();
        assert!(kept.young.len() + kept.old.len() <= 2 * GENERATION);
        drop(kept);
        // A newer head empties it; an older one neither reads nor writes.
        let head = hearth_store::first_stamp(7);
        assert!(cache.get(Some(&head), "u0").is_none());
        cache.insert(Some(&head), "u0", &rules);
        cache.insert(None, "u1", &rules);
        assert!(cache.get(None, "u0").is_none());
        assert!(cache.get(Some(&head), "u0").is_some());
        assert!(cache.get(Some(&head), "u1").is_none());
    }
}
