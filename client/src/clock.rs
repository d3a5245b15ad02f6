//! The time that the session is told, and its random numbers.

use std::time::{Duration, Instant, SystemTime};

/// Time since the program began. It never goes back, and it counts the time that a laptop slept (the
/// monotonic clock may not): a message that was sent before the lid was closed has lost its key.
#[derive(Debug)]
pub struct Clock {
    now: Duration,
    steady: Instant,
    wall: SystemTime,
}

impl Clock {
    /// A clock that begins now.
    pub fn start() -> Self {
        Clock { now: Duration::ZERO, steady: Instant::now(), wall: SystemTime::now() }
    }

    /// The time since then.
    pub fn now(&mut self) -> Duration {
        let (steady, wall) = (Instant::now(), SystemTime::now());
        let by_wall = wall.duration_since(self.wall).unwrap_or_default();
        self.now += steady.duration_since(self.steady).max(by_wall);
        (self.steady, self.wall) = (steady, wall);
        self.now
    }
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
        let mut clock = Clock::start();
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
