//! The one thread that writes accounts and sessions, with group commit.
//!
//! It takes what has gathered in its queue, writes all of it with one fsync a file, and gives
//! all of it back in its order: the actor makes it true, and wakes who waits (`state`). What can wait (when somebody was last seen) is written once a minute, and when the thread ends.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::vec::Drain;

use tokio::sync::{mpsc, oneshot};

use super::SessionOwner;
use crate::actors::panic_watch::Critical;
use crate::chat::accounts::sessions::{Ended, Resumed};
use crate::model::{Account, AccountChange, Device, ErrorCode, Refusal, SessionEvent, Timestamp};
use crate::store::accounts::{AccountFile, StoreError};
use crate::store::devices::{DeviceEvent, DeviceFile};
use crate::store::sessions::{Events, SessionFile};
use crate::writer_thread::{self, BatchWriter, QueueBounds, WriterThread};

/// How long what can wait does wait.
const FLUSH_AFTER: Duration = Duration::from_secs(60);
/// When to try again to write what a refused write has left to do.
const SETTLE_AFTER: Duration = Duration::from_secs(1);
/// Requests in one batch, at most: all of a batch is made true in one go on the system arbiter.
const MAX_BATCH: usize = 512;

/// What is to be written together, and to be true when it is.
#[derive(Debug, Default)]
pub struct WriteRequest {
    /// Changes of accounts.
    pub accounts: Vec<AccountChange>,
    /// Events of sessions.
    pub sessions: Vec<SessionEvent>,
    /// Who is to hold the session that is resumed.
    pub owner: Option<SessionOwner>,
}

/// What became true with a request that was written.
#[derive(Debug, Default)]
pub struct Applied {
    /// The sessions that have ended by it. Their connections are still to be told.
    pub ended: Vec<Ended<SessionOwner>>,
    /// What became of the session that was to be resumed.
    pub resumed: Option<Resumed<SessionOwner>>,
    /// Ready when the name of the account that was removed is free.
    pub freed: Option<oneshot::Receiver<()>>,
}

/// What `clear file` has done.
#[derive(Debug)]
pub struct ClearedFile {
    /// How many accounts there were.
    pub accounts: usize,
    /// The copy.
    pub copy: PathBuf,
    /// The sessions that have ended by it. Their connections are still to be told.
    pub ended: Vec<Ended<SessionOwner>>,
    /// Ready when the names of the accounts are free.
    pub freed: Option<oneshot::Receiver<()>>,
}

/// Why something was not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteFault {
    /// The disk did not take it.
    Refused {
        /// What happened, for the operator.
        sentence: String,
        /// Whether the changes of accounts are on the disk all the same, and only the sessions are not.
        accounts_stored: bool,
    },
    /// Nothing is written any more.
    Stopping,
}

impl From<WriteFault> for Refusal {
    fn from(fault: WriteFault) -> Self {
        match fault {
            WriteFault::Refused { .. } => ErrorCode::StorageUnavailable.into(),
            WriteFault::Stopping => ErrorCode::ShuttingDown.into(),
        }
    }
}

/// Who waits for a request.
pub type WriteWaiter = oneshot::Sender<Result<Applied, WriteFault>>;
/// Who waits until the account file is empty.
pub type ClearWaiter = oneshot::Sender<Result<ClearedFile, WriteFault>>;

#[derive(Debug)]
enum Task {
    Write(WriteRequest, WriteWaiter),
    /// Nobody waits for it, and it is true already.
    Note(WriteRequest),
    Clear(ClearWaiter),
    Close(oneshot::Sender<()>),
}

/// What came of a task for which somebody waits.
#[derive(Debug)]
pub enum Outcome {
    /// The request is on the disk, or is not.
    Written(WriteRequest, Result<(), WriteFault>, WriteWaiter),
    /// The account file is empty (so many accounts there were, and the copy), or is not.
    Cleared(Result<(usize, PathBuf), WriteFault>, ClearWaiter),
    /// Everything is written, and nothing will be any more.
    Closed(oneshot::Sender<()>),
}

