//! The one thread that writes accounts and sessions, with group commit.
//!
//! It takes what has gathered in its queue, writes all of it with one fsync a file, and then answers all.
//! What can wait (when somebody was last seen) is written once a minute, and when the thread ends.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::vec::Drain;

use crate::model::{Account, AccountChange, Device, SessionEvent, Timestamp};
use crate::store::accounts::{AccountFile, StoreError};
use crate::store::devices::{DeviceEvent, DeviceFile};
use crate::store::sessions::{Events, SessionFile};
use crate::writer_thread::{self, BatchWriter, QueueBounds, WriterThread};

/// How long what can wait does wait.
const FLUSH_AFTER: Duration = Duration::from_secs(60);
/// When to try again to write what a refused write has left to do.
const SETTLE_AFTER: Duration = Duration::from_secs(1);
/// Orders in one batch, at most: what follows them all runs in one go on the system arbiter.
const MAX_BATCH: usize = 512;

/// What is to be written together.
#[derive(Debug, Default)]
pub struct Order {
    /// Changes of accounts.
    pub accounts: Vec<AccountChange>,
    /// Events of sessions.
    pub sessions: Vec<SessionEvent>,
}

/// What came of an errand.
pub type Written = Result<Done, WriteFault>;

/// Why something was not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteFault {
    /// What happened, for the operator.
    pub sentence: String,
    /// Whether the changes of accounts are on the disk all the same, and only the sessions are not.
    pub accounts_stored: bool,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// The order is on the disk.
    Stored,
    /// The account file is empty.
    Cleared {
        /// How many accounts there were.
        accounts: usize,
        /// The copy.
        copy: PathBuf,
    },
    /// Everything is written, and nothing will be any more.
    Closed,
}

#[derive(Debug)]
struct Task<E> {
    what: What,
    /// Who waits until it is durable.
    errand: Option<E>,
}

#[derive(Debug)]
enum What {
    Write(Order),
    Clear,
    Close,
}

/// What came of a batch.
pub struct Batch<E> {
    /// Who waited for something in it, and what came of that.
    pub errands: Vec<(E, Written)>,
    /// The accounts that it changed, as this thread has them: to share them in memory.
    pub accounts: Vec<Arc<Account>>,
    /// The tokens that died by it.
    pub devices: Vec<Device>,
}

/// The thread and its queue.
pub struct Disk<E> {
    thread: WriterThread<Task<E>>,
}

impl<E: Send + 'static> Disk<E> {
    /// Starts the thread. `deliver` takes what came of a batch, on that thread. What may wait is not bounded:
    /// who gives it something to write looks at [`Disk::waiting`].
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        accounts: AccountFile,
        sessions: SessionFile,
        devices: DeviceFile,
        deliver: impl Fn(Batch<E>) + Send + 'static,
    ) -> io::Result<Self> {
        let writer = Writer { accounts, sessions, devices, deliver: Box::new(deliver), flush_at: None };
        let bounds = QueueBounds { most_waiting: None, most_at_once: MAX_BATCH };
        Ok(Disk { thread: writer_thread::start("auth-disk", bounds, (), writer)? })
    }

    /// How many tasks wait for the disk.
    pub fn waiting(&self) -> usize {
        self.thread.waiting()
    }

    /// Writes, and answers the errand when all of it is durable.
    ///
    /// # Errors
    /// The errand, when the thread has ended.
    pub fn write(&self, order: Order, errand: E) -> Result<(), Option<E>> {
        self.send(What::Write(order), Some(errand))
    }

    /// Writes sometime soon; nobody waits for it.
    pub fn note(&self, order: Order) {
        // Once the thread has ended, the server is stopping, and a note has nowhere to go.
        let _ = self.send(What::Write(order), None);
    }

    /// Empties the account file, keeping a copy.
    ///
    /// # Errors
    /// The errand, when the thread has ended.
    pub fn clear(&self, errand: E) -> Result<(), Option<E>> {
        self.send(What::Clear, Some(errand))
    }

    /// Writes what is not written, and ends the thread.
    ///
    /// # Errors
    /// The errand, when the thread has ended before.
    pub fn close(&self, errand: E) -> Result<(), Option<E>> {
        self.send(What::Close, Some(errand))
    }

    fn send(&self, what: What, errand: Option<E>) -> Result<(), Option<E>> {
        self.thread.send(Task { what, errand }).map_err(|refused| refused.errand)
    }
}

