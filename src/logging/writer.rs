//! The thread that writes the log file.
//!
//! It takes what is queued in batches. Before each batch it looks whether the file at its path is still the
//! one that it has open: a file that was deleted, moved or replaced is opened anew, so log rotation needs no
//! signal (SIGHUP asks for it all the same). When a batch cannot be written, for a full disk say, it is
//! dropped and counted, and the first batch that can be written again says so.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use rustix::fs::OFlags;
use tokio::sync::oneshot;

use crate::names::Timestamp;
use crate::store::append::close_to_others;

/// What may wait to be written, in bytes; lines beyond it are dropped.
const MAX_QUEUED_BYTES: usize = 4 * 1024 * 1024;
/// The most bytes that are written at once.
const MAX_BATCH_BYTES: usize = 256 * 1024;

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
    queue: Sender<Order>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    queued_bytes: AtomicUsize,
    /// Lines that found the queue full, since this was last told.
    dropped_lines: AtomicU64,
    on_console: AtomicBool,
}

/// How a line gets to the console; it must not wait.
pub type ConsoleLine = Box<dyn Fn(&str) + Send>;

enum Order {
    Line(Box<[u8]>),
    Console(ConsoleLine),
    Clear(oneshot::Sender<io::Result<()>>),
    Reopen,
    Flush(Sender<()>),
}

/// Opens the log file and starts its thread, which ends when the last handle is gone.
pub(super) fn open(path: &Path) -> Result<LogControl, LogError> {
    let (queue, orders) = mpsc::channel();
    let shared = Arc::new(Shared {
        path: path.to_owned(),
        queued_bytes: AtomicUsize::new(0),
        dropped_lines: AtomicU64::new(0),
        on_console: AtomicBool::new(false),
    });
    let file = open_file(path).map_err(|error| LogError::Open { path: path.to_owned(), error })?;
    let writer = Writer {
        shared: shared.clone(),
        file: Some(file),
        torn: false,
        lost: Lost::default(),
        console: None,
    };
    std::thread::Builder::new()
        .name("log".into())
        .spawn(move || writer.run(&orders))
        .map_err(LogError::Thread)?;
    Ok(LogControl { queue, shared })
}

impl LogControl {
    /// The log file.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Where lines go while they are shown on the console. `print` must not wait.
    pub fn set_console(&self, print: ConsoleLine) {
        self.order(Order::Console(print));
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
        self.order(Order::Clear(answer));
        answered.await.unwrap_or_else(|_| Err(io::Error::other("the log's thread has ended")))
    }

    /// Opens the file anew before the next line, as SIGHUP asks for.
    pub fn reopen(&self) {
        self.order(Order::Reopen);
    }

    /// Waits until what was logged before is written, but not longer than `patience`. Answers whether it is.
    pub fn flush(&self, patience: Duration) -> bool {
        let (answer, answered) = mpsc::channel();
        self.order(Order::Flush(answer));
        answered.recv_timeout(patience).is_ok()
    }

    /// Queues a line, newline included, unless the queue is full.
    pub(super) fn queue_line(&self, line: &[u8]) {
        let queued = self.shared.queued_bytes.fetch_add(line.len(), Ordering::Relaxed);
        if queued + line.len() > MAX_QUEUED_BYTES {
            self.shared.queued_bytes.fetch_sub(line.len(), Ordering::Relaxed);
            self.shared.dropped_lines.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.order(Order::Line(line.into()));
    }

    fn order(&self, order: Order) {
        let _ = self.queue.send(order); // an error means that the thread is gone, and nobody is left to tell
    }
}

struct Writer {
    shared: Arc<Shared>,
    /// `None` while it cannot be opened.
    file: Option<File>,
    /// Whether the file ends within a line, after a write that was cut short.
    torn: bool,
    lost: Lost,
    console: Option<ConsoleLine>,
}

/// Lines that could not be written, since this was last told, and why.
#[derive(Default)]
struct Lost {
    lines: u64,
    why: Option<io::Error>,
}

impl Writer {
    fn run(mut self, orders: &Receiver<Order>) {
        let mut batch = Vec::new();
        while let Ok(first) = orders.recv() {
            let mut next = Some(first);
            while let Some(order) = next {
                match order {
                    Order::Line(line) => {
                        self.shared.queued_bytes.fetch_sub(line.len(), Ordering::Relaxed);
                        batch.extend_from_slice(&line);
                    }
                    other => {
                        self.write(&mut batch);
                        self.obey(other);
                    }
                }
                next = if batch.len() < MAX_BATCH_BYTES { orders.try_recv().ok() } else { None };
            }
            self.write(&mut batch);
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Line(_) => {}
            Order::Console(print) => self.console = Some(print),
            Order::Clear(answer) => {
                let cleared = self.clear();
                let _ = answer.send(cleared); // whoever asked may have gone
            }
            Order::Reopen => self.file = None,
            Order::Flush(answer) => {
                let _ = answer.send(());
            }
        }
    }

    /// Writes the batch and leaves it empty.
    fn write(&mut self, batch: &mut Vec<u8>) {
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
        let log = open(&path).unwrap();
        (place, path, log)
    }

    #[test]
    fn lines_are_appended_to_a_private_file() {
        let (_place, path, log) = opened();
        say(&log, "one");
        let again = open(&path).unwrap();
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
        let Ok(log) = open(Path::new("/dev/full")) else { return };
        say(&log, "one");
        say(&log, "two");
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
