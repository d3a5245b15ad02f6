//! The history as a [`MessageLog`]: who gives ids, and who writes where.
//!
//! It lives on the journal's thread, with the index. With fsync the writing is done by a thread that does
//! nothing else, for it takes a disk's time; one batch is under way at a time, and what waits meanwhile is
//! the next. Without, a batch goes to the operating system's memory, in about the time that it takes to wake
//! another thread; so it is written on the spot.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::vec::Drain;

use tokio::sync::mpsc;

use super::{CommitError, HistoryIndex, HistoryWriter, Opened, PagePlan, Position, require_in_place};
use crate::config::Durability;
use crate::disk::Folder;
use crate::disk::append::MAX_UNSYNCED_BYTES;
use crate::model::{
    Draft, MAX_MESSAGE_ID, MessageId, MessageList, MessagePage, PageQuery, StoredMessage, Timestamp,
};
use crate::store::log::{LogEvent, LogFault, LogTail, MessageLog, PageRead, PlannedPage, RefusedDraft};
use crate::writer_thread::{self, BatchWriter, QueueBounds, WriterThread};

/// Ids that are passed over at a start without fsync: a crash of the machine may have taken messages back
/// that clients have seen, and no id is used twice.
const IDS_SKIPPED_WITHOUT_FSYNC: u64 = 1 << 20;
/// What a message takes in the file at most: each byte of its text fourfold, and this for the rest.
const ROW_BYTES_BESIDE_TEXT: usize = 1_024;

/// How a history is written.
#[derive(Debug, Clone, Copy)]
pub struct CsvLogOptions {
    /// What a commit promises to survive.
    pub durability: Durability,
    /// Messages of one batch, at most.
    pub batch_messages: usize,
    /// An id that was used, whatever the files say: new ones lie above it.
    pub used: Option<MessageId>,
}

/// The log in CSV files.
#[derive(Debug)]
pub struct CsvLog {
    /// The data directory.
    data: Arc<dyn Folder>,
    index: HistoryIndex,
    writing: Writing,
    batch_messages: usize,
    /// Whether a batch is being written.
    busy: bool,
    next_id: u64,
    /// The newest message of each list that a batch adds to; kept for its memory.
    newest_in_batch: HashMap<MessageList, MessageId>,
    /// What was done on the spot. It is in the index when it is told of.
    done: VecDeque<Done>,
    events: VecDeque<LogEvent>,
    tail: LogTail,
}

/// Who writes.
#[derive(Debug)]
enum Writing {
    /// Whoever appends.
    OnTheSpot(Box<HistoryWriter>),
    /// A thread. Neither way needs a bound: it has one batch at a time.
    Thread { jobs: WriterThread<Job>, done: mpsc::UnboundedReceiver<Done> },
}

/// What is to be done.
#[derive(Debug)]
enum Job {
    Commit(Vec<StoredMessage>),
    Sync,
}

/// What came of it.
#[derive(Debug)]
enum Done {
    Committed { rows: Vec<StoredMessage>, result: Result<Vec<Position>, CommitError>, notices: Vec<String> },
    Synced(Result<(), CommitError>),
}

impl CsvLog {
    /// The log over an opened history. `kept` is dropped when its thread ends, by a panic too.
    ///
    /// # Errors
    /// When the system has no thread for the writer.
    pub fn new(opened: Opened, options: CsvLogOptions, kept: impl Send + 'static) -> io::Result<Self> {
        let used = opened.last_id.max(options.used);
        let skipped = match options.durability {
            Durability::Os if used.is_some() => IDS_SKIPPED_WITHOUT_FSYNC,
            _ => 0,
        };
        let data = Arc::clone(opened.writer.data());
        let writing = match options.durability {
            Durability::Os => Writing::OnTheSpot(Box::new(opened.writer)),
            Durability::Fsync => Writing::thread(opened.writer, kept)?,
        };
        Ok(CsvLog {
            data,
            index: opened.index,
            writing,
            batch_messages: options.batch_messages.max(1),
            busy: false,
            next_id: MessageId::or_zero(used) + 1 + skipped,
            newest_in_batch: HashMap::new(),
            done: VecDeque::new(),
            events: VecDeque::new(),
            tail: LogTail { used, recent_keyed: opened.recent_keyed },
        })
    }

