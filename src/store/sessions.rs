//! The session file, `sessions.csv`: which tokens are good, so that they outlive a restart.
//!
//! It is a log. Each line is an event: a session was opened or got a fresh token (`open`), its token before
//! the last died (`used`), it lost its connection (`seen`), it ended (`end`), or everybody who had a
//! connection still had it (`alive`). A line is bound together with a key, and one that was changed ends the
//! session that it names. The file names accounts by their rows and tokens by their hashes. It is written
//! anew from what is in memory when the server starts and when it has grown.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::accounts::StoreError;
use super::append::{AppendFile, write_atomically_with};
use crate::names::Timestamp;
use crate::secrets::seal::{Sealer, same_tag};
use crate::secrets::token::TokenHash;

pub(super) const FILE_NAME: &str = "sessions.csv";
const HEADER: &str = "event,session,account,opened_at,at,token,previous,check\n";
const COLUMNS: usize = 8;
/// What a hash begins with, so that no cell begins a formula.
const PREFIX: &str = "v1:";
/// The file is written anew when it is larger than this, in bytes, …
const COMPACT_ABOVE_BYTES: u64 = 1 << 20;
/// … and this many times as large as it was after the last time.
const COMPACT_GROWTH: u64 = 4;

/// A session as one connection holds it. A `resume` keeps the session and changes the hold, so that what the
/// old connection still has to say (that it is gone, say) cannot touch the new one. Equal ids mean the same
/// session on the same connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    number: u64,
    hold: u32,
}

impl SessionId {
    /// The first hold of the session with this number, or a later one.
    pub fn new(number: u64, hold: u32) -> Self {
        SessionId { number, hold }
    }

    /// The session's number in the session file. It stays the same over every `resume`.
    pub fn number(self) -> u64 {
        self.number
    }

    /// How often the session has changed hands since the server started.
    pub fn hold(self) -> u32 {
        self.hold
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.number, self.hold)
    }
}

/// A session, as the file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSession {
    /// Its number.
    pub number: u64,
    /// The row of its account.
    pub account: u64,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When its token was made.
    pub token_at: Timestamp,
    /// Its token.
    pub token: TokenHash,
    /// The token before, until the fresh one is used.
    pub previous: Option<TokenHash>,
    /// When it lost its connection; `None` while it has one.
    pub seen_at: Option<Timestamp>,
}

/// An event of the log.
#[derive(Debug, Clone)]
pub enum SessionEvent {
    /// A session was opened or resumed; it has a connection now.
    Open(Box<StoredSession>),
    /// The fresh token was used: the one before it is dead.
    Used {
        /// The session's number.
        number: u64,
    },
    /// The session lost its connection.
    Seen {
        /// The session's number.
        number: u64,
        /// When.
        at: Timestamp,
    },
    /// Every session that had a connection still had it.
    Alive {
        /// When.
        at: Timestamp,
    },
    /// The session ended.
    End {
        /// The session's number.
        number: u64,
    },
}

/// What was found on opening.
#[derive(Debug)]
pub struct OpenedSessions {
    /// The file, for the thread that writes.
    pub file: SessionFile,
    /// The sessions there are. None has a connection: `seen_at` is when it last had one, as far as is known.
    pub sessions: Vec<StoredSession>,
    /// Lines that were no events of this file. They are gone: nobody can be asked for a token again.
    pub damaged: usize,
    /// The smallest number that no session had yet.
    pub next_number: u64,
}

/// `sessions.csv`, open for one writer.
#[derive(Debug)]
pub struct SessionFile {
    path: PathBuf,
    sealer: Arc<Sealer>,
    file: AppendFile,
    sessions: BTreeMap<u64, Box<StoredSession>>,
    alive_at: Option<Timestamp>,
    compacted_len: u64,
    /// The file is not known to hold what it should: the next commit writes it anew.
    distrusted: bool,
}

