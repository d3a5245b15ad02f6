//! The thread that writes the log file.
//!
//! It takes what is queued in batches. Before each batch it looks whether the file at its path is still the
//! one that it has open: a file that was deleted, moved or replaced is opened anew, so log rotation needs no
//! signal (SIGHUP asks for it all the same). A file that has become too large is renamed, and a new one begun.
//! Lines that others bring about come through `fold`, which this thread asks once a minute what
//! it counted, and are left out while the disk is nearly full. When a batch cannot be written, for a full disk say, it is
//! dropped and counted, and the first batch that can be written again says so.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::vec::Drain;

use rustix::fs::{OFlags, fstatvfs};
use tokio::sync::oneshot;

use super::fold::{Folded, Folds, Line};
use super::line_with;
use crate::config::Limits;
use crate::disk::real::close_to_others;
use crate::model::Timestamp;
use crate::writer_thread::{self, BatchWriter, QueueBounds, WriterQueue};

/// What may wait to be written, in bytes; lines beyond it are dropped.
const MAX_QUEUED_BYTES: usize = 4 * 1024 * 1024;
/// The most bytes that are written at once.
const MAX_BATCH_BYTES: usize = 256 * 1024;
/// The most lines that are taken from the queue at once.
const MAX_BATCH_LINES: usize = 1_024;

