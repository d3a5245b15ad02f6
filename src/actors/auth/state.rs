//! What the AuthActor knows, and the two things that take time: a hash, and the disk.
//!
//! [`Auth`] is the state as the stories of this actor hold it ([`super::login`], [`super::operator`] and the
//! others): each is one async function, which borrows the state between its awaits and never over one. So
//! what was looked at before an await is looked at again behind it.
//!
//! What was written becomes true here, in [`State::take_back`], in the order of the disk and before anybody who
//! waits goes on. Accounts and sessions are in memory when they are on the disk, and in the order in which
//! a restart would find them.

use std::cell::{RefCell, RefMut};
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::SessionOwner;
use super::disk::{Applied, BatchDone, ClearedFile, Disk, Outcome, WriteFault, WriteRequest};
use super::hashing::{HashPool, Hashed, NotHashed, Owner, Work};
use super::leaving::{Leaving, WayOfMessages};
use crate::actors::messages::session::EndSession;
use crate::actors::panic_watch::Critical;
use crate::chat::accounts::devices::Devices;
use crate::chat::accounts::index::Accounts;
use crate::chat::accounts::login_throttle::LoginThrottle;
use crate::chat::accounts::openings::Openings;
use crate::chat::accounts::sessions::{Ended, SessionTable};
use crate::config::Registration;
use crate::model::{
    AccountChange, ErrorCode, MessageId, Refusal, SessionEvent, SessionsFrom, StoredPassword, UserName,
};
use crate::secrets::seal::Sealer;
use crate::secrets::token::TokenHasher;

/// When to come back if the disk has too much to write, in milliseconds.
const DISK_BUSY_RETRY_MS: u64 = 1_000;

/// All that the AuthActor knows.
pub(super) struct State {
    pub(super) registration: Registration,
    pub(super) sessions_per_account: usize,
    pub(super) queue_writes: usize,
    pub(super) accounts: Accounts,
    pub(super) sessions: SessionTable<SessionOwner>,
    pub(super) throttle: LoginThrottle,
    /// Tokens that have died.
    pub(super) devices: Devices,
    pub(super) openings: Openings,
    pub(super) tokens: TokenHasher,
    pub(super) sealer: Arc<Sealer>,
    /// The indexes of names that nobody may take: see `is_kept`.
    pub(super) kept_names: HashSet<String>,
    /// What is compared with when there is no account.
    pub(super) dummy: StoredPassword,
    /// `None` once the actor is gone.
    pub(super) pool: Option<HashPool>,
    pub(super) disk: Disk,
    /// Where messages go, `None` without a server.
    pub(super) way: Option<WayOfMessages>,
    pub(super) leaving: Vec<Leaving>,
    pub(super) newest_id: Arc<AtomicU64>,
    pub(super) next_session: u64,
    pub(super) rejected_rows: usize,
    pub(super) closing: bool,
    /// Why the last write failed, when it did, for `status`.
    pub(super) fault: Option<String>,
}

/// The state, shared by the actor and the stories that are under way. A panic in one of them is the actor's
/// own: each keeps its sign of life.
#[derive(Clone)]
pub(super) struct Auth {
    state: Rc<RefCell<State>>,
    _critical: Option<Critical>,
}

impl Auth {
    pub(super) fn new(state: State, critical: Option<Critical>) -> Self {
        Auth { state: Rc::new(RefCell::new(state)), _critical: critical }
    }