/// What came of a batch.
#[derive(Debug)]
pub struct BatchDone {
    /// What came of the tasks for which somebody waits, in the order of the disk.
    pub outcomes: Vec<Outcome>,
    /// The accounts that it changed, as this thread has them: to share them in memory.
    pub accounts: Vec<Arc<Account>>,
    /// The tokens that died by it.
    pub devices: Vec<Device>,
}

/// The thread and its queue.
#[derive(Debug)]
pub struct Disk {
    thread: WriterThread<Task>,
}

impl Disk {
    /// Starts the thread, which keeps `critical`. `done` gets what came of each batch. What may wait is not
    /// bounded: who gives it something to write looks at [`Disk::waiting`].
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        accounts: AccountFile,
        sessions: SessionFile,
        devices: DeviceFile,
        critical: Option<Critical>,
        done: mpsc::UnboundedSender<BatchDone>,
    ) -> io::Result<Self> {
        let writer = AuthFiles { accounts, sessions, devices, done, flush_at: None };
        let bounds = QueueBounds { most_waiting: None, most_at_once: MAX_BATCH };
        Ok(Disk { thread: writer_thread::start("auth-disk", bounds, critical, writer)? })
    }

    /// How many tasks wait for the disk.
    pub fn waiting(&self) -> usize {
        self.thread.waiting()
    }

    /// Writes; whoever waits hears when all of it is durable and true. A waiter that is dropped unanswered
    /// finds that the thread has ended.
    pub fn write(&self, request: WriteRequest, waiter: WriteWaiter) {
        self.send(Task::Write(request, waiter));
    }

    /// Writes sometime soon what is true already; nobody waits for it.
    pub fn note(&self, request: WriteRequest) {
        self.send(Task::Note(request));
    }

    /// Empties the account file, keeping a copy.
    pub fn clear(&self, waiter: ClearWaiter) {
        self.send(Task::Clear(waiter));
    }

    /// Writes what is not written, and ends the thread.
    pub fn close(&self, waiter: oneshot::Sender<()>) {
        self.send(Task::Close(waiter));
    }

    fn send(&self, task: Task) {
        // Once the thread has ended, the server is stopping: a note has nowhere to go, and a waiter that goes
        // with its task says so.
        let _ = self.thread.send(task);
    }
}

/// The files, on their thread.
struct AuthFiles {
    accounts: AccountFile,
    sessions: SessionFile,
    devices: DeviceFile,
    done: mpsc::UnboundedSender<BatchDone>,
    /// When what could wait is to be written.
    flush_at: Option<Instant>,
}

impl BatchWriter for AuthFiles {
    type Job = Task;

    fn write(&mut self, tasks: Drain<'_, Task>) -> ControlFlow<()> {
        let mut requests = Vec::new();
        for task in tasks {
            match task {
                Task::Write(request, waiter) => requests.push((request, Some(waiter))),
                Task::Note(request) => requests.push((request, None)),
                Task::Clear(waiter) => {
                    self.write_requests(std::mem::take(&mut requests));
                    let cleared = self.clear();
                    self.give_back(Outcome::Cleared(cleared, waiter));
                }
                Task::Close(waiter) => {
                    self.write_requests(std::mem::take(&mut requests));
                    self.close();
                    self.give_back(Outcome::Closed(waiter));
                    return ControlFlow::Break(());
                }
            }
        }
        self.write_requests(requests);
        ControlFlow::Continue(())
    }

