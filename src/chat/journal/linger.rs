//! Whether a batch for the disk waits for company.
//!
//! To force one message to the disk costs as much as to force sixteen. While the disk is slow, batches grow by
//! themselves. On a fast one, messages that come half a millisecond apart are forced one by one, and a busy
//! server spends more on that than on delivering them. There it pays to let a small gap lie between the
//! beginnings of two batches.
//!
//! It does not pay where people, or programs, take turns: where each message is said because the one before
//! has arrived, nothing comes while a batch waits, and everybody is held up. From here both look alike, so it
//! is *tried*: for a moment batches wait, and if fewer messages come than before, or no more to a batch, they
//! wait no longer, and it is tried again later and later.
//!
//! Simpler rules were measured and cost more (`docs/performance.md`): to wait always, to wait behind a batch
//! that had company, to stop for a while when nothing came. Each holds up those who wait for each other.

use std::time::Duration;

/// How long is counted before anything is decided.
const WINDOW: Duration = Duration::from_millis(64);
/// A batch of this many messages waits for no more.
const ENOUGH: usize = 16;
/// Where batches have more messages than this by themselves, it is not tried: there is little to be saved.
const FEW: f64 = 4.0;
/// Waiting has to bring this many messages to a batch.
const WORTH: f64 = 1.5;
/// Of the messages that came while no batch waited, this part has to come while they do.
const STEADY: f64 = 0.75;
/// How long batches wait before it is looked again at how many messages come when they do not.
const HOLD: Duration = Duration::from_secs(2);
/// The time before the first, and at most before the next, attempt after one that brought nothing.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(64));

/// What is known of the last batches. Times are those of one clock of the caller's, which never goes back.
#[derive(Debug)]
pub struct Linger {
    gap: Duration,
    mode: Mode,
    last_began: Duration,
    window_began: Duration,
    messages: usize,
    batches: usize,
    try_from: Duration,
    retry: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    /// Every batch begins as soon as the disk is free.
    Free,
    /// Batches wait.
    Holding { since: Duration, messages_a_second_before: f64 },
}

impl Linger {
    /// Batches that may wait until `gap` after the one before began; with zero, none ever waits.
    pub fn new(gap: Duration) -> Self {
        Linger {
            gap,
            mode: Mode::Free,
            last_began: Duration::ZERO,
            window_began: Duration::ZERO,
            messages: 0,
            batches: 0,
            try_from: Duration::ZERO,
            retry: RETRY.0,
        }
    }

    /// How much longer a batch of so many messages waits for company.
    pub fn waits(&self, now: Duration, messages: usize) -> Duration {
        match self.mode {
            Mode::Holding { .. } if messages < ENOUGH => (self.last_began + self.gap).saturating_sub(now),
            _ => Duration::ZERO,
        }
    }

    /// A batch of so many messages begins.
    pub fn began(&mut self, now: Duration, messages: usize) {
        self.last_began = now;
        self.messages += messages;
        self.batches += 1;
        let passed = now.saturating_sub(self.window_began);
        if passed < WINDOW {
            return;
        }
        let messages_a_second = self.messages as f64 / passed.as_secs_f64();
        let to_a_batch = self.messages as f64 / self.batches as f64;
        let often = passed < 2 * self.gap * u32::try_from(self.batches).unwrap_or(u32::MAX);
        (self.window_began, self.messages, self.batches) = (now, 0, 0);
        match self.mode {
            Mode::Free if now >= self.try_from && often && to_a_batch < FEW => {
                self.mode = Mode::Holding { since: now, messages_a_second_before: messages_a_second };
            }
            Mode::Free => {}
            Mode::Holding { messages_a_second_before, .. }
                if to_a_batch < WORTH || messages_a_second < STEADY * messages_a_second_before =>
            {
                self.mode = Mode::Free;
                self.try_from = now + self.retry;
                self.retry = (self.retry * 2).min(RETRY.1);
            }
            Mode::Holding { since, .. } if now.saturating_sub(since) > HOLD => {
                // It has paid so far. One window of counting without, and on.
                self.mode = Mode::Free;
                self.try_from = now;
                self.retry = RETRY.0;
            }
            Mode::Holding { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: Duration = Duration::from_millis(1);
    const DISK: Duration = Duration::from_micros(40);

    /// Lets the disk work for ten seconds. `arrived` tells how many messages have come by a time, given how
    /// many have been stored. Gives how many were stored, and in how many batches.
    fn ten_seconds(arrived: impl Fn(Duration, usize) -> usize) -> (usize, usize) {
        let mut linger = Linger::new(GAP);
        let (mut now, mut stored, mut batches) = (Duration::ZERO, 0, 0);
        while now < Duration::from_secs(10) {
            let waiting = arrived(now, stored) - stored;
            if waiting == 0 {
                now += Duration::from_micros(10);
                continue;
            }
            let wait = linger.waits(now, waiting);
            if !wait.is_zero() {
                now += wait.min(Duration::from_micros(10));
                continue;
            }
            linger.began(now, waiting);
            now += DISK;
            stored += waiting;
            batches += 1;
        }
        (stored, batches)
    }

    fn every(gap: Duration) -> impl Fn(Duration, usize) -> usize {
        move |now, _| (now.as_nanos() / gap.as_nanos()) as usize
    }

    #[test]
    fn a_steady_stream_is_stored_in_fewer_batches() {
        let (stored, batches) = ten_seconds(every(Duration::from_micros(400)));
        assert!(stored > 24_900, "all that came: {stored}");
        assert!(batches < stored * 6 / 10, "{batches} batches for {stored} messages");
    }

    #[test]
    fn those_who_take_turns_are_hardly_held_up() {
        for talkers in [1, 2, 8] {
            // So many messages are on the way at any time; the next ones come when these are stored.
            let (stored, _) = ten_seconds(|_, stored| stored / talkers * talkers + talkers);
            let free = 10_000_000 / 40 * talkers;
            assert!(stored > free * 9 / 10, "{talkers}: {stored} of {free}");
        }
    }

    #[test]
    fn a_quiet_room_is_never_held_up() {
        let mut linger = Linger::new(GAP);
        for message in 1..1_000 {
            let now = Duration::from_millis(5) * message;
            assert_eq!(linger.waits(now, 1), Duration::ZERO);
            linger.began(now, 1);
        }
    }

    #[test]
    fn large_batches_need_no_gap() {
        // 64 at a time: nothing waits for more.
        let (stored, batches) = ten_seconds(|_, stored| stored + 64);
        assert_eq!((stored, batches), (250_000 * 64, 250_000));
    }

    #[test]
    fn without_a_gap_none_waits() {
        let mut linger = Linger::new(Duration::ZERO);
        for message in 0..100_000 {
            let now = Duration::from_micros(50) * message;
            assert_eq!(linger.waits(now, 1), Duration::ZERO);
            linger.began(now, 1);
        }
    }
}
