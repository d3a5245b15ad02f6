//! The AuthActor: who has an account, who has a session, and whose token is good.
//!
//! It lives on the system arbiter and never blocks. Each request is one async function over the actor's state
//! (`state`), read from the top: what is asked is looked at, passwords are hashed on the hash threads
//! ([`hashing`]), what is decided is written by the disk thread ([`disk`]), and what depends on it is looked at
//! again behind each wait. Every decision is made here, one after the other, on what is durable: accounts and
//! sessions are in memory when they are on the disk.
//!
//! - `register`, `login`, `passwd`: with a password; `resume`: with a token, and the rest of a session's life;
//!   `opening`: what the three that open a session have in common;
//! - `lockout`: who is tried no more for now, and who all the same;
//! - `operator`: what the console and `veche account` ask for;
//! - [`leaving`]: when the name of an account that was removed is free;
//! - [`open`]: what is found at the start;
//! - this file: the actor, and who answers what.

pub mod disk;
pub mod hashing;
pub mod leaving;
mod lockout;
mod login;
pub mod open;
mod opening;
mod operator;
mod passwd;
mod register;
mod resume;
mod state;

use std::time::{Duration, Instant};

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, MessageResult, Recipient, ResponseFuture,
    WrapFuture,
};
use tokio::sync::mpsc;

use self::disk::BatchDone;
use self::leaving::WayOfMessages;
pub use self::open::{AuthStartError, OpenedAuth};
use self::state::{Auth, State};
use super::messages::auth::{
    AccountEntry, AccountInfo, AddAccount, AuthSnapshot, Ban, ChangePassword, ClearAccounts, ClearedAccounts,
    CloseSession, Detach, Identify, ImportAccount, ImportOutcome, Kick, ListAccounts, LookUp, MOST_LOCKS,
    OpenSession, OpenedSession, OperatorError, RemoveAccount, SetPassword, Shutdown, TokenUsed, Unban,
    Unlock,
};
use super::messages::observe::Observe;
use super::messages::session::EndSession;
use super::panic_watch::Critical;
use crate::model::{ByeReason, Refusal, SessionEvent, Timestamp};

/// Where the connection that holds a session hears that it has ended.
pub type SessionOwner = Recipient<EndSession>;

/// How often it looks whose time is over.
const EXPIRE_EVERY: Duration = Duration::from_millis(500);
/// How often it forgets old budgets and writes that sessions are alive.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Requests that may wait in the mailbox; further senders wait outside.
const MAILBOX: usize = 1_024;

/// See the module.
pub struct AuthActor {
    auth: Auth,
    /// What comes back from the disk, until the actor has started.
    done: Option<mpsc::UnboundedReceiver<BatchDone>>,
}

impl AuthActor {
    fn new(state: State, critical: Option<Critical>, done: mpsc::UnboundedReceiver<BatchDone>) -> Self {
        AuthActor { auth: Auth::new(state, critical), done: Some(done) }
    }

    /// The actor of a server whose messages go this way.
    pub fn with(self, way: WayOfMessages) -> Self {
        self.auth.state().way = Some(way);
        self
    }

    /// Answers with what a story comes to. It runs beside the actor: a wait of one holds nobody up.
    fn answer<T: 'static, F: Future<Output = T> + 'static>(
        &self,
        story: impl FnOnce(Auth) -> F,
    ) -> ResponseFuture<T> {
        Box::pin(story(self.auth.clone()))
    }
}

impl Drop for AuthActor {
    fn drop(&mut self) {
        self.auth.give_up();
    }
}

impl std::fmt::Debug for AuthActor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.auth.state();
        write!(f, "AuthActor({} accounts, {} sessions)", state.accounts.len(), state.sessions.len())
    }
}

impl Actor for AuthActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        if let Some(done) = self.done.take() {
            ctx.spawn(self.auth.clone().take_back_all(done).into_actor(self).map(|(), _, _| ()));
        }
        ctx.run_interval(EXPIRE_EVERY, |actor, _| actor.auth.state().expire());
        ctx.run_interval(SWEEP_EVERY, |actor, _| {
            actor.auth.state().sweep();
            actor.auth.pass_on();
        });
    }
}

impl State {
    fn expire(&mut self) {
        let bye = EndSession { reason: ByeReason::Expired, text: None };
        let expired = self.sessions.expire(Instant::now());
        let died = expired.lost_previous.into_iter();
        let died = died.map(|(number, token)| SessionEvent::Used { number, token });
        self.note(died.collect(), Vec::new());
        self.tell_ended(expired.ended, &bye);
    }

