//! `login`: budgets, the hash, the same questions again on what may have changed meanwhile, the write, and
//! only then the session.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::SessionOwner;
use super::disk::WriteRequest;
use super::hashing::{Hashed, NotHashed, Owner, Work};
use super::lockout::as_tried;
use super::opening::{Fresh, LastSeen, Opening, last_seen, too_often};
use super::state::{Auth, State};
use crate::actors::messages::auth::OpenedSession;
use crate::actors::messages::session::EndSession;
use crate::chat::accounts::login_throttle::{Attempt, GuessOutcome};
use crate::chat::accounts::openings::UnderWay;
use crate::chat::accounts::sessions::Ended;
use crate::chat::limits::address_key::AddressKey;
use crate::model::{
    Account, AccountChange, ByeReason, ErrorCode, Password, Refusal, SessionEvent, StoredPassword, Timestamp,
    TokenText, UserName,
};

/// When to come back if all sessions of an account are in use, in milliseconds.
const SESSIONS_FULL_RETRY_MS: u64 = 60_000;
/// When to come back if all sessions were ended while one was opened, in milliseconds.
const ENDED_RETRY_MS: u64 = 100;
/// What a session hears that was taken over while it was chosen to end.
const MADE_ROOM: &str = "This session has ended, to make room for another one of this account.";

/// A right password, and what it was right for.
pub(super) struct Proven {
    pub(super) row: u64,
    /// How often the password had been changed when it was compared.
    pub(super) password_changes: u64,
}

/// A guess at a password that may be compared.
struct Guess {
    attempt: Attempt,
    /// What it is right for if it is right; `None` for a name that is no account.
    proves: Option<Proven>,
    /// What it is compared with.
    stored: StoredPassword,
    /// Whose turn it is.
    turn: Owner,
}

/// A session that may be opened.
struct NewSession {
    fresh: Fresh,
    last_seen: LastSeen,
    /// The session that ends for it.
    makes_room: Option<u64>,
    /// It counts while it is being written.
    under_way: UnderWay,
}

/// Compares a password, and opens a session when it is right.
pub(super) async fn login(
    auth: Auth,
    opening: Opening,
    name: UserName,
    password: Password,
    device: Option<TokenText>,
) -> Result<OpenedSession, Refusal> {
    let from = opening.from;
    let Guess { attempt, proves, stored, turn } = auth.state().begin_guess(&name, device.as_ref(), from)?;

    let work = Work::Compare { given: password, stored: stored.clone() };
    let compared = auth.hash(turn, work, opening.is_wanted()).await;
    auth.state().settle(attempt, &compared);
    let (proven, renewed) = match (compared, proves) {
        (Ok(Hashed::Right(renewed)), Some(proven)) => (proven, renewed),
        (compared, proves) => {
            if let Some(proves) = proves {
                auth.state().openings.give_back(proves.row);
            }
            compared?;
            log::info!(by:% = from; "failed login of {name:?} from {from}");
            return Err(ErrorCode::WrongPassword.into());
        }
    };

    // The password was right, and much may have changed since it was shown.
    let new = auth.state().new_session(&name, &proven, from)?;
    let row = proven.row;
    let rehash = renewed.map(|new| AccountChange::Rehash { row, old: stored, new });
    let seen = AccountChange::Seen { row, at: new.fresh.stored.opened_at, from: Some(from) };
    let end = new.makes_room.map(|number| SessionEvent::End { number });
    let request = WriteRequest {
        accounts: rehash.into_iter().chain([seen]).collect(),
        sessions: end.into_iter().chain([new.fresh.open()]).collect(),
        ..WriteRequest::default()
    };
    let written = auth.store(request).await;

    // From here on it is there, or not.
    drop(new.under_way);
    let mut state = auth.state();
    match written {
        Ok(applied) => tell_made_room(applied.ended),
        Err(fault) => {
            new.makes_room.into_iter().for_each(|number| state.sessions.spare(number));
            return Err(fault.into());
        }
    }
    state.admit_if_still(&proven, new.fresh, new.last_seen, false, &opening)
}

