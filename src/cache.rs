//! A map with expiry and bounded size.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// A map whose entries expire. If it is full, an insertion removes the oldest entry.
#[derive(Debug)]
pub struct Cache<K, V> {
    capacity: usize,
    entries: HashMap<K, (V, Instant)>,
    /// Keys by age, each with the expiry of its entry when it was inserted.
    by_age: VecDeque<(K, Instant)>,
}

impl<K: Clone + Eq + Hash, V> Cache<K, V> {
    /// An empty map for this many entries.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, entries: HashMap::new(), by_age: VecDeque::new() }
    }

    /// The value of this key, unless it has expired.
    pub fn get(&self, now: Instant, key: &K) -> Option<&V> {
        self.entries.get(key).filter(|(_, expiry)| now < *expiry).map(|(value, _)| value)
    }

    /// Keeps `value` for `ttl`; zero: not at all.
    pub fn insert(&mut self, now: Instant, key: K, value: V, ttl: Duration) {
        // An expiry that the clock can't represent is a mistake of the configuration; then nothing is kept.
        let Some(expiry) = now.checked_add(ttl).filter(|expiry| *expiry > now) else { return };
        self.make_room(now);
        self.by_age.push_back((key.clone(), expiry));
        self.entries.insert(key, (value, expiry));
    }

    /// Removes the entry of this key.
    pub fn remove(&mut self, key: &K) {
        self.entries.remove(key);
    }

    /// Removes entries that have expired, and gives the memory of an empty map back. An entry stays while an older one has not
    /// expired.
    pub fn forget_expired(&mut self, now: Instant) {
        while self.by_age.front().is_some_and(|(_, expiry)| *expiry <= now) {
            self.remove_oldest();
        }
        if self.by_age.is_empty() {
            self.entries.shrink_to_fit();
            self.by_age.shrink_to_fit();
        }
    }

    fn make_room(&mut self, now: Instant) {
        while let Some((_, expiry)) = self.by_age.front() {
            if *expiry > now && self.by_age.len() < self.capacity {
                return;
            }
            self.remove_oldest();
        }
    }

    fn remove_oldest(&mut self) {
        let Some((key, expiry)) = self.by_age.pop_front() else { return };
        // The key may have been inserted again since.
        if self.entries.get(&key).is_some_and(|entry| entry.1 == expiry) {
            self.entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(30);

    #[test]
    fn entries_expire() {
        let start = Instant::now();
        let mut cache = Cache::new(10);
        cache.insert(start, "a", 1, TTL);
        assert_eq!(cache.get(start, &"a"), Some(&1));
        assert_eq!(cache.get(start + TTL - Duration::from_millis(1), &"a"), Some(&1));
        assert_eq!(cache.get(start + TTL, &"a"), None);
        assert_eq!(cache.get(start, &"b"), None);
    }

    #[test]
    fn a_ttl_of_zero_or_without_end_keeps_nothing() {
        let start = Instant::now();
        let mut cache = Cache::new(10);
        cache.insert(start, "a", 1, Duration::ZERO);
        cache.insert(start, "b", 1, Duration::MAX);
        assert_eq!((cache.get(start, &"a"), cache.get(start, &"b")), (None, None));
        assert!(cache.by_age.is_empty());
    }

    #[test]
    fn a_full_cache_removes_its_oldest_entry() {
        let start = Instant::now();
        let mut cache = Cache::new(3);
        for key in 0..10 {
            cache.insert(start, key, key, TTL);
            assert!(cache.entries.len() <= 3 && cache.by_age.len() <= 3);
        }
        let kept: Vec<_> = (0..10).filter(|key| cache.get(start, key).is_some()).collect();
        assert_eq!(kept, [7, 8, 9]);
    }

    #[test]
    fn expired_entries_are_forgotten_with_their_memory() {
        let start = Instant::now();
        let mut cache = Cache::new(100);
        (0..50).for_each(|key| cache.insert(start, key, key, TTL));
        let later = start + Duration::from_secs(1);
        cache.insert(later, 50, 50, TTL);
        cache.forget_expired(start + TTL);
        assert_eq!((cache.entries.len(), cache.get(later, &50)), (1, Some(&50)));
        cache.forget_expired(later + TTL);
        assert_eq!((cache.entries.len(), cache.entries.capacity(), cache.by_age.capacity()), (0, 0, 0));
        cache.insert(later, 1, 1, TTL);
        assert_eq!(cache.get(later, &1), Some(&1));
    }

    #[test]
    fn removed_entries_take_no_space() {
        let start = Instant::now();
        let mut cache = Cache::new(3);
        for _ in 0..10 {
            cache.insert(start, "a", 1, TTL);
            cache.remove(&"a");
            assert_eq!(cache.get(start, &"a"), None);
            assert!(cache.by_age.len() <= 3);
        }
        cache.insert(start, "a", 2, TTL);
        assert_eq!(cache.get(start, &"a"), Some(&2));
    }

    #[test]
    fn a_key_inserted_again_outlives_its_first_entry() {
        let start = Instant::now();
        let mut cache = Cache::new(3);
        cache.insert(start, "a", 1, Duration::from_secs(1));
        let later = start + Duration::from_secs(2);
        cache.insert(start, "a", 2, TTL);
        cache.insert(later, "b", 3, TTL);
        cache.insert(later, "c", 4, TTL);
        assert_eq!(cache.get(later, &"a"), Some(&2));
        assert_eq!(cache.by_age.len(), 3);
    }
}
