//! Which sessions there are, whose token is good, and until when.
//!
//! A session is *attached* while a connection holds it, and *detached* after the connection was lost, until
//! a `resume` or the end of its idle time. While the server runs, all of this goes by the monotonic clock;
//! the wall clock has a say only in [`SessionTable::restore`], so that nobody is thrown out when it jumps.
//!
//! The table takes what is durable already: whoever opens or resumes a session writes it first.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::model::{SessionId, SessionsFrom, StoredSession, Timestamp, TokenHash};

/// For how long the token before the last stays good, unless the fresh one is used first.
pub const PREVIOUS_TOKEN_LIFE: Duration = Duration::from_secs(60);

/// How long sessions live.
#[derive(Debug, Clone, Copy)]
pub struct SessionLifetimes {
    /// Without a connection. Zero: not at all.
    pub idle: Duration,
    /// In all. Zero: no bound.
    pub max: Duration,
}

/// What is over by its time.
#[derive(Debug)]
pub struct Expired<O> {
    /// Sessions that have ended.
    pub ended: Vec<Ended<O>>,
    /// Sessions whose token before the last has died, each with the one that it has.
    pub lost_previous: Vec<(u64, TokenHash)>,
}

/// A session that is not any more, and who held it.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended<O> {
    /// The session, as it was held last.
    pub id: SessionId,
    /// The row of its account.
    pub account: u64,
    /// Where the connection that held it hears of it.
    pub owner: Option<O>,
}

/// What became of a resumption: the session as it is held now, and who held it before. Where the token that
/// was shown died before it was durable: what the session is to be in the file instead, `None` when it has
/// ended.
pub type Resumed<O> = Result<(SessionId, Option<O>), Option<StoredSession>>;

#[derive(Debug)]
struct Session<O> {
    account: u64,
    generation: u32,
    opened_at: Timestamp,
    token: TokenHash,
    token_at: Timestamp,
    previous: Option<(TokenHash, Instant)>,
    /// When its time in all is over, `None` for never.
    ends_at: Option<Instant>,
    /// When its idle time is over, while nobody holds it.
    idle_ends_at: Option<Instant>,
    owner: Option<O>,
    /// It is about to end, to make room for another.
    leaving: bool,
    /// Where it stands in the table's list of timers.
    timer: Option<Instant>,
}

/// All sessions. `O` is the owner of one: where the connection that holds it hears that it has ended.
#[derive(Debug)]
pub struct SessionTable<O> {
    lifetimes: SessionLifetimes,
    /// Boxed, because half of a large map is empty places.
    sessions: HashMap<u64, Box<Session<O>>>,
    tokens: HashMap<TokenHash, u64>,
    /// (account, session).
    by_account: BTreeSet<(u64, u64)>,
    timers: BTreeSet<(Instant, u64)>,
    attached: usize,
}

