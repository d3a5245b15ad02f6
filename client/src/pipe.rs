//! Line mode, for scripts: each line of standard input is said, each event is one line of standard output,
//! and whatever is about the client itself goes to standard error.
//!
//! There are no commands here, so that a script can say anything: only `exit` or `/exit` alone on a line
//! ends, like the end of the input. Either way the receipts are waited for first. Lines of standard output
//! are the event's JSON (`--json`), or one of
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

use tokio::sync::mpsc;
use veche::names::UserName;
use veche::protocol::reply::PresenceStatus;
use veche::protocol::request::MAX_TEXT_BYTES;
use veche::protocol::{Message, MessageText, ServerFrame};

use crate::display::{json_line, one_line, safe};
use crate::driver::Front;
use crate::session::{Command, Session, Show};

/// Lines that are read ahead.
const READ_AHEAD_LINES: usize = 64;

/// Standard input and output as a script uses them.
pub struct Pipe {
    me: UserName,
    json: bool,
    for_terminal: bool,
    out: BufWriter<Stdout>,
    lines: mpsc::Receiver<MessageText>,
    ended: bool,
}

impl Pipe {
    /// Starts reading standard input.
    pub fn open(me: UserName, json: bool) -> Self {
        let (sender, lines) = mpsc::channel(READ_AHEAD_LINES);
        // A thread of its own, because reading a pipe cannot be waited for otherwise. It ends with the
        // input, or with the process.
        std::thread::spawn(move || read_lines(&mut std::io::stdin().lock(), &mut std::io::stderr(), &sender));
        let out = BufWriter::new(std::io::stdout());
        Pipe { me, json, for_terminal: std::io::stdout().is_terminal(), out, lines, ended: false }
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
                format!("{at} #{} * {} {verb}", safe(&room), safe(&name))
            }
            (Show::Notice { text, at, .. }, false) => format!("{at} ! {}", one_line(&text)),
            _ => return None,
        })
    }

    fn message_line(&self, message: &Message) -> String {
        let peer = match &message.to {
            Some(to) if message.from == self.me.as_str() => to,
            _ => &message.from,
        };
        let place = message
            .room
            .as_ref()
            .map_or_else(|| format!("@{}", safe(peer)), |room| format!("#{}", safe(room)));
        format!("{} {place} {}: {}", message.at, safe(&message.from), one_line(&message.text))
    }
}

impl Front for Pipe {
    const PACED: bool = true;

    async fn input(&mut self) -> Command {
        if self.ended {
            return std::future::pending().await;
        }
        match self.lines.recv().await {
            Some(text) => Command::Say(text),
            None => {
                self.ended = true;
                Command::Exit
            }
        }
    }

    async fn show(&mut self, show: Show, _: &Session) -> std::io::Result<()> {
        match show {
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
pub fn tell(out: &mut impl Write, sentence: &str) {
    let _ = writeln!(out, "veche-client: {}", safe(sentence));
}

/// Reads lines until the end of the input or an `exit`, and passes on what can be said.
fn read_lines(input: &mut impl BufRead, errors: &mut impl Write, lines: &mpsc::Sender<MessageText>) {
    let mut number = 0_u64;
    loop {
        number += 1;
        match read_line(input) {
            Ok(Some(Line::Text(line))) if line == b"exit" || line == b"/exit" => return,
            Ok(Some(Line::Text(line))) if line.is_empty() => {}
            Ok(Some(Line::Text(line))) => match sayable(line) {
                Ok(text) => {
                    if lines.blocking_send(text).is_err() {
                        return;
                    }
                }
                Err(why) => tell(errors, &format!("Line {number} was skipped: {why}")),
            },
            Ok(Some(Line::TooLong)) => {
                tell(errors, &format!("Line {number} was skipped: it has more than {MAX_TEXT_BYTES} bytes."));
            }
            Ok(None) => return,
            Err(error) => {
                return tell(
                    errors,
                    &format!("The input ends at line {number}: it cannot be read ({error})."),
                );
            }
        }
    }
}

fn sayable(line: Vec<u8>) -> Result<MessageText, &'static str> {
    let text = String::from_utf8(line).map_err(|_| "it is not UTF-8.")?;
    MessageText::parse(&text).map_err(veche::protocol::ErrorCode::sentence)
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

    fn said(input: &[u8]) -> (Vec<String>, String) {
        let (sender, mut lines) = mpsc::channel(1_000);
        let mut errors = Vec::new();
        // A small buffer, so that lines lie across its ends.
        let mut input = std::io::BufReader::with_capacity(7, input);
        read_lines(&mut input, &mut errors, &sender);
        drop(sender);
        let mut texts = Vec::new();
        while let Ok(text) = lines.try_recv() {
            texts.push(text.as_str().to_owned());
        }
        (texts, String::from_utf8(errors).expect("sentences"))
    }

    #[test]
    fn each_line_is_said_until_exit_alone() {
        let (texts, errors) = said(b"a\r\n\n/join b\n//c\n exit\nexit now\nl\xc3\xa4st\nexit\nnever\n");
        assert_eq!(texts, ["a", "/join b", "//c", " exit", "exit now", "läst"]);
        assert_eq!(errors, "");
        assert_eq!(said(b"no newline").0, ["no newline"]);
        assert!(said(b"").0.is_empty());
    }

    #[test]
    fn what_cannot_be_said_is_told_with_its_line_and_skipped() {
        let exact = "x".repeat(4_096);
        let input = format!("{exact}\n{exact}\r\n{exact}y\n{}\na\u{1b}b\nlast\n", "z".repeat(100_000));
        let (texts, errors) = said(input.as_bytes());
        assert_eq!(texts, [exact.as_str(), &exact, "last"]);
        let told: Vec<_> = errors.lines().collect();
        assert_eq!(told.len(), 3, "{errors}");
        assert!(told[0].contains("Line 3") && told[1].contains("Line 4") && told[2].contains("Line 5"));
        let (texts, errors) = said(b"\xff\nok\n");
        assert_eq!((texts.len(), errors.contains("UTF-8")), (1, true));
    }
}