    fn sweep(&mut self) {
        self.give_up_lost();
        let now = Instant::now();
        self.throttle.sweep(now);
        self.openings.sweep(now);
        let at = Timestamp::now();
        // A connection whose actor ended without a word, by a panic say.
        let lost = self.sessions.detach_lost(Recipient::connected, now);
        let mut events: Vec<_> = lost.into_iter().map(|number| SessionEvent::Seen { number, at }).collect();
        if self.sessions.attached() > 0 {
            events.push(SessionEvent::Alive { at });
        }
        self.note(events, Vec::new());
    }

    fn snapshot(&self) -> AuthSnapshot {
        let locks = self.locks();
        let (addresses_without_logins, addresses_without_registrations) = self.addresses_used_up();
        AuthSnapshot {
            fault: self.fault.clone(),
            addresses_without_logins,
            addresses_without_registrations,
            accounts: self.accounts.len(),
            banned: self.accounts.iter().filter(|account| account.banned).count(),
            sessions: self.sessions.len(),
            attached: self.sessions.attached(),
            hashes: self.pool.as_ref().map_or(0, hashing::HashPool::jobs),
            rejected_rows: self.rejected_rows,
            locks_in_all: locks.len(),
            locks: locks.into_iter().take(MOST_LOCKS).collect(),
        }
    }
}

// ------------------------------------------------------------ what is answered at once

impl Handler<Identify> for AuthActor {
    type Result = bool;

    fn handle(&mut self, Identify { name }: Identify, _: &mut Self::Context) -> bool {
        let state = self.auth.state();
        name.is_server() || state.accounts.named(&name).is_some() || state.is_kept(&name)
    }
}

impl Handler<LookUp> for AuthActor {
    type Result = Option<AccountInfo>;

    fn handle(&mut self, LookUp { name }: LookUp, _: &mut Self::Context) -> Option<AccountInfo> {
        let state = self.auth.state();
        let account = state.accounts.named(&name)?;
        Some(AccountInfo { name: account.name.clone(), visible_from: account.visible_from })
    }
}

impl Handler<Detach> for AuthActor {
    type Result = ();

    fn handle(&mut self, message: Detach, _: &mut Self::Context) {
        self.auth.state().detach(message);
        self.auth.pass_on();
    }
}

impl Handler<Observe<AuthSnapshot>> for AuthActor {
    type Result = MessageResult<Observe<AuthSnapshot>>;

    fn handle(&mut self, asked: Observe<AuthSnapshot>, _: &mut Self::Context) -> Self::Result {
        MessageResult(asked.answer(self.auth.state().snapshot()))
    }
}

impl Handler<Unlock> for AuthActor {
    type Result = Result<u32, OperatorError>;

    fn handle(&mut self, message: Unlock, _: &mut Self::Context) -> Self::Result {
        self.auth.state().unlock(&message)
    }
}

impl Handler<ListAccounts> for AuthActor {
    type Result = Vec<AccountEntry>;

    fn handle(&mut self, _: ListAccounts, _: &mut Self::Context) -> Vec<AccountEntry> {
        self.auth.state().list()
    }
}

// ------------------------------------------------------------ what takes a hash or the disk

/// A message that is answered when its story has ended.
macro_rules! stories {
    ($($message:ident -> $answer:ty => $story:path;)*) => {$(
        impl Handler<$message> for AuthActor {
            type Result = ResponseFuture<$answer>;

            fn handle(&mut self, message: $message, _: &mut Self::Context) -> Self::Result {
                self.answer(|auth| $story(auth, message))
            }
        }
    )*};
}

stories! {
    OpenSession -> Result<OpenedSession, Refusal> => opening::open_session;
    TokenUsed -> Result<(), Refusal> => resume::token_used;
    CloseSession -> Result<(), Refusal> => resume::close;
    ChangePassword -> Result<(), Refusal> => passwd::change_password;
    AddAccount -> Result<(), OperatorError> => operator::add;
    ImportAccount -> Result<ImportOutcome, OperatorError> => operator::import;
    SetPassword -> Result<usize, OperatorError> => operator::set_password;
    RemoveAccount -> Result<usize, OperatorError> => operator::remove;
    Ban -> Result<usize, OperatorError> => operator::ban;
    Unban -> Result<(), OperatorError> => operator::unban;
    Kick -> Result<usize, OperatorError> => operator::kick;
    ClearAccounts -> Result<ClearedAccounts, OperatorError> => operator::clear;
    Shutdown -> () => operator::shut_down;
}

#[cfg(test)]
#[path = "auth/tests.rs"]
mod tests;
