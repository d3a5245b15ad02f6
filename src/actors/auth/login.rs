//! How somebody gets in: `register`, `login` and `resume`; and `passwd`, which takes the same care.
//!
//! Each is a chain of steps: checks and budgets, the hash, the same checks again on what may have changed
//! meanwhile, the write, and only then the session.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Handler, Recipient, ResponseFuture};
use tokio::sync::oneshot;

use super::disk::Order;
use super::hashing::{Hashed, Owner, Work};
use super::lockout::as_tried;
use super::{AuthActor, answer};
use crate::actors::messages::auth::{ChangePassword, HowToOpen, OpenSession, OpenedSession};
use crate::actors::messages::session::EndSession;
use crate::chat::accounts::login_throttle::{Attempt, GuessOutcome, greeting};
use crate::chat::accounts::openings::UnderWay;
use crate::chat::limits::address_key::AddressKey;
use crate::config::Registration;
use crate::model::{
    Account, AccountChange, ByeReason, ErrorCode, Password, Refusal, SessionEvent, SessionId, SessionsFrom,
    StoredPassword, StoredSession, Timestamp, TokenHash, TokenText, UserName,
};

/// When to come back if all sessions of an account are in use, in milliseconds.
const SESSIONS_FULL_RETRY_MS: u64 = 60_000;
/// When to come back if all sessions were ended while one was opened, in milliseconds.
const ENDED_RETRY_MS: u64 = 100;
/// What a session hears that was taken over while it was chosen to end.
const MADE_ROOM: &str = "This session has ended, to make room for another one of this account.";

/// Somebody who wants in.
struct Opening {
    from: IpAddr,
    end: Recipient<EndSession>,
    reply: oneshot::Sender<Result<OpenedSession, Refusal>>,
}

/// A session that is being written, with its token.
struct Fresh {
    stored: StoredSession,
    token: TokenText,
}

/// A right password, and what it was right for.
struct Proven {
    row: u64,
    /// How often the password had been changed when it was compared.
    password_changes: u64,
}

impl Opening {
    fn refuse(self, refusal: impl Into<Refusal>) {
        let _ = self.reply.send(Err(refusal.into()));
    }

    /// Whether the connection is still there.
    fn is_wanted(&self) -> impl Fn() -> bool + Send + 'static {
        let end = self.end.clone();
        move || end.connected()
    }
}

/// The refusal when an account opens sessions faster than it may.
fn too_often(wait: Duration) -> Refusal {
    Refusal::new(ErrorCode::RateLimited, "This account opens sessions too fast; wait a moment.")
        .retry_after(wait)
}

/// The refusal when there is no hash to go on with.
fn not_hashed(hashed: &Hashed) -> Refusal {
    match hashed {
        Hashed::Busy(retry_after_ms) => Refusal::new(
            ErrorCode::RateLimited,
            "Many people are logging in just now; try again in a moment.",
        )
        .retry_after_ms(*retry_after_ms),
        _ => ErrorCode::Internal.into(),
    }
}

impl Handler<OpenSession> for AuthActor {
    type Result = ResponseFuture<Result<OpenedSession, Refusal>>;

    fn handle(&mut self, message: OpenSession, _: &mut Self::Context) -> Self::Result {
        let (reply, opened) = oneshot::channel();
        let opening = Opening { from: message.from.to_canonical(), end: message.end, reply };
        match self.takes_more() {
            Err(refusal) => opening.refuse(refusal),
            Ok(()) => match message.how {
                HowToOpen::Register { name, password } => self.register(name, password, opening),
                HowToOpen::Login { name, password, device } => {
                    self.login(name, password, device.as_ref(), opening);
                }
                HowToOpen::Resume { token } => self.resume(&token, opening),
            },
        }
        answer(opened, Err(ErrorCode::ShuttingDown.into()))
    }
}

