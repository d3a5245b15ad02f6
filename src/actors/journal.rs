//! The JournalActor is the order of the server: a message exists when the journal has it, and is delivered
//! because the journal has it.
//!
//! What arrives while one batch is being written gathers into the next (group commit): one write and one
//! fsync carry them all, and it is only then that they get their ids, go back to their rooms, and are
//! acknowledged. A batch that cannot be stored is refused to its senders, and nobody has seen it. The writing
//! itself is done by `writer` on a thread of its own.

mod pages;
mod writer;

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use actix::fut::ActorFuture;
use actix::{Actor, Addr, AsyncContext, Context, Handler, Recipient, ResponseFuture};
use log::{error, info};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Sleep, sleep};

use super::messages::journal::{
    Append, CatchUp, CommitResult, Committed, Drain, Requester, Subscribe, Subscriber, Verdict,
};
use super::messages::journal::{AskJournal, JournalStatus};
use super::panic_watch::Critical;
use super::yield_now;
use crate::chat::journal::idempotency::{Fingerprint, IdempotencyTable, Lookup};
use crate::chat::journal::linger::Gathering;
use crate::config::{Config, Durability};
use crate::disk::Folder;
use crate::disk::append::MAX_UNSYNCED_BYTES;
use crate::model::{
    ErrorCode, MAX_MESSAGE_ID, MessageId, MessageKind, MessageList, Refusal, StoredMessage, Timestamp,
};
use crate::store::history::{CommitError, HistoryIndex, Opened, Position, require_in_place};
use writer::{WriteDone, Writer};

/// Ids that are passed over at a start without fsync: a crash of the machine may have taken messages back
/// that clients have seen, and no id is used twice.
const IDS_SKIPPED_WITHOUT_FSYNC: u64 = 1 << 20;
/// When to try again after the disk has refused.
const RETRY_STORAGE_MS: u64 = 1_000;
/// When to try again after the queue was full.
const RETRY_QUEUE_MS: u64 = 250;

/// What a message takes in the file at most: each byte of its text fourfold, and this for the rest.
const ROW_BYTES_BESIDE_TEXT: usize = 1_024;

/// Someone who waits for a message to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waiting {
    route: Subscriber,
    author: Requester,
}

/// The one who orders and stores.
pub struct JournalActor {
    _critical: Critical,
    config: Arc<Config>,
    /// The data directory.
    data: Arc<dyn Folder>,
    index: HistoryIndex,
    writer: Writer,
    keys: IdempotencyTable<Waiting>,
    started: Instant,
    queue: VecDeque<Append>,
    gathering: Gathering,
    /// Who waits for the rows of the batch that is being written, in their order.
    batch: Vec<Waiting>,
    /// The newest message of each list that the batch adds to; kept for its memory.
    newest_in_batch: HashMap<MessageList, MessageId>,
    routes: HashMap<Subscriber, Recipient<Committed>>,
    next_id: u64,
    newest_id: Arc<AtomicU64>,
    fault: Option<String>,
    page_reads: Arc<Semaphore>,
    drained: Vec<oneshot::Sender<()>>,
    /// How many messages were stored or refused since the start.
    settled: u64,
    /// Who waits until so many are.
    catching_up: VecDeque<(u64, oneshot::Sender<()>)>,
    closed: bool,
}