fn tell_made_room(ended: Vec<Ended<SessionOwner>>) {
    for owner in ended.into_iter().filter_map(|ended| ended.owner) {
        owner.do_send(EndSession { reason: ByeReason::Kicked, text: Some(MADE_ROOM.into()) });
    }
}

impl State {
    /// Takes from the budgets of whoever tries a password.
    fn begin_guess(
        &mut self,
        name: &UserName,
        device: Option<&TokenText>,
        from: IpAddr,
    ) -> Result<Guess, Refusal> {
        let now = Instant::now();
        let account = self.accounts.named(name).cloned();
        let known = account.as_deref().map(|account| as_tried(account, self.device(account.row, device)));
        let attempt = self.throttle.login(from, known, name, now)?;
        let Some(account) = account else {
            let turn = Owner::Stranger(AddressKey::of(from));
            return Ok(Guess { attempt, proves: None, stored: self.dummy.clone(), turn });
        };
        let row = account.row;
        if let Err(wait) = self.openings.take(row, now) {
            self.throttle.settle(attempt, GuessOutcome::NotCompared, now);
            return Err(too_often(wait));
        }
        Ok(Guess {
            attempt,
            proves: Some(Proven { row, password_changes: self.accounts.password_changes(row) }),
            stored: account.password.clone(),
            // Whoever has an account waits for no stranger's crowd.
            turn: Owner::Account(row),
        })
    }

    /// Says what became of a guess.
    pub(super) fn settle(&mut self, attempt: Attempt, compared: &Result<Hashed, NotHashed>) {
        let outcome = match compared {
            Ok(Hashed::Right(_) | Hashed::Fresh(_)) => GuessOutcome::Right,
            Ok(Hashed::Wrong) => GuessOutcome::Wrong,
            Err(_) => GuessOutcome::NotCompared,
        };
        if let Some(lock) = self.throttle.settle(attempt, outcome, Instant::now()) {
            self.tell_locked(&lock);
        }
    }

    /// The account that a right password opens, looked at anew: much may have changed since it was shown.
    pub(super) fn still(&self, proven: &Proven) -> Result<Arc<Account>, ErrorCode> {
        match self.accounts.row(proven.row) {
            Some(account) if account.banned => Err(ErrorCode::Banned),
            Some(account) if self.accounts.password_changes(proven.row) == proven.password_changes => {
                Ok(Arc::clone(account))
            }
            _ => Err(ErrorCode::WrongPassword),
        }
    }

    /// A session for whoever has shown a right password.
    fn new_session(&mut self, name: &UserName, proven: &Proven, from: IpAddr) -> Result<NewSession, Refusal> {
        let account = self.still(proven).inspect_err(|code| {
            log::info!(by:% = from; "refused login of {name:?} from {from}: {code}");
        })?;
        let (makes_room, under_way) = self.make_room(account.row)?;
        let fresh = self.fresh_session(account.row, Timestamp::now()).inspect_err(|_| {
            makes_room.into_iter().for_each(|number| self.sessions.spare(number));
        })?;
        Ok(NewSession { fresh, last_seen: last_seen(&account), makes_room, under_way })
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

    /// The session is durable: gives it to the connection, if what it was opened by still holds.
    pub(super) fn admit_if_still(
        &mut self,
        proven: &Proven,
        fresh: Fresh,
        last_seen: LastSeen,
        new: bool,
        opening: &Opening,
    ) -> Result<OpenedSession, Refusal> {
        let refusal = match self.still(proven) {
            Ok(account) if account.sessions.admits(fresh.stored.number) => {
                let from = opening.from;
                if !new {
                    log::info!(by:% = account.name; "{:?} logged in from {from}", account.name);
                }
                return self.admit(fresh, last_seen, new, opening);
            }
            Ok(_) => Refusal::new(
                ErrorCode::RateLimited,
                "The sessions of this account were ended just now; try again.",
            )
            .retry_after_ms(ENDED_RETRY_MS),
            Err(code) => code.into(),
        };
        // Nobody has its token; the file forgets it.
        self.note(vec![fresh.end()], Vec::new());
        Err(refusal)
    }
}