    /// The state. Never held over an await.
    pub(super) fn state(&self) -> RefMut<'_, State> {
        let state = self.state.borrow_mut();
        #[cfg(test)]
        state.check_invariants();
        state
    }

    /// Hashes, when it is the owner's turn. A job that is not wanted any more by then is not done.
    pub(super) async fn hash(
        &self,
        owner: Owner,
        work: Work,
        wanted: impl Fn() -> bool + Send + 'static,
    ) -> Result<Hashed, NotHashed> {
        let (waiter, hashed) = oneshot::channel();
        match &self.state().pool {
            Some(pool) => pool.submit(owner, work, waiter, wanted),
            None => return Err(NotHashed::Stopping),
        }
        hashed.await.unwrap_or(Err(NotHashed::Stopping))
    }

    /// Writes. What is asked for is durable and true when this is ready, or was not possible.
    pub(super) async fn store(&self, request: WriteRequest) -> Result<Applied, WriteFault> {
        let (waiter, written) = oneshot::channel();
        self.state().disk.write(request, waiter);
        written.await.unwrap_or(Err(WriteFault::Stopping))
    }

    /// Empties the account file, keeping a copy. All accounts and sessions are gone when this is ready, or it
    /// was not possible.
    pub(super) async fn clear_file(&self) -> Result<ClearedFile, WriteFault> {
        let (waiter, cleared) = oneshot::channel();
        self.state().disk.clear(waiter);
        cleared.await.unwrap_or(Err(WriteFault::Stopping))
    }

    /// Writes what is not written, closes the files, and refuses everything from then on.
    pub(super) async fn shut_down(&self) {
        let (waiter, closed) = oneshot::channel();
        {
            let mut state = self.state();
            state.closing = true;
            state.disk.close(waiter);
        }
        // A thread that has ended before has closed them.
        let _ = closed.await;
    }

    /// Makes true what comes back from the disk, for as long as something can.
    pub(super) async fn take_back_all(self, mut done: mpsc::UnboundedReceiver<BatchDone>) {
        while let Some(batch) = done.recv().await {
            self.state().take_back(batch);
            self.pass_on();
        }
    }

    /// Lets those go who wait for a hash: the actor is gone. Never panics, since a panic may be why.
    pub(super) fn give_up(&self) {
        if let Ok(mut state) = self.state.try_borrow_mut() {
            state.pool = None;
        }
    }
}

// What is written, and becomes true.
impl State {
    /// Whether there is room for another request that has to be written.
    pub(super) fn takes_more(&self) -> Result<(), Refusal> {
        if self.closing {
            return Err(ErrorCode::ShuttingDown.into());
        }
        if self.disk.waiting() >= self.queue_writes {
            return Err(Refusal::from(ErrorCode::RateLimited).retry_after_ms(DISK_BUSY_RETRY_MS));
        }
        Ok(())
    }

    /// Writes events of sessions and changes of accounts that are true already, and for which nobody waits.
    pub(super) fn note(&self, sessions: Vec<SessionEvent>, accounts: Vec<AccountChange>) {
        if !sessions.is_empty() || !accounts.is_empty() {
            self.disk.note(WriteRequest { accounts, sessions, ..WriteRequest::default() });
        }
    }

    /// Makes true what was written, in the order of the disk; who waits goes on when this has returned.
    fn take_back(&mut self, batch: BatchDone) {
        // Before the sessions end that had these tokens.
        for device in batch.devices {
            self.devices.add(device);
        }
        for outcome in batch.outcomes {
            match outcome {
                Outcome::Written(request, result, waiter) => {
                    self.note_fault(result.as_ref().err());
                    // Whoever asked may be gone; it is true all the same.
                    let _ = waiter.send(self.written(request, result));
                }
                Outcome::Cleared(result, waiter) => {
                    self.note_fault(result.as_ref().err());
                    let cleared = result.map(|(accounts, copy)| {
                        let (ended, freed) = self.forget_all();
                        ClearedFile { accounts, copy, ended, freed }
                    });
                    let _ = waiter.send(cleared);
                }
                Outcome::Closed(waiter) => drop(waiter.send(())),
            }
        }
        for account in &batch.accounts {
            self.accounts.share(account);
        }
    }

    fn note_fault(&mut self, fault: Option<&WriteFault>) {
        self.fault = match fault {
            Some(WriteFault::Refused { sentence, .. }) => Some(sentence.clone()),
            Some(WriteFault::Stopping) | None => None,
        };
    }

