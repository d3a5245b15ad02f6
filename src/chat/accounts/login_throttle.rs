//! Who may try a password, and what a person is told when they are in.
//!
//! The [`LoginThrottle`] stands before the hash. It knows three budgets: of attempts from an address, of new accounts
//! from an address, and of wrong guesses at an account. The last is one for all addresses that the account
//! does not know, one for each that it was opened from before, and one for each device that shows a token that
//! it had: so neither whoever guesses from elsewhere nor a neighbour behind the same address can lock the
//! owner out. Every attempt that is let through is settled, and one that was right costs nothing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::chat::limits::address_key::AddressKey;
use crate::chat::limits::failure_window::FailureWindow;
use crate::chat::limits::keyed_rate_limiter::KeyedRateLimiter;
use crate::chat::limits::rate_limiter::Rate;
use crate::config::Limits;
use crate::model::refusal::wait_ms;
use crate::model::{ErrorCode, Refusal, Timestamp, UserName};

/// Addresses with a budget, at most; more share one.
const MAX_ADDRESSES: usize = 100_000;
/// Names of no account that someone guesses at, at most; more share one budget.
const MAX_STRANGERS: usize = 100_000;

/// Whose wrong guesses are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Guessed {
    /// Those at an account (its row), from all addresses that it does not know.
    Account(u64),
    /// Those at an account from an address that it was opened from before.
    FromKnown(u64, AddressKey),
    /// Those at an account by a device that was in before: the number of the session that it had, whatever
    /// token of it is shown, so that a new token brings no new budget.
    FromDevice(u64, u64),
    /// Those at a name that is no account.
    Nobody(UserName),
    /// Those at such names when there are too many of them.
    Crowd,
}

/// A wait beyond this is for an account that was guessed at, in milliseconds: an address waits for a minute at
/// most.
const LOCKED_FROM_MS: u64 = 60_000;

/// The refusal of whoever has no attempt left for so long.
fn too_many(wait: Duration) -> Refusal {
    let retry_after_ms = wait_ms(wait);
    let refusal = match retry_after_ms {
        0..=LOCKED_FROM_MS => Refusal::from(ErrorCode::TooManyAttempts),
        _ => Refusal::new(
            ErrorCode::TooManyAttempts,
            "Too many wrong passwords were tried, by you or by somebody else; wait, or ask the operator, who can \
             let you in at once.",
        ),
    };
    refusal.retry_after_ms(retry_after_ms)
}

impl Guessed {
    fn row(&self) -> Option<u64> {
        match self {
            Guessed::Account(row) | Guessed::FromKnown(row, _) | Guessed::FromDevice(row, _) => Some(*row),
            Guessed::Nobody(_) | Guessed::Crowd => None,
        }
    }
}

/// An account as the throttle sees it.
#[derive(Debug, Clone, Copy)]
pub struct TriedAccount<'a> {
    /// Its row.
    pub row: u64,
    /// The addresses that it was opened from before.
    pub addresses: &'a [IpAddr],
    /// The number of a session that the device which asks had, as it shows by a token.
    pub device: Option<u64>,
}

/// No more passwords are compared at an account for now, from some of those who may try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountLock {
    /// The account's row.
    pub row: u64,
    /// Who may not try, as a part of a sentence.
    pub whom: String,
    /// For how long.
    pub wait: Duration,
}

/// An attempt that was let through, and has to be settled.
#[derive(Debug)]
#[must_use = "an attempt that is not settled keeps its budget for ever"]
pub struct Attempt {
    address: Option<AddressKey>,
    guessed: Guessed,
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuessOutcome {
    /// The password was right.
    Right,
    /// It was wrong.
    Wrong,
    /// It was never compared.
    NotCompared,
}

/// The budgets of those who are not in yet.
#[derive(Debug)]
pub struct LoginThrottle {
    logins: KeyedRateLimiter<AddressKey>,
    registrations: KeyedRateLimiter<AddressKey>,
    wrong: Option<Rate>,
    guesses: HashMap<Guessed, FailureWindow>,
    strangers: usize,
}

impl LoginThrottle {
    /// A throttle with these limits.
    pub fn new(limits: &Limits) -> Self {
        LoginThrottle {
            logins: KeyedRateLimiter::new(Rate::per_minute(limits.logins_per_minute), MAX_ADDRESSES),
            registrations: KeyedRateLimiter::new(
                Rate::per_minute(limits.registrations_per_minute),
                MAX_ADDRESSES,
            ),
            wrong: Rate::per_hour(limits.wrong_passwords_per_hour),
            guesses: HashMap::new(),
            strangers: 0,
        }
    }

