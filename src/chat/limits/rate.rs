//! How fast is too fast: the generic cell rate algorithm (ITU-T I.371), one word of state.
//!
//! It is the token bucket told backwards: instead of tokens it keeps the time at which the next event would
//! arrive if all came evenly. An account's sessions live on several threads and share one; the word is
//! atomic, so nobody waits for anybody.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::model::{ErrorCode, Refusal};

/// How many events a second, and how many of them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    interval_us: u64,
    burst_us: u64,
}

impl Pace {
    /// `per_second` events a second, up to `burst` of them at once. `None` for 0, which lifts the limit.
    pub fn per_second(per_second: u32, burst: u32) -> Option<Self> {
        Self::every(Duration::from_secs(1), per_second, burst)
    }

    /// `per_minute` events a minute, and all of them at once, or `at_least` when that is more. `None` for 0.
    pub fn per_minute(per_minute: u32, at_least: usize) -> Option<Self> {
        let at_least = u32::try_from(at_least).unwrap_or(u32::MAX);
        Self::every(Duration::from_secs(60), per_minute, per_minute.max(at_least))
    }

    /// `count` events in each `period`, up to `burst` of them at once. `None` for a count of 0.
    pub fn every(period: Duration, count: u32, burst: u32) -> Option<Self> {
        let interval_us = u64::try_from(period.as_micros()).ok()?.checked_div(count.into())?.max(1);
        Some(Pace { interval_us, burst_us: interval_us.saturating_mul(burst.max(1).into()) })
    }
}

/// The state of one limit, shared by all to whom it applies.
#[derive(Debug, Default)]
pub struct SharedRate {
    /// When the next event is due if all came evenly, in µs of the caller's clock.
    due_us: AtomicU64,
}

impl SharedRate {
    /// Takes one event at the time `now` (since any fixed moment; it never goes back).
    ///
    /// # Errors
    /// How long to wait until it would do.
    pub fn take(&self, pace: Pace, now: Duration) -> Result<(), Duration> {
        self.take_several(pace, 1, now)
    }

    /// Takes what counts for `count` events, but no more than may come at once.
    ///
    /// # Errors
    /// How long to wait until it would do.
    pub fn take_several(&self, pace: Pace, count: usize, now: Duration) -> Result<(), Duration> {
        let now_us = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let interval_us = pace.interval_us.saturating_mul(count).min(pace.burst_us);
        let next = |due_us: u64| {
            let due_us = due_us.max(now_us).saturating_add(interval_us);
            (due_us - now_us <= pace.burst_us).then_some(due_us)
        };
        match self.due_us.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) {
            Ok(_) => Ok(()),
            Err(due_us) => {
                let wait_us = (due_us + interval_us).saturating_sub(now_us.saturating_add(pace.burst_us));
                Err(Duration::from_micros(wait_us))
            }
        }
    }
}

/// How fast one account does things, over all of its sessions.
#[derive(Debug, Default)]
pub struct AccountRates {
    /// Messages that it sends.
    pub messages: SharedRate,
    /// Rooms that it enters.
    pub joins: SharedRate,
    /// Rooms that it brings into being.
    pub new_rooms: SharedRate,
    /// Changes of its password that it tries.
    pub password_changes: SharedRate,
}

/// The refusal of who was too fast and may go on after so long.
pub fn too_fast(wait: Duration) -> Refusal {
    Refusal::from(ErrorCode::RateLimited).retry_after(wait)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_burst_then_an_even_flow() {
        let pace = Pace::per_second(10, 3).expect("not zero");
        let rate = SharedRate::default();
        let at = Duration::from_millis;
        assert!((0..3).all(|_| rate.take(pace, at(1_000)).is_ok()));
        assert_eq!(rate.take(pace, at(1_000)), Err(at(100)));
        assert_eq!(rate.take(pace, at(1_040)), Err(at(60)));
        assert_eq!(rate.take(pace, at(1_100)), Ok(()));
        assert!(rate.take(pace, at(1_100)).is_err());
    }

    #[test]
    fn a_minutes_worth_at_once_and_what_is_needed_at_least() {
        let taken = |pace: Pace| {
            let rate = SharedRate::default();
            (0..1_000).filter(|_| rate.take(pace, Duration::from_secs(1)).is_ok()).count()
        };
        assert_eq!(Pace::per_minute(60, 10).map(taken), Some(60));
        assert_eq!(Pace::per_minute(60, 500).map(taken), Some(500));
        assert_eq!(Pace::per_minute(0, 500), None);
    }

    #[test]
    fn what_counts_for_several_takes_as_many_and_never_more_than_there_can_be() {
        let pace = Pace::per_second(10, 20).expect("not zero");
        let (rate, at) = (SharedRate::default(), Duration::from_millis);
        assert_eq!(rate.take_several(pace, 15, at(1_000)), Ok(()));
        assert_eq!(rate.take_several(pace, 15, at(1_000)), Err(at(1_000)));
        assert_eq!(rate.take_several(pace, 5, at(1_000)), Ok(()));
        assert_eq!(rate.take_several(pace, 1_000, at(3_000)), Ok(()), "as many as may come at once");
    }

    #[test]
    fn zero_lifts_the_limit() {
        assert_eq!(Pace::per_second(0, 5), None);
    }

    proptest! {
        #[test]
        fn never_more_than_the_burst_and_the_flow(steps in prop::collection::vec(0_u64..400, 1..200)) {
            let (per_second, burst) = (20, 5);
            let pace = Pace::per_second(per_second, burst).expect("not zero");
            let rate = SharedRate::default();
            let (mut now_ms, mut taken) = (0, 0);
            for step in steps {
                now_ms += step;
                match rate.take(pace, Duration::from_millis(now_ms)) {
                    Ok(()) => taken += 1,
                    Err(wait) => {
                        let then = Duration::from_millis(now_ms) + wait;
                        prop_assert!(rate.take(pace, then).is_ok(), "the promised time does");
                        now_ms = then.as_millis() as u64 + 1;
                        taken += 1;
                    }
                }
                prop_assert!(taken <= u64::from(burst) + now_ms * u64::from(per_second) / 1_000 + 1);
            }
        }
    }
}