// register
impl AuthActor {
    fn register(&mut self, name: UserName, password: Password, opening: Opening) {
        if self.registration == Registration::Closed {
            return opening.refuse(ErrorCode::RegistrationClosed);
        }
        if !self.accounts.is_free(&name) || self.is_kept(&name) {
            return opening.refuse(ErrorCode::NameTaken);
        }
        if let Err(denied) = self.throttle.register(opening.from, Instant::now()) {
            return opening.refuse(denied);
        }
        self.accounts.reserve(&name);
        let wanted = opening.is_wanted();
        let owner = Owner::Stranger(AddressKey::of(opening.from));
        self.hash(owner, Work::Hash(password), wanted, move |actor, hashed| match hashed {
            Hashed::Fresh(password) => actor.make_account(name, password, opening),
            other => {
                actor.give_up(&name, opening.from);
                opening.refuse(not_hashed(&other));
            }
        });
    }

    fn make_account(&mut self, name: UserName, password: StoredPassword, opening: Opening) {
        let now = Timestamp::now();
        let row = self.accounts.fresh_row();
        let Some(fresh) = self.fresh_session(row, now) else {
            self.give_up(&name, opening.from);
            return opening.refuse(ErrorCode::Internal);
        };
        let add = AccountChange::Add(Arc::new(Account {
            row,
            name: name.clone(),
            password,
            addresses: vec![opening.from],
            created_at: now,
            visible_from: self.newest(),
            last_seen_at: Some(now),
            sessions: SessionsFrom::default(),
            banned: false,
        }));
        let order = Order { accounts: vec![add.clone()], sessions: vec![fresh.event()] };
        self.store(order, move |actor, written| match written {
            Ok(_) => {
                actor.accounts.apply(&add);
                log::info!(by:% = opening.from; "{name:?} registered from {}", opening.from);
                actor.admit(fresh, None, true, opening);
            }
            Err(fault) => {
                if fault.accounts_stored {
                    actor.accounts.apply(&add);
                } else {
                    actor.give_up(&name, opening.from);
                }
                opening.refuse(ErrorCode::StorageUnavailable);
            }
        });
    }

    /// No account comes of this name.
    fn give_up(&mut self, name: &UserName, from: IpAddr) {
        self.accounts.release(name);
        self.throttle.not_registered(from);
    }
}

// login
impl AuthActor {
    fn login(&mut self, name: UserName, password: Password, device: Option<&TokenText>, opening: Opening) {
        let account = self.accounts.named(&name).cloned();
        let known = account.as_deref().map(|account| as_tried(account, self.device(account.row, device)));
        let attempt = match self.throttle.login(opening.from, known, &name, Instant::now()) {
            Ok(attempt) => attempt,
            Err(denied) => return opening.refuse(denied),
        };
        let owner = account.as_ref().map_or(Owner::Stranger(AddressKey::of(opening.from)), |account| {
            // Whoever has an account waits for no stranger's crowd.
            Owner::Account(account.row)
        });
        if let Owner::Account(row) = owner
            && let Err(wait) = self.openings.take(row, Instant::now())
        {
            self.throttle.settle(attempt, GuessOutcome::NotCompared, Instant::now());
            return opening.refuse(too_often(wait));
        }
        let stored = account.as_ref().map_or(&self.dummy, |account| &account.password).clone();
        let proven = account.map(|account| Proven {
            row: account.row,
            password_changes: self.accounts.password_changes(account.row),
        });
        let wanted = opening.is_wanted();
        let work = Work::Compare { given: password, stored: stored.clone() };
        self.hash(owner, work, wanted, move |actor, hashed| {
            actor.settle(attempt, &hashed);
            if let (Owner::Account(row), false) = (owner, matches!(hashed, Hashed::Right(_))) {
                actor.openings.give_back(row);
            }
            match (hashed, proven) {
                (Hashed::Right(renewed), Some(proven)) => {
                    let rehash =
                        renewed.map(|new| AccountChange::Rehash { row: proven.row, old: stored, new });
                    actor.write_session(&name, &proven, rehash, opening);
                }
                (Hashed::Right(_) | Hashed::Wrong, _) => {
                    log::info!(by:% = opening.from; "failed login of {name:?} from {}", opening.from);
                    opening.refuse(ErrorCode::WrongPassword);
                }
                (other, _) => opening.refuse(not_hashed(&other)),
            }
        });
    }

