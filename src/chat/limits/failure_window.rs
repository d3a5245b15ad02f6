//! A window over what turned out to be a failure.
//!
//! It is no token bucket: whether one counts is known only when it comes back, a bucket would let twice its
//! count through in a period (a full one, and what flows in meanwhile), and who fails has to wait until the
//! oldest failures are over, all at once.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::rate_limiter::Rate;

/// Slices of a window; what is in one is forgotten together.
const SLICES: u32 = 60;
/// What to wait for those that are in flight.
const IN_FLIGHT_WAIT: Duration = Duration::from_millis(500);

/// Failures of the last period: never more than the rate counts in *any* stretch of that length. What is in
/// flight counts as well, until it is settled one way or the other.
#[derive(Debug, Clone, Default)]
pub struct FailureWindow {
    /// The start of a slice, and how many failed in it; at most [`SLICES`] + 1 of them.
    slices: VecDeque<(Instant, u32)>,
    in_flight: u32,
}

impl FailureWindow {
    /// Lets one try. It has to be settled by [`FailureWindow::failed`] or [`FailureWindow::release`].
    ///
    /// # Errors
    /// When there may be no more: the time until there may.
    pub fn reserve(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        self.expire(rate, now);
        let failures: u32 = self.slices.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count));
        if failures >= rate.count() {
            let oldest = self.slices.front().map_or(now, |(start, _)| *start);
            return Err((oldest + life(rate)).saturating_duration_since(now));
        }
        if failures.saturating_add(self.in_flight) >= rate.count() {
            return Err(IN_FLIGHT_WAIT);
        }
        self.in_flight += 1;
        Ok(())
    }

    /// One that was in flight failed.
    pub fn failed(&mut self, rate: Rate, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let slice = rate.period() / SLICES;
        match self.slices.back_mut() {
            Some((start, count)) if now.saturating_duration_since(*start) < slice => {
                *count = count.saturating_add(1);
            }
            _ => self.slices.push_back((now, 1)),
        }
        self.expire(rate, now);
    }

    /// One that was in flight did not fail, or was not tried.
    pub fn release(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// How long no more may try, because of those that failed; `None` when more may.
    pub fn blocked_for(&self, rate: Rate, now: Instant) -> Option<Duration> {
        let alive = |start: &Instant| *start + life(rate) > now;
        let counting = self.slices.iter().filter(|(start, _)| alive(start));
        let failures: u32 = counting.clone().fold(0, |sum, (_, count)| sum.saturating_add(*count));
        let (oldest, _) = counting.clone().next().filter(|_| failures >= rate.count())?;
        Some((*oldest + life(rate)).saturating_duration_since(now))
    }

    /// Forgets all failures, and tells how many these were. What is in flight stays so.
    pub fn reset(&mut self) -> u32 {
        self.slices.drain(..).fold(0, |sum, (_, count)| sum.saturating_add(count))
    }

    /// Forgets what is over.
    pub fn expire(&mut self, rate: Rate, now: Instant) {
        while self.slices.front().is_some_and(|(start, _)| *start + life(rate) <= now) {
            self.slices.pop_front();
        }
    }

    /// Whether it holds nothing, not even one in flight.
    pub fn is_empty(&self) -> bool {
        self.slices.is_empty() && self.in_flight == 0
    }
}

/// How long a slice counts: what came at its end has to count for the whole time.
fn life(rate: Rate) -> Duration {
    rate.period() + rate.period() / SLICES
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn failures_are_bounded_in_any_stretch() {
        let start = Instant::now();
        let rate = Rate::per_hour(20).expect("a limit");
        let mut window = FailureWindow::default();
        for minute in 0..20 {
            let now = start + Duration::from_secs(minute * 60);
            assert_eq!(window.reserve(rate, now), Ok(()));
            window.failed(rate, now);
        }
        let now = start + Duration::from_secs(3_599);
        let wait = window.reserve(rate, now).expect_err("twenty in the hour");
        assert!(wait >= Duration::from_secs(1) && wait <= Duration::from_secs(62), "{wait:?}");
        assert_eq!(window.reserve(rate, now + wait), Ok(()));
        window.release();
        window.expire(rate, start + Duration::from_secs(9_000));
        assert!(window.is_empty());
    }

    #[test]
    fn what_is_in_flight_counts_until_it_does_not() {
        let now = Instant::now();
        let rate = Rate::per_second(3).expect("a limit");
        let mut window = FailureWindow::default();
        for _ in 0..3 {
            assert_eq!(window.reserve(rate, now), Ok(()));
        }
        assert!(window.reserve(rate, now).is_err());
        window.release();
        assert_eq!(window.reserve(rate, now), Ok(()));
    }

    proptest! {
        #[test]
        fn no_stretch_has_more_failures_than_the_rate(
            steps in prop::collection::vec((0..400_u64, any::<bool>()), 1..200),
            count in 1..10_u32,
        ) {
            let rate = Rate::new(count, Duration::from_secs(6)).expect("a limit");
            let mut now = Instant::now();
            let mut window = FailureWindow::default();
            let mut failures: Vec<Instant> = Vec::new();
            for (millis, fails) in steps {
                now += Duration::from_millis(millis);
                if window.reserve(rate, now).is_ok() {
                    if fails { window.failed(rate, now); failures.push(now); } else { window.release(); }
                }
                let recent = failures.iter().filter(|at| now.duration_since(**at) < Duration::from_secs(6));
                prop_assert!(recent.count() <= count as usize);
            }
        }
    }
}
