//! The journal's writer.
//!
//! With fsync it is one thread that does nothing but write batches and force them to the disk, which takes a
//! disk's time. Without, a batch goes to the operating system's memory, in about the time that it takes to
//! wake another thread; so it is written on the spot.

use std::io;
use std::sync::mpsc;
use std::thread;

use actix::{Message, Recipient};
use log::error;
use tokio::sync::oneshot;

use crate::actors::panic_watch::Critical;
use crate::config::Durability;
use crate::model::StoredMessage;
use crate::store::history::{CommitError, HistoryWriter, Position};

/// Writer → JournalActor: what became of a batch.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct WriteDone {
    /// The batch.
    pub rows: Vec<StoredMessage>,
    /// Where its rows lie, or why they do not.
    pub result: Result<Vec<Position>, CommitError>,
    /// What the operator has to know.
    pub notices: Vec<String>,
}

/// What the thread has to do.
pub enum Job {
    /// Write this batch.
    Commit(Vec<StoredMessage>),
    /// Force everything to the disk.
    Sync(Vec<oneshot::Sender<()>>),
}

/// Who writes.
pub enum Writer {
    /// The journal itself.
    OnTheSpot(Box<HistoryWriter>),
    /// A thread, which ends when this is dropped and all is written.
    Thread(mpsc::Sender<Job>),
}

impl Writer {
    /// Starts the thread, where there is to be one. The channel to it needs no bound: the journal hands it
    /// one batch at a time.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(
        history: HistoryWriter,
        durability: Durability,
        journal: Recipient<WriteDone>,
        critical: Critical,
    ) -> io::Result<Self> {
        if durability == Durability::Os {
            return Ok(Writer::OnTheSpot(Box::new(history)));
        }
        let (jobs, todo) = mpsc::channel();
        thread::Builder::new().name("journal".into()).spawn(move || {
            // A batch that a panic swallows would be waited for for ever.
            let _critical = critical;
            let mut history = history;
            for job in todo {
                match job {
                    Job::Commit(rows) => journal.do_send(commit(&mut history, rows, durability)),
                    Job::Sync(waiting) => sync(&mut history, waiting),
                }
            }
        })?;
        Ok(Writer::Thread(jobs))
    }

    /// Writes a batch. What became of it comes back at once, or as a message.
    pub fn commit(&mut self, rows: Vec<StoredMessage>) -> Option<WriteDone> {
        match self {
            Writer::OnTheSpot(history) => Some(commit(history, rows, Durability::Os)),
            Writer::Thread(jobs) => {
                send(jobs, Job::Commit(rows));
                None
            }
        }
    }

    /// Forces everything to the disk and tells those who wait.
    pub fn sync_for(&mut self, waiting: Vec<oneshot::Sender<()>>) {
        match self {
            Writer::OnTheSpot(history) => sync(history, waiting),
            Writer::Thread(jobs) => send(jobs, Job::Sync(waiting)),
        }
    }
}

fn commit(history: &mut HistoryWriter, rows: Vec<StoredMessage>, durability: Durability) -> WriteDone {
    let result = history.commit(&rows, durability);
    WriteDone { rows, result, notices: history.take_notices() }
}

fn sync(history: &mut HistoryWriter, waiting: Vec<oneshot::Sender<()>>) {
    if let Err(why) = history.sync() {
        error!("the last messages could not be forced to the disk: {why}");
    }
    for done in waiting {
        // Who asked may have given up waiting.
        let _ = done.send(());
    }
}

fn send(jobs: &mpsc::Sender<Job>, job: Job) {
    if jobs.send(job).is_err() {
        error!("the writer thread is gone; restart the server, nothing can be stored");
    }
}
