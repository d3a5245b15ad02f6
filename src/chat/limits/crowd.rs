//! Whose turn it is among those who have no session: all of them together get a share of their thread's time.
//!
//! What a stranger may cost cannot be told by frames or bytes alone, so it is the time that their turns took
//! that is bounded: when it is used up, the next turn waits. Nobody is refused for that. Whoever is new goes
//! first, so that a newcomer's `login` does not stand behind a thousand who pour; those who have had more
//! wait in turn; and those whose frame is large wait until there is memory for all of it.

use std::collections::VecDeque;
use std::time::Duration;

/// How long the share may lie unused and still be had at once.
const SAVED: Duration = Duration::from_millis(10);

/// What a turn can have taken: one that seems to have taken longer was interrupted.
const LONGEST: Duration = Duration::from_millis(5);

/// Where someone waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Before all others: whoever has hardly had anything.
    New,
    /// In turn.
    Known,
    /// Until a frame of this many bytes may be kept.
    Large(usize),
}

/// Who goes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// This one, now.
    Now(T),
    /// Someone, after this time.
    After(Duration),
    /// Nobody waits, or nobody who could go.
    Nobody,
}

/// The strangers of one thread that wait for their turn. Times are since any fixed moment.
#[derive(Debug)]
pub struct Crowd<T> {
    /// Percent of the thread's time; `None` when there is no bound.
    share_percent: Option<u32>,
    /// Until when the time that they have used is paid for.
    paid_at: Duration,
    new: VecDeque<T>,
    known: VecDeque<T>,
    large: VecDeque<(T, usize)>,
    /// What incomplete frames may hold, and what is kept free for those that are being read.
    most_bytes: usize,
    kept_bytes: usize,
}

impl<T> Crowd<T> {
    /// Nobody yet. `share_percent` of 0 lifts the bound on time; large frames may hold `most_bytes` together.
    pub fn new(share_percent: u32, most_bytes: usize) -> Self {
        Crowd {
            share_percent: (share_percent != 0).then_some(share_percent),
            paid_at: Duration::ZERO,
            new: VecDeque::new(),
            known: VecDeque::new(),
            large: VecDeque::new(),
            most_bytes,
            kept_bytes: 0,
        }
    }

    /// Whether someone who comes now has a turn at once: nobody is before it, and there is time.
    pub fn is_free(&self, lane: Lane, now: Duration) -> bool {
        let nobody_before = match lane {
            Lane::New => self.new.is_empty(),
            Lane::Known => self.new.is_empty() && self.known.is_empty(),
            Lane::Large(_) => false,
        };
        nobody_before && self.wait(now).is_none()
    }

    /// Puts someone at the end of a lane.
    pub fn queue(&mut self, who: T, lane: Lane) {
        match lane {
            Lane::New => self.new.push_back(who),
            Lane::Known => self.known.push_back(who),
            Lane::Large(bytes) => self.large.push_back((who, bytes)),
        }
    }

    /// Takes the one whose turn it is.
    pub fn next(&mut self, now: Duration) -> Next<T> {
        let fits = self.large.front().is_some_and(|(_, bytes)| self.fits(*bytes));
        if self.new.is_empty() && self.known.is_empty() && !fits {
            return Next::Nobody;
        }
        if let Some(wait) = self.wait(now) {
            return Next::After(wait);
        }
        let large = |crowd: &mut Self| if fits { crowd.large.pop_front().map(|(who, _)| who) } else { None };
        let next = self.new.pop_front().or_else(|| large(self)).or_else(|| self.known.pop_front());
        next.map_or(Next::Nobody, Next::Now)
    }

    /// Takes those of the new whom `take` takes; the others keep their places.
    pub fn extract<U>(&mut self, take: impl Fn(T) -> Result<U, T>) -> Vec<U> {
        let mut taken = Vec::new();
        for who in std::mem::take(&mut self.new) {
            match take(who) {
                Ok(who) => taken.push(who),
                Err(who) => self.new.push_back(who),
            }
        }
        taken
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.new.is_empty() && self.known.is_empty() && self.large.is_empty()
    }

    /// Counts the time that a turn took.
    pub fn charge(&mut self, took: Duration, now: Duration) {
        if let Some(percent) = self.share_percent {
            let costs = took.min(LONGEST).saturating_mul(100) / percent;
            self.paid_at = self.paid_at.max(now.saturating_sub(SAVED)).saturating_add(costs);
        }
    }