    /// Someone at `from` wants to try a password of an account, or of a name that is none.
    ///
    /// # Errors
    /// `too_many_attempts`, when the address or the account has no budget left.
    pub fn login(
        &mut self,
        from: IpAddr,
        account: Option<TriedAccount<'_>>,
        name: &UserName,
        now: Instant,
    ) -> Result<Attempt, Refusal> {
        let address = AddressKey::of(from);
        if account.is_some_and(|account| account.device.is_some()) {
            // Its own budget bounds it, and no neighbour uses that up.
            let guessed = self.guess(address, account, name, now).map_err(too_many)?;
            return Ok(Attempt { address: None, guessed });
        }
        self.logins.take(address, now).map_err(too_many)?;
        match self.guess(address, account, name, now) {
            Ok(guessed) => Ok(Attempt { address: Some(address), guessed }),
            Err(wait) => {
                // It never reached the hash; the refusal itself is what bounds whoever goes on.
                self.logins.give_back(&address);
                Err(too_many(wait))
            }
        }
    }

    /// Someone who is in, at `from`, shows the old password to change it: a guess like any other, but not an
    /// attempt to log in.
    ///
    /// # Errors
    /// `too_many_attempts`.
    pub fn change(
        &mut self,
        from: IpAddr,
        account: TriedAccount<'_>,
        name: &UserName,
        now: Instant,
    ) -> Result<Attempt, Refusal> {
        self.guess(AddressKey::of(from), Some(account), name, now)
            .map(|guessed| Attempt { address: None, guessed })
            .map_err(too_many)
    }

    /// Says what became of an attempt. When it was the wrong guess after which an account is tried no more:
    /// the lock.
    pub fn settle(&mut self, attempt: Attempt, outcome: GuessOutcome, now: Instant) -> Option<AccountLock> {
        if let (Some(address), true) = (attempt.address, outcome != GuessOutcome::Wrong) {
            self.logins.give_back(&address);
        }
        let (rate, window) = (self.wrong?, self.guesses.get_mut(&attempt.guessed)?);
        match outcome {
            GuessOutcome::Wrong => window.failed(rate, now),
            GuessOutcome::Right | GuessOutcome::NotCompared => window.release(),
        }
        if window.is_empty() {
            self.drop_window(&attempt.guessed);
            return None;
        }
        // Those that go on their way are as many as may turn out wrong, so the last of them is the one.
        if outcome == GuessOutcome::Wrong { self.lock(&attempt.guessed, now) } else { None }
    }

    /// The addresses that may not log in, and those that may make no account, for a moment. In no order.
    pub fn used_up(&self, now: Instant) -> (Vec<AddressKey>, Vec<AddressKey>) {
        (self.logins.used_up(now).copied().collect(), self.registrations.used_up(now).copied().collect())
    }

    /// Which accounts are tried no more for now, and by whom. In no order.
    pub fn locks(&self, now: Instant) -> impl Iterator<Item = AccountLock> {
        self.guesses.keys().filter_map(move |guessed| self.lock(guessed, now))
    }

    fn lock(&self, guessed: &Guessed, now: Instant) -> Option<AccountLock> {
        let whom = match guessed {
            Guessed::Account(_) => "addresses that it was never opened from".to_owned(),
            Guessed::FromKnown(_, address) => format!("{address}"),
            Guessed::FromDevice(..) => "a device that it was opened on before".to_owned(),
            Guessed::Nobody(_) | Guessed::Crowd => return None,
        };
        let wait = self.guesses.get(guessed)?.blocked_for(self.wrong?, now)?;
        Some(AccountLock { row: guessed.row()?, whom, wait })
    }

    /// Forgets the wrong guesses at an account; how many they were.
    pub fn forgive(&mut self, row: u64) -> u32 {
        let at_it = self.guesses.iter_mut().filter(|(guessed, _)| guessed.row() == Some(row));
        let forgotten = at_it.fold(0_u32, |sum, (_, window)| sum.saturating_add(window.reset()));
        self.guesses.retain(|guessed, window| guessed.row() != Some(row) || !window.is_empty());
        forgotten
    }