impl JournalActor {
    /// The journal over an opened history. `newest_id` is where everyone can read the newest id; new ids lie
    /// above what it holds already. `address` is where it will be.
    ///
    /// # Errors
    /// When the system has no thread for the writer.
    pub fn new(
        config: Arc<Config>,
        opened: Opened,
        newest_id: Arc<AtomicU64>,
        critical: Critical,
        address: &Addr<Self>,
    ) -> io::Result<Self> {
        let (data, to) = (Arc::clone(opened.writer.data()), address.clone().recipient());
        let writer = Writer::start(opened.writer, config.journal.durability, to, critical.clone())?;
        let limits = &config.limits;
        let remembered_for = Duration::from_secs(limits.key_seconds);
        let mut keys = IdempotencyTable::new(limits.keys_per_account, remembered_for);
        let now = Timestamp::now();
        for row in opened.recent_keyed {
            let Some(key) = row.key.clone() else { continue };
            let age_ms = u64::try_from(now.as_millis() - row.at.as_millis()).unwrap_or(0);
            let stored = remembered_for.saturating_sub(Duration::from_millis(age_ms));
            let print = Fingerprint::of(&row.target, row.text().as_str());
            keys.restore(&row.from, key, print, row.receipt(), stored);
        }
        let used = MessageId::or_zero(opened.last_id).max(newest_id.load(Ordering::Relaxed));
        newest_id.store(used, Ordering::Relaxed);
        let skipped = match config.journal.durability {
            Durability::Os if used > 0 => IDS_SKIPPED_WITHOUT_FSYNC,
            _ => 0,
        };
        let gap = match config.journal.durability {
            Durability::Fsync => Duration::from_millis(config.journal.gather_ms),
            // What costs little need not be shared.
            Durability::Os => Duration::ZERO,
        };
        Ok(JournalActor {
            _critical: critical,
            data,
            index: opened.index,
            writer,
            keys,
            started: Instant::now(),
            queue: VecDeque::new(),
            gathering: Gathering::new(gap),
            batch: Vec::new(),
            newest_in_batch: HashMap::new(),
            routes: HashMap::new(),
            next_id: used + 1 + skipped,
            newest_id,
            fault: None,
            page_reads: Arc::new(Semaphore::new(limits.page_reads.max(1))),
            drained: Vec::new(),
            settled: 0,
            catching_up: VecDeque::new(),
            closed: false,
            config,
        })
    }

    /// The time for keys. It begins late enough for those of before the start to have their place.
    fn now(&self) -> Duration {
        self.started.elapsed() + Duration::from_secs(self.config.limits.key_seconds)
    }

    // ------------------------------------------------------------ taking in

    fn take(&mut self, append: Append) {
        let waiting = Waiting { route: append.route, author: append.author };
        if self.closed {
            return self.tell(waiting, Verdict::Refused(ErrorCode::ShuttingDown.into()));
        }
        // Those that wait get an id each.
        if self.next_id + self.queue.len() as u64 > MAX_MESSAGE_ID {
            error!("all ids up to {MAX_MESSAGE_ID} are used; nothing more can be stored");
            return self
                .tell(waiting, Verdict::Refused(Refusal::new(ErrorCode::StorageUnavailable, NO_ID_LEFT)));
        }
        if self.queue.len() >= self.config.limits.journal_queue_messages {
            return self.tell(waiting, refused_for(ErrorCode::RateLimited, RETRY_QUEUE_MS));
        }
        let Some(key) = &append.key else {
            self.queue.push_back(append);
            return;
        };
        let print = Fingerprint::of(&append.target, append.text.as_str());
        match self.keys.offer(&append.from, append.since, key, print, waiting, self.now()) {
            Lookup::First(_) => self.queue.push_back(append),
            Lookup::Stored(waiting, receipt) => self.tell(waiting, Verdict::Known(receipt)),
            Lookup::Waits => {}
            Lookup::Conflict(waiting) => {
                let text = "This key stands for another message of yours.";
                self.tell(waiting, Verdict::Refused(Refusal::bad_request(text)));
            }
        }
    }

    fn tell(&self, waiting: Waiting, verdict: Verdict) {
        self.settle(waiting.route, vec![CommitResult { author: waiting.author, verdict }]);
    }

    fn settle(&self, route: Subscriber, outcomes: Vec<CommitResult>) {
        if let Some(to) = self.routes.get(&route) {
            to.do_send(Committed { outcomes });
        }
    }

    // ------------------------------------------------------------ writing

