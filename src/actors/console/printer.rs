//! Standard output, behind a queue and a thread of its own, so that nobody else waits for whoever reads it.
//!
//! While a line is being typed at a terminal, text goes through the line editor, which puts it above that
//! line. When the output is closed, what is printed is forgotten, and nothing else happens.

use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};
use std::vec::Drain;

use rustyline::ExternalPrinter;

use crate::writer_thread::{self, BatchWriter, QueueBounds, WriterQueue};

/// What may wait to be printed, in texts.
const MAX_QUEUED_TEXTS: usize = 1_024;
/// Clears a terminal's screen and what lies above it, and goes to the top.
const CLEAR_SCREEN: &str = "\x1b[H\x1b[2J\x1b[3J";

/// The way to standard output; cheap to clone.
#[derive(Debug, Clone)]
pub struct Printer {
    queue: WriterQueue<Print>,
}

/// The line editor's own way of printing above the line that is being typed.
pub(super) type AboveLine = Box<dyn ExternalPrinter + Send>;

/// Something to do with the output.
enum Print {
    Text(String),
    ClearScreen,
    Through(Option<AboveLine>),
    Flush(Sender<()>),
}

impl Printer {
    /// Starts the thread; it ends with the last clone.
    ///
    /// # Errors
    /// What the system says when there can be no more threads.
    pub fn start() -> io::Result<Self> {
        let terminal = io::stdout().is_terminal();
        Self::writing_to(Box::new(io::stdout()), terminal)
    }

    fn writing_to(output: Box<dyn Write + Send>, terminal: bool) -> io::Result<Self> {
        let screen = Screen { output, terminal, closed: false, above_line: None };
        let bounds = QueueBounds { most_waiting: Some(MAX_QUEUED_TEXTS), most_at_once: 1 };
        let thread = writer_thread::start("console output", bounds, (), screen)?;
        Ok(Printer { queue: thread.detached() })
    }

    /// Prints one or more lines, newline added. Never waits: what finds the queue full is forgotten.
    pub fn print(&self, text: &str) {
        let _ = self.queue.send(Print::Text(format!("{text}\n"))); // see above
    }

    /// Like [`Printer::print`], but waits for room: for the thread that reads the commands.
    pub fn print_patiently(&self, text: &str) {
        let _ = self.queue.send_patiently(Print::Text(format!("{text}\n"))); // the thread lives as long as this
    }

    /// Clears the screen, where the output is one. Never waits.
    pub fn clear_screen(&self) {
        let _ = self.queue.send(Print::ClearScreen); // an unclear screen is no fault
    }

    /// From now on prints above the line that is being typed, or straight out again. Never waits: an output
    /// whose queue is full shows nothing to anybody.
    pub(super) fn print_through(&self, above_line: Option<AboveLine>) {
        let _ = self.queue.send(Print::Through(above_line)); // see above
    }

    /// Waits until what was printed before is out, but not longer than `patience`. Answers whether it is.
    pub fn flush(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let (answer, answered) = mpsc::channel();
        if self.queue.send_within(Print::Flush(answer), patience).is_err() {
            return false;
        }
        answered.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok()
    }
}

struct Screen {
    output: Box<dyn Write + Send>,
    terminal: bool,
    /// Whether the output is closed; it stays so.
    closed: bool,
    above_line: Option<AboveLine>,
}

impl BatchWriter for Screen {
    type Job = Print;

    fn write(&mut self, jobs: Drain<'_, Print>) -> ControlFlow<()> {
        for job in jobs {
            match job {
                Print::Text(text) => self.show(text),
                Print::ClearScreen if self.terminal => self.show(CLEAR_SCREEN.into()),
                Print::ClearScreen => {}
                Print::Through(above_line) => self.above_line = above_line,
                Print::Flush(answer) => {
                    let _ = answer.send(()); // whoever asked may have lost patience
                }
            }
        }
        ControlFlow::Continue(())
    }
}

impl Screen {
    fn show(&mut self, text: String) {
        if let Some(editor) = &mut self.above_line {
            if editor.print(text.clone()).is_ok() {
                return;
            }
            self.above_line = None;
        }
        if !self.closed {
            let written = self.output.write_all(text.as_bytes()).and_then(|()| self.output.flush());
            self.closed = written.is_err();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Receiver;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    struct Pipe(Sender<String>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let text = String::from_utf8_lossy(bytes).into_owned();
            self.0.send(text).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn texts_come_out_in_order() {
        let (pipe, reader) = mpsc::channel();
        let printer = Printer::writing_to(Box::new(Pipe(pipe)), false).unwrap();
        printer.print("one");
        printer.clear_screen();
        printer.print_patiently("two\nthree");
        assert!(printer.flush(PATIENCE));
        assert_eq!(
            reader.try_iter().collect::<String>(),
            "one\ntwo\nthree\n",
            "a pipe has no screen to clear"
        );
    }

    #[test]
    fn a_closed_output_is_survived() {
        let (pipe, reader) = mpsc::channel();
        drop(reader);
        let printer = Printer::writing_to(Box::new(Pipe(pipe)), true).unwrap();
        for _ in 0..10_000 {
            printer.print("nobody reads this");
        }
        printer.clear_screen();
        printer.print_patiently("nor this");
        assert!(printer.flush(PATIENCE));
    }

    #[test]
    fn an_output_that_takes_nothing_holds_nobody_up() {
        struct Stuck(Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _ = self.0.recv();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (release, stuck) = mpsc::channel();
        let printer = Printer::writing_to(Box::new(Stuck(stuck)), false).unwrap();
        for _ in 0..10 * MAX_QUEUED_TEXTS {
            printer.print("x");
        }
        assert!(!printer.flush(Duration::ZERO));
        drop(release);
    }
}