    fn settle(&mut self, attempt: Attempt, hashed: &Hashed) {
        let outcome = match hashed {
            Hashed::Right(_) | Hashed::Fresh(_) => GuessOutcome::Right,
            Hashed::Wrong => GuessOutcome::Wrong,
            Hashed::Unwanted | Hashed::Busy(_) | Hashed::Failed => GuessOutcome::NotCompared,
        };
        if let Some(lock) = self.throttle.settle(attempt, outcome, Instant::now()) {
            self.tell_locked(&lock);
        }
    }

    /// The account that a right password opens, looked at anew: much may have changed since it was shown.
    fn still(&self, proven: &Proven) -> Result<Arc<Account>, ErrorCode> {
        match self.accounts.row(proven.row) {
            Some(account) if account.banned => Err(ErrorCode::Banned),
            Some(account) if self.accounts.password_changes(proven.row) == proven.password_changes => {
                Ok(Arc::clone(account))
            }
            _ => Err(ErrorCode::WrongPassword),
        }
    }

    /// The password was right: writes a session.
    fn write_session(
        &mut self,
        name: &UserName,
        proven: &Proven,
        rehash: Option<AccountChange>,
        opening: Opening,
    ) {
        let account = match self.still(proven) {
            Ok(account) => account,
            Err(code) => {
                log::info!(by:% = opening.from; "refused login of {name:?} from {}: {code}", opening.from);
                return opening.refuse(code);
            }
        };
        let row = account.row;
        let (makes_room, under_way) = match self.make_room(row) {
            Ok(room) => room,
            Err(refusal) => return opening.refuse(refusal),
        };
        let now = Timestamp::now();
        let Some(fresh) = self.fresh_session(row, now) else {
            return opening.refuse(ErrorCode::Internal);
        };
        let last_seen = last_seen(&account);
        let seen = AccountChange::Seen { row, at: now, from: Some(opening.from) };
        let accounts: Vec<AccountChange> = rehash.into_iter().chain([seen]).collect();
        let mut sessions: Vec<_> =
            makes_room.map(|number| SessionEvent::End { number }).into_iter().collect();
        sessions.push(fresh.event());
        let proven = Proven { row, password_changes: proven.password_changes };
        let order = Order { accounts: accounts.clone(), sessions };
        self.store(order, move |actor, written| {
            // From here on it is there, or not.
            drop(under_way);
            if written.is_err() {
                makes_room.into_iter().for_each(|number| actor.sessions.spare(number));
                return opening.refuse(ErrorCode::StorageUnavailable);
            }
            let gone = makes_room.and_then(|number| actor.sessions.end(number));
            if let Some(owner) = gone.and_then(|ended| ended.owner) {
                owner.do_send(EndSession { reason: ByeReason::Kicked, text: Some(MADE_ROOM.into()) });
            }
            for change in &accounts {
                actor.accounts.apply(change);
            }
            match actor.still(&proven) {
                Ok(account) if !account.sessions.admits(fresh.stored.number) => {
                    actor.note(vec![fresh.end()], Vec::new());
                    opening.refuse(
                        Refusal::new(
                            ErrorCode::RateLimited,
                            "The sessions of this account were ended just now; try again.",
                        )
                        .retry_after_ms(ENDED_RETRY_MS),
                    );
                }
                Ok(account) => {
                    log::info!(by:% = account.name; "{:?} logged in from {}", account.name, opening.from);
                    actor.admit(fresh, last_seen, false, opening);
                }
                Err(code) => {
                    // Nobody has its token; the file forgets it.
                    actor.note(vec![fresh.end()], Vec::new());
                    opening.refuse(code);
                }
            }
        });
    }

