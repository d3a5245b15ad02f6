//! A line of the session file: how an event becomes one, what makes a line an event again, and which of its
//! cells can be believed when the line as a whole cannot.
//!
//! The cells that name a session (its number, its account, its token) each carry a tag of their own, so that
//! a line in which something was changed still tells whose it was.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::StoredSession;
use crate::model::{Timestamp, TokenHash};
use crate::secrets::seal::{Sealer, TAG_TEXT_BYTES, same_tag};

pub(super) const HEADER: &str = "event,session,account,opened_at,at,token,previous,synced,check\n";
/// The header of the format before, whose cells have no tags.
pub(super) const OLD_HEADER: &str = "event,session,account,opened_at,at,token,previous,check\n";
const COLUMNS: usize = 9;
const OLD_COLUMNS: usize = 8;
/// Bytes of the shortest line that names a session; a line that names none is shorter.
pub(super) const MIN_NAMING_BYTES: usize = 90;
/// The same, in the format before.
pub(super) const OLD_MIN_NAMING_BYTES: usize = 30;
/// Bytes of the longest line that can be one of ours.
const MAX_LINE_BYTES: usize = 512;
/// What a hash begins with, so that no cell begins a formula.
const PREFIX: &str = "v1:";

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    Open(Box<StoredSession>),
    Used(u64),
    Seen(u64, Timestamp),
    Alive(Timestamp),
    End(u64),
    /// Numbers up to this one were given to sessions, those that are not in the file included.
    Given(u64),
}

/// Which events there are, as a line begins.
const EVENTS: [&str; 6] = ["open", "used", "seen", "alive", "end", "given"];

/// Whom a cell names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    Session(u64),
    Account(u64),
    Token(TokenHash),
}

/// The line of an event of this session, with its end. `synced` is how much of the file is known to be on the
/// disk.
pub(super) fn of_session(sealer: &Sealer, event: &Line, session: &StoredSession, synced: u64) -> String {
    let tagged = |column: &str, text: String| {
        let tag = sealer.bind_cell(column, &text);
        format!("{text}:{tag}")
    };
    let token = |hash: &TokenHash| tagged("token", encode_hash(hash));
    let mut cells: [String; COLUMNS - 1] = Default::default();
    cells[1] = tagged("session", session.number.to_string());
    cells[2] = tagged("account", session.account.to_string());
    cells[5] = token(&session.token);
    let (name, at) = match event {
        Line::Open(session) => {
            cells[3] = session.opened_at.to_string();
            cells[6] = session.previous.as_ref().map(token).unwrap_or_default();
            ("open", Some(session.token_at))
        }
        Line::Seen(_, at) => ("seen", Some(*at)),
        Line::Used(_) => ("used", None),
        Line::End(_) | Line::Alive(_) | Line::Given(_) => ("end", None),
    };
    cells[0] = name.to_owned();
    cells[4] = at.map(|at| at.to_string()).unwrap_or_default();
    finish(sealer, cells, synced)
}

/// The line that says that everybody with a connection still had it.
pub(super) fn alive(sealer: &Sealer, at: Timestamp, synced: u64) -> String {
    let mut cells: [String; COLUMNS - 1] = Default::default();
    cells[0] = "alive".into();
    cells[4] = at.to_string();
    finish(sealer, cells, synced)
}

/// The line that says up to where numbers were given.
pub(super) fn given(sealer: &Sealer, number: u64, synced: u64) -> String {
    let mut cells: [String; COLUMNS - 1] = Default::default();
    cells[0] = "given".into();
    cells[1] = number.to_string();
    finish(sealer, cells, synced)
}

fn finish(sealer: &Sealer, mut cells: [String; COLUMNS - 1], synced: u64) -> String {
    cells[COLUMNS - 2] = synced.to_string();
    let check = sealer.bind_session(&cells.each_ref().map(String::as_str));
    format!("{},{check}\n", cells.join(","))
}

/// Reads a whole line without its end, and how much of the file was on the disk when it was written; `None`
/// when it is no line of ours, in this format or the one before.
pub(super) fn decode(sealer: &Sealer, line: &[u8]) -> Option<(Line, u64)> {
    let line = text_of(line)?;
    match line.bytes().filter(|byte| *byte == b',').count() + 1 {
        COLUMNS => {
            let cells: [&str; COLUMNS] = cells(line)?;
            is_bound(sealer, &cells)?;
            let [event, session, account, opened_at, at, token, previous, synced, _] = cells;
            let session = if event == "given" { session } else { untagged(session) };
            let line = parse([
                event,
                session,
                untagged(account),
                opened_at,
                at,
                untagged_hash(token),
                untagged_hash(previous),
            ])?;
            Some((line, synced.parse().ok()?))
        }
        OLD_COLUMNS => {
            let cells: [&str; OLD_COLUMNS] = cells(line)?;
            is_bound(sealer, &cells)?;
            Some((parse(*cells.first_chunk()?)?, 0))
        }
        _ => None,
    }
}

