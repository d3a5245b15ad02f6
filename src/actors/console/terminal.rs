//! Standard input, read on a thread of its own.
//!
//! At a terminal that is the line editor, with its history and completion; from a pipe, line by line. Either
//! way one command is answered before the next is read, and the end of the input ends the thread alone: the
//! server stays up, and `veche ctl` still reaches it.

use std::borrow::Cow;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use actix::MailboxError;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{
    Cmd, ConditionalEventHandler, Config, Context, Editor, Event, EventContext, EventHandler, Helper,
    KeyEvent, RepeatCount,
};

use super::commands::{self, Command, SURE, TABLE};
use super::printer::Printer;
use crate::actors::messages::console::{ConsoleHandle, RunCommand};

/// The longest line from a pipe, in bytes; a longer one is told and skipped.
const MAX_LINE_BYTES: usize = 64 * 1024;
/// What the history keeps, in lines.
const MAX_HISTORY_LINES: usize = 500;
/// How long the next prompt waits for what was printed before it.
const PROMPT_PATIENCE: Duration = Duration::from_millis(200);
/// How often a server in the background of its shell looks whether it has come to the front.
const BACKGROUND_POLL: Duration = Duration::from_secs(1);

/// What stands before a command that is typed.
const PROMPT: &str = "veche> ";
/// What stands before the answer to a question.
const SURE_HINT: &str = "Type yes to go on:";

/// The terminal as it was found, when standard input is one.
static FOUND: OnceLock<Termios> = OnceLock::new();

/// The console's hold on the terminal. Dropped when the server ends, it prints what is still to be printed
/// and puts the terminal back.
#[must_use = "the terminal is put back when this is dropped"]
pub struct Terminal {
    printer: Printer,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // What is printed from here on goes straight out: there is no line to be kept whole any more.
        self.printer.print_through(None);
        self.printer.flush(PROMPT_PATIENCE);
        put_back();
    }
}

/// Puts the terminal back to how it was found: the thread may be in the middle of a line that nobody will
/// finish. Whoever ends the process in a hurry calls this first.
pub fn put_back() {
    let Some(found) = FOUND.get() else { return };
    let Ok(now) = tcgetattr(io::stdin()) else { return };
    // A process in the background of its shell must not touch the terminal, and would be stopped for it.
    if in_background() || now.local_modes == found.local_modes {
        return;
    }
    // A terminal that is gone cannot be put back, and nobody sees it.
    let _ = tcsetattr(io::stdin(), OptionalActions::Now, found);
    let _ = io::stdout().write_all(b"\r\n");
}

/// The thread that will read the input, before there is anybody to ask.
#[derive(Debug)]
pub struct WaitingTerminal {
    begin: Sender<ConsoleHandle>,
    printer: Printer,
}

/// Starts the thread that will read commands from standard input, answered on `printer`. What is typed at a
/// terminal is remembered in the file `history`.
///
/// # Errors
/// What the system says when there can be no more threads.
pub fn prepare(printer: Printer, history: PathBuf) -> io::Result<WaitingTerminal> {
    let at_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    if let (true, Ok(found)) = (at_terminal, tcgetattr(io::stdin())) {
        let _ = FOUND.set(found); // a second console finds the terminal as the first one did
    }
    let (ready, is_ready) = channel();
    let (begin, begun) = channel::<ConsoleHandle>();
    let output = printer.clone();
    std::thread::Builder::new().name("console input".into()).spawn(move || {
        // Made here, since whoever starts this runs in a runtime, where another one must not be dropped.
        let (runtime, result) = match tokio::runtime::Builder::new_current_thread().build() {
            Ok(runtime) => (Some(runtime), Ok(())),
            Err(why) => (None, Err(why)),
        };
        let _ = ready.send(result); // whoever started this waits for it
        // Without a console the server has not started.
        let (Some(runtime), Ok(console)) = (runtime, begun.recv()) else { return };
        let run = move |line: &str| {
            let asked = console.send(RunCommand { line: line.to_owned() });
            match runtime.block_on(asked) {
                Ok(answer) => answer.map(|done| done.text),
                Err(MailboxError::Closed | MailboxError::Timeout) => Err("The server is stopping.".into()),
            }
        };
        let mut session = Session { run, printer: &output };
        match at_terminal.then(|| editor(&history, &output)).flatten() {
            Some(editor) => session.edit_lines(editor, &history),
            None => session.read_lines(&mut io::stdin().lock(), io::stdin().is_terminal()),
        }
    })?;
    is_ready.recv().unwrap_or_else(|_| Err(io::Error::other("a thread ended while it began")))?;
    Ok(WaitingTerminal { begin, printer })
}

impl WaitingTerminal {
    /// Starts to read, for this console.
    pub fn begin(self, console: ConsoleHandle) -> Terminal {
        // A thread that is gone has told the log why.
        let _ = self.begin.send(console);
        Terminal { printer: self.printer }
    }
}

/// What Ctrl-Z gets, which would stop the chat of everybody.
pub const NOT_SUSPENDED: &str = "Ctrl-Z would stop everybody's chat, and does nothing here. Ctrl-C stops the server, Ctrl-D closes the console alone.";