impl SessionFile {
    /// Reads `sessions.csv` in `dir`, leaves out the sessions that `keep` refuses (their account is gone, or
    /// banned), and writes it anew without them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(
        dir: &Path,
        sealer: Arc<Sealer>,
        keep: impl Fn(&StoredSession) -> bool,
    ) -> Result<OpenedSessions, StoreError> {
        let path = dir.join(FILE_NAME);
        let io = |source| StoreError::Io { path: path.clone(), source };
        let mut found = Found::read(&sealer, &read_file(&path).map_err(io)?);
        found.sessions.retain(|_, session| keep(session));
        for session in found.sessions.values_mut() {
            let alive_at = found.alive_at.unwrap_or(session.token_at);
            session.seen_at.get_or_insert_with(|| alive_at.max(session.token_at));
        }
        write_rows(&path, &sealer, &found.sessions).map_err(io)?;
        let file = AppendFile::open(&path, HEADER.as_bytes()).map_err(io)?;
        Ok(OpenedSessions {
            sessions: found.sessions.values().map(|session| (**session).clone()).collect(),
            damaged: found.damaged,
            next_number: found.next_number,
            file: SessionFile {
                path,
                sealer,
                compacted_len: file.len(),
                file,
                sessions: found.sessions,
                alive_at: None,
                distrusted: false,
            },
        })
    }

    /// Writes events. With `durable` they are on the disk when this returns, and all before them.
    ///
    /// # Errors
    /// [`StoreError`]. Of the events, those that open are undone; those that end stay, and are written with
    /// the next commit that succeeds.
    pub fn commit(&mut self, events: &[SessionEvent], durable: bool) -> Result<(), StoreError> {
        if events.is_empty() && !durable {
            return Ok(());
        }
        let mut before = Vec::new();
        let mut lines = String::new();
        for event in events {
            if let SessionEvent::Open(session) = event {
                before.push((session.number, self.sessions.get(&session.number).cloned()));
            }
            lines += &encode(&self.sealer, event);
            self.apply(event);
        }
        let result = self.write(&lines, durable);
        if result.is_err() {
            self.distrusted = true;
            for (number, session) in before.into_iter().rev() {
                match session {
                    Some(session) => self.sessions.insert(number, session),
                    None => self.sessions.remove(&number),
                };
            }
        }
        result
    }

    fn apply(&mut self, event: &SessionEvent) {
        if let SessionEvent::Alive { at } = event {
            self.alive_at = Some(*at);
        }
        apply(&mut self.sessions, event);
    }

    fn write(&mut self, lines: &str, durable: bool) -> Result<(), StoreError> {
        let has_grown =
            self.file.len() > COMPACT_ABOVE_BYTES.max(self.compacted_len.saturating_mul(COMPACT_GROWTH));
        if has_grown || self.distrusted || !self.file.in_place().map_err(|source| self.io(source))? {
            return self.compact();
        }
        let appended = self.file.append(lines.as_bytes());
        let result = appended.and_then(|_| if durable { self.file.sync() } else { Ok(()) });
        result.map_err(|source| StoreError::Append { path: self.path.clone(), source })
    }

    fn compact(&mut self) -> Result<(), StoreError> {
        if !self.distrusted && !self.file.in_place().map_err(|source| self.io(source))? {
            log::error!(
                "{} was changed by someone else while the server runs; it is written anew",
                self.path.display()
            );
        }
        self.distrusted = true;
        write_rows(&self.path, &self.sealer, &self.sessions).map_err(|source| self.io(source))?;
        self.file = AppendFile::open(&self.path, HEADER.as_bytes()).map_err(|source| self.io(source))?;
        self.compacted_len = self.file.len();
        self.distrusted = false;
        if let Some(at) = self.alive_at {
            let line = encode(&self.sealer, &SessionEvent::Alive { at });
            self.file
                .append(line.as_bytes())
                .map_err(|source| StoreError::Append { path: self.path.clone(), source })?;
        }
        Ok(())
    }

    fn io(&self, source: io::Error) -> StoreError {
        StoreError::Io { path: self.path.clone(), source }
    }
}