impl<O> SessionTable<O> {
    /// An empty table.
    pub fn new(lifetimes: SessionLifetimes) -> Self {
        SessionTable {
            lifetimes,
            sessions: HashMap::new(),
            tokens: HashMap::new(),
            by_account: BTreeSet::new(),
            timers: BTreeSet::new(),
            attached: 0,
        }
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// How many of them have a connection.
    pub fn attached(&self) -> usize {
        self.attached
    }

    /// The account (its row) and the session (its number) that have a token which lives.
    pub fn holder_of(&self, token: &TokenHash) -> Option<(u64, u64)> {
        let number = *self.tokens.get(token)?;
        Some((self.sessions.get(&number)?.account, number))
    }

    /// How many sessions an account has, but for those that make room for others.
    pub fn of_account(&self, account: u64) -> usize {
        let stays = |number: &u64| self.sessions.get(number).is_some_and(|session| !session.leaving);
        self.numbers_of(account).filter(stays).count()
    }

    /// The account of a session, when it is there and this connection holds it.
    pub fn account_of(&self, session: SessionId) -> Option<u64> {
        self.held(session).map(|session| session.account)
    }

    /// For how many seconds a session is good if its connection were lost now.
    pub fn expires_in_seconds(&self, session: SessionId, now: Instant) -> u64 {
        let rest = self.held(session).and_then(|session| session.ends_at);
        rest.map_or(self.lifetimes.idle, |at| at.saturating_duration_since(now).min(self.lifetimes.idle))
            .as_secs()
    }

    /// Takes a session of the file into the table, without a connection. The wall clock says how old it is;
    /// a moment in the future is no age. Returns whether it still lives.
    pub fn restore(&mut self, stored: &StoredSession, wall_now: Timestamp, now: Instant) -> bool {
        let age = |at: Timestamp| {
            let millis = wall_now.as_millis().saturating_sub(at.as_millis());
            Duration::from_millis(u64::try_from(millis).unwrap_or(0))
        };
        let old = !self.lifetimes.max.is_zero() && age(stored.opened_at) >= self.lifetimes.max;
        let idle_age = age(stored.seen_at.unwrap_or(stored.token_at));
        if old || idle_age >= self.lifetimes.idle {
            return false;
        }
        let rest = PREVIOUS_TOKEN_LIFE.saturating_sub(age(stored.token_at));
        let session = Session {
            account: stored.account,
            generation: 0,
            opened_at: stored.opened_at,
            token: stored.token,
            token_at: stored.token_at,
            previous: stored.previous.filter(|_| !rest.is_zero()).map(|token| (token, now + rest)),
            ends_at: self.max_end(now, age(stored.opened_at)),
            idle_ends_at: now.checked_add(self.lifetimes.idle - idle_age),
            owner: None,
            leaving: false,
            timer: None,
        };
        self.insert(stored.number, session);
        true
    }

    /// Takes a session into the table that was opened just now.
    pub fn open(&mut self, stored: &StoredSession, owner: O, now: Instant) -> SessionId {
        let session = Session {
            account: stored.account,
            generation: 0,
            opened_at: stored.opened_at,
            token: stored.token,
            token_at: stored.token_at,
            previous: None,
            ends_at: self.max_end(now, Duration::ZERO),
            idle_ends_at: None,
            owner: Some(owner),
            leaving: false,
            timer: None,
        };
        self.attached += 1;
        self.insert(stored.number, session);
        SessionId::new(stored.number, 0)
    }

    /// What a session is to be in the file when the holder of the token `shown` gets the token `fresh`.
    /// `None` when no session has the token `shown`, or it is dead.
    pub fn resumption(
        &self,
        shown: &TokenHash,
        fresh: TokenHash,
        wall_now: Timestamp,
        now: Instant,
    ) -> Option<StoredSession> {
        let number = *self.tokens.get(shown)?;
        let session = self.sessions.get(&number).filter(|session| session.is_opened_by(shown, now))?;
        Some(StoredSession {
            number,
            account: session.account,
            opened_at: session.opened_at,
            token_at: wall_now,
            token: fresh,
            previous: Some(*shown),
            seen_at: None,
        })
    }

    /// Carries out a [`SessionTable::resumption`] that is durable.
    ///
    /// # Errors
    /// See [`Resumed`].
    pub fn resume(&mut self, stored: &StoredSession, owner: O, now: Instant) -> Resumed<O> {
        let Some(shown) = stored.previous else { return Err(None) };
        let Some(session) = self.sessions.get_mut(&stored.number) else { return Err(None) };
        if !session.is_opened_by(&shown, now) {
            return Err(Some(session.stored(stored.number)));
        }
        let dead = if session.token == shown {
            session.previous.map(|(token, _)| token)
        } else {
            Some(session.token)
        };
        session.generation = session.generation.wrapping_add(1);
        session.token = stored.token;
        session.token_at = stored.token_at;
        session.previous = Some((shown, now + PREVIOUS_TOKEN_LIFE));
        session.idle_ends_at = None;
        let before = session.owner.replace(owner);
        let id = SessionId::new(stored.number, session.generation);
        self.attached += usize::from(before.is_none());
        self.tokens.extend([(stored.token, stored.number), (shown, stored.number)]);
        if let Some(dead) = dead {
            self.tokens.remove(&dead);
        }
        self.set_timer(stored.number);
        Ok((id, before))
    }

    /// The fresh token of the connection that holds a session, while the one before it is still good.
    pub fn unused_token(&self, id: SessionId) -> Option<TokenHash> {
        self.held(id).filter(|session| session.previous.is_some()).map(|session| session.token)
    }

    /// The fresh token of a session was used: the one before it is dead. Returns whether there was one;
    /// nothing happens when the session has got another token meanwhile.
    pub fn token_used(&mut self, number: u64, token: &TokenHash) -> bool {
        let session = self.sessions.get_mut(&number).filter(|session| session.token == *token);
        let Some((dead, _)) = session.and_then(|session| session.previous.take()) else { return false };
        self.tokens.remove(&dead);
        self.set_timer(number);
        true
    }

    /// The connection that held the session is gone. Returns the session's account, `None` when another
    /// connection holds it by now, or nobody.
    pub fn detach(&mut self, id: SessionId, now: Instant) -> Option<u64> {
        self.held(id)?;
        let session = self.sessions.get_mut(&id.number())?;
        session.owner.take()?;
        session.idle_ends_at = now.checked_add(self.lifetimes.idle);
        let account = session.account;
        self.attached -= 1;
        self.set_timer(id.number());
        Some(account)
    }

    /// Detaches the sessions whose owner is gone, though nobody said so.
    pub fn detach_lost(&mut self, is_there: impl Fn(&O) -> bool, now: Instant) -> Vec<u64> {
        let lost: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.owner.as_ref().is_some_and(|owner| !is_there(owner)))
            .map(|(number, session)| SessionId::new(*number, session.generation))
            .collect();
        lost.into_iter().filter_map(|id| self.detach(id, now).map(|_| id.number())).collect()
    }

