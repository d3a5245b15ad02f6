//! Line mode, for scripts: each line of standard input is said, each event is one line of standard output,
//! and whatever is about the client itself goes to standard error.
//!
//! There are no commands here, so that a script can say anything: only `exit` or `/exit` alone on a line
//! ends, like the end of the input. Either way the receipts are waited for first. An empty line is nothing;
//! a line that cannot be said (more than 4 096 bytes, control characters, not UTF-8) is told and skipped,
//! and makes the exit status 1 at the end, as does input that cannot be read. Lines of standard output are
//! the event's JSON (`--json`), or one of
//!
//! ```text
//! 2026-11-21T18:05:21.311Z #ROOM NAME: TEXT       a message in a room
//! 2026-11-21T18:05:21.311Z @PEER NAME: TEXT       a direct message, from or to PEER
//! 2026-11-21T18:05:21.311Z #ROOM * NAME joined    or left
//! 2026-11-21T18:05:21.311Z ! TEXT                 a word of the operator or the server
//! ```
//!
//! with newlines, tabs, backslashes and everything that could drive a terminal escaped in TEXT.

use std::io::{BufRead, BufWriter, IsTerminal, Stdout, Write};
use std::os::fd::AsFd;

use tokio::sync::mpsc;
use veche::model::{MAX_TEXT_BYTES, MessageText, RoomName, TextError, Timestamp, UserName};
use veche::sanitize::escaped;
use veche::wire::json::frame::PresenceStatus;
use veche::wire::json::{Message, ServerFrame};

use crate::chat::{CONNECTED, outage};
use crate::display::{UNWRAPPED, json_line, one_line, paragraph, safe, screen_of};
use crate::driver::Ui;
use crate::link::words;
use crate::session::{Command, Session, Show};

/// Something to say, or the sentence that tells why there is nothing.
type Read = Result<MessageText, String>;

/// Lines that are read ahead.
const READ_AHEAD_LINES: usize = 64;

/// Standard input and output as a script uses them.
pub struct Pipe {
    me: UserName,
    room: RoomName,
    json: bool,
    for_terminal: bool,
    out: BufWriter<Stdout>,
    lines: mpsc::Receiver<Read>,
    ended: bool,
    said_all: bool,
    /// Why the connection is away, as it was told last.
    outage: Option<String>,
}

impl Pipe {
    /// Starts reading standard input; each line is said in this room.
    pub fn open(me: UserName, room: RoomName, json: bool) -> Self {
        let (sender, lines) = mpsc::channel(READ_AHEAD_LINES);
        // A thread of its own, because reading a pipe cannot be waited for otherwise. It ends with the
        // input, or with the process.
        std::thread::spawn(move || read_lines(&mut std::io::stdin().lock(), &sender));
        let out = BufWriter::new(std::io::stdout());
        let for_terminal = std::io::stdout().is_terminal();
        Pipe { me, room, json, for_terminal, out, lines, ended: false, said_all: true, outage: None }
    }

    /// Whether everything that was read could be said. If not, standard error tells what.
    pub fn said_all(&self) -> bool {
        self.said_all
    }

    fn line(&self, show: Show) -> Option<String> {
        Some(match (show, self.json) {
            (Show::Message { payload: Some(payload), .. }, true)
            | (Show::Presence { payload, .. } | Show::Notice { payload, .. } | Show::Bye { payload }, true) => {
                json_line(&payload, self.for_terminal)
            }
            (Show::Message { message, payload: None, .. }, true) => {
                // What was missed came in a list; it is printed as the event that it would have been.
                let payload = serde_json::to_vec(&ServerFrame::Message(message)).unwrap_or_default();
                json_line(&payload, self.for_terminal)
            }
            (Show::Message { message, .. }, false) => self.message_line(&message),
            (Show::Presence { room, name, status, at, .. }, false) => {
                let verb = match status {
                    PresenceStatus::Joined => "joined",
                    PresenceStatus::Left => "left",
                };
                self.text_line(at, &format!("#{} * {} {verb}", escaped(&room), escaped(&name)))
            }
            (Show::Notice { text, at, .. }, false) => self.text_line(at, &format!("! {}", one_line(&text))),
            _ => return None,
        })
    }