    fn wakes_in(&self) -> Option<Duration> {
        self.flush_at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    fn wake(&mut self) {
        self.flush();
    }

    fn finish(&mut self) {
        self.flush();
    }
}

impl AuthFiles {
    /// Writes requests together, and gives back those for which somebody waits.
    fn write_requests(&mut self, requests: Vec<(WriteRequest, Option<WriteWaiter>)>) {
        if requests.is_empty() {
            return;
        }
        let durable = requests.iter().any(|(_, waiter)| waiter.is_some());
        let changes: Vec<AccountChange> =
            requests.iter().flat_map(|(request, _)| request.accounts.iter().cloned()).collect();
        let accounts = told(self.accounts.commit(&changes));
        // A session of an account that could not be stored is none.
        let events: Vec<Events<'_>> = requests
            .iter()
            .filter(|(request, _)| {
                !request.sessions.is_empty() && (accounts.is_ok() || !request.needs_accounts())
            })
            .map(|(request, waiter)| Events { events: &request.sessions, owed: waiter.is_none() })
            .collect();
        let devices = self.remember(&changes, &events, durable);
        let sessions = told(self.sessions.commit(&events, durable && !events.is_empty()));
        self.plan_flush();
        let outcomes = requests.into_iter().filter_map(|(request, waiter)| {
            let accounts = if request.needs_accounts() { accounts.clone() } else { Ok(()) };
            let sessions = if request.sessions.is_empty() { Ok(()) } else { sessions.clone() };
            let accounts_stored = accounts.is_ok();
            let fault = |sentence| WriteFault::Refused { sentence, accounts_stored };
            Some(Outcome::Written(request, accounts.and(sessions).map_err(fault), waiter?))
        });
        let outcomes: Vec<_> = outcomes.collect();
        let accounts: Vec<_> =
            changes.iter().filter_map(|change| self.accounts.account(change.row()).cloned()).collect();
        if !outcomes.is_empty() || !accounts.is_empty() || !devices.is_empty() {
            self.tell(BatchDone { outcomes, accounts, devices });
        }
    }

    /// Remembers the tokens that die by these events, before they do: a device that shows one is known. That
    /// this may fail keeps nobody from leaving.
    fn remember(&mut self, changes: &[AccountChange], events: &[Events<'_>], durable: bool) -> Vec<Device> {
        let at = Timestamp::now();
        let dead = self.sessions.tokens_that_die(events.iter().flat_map(|events| events.events));
        let devices: Vec<Device> = dead
            .into_iter()
            .map(|(account, session, token)| Device { account, session, token, at })
            .collect();
        let gone = changes.iter().filter_map(|change| match change {
            AccountChange::Remove { row } => Some(DeviceEvent::Gone(*row)),
            _ => None,
        });
        let noted: Vec<_> = devices.iter().copied().map(DeviceEvent::Had).chain(gone).collect();
        if let Err(error) = self.devices.commit(&noted, durable) {
            log::error!("devices that were in before could not be remembered: {error}");
        }
        devices
    }

    fn give_back(&self, outcome: Outcome) {
        self.tell(BatchDone { outcomes: vec![outcome], accounts: Vec::new(), devices: Vec::new() });
    }

    fn tell(&self, batch: BatchDone) {
        // An actor that is gone waits for nothing.
        let _ = self.done.send(batch);
    }

    fn clear(&mut self) -> Result<(usize, PathBuf), WriteFault> {
        match self.accounts.clear(Timestamp::now()) {
            Ok(cleared) => {
                if let Err(error) = self.devices.clear() {
                    log::error!("devices that were in before could not be forgotten: {error}");
                }
                Ok(cleared)
            }
            Err(error) => {
                log::error!("the account file could not be cleared: {error}");
                Err(WriteFault::Refused { sentence: error.to_string(), accounts_stored: false })
            }
        }
    }

    /// Writes what could wait, and what is owed.
    fn flush(&mut self) {
        let _ = (told(self.accounts.flush()), told(self.sessions.settle())); // the log has it
        self.flush_at = None;
        self.plan_flush();
    }

    /// Sees to it that what waits is written in a while, and what is owed soon.
    fn plan_flush(&mut self) {
        let wait = if self.sessions.is_owed() || self.accounts.is_owed() {
            SETTLE_AFTER
        } else if self.accounts.is_dirty() {
            FLUSH_AFTER
        } else {
            return;
        };
        let at = Instant::now() + wait;
        self.flush_at = Some(self.flush_at.map_or(at, |planned| planned.min(at)));
    }

    fn close(&mut self) {
        self.flush();
        let alive = [SessionEvent::Alive { at: Timestamp::now() }];
        // Its fault is in the log; the sessions are as old as they were last seen then.
        let _ = told(self.sessions.commit(&[Events { events: &alive, owed: true }], true));
    }
}

impl WriteRequest {
    /// Whether a change of accounts has to be durable with it.
    fn needs_accounts(&self) -> bool {
        self.accounts.iter().any(|change| !change.can_wait())
    }
}

fn told(result: Result<(), StoreError>) -> Result<(), String> {
    result.map_err(|error| {
        log::error!(by = "the disk"; "accounts or sessions could not be written: {error}");
        error.to_string()
    })
}
