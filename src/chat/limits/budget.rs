//! How much of something may be done in a time: token buckets, windows, and bounded maps of them.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

/// So many in such a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    per: Duration,
}

impl Rate {
    /// `count` in the time `per`; `None` when `count` is 0, which lifts a limit.
    pub fn new(count: u32, per: Duration) -> Option<Self> {
        (count > 0).then_some(Rate { count, per })
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

    /// How many.
    pub fn count(self) -> u32 {
        self.count
    }

    fn interval(self) -> Duration {
        self.per / self.count
    }
}

/// Whether something holds nothing that is worth remembering any more.
pub trait Idle {
    /// Whether it is as good as a new one.
    fn is_idle(&self, now: Instant) -> bool;
}

/// A token bucket: it holds as many as its rate counts, and fills at that rate. It is one moment large: the
/// one at which it is full again.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    full_at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub fn full(now: Instant) -> Self {
        Bucket { full_at: now }
    }

    /// Takes one.
    ///
    /// # Errors
    /// When it is empty: the time until the next one.
    pub fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let full_at = self.full_at.max(now) + rate.interval();
        let debt = full_at.saturating_duration_since(now);
        if debt > rate.per {
            return Err(debt - rate.per);
        }
        self.full_at = full_at;
        Ok(())
    }

    /// Whether one could be taken.
    pub fn has_one(&self, rate: Rate, now: Instant) -> bool {
        (*self).clone().take(rate, now).is_ok()
    }

    /// Puts one back.
    pub fn give_back(&mut self, rate: Rate) {
        self.full_at = self.full_at.checked_sub(rate.interval()).unwrap_or(self.full_at);
    }
}

impl Idle for Bucket {
    fn is_idle(&self, now: Instant) -> bool {
        self.full_at <= now
    }
}

/// Slices of a window; what is in one is forgotten together.
const SLICES: u32 = 60;
/// What to wait for those that are on their way.
const IN_FLIGHT_WAIT: Duration = Duration::from_millis(500);

/// A window that counts what turned out to count: never more than the rate in *any* stretch of its time.
/// What is on its way counts as well, until it is settled one way or the other.
#[derive(Debug, Clone, Default)]
pub struct Window {
    /// The start of a slice, and what was counted in it; at most [`SLICES`] + 1 of them.
    slices: VecDeque<(Instant, u32)>,
    in_flight: u32,
}

impl Window {
    /// Lets one go on its way. It has to be settled by [`Window::counts`] or [`Window::does_not_count`].
    ///
    /// # Errors
    /// When there may be no more: the time until there may.
    pub fn reserve(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        self.forget(rate, now);
        let counted: u32 = self.slices.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count));
        if counted >= rate.count {
            let oldest = self.slices.front().map_or(now, |(start, _)| *start);
            return Err((oldest + Self::life(rate)).saturating_duration_since(now));
        }
        if counted.saturating_add(self.in_flight) >= rate.count {
            return Err(IN_FLIGHT_WAIT);
        }
        self.in_flight += 1;
        Ok(())
    }

    /// One that was on its way counts.
    pub fn counts(&mut self, rate: Rate, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let slice = rate.per / SLICES;
        match self.slices.back_mut() {
            Some((start, count)) if now.saturating_duration_since(*start) < slice => {
                *count = count.saturating_add(1);
            }
            _ => self.slices.push_back((now, 1)),
        }
        self.forget(rate, now);
    }

    /// One that was on its way does not count.
    pub fn does_not_count(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// How long no more are let go, because of those that count; `None` when more may go.
    pub fn is_used_up_for(&self, rate: Rate, now: Instant) -> Option<Duration> {
        let alive = |start: &Instant| *start + Self::life(rate) > now;
        let counting = self.slices.iter().filter(|(start, _)| alive(start));
        let counted: u32 = counting.clone().fold(0, |sum, (_, count)| sum.saturating_add(*count));
        let (oldest, _) = counting.clone().next().filter(|_| counted >= rate.count)?;
        Some((*oldest + Self::life(rate)).saturating_duration_since(now))
    }

    /// Forgets what counted, and tells how many these were. What is on its way stays so.
    pub fn forgive(&mut self) -> u32 {
        self.slices.drain(..).fold(0, |sum, (_, count)| sum.saturating_add(count))
    }

    /// Forgets what is over.
    pub fn forget(&mut self, rate: Rate, now: Instant) {
        while self.slices.front().is_some_and(|(start, _)| *start + Self::life(rate) <= now) {
            self.slices.pop_front();
        }
    }

    /// Whether it holds nothing, not even one on its way.
    pub fn is_empty(&self) -> bool {
        self.slices.is_empty() && self.in_flight == 0
    }

    /// How long a slice counts: what came at its end has to count for the whole time.
    fn life(rate: Rate) -> Duration {
        rate.per + rate.per / SLICES
    }
}

