//! The terminal: questions, the answers to them, and output that never tears the line being typed.
//!
//! All that a person types comes by one way, whatever is asked: a thread reads bytes, [`keys`] makes keys of
//! them, and the question that stands takes them; so what was typed ahead of a password question answers that
//! question and nothing else. The terminal itself echoes nothing from the beginning to the end. [`draft`] is
//! the line being typed, [`screen`] what has to be written for it to be seen; another thread writes, since a
//! terminal may take nothing for as long as it likes.
//!
//! Why no ready-made line editor: those that print above the line keep an answer without an echo in another
//! reader with a buffer of its own, cannot change the prompt, and rub out a row too many when the window is
//! resized.

mod draft;
mod keys;
mod modes;
mod screen;

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::{Semaphore, mpsc, oneshot};
use zeroize::{Zeroize, Zeroizing};

use self::draft::Draft;
use self::keys::{Decoder, Key};
pub use self::modes::Restorer;
use self::modes::{Modes, size};
use self::screen::{Frame, Screen};
use crate::display::{self, UNWRAPPED, paragraph};

/// Texts that may wait for the terminal; who shows more waits.
const QUEUE_TEXTS: usize = 256;
/// Pieces of what was typed that may wait for a question.
const TYPED_PIECES: usize = 64;
/// How much is read at once, in bytes.
const READ_BYTES: usize = 1_024;
/// Texts that are kept while a question stands that nothing is printed into.
const HELD_TEXTS: usize = 1_000;
/// Lines that the arrow keys bring back.
const HISTORY_LINES: usize = 500;
/// How long the last texts may take to be printed.
const FLUSH_WAIT: Duration = Duration::from_millis(500);
/// The longest secret that is taken, in bytes; what is longer is no password.
const SECRET_BYTES: usize = 1_024;

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
    /// Ctrl-C: not this question.
    Interrupted,
    /// Ctrl-D, or the terminal is gone.
    End,
}

/// The question that stands.
struct Question {
    ask: Ask,
    secret: Zeroizing<String>,
    /// Where the arrow keys are in the history, and what was typed before they were used.
    recalled: Option<(usize, String)>,
}

/// What the writing thread does.
enum Output {
    /// Write this; whether it took one of the places in the queue.
    Bytes(String, bool),
    /// Everything before this is out.
    Settled(oneshot::Sender<()>),
}

/// A person's terminal.
pub struct Terminal {
    typed: mpsc::Receiver<Vec<u8>>,
    decoder: Decoder,
    draft: Draft,
    history: VecDeque<String>,
    question: Option<Question>,
    screen: Screen,
    /// Texts that came while nothing may be printed, and how many of them were too many.
    held: Option<(VecDeque<String>, usize)>,
    out: mpsc::UnboundedSender<Output>,
    queue: Arc<Semaphore>,
    resized: unix::Signal,
    continued: unix::Signal,
    modes: Modes,
}

impl Terminal {
    /// Takes the terminal that standard input is.
    ///
    /// # Errors
    /// When it is none, or takes no modes.
    pub fn open() -> std::io::Result<Self> {
        let modes = Modes::find()?;
        let screen = Screen::new(size(), modes.moves, modes.reflows);
        let resized = unix::signal(SignalKind::window_change())?;
        let continued = unix::signal(SignalKind::from_raw(Signal::CONT.as_raw()))?;
        let queue = Arc::new(Semaphore::new(QUEUE_TEXTS));
        let (out, shown) = mpsc::unbounded_channel();
        let (pieces, typed) = mpsc::channel(TYPED_PIECES);
        let places = Arc::clone(&queue);
        std::thread::Builder::new().name("output".to_owned()).spawn(move || write(shown, &places))?;
        std::thread::Builder::new().name("input".to_owned()).spawn(move || read(&pieces))?;
        let begin = modes.take()?;
        let terminal = Terminal {
            typed,
            decoder: Decoder::default(),
            draft: Draft::default(),
            history: VecDeque::new(),
            question: None,
            screen,
            held: None,
            out,
            queue,
            resized,
            continued,
            modes,
        };
        terminal.write(begin.to_owned());
        Ok(terminal)
    }

    /// Asks the person; the answer comes by [`Terminal::answer`]. A question that stands is replaced, and
    /// what was typed so far of a line becomes a part of the new one.
    pub fn ask(&mut self, ask: Ask) {
        if matches!(ask, Ask::Secret { .. }) {
            self.draft.take();
        }
        self.question = Some(Question {
            ask,
            secret: Zeroizing::new(String::with_capacity(SECRET_BYTES)),
            recalled: None,
        });
        self.draw();
    }