    /// Someone at `from` showed a token that is none: this counts as an attempt to log in.
    ///
    /// # Errors
    /// `too_many_attempts`, when the address has no budget left.
    pub fn wrong_token(&mut self, from: IpAddr, now: Instant) -> Result<(), Refusal> {
        self.logins.take(AddressKey::of(from), now).map_err(too_many)
    }

    /// Someone at `from` wants to make an account.
    ///
    /// # Errors
    /// `rate_limited`, when the address has no budget left.
    pub fn register(&mut self, from: IpAddr, now: Instant) -> Result<(), Refusal> {
        self.registrations
            .take(AddressKey::of(from), now)
            .map_err(|wait| Refusal::from(ErrorCode::RateLimited).retry_after(wait))
    }

    /// No account came of it.
    pub fn not_registered(&mut self, from: IpAddr) {
        self.registrations.give_back(&AddressKey::of(from));
    }

    /// Forgets what is over. To be called about once a minute.
    pub fn sweep(&mut self, now: Instant) {
        self.logins.sweep(now);
        self.registrations.sweep(now);
        let Some(rate) = self.wrong else { return };
        self.guesses.retain(|_, window| {
            window.expire(rate, now);
            !window.is_empty()
        });
        self.strangers = self.guesses.keys().filter(|guessed| matches!(guessed, Guessed::Nobody(_))).count();
    }

    fn guess(
        &mut self,
        address: AddressKey,
        account: Option<TriedAccount<'_>>,
        name: &UserName,
        now: Instant,
    ) -> Result<Guessed, Duration> {
        let guessed = match account {
            Some(TriedAccount { row, device: Some(session), .. }) => Guessed::FromDevice(row, session),
            Some(TriedAccount { row, addresses, .. })
                if addresses.iter().any(|ip| AddressKey::of(*ip) == address) =>
            {
                Guessed::FromKnown(row, address)
            }
            Some(TriedAccount { row, .. }) => Guessed::Account(row),
            None => self.stranger(name),
        };
        let Some(rate) = self.wrong else { return Ok(guessed) };
        let is_new = !self.guesses.contains_key(&guessed);
        self.guesses.entry(guessed.clone()).or_default().reserve(rate, now)?;
        if is_new && matches!(guessed, Guessed::Nobody(_)) {
            self.strangers += 1;
        }
        Ok(guessed)
    }

    fn stranger(&self, name: &UserName) -> Guessed {
        let own = Guessed::Nobody(name.clone());
        let has_place = self.strangers < MAX_STRANGERS || self.guesses.contains_key(&own);
        if has_place { own } else { Guessed::Crowd }
    }

