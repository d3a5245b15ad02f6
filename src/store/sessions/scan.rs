//! Reading the session file, whatever has become of it: a session that has ended stays ended.
//!
//! What lies between sound lines is *damage*. It may have been an `end`, so the sessions that a whole cell of
//! it names end; where no cell names anybody, all that were opened before it do. Two things are no damage
//! worth that: what is too short to have named a session, and, in the part that is not known to have been on
//! the disk, what a crash has left there, for nobody was told of it.

use super::line::{self, Line, MIN_NAMING_BYTES, Named, OLD_MIN_NAMING_BYTES};
use super::{Sessions, StoredSession};
use crate::model::Timestamp;
use crate::secrets::seal::Sealer;

/// Bytes that are no printable ASCII in what somebody has changed by accident, at most; a crash leaves more.
const MAX_STRANGE_BYTES: usize = 1;

/// What the file says when it is read to its end.
#[derive(Debug, Default)]
pub(super) struct ScannedSessions {
    pub(super) sessions: Sessions,
    pub(super) alive_at: Option<Timestamp>,
    /// Places that were no lines of ours.
    pub(super) damaged: usize,
    /// How many sessions ended because damage named nobody.
    pub(super) ended_unnamed: usize,
    /// The largest number that a session had.
    pub(super) highest: u64,
}

/// A part of the file.
enum Part<'a> {
    Line(Line),
    Damage(Vec<Piece<'a>>),
}

/// A piece of damage, between newlines and sound lines.
struct Piece<'a> {
    text: &'a [u8],
    /// Where it begins in the file.
    start: u64,
    /// Whether a newline or a sound line follows.
    complete: bool,
}

/// The parts of a file, and what they tell of it.
struct Parts<'a> {
    sealer: &'a Sealer,
    parts: Vec<Part<'a>>,
    /// How much of the file was on the disk for certain.
    synced: u64,
    is_old: bool,
}

impl ScannedSessions {
    pub(super) fn read(sealer: &Sealer, bytes: &[u8]) -> Self {
        let mut parts = Parts { sealer, parts: Vec::new(), synced: 0, is_old: false };
        parts.split(bytes);
        let Parts { parts, synced, is_old, .. } = parts;
        let mut found = ScannedSessions::default();
        for part in parts {
            match part {
                Part::Line(line) => found.take(line),
                Part::Damage(pieces) => found.judge(sealer, &pieces, synced, is_old),
            }
        }
        found
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Open(session) => {
                self.highest = self.highest.max(session.number);
                self.sessions.insert(session.number, session);
            }
            Line::Used(number) => {
                if let Some(session) = self.sessions.get_mut(&number) {
                    session.previous = None;
                }
            }
            Line::Seen(number, at) => {
                if let Some(session) = self.sessions.get_mut(&number) {
                    session.seen_at = Some(at);
                }
            }
            Line::Alive(at) => self.alive_at = Some(at),
            Line::End(number) => {
                self.highest = self.highest.max(number);
                self.sessions.remove(&number);
            }
            Line::Given(number) => self.highest = self.highest.max(number),
        }
    }

    /// Ends whom damage may have ended.
    fn judge(&mut self, sealer: &Sealer, pieces: &[Piece<'_>], synced: u64, is_old: bool) {
        self.damaged += 1;
        let naming_bytes = if is_old { OLD_MIN_NAMING_BYTES } else { MIN_NAMING_BYTES };
        let mut named_any = false;
        let mut unnamed_bytes = 0;
        let mut is_unnamed = false;
        let strange: usize = pieces.iter().map(Piece::strange_bytes).sum();
        for piece in pieces {
            let is_alive = is_old && piece.text.starts_with(b"alive,");
            // A line that was not finished, or a block of bytes that nobody wrote.
            let is_left_by_a_crash =
                piece.start >= synced && (!piece.complete || strange > MAX_STRANGE_BYTES);
            if is_alive || is_left_by_a_crash {
                continue;
            }
            let names: Vec<Named> =
                piece.text.split(|byte| *byte == b',').filter_map(|cell| line::named(sealer, cell)).collect();
            if names.is_empty() {
                unnamed_bytes += piece.text.len();
                is_unnamed |= piece.text.len() >= naming_bytes;
            } else {
                named_any = true;
                self.end_named(&names);
            }
        }
        if is_unnamed || (!named_any && unnamed_bytes >= naming_bytes) {
            self.ended_unnamed += self.sessions.len();
            self.sessions.clear();
        }
    }

    /// Ends the session that whole cells name; where none but the account's is whole, all of that account.
    fn end_named(&mut self, names: &[Named]) {
        let numbers = names.iter().filter_map(|name| match name {
            Named::Session(number) => Some(*number),
            _ => None,
        });
        let mut by_number = false;
        for number in numbers {
            by_number = true;
            self.highest = self.highest.max(number);
            self.sessions.remove(&number);
        }
        if by_number {
            return;
        }
        let by_token = names.iter().any(|name| matches!(name, Named::Token(_)));
        let is_named = |session: &StoredSession| {
            names.iter().any(|name| match name {
                Named::Token(token) => session.token == *token || session.previous == Some(*token),
                Named::Account(account) => !by_token && session.account == *account,
                Named::Session(_) => false,
            })
        };
        self.sessions.retain(|_, session| !is_named(session));
    }
}

impl<'a> Parts<'a> {
    fn split(&mut self, bytes: &'a [u8]) {
        let mut start = 0;
        for (number, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            let complete = text.len() < line.len();
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            if number == 0 && (text == line::HEADER.trim_end().as_bytes() || self.is_old_header(text)) {
                // The file is one of ours.
            } else if !text.is_empty() {
                match line::decode(self.sealer, text) {
                    Some(sound) => self.sound(sound),
                    None => self.damaged(text, start, complete),
                }
            }
            start += line.len() as u64;
        }
    }

    fn is_old_header(&mut self, text: &[u8]) -> bool {
        self.is_old = text == line::OLD_HEADER.trim_end().as_bytes();
        self.is_old
    }

    fn sound(&mut self, (line, synced): (Line, u64)) {
        self.synced = self.synced.max(synced);
        self.parts.push(Part::Line(line));
    }

    /// Takes the sound lines out of a text that is none as a whole.
    fn damaged(&mut self, text: &'a [u8], start: u64, complete: bool) {
        if let Some(line) = line::decode_without_first_byte(self.sealer, text) {
            return self.sound(line);
        }
        let (mut rest, mut at) = (0, 0);
        while at < text.len() {
            match line::decode_prefix(self.sealer, &text[at..]) {
                Some((line, synced, length)) => {
                    self.piece(&text[rest..at], start + rest as u64, true);
                    self.sound((line, synced));
                    at += length;
                    rest = at;
                }
                None => at += 1,
            }
        }
        self.piece(&text[rest..], start + rest as u64, complete);
    }

    /// Adds a piece to the damage that it continues.
    fn piece(&mut self, text: &'a [u8], start: u64, complete: bool) {
        if text.is_empty() {
            return;
        }
        let piece = Piece { text, start, complete };
        match self.parts.last_mut() {
            Some(Part::Damage(pieces)) => pieces.push(piece),
            _ => self.parts.push(Part::Damage(vec![piece])),
        }
    }
}

impl Piece<'_> {
    fn strange_bytes(&self) -> usize {
        self.text.iter().filter(|byte| !matches!(byte, b' '..=b'~')).count()
    }
}