    /// Whether something was typed for the question that stands.
    pub fn has_draft(&self) -> bool {
        self.question.is_some() && !self.draft.is_empty()
    }

    /// The answer to what was asked. Dropping the future loses nothing.
    pub async fn answer(&mut self) -> Answer {
        loop {
            while let Some(key) = self.decoder.next() {
                if let Some(answer) = self.press(key) {
                    return answer;
                }
            }
            self.draw();
            if !self.more().await {
                self.leave_question();
                return Answer::End;
            }
        }
    }

    /// Waits for Ctrl-C while nothing is asked. What was typed ahead stays for the next question, but for what
    /// stood before the Ctrl-C. Dropping the future loses nothing.
    pub async fn interrupted(&mut self) {
        loop {
            let mut ahead = Vec::new();
            while let Some(key) = self.decoder.next() {
                match key {
                    Key::Interrupt => return,
                    Key::Suspend => self.suspend(),
                    key => ahead.push(key),
                }
            }
            ahead.into_iter().rev().for_each(|key| self.decoder.put_back(key));
            if !self.more().await {
                return std::future::pending().await;
            }
        }
    }

    /// The line that was typed ahead, or its beginning.
    pub fn typed_ahead(&mut self) -> Zeroizing<String> {
        while let Ok(mut piece) = self.typed.try_recv() {
            self.decoder.feed(&piece);
            piece.zeroize();
        }
        Zeroizing::new(self.decoder.begun_line())
    }

    /// Forgets what was typed ahead. It was typed for another question than the one that comes now, and may be
    /// a secret.
    pub fn forget_typed_ahead(&mut self) {
        while let Ok(mut piece) = self.typed.try_recv() {
            piece.zeroize();
        }
        self.decoder = Decoder::default();
    }

    /// Asks for a line, below everything printed so far, and waits for it.
    pub async fn line(&mut self, prompt: impl Into<String>) -> Answer {
        self.ask(Ask::Line { prompt: prompt.into(), remember: false });
        self.answer().await
    }

    /// Asks for a line without an echo, below everything printed so far, and waits for it.
    pub async fn secret(&mut self, prompt: impl Into<String>) -> Answer {
        self.ask(Ask::Secret { prompt: prompt.into() });
        self.answer().await
    }

    /// Prints a text of whole lines, which must be safe already (see [`crate::display`]), above the question
    /// that stands. While questions are asked that nothing is printed into, it waits.
    pub async fn print(&mut self, text: String) {
        if let Some((held, lost)) = &mut self.held {
            if held.len() >= HELD_TEXTS {
                held.pop_front();
                *lost += 1;
            }
            return held.push_back(text);
        }
        self.print_now(&text).await;
    }

    /// Prints a sentence, made safe, also between questions that nothing else is printed into.
    pub async fn tell(&mut self, sentence: &str) {
        self.tell_as("* ", sentence).await;
    }

    /// The same behind another mark.
    pub async fn tell_as(&mut self, mark: &str, sentence: &str) {
        let rows = paragraph(mark, "", sentence, self.screen());
        self.print_now(&rows).await;
    }

    /// Tells how things are now, in one sentence that is safe, right above the question and in the place of
    /// what was told so before. Where nothing is asked it is printed.
    pub async fn set_status(&mut self, sentence: String) {
        if self.held.is_some() {
            // It is about a moment, and that is over when the questions are.
            return;
        }
        if self.question.is_none() {
            return self.print_now(&sentence).await;
        }
        self.place().await;
        self.look_at_size();
        let bytes = self.screen.set_status(sentence, frame(self.question.as_ref(), &self.draft));
        self.write_queued(bytes);
    }

    /// Things are not so any more: what was told of them last becomes a line like any other.
    pub async fn settle_status(&mut self) {
        self.place().await;
        let bytes = self.screen.settle_status(frame(self.question.as_ref(), &self.draft));
        self.write_queued(bytes);
    }

    async fn print_now(&mut self, text: &str) {
        self.place().await;
        self.look_at_size();
        let bytes = self.screen.print(text, frame(self.question.as_ref(), &self.draft));
        self.write_queued(bytes);
    }

    /// From now on nothing but [`Terminal::tell`] is printed, so that nothing comes into a question.
    pub fn hold(&mut self) {
        self.held.get_or_insert_default();
    }

