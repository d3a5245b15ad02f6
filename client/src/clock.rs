//! The time that the session is told, and its random numbers.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Counts the time that the machine sleeps, and knows nothing of the wall clock. Elsewhere than on Linux the
/// monotonic clock does.
#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: ClockId = ClockId::Monotonic;

/// Time since the program began. It never goes back, does not follow the wall clock when that is set, and
/// counts the time that a laptop slept: a message that was sent before the lid was closed has lost its key.
#[derive(Debug)]
pub struct Clock {
    start: Duration,
}

impl Clock {
    /// A clock that begins now.
    pub fn start() -> Self {
        Clock { start: reading(CLOCK) }
    }

    /// The time since then.
    pub fn now(&self) -> Duration {
        reading(CLOCK).saturating_sub(self.start)
    }
}

fn reading(clock: ClockId) -> Duration {
    // These clocks count from the start of the machine and are never negative.
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

/// Random numbers (SplitMix64) for keys and pauses: no two clients alike, but nothing secret.
///
/// # Errors
/// When the system gives no seed.
pub fn random() -> Result<impl FnMut() -> u64, getrandom::Error> {
    let mut state = getrandom::u64()?;
    Ok(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back() {
        let clock = Clock::start();
        let mut last = clock.now();
        for _ in 0..1_000 {
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
    }

    #[test]
    fn numbers_differ() {
        let mut random = random().expect("this system has randomness");
        let numbers: std::collections::BTreeSet<u64> = (0..10_000).map(|_| random()).collect();
        assert_eq!(numbers.len(), 10_000);
    }
}