    /// A line for scripts; for the eyes of somebody at a terminal the same in rows of which none can pass for
    /// another line.
    fn text_line(&self, at: Timestamp, rest: &str) -> String {
        if !self.for_terminal {
            return format!("{at} {rest}");
        }
        unwrapped(
            paragraph(&format!("{at} "), "", rest, screen_of(&std::io::stdout())).trim_end_matches('\n'),
        )
    }

    fn message_line(&self, message: &Message) -> String {
        let peer = match &message.to {
            Some(to) if message.from == self.me.as_str() => to,
            _ => &message.from,
        };
        let place = message
            .room
            .as_ref()
            .map_or_else(|| format!("@{}", escaped(peer)), |room| format!("#{}", escaped(room)));
        let from = escaped(&message.from);
        self.text_line(message.at, &format!("{place} {from}: {}", one_line(&message.text)))
    }
}

impl Ui for Pipe {
    const PACED: bool = true;

    async fn input(&mut self, _: &Session) -> Command {
        if self.ended {
            return std::future::pending().await;
        }
        match self.lines.recv().await {
            Some(Ok(text)) => Command::Say(self.room.clone(), text),
            Some(Err(sentence)) => {
                self.said_all = false;
                tell(&mut std::io::stderr(), &sentence);
                Command::Nothing
            }
            None => {
                self.ended = true;
                Command::Exit
            }
        }
    }

    async fn show(&mut self, show: Show) -> std::io::Result<()> {
        match show {
            // Attempts that fail for the same reason as the one before are not worth a line each.
            Show::Outage { why, pause, again } => {
                if !again || self.outage.as_ref() != Some(&why) {
                    tell(&mut std::io::stderr(), &outage(&why, pause));
                }
                self.outage = Some(why);
                Ok(())
            }
            Show::Connected => {
                tell(&mut std::io::stderr(), CONNECTED);
                Ok(())
            }
            Show::Info(sentence) | Show::Problem(sentence) => {
                tell(&mut std::io::stderr(), &sentence);
                Ok(())
            }
            show => match self.line(show) {
                Some(line) => writeln!(self.out, "{line}"),
                None => Ok(()),
            },
        }
    }

    fn settled(&mut self, _: &Session) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// Writes a sentence for a person. Where nobody can read it, nobody is told.
pub fn tell(out: &mut (impl Write + IsTerminal + AsFd), sentence: &str) {
    let _ = if out.is_terminal() {
        let rows = paragraph("veche-client: ", "", sentence, screen_of(out));
        out.write_all((unwrapped(rows.trim_end_matches('\n')) + "\n").as_bytes())
    } else {
        writeln!(out, "veche-client: {}", safe(sentence))
    };
}

/// Rows, written while the terminal's own wrapping is off, where it has such a thing.
fn unwrapped(rows: &str) -> String {
    let kind = std::env::var("TERM").unwrap_or_default();
    let (off, on) = if matches!(kind.as_str(), "" | "dumb" | "unknown") { ("", "") } else { UNWRAPPED };
    format!("{off}{rows}{on}")
}

/// Reads lines until the end of the input or an `exit`, and passes on what can be said, and why the rest
/// cannot.
fn read_lines(input: &mut impl BufRead, lines: &mpsc::Sender<Read>) {
    for number in 1_u64.. {
        let read = match read_line(input) {
            Ok(None) => return,
            Ok(Some(Line::Text(line))) if line == b"exit" || line == b"/exit" => return,
            Ok(Some(Line::Text(line))) if line.is_empty() => continue,
            Ok(Some(Line::Text(line))) => {
                sayable(line).map_err(|why| format!("Line {number} was skipped: {why}"))
            }
            Ok(Some(Line::TooLong)) => {
                Err(format!("Line {number} was skipped: it has more than {MAX_TEXT_BYTES} bytes."))
            }
            Err(error) => {
                let sentence =
                    format!("The input ends at line {number}: it cannot be read ({}).", words(&error));
                return drop(lines.blocking_send(Err(sentence)));
            }
        };
        if lines.blocking_send(read).is_err() {
            return;
        }
    }
}

fn sayable(line: Vec<u8>) -> Result<MessageText, &'static str> {
    let text = String::from_utf8(line).map_err(|_| "it is not UTF-8.")?;
    MessageText::parse(&text).map_err(TextError::sentence)
}

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Text(Vec<u8>),
    TooLong,
}

