//! The session file, `sessions.csv`: which tokens are good, so that they outlive a restart.
//!
//! It is a log. Each line is an event: a session was opened or got a fresh token (`open`), its token before
//! the last died (`used`), it lost its connection (`seen`), it ended (`end`), or everybody who had a
//! connection still had it (`alive`). A line is bound together with a key, and one that was changed ends the
//! session that it names (`scan`). The file names accounts by their rows and tokens by their hashes. It is
//! written anew from what is in memory when the server starts and when it has grown.

mod line;
mod scan;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use self::line::{HEADER, Line};
use self::scan::ScannedSessions;
use super::accounts::StoreError;
use crate::disk::append::{AppendError, AppendFile, replace_with};
use crate::disk::{Folder, read_whole};
use crate::model::{SessionEvent, StoredSession, Timestamp, TokenHash};
use crate::secrets::seal::Sealer;

pub(super) const FILE_NAME: &str = "sessions.csv";
/// The file is written anew when it is larger than this, in bytes, …
const COMPACT_ABOVE_BYTES: u64 = if cfg!(test) { 1 << 11 } else { 1 << 20 };
/// … and this many times as large as it was after the last time.
const COMPACT_GROWTH: u64 = 4;

/// The sessions of a file by their numbers.
type Sessions = BTreeMap<u64, Box<StoredSession>>;

/// Events that are written together.
#[derive(Debug, Clone, Copy)]
pub struct Events<'a> {
    /// What happens, in this order.
    pub events: &'a [SessionEvent],
    /// Whether it has happened in any case, so that the file is told later when it cannot be now. What
    /// somebody waits for has not happened when it cannot be written.
    pub owed: bool,
}

/// What was found on opening.
#[derive(Debug)]
pub struct OpenedSessions {
    /// The file, for the thread that writes.
    pub file: SessionFile,
    /// The sessions there are. None has a connection: `seen_at` is when it last had one, as far as is known.
    pub sessions: Vec<StoredSession>,
    /// Places that were no lines of this file. They are gone: nobody can be asked for a token again.
    pub damaged: usize,
    /// How many sessions have ended because a damaged place may have been the end of any of them.
    pub ended_unnamed: usize,
    /// The smallest number that no session had yet.
    pub next_number: u64,
}

/// `sessions.csv`, open for one writer.
#[derive(Debug)]
pub struct SessionFile {
    folder: Arc<dyn Folder>,
    sealer: Arc<Sealer>,
    file: AppendFile,
    sessions: Sessions,
    alive_at: Option<Timestamp>,
    /// The largest number that a session had.
    highest: u64,
    compacted_len: u64,
    /// How much of the file is on the disk.
    synced_len: u64,
    /// The file is not known to hold what it should: the next commit writes it anew.
    distrusted: bool,
}