/// Ctrl-Z at the line editor, which would stop the process itself.
struct Unsuspended(Printer);

impl ConditionalEventHandler for Unsuspended {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, _: &EventContext<'_>) -> Option<Cmd> {
        self.0.print(NOT_SUSPENDED);
        Some(Cmd::Noop)
    }
}

/// One reading of the input, to its end.
struct Session<'a, R> {
    run: R,
    printer: &'a Printer,
}

impl<R: FnMut(&str) -> Result<String, String>> Session<'_, R> {
    /// A pipe, or a terminal that cannot move its cursor.
    fn read_lines(&mut self, input: &mut impl BufRead, is_terminal: bool) {
        let mut line = Vec::new();
        while let Some(read) = self.next_line(input, &mut line) {
            let sure = self.question_before(&read).is_none_or(|question| {
                // Whoever writes a script has thought about it.
                !is_terminal || {
                    self.printer.print_patiently(&format!("{question} {SURE_HINT}"));
                    self.next_line(input, &mut line).is_some_and(|answer| is_yes(&answer))
                }
            });
            if !self.does_more_after(&read, sure) {
                return;
            }
        }
    }

    /// The next line that can be understood; `None` at the end of the input.
    fn next_line(&self, input: &mut impl BufRead, line: &mut Vec<u8>) -> Option<String> {
        loop {
            wait_for_foreground();
            match read_line(input, line) {
                Ok(Line::Whole) => return Some(String::from_utf8_lossy(line).into_owned()),
                Ok(Line::TooLong) => {
                    self.printer.print_patiently(&format!(
                        "This line is longer than {MAX_LINE_BYTES} bytes and was skipped."
                    ));
                }
                Ok(Line::End) => return None,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(BACKGROUND_POLL)
                }
                Err(error) => {
                    log::warn!("standard input cannot be read any more ({error}); use `veche ctl`");
                    return None;
                }
            }
        }
    }

    fn edit_lines(&mut self, mut editor: LineEditor, history: &Path) {
        if let Ok(above_line) = editor.create_external_printer() {
            self.printer.print_through(Some(Box::new(above_line)));
        }
        loop {
            self.printer.flush(PROMPT_PATIENCE);
            wait_for_foreground();
            let goes_on = match editor.readline(PROMPT) {
                Ok(line) => {
                    remember(&mut editor, line.trim(), history);
                    let sure = self.question_before(&line).is_none_or(|question| {
                        self.printer.print_patiently(question);
                        self.printer.flush(PROMPT_PATIENCE);
                        // Ctrl-C gives the question up, and nothing else.
                        editor.readline(&format!("{SURE_HINT} ")).is_ok_and(|answer| is_yes(&answer))
                    });
                    self.does_more_after(&line, sure)
                }
                Err(ReadlineError::Interrupted) => self.does_more_after("shutdown", true),
                Err(ReadlineError::Eof) => {
                    self.printer
                        .print_patiently("The console is closed; the server runs on. Use `veche ctl`.");
                    false
                }
                Err(ReadlineError::Signal(_)) => true,
                Err(error) => {
                    log::warn!("the terminal cannot be read any more ({error}); use `veche ctl`");
                    false
                }
            };
            if !goes_on {
                break;
            }
        }
        self.printer.print_through(None);
    }

    /// What to ask before the line's command is done.
    fn question_before(&self, line: &str) -> Option<&'static str> {
        commands::parse(line).ok()?.question()
    }

    /// Does what the line says, if whoever typed it is `sure`, and prints the answer. Answers whether there is
    /// anything to read after it.
    fn does_more_after(&mut self, line: &str, sure: bool) -> bool {
        if line.trim().is_empty() {
            return true;
        }
        let asks = self.question_before(line).is_some();
        if asks && !sure {
            self.printer.print_patiently("Nothing was done.");
            return true;
        }
        let answer = if asks { (self.run)(&format!("{line} {SURE}")) } else { (self.run)(line) };
        let stops = answer.is_ok() && commands::parse(line) == Ok(Command::Shutdown);
        self.printer.print_patiently(&answer.unwrap_or_else(|problem| problem));
        !stops
    }
}

fn is_yes(answer: &str) -> bool {
    answer.trim().eq_ignore_ascii_case("yes")
}

enum Line {
    Whole,
    TooLong,
    End,
}