fn apply(sessions: &mut BTreeMap<u64, Box<StoredSession>>, event: &SessionEvent) {
    match event {
        SessionEvent::Open(session) => {
            sessions.insert(session.number, session.clone());
        }
        SessionEvent::Used { number } => {
            if let Some(session) = sessions.get_mut(number) {
                session.previous = None;
            }
        }
        SessionEvent::Seen { number, at } => {
            if let Some(session) = sessions.get_mut(number) {
                session.seen_at = Some(*at);
            }
        }
        SessionEvent::Alive { .. } => {}
        SessionEvent::End { number } => {
            sessions.remove(number);
        }
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

fn write_rows(path: &Path, sealer: &Sealer, sessions: &BTreeMap<u64, Box<StoredSession>>) -> io::Result<()> {
    write_atomically_with(path, |file| {
        file.write_all(HEADER.as_bytes())?;
        for session in sessions.values() {
            file.write_all(encode(sealer, &SessionEvent::Open(session.clone())).as_bytes())?;
            if let Some(at) = session.seen_at {
                let seen = SessionEvent::Seen { number: session.number, at };
                file.write_all(encode(sealer, &seen).as_bytes())?;
            }
        }
        Ok(())
    })
}

/// The line of an event, with its end.
fn encode(sealer: &Sealer, event: &SessionEvent) -> String {
    let hash = |hash: &TokenHash| format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(hash.as_bytes()));
    let mut cells: [String; COLUMNS - 1] = Default::default();
    let (name, number, at) = match event {
        SessionEvent::Open(session) => {
            cells[2] = session.account.to_string();
            cells[3] = session.opened_at.to_string();
            cells[5] = hash(&session.token);
            cells[6] = session.previous.as_ref().map(hash).unwrap_or_default();
            ("open", Some(session.number), Some(session.token_at))
        }
        SessionEvent::Used { number } => ("used", Some(*number), None),
        SessionEvent::Seen { number, at } => ("seen", Some(*number), Some(*at)),
        SessionEvent::Alive { at } => ("alive", None, Some(*at)),
        SessionEvent::End { number } => ("end", Some(*number), None),
    };
    cells[0] = name.to_owned();
    cells[1] = number.map(|number| number.to_string()).unwrap_or_default();
    cells[4] = at.map(|at| at.to_string()).unwrap_or_default();
    let check = sealer.bind_session(&cells.each_ref().map(String::as_str));
    format!("{},{check}\n", cells.join(","))
}

/// Reads a line, `None` when it is no event that we wrote.
fn decode(sealer: &Sealer, line: &[u8]) -> Option<SessionEvent> {
    let cells = cells(line)?;
    let [event, number, account, opened_at, at, token, previous, check] = cells;
    if !same_tag(&sealer.bind_session(&cells[..COLUMNS - 1]), check) {
        return None;
    }
    let hash = |cell: &str| {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(cell.strip_prefix(PREFIX)?).ok()?;
        Some(TokenHash::from_bytes(bytes.try_into().ok()?))
    };
    let at = || at.parse::<Timestamp>().ok();
    match event {
        "open" => Some(SessionEvent::Open(Box::new(StoredSession {
            number: number.parse().ok()?,
            account: account.parse().ok()?,
            opened_at: opened_at.parse().ok()?,
            token_at: at()?,
            token: hash(token)?,
            previous: if previous.is_empty() { None } else { Some(hash(previous)?) },
            seen_at: None,
        }))),
        "used" => Some(SessionEvent::Used { number: number.parse().ok()? }),
        "seen" => Some(SessionEvent::Seen { number: number.parse().ok()?, at: at()? }),
        "alive" => Some(SessionEvent::Alive { at: at()? }),
        "end" => Some(SessionEvent::End { number: number.parse().ok()? }),
        _ => None,
    }
}

fn cells(line: &[u8]) -> Option<[&str; COLUMNS]> {
    let line = std::str::from_utf8(line).ok()?;
    let mut parts =
        line.split(',').map(|cell| cell.strip_prefix('"').and_then(|c| c.strip_suffix('"')).unwrap_or(cell));
    let mut cells = [""; COLUMNS];
    for cell in &mut cells {
        *cell = parts.next()?;
    }
    parts.next().is_none().then_some(cells)
}

/// What the file says when it is read to its end.
struct Found {
    sessions: BTreeMap<u64, Box<StoredSession>>,
    alive_at: Option<Timestamp>,
    damaged: usize,
    next_number: u64,
}

impl Found {
    fn read(sealer: &Sealer, bytes: &[u8]) -> Self {
        let mut found = Found { sessions: BTreeMap::new(), alive_at: None, damaged: 0, next_number: 1 };
        let mut lines = bytes.split(|byte| *byte == b'\n').enumerate().peekable();
        while let Some((at, line)) = lines.next() {
            let is_last = lines.peek().is_none();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if at > 0 && !line.is_empty() {
                found.line(sealer, line, is_last);
            }
        }
        found
    }

    fn line(&mut self, sealer: &Sealer, line: &[u8], is_torn: bool) {
        let number = cells(line).and_then(|cells| cells[1].parse::<u64>().ok());
        match decode(sealer, line) {
            Some(event) => {
                if let SessionEvent::Alive { at } = event {
                    self.alive_at = Some(at);
                }
                apply(&mut self.sessions, &event);
                self.next_number = self.next_number.max(number.unwrap_or(0).saturating_add(1));
            }
            None => {
                self.damaged += 1;
                // It may have been the end of that session. But what a crash tore off was never acknowledged.
                if let (Some(number), false) = (number, is_torn) {
                    self.sessions.remove(&number);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "sessions_tests.rs"]
mod tests;