/// Reads a line of ours at the beginning of a longer text, with its length: where the newline behind it was
/// changed, say.
pub(super) fn decode_prefix(sealer: &Sealer, text: &[u8]) -> Option<(Line, u64, usize)> {
    if !EVENTS.iter().any(|event| text.starts_with(event.as_bytes()) && text.get(event.len()) == Some(&b','))
    {
        return None;
    }
    let mut commas = text.iter().enumerate().filter(|(_, byte)| **byte == b',').map(|(at, _)| at);
    let before = commas.by_ref().nth(OLD_COLUMNS - 2)?;
    [Some(before), commas.next()].into_iter().flatten().find_map(|comma| {
        let end = comma + 1 + TAG_TEXT_BYTES;
        let (line, synced) = decode(sealer, text.get(..end)?)?;
        Some((line, synced, end))
    })
}

/// Reads a line whose first byte was lost: a crash can leave a single zero byte in its place, which is all that
/// the last block before had room for.
pub(super) fn decode_without_first_byte(sealer: &Sealer, line: &[u8]) -> Option<(Line, u64)> {
    let rest = line.strip_prefix(b"\0")?;
    EVENTS.iter().filter(|event| rest.starts_with(&event.as_bytes()[1..])).find_map(|event| {
        let whole = [&event.as_bytes()[..1], rest].concat();
        decode(sealer, &whole)
    })
}

/// Whom a cell names, when it is whole.
pub(super) fn named(sealer: &Sealer, cell: &[u8]) -> Option<Named> {
    let cell = std::str::from_utf8(cell).ok()?;
    let cell = cell.strip_prefix('"').and_then(|cell| cell.strip_suffix('"')).unwrap_or(cell);
    let (text, tag) = cell.rsplit_once(':')?;
    let is = |column| same_tag(&sealer.bind_cell(column, text), tag);
    if let Some(hash) = decode_hash(text) {
        return is("token").then_some(Named::Token(hash));
    }
    let number = text.parse().ok()?;
    match () {
        () if is("session") => Some(Named::Session(number)),
        () if is("account") => Some(Named::Account(number)),
        () => None,
    }
}

fn text_of(line: &[u8]) -> Option<&str> {
    std::str::from_utf8(line).ok().filter(|line| line.len() <= MAX_LINE_BYTES)
}

/// The number in a cell with a tag. The whole line is sound, so the tag need not be looked at.
fn untagged(cell: &str) -> &str {
    cell.split_once(':').map_or(cell, |(number, _)| number)
}

/// The hash in a cell with a tag; it has a colon of its own.
fn untagged_hash(cell: &str) -> &str {
    cell.get(PREFIX.len()..).and_then(|text| text.find(':')).map_or(cell, |at| &cell[..PREFIX.len() + at])
}

fn is_bound<const N: usize>(sealer: &Sealer, cells: &[&str; N]) -> Option<()> {
    let (check, bound) = cells.split_last()?;
    same_tag(&sealer.bind_session(bound), check).then_some(())
}

fn parse(cells: [&str; 7]) -> Option<Line> {
    let [event, session, account, opened_at, at, token, previous] = cells;
    let number = || session.parse::<u64>().ok();
    let at = || at.parse::<Timestamp>().ok();
    Some(match event {
        "open" => Line::Open(Box::new(StoredSession {
            number: number()?,
            account: account.parse().ok()?,
            opened_at: opened_at.parse().ok()?,
            token_at: at()?,
            token: decode_hash(token)?,
            previous: if previous.is_empty() { None } else { Some(decode_hash(previous)?) },
            seen_at: None,
        })),
        "used" => Line::Used(number()?),
        "seen" => Line::Seen(number()?, at()?),
        "alive" => Line::Alive(at()?),
        "end" => Line::End(number()?),
        "given" => Line::Given(number()?),
        _ => return None,
    })
}

fn encode_hash(hash: &TokenHash) -> String {
    format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(hash.as_bytes()))
}

fn decode_hash(text: &str) -> Option<TokenHash> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
    Some(TokenHash::from_bytes(bytes.try_into().ok()?))
}

fn cells<const N: usize>(line: &str) -> Option<[&str; N]> {
    let mut parts =
        line.split(',').map(|cell| cell.strip_prefix('"').and_then(|c| c.strip_suffix('"')).unwrap_or(cell));
    let mut cells = [""; N];
    for cell in &mut cells {
        *cell = parts.next()?;
    }
    parts.next().is_none().then_some(cells)
}
