//! One limit for each of many: a bounded map of [`RateLimiter`]s.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use super::rate_limiter::{Rate, RateLimiter};

/// How often a full map is swept, at most.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Rate limiters by key, bounded. When all places are taken by those that are not full again, the strangers
/// share one.
#[derive(Debug)]
pub struct KeyedRateLimiter<K> {
    rate: Option<Rate>,
    max_entries: usize,
    entries: HashMap<K, RateLimiter>,
    shared: RateLimiter,
    swept_at: Option<Instant>,
    /// When the first was taken; the limiters' time counts from here.
    began: Option<Instant>,
}

impl<K: Hash + Eq> KeyedRateLimiter<K> {
    /// Limiters of this rate, `None` for no limit; at most `max_entries` of them.
    pub fn new(rate: Option<Rate>, max_entries: usize) -> Self {
        KeyedRateLimiter {
            rate,
            max_entries,
            entries: HashMap::new(),
            shared: RateLimiter::default(),
            swept_at: None,
            began: None,
        }
    }

    /// Takes one of the key's.
    ///
    /// # Errors
    /// When there is none: the time until the next one.
    pub fn take(&mut self, key: K, now: Instant) -> Result<(), Duration> {
        let Some(rate) = self.rate else { return Ok(()) };
        self.began.get_or_insert(now);
        let time = self.time(now);
        if !self.entries.contains_key(&key) && self.entries.len() >= self.max_entries {
            self.sweep_sometimes(now);
            if self.entries.len() >= self.max_entries {
                return self.shared.take(rate, time);
            }
        }
        self.entries.entry(key).or_default().take(rate, time)
    }

    /// Puts one of the key's back.
    pub fn give_back(&mut self, key: &K) {
        let Some(rate) = self.rate else { return };
        self.entries.get(key).unwrap_or(&self.shared).give_back(rate);
    }

    /// Forgets those that are full again.
    pub fn sweep(&mut self, now: Instant) {
        self.swept_at = Some(now);
        let time = self.time(now);
        self.entries.retain(|_, limiter| !limiter.is_full(time));
    }

    /// The keys that have none left.
    pub fn used_up(&self, now: Instant) -> impl Iterator<Item = &K> {
        let time = self.time(now);
        let empty = move |limiter: &RateLimiter| self.rate.is_some_and(|rate| !limiter.has_one(rate, time));
        self.entries.iter().filter(move |(_, limiter)| empty(limiter)).map(|(key, _)| key)
    }

    /// How many keys are remembered.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn sweep_sometimes(&mut self, now: Instant) {
        let due = self.swept_at.is_none_or(|at| now.saturating_duration_since(at) >= SWEEP_EVERY);
        if due {
            self.sweep(now);
        }
    }

    fn time(&self, now: Instant) -> Duration {
        self.began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_map_forgets_what_is_idle_and_shares_the_rest() {
        let now = Instant::now();
        let mut limiters = KeyedRateLimiter::new(Rate::per_second(1), 3);
        for key in 0..3 {
            assert_eq!(limiters.take(key, now), Ok(()));
        }
        assert_eq!(limiters.take(3, now), Ok(()), "the shared one");
        assert!(limiters.take(4, now).is_err(), "is empty for the next");
        assert!(limiters.take(0, now).is_err(), "and those that have their own keep it");
        let later = now + Duration::from_secs(2);
        assert_eq!(limiters.take(4, later), Ok(()));
        assert_eq!(limiters.len(), 1);
        let mut lifted = KeyedRateLimiter::new(Rate::per_second(0), 1);
        assert!((0..1_000).all(|key| lifted.take(key, now).is_ok()) && lifted.is_empty());
    }

    #[test]
    fn who_has_none_left_can_be_seen_until_it_is_given_back() {
        let now = Instant::now();
        let mut limiters = KeyedRateLimiter::new(Rate::per_minute(2), 10);
        assert_eq!([limiters.take("a", now), limiters.take("a", now), limiters.take("b", now)], [Ok(()); 3]);
        assert_eq!(limiters.used_up(now).collect::<Vec<_>>(), [&"a"]);
        limiters.give_back(&"a");
        assert_eq!(limiters.used_up(now).count(), 0);
        limiters.sweep(now + Duration::from_secs(60));
        assert!(limiters.is_empty());
    }
}
