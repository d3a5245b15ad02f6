//! How fast is too fast: a token bucket by the generic cell rate algorithm (ITU-T I.371), one word of state.
//!
//! It is the token bucket told backwards: instead of tokens it keeps the time at which the bucket would be full
//! again, which is when the next event would arrive if all came evenly. An account's sessions live on several
//! threads and share one; the word is atomic, so nobody waits for anybody. Who has one alone uses the same.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::model::{ErrorCode, Refusal};

/// So many events in such a time, and how many of them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    period: Duration,
    interval_us: u64,
    burst_us: u64,
}

impl Rate {
    /// `count` events in each `period`, all of them at once if need be; `None` for a count of 0, which lifts a
    /// limit. At most one event a microsecond.
    pub fn new(count: u32, period: Duration) -> Option<Self> {
        let period_us = u64::try_from(period.as_micros()).unwrap_or(u64::MAX);
        let interval_us = period_us.checked_div(count.into())?.max(1);
        Some(Rate { count, period, interval_us, burst_us: 0 }.with_burst(count))
    }

    /// So many a second.
    pub fn per_second(count: u32) -> Option<Self> {
        Rate::new(count, Duration::from_secs(1))
    }

    /// So many a minute.
    pub fn per_minute(count: u32) -> Option<Self> {
        Rate::new(count, Duration::from_secs(60))
    }

    /// So many an hour.
    pub fn per_hour(count: u32) -> Option<Self> {
        Rate::new(count, Duration::from_secs(3_600))
    }

    /// The same flow, with `burst` events at once, at least one.
    pub fn with_burst(self, burst: u32) -> Self {
        Rate { burst_us: self.interval_us.saturating_mul(burst.max(1).into()), ..self }
    }

    /// The same flow, with a period's events at once, or `burst` when that is more.
    pub fn with_burst_of_at_least(self, burst: usize) -> Self {
        self.with_burst(u32::try_from(burst).unwrap_or(u32::MAX).max(self.count))
    }

    /// How many in a period.
    pub fn count(self) -> u32 {
        self.count
    }

    /// How long a period is.
    pub fn period(self) -> Duration {
        self.period
    }
}

/// The state of one limit: a bucket of tokens, full at first, shared by all to whom the limit applies.
///
/// Time is what has passed since any fixed moment, always the same one; it never goes back.
#[derive(Debug, Default)]
pub struct RateLimiter {
    /// When the bucket is full again, in µs.
    full_at_us: AtomicU64,
}

impl RateLimiter {
    /// Takes one event at the time `now`.
    ///
    /// # Errors
    /// How long to wait until it would do.
    pub fn take(&self, rate: Rate, now: Duration) -> Result<(), Duration> {
        self.take_several(rate, 1, now)
    }