/// Buckets by key, bounded. When all places are taken by buckets that are not idle, the strangers share one.
#[derive(Debug)]
pub struct Buckets<K> {
    rate: Option<Rate>,
    max_entries: usize,
    entries: HashMap<K, Bucket>,
    shared: Option<Bucket>,
    swept_at: Option<Instant>,
}

/// How often a full map is swept, at most.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

impl<K: Hash + Eq> Buckets<K> {
    /// Buckets of this rate, `None` for no limit; at most `max_entries` of them.
    pub fn new(rate: Option<Rate>, max_entries: usize) -> Self {
        Buckets { rate, max_entries, entries: HashMap::new(), shared: None, swept_at: None }
    }

    /// Takes one from the key's bucket.
    ///
    /// # Errors
    /// When it is empty: the time until the next one.
    pub fn take(&mut self, key: K, now: Instant) -> Result<(), Duration> {
        let Some(rate) = self.rate else { return Ok(()) };
        if !self.entries.contains_key(&key) && self.entries.len() >= self.max_entries {
            self.sweep_sometimes(now);
        }
        if self.entries.len() >= self.max_entries && !self.entries.contains_key(&key) {
            return self.shared.get_or_insert(Bucket::full(now)).take(rate, now);
        }
        self.entries.entry(key).or_insert(Bucket::full(now)).take(rate, now)
    }

    /// Puts one back into the key's bucket.
    pub fn give_back(&mut self, key: &K) {
        let Some(rate) = self.rate else { return };
        if let Some(bucket) = self.entries.get_mut(key).or(self.shared.as_mut()) {
            bucket.give_back(rate);
        }
    }

    /// Forgets the buckets that are full.
    pub fn sweep(&mut self, now: Instant) {
        self.swept_at = Some(now);
        self.entries.retain(|_, bucket| !bucket.is_idle(now));
    }

    /// The keys whose buckets are empty.
    pub fn used_up(&self, now: Instant) -> impl Iterator<Item = &K> {
        let empty = move |bucket: &Bucket| self.rate.is_some_and(|rate| !bucket.has_one(rate, now));
        self.entries.iter().filter(move |(_, bucket)| empty(bucket)).map(|(key, _)| key)
    }

    /// How many buckets there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn sweep_sometimes(&mut self, now: Instant) {
        let due = self.swept_at.is_none_or(|at| now.saturating_duration_since(at) >= SWEEP_EVERY);
        if due {
            self.sweep(now);
        }
    }
}

/// What counts as one address: an IPv4 address, or a /64 of IPv6, which is what one customer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressKey {
    /// An IPv4 address, also one that is written as IPv6 (`::ffff:192.0.2.1`).
    V4(Ipv4Addr),
    /// The upper half of an IPv6 address.
    V6(u64),
}

impl fmt::Display for AddressKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddressKey::V4(address) => address.fmt(f),
            AddressKey::V6(half) => write!(f, "{}/64", Ipv6Addr::from(u128::from(*half) << 64)),
        }
    }
}

impl AddressKey {
    /// The key of an address.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => AddressKey::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                let half = [a, b, c, d].iter().fold(0, |half, part| half << 16 | u64::from(*part));
                AddressKey::V6(half)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn per_second(count: u32) -> Rate {
        Rate::per_second(count).expect("a limit")
    }