    /// How many of those that wait go into one batch: as many as may be on the way to the disk at once.
    fn batch_len(&self, queue: &VecDeque<Draft>) -> usize {
        let mut bytes = 0;
        let fit = queue.iter().take(self.batch_messages).take_while(|draft| {
            bytes += draft.kind.text().as_str().len() * 4 + ROW_BYTES_BESIDE_TEXT;
            bytes <= MAX_UNSYNCED_BYTES
        });
        fit.count().max(1).min(queue.len())
    }

    /// Gives drafts their ids and their places in their lists.
    fn rows(&mut self, drafts: impl ExactSizeIterator<Item = Draft>) -> Vec<StoredMessage> {
        let at = Timestamp::now();
        self.newest_in_batch.clear();
        let mut rows = Vec::with_capacity(drafts.len());
        for draft in drafts {
            // There are enough.
            let Some(id) = MessageId::new(self.next_id) else { continue };
            self.next_id += 1;
            let list = MessageList::of(&draft.target, &draft.from);
            let before = self.newest_in_batch.get(&list).copied();
            let prev = before.or_else(|| self.index.newest(&list));
            self.newest_in_batch.insert(list, id);
            let prev = prev.filter(|prev| Some(*prev) > draft.visible_from);
            let Draft { target, from, kind, key, .. } = draft;
            rows.push(StoredMessage { id, prev, at, target, from, kind, key });
        }
        rows
    }

    /// Takes in what was done, and makes events of it.
    fn take_in(&mut self, done: Done) {
        let (rows, result, notices) = match done {
            Done::Committed { rows, result, notices } => (rows, result, notices),
            Done::Synced(result) => {
                return self.events.push_back(LogEvent::Synced(result.map_err(LogFault::from)));
            }
        };
        self.busy = false;
        let event = match result {
            Ok(positions) => {
                for (row, position) in rows.iter().zip(positions) {
                    self.index.record(row, position);
                }
                LogEvent::Committed(rows)
            }
            Err(why) => refused(rows, why.into()),
        };
        self.events.push_back(event);
        self.events.extend(notices.into_iter().map(LogEvent::Notice));
    }
}

impl MessageLog for CsvLog {
    fn tail(&mut self) -> LogTail {
        std::mem::take(&mut self.tail)
    }

    fn messages(&self) -> u64 {
        self.index.rows()
    }

    fn newest(&self, list: &MessageList) -> Option<MessageId> {
        self.index.newest(list)
    }

    fn plan(&self, query: &PageQuery) -> Box<dyn PlannedPage> {
        Box::new(self.index.plan(query))
    }

    fn is_ready(&self) -> bool {
        !self.busy
    }

    fn append(&mut self, queue: &mut VecDeque<Draft>) {
        if self.busy || queue.is_empty() {
            return;
        }
        let count = self.batch_len(queue);
        let ids_left = (MAX_MESSAGE_ID + 1).saturating_sub(self.next_id);
        if ids_left == 0 {
            let drafts = queue.drain(..count).map(|draft| RefusedDraft { from: draft.from, key: draft.key });
            let refused = LogEvent::Refused { drafts: drafts.collect(), why: LogFault::IdsUsedUp };
            return self.events.push_back(refused);
        }
        let count = count.min(usize::try_from(ids_left).unwrap_or(usize::MAX));
        let rows = self.rows(queue.drain(..count));
        self.busy = true;
        match self.writing.begin(Job::Commit(rows)) {
            Begun::Done(done) => self.done.push_back(done),
            Begun::UnderWay => {}
            Begun::Gone(job) => {
                self.busy = false;
                if let Job::Commit(rows) = job {
                    self.events.push_back(refused(rows, writer_gone()));
                }
            }
        }
    }