/// The log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file.
    #[error("cannot open the log file {} ({error}); make its folder, or choose another file with --log-file", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Its thread.
    #[error("the system refuses a thread for the log ({0}); look for its limit on processes (ulimit -u)")]
    Thread(#[source] io::Error),
    /// What is to be logged.
    #[error(transparent)]
    Filter(#[from] super::FilterError),
}

/// The handle on the log: cheap to clone, and nothing about it waits for the disk but [`LogControl::flush`].
#[derive(Debug, Clone)]
pub struct LogControl {
    queue: WriterQueue<LogJob>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    queued_bytes: AtomicUsize,
    /// Lines that found the queue full, since this was last told.
    dropped_lines: AtomicU64,
    on_console: AtomicBool,
    folds: Mutex<Folds>,
    started: Instant,
}

/// How a line gets to the console; it must not wait.
pub type ConsoleLine = Box<dyn Fn(&str) + Send>;

enum LogJob {
    Line(Box<[u8]>),
    /// A line that somebody else brought about.
    Repeat(Box<[u8]>),
    /// A line was folded: there will be something to tell.
    Folded,
    Console(ConsoleLine),
    Clear(oneshot::Sender<io::Result<()>>),
    Reopen,
    Flush(Sender<()>),
}

/// Opens the log file and starts its thread, which ends when the last handle is gone.
pub(super) fn open(path: &Path, limits: &Limits) -> Result<LogControl, LogError> {
    let shared = Arc::new(Shared {
        path: path.to_owned(),
        queued_bytes: AtomicUsize::new(0),
        dropped_lines: AtomicU64::new(0),
        on_console: AtomicBool::new(false),
        folds: Mutex::new(Folds::new(limits.log_repeats_per_minute, limits.log_repeats_bytes)),
        started: Instant::now(),
    });
    let file = open_file(path).map_err(|error| LogError::Open { path: path.to_owned(), error })?;
    let writer = LogWriter {
        shared: shared.clone(),
        file: Some(file),
        torn: false,
        lost: Lost::default(),
        console: None,
        most_bytes: limits.log_file_bytes,
        leaves_bytes: limits.log_leaves_bytes,
        is_scarce: None,
        batch: Vec::new(),
    };
    // Lines that wait are bounded by their bytes.
    let bounds = QueueBounds { most_waiting: None, most_at_once: MAX_BATCH_LINES };
    let thread = writer_thread::start("log", bounds, (), writer).map_err(LogError::Thread)?;
    Ok(LogControl { queue: thread.detached(), shared })
}

impl LogControl {
    /// The log file.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Where lines go while they are shown on the console. `print` must not wait.
    pub fn set_console(&self, print: ConsoleLine) {
        self.give(LogJob::Console(print));
    }

    /// Shows the lines on the console too, or hides them there. Answers whether that changed anything.
    pub fn show_on_console(&self, show: bool) -> bool {
        self.shared.on_console.swap(show, Ordering::Relaxed) != show
    }

    /// Whether lines are shown on the console.
    pub fn is_on_console(&self) -> bool {
        self.shared.on_console.load(Ordering::Relaxed)
    }

    /// Empties the log file. The answer comes when it is done.
    ///
    /// # Errors
    /// What the system says when the file cannot be emptied, or that the thread is gone.
    pub async fn clear(&self) -> io::Result<()> {
        let (answer, answered) = oneshot::channel();
        self.give(LogJob::Clear(answer));
        answered.await.unwrap_or_else(|_| Err(io::Error::other("the log's thread has ended")))
    }

    /// Opens the file anew before the next line, as SIGHUP asks for.
    pub fn reopen(&self) {
        self.give(LogJob::Reopen);
    }

    /// Waits until what was logged before is written, but not longer than `patience`. Answers whether it is.
    pub fn flush(&self, patience: Duration) -> bool {
        let (answer, answered) = mpsc::channel();
        self.give(LogJob::Flush(answer));
        answered.recv_timeout(patience).is_ok()
    }

    /// Queues a line, newline included, unless the queue is full.
    pub(super) fn queue_line(&self, line: &[u8]) {
        self.queue(line, LogJob::Line);
    }

    fn queue(&self, line: &[u8], job: impl FnOnce(Box<[u8]>) -> LogJob) {
        let queued = self.shared.queued_bytes.fetch_add(line.len(), Ordering::Relaxed);
        if queued + line.len() > MAX_QUEUED_BYTES {
            self.shared.queued_bytes.fetch_sub(line.len(), Ordering::Relaxed);
            self.shared.dropped_lines.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.give(job(line.into()));
    }

    /// Queues a line that somebody else brought about.
    pub(super) fn queue_repeat(&self, line: &[u8]) {
        self.shared.folds().wrote(line.len());
        self.queue(line, LogJob::Repeat);
    }

    /// Whether a line that somebody else brought about is written; else it is counted. What was counted in the
    /// minute before is told first.
    pub(super) fn admits(&self, line: Line<'_>, text: impl FnOnce() -> String) -> bool {
        let now = self.shared.started.elapsed();
        let mut folds = self.shared.folds();
        let over = folds.due(now);
        let waited = folds.wait(now).is_some();
        let admits = folds.admits(line, text);
        drop(folds);
        over.iter().for_each(|folded| self.queue_line(told(folded).as_bytes()));
        if !admits && !waited {
            self.give(LogJob::Folded);
        }
        admits
    }

    fn give(&self, job: LogJob) {
        let _ = self.queue.send(job); // an error means that the thread is gone, and nobody is left to tell
    }
}

impl Shared {
    fn folds(&self) -> std::sync::MutexGuard<'_, Folds> {
        self.folds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is told of lines that were counted.
fn told(folded: &Folded) -> String {
    let Folded { lines, example, level, target } = folded;
    let text = format!("… and {lines} more like it within a minute: {example}");
    line_with(Timestamp::now(), *level, target, &text) + "\n"
}

struct LogWriter {
    shared: Arc<Shared>,
    /// `None` while it cannot be opened.
    file: Option<File>,
    /// Whether the file ends within a line, after a write that was cut short.
    torn: bool,
    lost: Lost,
    console: Option<ConsoleLine>,
    /// How large the file may be. 0: any.
    most_bytes: u64,
    /// What others' lines leave free on the disk.
    leaves_bytes: u64,
    /// Whether there is less, and when that was looked at.
    is_scarce: Option<(bool, Instant)>,
    /// What is to be written together; kept for its memory.
    batch: Vec<u8>,
}

/// Lines that could not be written, since this was last told, and why.
#[derive(Default)]
struct Lost {
    lines: u64,
    why: Option<io::Error>,
}

impl BatchWriter for LogWriter {
    type Job = LogJob;

    fn write(&mut self, jobs: Drain<'_, LogJob>) -> ControlFlow<()> {
        let mut batch = std::mem::take(&mut self.batch);
        for job in jobs {
            match job {
                LogJob::Line(line) => {
                    self.shared.queued_bytes.fetch_sub(line.len(), Ordering::Relaxed);
                    batch.extend_from_slice(&line);
                }
                LogJob::Repeat(line) => {
                    self.shared.queued_bytes.fetch_sub(line.len(), Ordering::Relaxed);
                    if self.disk_is_scarce() {
                        self.lost.lines += 1;
                        self.lost.why = Some(io::Error::other("the disk is nearly full"));
                    } else {
                        batch.extend_from_slice(&line);
                    }
                }
                // What it is about is looked at before the next wait.
                LogJob::Folded => {}
                other => {
                    self.write_batch(&mut batch);
                    self.obey(other);
                }
            }
            if batch.len() >= MAX_BATCH_BYTES {
                self.write_batch(&mut batch);
            }
        }
        self.write_batch(&mut batch);
        self.batch = batch;
        ControlFlow::Continue(())
    }

    fn wakes_in(&self) -> Option<Duration> {
        self.shared.folds().wait(self.shared.started.elapsed())
    }

    fn wake(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        self.tell_folded(&mut batch, false);
        self.write_batch(&mut batch);
        self.batch = batch;
    }
}

impl LogWriter {
    fn obey(&mut self, job: LogJob) {
        match job {
            LogJob::Line(_) | LogJob::Repeat(_) | LogJob::Folded => {}
            LogJob::Console(print) => self.console = Some(print),
            LogJob::Clear(answer) => {
                let cleared = self.clear();
                let _ = answer.send(cleared); // whoever asked may have gone
            }
            LogJob::Reopen => self.file = None,
            LogJob::Flush(answer) => {
                let mut batch = Vec::new();
                self.tell_folded(&mut batch, true);
                self.write_batch(&mut batch);
                let _ = answer.send(());
            }
        }
    }

    /// Writes the batch and leaves it empty.
    fn write_batch(&mut self, batch: &mut Vec<u8>) {
        if batch.is_empty() {
            return;
        }
        self.tell_dropped(batch);
        self.show(batch);
        if let Err(error) = self.write_to_file(batch) {
            self.lost.lines += count_lines(batch);
            self.lost.why = Some(error);
        }
        batch.clear();
        batch.shrink_to(MAX_BATCH_BYTES);
    }

    /// Puts what was folded into the batch: that of a minute that is over, or all of it.
    fn tell_folded(&self, batch: &mut Vec<u8>, all: bool) {
        let now = self.shared.started.elapsed();
        let mut folds = self.shared.folds();
        let folded = if all { folds.take(now) } else { folds.due(now) };
        drop(folds);
        folded.iter().for_each(|folded| batch.extend_from_slice(told(folded).as_bytes()));
    }

    /// Whether others' lines would take the disk space that the history needs. Looked at once a second.
    fn disk_is_scarce(&mut self) -> bool {
        let now = Instant::now();
        if let Some((is_scarce, at)) = self.is_scarce
            && now.saturating_duration_since(at) < Duration::from_secs(1)
        {
            return is_scarce;
        }
        let is_scarce = self.file.as_ref().is_some_and(|file| {
            let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
            is_file
                && fstatvfs(file).is_ok_and(|disk| {
                    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
                    bytes(disk.f_bavail) < self.leaves_bytes.min(bytes(disk.f_blocks) / 20)
                })
        });
        self.is_scarce = Some((is_scarce, now));
        is_scarce
    }

    /// Renames a file that would become too large, so that a new one is begun.
    fn make_room(&mut self, bytes: usize) -> io::Result<()> {
        let Some(metadata) = self.file.as_ref().and_then(|file| file.metadata().ok()) else { return Ok(()) };
        let grown = metadata.len().saturating_add(bytes as u64);
        if self.most_bytes == 0 || !metadata.is_file() || metadata.len() == 0 || grown <= self.most_bytes {
            return Ok(());
        }
        let mut before = self.shared.path.clone().into_os_string();
        before.push(".1");
        std::fs::rename(&self.shared.path, before)?;
        self.file = Some(open_file(&self.shared.path)?);
        self.torn = false;
        Ok(())
    }

    fn tell_dropped(&self, batch: &mut Vec<u8>) {
        match self.shared.dropped_lines.swap(0, Ordering::Relaxed) {
            0 => {}
            lines => batch
                .extend_from_slice(own_line(&format!("{lines} lines dropped: too many at once")).as_bytes()),
        }
    }

    fn show(&self, batch: &[u8]) {
        if !self.shared.on_console.load(Ordering::Relaxed) {
            return;
        }
        if let Some(print) = &self.console {
            String::from_utf8_lossy(batch).lines().for_each(print);
        }
    }

    fn write_to_file(&mut self, batch: &[u8]) -> io::Result<()> {
        if !self.file.as_ref().is_some_and(|file| in_place(file, &self.shared.path)) {
            self.file = None;
            self.file = Some(open_file(&self.shared.path)?);
            self.torn = false;
        }
        self.make_room(batch.len())?;
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut head = String::new();
        if self.torn {
            head.push('\n');
        }
        if let Some(why) = &self.lost.why {
            head.push_str(&own_line(&format!("{} lines lost: {why}", self.lost.lines)));
        }
        for part in [head.as_bytes(), batch] {
            if !part.is_empty() {
                write_part(file, part, &mut self.torn)?;
            }
        }
        self.lost = Lost::default();
        Ok(())
    }

    fn clear(&mut self) -> io::Result<()> {
        match &self.file {
            Some(file) if in_place(file, &self.shared.path) => {}
            _ => self.file = Some(open_file(&self.shared.path)?),
        }
        self.torn = false;
        self.file.as_ref().map_or(Ok(()), |file| file.set_len(0))
    }
}

/// Writes whole lines; `torn` tells afterwards whether the file ends within one.
fn write_part(file: &mut File, mut part: &[u8], torn: &mut bool) -> io::Result<()> {
    while !part.is_empty() {
        match file.write(part) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                *torn = part[written - 1] != b'\n';
                part = &part[written..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn open_file(path: &Path) -> io::Result<File> {
    // Not to wait for a reader, should the path be a pipe, nor to take a terminal over.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    if file.metadata()?.is_file() {
        // One that belongs to somebody else is written all the same.
        let _ = close_to_others(&file);
    }
    Ok(file)
}

fn in_place(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.metadata()) {
        (Ok(open), Ok(there)) => (open.dev(), open.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

fn own_line(text: &str) -> String {
    format!("{} WARN  log      {text}\n", Timestamp::now())
}

fn count_lines(batch: &[u8]) -> u64 {
    batch.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn say(log: &LogControl, text: &str) {
        log.queue_line(format!("{text}\n").as_bytes());
        assert!(log.flush(PATIENCE));
    }

    fn opened() -> (tempfile::TempDir, PathBuf, LogControl) {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("veche.log");
        let log = open(&path, &Limits::default()).unwrap();
        (place, path, log)
    }

    #[test]
    fn lines_are_appended_to_a_private_file() {
        let (_place, path, log) = opened();
        say(&log, "one");
        let again = open(&path, &Limits::default()).unwrap();
        say(&again, "two");
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_was_deleted_moved_or_replaced_is_opened_anew() {
        let (place, path, log) = opened();
        say(&log, "one");
        fs::remove_file(&path).unwrap();
        say(&log, "two");
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");

        let moved = place.path().join("moved");
        fs::rename(&path, &moved).unwrap();
        say(&log, "three");
        fs::write(place.path().join("other"), "old\n").unwrap();
        fs::rename(place.path().join("other"), &path).unwrap();
        say(&log, "four");
        assert_eq!(fs::read_to_string(&moved).unwrap(), "two\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old\nfour\n");
        log.reopen();
        say(&log, "five");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old\nfour\nfive\n");
    }

    #[test]
    fn clearing_empties_the_file() {
        let (_place, path, log) = opened();
        say(&log, "one");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(log.clear()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        say(&log, "two");
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n", "no hole is left in front");
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_told_later() {
        let (place, path, log) = opened();
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        say(&log, "lost\nlost");
        fs::remove_dir(&path).unwrap();
        say(&log, "kept");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(" WARN  log      2 lines lost: ") && text.ends_with("\nkept\n"), "{text}");
        drop(place);
        say(&log, "a folder that is gone panics nobody");
    }

    #[test]
    fn a_full_disk_panics_nobody() {
        let Ok(log) = open(Path::new("/dev/full"), &Limits::default()) else { return };
        say(&log, "one");
        say(&log, "two");
    }

    #[test]
    fn a_file_that_becomes_too_large_is_renamed() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("veche.log");
        let log = open(&path, &Limits { log_file_bytes: 10, ..Limits::default() }).unwrap();
        for text in ["one", "two", "three", "a line that is longer than that", "four"] {
            say(&log, text);
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "four\n");
        let before = fs::read_to_string(place.path().join("veche.log.1")).unwrap();
        assert_eq!(before, "a line that is longer than that\n");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2, "one from before, and no more");
    }

    #[test]
    fn what_was_folded_is_told_at_the_end() {
        let (_place, path, log) = opened();
        let kind = super::super::fold::CallSite { module: "veche::actors::session", line: 1 };
        let line = Line { kind, by: "192.0.2.7", level: log::Level::Info, target: "veche::actors::session" };
        for number in 0..100 {
            if log.admits(line, || format!("line {number}")) {
                log.queue_repeat(b"written\n");
            }
        }
        assert!(log.flush(PATIENCE));
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches("written").count(), 10, "{text}");
        assert!(text.ends_with("INFO  session  … and 90 more like it within a minute: line 10\n"), "{text}");
    }

    #[test]
    fn lines_show_on_the_console_only_when_asked_for() {
        let (_place, _path, log) = opened();
        let (shown, seen) = mpsc::channel();
        log.set_console(Box::new(move |line| {
            let _ = shown.send(line.to_owned());
        }));
        say(&log, "hidden");
        assert!(log.show_on_console(true));
        assert!(!log.show_on_console(true));
        say(&log, "shown\nboth");
        assert!(log.show_on_console(false));
        say(&log, "hidden");
        assert_eq!(seen.try_iter().collect::<Vec<_>>(), ["shown", "both"]);
    }

    #[test]
    fn what_finds_the_queue_full_is_counted() {
        let (_place, path, log) = opened();
        log.shared.queued_bytes.fetch_add(MAX_QUEUED_BYTES, Ordering::Relaxed);
        log.queue_line(b"dropped\n");
        log.shared.queued_bytes.fetch_sub(MAX_QUEUED_BYTES, Ordering::Relaxed);
        say(&log, "kept");
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("kept\n") && text.ends_with(" 1 lines dropped: too many at once\n"),
            "{text}"
        );
    }
}
