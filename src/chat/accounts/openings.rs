//! How fast one account opens sessions, and how many are on their way to the disk.
//!
//! What is counted when it is done can be overrun by many at once: fifty logins that all look before the
//! first of them is written. So whoever is let through counts from then on, until its session is there or
//! nothing came of it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::chat::limits::keyed_rate_limiter::KeyedRateLimiter;
use crate::chat::limits::rate_limiter::Rate;
use crate::config::Limits;

/// Accounts whose rate is remembered, at most; more share one.
const MAX_ACCOUNTS: usize = 100_000;

/// Sessions that are being opened, by the row of their account.
#[derive(Debug)]
pub struct Openings {
    rates: KeyedRateLimiter<u64>,
    under_way: HashMap<u64, Weak<()>>,
}

/// One session on its way. It counts until this is dropped.
#[derive(Debug)]
#[must_use = "it counts while this is kept"]
pub struct UnderWay(#[expect(dead_code, reason = "its references are counted")] Arc<()>);

impl Openings {
    /// None yet, at the rate that these limits allow.
    pub fn new(limits: &Limits) -> Self {
        // All sessions of an account may come back at once.
        let at_once = limits.sessions_per_account;
        let rate = Rate::per_minute(limits.sessions_opened_per_minute);
        let rate = rate.map(|rate| rate.with_burst_of_at_least(at_once));
        Openings { rates: KeyedRateLimiter::new(rate, MAX_ACCOUNTS), under_way: HashMap::new() }
    }

    /// Takes one from the account's rate.
    ///
    /// # Errors
    /// When there is none left: the time until there is.
    pub fn take(&mut self, account: u64, now: Instant) -> Result<(), Duration> {
        self.rates.take(account, now)
    }

    /// Gives it back: no session came of it.
    pub fn give_back(&mut self, account: u64) {
        self.rates.give_back(&account);
    }

    /// Counts one session as being on its way.
    pub fn begin(&mut self, account: u64) -> UnderWay {
        let place = self.under_way.entry(account).or_default();
        let shared = place.upgrade().unwrap_or_default();
        *place = Arc::downgrade(&shared);
        UnderWay(shared)
    }

    /// How many of an account's are on their way.
    pub fn under_way(&self, account: u64) -> usize {
        self.under_way.get(&account).map_or(0, Weak::strong_count)
    }

    /// Forgets what is over. To be called about once a minute.
    pub fn sweep(&mut self, now: Instant) {
        self.rates.sweep(now);
        self.under_way.retain(|_, shared| shared.strong_count() > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn openings(per_minute: u32, sessions: usize) -> Openings {
        let limits = Limits {
            sessions_opened_per_minute: per_minute,
            sessions_per_account: sessions,
            ..Limits::default()
        };
        Openings::new(&limits)
    }

    #[test]
    fn what_is_on_its_way_counts_until_it_is_dropped() {
        let mut openings = openings(0, 0);
        let (one, two) = (openings.begin(1), openings.begin(1));
        let other = openings.begin(2);
        assert_eq!((openings.under_way(1), openings.under_way(2), openings.under_way(3)), (2, 1, 0));
        drop(one);
        assert_eq!(openings.under_way(1), 1);
        drop((two, other));
        openings.sweep(Instant::now());
        assert!(openings.under_way.is_empty());
    }

    #[test]
    fn all_sessions_of_an_account_may_come_back_at_once_and_then_the_rate_holds() {
        let now = Instant::now();
        for (per_minute, sessions, at_once) in [(60, 10, 60), (60, 100, 100)] {
            let mut openings = openings(per_minute, sessions);
            assert_eq!((0..1_000).filter(|_| openings.take(1, now).is_ok()).count(), at_once);
            let wait = openings.take(1, now).expect_err("none left");
            assert_eq!(wait, Duration::from_secs(1), "60 a minute");
            assert!(openings.take(2, now).is_ok(), "another account has its own");
            openings.give_back(1);
            assert!(openings.take(1, now).is_ok());
        }
        let mut lifted = openings(0, 100);
        assert!((0..1_000).all(|_| lifted.take(1, now).is_ok()));
    }
}