    fn written(
        &mut self,
        request: WriteRequest,
        result: Result<(), WriteFault>,
    ) -> Result<Applied, WriteFault> {
        match &result {
            Ok(()) => return Ok(self.apply(request)),
            Err(WriteFault::Refused { accounts_stored: true, .. }) => {
                // The sessions alone could not be written. What of the rest can wait was refused with them.
                let stored = request.accounts.into_iter().filter(|change| !change.can_wait());
                self.apply(WriteRequest { accounts: stored.collect(), ..WriteRequest::default() });
            }
            Err(_) => {}
        }
        result.map(|()| Applied::default())
    }

    /// Makes a request true that is on the disk. A session that was opened is not in the table yet: whoever
    /// opens it looks first whether it still may be.
    fn apply(&mut self, request: WriteRequest) -> Applied {
        let mut applied = Applied::default();
        for change in &request.accounts {
            self.apply_change(change, &mut applied);
        }
        for event in &request.sessions {
            match (event, &request.owner) {
                (SessionEvent::End { number }, _) => applied.ended.extend(self.sessions.end(*number)),
                (SessionEvent::Used { number, token }, _) => {
                    self.sessions.token_used(*number, token);
                }
                (SessionEvent::Resume(stored), Some(owner)) => {
                    applied.resumed = Some(self.sessions.resume(stored, owner.clone(), Instant::now()));
                }
                _ => {}
            }
        }
        applied
    }

    fn apply_change(&mut self, change: &AccountChange, applied: &mut Applied) {
        let row = change.row();
        let account = self.accounts.row(row).cloned();
        self.accounts.apply(change);
        let stay = match change {
            AccountChange::Password { sessions, .. }
            | AccountChange::EndSessions { sessions, .. }
            | AccountChange::Ban { sessions, .. } => *sessions,
            AccountChange::Remove { .. } => SessionsFrom::NONE,
            AccountChange::Add(_)
            | AccountChange::Rehash { .. }
            | AccountChange::Unban { .. }
            | AccountChange::Seen { .. } => return,
        };
        let ended = self.sessions.end_account(row, stay);
        if let (AccountChange::Remove { .. }, Some(account)) = (change, account) {
            self.devices.forget(row);
            applied.freed = Some(self.free_when_gone(vec![account.name.clone()], &ended));
        }
        applied.ended.extend(ended);
    }

    /// The account file is empty.
    fn forget_all(&mut self) -> (Vec<Ended<SessionOwner>>, Option<oneshot::Receiver<()>>) {
        let names = self.accounts.iter().map(|account| account.name.clone()).collect();
        self.accounts.clear();
        self.devices.clear();
        let ended = self.sessions.end_all();
        let freed = self.free_when_gone(names, &ended);
        (ended, Some(freed))
    }

    /// Tells connections that their sessions have ended, which is durable or needs not be, and has the session
    /// file told in its time. Returns their number.
    pub(super) fn tell_ended(&self, ended: Vec<Ended<SessionOwner>>, bye: &EndSession) -> usize {
        let mut events = Vec::with_capacity(ended.len());
        for Ended { id, owner, .. } in ended {
            if let Some(owner) = owner {
                owner.do_send(bye.clone());
            }
            events.push(SessionEvent::End { number: id.number() });
        }
        let count = events.len();
        self.note(events, Vec::new());
        count
    }
}

// What is asked of it.
impl State {
    /// Whether a name belongs to a row of the account file that could not be read: nobody can take it, but the
    /// operator can give it.
    pub(super) fn is_kept(&self, name: &UserName) -> bool {
        !self.kept_names.is_empty() && self.kept_names.contains(&self.sealer.index(name.as_str()))
    }

    /// The newest message of the server.
    pub(super) fn newest(&self) -> Option<MessageId> {
        MessageId::new(self.newest_id.load(Ordering::Acquire))
    }

    /// Panics unless all that this knows agrees.
    #[cfg(test)]
    fn check_invariants(&self) {
        self.accounts.check_invariants();
        self.sessions.check_invariants();
    }
}