    /// Has a batch written of what waits, unless one is being written.
    fn write_next(&mut self) -> Next {
        if !self.batch.is_empty() {
            return Next::WhenWoken;
        }
        if self.queue.is_empty() {
            self.finish_draining();
            return Next::WhenWoken;
        }
        let now = self.now();
        let wait = self.gathering.waits(now, self.queue.len());
        if !wait.is_zero() && !self.closed {
            return Next::In(wait);
        }
        let rows = self.next_batch();
        self.gathering.began(now, rows.len());
        let Some(committed) = self.writer.commit(rows) else {
            return Next::WhenWoken;
        };
        self.committed(committed);
        if self.queue.is_empty() && self.drained.is_empty() { Next::WhenWoken } else { Next::AfterOthers }
    }

    /// How many of those that wait go into one batch: as many as may be on the way to the disk at once.
    fn batch_len(&self) -> usize {
        let most = self.config.limits.journal_batch_messages.max(1);
        let mut bytes = 0;
        let fit = self.queue.iter().take(most).take_while(|append| {
            bytes += append.text.as_str().len() * 4 + ROW_BYTES_BESIDE_TEXT;
            bytes <= MAX_UNSYNCED_BYTES
        });
        fit.count().max(1)
    }

    /// Gives the messages that wait their ids and their places, as many as go into one batch.
    fn next_batch(&mut self) -> Vec<StoredMessage> {
        let count = self.batch_len();
        let at = Timestamp::now();
        self.newest_in_batch.clear();
        let mut rows = Vec::with_capacity(count);
        for append in self.queue.drain(..count) {
            // Who would get none was refused at the door.
            let Some(id) = MessageId::new(self.next_id) else { continue };
            self.next_id += 1;
            let list = MessageList::of(&append.target, &append.from);
            let before = self.newest_in_batch.get(&list).copied();
            let prev = before.or_else(|| self.index.newest(&list));
            self.newest_in_batch.insert(list, id);
            self.batch.push(Waiting { route: append.route, author: append.author });
            rows.push(StoredMessage {
                id,
                prev: prev.filter(|prev| Some(*prev) > append.floor),
                at,
                target: append.target,
                from: append.from,
                kind: MessageKind::Text(append.text),
                key: append.key,
            });
        }
        rows
    }

    /// A batch is stored, or is not.
    fn committed(&mut self, committed: WriteDone) {
        for notice in committed.notices {
            error!("{notice}");
        }
        let waiting = std::mem::take(&mut self.batch);
        self.settled += waiting.len() as u64;
        match committed.result {
            Ok(positions) => self.stored(waiting, committed.rows, positions),
            Err(why) => self.not_stored(waiting, &committed.rows, &why),
        }
        while self.catching_up.front().is_some_and(|(until, _)| *until <= self.settled) {
            if let Some((_, caught_up)) = self.catching_up.pop_front() {
                let _ = caught_up.send(()); // who has asked may have given up
            }
        }
    }

    fn stored(&mut self, waiting: Vec<Waiting>, rows: Vec<StoredMessage>, positions: Vec<Position>) {
        if let Some(fault) = self.fault.take() {
            info!("storing works again, after: {fault}");
        }
        let now = self.now();
        let mut settled = Batch::default();
        for ((waiting, row), position) in waiting.into_iter().zip(rows).zip(positions) {
            self.index.record(&row, position);
            self.newest_id.store(row.id.get(), Ordering::Relaxed);
            if let Some(key) = &row.key {
                let receipt = row.receipt();
                for twin in self.keys.settle(&row.from, key, Some(receipt), now) {
                    settled.push(twin, Verdict::Known(receipt));
                }
            }
            settled.push(waiting, Verdict::Stored(row));
        }
        settled.send(self);
    }

    fn not_stored(&mut self, waiting: Vec<Waiting>, rows: &[StoredMessage], why: &CommitError) {
        if self.fault.is_none() {
            error!(by = "the journal"; "{} messages were refused: {why}", rows.len());
        }
        self.fault = Some(why.to_string());
        let now = self.now();
        let mut settled = Batch::default();
        let verdict = || refused_for(ErrorCode::StorageUnavailable, RETRY_STORAGE_MS);
        for (waiting, row) in waiting.into_iter().zip(rows) {
            if let Some(key) = &row.key {
                for twin in self.keys.settle(&row.from, key, None, now) {
                    settled.push(twin, verdict());
                }
            }
            settled.push(waiting, verdict());
        }
        settled.send(self);
    }