    /// Prints what was held.
    pub async fn release(&mut self) {
        let Some((held, lost)) = self.held.take() else { return };
        if lost > 0 {
            self.tell(&format!(
                "{lost} lines came meanwhile that are not shown; /history has what was said."
            ))
            .await;
        }
        for text in held {
            self.print_now(&text).await;
        }
    }

    /// How wide the terminal is, and how it counts.
    pub fn screen(&self) -> display::Screen {
        display::Screen::of_this_locale(size().cells)
    }

    /// Gives up the question that stands, prints what was held, and waits until everything is printed, or for a
    /// moment where the terminal takes nothing.
    pub async fn close(&mut self) {
        self.leave_question();
        self.settle_status().await;
        self.release().await;
        self.flush().await;
    }

    /// Waits until everything is printed, or for a moment where the terminal takes nothing.
    async fn flush(&self) {
        let (done, settled) = oneshot::channel();
        if self.out.send(Output::Settled(done)).is_ok() {
            let _ = tokio::time::timeout(FLUSH_WAIT, settled).await;
        }
    }

    /// What puts the terminal back as it was found.
    pub fn restorer(&self) -> Restorer {
        Restorer { modes: self.modes.clone() }
    }

    /// Waits for something typed, or for a change of the terminal; false when nothing can be typed any more.
    async fn more(&mut self) -> bool {
        tokio::select! {
            piece = self.typed.recv() => match piece {
                Some(mut piece) => {
                    self.decoder.feed(&piece);
                    piece.zeroize();
                }
                None => return false,
            },
            _ = self.resized.recv() => self.look_at_size(),
            _ = self.continued.recv() => {
                // A shell may have had the terminal meanwhile. One that refuses its modes is gone.
                let begin = self.modes.take().unwrap_or_default();
                let anew = self.screen.begin_anew(frame(self.question.as_ref(), &self.draft));
                self.write(format!("{begin}{anew}"));
            }
        }
        true
    }

    /// The window may have been resized since, also while nobody waited to hear of it.
    fn look_at_size(&mut self) {
        let bytes = self.screen.resize(size(), frame(self.question.as_ref(), &self.draft));
        self.write(bytes);
    }

    /// What a key does; the answer, when it completes one.
    fn press(&mut self, key: Key) -> Option<Answer> {
        match key {
            Key::Interrupt => {
                self.leave_question();
                return Some(Answer::Interrupted);
            }
            Key::EndOfInput if self.draft.is_empty() && self.nothing_secret() => {
                self.leave_question();
                return Some(Answer::End);
            }
            Key::Suspend => self.suspend(),
            Key::ClearScreen => {
                let bytes = self.screen.clear(frame(self.question.as_ref(), &self.draft));
                self.write(bytes);
            }
            Key::Enter if self.decoder.take_spoiled() => self.refuse_bytes(),
            Key::Enter => return Some(Answer::Line(self.entered())),
            key => match self.question.as_mut() {
                Some(Question { ask: Ask::Secret { .. }, secret, .. }) => edit_secret(secret, &key),
                Some(_) if key == Key::Up => self.recall(1),
                Some(_) if key == Key::Down => self.recall(-1),
                _ => self.draft.press(&key),
            },
        }
        None
    }

    /// What was typed is not what was meant, and in a secret nobody would see it: it is asked for again.
    fn refuse_bytes(&mut self) {
        if let Some(question) = &mut self.question {
            question.secret.clear();
        }
        let text =
            "This terminal sent bytes that are no UTF-8: set it to UTF-8, or type this anew without them.";
        let bytes = self.screen.print(text, frame(self.question.as_ref(), &self.draft));
        self.write(bytes);
    }

    fn nothing_secret(&self) -> bool {
        self.question.as_ref().is_none_or(|question| question.secret.is_empty())
    }

    /// The line is complete.
    fn entered(&mut self) -> String {
        self.finish();
        let Some(mut question) = self.question.take() else { return self.draft.take() };
        match question.ask {
            Ask::Secret { .. } => std::mem::take(&mut *question.secret),
            Ask::Line { remember, .. } => {
                let line = self.draft.take();
                if remember && !line.trim().is_empty() && self.history.back() != Some(&line) {
                    self.history.push_back(line.clone());
                    self.history.drain(..self.history.len().saturating_sub(HISTORY_LINES));
                }
                line
            }
        }
    }

    /// The question is given up, and what was typed for it.
    fn leave_question(&mut self) {
        if self.question.is_some() {
            self.finish();
            self.question = None;
        }
        self.draft.take();
    }