    fn drop_window(&mut self, guessed: &Guessed) {
        self.guesses.remove(guessed);
        if matches!(guessed, Guessed::Nobody(_)) {
            self.strangers = self.strangers.saturating_sub(1);
        }
    }
}

/// The sentence that the `session` reply greets a person with.
pub fn greeting(name: &UserName, new: bool, last_seen: Option<(Timestamp, IpAddr)>) -> String {
    match last_seen {
        Some((at, from)) => {
            let text = at.to_string();
            let (date, time) = text.split_once('T').unwrap_or((&text, ""));
            let minute = time.get(..5).unwrap_or(time);
            format!("Welcome back, {name}: last seen {date} {minute} UTC from {}.", from.to_canonical())
        }
        None if new => format!("Welcome, {name}: this is your first visit."),
        None => format!("Welcome, {name}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttle(wrong: u32, logins: u32) -> LoginThrottle {
        let limits = Limits {
            wrong_passwords_per_hour: wrong,
            logins_per_minute: logins,
            registrations_per_minute: 2,
            ..Limits::default()
        };
        LoginThrottle::new(&limits)
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    /// An account that was opened from these addresses.
    fn at(row: u64, addresses: &[IpAddr]) -> TriedAccount<'_> {
        TriedAccount { row, addresses, device: None }
    }

    fn alice() -> UserName {
        UserName::parse("alice").expect("a name")
    }

    #[test]
    fn guesses_from_many_addresses_share_one_budget_and_the_owner_has_another() {
        let mut throttle = throttle(20, 0);
        let now = Instant::now();
        let home = [ip(200)];
        for from in 0..20 {
            let attempt =
                throttle.login(ip(from), Some(at(1, &home)), &alice(), now).expect("within the budget");
            throttle.settle(attempt, GuessOutcome::Wrong, now);
        }
        let denied = throttle.login(ip(99), Some(at(1, &home)), &alice(), now).expect_err("the twenty-first");
        assert_eq!(denied.code, ErrorCode::TooManyAttempts);
        assert!(denied.retry_after_ms > Some(3_500_000), "{denied:?}");
        let attempt = throttle.login(home[0], Some(at(1, &home)), &alice(), now).expect("the owner gets in");
        throttle.settle(attempt, GuessOutcome::Right, now);
        let other =
            throttle.login(ip(1), Some(at(2, &[])), &alice(), now).expect("another account is another");
        throttle.settle(other, GuessOutcome::NotCompared, now);
        throttle.sweep(now + Duration::from_secs(4_000));
        assert!(throttle.guesses.is_empty());
    }

    /// Tries wrong passwords until no more are compared; how many were.
    fn guess_on(
        throttle: &mut LoginThrottle,
        from: IpAddr,
        account: TriedAccount<'_>,
        now: Instant,
    ) -> (usize, Option<AccountLock>) {
        for count in 0.. {
            match throttle.login(from, Some(account), &alice(), now) {
                Ok(attempt) => {
                    let lock = throttle.settle(attempt, GuessOutcome::Wrong, now);
                    if lock.is_some() {
                        assert!(throttle.login(from, Some(account), &alice(), now).is_err());
                        return (count + 1, lock);
                    }
                }
                Err(_) => return (count, None),
            }
        }
        unreachable!("budgets end")
    }

    // issue 7, "Locked out by a neighbour"
    #[test]
    fn a_device_has_a_budget_that_no_neighbour_uses_up() {
        let mut throttle = throttle(20, 0);
        let now = Instant::now();
        let class = [ip(7)];
        let (guesses, lock) = guess_on(&mut throttle, ip(7), at(1, &class), now);
        let lock = lock.expect("it is told once");
        assert_eq!((guesses, lock.row, lock.whom.as_str()), (20, 1, "192.0.2.7"));
        assert!(lock.wait > Duration::from_secs(3_500), "{lock:?}");
        let device = TriedAccount { device: Some(41), ..at(1, &class) };
        let attempt = throttle.login(ip(7), Some(device), &alice(), now).expect("the owner's own budget");
        assert_eq!(throttle.settle(attempt, GuessOutcome::Right, now), None);
        assert_eq!(guess_on(&mut throttle, ip(99), device, now).0, 20, "one budget, wherever it is");
        let other = TriedAccount { device: Some(42), ..device };
        assert!(throttle.change(ip(7), other, &alice(), now).is_ok(), "each device has its own");
        assert_eq!(throttle.locks(now).count(), 2);
    }

    #[test]
    fn a_device_needs_nothing_of_what_its_address_has_used_up() {
        let mut throttle = throttle(20, 3);
        let now = Instant::now();
        for _ in 0..3 {
            throttle.wrong_token(ip(7), now).expect("within the budget");
        }
        assert!(throttle.login(ip(7), Some(at(1, &[])), &alice(), now).is_err());
        let device = TriedAccount { device: Some(41), ..at(1, &[]) };
        assert_eq!(guess_on(&mut throttle, ip(7), device, now).0, 20);
    }

    // issue 7, "Locked out by a neighbour"
    #[test]
    fn the_operator_can_have_guesses_forgotten() {
        let mut throttle = throttle(20, 0);
        let now = Instant::now();
        let class = [ip(7)];
        for (from, account) in [(ip(7), at(1, &class)), (ip(8), at(1, &class)), (ip(8), at(2, &class))] {
            assert_eq!(guess_on(&mut throttle, from, account, now).0, 20);
        }
        let under_way =
            throttle.login(ip(8), Some(TriedAccount { device: Some(5), ..at(1, &[]) }), &alice(), now);
        assert_eq!(throttle.forgive(1), 40);
        assert_eq!(
            throttle.locks(now).map(|lock| lock.row).collect::<Vec<_>>(),
            [2],
            "another account is another"
        );
        assert!(throttle.login(ip(8), Some(at(1, &class)), &alice(), now).is_ok());
        throttle.settle(under_way.expect("a budget of its own"), GuessOutcome::Wrong, now);
        assert_eq!(throttle.forgive(1), 1, "what was under way counts");
        assert_eq!(throttle.forgive(3), 0);
    }

    #[test]
    fn a_hundred_at_once_do_not_get_past_the_bound() {
        let mut throttle = throttle(20, 0);
        let now = Instant::now();
        let let_through: Vec<_> = (0..100)
            .filter_map(|from| throttle.login(ip(from), Some(at(1, &[])), &alice(), now).ok())
            .collect();
        assert_eq!(let_through.len(), 20);
        for attempt in let_through {
            throttle.settle(attempt, GuessOutcome::Right, now);
        }
        assert!(
            throttle.login(ip(1), Some(at(1, &[])), &alice(), now).is_ok(),
            "those that were right cost nothing"
        );
    }

    #[test]
    fn an_address_has_a_budget_that_right_passwords_give_back() {
        let mut throttle = throttle(0, 3);
        let now = Instant::now();
        for _ in 0..10 {
            let attempt =
                throttle.login(ip(1), Some(at(1, &[])), &alice(), now).expect("right ones cost nothing");
            throttle.settle(attempt, GuessOutcome::Right, now);
        }
        for _ in 0..2 {
            let attempt = throttle.login(ip(1), None, &alice(), now).expect("within the budget");
            throttle.settle(attempt, GuessOutcome::Wrong, now);
        }
        throttle.wrong_token(ip(1), now).expect("the third");
        let denied = throttle.login(ip(1), Some(at(1, &[])), &alice(), now).expect_err("the fourth");
        assert_eq!((denied.code, denied.retry_after_ms), (ErrorCode::TooManyAttempts, Some(20_000)));
        assert!(throttle.wrong_token(ip(1), now).is_err());
        assert!(throttle.wrong_token(ip(2), now).is_ok());
        assert_eq!(throttle.used_up(now), (vec![AddressKey::of(ip(1))], vec![]), "the operator can see it");
        let later = now + Duration::from_millis(denied.retry_after_ms.expect("a time"));
        assert!(throttle.wrong_token(ip(1), later).is_ok(), "the wait that was told is true");
    }

    #[test]
    fn names_that_are_no_accounts_are_bounded_too() {
        let mut throttle = throttle(2, 0);
        let now = Instant::now();
        for _ in 0..2 {
            let attempt = throttle.login(ip(1), None, &alice(), now).expect("within the budget");
            throttle.settle(attempt, GuessOutcome::Wrong, now);
        }
        assert!(throttle.login(ip(2), None, &alice(), now).is_err(), "as if there were such an account");
        throttle.strangers = MAX_STRANGERS;
        let bob = UserName::parse("bob").expect("a name");
        let attempt = throttle.login(ip(2), None, &bob, now).expect("the crowd's");
        assert_eq!(attempt.guessed, Guessed::Crowd);
        throttle.settle(attempt, GuessOutcome::NotCompared, now);
    }

    #[test]
    fn registrations_are_counted_when_an_account_comes_of_them() {
        let mut throttle = throttle(0, 0);
        let now = Instant::now();
        throttle.register(ip(1), now).expect("the first");
        throttle.not_registered(ip(1));
        throttle.register(ip(1), now).expect("the first again");
        throttle.register(ip(1), now).expect("the second");
        assert_eq!(throttle.register(ip(1), now).expect_err("the third").code, ErrorCode::RateLimited);
    }

    #[test]
    fn people_are_greeted() {
        let seen = Some((Timestamp::from_millis(1_795_284_321_311), ip(7)));
        assert_eq!(greeting(&alice(), true, None), "Welcome, alice: this is your first visit.");
        assert_eq!(
            greeting(&alice(), false, seen),
            "Welcome back, alice: last seen 2026-11-21 18:05 UTC from 192.0.2.7."
        );
        assert_eq!(greeting(&alice(), false, None), "Welcome, alice.");
    }
}
