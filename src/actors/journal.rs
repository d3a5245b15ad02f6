//! The JournalActor is the order of the server: a message exists when the journal has it, and is delivered
//! because the journal has it.
//!
//! It gives no ids and writes no files: drafts go to a [`MessageLog`], and come back from it stored, with
//! their ids and in the order of these. What arrives while the log has as much under way as it takes is the
//! next batch (group commit). What is stored goes back to its room and is acknowledged; what cannot be stored
//! is refused to its sender, and nobody has seen it. What the log heard from elsewhere goes to whoever here
//! takes that room's messages.

mod outcomes;
mod pages;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use actix::fut::ActorFuture;
use actix::{Actor, AsyncContext, Context, Handler, ResponseFuture};
use log::{error, info};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Sleep, sleep};

use super::messages::journal::{Append, CatchUp, CommitOutcome, Drain, JournalSnapshot, Subscribe};
use super::messages::observe::Observe;
use super::panic_watch::Critical;
use super::yield_now;
use crate::chat::journal::idempotency::{Fingerprint, IdempotencyTable, Lookup};
use crate::chat::journal::linger::Linger;
use crate::config::{Config, Durability};
use crate::model::{Draft, ErrorCode, MessageId, Refusal, StoredMessage, Timestamp};
use crate::store::log::{LogEvent, LogFault, MessageLog, RefusedDraft};
use outcomes::{Outcomes, Subscribers, Waiting};

/// When to try again after the log has refused.
const RETRY_STORAGE_MS: u64 = 1_000;
/// When to try again after the queue was full.
const RETRY_QUEUE_MS: u64 = 250;
/// What is said when ids have run out, which takes 28 500 years at ten thousand messages a second.
const NO_ID_LEFT: &str = "This server has used all its message ids; nothing more can be stored.";

/// The one who orders and stores.
pub struct JournalActor {
    _critical: Critical,
    config: Arc<Config>,
    log: Box<dyn MessageLog>,
    keys: IdempotencyTable<Waiting>,
    started: Instant,
    /// What the log has not taken yet.
    queue: VecDeque<Draft>,
    /// Who waits for the drafts that are under way, and then for those in the queue, in their order.
    waiting: VecDeque<Waiting>,
    linger: Linger,
    subscribers: Subscribers,
    newest_id: Arc<AtomicU64>,
    fault: Option<LogFault>,
    page_reads: Arc<Semaphore>,
    drained: Vec<oneshot::Sender<()>>,
    /// How many messages were stored since the start, for someone here, …
    stored: u64,
    /// … and how many the log has refused.
    refused: u64,
    /// Who waits until so many are stored or refused.
    catching_up: VecDeque<(u64, oneshot::Sender<()>)>,
    /// Whether it takes nothing more.
    closed: bool,
    /// Whether the log was asked to force what it has, for the last time.
    syncing: bool,
}

impl JournalActor {
    /// The journal over an opened log. `newest_id` is where everyone can read the newest id.
    pub fn new(
        config: Arc<Config>,
        mut log: Box<dyn MessageLog>,
        newest_id: Arc<AtomicU64>,
        critical: Critical,
    ) -> Self {
        let limits = &config.limits;
        let remembered_for = Duration::from_secs(limits.key_seconds);
        let mut keys = IdempotencyTable::new(limits.keys_per_account, remembered_for);
        let (now, tail) = (Timestamp::now(), log.tail());
        for message in &tail.recent_keyed {
            let age_ms = u64::try_from(now.as_millis() - message.at.as_millis()).unwrap_or(0);
            remember(&mut keys, message, remembered_for.saturating_sub(Duration::from_millis(age_ms)));
        }
        newest_id.fetch_max(MessageId::or_zero(tail.used), Ordering::Relaxed);
        let linger = match config.journal.durability {
            Durability::Fsync => Duration::from_millis(config.journal.linger_ms),
            // What costs little need not be shared.
            Durability::Os => Duration::ZERO,
        };
        JournalActor {
            _critical: critical,
            log,
            keys,
            started: Instant::now(),
            queue: VecDeque::new(),
            waiting: VecDeque::new(),
            linger: Linger::new(linger),
            subscribers: Subscribers::default(),
            newest_id,
            fault: None,
            page_reads: Arc::new(Semaphore::new(limits.page_reads.max(1))),
            drained: Vec::new(),
            stored: 0,
            refused: 0,
            catching_up: VecDeque::new(),
            closed: false,
            syncing: false,
            config,
        }
    }

    /// The time for keys. It begins late enough for those of before the start to have their place.
    fn now(&self) -> Duration {
        self.started.elapsed() + Duration::from_secs(self.config.limits.key_seconds)
    }

    // ------------------------------------------------------------ taking in