    fn sync(&mut self) {
        match self.writing.begin(Job::Sync) {
            Begun::Done(done) => self.done.push_back(done),
            Begun::UnderWay => {}
            Begun::Gone(_) => self.events.push_back(LogEvent::Synced(Err(writer_gone()))),
        }
    }

    fn poll_event(&mut self, task: &mut Context<'_>) -> Poll<LogEvent> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(event);
            }
            if let Some(done) = self.done.pop_front() {
                self.take_in(done);
                continue;
            }
            let Writing::Thread { done, .. } = &mut self.writing else { return Poll::Pending };
            match done.poll_recv(task) {
                Poll::Ready(Some(done)) => self.take_in(done),
                // The thread has panicked: what it was at is not known, and whoever keeps watch knows.
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn check(&self) -> Result<(), LogFault> {
        require_in_place(&*self.data).map_err(|why| LogFault::Unavailable(why.to_string()))
    }
}

impl PlannedPage for PagePlan {
    fn read(self: Box<Self>) -> Result<PageRead, LogFault> {
        let read = PagePlan::read(*self).map_err(|why| LogFault::Unavailable(why.to_string()))?;
        Ok(PageRead {
            page: MessagePage { messages: read.rows, more: read.more },
            damage: read.damage.iter().map(ToString::to_string).collect(),
            go_on: read.go_on,
        })
    }
}

/// Whether what is to be done is done.
enum Begun {
    Done(Done),
    UnderWay,
    /// It never will be.
    Gone(Job),
}

impl Writing {
    fn thread(writer: HistoryWriter, kept: impl Send + 'static) -> io::Result<Self> {
        let (tell, done) = mpsc::unbounded_channel();
        let bounds = QueueBounds { most_waiting: None, most_at_once: 1 };
        let jobs = writer_thread::start("journal", bounds, kept, ForcingWriter { writer, tell })?;
        Ok(Writing::Thread { jobs, done })
    }

    fn begin(&mut self, job: Job) -> Begun {
        match self {
            Writing::OnTheSpot(writer) => Begun::Done(job.carry_out(writer, Durability::Os)),
            Writing::Thread { jobs, .. } => match jobs.send(job) {
                Ok(()) => Begun::UnderWay,
                Err(job) => Begun::Gone(job),
            },
        }
    }
}

impl Job {
    fn carry_out(self, writer: &mut HistoryWriter, durability: Durability) -> Done {
        match self {
            Job::Commit(rows) => {
                let result = writer.commit(&rows, durability);
                Done::Committed { rows, result, notices: writer.take_notices() }
            }
            Job::Sync => Done::Synced(writer.sync()),
        }
    }
}

/// The thread's: writes batches, and forces each to the disk.
struct ForcingWriter {
    writer: HistoryWriter,
    tell: mpsc::UnboundedSender<Done>,
}

impl BatchWriter for ForcingWriter {
    type Job = Job;

    fn write(&mut self, jobs: Drain<'_, Job>) -> ControlFlow<()> {
        for job in jobs {
            // A log that is gone wants to know nothing more; what it was given is written all the same.
            let _ = self.tell.send(job.carry_out(&mut self.writer, Durability::Fsync));
        }
        ControlFlow::Continue(())
    }
}

impl From<CommitError> for LogFault {
    fn from(why: CommitError) -> Self {
        match why {
            CommitError::Refused(_) => LogFault::Unavailable(why.to_string()),
            CommitError::Poisoned(_) => LogFault::Closed(why.to_string()),
        }
    }
}

fn writer_gone() -> LogFault {
    LogFault::Closed("the writer thread is gone; restart the server, nothing can be stored".into())
}

fn refused(rows: Vec<StoredMessage>, why: LogFault) -> LogEvent {
    let drafts = rows.into_iter().map(|row| RefusedDraft { from: row.from, key: row.key }).collect();
    LogEvent::Refused { drafts, why }
}