    /// Chooses the session that has been without a connection for the longest time to end, if the account has
    /// as many as it may, those included that are being written. Returns its number, and a place among them.
    fn make_room(&mut self, row: u64) -> Result<(Option<u64>, UnderWay), Refusal> {
        let sessions = self.sessions.of_account(row) + self.openings.under_way(row);
        if self.sessions_per_account == 0 || sessions < self.sessions_per_account {
            return Ok((None, self.openings.begin(row)));
        }
        match self.sessions.make_room(row) {
            Some(number) => Ok((Some(number), self.openings.begin(row))),
            None => Err(Refusal::new(
                ErrorCode::RateLimited,
                format!("This account has {} sessions already; end one of them.", self.sessions_per_account),
            )
            .retry_after_ms(SESSIONS_FULL_RETRY_MS)),
        }
    }

    fn fresh_session(&mut self, account: u64, now: Timestamp) -> Option<Fresh> {
        let (token, hash) = self.fresh_token()?;
        let number = self.next_session;
        self.next_session += 1;
        let stored = StoredSession {
            number,
            account,
            opened_at: now,
            token_at: now,
            token: hash,
            previous: None,
            seen_at: None,
        };
        Some(Fresh { stored, token })
    }

    fn fresh_token(&self) -> Option<(TokenText, TokenHash)> {
        self.tokens
            .fresh()
            .inspect_err(|error| log::error!("the system gave no random numbers for a token: {error}"))
            .ok()
    }

    /// The session is durable: gives it to the connection, if that is still there.
    fn admit(&mut self, fresh: Fresh, last_seen: Option<(Timestamp, IpAddr)>, new: bool, opening: Opening) {
        if !opening.end.connected() {
            // Nobody will ever have its token.
            return self.note(vec![fresh.end()], Vec::new());
        }
        let id = self.sessions.open(&fresh.stored, opening.end.clone(), Instant::now());
        self.welcome(id, fresh, last_seen, new, opening);
    }

    fn welcome(
        &self,
        session: SessionId,
        fresh: Fresh,
        last_seen: Option<(Timestamp, IpAddr)>,
        new: bool,
        opening: Opening,
    ) {
        let Some(account) = self.accounts.row(fresh.stored.account) else {
            return opening.refuse(ErrorCode::Internal);
        };
        let _ = opening.reply.send(Ok(OpenedSession {
            session,
            account: account.name.clone(),
            visible_from: account.visible_from,
            token: fresh.token,
            token_hash: fresh.stored.token,
            previous: fresh.stored.previous,
            expires_in_seconds: self.sessions.expires_in_seconds(session, Instant::now()),
            new,
            last_seen,
            greeting: greeting(&account.name, new, last_seen),
        }));
    }
}

// resume
impl AuthActor {
    fn resume(&mut self, shown: &TokenText, opening: Opening) {
        let (now, at) = (Instant::now(), Timestamp::now());
        let Some((token, hash)) = self.fresh_token() else {
            return opening.refuse(ErrorCode::Internal);
        };
        let Some(stored) = self.sessions.resumption(&self.tokens.hash(shown), hash, at, now) else {
            log::info!(by:% = opening.from; "failed resume from {}", opening.from);
            let denied = self.throttle.wrong_token(opening.from, now);
            return opening.refuse(denied.err().unwrap_or_else(|| ErrorCode::BadToken.into()));
        };
        if let Err(wait) = self.openings.take(stored.account, now) {
            return opening.refuse(too_often(wait));
        }
        let last_seen = self.accounts.row(stored.account).and_then(|account| last_seen(account));
        let seen = AccountChange::Seen { row: stored.account, at, from: Some(opening.from) };
        let fresh = Fresh { stored, token };
        let resume = SessionEvent::Resume(Box::new(fresh.stored.clone()));
        let order = Order { accounts: vec![seen.clone()], sessions: vec![resume] };
        self.store(order, move |actor, written| {
            if written.is_err() {
                return opening.refuse(ErrorCode::StorageUnavailable);
            }
            actor.accounts.apply(&seen);
            actor.take_over(fresh, last_seen, opening);
        });
    }