    /// Takes what counts for `count` events, but no more than may come at once.
    ///
    /// # Errors
    /// How long to wait until it would do.
    pub fn take_several(&self, rate: Rate, count: usize, now: Duration) -> Result<(), Duration> {
        let now_us = micros(now);
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let interval_us = rate.interval_us.saturating_mul(count).min(rate.burst_us);
        let next = |full_at_us: u64| {
            let full_at_us = full_at_us.max(now_us).saturating_add(interval_us);
            (full_at_us - now_us <= rate.burst_us).then_some(full_at_us)
        };
        match self.full_at_us.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) {
            Ok(_) => Ok(()),
            Err(full_at_us) => {
                let allowed_us = now_us.saturating_add(rate.burst_us);
                let wait_us = full_at_us.saturating_add(interval_us).saturating_sub(allowed_us);
                Err(Duration::from_micros(wait_us))
            }
        }
    }

    /// Puts one back that was taken.
    pub fn give_back(&self, rate: Rate) {
        let earlier = |full_at_us: u64| Some(full_at_us.saturating_sub(rate.interval_us));
        // The closure always has a next value.
        let _ = self.full_at_us.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earlier);
    }

    /// Whether one could be taken.
    pub fn has_one(&self, rate: Rate, now: Duration) -> bool {
        let debt_us = self.full_at_us.load(Ordering::Relaxed).saturating_sub(micros(now));
        debt_us.saturating_add(rate.interval_us) <= rate.burst_us
    }

    /// Whether it is as good as a new one.
    pub fn is_full(&self, now: Duration) -> bool {
        self.full_at_us.load(Ordering::Relaxed) <= micros(now)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// How fast one account does things, over all of its sessions.
#[derive(Debug, Default)]
pub struct AccountRates {
    /// Messages that it sends.
    pub messages: RateLimiter,
    /// Rooms that it enters.
    pub joins: RateLimiter,
    /// Rooms that it brings into being.
    pub new_rooms: RateLimiter,
    /// Changes of its password that it tries.
    pub password_changes: RateLimiter,
}

/// The refusal of who was too fast and may go on after so long.
pub fn too_fast(wait: Duration) -> Refusal {
    Refusal::from(ErrorCode::RateLimited).retry_after(wait)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn per_second(count: u32, burst: u32) -> Rate {
        Rate::per_second(count).expect("not zero").with_burst(burst)
    }

    #[test]
    fn a_burst_then_an_even_flow() {
        let rate = per_second(10, 3);
        let limiter = RateLimiter::default();
        let at = Duration::from_millis;
        assert!((0..3).all(|_| limiter.take(rate, at(1_000)).is_ok()));
        assert_eq!(limiter.take(rate, at(1_000)), Err(at(100)));
        assert_eq!(limiter.take(rate, at(1_040)), Err(at(60)));
        assert_eq!(limiter.take(rate, at(1_100)), Ok(()));
        assert!(limiter.take(rate, at(1_100)).is_err());
    }

    #[test]
    fn it_gives_what_it_holds_and_takes_back_what_was_not_used() {
        let (rate, limiter) = (per_second(5, 5), RateLimiter::default());
        let start = Duration::ZERO;
        for _ in 0..5 {
            assert_eq!(limiter.take(rate, start), Ok(()));
        }
        let wait = limiter.take(rate, start).expect_err("empty");
        assert_eq!(wait, Duration::from_millis(200));
        assert!(limiter.take(rate, start + wait - Duration::from_millis(1)).is_err());
        assert!(!limiter.has_one(rate, start) && limiter.has_one(rate, start + wait));
        assert_eq!(limiter.take(rate, start + wait), Ok(()), "the wait that it tells is true");
        limiter.give_back(rate);
        assert_eq!(limiter.take(rate, start + wait), Ok(()));
        assert!(!limiter.is_full(start + wait) && limiter.is_full(start + Duration::from_secs(2)));
    }

    #[test]
    fn what_is_given_back_to_a_full_one_is_no_more_than_full() {
        let (rate, limiter) = (per_second(1, 1), RateLimiter::default());
        (0..10).for_each(|_| limiter.give_back(rate));
        assert_eq!(limiter.take(rate, Duration::from_secs(9)), Ok(()));
        assert!(limiter.take(rate, Duration::from_secs(9)).is_err());
    }

    #[test]
    fn a_minutes_worth_at_once_and_what_is_needed_at_least() {
        let taken = |at_least| {
            let rate = Rate::per_minute(60).expect("not zero").with_burst_of_at_least(at_least);
            let limiter = RateLimiter::default();
            (0..1_000).filter(|_| limiter.take(rate, Duration::from_secs(1)).is_ok()).count()
        };
        assert_eq!(taken(10), 60);
        assert_eq!(taken(500), 500);
    }

    #[test]
    fn what_counts_for_several_takes_as_many_and_never_more_than_there_can_be() {
        let rate = per_second(10, 20);
        let (limiter, at) = (RateLimiter::default(), Duration::from_millis);
        assert_eq!(limiter.take_several(rate, 15, at(1_000)), Ok(()));
        assert_eq!(limiter.take_several(rate, 15, at(1_000)), Err(at(1_000)));
        assert_eq!(limiter.take_several(rate, 5, at(1_000)), Ok(()));
        assert_eq!(limiter.take_several(rate, 1_000, at(3_000)), Ok(()), "as many as may come at once");
    }

    #[test]
    fn zero_lifts_the_limit() {
        assert_eq!(Rate::per_second(0), None);
        assert_eq!(Rate::new(0, Duration::MAX), None);
    }

    proptest! {
        #[test]
        fn never_more_than_the_burst_and_the_flow(steps in prop::collection::vec(0_u64..400, 1..200)) {
            let (flow, burst) = (20, 5);
            let rate = per_second(flow, burst);
            let limiter = RateLimiter::default();
            let (mut now_ms, mut taken) = (0, 0);
            for step in steps {
                now_ms += step;
                match limiter.take(rate, Duration::from_millis(now_ms)) {
                    Ok(()) => taken += 1,
                    Err(wait) => {
                        let then = Duration::from_millis(now_ms) + wait;
                        prop_assert!(limiter.take(rate, then).is_ok(), "the promised time does");
                        now_ms = then.as_millis() as u64 + 1;
                        taken += 1;
                    }
                }
                prop_assert!(taken <= u64::from(burst) + now_ms * u64::from(flow) / 1_000 + 1);
            }
        }
    }
}
