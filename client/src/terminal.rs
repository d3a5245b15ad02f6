//! The terminal: a line editor on a thread of its own, and output that never tears the line being typed.
//!
//! Two threads serve the asynchronous rest: one asks the person (a line, or a secret without an echo), when
//! it is told to; the other prints, through the editor while a line is being typed. The editor is in the
//! middle of a line most of the time, so [`Restorer::restore`] puts the terminal back before the program
//! ends, whatever ends it.

use std::io::Write;
use std::sync::mpsc as blocking;
use std::time::Duration;

use rustix::termios::{self, OptionalActions, Termios};
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{Config, Editor, ExternalPrinter};
use tokio::sync::{mpsc, oneshot};

use crate::display::safe;

/// Texts that may wait for the terminal; who shows more waits.
const QUEUE_TEXTS: usize = 256;
/// The width that is taken where the terminal does not tell its own, in cells.
const DEFAULT_WIDTH_CELLS: usize = 80;
/// Lines that the arrow keys bring back.
const HISTORY_LINES: usize = 500;
/// How long the last texts may take to be printed.
const FLUSH_WAIT: Duration = Duration::from_millis(500);

/// What to ask the person.
#[derive(Debug)]
pub enum Ask {
    /// A line, which the arrow keys bring back later if `remember`.
    Line {
        /// What stands before it.
        prompt: String,
        /// Whether it goes into the editor's history.
        remember: bool,
    },
    /// A line without an echo.
    Secret {
        /// What stands before it.
        prompt: String,
    },
}

/// What the person answered.
#[derive(Debug)]
pub enum Answer {
    /// A line.
    Line(String),
    /// Ctrl-C: not this line.
    Interrupted,
    /// Ctrl-D, or the terminal is gone.
    End,
}

/// The two threads, and the terminal's state before they began.
pub struct Terminal {
    asks: blocking::Sender<Ask>,
    answers: mpsc::Receiver<Answer>,
    texts: mpsc::Sender<Print>,
    before: Option<Termios>,
}

/// What the printing thread does.
enum Print {
    Text(String),
    /// Everything before this is out.
    Settled(oneshot::Sender<()>),
}

impl Terminal {
    /// Takes the terminal that standard input is.
    ///
    /// # Errors
    /// When the line editor cannot work with it.
    pub fn open() -> Result<Self, ReadlineError> {
        let before = termios::tcgetattr(std::io::stdin()).ok();
        let config = Config::builder().max_history_size(HISTORY_LINES)?.build();
        let mut editor = Editor::<(), DefaultHistory>::with_config(config)?;
        let mut printer = editor.create_external_printer().ok();
        let (asks, asked) = blocking::channel();
        let (answered, answers) = mpsc::channel(1);
        let (texts, mut shown) = mpsc::channel(QUEUE_TEXTS);
        std::thread::spawn(move || {
            while let Ok(ask) = asked.recv() {
                if answered.blocking_send(answer(&mut editor, ask)).is_err() {
                    return;
                }
            }
        });
        std::thread::spawn(move || {
            while let Some(print) = shown.blocking_recv() {
                match print {
                    Print::Text(text) => put(printer.as_mut(), text),
                    Print::Settled(reply) => drop(reply.send(())),
                }
            }
        });
        Ok(Terminal { asks, answers, texts, before })
    }

    /// Asks the person; the answer comes by [`Terminal::answer`].
    pub fn ask(&self, ask: Ask) {
        // The thread lives as long as this does; should it have died, `answer` says that it is the end.
        let _ = self.asks.send(ask);
    }

    /// The answer to what was asked. Dropping the future loses nothing.
    pub async fn answer(&mut self) -> Answer {
        self.answers.recv().await.unwrap_or(Answer::End)
    }

    /// Asks for a line, below everything printed so far, and waits for it.
    pub async fn line(&mut self, prompt: impl Into<String>) -> Answer {
        self.flush().await;
        self.ask(Ask::Line { prompt: prompt.into(), remember: false });
        self.answer().await
    }

    /// Asks for a line without an echo, below everything printed so far, and waits for it.
    pub async fn secret(&mut self, prompt: impl Into<String>) -> Answer {
        self.flush().await;
        self.ask(Ask::Secret { prompt: prompt.into() });
        self.answer().await
    }

    /// Prints a text of whole lines, which must be safe already (see [`crate::display`]).
    pub async fn print(&self, mut text: String) {
        if !text.ends_with('\n') {
            text.push('\n');
        }
        let _ = self.texts.send(Print::Text(text)).await;
    }

    /// Prints a sentence, made safe.
    pub async fn tell(&self, sentence: &str) {
        self.print(safe(sentence).into_owned()).await;
    }

    /// How wide the terminal is, in cells.
    pub fn width_cells(&self) -> usize {
        let size = termios::tcgetwinsize(std::io::stdout());
        size.ok()
            .map(|size| usize::from(size.ws_col))
            .filter(|width| *width > 0)
            .unwrap_or(DEFAULT_WIDTH_CELLS)
    }

    /// Waits until everything is printed, or for a moment where the terminal takes nothing.
    pub async fn flush(&self) {
        let (done, settled) = oneshot::channel();
        let _ = tokio::time::timeout(FLUSH_WAIT, async {
            let _ = self.texts.send(Print::Settled(done)).await;
            let _ = settled.await;
        })
        .await;
    }

    /// What puts the terminal back as it was found.
    pub fn restorer(&self) -> Restorer {
        Restorer { before: self.before.clone() }
    }
}

/// The terminal's state before the program began.
pub struct Restorer {
    before: Option<Termios>,
}

impl Restorer {
    /// Puts the terminal back as it was found, below the line that is being typed, if one is.
    pub fn restore(&self) {
        let Some(before) = &self.before else { return };
        let typing =
            termios::tcgetattr(std::io::stdin()).is_ok_and(|now| now.local_modes != before.local_modes);
        if typing {
            let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Drain, before);
            // Bracketed paste off, and a new line below the one that was being typed.
            let _ = std::io::stdout().write_all(b"\x1b[?2004l\n");
            let _ = std::io::stdout().flush();
        }
    }
}

fn answer(editor: &mut Editor<(), DefaultHistory>, ask: Ask) -> Answer {
    match ask {
        Ask::Line { prompt, remember } => match editor.readline(&prompt) {
            Ok(line) => {
                if remember {
                    // A history that does not take a line is no reason to lose it.
                    let _ = editor.add_history_entry(line.as_str());
                }
                Answer::Line(line)
            }
            Err(ReadlineError::Interrupted) => Answer::Interrupted,
            Err(_) => Answer::End,
        },
        Ask::Secret { prompt } => match rpassword::prompt_password(prompt) {
            Ok(secret) => Answer::Line(secret),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Answer::Interrupted,
            Err(_) => Answer::End,
        },
    }
}

fn put(printer: Option<&mut impl ExternalPrinter>, text: String) {
    // A terminal that takes nothing any more ends the input too; that is where it is noticed.
    match printer {
        Some(printer) => drop(printer.print(text)),
        None => {
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(text.as_bytes());
            let _ = out.flush();
        }
    }
}