    fn take(&mut self, append: Append) {
        let Append { route, requester, visible_from, draft } = append;
        let waiting = Waiting { route, requester };
        if self.closed {
            return self.refuse(waiting, ErrorCode::ShuttingDown.into());
        }
        if self.queue.len() >= self.config.limits.journal_queue_messages {
            return self.refuse(waiting, retry(ErrorCode::RateLimited, RETRY_QUEUE_MS));
        }
        let Some(key) = &draft.key else { return self.enqueue(waiting, draft) };
        let print = Fingerprint::of(&draft.target, draft.kind.text().as_str());
        match self.keys.look_up(&draft.from, visible_from, key, print, waiting, self.now()) {
            Lookup::First(waiting) => self.enqueue(waiting, draft),
            Lookup::Stored(waiting, receipt) => {
                self.subscribers.tell(waiting, CommitOutcome::Duplicate(receipt));
            }
            Lookup::Waits => {}
            Lookup::Conflict(waiting) => {
                self.refuse(waiting, Refusal::bad_request("This key stands for another message of yours."));
            }
        }
    }

    fn enqueue(&mut self, waiting: Waiting, draft: Draft) {
        self.waiting.push_back(waiting);
        self.queue.push_back(draft);
    }

    fn refuse(&self, waiting: Waiting, refusal: Refusal) {
        self.subscribers.tell(waiting, CommitOutcome::Refused(refusal));
    }

    // ------------------------------------------------------------ storing

    /// Hears from the log, and gives it what waits, if it takes some.
    fn turn(&mut self, task: &mut TaskContext<'_>) -> Next {
        self.hear(task);
        if self.queue.is_empty() {
            self.finish_draining();
        } else if self.log.is_ready() {
            let now = self.now();
            let wait = self.linger.waits(now, self.queue.len());
            if !wait.is_zero() && !self.closed {
                return Next::In(wait);
            }
            let waited = self.queue.len();
            self.log.append(&mut self.queue);
            self.linger.began(now, waited - self.queue.len());
        }
        self.hear(task);
        let has_more = if self.queue.is_empty() { self.is_to_sync() } else { self.log.is_ready() };
        if has_more { Next::AfterOthers } else { Next::WhenWoken }
    }

    /// Hears all that the log has to tell now. It wakes the task when it has more.
    fn hear(&mut self, task: &mut TaskContext<'_>) {
        while let Poll::Ready(event) = self.log.poll_event(task) {
            match event {
                LogEvent::Committed(messages) => self.committed(messages),
                LogEvent::Replicated(messages) => self.replicated(messages),
                LogEvent::Refused { drafts, why } => self.not_stored(&drafts, why),
                LogEvent::Synced(result) => self.synced(result),
                LogEvent::Notice(notice) => error!("{notice}"),
            }
        }
    }

    fn committed(&mut self, messages: Vec<StoredMessage>) {
        if let Some(fault) = self.fault.take() {
            info!("storing works again, after: {fault}");
        }
        let (now, count) = (self.now(), messages.len());
        let mut outcomes = Outcomes::with_capacity(count);
        let waiting = self.waiting.drain(..count.min(self.waiting.len()));
        for (waiting, message) in waiting.zip(messages) {
            self.newest_id.store(message.id.get(), Ordering::Relaxed);
            if let Some(key) = &message.key {
                let receipt = message.receipt();
                for duplicate in self.keys.settle(&message.from, key, Some(receipt), now) {
                    outcomes.push(duplicate, CommitOutcome::Duplicate(receipt));
                }
            }
            outcomes.push(waiting, CommitOutcome::Stored(message));
        }
        outcomes.send(&self.subscribers);
        self.stored += count as u64;
        self.tell_caught_up();
    }

    /// Others have stored these: whoever is here hears of them, and nobody gets a receipt.
    fn replicated(&mut self, messages: Vec<StoredMessage>) {
        let now = self.now();
        let mut outcomes = Outcomes::with_capacity(messages.len());
        for message in messages {
            self.newest_id.store(message.id.get(), Ordering::Relaxed);
            remember(&mut self.keys, &message, now);
            if let Some(route) = self.subscribers.of(&message.target) {
                outcomes.push_unasked(route, CommitOutcome::Stored(message));
            }
        }
        outcomes.send(&self.subscribers);
    }

    fn not_stored(&mut self, drafts: &[RefusedDraft], why: LogFault) {
        if self.fault.is_none() {
            error!(by = "the journal"; "{} messages were refused: {why}", drafts.len());
        }
        let refusal = match &why {
            LogFault::IdsUsedUp => Refusal::new(ErrorCode::StorageUnavailable, NO_ID_LEFT),
            LogFault::Unavailable(_) | LogFault::Closed(_) => {
                retry(ErrorCode::StorageUnavailable, RETRY_STORAGE_MS)
            }
        };
        self.fault = Some(why);
        let now = self.now();
        let mut outcomes = Outcomes::with_capacity(drafts.len());
        let waiting = self.waiting.drain(..drafts.len().min(self.waiting.len()));
        for (waiting, draft) in waiting.zip(drafts) {
            if let Some(key) = &draft.key {
                for duplicate in self.keys.settle(&draft.from, key, None, now) {
                    outcomes.push(duplicate, CommitOutcome::Refused(refusal.clone()));
                }
            }
            outcomes.push(waiting, CommitOutcome::Refused(refusal.clone()));
        }
        outcomes.send(&self.subscribers);
        self.refused += drafts.len() as u64;
        self.tell_caught_up();
    }