struct Writer<E> {
    accounts: AccountFile,
    sessions: SessionFile,
    devices: DeviceFile,
    deliver: Box<dyn Fn(Batch<E>) + Send>,
    /// When what could wait is to be written.
    flush_at: Option<Instant>,
}

impl<E: Send + 'static> BatchWriter for Writer<E> {
    type Job = Task<E>;

    fn write(&mut self, tasks: Drain<'_, Task<E>>) -> ControlFlow<()> {
        let Some(errand) = self.work_off(tasks) else { return ControlFlow::Continue(()) };
        self.answer(errand.into_iter().map(|errand| (errand, Ok(Done::Closed))).collect());
        ControlFlow::Break(())
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

impl<E> Writer<E> {
    /// Does a batch in its order. Returns who closes, if anyone does.
    fn work_off(&mut self, tasks: Drain<'_, Task<E>>) -> Option<Option<E>> {
        let mut orders = Vec::new();
        for Task { what, errand } in tasks {
            match what {
                What::Write(order) => orders.push((order, errand)),
                What::Clear => {
                    self.write_orders(std::mem::take(&mut orders));
                    let cleared = self.clear();
                    self.answer(errand.into_iter().map(|errand| (errand, cleared.clone())).collect());
                }
                What::Close => {
                    self.write_orders(std::mem::take(&mut orders));
                    self.close();
                    return Some(errand);
                }
            }
        }
        self.write_orders(orders);
        None
    }

    /// Writes orders together, and answers those who wait.
    fn write_orders(&mut self, orders: Vec<(Order, Option<E>)>) {
        if orders.is_empty() {
            return;
        }
        let durable = orders.iter().any(|(_, errand)| errand.is_some());
        let changes: Vec<AccountChange> =
            orders.iter().flat_map(|(order, _)| order.accounts.iter().cloned()).collect();
        let accounts = told(self.accounts.commit(&changes));
        // A session of an account that could not be stored is none.
        let events: Vec<Events<'_>> = orders
            .iter()
            .filter(|(order, _)| !order.sessions.is_empty() && (accounts.is_ok() || !order.needs_accounts()))
            .map(|(order, errand)| Events { events: &order.sessions, owed: errand.is_none() })
            .collect();
        let devices = self.remember(&changes, &events, durable);
        let sessions = told(self.sessions.commit(&events, durable && !events.is_empty()));
        self.plan_flush();
        let answers = orders.into_iter().filter_map(|(order, errand)| {
            let accounts = if order.needs_accounts() { accounts.clone() } else { Ok(()) };
            let sessions = if order.sessions.is_empty() { Ok(()) } else { sessions.clone() };
            let accounts_stored = accounts.is_ok();
            let fault = |sentence| WriteFault { sentence, accounts_stored };
            Some((errand?, accounts.and(sessions).map(|()| Done::Stored).map_err(fault)))
        });
        let errands: Vec<_> = answers.collect();
        let accounts: Vec<_> =
            changes.iter().filter_map(|change| self.accounts.account(change.row()).cloned()).collect();
        if !errands.is_empty() || !accounts.is_empty() || !devices.is_empty() {
            (self.deliver)(Batch { errands, accounts, devices });
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

    fn answer(&self, errands: Vec<(E, Written)>) {
        (self.deliver)(Batch { errands, accounts: Vec::new(), devices: Vec::new() });
    }

    fn clear(&mut self) -> Written {
        match self.accounts.clear(Timestamp::now()) {
            Ok((accounts, copy)) => {
                if let Err(error) = self.devices.clear() {
                    log::error!("devices that were in before could not be forgotten: {error}");
                }
                Ok(Done::Cleared { accounts, copy })
            }
            Err(error) => {
                log::error!("the account file could not be cleared: {error}");
                Err(WriteFault { sentence: error.to_string(), accounts_stored: false })
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

impl Order {
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