impl SessionFile {
    /// Reads `sessions.csv` in `folder`, leaves out the sessions that `keep` refuses (their account is gone,
    /// banned, or has ended them), and writes it anew without them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(
        folder: Arc<dyn Folder>,
        sealer: Arc<Sealer>,
        keep: impl Fn(&StoredSession) -> bool,
    ) -> Result<OpenedSessions, StoreError> {
        let io = |source| StoreError::Io { path: folder.path().join(FILE_NAME), source };
        let bytes = read_whole(&*folder, FILE_NAME, u64::MAX).map_err(io)?.unwrap_or_default();
        let mut found = ScannedSessions::read(&sealer, &bytes);
        // Each damaged place may have had a number of its own.
        let highest = found.highest.saturating_add(found.damaged as u64);
        found.sessions.retain(|_, session| keep(session));
        for session in found.sessions.values_mut() {
            let alive_at = found.alive_at.unwrap_or(session.token_at);
            session.seen_at.get_or_insert_with(|| alive_at.max(session.token_at));
        }
        write_rows(&*folder, &sealer, &found.sessions, highest, None).map_err(io)?;
        let file = AppendFile::open(&*folder, FILE_NAME, HEADER.as_bytes()).map_err(io)?;
        Ok(OpenedSessions {
            sessions: found.sessions.values().map(|session| (**session).clone()).collect(),
            damaged: found.damaged,
            ended_unnamed: found.ended_unnamed,
            next_number: highest.saturating_add(1),
            file: SessionFile {
                folder,
                sealer,
                compacted_len: file.len(),
                synced_len: file.len(),
                file,
                sessions: found.sessions,
                alive_at: None,
                highest,
                distrusted: false,
            },
        })
    }

    /// Writes events. With `durable` they are on the disk when this returns, and all before them.
    ///
    /// # Errors
    /// [`StoreError`]. Nothing of it has happened then but what is owed, which is written with the next commit
    /// that succeeds, or by [`SessionFile::settle`].
    pub fn commit(&mut self, batch: &[Events<'_>], durable: bool) -> Result<(), StoreError> {
        let mut before = Vec::new();
        let mut lines = String::new();
        for event in batch.iter().flat_map(|events| events.events) {
            if let Some(number) = event.number() {
                before.push((number, self.sessions.get(&number).cloned()));
            }
            lines += &self.encode(event);
            self.apply(event);
        }
        if lines.is_empty() && !durable {
            return Ok(());
        }
        let result = self.write(&lines, durable);
        if result.is_err() {
            for (number, session) in before.into_iter().rev() {
                match session {
                    Some(session) => self.sessions.insert(number, session),
                    None => self.sessions.remove(&number),
                };
            }
            for event in batch.iter().filter(|events| events.owed).flat_map(|events| events.events) {
                self.distrusted = true;
                self.apply(event);
            }
            // What was refused must not be found there by the next start. Its own fault is no news.
            let _ = self.settle();
        }
        result
    }

    /// The tokens that die by these events, as far as the sessions are known here: each with its session and
    /// the row of its account.
    pub fn tokens_that_die<'e>(
        &self,
        events: impl IntoIterator<Item = &'e SessionEvent>,
    ) -> Vec<(u64, u64, TokenHash)> {
        let mut dead = Vec::new();
        // Sessions as they are after the events before.
        let mut after: BTreeMap<u64, Option<StoredSession>> = BTreeMap::new();
        for event in events {
            let Some(number) = event.number() else { continue };
            let before = match after.remove(&number) {
                Some(session) => session,
                None => self.sessions.get(&number).map(|session| (**session).clone()),
            };
            let next = match (event, &before) {
                (SessionEvent::Open(session), _) | (SessionEvent::Resume(session), Some(_)) => {
                    Some((**session).clone())
                }
                (SessionEvent::Used { token, .. }, Some(session)) if session.token == *token => {
                    Some(StoredSession { previous: None, ..session.clone() })
                }
                (SessionEvent::End { .. }, _) => None,
                _ => before.clone(),
            };
            let lives = |token: &TokenHash| {
                next.as_ref().is_some_and(|next| next.token == *token || next.previous == Some(*token))
            };
            if let Some(session) = before {
                let had = std::iter::once(session.token).chain(session.previous);
                let died = had.filter(|token| !lives(token));
                dead.extend(died.map(|token| (session.account, number, token)));
            }
            after.insert(number, next);
        }
        dead
    }

    /// Whether the file may hold what was refused, or lacks what has happened.
    pub fn is_owed(&self) -> bool {
        self.distrusted
    }

    /// Writes the file anew when it may not hold what it should.
    ///
    /// # Errors
    /// [`StoreError`]; it goes on being owed then.
    pub fn settle(&mut self) -> Result<(), StoreError> {
        if self.distrusted { self.compact() } else { Ok(()) }
    }

    fn encode(&self, event: &SessionEvent) -> String {
        let known = event.number().and_then(|number| self.sessions.get(&number));
        let line = |event: Line, session: &StoredSession| {
            line::of_session(&self.sealer, &event, session, self.synced_len)
        };
        match (event, known) {
            (SessionEvent::Open(session), _) | (SessionEvent::Restore(session), Some(_)) => {
                line(Line::Open(session.clone()), session)
            }
            (SessionEvent::Resume(session), Some(known)) if known.is_opened_by(session.previous) => {
                line(Line::Open(session.clone()), session)
            }
            (SessionEvent::Resume(_), Some(_)) => String::new(),
            (SessionEvent::Used { number, token }, Some(session)) if session.token == *token => {
                line(Line::Used(*number), session)
            }
            (SessionEvent::Used { .. }, Some(_)) => String::new(),
            (SessionEvent::Seen { number, at }, Some(session)) => line(Line::Seen(*number, *at), session),
            (SessionEvent::End { number }, Some(session)) => line(Line::End(*number), session),
            (SessionEvent::Alive { at }, _) => line::alive(&self.sealer, *at, self.synced_len),
            // It has ended, and nothing can happen to it any more.
            (_, None) => String::new(),
        }
    }

    fn apply(&mut self, event: &SessionEvent) {
        match event {
            SessionEvent::Open(session) => {
                self.highest = self.highest.max(session.number);
                self.sessions.insert(session.number, session.clone());
            }
            SessionEvent::Resume(session) | SessionEvent::Restore(session) => {
                let restores = matches!(event, SessionEvent::Restore(_));
                if let Some(known) = self.sessions.get_mut(&session.number)
                    && (restores || known.is_opened_by(session.previous))
                {
                    *known = session.clone();
                }
            }
            SessionEvent::Used { number, token } => {
                if let Some(session) = self.sessions.get_mut(number)
                    && session.token == *token
                {
                    session.previous = None;
                }
            }
            SessionEvent::Seen { number, at } => {
                if let Some(session) = self.sessions.get_mut(number) {
                    session.seen_at = Some(*at);
                }
            }
            SessionEvent::Alive { at } => self.alive_at = Some(*at),
            SessionEvent::End { number } => {
                self.sessions.remove(number);
            }
        }
    }

    fn write(&mut self, lines: &str, durable: bool) -> Result<(), StoreError> {
        let has_grown =
            self.file.len() > COMPACT_ABOVE_BYTES.max(self.compacted_len.saturating_mul(COMPACT_GROWTH));
        if has_grown || self.distrusted || !self.file.in_place().map_err(|source| self.io(source))? {
            return self.compact();
        }
        let appended = self.file.append(lines.as_bytes());
        let result = appended.and_then(|_| if durable { self.file.sync() } else { Ok(()) });
        match result {
            Ok(()) if durable => self.synced_len = self.file.len(),
            Ok(()) => {}
            // The file is as it was before, which has to outlive a power cut, too.
            Err(AppendError::Refused(_)) => self.distrusted |= self.file.sync().is_err(),
            Err(AppendError::Poisoned(_)) => self.distrusted = true,
        }
        result.map_err(|source| StoreError::Append { path: self.path(), source })
    }

    fn compact(&mut self) -> Result<(), StoreError> {
        if !self.distrusted && !self.file.in_place().map_err(|source| self.io(source))? {
            log::error!(
                "{} was changed by someone else while the server runs; it is written anew",
                self.path().display()
            );
        }
        self.distrusted = true;
        write_rows(&*self.folder, &self.sealer, &self.sessions, self.highest, self.alive_at)
            .map_err(|source| self.io(source))?;
        self.file = AppendFile::open(&*self.folder, FILE_NAME, HEADER.as_bytes())
            .map_err(|source| self.io(source))?;
        self.compacted_len = self.file.len();
        self.synced_len = self.file.len();
        self.distrusted = false;
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(FILE_NAME)
    }

    fn io(&self, source: io::Error) -> StoreError {
        StoreError::Io { path: self.path(), source }
    }
}

fn write_rows(
    folder: &dyn Folder,
    sealer: &Sealer,
    sessions: &Sessions,
    highest: u64,
    alive_at: Option<Timestamp>,
) -> io::Result<()> {
    let written = replace_with(folder, FILE_NAME, |file| {
        file.write_all(HEADER.as_bytes())?;
        for session in sessions.values() {
            let line = |event: Line| line::of_session(sealer, &event, session, 0);
            file.write_all(line(Line::Open(session.clone())).as_bytes())?;
            if let Some(at) = session.seen_at {
                file.write_all(line(Line::Seen(session.number, at)).as_bytes())?;
            }
        }
        if highest > sessions.last_key_value().map_or(0, |(number, _)| *number) {
            file.write_all(line::given(sealer, highest, 0).as_bytes())?;
        }
        if let Some(at) = alive_at {
            file.write_all(line::alive(sealer, at, 0).as_bytes())?;
        }
        Ok(())
    });
    Ok(written?)
}

#[cfg(test)]
#[path = "sessions_tests.rs"]
mod tests;