    #[test]
    fn a_bucket_gives_what_it_holds_and_then_at_its_rate() {
        let start = Instant::now();
        let rate = per_second(5);
        let mut bucket = Bucket::full(start);
        for _ in 0..5 {
            assert_eq!(bucket.take(rate, start), Ok(()));
        }
        let wait = bucket.take(rate, start).expect_err("empty");
        assert_eq!(wait, Duration::from_millis(200));
        assert!(bucket.take(rate, start + wait - Duration::from_millis(1)).is_err());
        assert!(bucket.has_one(rate, start + wait));
        assert_eq!(bucket.take(rate, start + wait), Ok(()), "the wait that it tells is true");
        bucket.give_back(rate);
        assert_eq!(bucket.take(rate, start + wait), Ok(()));
        assert!(!bucket.is_idle(start + wait) && bucket.is_idle(start + Duration::from_secs(2)));
    }

    #[test]
    fn what_counts_is_bounded_in_any_stretch() {
        let start = Instant::now();
        let rate = Rate::per_hour(20).expect("a limit");
        let mut window = Window::default();
        for minute in 0..20 {
            let now = start + Duration::from_secs(minute * 60);
            assert_eq!(window.reserve(rate, now), Ok(()));
            window.counts(rate, now);
        }
        let now = start + Duration::from_secs(3_599);
        let wait = window.reserve(rate, now).expect_err("twenty in the hour");
        assert!(wait >= Duration::from_secs(1) && wait <= Duration::from_secs(62), "{wait:?}");
        assert_eq!(window.reserve(rate, now + wait), Ok(()));
        window.does_not_count();
        window.forget(rate, start + Duration::from_secs(9_000));
        assert!(window.is_empty());
    }

    #[test]
    fn what_is_on_its_way_counts_until_it_does_not() {
        let now = Instant::now();
        let rate = per_second(3);
        let mut window = Window::default();
        for _ in 0..3 {
            assert_eq!(window.reserve(rate, now), Ok(()));
        }
        assert!(window.reserve(rate, now).is_err());
        window.does_not_count();
        assert_eq!(window.reserve(rate, now), Ok(()));
    }

    #[test]
    fn a_full_map_forgets_what_is_idle_and_shares_the_rest() {
        let now = Instant::now();
        let mut buckets = Buckets::new(Rate::per_second(1), 3);
        for key in 0..3 {
            assert_eq!(buckets.take(key, now), Ok(()));
        }
        assert_eq!(buckets.take(3, now), Ok(()), "the shared one");
        assert!(buckets.take(4, now).is_err(), "is empty for the next");
        assert!(buckets.take(0, now).is_err(), "and those that have their own keep it");
        let later = now + Duration::from_secs(2);
        assert_eq!(buckets.take(4, later), Ok(()));
        assert_eq!(buckets.len(), 1);
        let mut lifted = Buckets::new(Rate::per_second(0), 1);
        assert!((0..1_000).all(|key| lifted.take(key, now).is_ok()) && lifted.is_empty());
    }

    #[test]
    fn a_customer_is_one_address() {
        let key = |text: &str| AddressKey::of(text.parse().expect("an address"));
        assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
    }

    proptest! {
        #[test]
        fn no_stretch_of_a_window_has_more_than_its_rate(
            steps in prop::collection::vec((0..400_u64, any::<bool>()), 1..200),
            count in 1..10_u32,
        ) {
            let rate = Rate::new(count, Duration::from_secs(6)).expect("a limit");
            let mut now = Instant::now();
            let mut window = Window::default();
            let mut counted: Vec<Instant> = Vec::new();
            for (millis, counts) in steps {
                now += Duration::from_millis(millis);
                if window.reserve(rate, now).is_ok() {
                    if counts { window.counts(rate, now); counted.push(now); } else { window.does_not_count(); }
                }
                let recent = counted.iter().filter(|at| now.duration_since(**at) < Duration::from_secs(6));
                prop_assert!(recent.count() <= count as usize);
            }
        }
    }
}