    /// The fresh token is durable: the session changes hands.
    fn take_over(&mut self, fresh: Fresh, last_seen: Option<(Timestamp, IpAddr)>, opening: Opening) {
        match self.sessions.resume(&fresh.stored, opening.end.clone(), Instant::now()) {
            Ok((id, before)) => {
                if let Some(before) = before {
                    before.do_send(EndSession { reason: ByeReason::Resumed, text: None });
                }
                if !opening.end.connected() {
                    // The token that was shown is still good for those who could not read the reply.
                    self.sessions.detach(id, Instant::now());
                }
                self.welcome(id, fresh, last_seen, false, opening);
            }
            Err(instead) => {
                // It ended, or its token died, while this was written; the file is told what is.
                let event =
                    instead.map_or_else(|| fresh.end(), |stored| SessionEvent::Restore(Box::new(stored)));
                self.note(vec![event], Vec::new());
                opening.refuse(ErrorCode::BadToken);
            }
        }
    }
}

impl Fresh {
    fn event(&self) -> SessionEvent {
        SessionEvent::Open(Box::new(self.stored.clone()))
    }

    fn end(&self) -> SessionEvent {
        SessionEvent::End { number: self.stored.number }
    }
}

fn last_seen(account: &Account) -> Option<(Timestamp, IpAddr)> {
    account.last_seen_at.zip(account.addresses.first().copied())
}

impl Handler<ChangePassword> for AuthActor {
    type Result = ResponseFuture<Result<(), Refusal>>;

    fn handle(&mut self, message: ChangePassword, _: &mut Self::Context) -> Self::Result {
        let (reply, changed) = oneshot::channel();
        if let Err(refusal) = self.takes_more() {
            let _ = reply.send(Err(refusal));
        } else {
            self.change_password(message, reply);
        }
        answer(changed, Err(ErrorCode::ShuttingDown.into()))
    }
}

// passwd
impl AuthActor {
    fn change_password(&mut self, message: ChangePassword, reply: oneshot::Sender<Result<(), Refusal>>) {
        let ChangePassword { session, old, new, from } = message;
        let row = self.sessions.account_of(session);
        let Some(account) = row.and_then(|row| self.accounts.row(row)).cloned() else {
            let _ = reply.send(Err(ErrorCode::BadToken.into()));
            return;
        };
        // Whoever is in is on a device of the account's own.
        let known = as_tried(&account, Some(session.number()));
        let attempt = match self.throttle.change(from, known, &account.name, Instant::now()) {
            Ok(attempt) => attempt,
            Err(denied) => {
                let _ = reply.send(Err(denied));
                return;
            }
        };
        let proven =
            Proven { row: account.row, password_changes: self.accounts.password_changes(account.row) };
        let work = Work::Change { old, stored: account.password.clone(), new };
        self.hash(
            Owner::Account(account.row),
            work,
            || true,
            move |actor, hashed| {
                actor.settle(attempt, &hashed);
                let refusal = match hashed {
                    Hashed::Fresh(password) => match actor.still(&proven) {
                        Ok(_) => return actor.store_password(session, proven.row, password, reply),
                        Err(code) => code.into(),
                    },
                    Hashed::Wrong => {
                        log::info!(by:% = account.name; "failed change of the password of {:?} from {from}", account.name);
                        ErrorCode::WrongPassword.into()
                    }
                    other => not_hashed(&other),
                };
                let _ = reply.send(Err(refusal));
            },
        );
    }

    fn store_password(
        &mut self,
        session: SessionId,
        row: u64,
        password: StoredPassword,
        reply: oneshot::Sender<Result<(), Refusal>>,
    ) {
        let sessions = SessionsFrom { number: self.next_session, and: Some(session.number()) };
        let change = AccountChange::Password { row, password, sessions };
        let order = Order { accounts: vec![change.clone()], ..Order::default() };
        self.store(order, move |actor, written| {
            if written.is_err() {
                let _ = reply.send(Err(ErrorCode::StorageUnavailable.into()));
                return;
            }
            actor.accounts.apply(&change);
            log::info!(by:% = row; "the password of session {session} was changed");
            let ended = actor.sessions.end_account(row, Some(session));
            let bye = EndSession {
                reason: ByeReason::Kicked,
                text: Some("The password of this account was changed; log in with the new one.".into()),
            };
            actor.tell_ended(ended, &bye);
            let _ = reply.send(Ok(()));
        });
    }
}