    /// Ends a session, whoever holds it.
    pub fn end(&mut self, number: u64) -> Option<Ended<O>> {
        self.remove(number)
    }

    /// Ends the sessions of an account, but for those that stay.
    pub fn end_account(&mut self, account: u64, stay: SessionsFrom) -> Vec<Ended<O>> {
        let numbers: Vec<u64> = self.numbers_of(account).filter(|number| !stay.admits(*number)).collect();
        numbers.into_iter().filter_map(|number| self.remove(number)).collect()
    }

    /// Ends all sessions.
    pub fn end_all(&mut self) -> Vec<Ended<O>> {
        let numbers: Vec<u64> = self.sessions.keys().copied().collect();
        numbers.into_iter().filter_map(|number| self.remove(number)).collect()
    }

    /// Chooses the session of an account that has been without a connection for the longest time, to make room
    /// for another; `None` when all of them have one. It goes on until [`SessionTable::end`], or for good after
    /// [`SessionTable::spare`].
    pub fn make_room(&mut self, account: u64) -> Option<u64> {
        let (_, number) = self
            .numbers_of(account)
            .filter_map(|number| {
                let session = self.sessions.get(&number)?;
                let free = session.owner.is_none() && !session.leaving;
                free.then_some((session.idle_ends_at, number))
            })
            .min()?;
        self.sessions.get_mut(&number)?.leaving = true;
        Some(number)
    }

    /// The session need not make room after all.
    pub fn spare(&mut self, number: u64) {
        if let Some(session) = self.sessions.get_mut(&number) {
            session.leaving = false;
        }
    }

    /// Ends what is over by its time, and lets tokens die by theirs.
    pub fn expire(&mut self, now: Instant) -> Expired<O> {
        let mut expired = Expired { ended: Vec::new(), lost_previous: Vec::new() };
        while let Some((at, number)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            let Some(session) = self.sessions.get_mut(&number) else {
                self.timers.remove(&(at, number));
                continue;
            };
            let is_over = |end: Option<Instant>| end.is_some_and(|end| end <= now);
            if is_over(session.ends_at) || is_over(session.idle_ends_at) {
                expired.ended.extend(self.remove(number));
                continue;
            }
            if let Some((token, _)) = session.previous.take_if(|(_, dies_at)| *dies_at <= now) {
                self.tokens.remove(&token);
                expired.lost_previous.push((number, session.token));
            }
            self.set_timer(number);
        }
        expired
    }

    fn numbers_of(&self, account: u64) -> impl Iterator<Item = u64> {
        self.by_account.range((account, 0)..=(account, u64::MAX)).map(|(_, number)| *number)
    }