/// The next line, with no more of it in memory than a message may have; `None` at the end of the input.
fn read_line(input: &mut impl BufRead) -> std::io::Result<Option<Line>> {
    let (mut line, mut too_long, mut something) = (Vec::new(), false, false);
    loop {
        let available = match input.fill_buf() {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            available => available?,
        };
        if available.is_empty() {
            break;
        }
        something = true;
        let end = available.iter().position(|b| *b == b'\n');
        let part = &available[..end.unwrap_or(available.len())];
        // One byte more than fits: it may be the CR of a CRLF.
        if line.len() + part.len() > MAX_TEXT_BYTES + 1 {
            too_long = true
        } else {
            line.extend_from_slice(part)
        }
        let used = part.len() + usize::from(end.is_some());
        input.consume(used);
        if end.is_some() {
            break;
        }
    }
    if !something {
        return Ok(None);
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(if too_long || line.len() > MAX_TEXT_BYTES { Line::TooLong } else { Line::Text(line) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of this input, and what is told of the rest.
    fn said(input: &[u8]) -> (Vec<String>, Vec<String>) {
        // A small buffer, so that lines lie across its ends.
        read(std::io::BufReader::with_capacity(7, input))
    }

    fn read(mut input: impl BufRead) -> (Vec<String>, Vec<String>) {
        let (sender, mut lines) = mpsc::channel(1_000);
        read_lines(&mut input, &sender);
        drop(sender);
        let (mut texts, mut told) = (Vec::new(), Vec::new());
        while let Ok(read) = lines.try_recv() {
            match read {
                Ok(text) => texts.push(text.as_str().to_owned()),
                Err(sentence) => told.push(sentence),
            }
        }
        (texts, told)
    }

    #[test]
    fn each_line_is_said_until_exit_alone() {
        let (texts, told) = said(b"a\r\n\n/join b\n//c\n exit\nexit now\nl\xc3\xa4st\nexit\nnever\n");
        assert_eq!(texts, ["a", "/join b", "//c", " exit", "exit now", "läst"]);
        assert!(told.is_empty(), "{told:?}");
        assert_eq!(said(b"no newline").0, ["no newline"]);
        assert!(said(b"").0.is_empty());
    }

    #[test]
    fn what_cannot_be_said_is_told_with_its_line_and_skipped() {
        let exact = "x".repeat(4_096);
        let input = format!("{exact}\n{exact}\r\n{exact}y\n{}\na\u{1b}b\nlast\n", "z".repeat(100_000));
        let (texts, told) = said(input.as_bytes());
        assert_eq!(texts, [exact.as_str(), &exact, "last"]);
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].contains("Line 3") && told[1].contains("Line 4") && told[2].contains("Line 5"));
        let (texts, told) = said(b"\xff\nok\n");
        assert_eq!((texts.len(), told.len(), told[0].contains("UTF-8")), (1, 1, true));
    }

    /// Input that breaks off.
    struct Broken;

    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::IsADirectory.into())
        }
    }

    #[test]
    fn input_that_cannot_be_read_is_told() {
        let input = std::io::Read::chain(&b"said\n"[..], Broken);
        let (texts, told) = read(std::io::BufReader::new(input));
        assert_eq!(texts, ["said"]);
        assert!(told.len() == 1 && told[0].contains("line 2"), "{told:?}");
    }
}
