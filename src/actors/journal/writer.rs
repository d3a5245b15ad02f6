//! The journal's writer: one thread that does nothing but write batches and force them to the disk.

use std::io;
use std::sync::mpsc;
use std::thread;

use actix::{Message, Recipient};
use log::error;
use tokio::sync::oneshot;

use crate::config::Durability;
use crate::store::history::{CommitError, HistoryWriter, Position, Row};

/// Writer → JournalActor: what became of a batch.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Committed {
    /// The batch.
    pub rows: Vec<Row>,
    /// Where its rows lie, or why they do not.
    pub result: Result<Vec<Position>, CommitError>,
    /// What the operator has to know.
    pub notices: Vec<String>,
}

enum Job {
    Commit(Vec<Row>),
    Sync(Vec<oneshot::Sender<()>>),
}

/// The way to the thread. The thread ends when this is dropped and all is written.
pub struct Writer {
    jobs: mpsc::Sender<Job>,
}

impl Writer {
    /// Starts the thread. The channel to it needs no bound: the journal hands it one batch at a time.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(
        mut history: HistoryWriter,
        durability: Durability,
        journal: Recipient<Committed>,
    ) -> io::Result<Self> {
        let (jobs, todo) = mpsc::channel();
        thread::Builder::new().name("journal".into()).spawn(move || {
            for job in todo {
                match job {
                    Job::Commit(rows) => {
                        let result = history.commit(&rows, durability);
                        journal.do_send(Committed { rows, result, notices: history.take_notices() });
                    }
                    Job::Sync(waiting) => {
                        if let Err(why) = history.sync() {
                            error!("the last messages could not be forced to the disk: {why}");
                        }
                        for done in waiting {
                            // Who asked may have given up waiting.
                            let _ = done.send(());
                        }
                    }
                }
            }
        })?;
        Ok(Writer { jobs })
    }

    /// Writes a batch; [`Committed`] tells what became of it.
    pub fn commit(&self, rows: Vec<Row>) {
        self.send(Job::Commit(rows));
    }

    /// Forces everything to the disk and tells those who wait.
    pub fn sync_for(&self, waiting: Vec<oneshot::Sender<()>>) {
        self.send(Job::Sync(waiting));
    }

    fn send(&self, job: Job) {
        if self.jobs.send(job).is_err() {
            error!("the writer thread is gone; restart the server, nothing can be stored");
        }
    }
}