    /// After their outcomes are on their way.
    fn tell_caught_up(&mut self) {
        let settled = self.stored + self.refused;
        while self.catching_up.front().is_some_and(|(until, _)| *until <= settled) {
            if let Some((_, caught_up)) = self.catching_up.pop_front() {
                let _ = caught_up.send(()); // who has asked may have given up
            }
        }
    }

    // ------------------------------------------------------------ stopping

    fn is_to_sync(&self) -> bool {
        !self.drained.is_empty() && !self.syncing && self.waiting.is_empty()
    }

    fn finish_draining(&mut self) {
        if self.is_to_sync() {
            self.syncing = true;
            self.log.sync();
        }
    }

    fn synced(&mut self, result: Result<(), LogFault>) {
        if let Err(why) = result {
            error!("the last messages could not be forced to the disk: {why}");
        }
        self.syncing = false;
        for drained in self.drained.drain(..) {
            let _ = drained.send(()); // who has asked may have given up
        }
    }
}

/// Remembers the key of a message that is stored already, if it has one.
fn remember(keys: &mut IdempotencyTable<Waiting>, message: &StoredMessage, stored: Duration) {
    if let Some(key) = &message.key {
        let print = Fingerprint::of(&message.target, message.text().as_str());
        keys.restore(&message.from, key.clone(), print, message.receipt(), stored);
    }
}

fn retry(code: ErrorCode, retry_after_ms: u64) -> Refusal {
    Refusal::from(code).retry_after_ms(retry_after_ms)
}

impl Actor for JournalActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.spawn(Turns { pause: None });
    }
}

/// When the journal has its next turn.
enum Next {
    /// When a message comes, or the log has something to tell.
    WhenWoken,
    /// When everyone else has had a turn.
    AfterOthers,
    /// After this time.
    In(Duration),
}

/// Polled after the mailbox is empty, so that all that has arrived goes into one batch.
struct Turns {
    pause: Option<Pin<Box<Sleep>>>,
}

impl ActorFuture<JournalActor> for Turns {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        journal: &mut JournalActor,
        _: &mut Context<JournalActor>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        loop {
            match journal.turn(task) {
                Next::WhenWoken => self.pause = None,
                Next::AfterOthers => yield_now(task),
                Next::In(wait) => {
                    let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(wait)));
                    if pause.as_mut().poll(task).is_ready() {
                        self.pause = None;
                        continue;
                    }
                }
            }
            return Poll::Pending;
        }
    }
}

impl Handler<Subscribe> for JournalActor {
    type Result = ();

    fn handle(&mut self, subscribe: Subscribe, _: &mut Context<Self>) {
        self.subscribers.subscribe(subscribe);
    }
}

impl Handler<Append> for JournalActor {
    type Result = ();

    fn handle(&mut self, append: Append, _: &mut Context<Self>) {
        self.take(append);
    }
}

impl Handler<Observe<JournalSnapshot>> for JournalActor {
    type Result = actix::MessageResult<Observe<JournalSnapshot>>;

    fn handle(&mut self, asked: Observe<JournalSnapshot>, _: &mut Context<Self>) -> Self::Result {
        // Also when nobody has said anything since.
        let fault = self.fault.clone().or_else(|| self.log.check().err());
        actix::MessageResult(asked.answer(JournalSnapshot {
            messages: self.log.messages(),
            newest_id: self.newest_id.load(Ordering::Relaxed),
            waiting: self.waiting.len(),
            queued: self.queue.len(),
            stored: self.stored,
            refused: self.refused,
            subscribers: self.subscribers.len(),
            page_reads: self.config.limits.page_reads.max(1) - self.page_reads.available_permits(),
            fault: fault.map(|fault| fault.to_string()),
        }))
    }
}

impl Handler<CatchUp> for JournalActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: CatchUp, _: &mut Context<Self>) -> ResponseFuture<()> {
        let (sender, receiver) = oneshot::channel();
        if !self.waiting.is_empty() {
            let settled = self.stored + self.refused;
            self.catching_up.push_back((settled + self.waiting.len() as u64, sender));
        }
        Box::pin(async move {
            // With nothing under way nobody sends, and that ends the wait as well.
            let _ = receiver.await;
        })
    }
}

impl Handler<Drain> for JournalActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Drain, _: &mut Context<Self>) -> ResponseFuture<()> {
        self.closed = true;
        let (sender, receiver) = oneshot::channel();
        self.drained.push(sender);
        Box::pin(async move {
            // A journal that is gone has nothing left to do.
            let _ = receiver.await;
        })
    }
}

#[cfg(test)]
#[path = "journal/journal_tests.rs"]
mod tests;