    /// Keeps room for a frame of so many bytes; whether there is. One that is alone always fits.
    pub fn keep(&mut self, bytes: usize) -> bool {
        let fits = self.fits(bytes);
        if fits {
            self.kept_bytes += bytes;
        }
        fits
    }

    /// Gives the room back.
    pub fn release(&mut self, bytes: usize) {
        self.kept_bytes = self.kept_bytes.saturating_sub(bytes);
    }

    fn fits(&self, bytes: usize) -> bool {
        self.kept_bytes == 0 || self.kept_bytes.saturating_add(bytes) <= self.most_bytes
    }

    fn wait(&self, now: Duration) -> Option<Duration> {
        self.share_percent?;
        self.paid_at.checked_sub(now).filter(|wait| !wait.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_new_go_before_the_known_and_the_known_in_turn() {
        let mut crowd = Crowd::new(20, 0);
        for who in 0..3 {
            crowd.queue(who, Lane::Known);
        }
        crowd.queue(10, Lane::New);
        crowd.queue(11, Lane::New);
        assert!(!crowd.is_free(Lane::New, ms(0)) && !crowd.is_free(Lane::Known, ms(0)));
        let order: Vec<_> = std::iter::from_fn(|| match crowd.next(ms(0)) {
            Next::Now(who) => Some(who),
            _ => None,
        })
        .collect();
        assert_eq!(order, [10, 11, 0, 1, 2]);
        assert!(crowd.is_empty() && crowd.is_free(Lane::Known, ms(0)));
    }

    #[test]
    fn when_the_share_is_used_up_the_next_waits_and_nobody_is_forgotten() {
        let mut crowd = Crowd::new(20, 0);
        // Ten milliseconds are saved: a turn of two costs them.
        crowd.charge(ms(2), ms(1_000));
        assert!(crowd.is_free(Lane::New, ms(1_000)));
        crowd.charge(ms(1), ms(1_000));
        crowd.queue("one", Lane::New);
        assert_eq!(crowd.next(ms(1_000)), Next::After(ms(5)));
        assert_eq!(crowd.next(ms(1_005)), Next::Now("one"));
        assert_eq!(crowd.next(ms(1_005)), Next::Nobody);
        crowd.charge(Duration::from_secs(3_600), ms(2_000));
        assert!(crowd.is_free(Lane::New, ms(2_025)), "the machine slept");
        let mut lifted = Crowd::<()>::new(0, 0);
        lifted.charge(ms(1_000_000), ms(1));
        assert!(lifted.is_free(Lane::New, ms(1)));
    }

    #[test]
    fn large_frames_wait_for_memory_and_small_ones_do_not() {
        let mut crowd = Crowd::new(20, 100);
        assert!(crowd.keep(60) && !crowd.keep(60));
        crowd.queue("large", Lane::Large(60));
        assert_eq!(crowd.next(ms(0)), Next::Nobody);
        crowd.queue("small", Lane::Known);
        assert_eq!(crowd.next(ms(0)), Next::Now("small"));
        crowd.release(60);
        assert_eq!(crowd.next(ms(0)), Next::Now("large"));
        assert!(crowd.keep(1_000), "one that is alone may be larger than the bound");
        assert!(!crowd.keep(1));
    }

    proptest! {
        #[test]
        fn they_never_get_more_than_their_share(
            percent in 1_u32..=100, turns in prop::collection::vec((1_u64..3_000, 0_u64..5_000), 1..200),
        ) {
            let mut crowd = Crowd::<()>::new(percent, 0);
            let start = Duration::from_secs(1);
            let (mut now, mut used, mut longest) = (start, Duration::ZERO, Duration::ZERO);
            for (took_us, idle_us) in turns {
                crowd.queue((), Lane::Known);
                if let Next::After(wait) = crowd.next(now) {
                    now += wait;
                    prop_assert_eq!(crowd.next(now), Next::Now(()), "the wait that it tells is true");
                }
                let took = Duration::from_micros(took_us);
                now += took;
                crowd.charge(took, now);
                used += took;
                longest = longest.max(took);
                let share = (now - start + SAVED) * percent / 100 + longest;
                prop_assert!(used <= share + Duration::from_micros(1), "{used:?} of {share:?}");
                now += Duration::from_micros(idle_us);
            }
        }
    }
}