    // ------------------------------------------------------------ stopping

    fn finish_draining(&mut self) {
        if self.drained.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut self.drained);
        self.writer.sync_for(waiting);
    }
}

/// The outcomes of a batch, on their way to where they came from.
#[derive(Default)]
struct Batch {
    outcomes: Vec<(Subscriber, CommitResult)>,
}

impl Batch {
    fn push(&mut self, waiting: Waiting, verdict: Verdict) {
        self.outcomes.push((waiting.route, CommitResult { author: waiting.author, verdict }));
    }

    /// Sends each route its outcomes in one message, in the order of their ids: the sort is a stable one.
    fn send(mut self, journal: &JournalActor) {
        self.outcomes.sort_by_key(|(route, _)| *route);
        let mut outcomes = self.outcomes.into_iter().peekable();
        while let Some((route, first)) = outcomes.next() {
            let same_way = std::iter::from_fn(|| outcomes.next_if(|(next, _)| *next == route));
            let settled = std::iter::once(first).chain(same_way.map(|(_, outcome)| outcome)).collect();
            journal.settle(route, settled);
        }
    }
}

/// What is said when ids have run out, which takes 28 500 years at ten thousand messages a second.
const NO_ID_LEFT: &str = "This server has used all its message ids; nothing more can be stored.";

fn refused_for(code: ErrorCode, retry_after_ms: u64) -> Verdict {
    Verdict::Refused(Refusal::from(code).retry_after_ms(retry_after_ms))
}

impl Actor for JournalActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.spawn(WriteNext { pause: None });
    }
}

/// When the journal looks at its queue again.
enum Next {
    /// When a message comes.
    WhenWoken,
    /// When everyone else has had a turn.
    AfterOthers,
    /// After this time.
    In(Duration),
}

/// Polled after the mailbox is empty, so that all that has arrived goes into one batch.
struct WriteNext {
    pause: Option<Pin<Box<Sleep>>>,
}

impl ActorFuture<JournalActor> for WriteNext {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        journal: &mut JournalActor,
        _: &mut Context<JournalActor>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        loop {
            match journal.write_next() {
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

    fn handle(&mut self, Subscribe { route, to }: Subscribe, _: &mut Context<Self>) {
        match to {
            Some(to) => drop(self.routes.insert(route, to)),
            None => drop(self.routes.remove(&route)),
        }
    }
}

impl Handler<Append> for JournalActor {
    type Result = ();

    fn handle(&mut self, append: Append, _: &mut Context<Self>) {
        self.take(append);
    }
}

impl Handler<WriteDone> for JournalActor {
    type Result = ();

    fn handle(&mut self, committed: WriteDone, _: &mut Context<Self>) {
        self.committed(committed);
    }
}

impl Handler<AskJournal> for JournalActor {
    type Result = actix::MessageResult<AskJournal>;

    fn handle(&mut self, _: AskJournal, _: &mut Context<Self>) -> Self::Result {
        actix::MessageResult(JournalStatus {
            messages: self.index.rows(),
            newest_id: self.newest_id.load(Ordering::Relaxed),
            waiting: self.queue.len() + self.batch.len(),
            fault: self.fault.clone().or_else(|| {
                // Also when nobody has said anything since.
                require_in_place(&*self.data).err().map(|why| why.to_string())
            }),
        })
    }
}

impl Handler<CatchUp> for JournalActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: CatchUp, _: &mut Context<Self>) -> ResponseFuture<()> {
        let (sender, receiver) = oneshot::channel();
        let under_way = (self.batch.len() + self.queue.len()) as u64;
        if under_way > 0 {
            self.catching_up.push_back((self.settled + under_way, sender));
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
            // A writer that is gone has nothing left to do.
            let _ = receiver.await;
        })
    }
}