    fn held(&self, id: SessionId) -> Option<&Session<O>> {
        self.sessions
            .get(&id.number())
            .map(Box::as_ref)
            .filter(|session| session.generation == id.generation())
    }

    fn max_end(&self, now: Instant, age: Duration) -> Option<Instant> {
        if self.lifetimes.max.is_zero() {
            None
        } else {
            now.checked_add(self.lifetimes.max.saturating_sub(age))
        }
    }

    fn insert(&mut self, number: u64, session: Session<O>) {
        self.tokens.insert(session.token, number);
        if let Some((token, _)) = session.previous {
            self.tokens.insert(token, number);
        }
        self.by_account.insert((session.account, number));
        self.sessions.insert(number, Box::new(session));
        self.set_timer(number);
    }

    fn remove(&mut self, number: u64) -> Option<Ended<O>> {
        let session = self.sessions.remove(&number)?;
        self.tokens.remove(&session.token);
        if let Some((token, _)) = session.previous {
            self.tokens.remove(&token);
        }
        if let Some(timer) = session.timer {
            self.timers.remove(&(timer, number));
        }
        self.by_account.remove(&(session.account, number));
        self.attached -= usize::from(session.owner.is_some());
        Some(Ended {
            id: SessionId::new(number, session.generation),
            account: session.account,
            owner: session.owner,
        })
    }

    /// All sessions, as the file is to have them but for when they were seen, by number.
    #[cfg(test)]
    pub fn stored_sessions(&self) -> Vec<StoredSession> {
        let mut all: Vec<_> = self.sessions.iter().map(|(number, session)| session.stored(*number)).collect();
        all.sort_by_key(|session| session.number);
        all
    }

    /// Panics unless all that this knows agrees.
    #[cfg(test)]
    pub fn check_invariants(&self) {
        let tokens = self.sessions.values().map(|session| 1 + usize::from(session.previous.is_some()));
        assert_eq!(self.tokens.len(), tokens.sum::<usize>(), "a token is one session's");
        for (number, session) in &self.sessions {
            let is_its = |token: &TokenHash| self.tokens.get(token) == Some(number);
            assert!(is_its(&session.token), "the token of session {number}");
            assert!(session.previous.is_none_or(|(token, _)| is_its(&token)), "the one before of {number}");
            assert!(self.by_account.contains(&(session.account, *number)), "the account of {number}");
            assert_eq!(session.timer, session.next_moment(), "the timer of session {number}");
            assert!(session.timer.is_none_or(|at| self.timers.contains(&(at, *number))), "{number} waits");
            assert!(session.owner.is_none() || session.idle_ends_at.is_none(), "{number} is held and idle");
        }
        assert_eq!(self.by_account.len(), self.sessions.len());
        let timers = self.sessions.values().filter(|session| session.timer.is_some());
        assert_eq!(self.timers.len(), timers.count());
        let attached = self.sessions.values().filter(|session| session.owner.is_some());
        assert_eq!(self.attached, attached.count());
    }

    /// Puts a session where its next moment is in the list of timers.
    fn set_timer(&mut self, number: u64) {
        let Some(session) = self.sessions.get_mut(&number) else { return };
        let next = session.next_moment();
        if next == session.timer {
            return;
        }
        if let Some(timer) = session.timer {
            self.timers.remove(&(timer, number));
        }
        if let Some(timer) = next {
            self.timers.insert((timer, number));
        }
        session.timer = next;
    }
}

impl<O> Session<O> {
    /// When something happens to it by itself.
    fn next_moment(&self) -> Option<Instant> {
        let dies_at = self.previous.map(|(_, at)| at);
        [self.ends_at, self.idle_ends_at, dies_at].into_iter().flatten().min()
    }

    fn is_opened_by(&self, shown: &TokenHash, now: Instant) -> bool {
        self.token == *shown || self.previous.is_some_and(|(token, dies_at)| token == *shown && now < dies_at)
    }

    fn stored(&self, number: u64) -> StoredSession {
        StoredSession {
            number,
            account: self.account,
            opened_at: self.opened_at,
            token_at: self.token_at,
            token: self.token,
            previous: self.previous.map(|(token, _)| token),
            seen_at: None,
        }
    }
}

#[cfg(test)]
#[path = "sessions_tests.rs"]
mod tests;
