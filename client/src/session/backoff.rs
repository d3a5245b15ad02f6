//! How long to wait before the next attempt to connect: half a second, doubled up to half a minute, each
//! shortened at random, so that the clients of a server that restarts do not come back all at once.

use std::time::Duration;

/// The first pause.
const FIRST: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(30);

/// The pauses between attempts to connect.
#[derive(Debug, Default)]
pub struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The next pause, between half of its nominal length and all of it.
    pub fn next(&mut self, random: u64) -> Duration {
        let nominal = FIRST.saturating_mul(1 << self.attempts.min(6)).min(LONGEST);
        self.attempts = self.attempts.saturating_add(1);
        let half_ms = u64::try_from(nominal.as_millis() / 2).unwrap_or(u64::MAX).max(1);
        Duration::from_millis(half_ms + random % half_ms)
    }

    /// The connection is good again.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_bound() {
        let mut backoff = Backoff::default();
        for nominal_ms in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000] {
            let pause = backoff.next(u64::MAX).as_millis();
            assert!(nominal_ms / 2 <= pause && pause <= nominal_ms, "{pause} of {nominal_ms}");
        }
        backoff.reset();
        assert!(backoff.next(0) <= FIRST);
    }
}