    /// Goes through the history, `1` to older lines and `-1` to newer ones.
    fn recall(&mut self, step: isize) {
        let Some(Question { ask: Ask::Line { remember: true, .. }, recalled, .. }) = &mut self.question
        else {
            return;
        };
        let back = recalled.as_ref().map_or(0, |(back, _)| *back);
        let wanted = back.saturating_add_signed(step).min(self.history.len());
        if wanted == back {
            return;
        }
        let (_, typed) = recalled.get_or_insert_with(|| (0, self.draft.text().to_owned()));
        let line = match wanted {
            0 => typed.clone(),
            back => self.history[self.history.len() - back].clone(),
        };
        *recalled = (wanted > 0).then(|| (wanted, std::mem::take(typed)));
        self.draft.set(&line);
    }

    /// Stops the program as Ctrl-Z does elsewhere; [`Terminal::more`] sees it go on.
    fn suspend(&mut self) {
        self.modes.lend();
        // A system that does not let a program stop itself lets it go on.
        let _ = kill_process(getpid(), Signal::TSTP);
    }

    fn draw(&mut self) {
        if let Some(frame) = frame(self.question.as_ref(), &self.draft) {
            let bytes = self.screen.draw(frame);
            self.write(bytes);
        }
    }

    fn finish(&mut self) {
        if let Some(frame) = frame(self.question.as_ref(), &self.draft) {
            let bytes = self.screen.finish(frame);
            self.write(bytes);
        }
    }

    /// Waits for a place in the queue of what is to be written.
    async fn place(&self) {
        if let Ok(permit) = self.queue.acquire().await {
            permit.forget();
        }
    }

    fn write_queued(&self, bytes: String) {
        self.send(bytes, true);
    }

    fn write(&self, bytes: String) {
        if !bytes.is_empty() {
            self.send(bytes, false);
        }
    }

    fn send(&self, bytes: String, queued: bool) {
        self.modes.set_asking(self.screen.is_drawn());
        // A row that is longer on this terminal than was reckoned is cut off: what would begin the next one
        // could look like another's line.
        let rows = self.modes.moves && bytes.contains('\n');
        let bytes = if rows { format!("{}{bytes}{}", UNWRAPPED.0, UNWRAPPED.1) } else { bytes };
        // The thread lives as long as this does.
        let _ = self.out.send(Output::Bytes(bytes, queued));
    }
}

/// The question as it is to be seen.
fn frame<'a>(question: Option<&'a Question>, draft: &'a Draft) -> Option<Frame<'a>> {
    question.map(|question| match &question.ask {
        Ask::Line { prompt, .. } => Frame { prompt, text: draft.text(), cursor: draft.before_cursor().len() },
        Ask::Secret { prompt } => Frame { prompt, text: "", cursor: 0 },
    })
}

fn edit_secret(secret: &mut String, key: &Key) {
    let mut insert = |text: &str| {
        // It never grows, so that no copy of it is left behind in memory.
        if secret.len() + text.len() <= SECRET_BYTES {
            secret.push_str(text);
        }
    };
    match key {
        Key::Char(c) => insert(c.encode_utf8(&mut [0; 4])),
        // What is copied often has a line break behind it, which is no part of a password.
        Key::Paste(text) => insert(text.trim_end_matches('\n')),
        Key::Backspace => drop(secret.pop()),
        Key::KillToStart | Key::KillWordLeft => secret.clear(),
        _ => {}
    }
}

/// Reads what is typed, until the terminal is gone.
fn read(pieces: &mpsc::Sender<Vec<u8>>) {
    let mut buffer = Zeroizing::new([0; READ_BYTES]);
    loop {
        match rustix::io::read(rustix::stdio::stdin(), &mut buffer[..]) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(0) | Err(_) => return,
            Ok(count) => {
                if pieces.blocking_send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        }
    }
}

/// Writes what is to be seen. A terminal that takes nothing any more ends the input too; that is where it is
/// noticed.
fn write(mut shown: mpsc::UnboundedReceiver<Output>, places: &Semaphore) {
    while let Some(output) = shown.blocking_recv() {
        match output {
            Output::Bytes(bytes, queued) => {
                let mut out = std::io::stdout().lock();
                let _ = out.write_all(bytes.as_bytes());
                let _ = out.flush();
                if queued {
                    places.add_permits(1);
                }
            }
            Output::Settled(reply) => drop(reply.send(())),
        }
    }
}