/// Reads a line, its newline taken away.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Line> {
    line.clear();
    let mut too_long = false;
    loop {
        let (used, ended) = match input.fill_buf() {
            Ok([]) if too_long => return Ok(Line::TooLong),
            Ok([]) if line.is_empty() => return Ok(Line::End),
            Ok([]) => return Ok(Line::Whole),
            Ok(bytes) => {
                let end = bytes.iter().position(|byte| *byte == b'\n');
                let part = &bytes[..end.unwrap_or(bytes.len())];
                too_long |= line.len() + part.len() > MAX_LINE_BYTES;
                if !too_long {
                    line.extend_from_slice(part);
                }
                (end.map_or(bytes.len(), |end| end + 1), end.is_some())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        input.consume(used);
        if ended {
            return Ok(if too_long { Line::TooLong } else { Line::Whole });
        }
    }
}

type LineEditor = Editor<Completion, FileHistory>;

fn editor(history: &Path, printer: &Printer) -> Option<LineEditor> {
    let config = Config::builder().auto_add_history(false).bracketed_paste(false);
    let config = config.max_history_size(MAX_HISTORY_LINES).ok()?.build();
    let mut editor = Editor::with_config(config).ok()?;
    editor.set_helper(Some(Completion));
    let unsuspended = EventHandler::Conditional(Box::new(Unsuspended(printer.clone())));
    editor.bind_sequence(KeyEvent::ctrl('Z'), unsuspended);
    if may_be_history(history) {
        let _ = editor.load_history(history); // a history that is not there yet is an empty one
    }
    Some(editor)
}

fn remember(editor: &mut LineEditor, line: &str, history: &Path) {
    if !line.is_empty() && editor.add_history_entry(line).unwrap_or(false) && may_be_history(history) {
        let _ = editor.append_history(history); // a line that is forgotten is no fault
    }
}

/// Whether the history can be opened without waiting for anybody, as a pipe in its place would make one.
fn may_be_history(path: &Path) -> bool {
    path.symlink_metadata()
        .map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |there| there.is_file())
}

/// A process in the background of its shell that reads the terminal is stopped by the system, and a server
/// must not be: so it does not read before it has come to the front.
fn wait_for_foreground() {
    while in_background() {
        std::thread::sleep(BACKGROUND_POLL);
    }
}

/// Whether standard input is a terminal that another process group of the shell has to itself.
fn in_background() -> bool {
    tcgetpgrp(io::stdin()).is_ok_and(|front| front != rustix::process::getpgrp())
}

/// Completes the names of the commands.
struct Completion;

impl Completer for Completion {
    type Candidate = String;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok((0, completions(line.get(..pos).unwrap_or(line))))
    }
}

impl Hinter for Completion {
    type Hint = String;
}

impl Highlighter for Completion {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Borrowed(hint)
    }
}

impl Validator for Completion {}
impl Helper for Completion {}

fn completions(typed: &str) -> Vec<String> {
    let typed = typed.trim_start().to_lowercase();
    let names = TABLE.iter().filter(|entry| !entry.name.contains('#') && entry.name.starts_with(&typed));
    names
        .map(|entry| if entry.arguments.is_empty() { entry.name.into() } else { format!("{} ", entry.name) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands_run(input: &[u8]) -> Vec<String> {
        commands_typed(input, false)
    }

    fn commands_typed(input: &[u8], at_terminal: bool) -> Vec<String> {
        let printer = Printer::start().unwrap();
        let mut run = Vec::new();
        let done = |line: &str| {
            run.push(line.to_owned());
            if line.starts_with("bad") { Err(String::new()) } else { Ok(String::new()) }
        };
        Session { run: done, printer: &printer }.read_lines(&mut io::Cursor::new(input), at_terminal);
        run
    }

    #[test]
    fn a_pipe_is_read_to_its_end() {
        assert_eq!(commands_run(b"who\n\n  \nbad\r\nstatus"), ["who", "bad\r", "status"]);
        assert_eq!(commands_run(b""), Vec::<String>::new());
        assert_eq!(commands_run(b"\xff\n"), ["\u{fffd}"]);
    }

    #[test]
    fn nothing_is_read_after_shutdown() {
        assert_eq!(commands_run(b"SHUTDOWN\nwho\n"), ["SHUTDOWN"]);
        assert_eq!(commands_run(b"shutdown now\nwho\n"), ["shutdown now", "who"]);
    }

    #[test]
    fn a_line_without_end_is_skipped_not_kept() {
        let mut input = vec![b'x'; 3 * MAX_LINE_BYTES];
        input.extend_from_slice(b"\nwho\n");
        assert_eq!(commands_run(&input), ["who"]);
    }

    // issue 7: `clear file` removes all accounts unasked
    #[test]
    fn what_cannot_be_taken_back_is_asked_about_at_a_terminal_and_done_from_a_pipe() {
        assert_eq!(commands_run(b"Clear File\nwho\n"), ["Clear File --yes", "who"]);
        assert_eq!(commands_run(b"clear file --yes\n"), ["clear file --yes"]);
        assert_eq!(commands_typed(b"clear file\nyes\nwho\n", true), ["clear file --yes", "who"]);
        assert_eq!(commands_typed(b"clear file\nwho\nwho\n", true), ["who"]);
        assert_eq!(commands_typed(b"clear file", true), Vec::<String>::new());
        assert_eq!(commands_typed(b"clear file --yes\n", true), ["clear file --yes"]);
    }

    #[test]
    fn commands_are_completed() {
        assert_eq!(completions("st"), ["status", "stop listen", "start listen", "stop log", "start log"]);
        assert_eq!(completions("START l"), ["start listen", "start log"]);
        assert_eq!(completions("kic"), ["kick "]);
        assert_eq!(completions("zzz"), Vec::<String>::new());
    }
}
